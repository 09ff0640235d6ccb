"""``jupyter mlserve user``: beside a running server, without one, and on a real terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from support.running_server import RunningServer

from jupyter_mlserve.cli import accounts
from jupyter_mlserve.cli.main import main, parser

from .conftest import COMMAND, Run

PASSWORD = "correct horse battery"
User = Callable[..., int]


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """``user("add", "ann", password=...)`` in Jupyter folders of its own."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("JUPYTERHUB_USER", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, password: str | None = None) -> int:
        more = []
        if password is not None:
            file = tmp_path / "password"
            file.write_text(password, newline="")
            more = ["--password-stdin"]
            monkeypatch.setattr(sys, "stdin", file.open(encoding="utf-8", newline=""))
        try:
            return main(["user", *arguments, *more])
        finally:
            if password is not None:
                sys.stdin.close()
            monkeypatch.undo if False else None

    return run
