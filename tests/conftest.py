"""Fixtures for every room's tests: nothing a test does may reach the user's own Jupyter folders."""

from __future__ import annotations

import pytest

MLSERVE_VARIABLES = (
    "JUPYTER_MLSERVE_URL",
    "JUPYTER_MLSERVE_TOKEN",
    "JUPYTER_MLSERVE_SERVER_INFO",
    "JUPYTERHUB_API_TOKEN",
    "JUPYTERHUB_SERVICE_PREFIX",
    "JPY_PARENT_PID",
    "JPY_SESSION_NAME",
)


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No server of the machine is found by accident, and no test leaks a variable to the next."""
    for name in MLSERVE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("jupyter")
    for kind in ("config", "data", "runtime"):
        monkeypatch.setenv(f"JUPYTER_{kind.upper()}_DIR", str(home / kind))
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
