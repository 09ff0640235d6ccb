"""A real IPython shell in the test process, and a real server for those tests that need one."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell
from support.notebook import Notebook
from support.running_server import RunningServer, start_server
from traitlets.config import Config


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    before = sys.modules["__main__"]
    made = InteractiveShell.instance(config=config)
    yield made
    made.run_line_magic("unload_ext", "jupyter_mlserve")
    made.restore_sys_module_state()
    sys.modules["__main__"] = before
    InteractiveShell.clear_instance()


@pytest.fixture
def notebook(shell: InteractiveShell) -> Notebook:
    """A notebook with the extension loaded; no server is named."""
    shell.run_line_magic("load_ext", "jupyter_mlserve")
    return Notebook(shell)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


@pytest.fixture
def connected(
    notebook: Notebook, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> Notebook:
    """A notebook whose server is found by the environment, as in CI."""
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", server.url)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", server.token)
    return notebook
