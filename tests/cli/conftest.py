"""One server for the commands that use one, and the way to run a command as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nbformat
import pytest
from support.running_server import RunningServer, start_server

COMMAND = [sys.executable, "-m", "jupyter_mlserve.cli.main"]
COMMAND_SECONDS = 120

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("server"), base_url="/cli/")
    yield running
    running.stop()


@pytest.fixture
def run() -> Run:
    """Run ``jupyter mlserve`` with the arguments, in the environment of the test."""

    def run_command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    return run_command


@pytest.fixture
def notebook(tmp_path: Path) -> Callable[..., Path]:
    """Make a notebook of code cells."""

    def make(cells: Sequence[str], name: str = "notebook.ipynb", kernel: str = "python3") -> Path:
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
        nb.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
        path = tmp_path / name
        nbformat.write(nb, path)
        return path

    return make
