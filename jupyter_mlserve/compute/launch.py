"""Starting a compute process and its private directory, and what both leave behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from .orphans import NODE_MARK, SECRETS, kill_marked

_PREFIX = "jupyter-mlserve-"


def spawn(
    module: str, sock: socket.socket, root: Path, token: str, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Start ``python -m module FD PARENT_PID`` in ``root``, with this end of the connection."""
    env = {key: value for key, value in os.environ.items() if key not in SECRETS}
    env.update(environment)
    env[NODE_MARK] = token
    return subprocess.Popen(
        [sys.executable, "-m", module, str(sock.fileno()), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=_stderr(),
        pass_fds=[sock.fileno()],
        # Not the server's directory: a file of the user's there must not shadow a module.
        cwd=root,
        env=env,
        # A Ctrl-C in the terminal is for the server, which then ends the node in good order.
        start_new_session=True,
    )


def _stderr() -> int:
    """Where the server's own errors go; the node itself has nothing else to print."""
    try:
        return sys.__stderr__.fileno() if sys.__stderr__ is not None else subprocess.DEVNULL
    except (OSError, ValueError):
        return subprocess.DEVNULL


def wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """See the process end, or let it run on."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def work_root(work_dir: str, token: str) -> Path:
    """A private directory for one life of a node. What dead ones left is removed first."""
    parent = Path(work_dir) if work_dir else Path(tempfile.gettempdir())
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in parent.glob(f"{_PREFIX}*"):
        _remove_left(left)
    root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    (root / "token").write_text(token)
    return root


def _remove_left(left: Path) -> None:
    """Remove the directory of a server that is gone, and kill what it may have left running."""
    owner = left.name[len(_PREFIX) :].split("-", 1)[0]
    if not owner.isdigit() or _alive(int(owner)):
        return
    with contextlib.suppress(OSError):
        if left.stat().st_uid == os.getuid():
            kill_marked(NODE_MARK, (left / "token").read_text())
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
