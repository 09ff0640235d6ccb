"""Loading and unloading, and what it costs."""

from __future__ import annotations

import subprocess
import sys
import time

import httpx
import pytest
from IPython.core.interactiveshell import InteractiveShell
from support.running_server import RunningServer

MAGICS = {
    "line": {
        "publish_realtime",
        "list_services",
        "show_service",
        "consume_service",
        "batch_service",
        "update_service",
        "rollback_service",
        "delete_service",
        "mlserve",
    },
    "cell": {"publish_service"},
}


def ours(shell: InteractiveShell) -> dict[str, set[str]]:
    return {
        kind: {name for name in MAGICS[kind] if name in found}
        for kind, found in shell.magics_manager.magics.items()
    }


def test_loading_twice_and_unloading_leaves_the_shell_as_it_was(shell: InteractiveShell) -> None:
    callbacks = list(shell.events.callbacks["pre_run_cell"])
    matchers = list(shell.Completer.custom_matchers)
    for _ in range(2):
        shell.run_line_magic("load_ext", "jupyter_mlserve")
        shell.run_line_magic("reload_ext", "jupyter_mlserve")
        assert ours(shell) == MAGICS
        assert len(shell.events.callbacks["pre_run_cell"]) == len(callbacks) + 1
        assert len(shell.Completer.custom_matchers) == len(matchers) + 1
    shell.run_line_magic("unload_ext", "jupyter_mlserve")
    assert ours(shell) == {"line": set(), "cell": set()}
    assert shell.events.callbacks["pre_run_cell"] == callbacks
    assert shell.Completer.custom_matchers == matchers
    html = shell.display_formatter.formatters["text/html"]
    assert not [name for _, name in html.deferred_printers if name.startswith("Service")]


def test_large_imports_of_the_notebook_prepare_the_server(
    shell: InteractiveShell, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", server.url)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", server.token)
    shell.run_line_magic("load_ext", "jupyter_mlserve")
    shell.run_cell("import pandas").raise_error()
    url, deadline = server.prefix + "status", time.monotonic() + 20
    libraries: set[str] = set()
    while "pandas" not in libraries and time.monotonic() < deadline:
        compute = httpx.get(url, headers=server.headers).json()["components"]["compute"]
        for found in compute.get("fork_servers", []):
            libraries.update(found["libraries"])
        time.sleep(0.05)
    assert "pandas" in libraries


def test_loading_is_light() -> None:
    """Measured in a fresh interpreter, beyond IPython: well below 0.3 s, and nothing heavy."""
    code = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell.instance(config=config)
start = time.perf_counter()
shell.run_line_magic("load_ext", "jupyter_mlserve")
seconds = time.perf_counter() - start
heavy = {"dill", "httpx", "numpy", "pandas", "ipywidgets", "jupyter_server", "sqlalchemy"}
print(heavy & set(sys.modules), seconds < 0.3, seconds)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.startswith("set() True"), found.stdout
