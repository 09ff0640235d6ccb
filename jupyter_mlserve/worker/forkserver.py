"""The fork server: imports libraries once, then makes workers of itself in milliseconds (Linux).

It imports and nothing else: it never loads an object and never runs a model, because libraries
with threads of their own (OpenMP) hang in a child that is forked after they were used. Each
worker is forked twice, so that it becomes a child of the compute node like any other.

Messages are JSON datagrams on a SOCK_SEQPACKET socket:
``{"op": "import", "modules": [...]}`` is answered with ``{"failed": [...]}``;
``{"op": "fork", "environ": {...}}``, with two descriptors (the worker's connection and its
console), is answered with ``{"pid": process id}``.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import os
import socket
import sys
import time
import warnings

from . import limits
from .program import new_main
from .serve import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Dict, List, Tuple

MAX_MESSAGE = 160 * 1024  # bytes; below the kernel's limit for a datagram
_REPARENT = 5.0  # seconds for a new worker to become the node's child


class ForkServer:
    """``parent`` is the compute node, ``signum`` what asks a worker for its place."""

    def __init__(self, sock: socket.socket, parent: int, signum: int) -> None:
        self._sock = sock
        self._parent = parent
        self._signum = signum
        # dill keeps the __main__ it finds when it is imported.
        self._main: ModuleType = new_main()

    def run(self) -> None:
        """Serve until the node closes the connection; in a new worker, until its own is closed."""
        while True:
            message, fds = self._receive()
            if not message:
                return
            request: Dict[str, Any] = json.loads(message)
            if request["op"] == "import":
                self._reply({"failed": import_all(request["modules"])})
                continue
            worker = self._fork(fds, request.get("environ") or {})
            if worker is not None:
                worker.run()
                return

    def _receive(self) -> Tuple[bytes, List[int]]:
        try:
            message, extra, _, _ = self._sock.recvmsg(
                MAX_MESSAGE, socket.CMSG_SPACE(2 * array.array("i").itemsize)
            )
        except OSError:
            return b"", []
        fds = array.array("i")
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        return message, list(fds)

    def _reply(self, reply: Dict[str, Any]) -> None:
        self._sock.send(json.dumps(reply).encode())

    def _fork(self, fds: List[int], environ: Dict[str, str]) -> Any:
        """None in the server, the Worker in the new process."""
        connection, console = fds
        reading, writing = os.pipe()
        first = _quiet_fork()
        if first:
            os.close(writing)
            os.waitpid(first, 0)
            with os.fdopen(reading, "rb") as pipe:
                told = pipe.read()
            os.close(connection)
            os.close(console)
            self._reply({"pid": int(told or b"0")})
            return None
        try:
            second = _quiet_fork()
            if second:
                os.write(writing, str(second).encode())
                os._exit(0)
            os.close(reading)
            os.close(writing)
            return self._become_worker(connection, console, environ)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)

    def _become_worker(self, connection: int, console: int, environ: Dict[str, str]) -> Worker:
        self._sock.close()
        os.setpgid(0, 0)
        end = time.monotonic() + _REPARENT
        while os.getppid() != self._parent:
            if time.monotonic() > end:
                os._exit(1)
            time.sleep(0.0002)
        limits.die_with_parent(self._parent)
        os.dup2(console, 1)
        os.dup2(console, 2)
        os.close(console)
        os.environ.update(environ)
        limits.show_place_on(self._signum)
        reseed()
        return Worker(socket.socket(fileno=connection), self._main)


def _quiet_fork() -> int:
    # Numpy's BLAS has idle threads and is prepared for a fork; Python 3.12 warns of any thread.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def import_all(modules: List[str]) -> List[str]:
    """Import what can be imported; returns what cannot (its worker will say why)."""
    failed = []
    for name in modules:
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except BaseException:
                failed.append(name)
    # What is here will be shared by all workers: let no collection write into it.
    gc.collect()
    gc.freeze()
    return failed


def reseed() -> None:
    """numpy seeded its random numbers when it was imported; workers must not share them."""
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def main(fd: int, parent: int, signum: int) -> None:
    """Its console is read by the node when it dies; a worker brings its own."""
    ForkServer(socket.socket(fileno=fd), parent, signum).run()
