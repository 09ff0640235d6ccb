"""One real server for the whole session, and the client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.running_server import RunningServer, start_server

from jupyter_mlserve import DeployClient


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Behind a base URL, as on a hub. Tests use names of their own and do not tidy up."""
    running = start_server(tmp_path_factory.mktemp("server"), base_url="/user/ann/")
    yield running
    running.stop()


@pytest.fixture
def client(server: RunningServer) -> Iterator[DeployClient]:
    with DeployClient(server.url, auth=server.token) as found:
        yield found


@pytest.fixture(autouse=True)
def no_server_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the environment leads to a server unless the test says so."""
    for name in (
        "JUPYTER_MLSERVE_REPORT",
        "JUPYTER_MLSERVE_VERIFY_TLS",
        "JUPYTERHUB_SERVICE_URL",
        "JUPYTERHUB_PUBLIC_URL",
        "JUPYTERHUB_HOST",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
