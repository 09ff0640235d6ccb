"""Starting a worker's process: its console, its environment, its interpreter."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import tempfile
from pathlib import Path

from ..contract.errors import TrialFailed

WORKER_MAIN = str(Path(__file__).resolve().parent.parent / "worker" / "__main__.py")
# Asks a worker to print where it is; not one that libraries use.
PLACE_SIGNAL = int(getattr(signal, "SIGRTMIN", signal.SIGUSR2)) + (
    3 if hasattr(signal, "SIGRTMIN") else 0
)
_SOCKET_FD = 3
_RESET = [
    getattr(signal, name)
    for name in ("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGTERM", "SIGCHLD")
    if hasattr(signal, name)
]
# Set for this process by the launcher of its own virtual environment.
_NOT_FOR_CHILDREN = ("__PYVENV_LAUNCHER__",)


def make_console() -> int:
    """The memory file that will be a worker's descriptors 1 and 2; appending, closed on exec."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("mlserve-console", getattr(os, "MFD_CLOEXEC", 1))
    else:
        handle, path = tempfile.mkstemp(prefix="mlserve-console-")
        os.unlink(path)
        fd = handle
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
    return fd


def start_worker(
    interpreter: str, sock: socket.socket, console: int, marks: dict[str, str], *more: str
) -> int:
    """Start ``interpreter`` as a worker that speaks on ``sock``; returns its process id.

    ``more`` are further arguments: ``"fork"`` makes a fork server.

    The process leads a group of its own. Raises TrialFailed that says what to do when the
    interpreter cannot be started.
    """
    env = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_CHILDREN}
    env.update(marks)
    arguments = [interpreter, WORKER_MAIN, str(_SOCKET_FD), str(os.getpid()), str(PLACE_SIGNAL)]
    arguments += more
    # The sources must not be among the targets; dup2 also makes the copies inheritable.
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (sock.fileno(), console)]
    try:
        return os.posix_spawn(
            interpreter,
            arguments,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, copies[1], 1),
                (os.POSIX_SPAWN_DUP2, copies[1], 2),
                (os.POSIX_SPAWN_DUP2, copies[0], _SOCKET_FD),
            ],
            setpgroup=0,
            setsigmask=[],
            setsigdef=_RESET,
        )
    except OSError as exc:
        raise TrialFailed(_cannot_start(interpreter, exc)) from None
    finally:
        for fd in copies:
            os.close(fd)


def _cannot_start(interpreter: str, exc: OSError) -> str:
    if not os.path.exists(interpreter):
        why = "does not exist"
    elif not os.access(interpreter, os.X_OK):
        why = "is not a program that this server may run"
    else:
        why = f"cannot be started ({exc.strerror})"
    return (
        f"The interpreter {interpreter}, under which the service was published, {why}. "
        "Restore that environment, or publish again from one that is on the server's machine."
    )


def read_console(fd: int, limit: int, start: bool = False) -> str:
    """The end (or start) of what a worker wrote to its console, at most ``limit`` bytes."""
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, limit, 0 if start else max(0, size - limit))
    except OSError:
        return ""
    text = data.decode("utf-8", "replace").replace("\x00", "")
    return text if start else text.strip("\n")


def trim_console(fd: int, limit: int) -> None:
    """Keep the first ``limit`` bytes and one more, which tells that something was cut."""
    with contextlib.suppress(OSError):
        if os.fstat(fd).st_size > limit + 1:
            os.ftruncate(fd, limit + 1)
