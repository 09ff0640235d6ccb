"""One child process, as a server's threads see it: all methods block, but ``kill``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any, BinaryIO

from ...contract.errors import InternalError, from_body
from .messages import DONE, ERROR, read_answer, write_request

_PACKAGE = "jupyter_mlserve.store.batches"
# What a child is told of the environment: nothing that opens anything.
_ENVIRONMENT = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "TZ", "LD_LIBRARY_PATH"})
_PREFIXES = ("LC_", "PYTHON", "DYLD_", "CONDA_")


class Child:
    """A started child. ``late``: it was killed because it took too long."""

    def __init__(self) -> None:
        self.late = False
        env = {
            name: value
            for name, value in os.environ.items()
            if name in _ENVIRONMENT or name.startswith(_PREFIXES)
        }
        # The system's allocator reserves nothing ahead, which the limit on memory would count.
        env.update(ARROW_DEFAULT_MEMORY_POOL="system", OMP_NUM_THREADS="1")
        env.update(OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", MALLOC_ARENA_MAX="2")
        self._process = subprocess.Popen(
            [sys.executable, "-m", _PACKAGE, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Not the server's directory: a file of the user's there must not shadow a module.
            cwd="/",
            env=env,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._answers: BinaryIO = self._process.stdout  # type: ignore[assignment]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(
        self, header: dict[str, Any], what: str, body: bytes = b""
    ) -> tuple[bytes, dict[str, Any]]:
        """Send a request; the pieces and the end of its answer."""
        self.send(header, body)
        pieces: list[bytes] = []
        while True:
            kind, data = self.receive(what)
            if kind == DONE:
                return b"".join(pieces), json.loads(data)
            pieces.append(data)

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        # Whether it has died is seen when its answer is read.
        with suppress(BrokenPipeError, ValueError):
            write_request(self._requests, header, body)

    def receive(self, what: str) -> tuple[bytes, bytes]:
        """The next piece, or the end. Raises what the child raised, or InternalError."""
        try:
            found = read_answer(self._answers)
        except ValueError:  # The pipe was closed.
            found = None
        if found is None:
            raise self._lost(what)
        kind, data = found
        if kind == ERROR:
            body = json.loads(data)
            raise from_body(int(body["code"]), body)
        return kind, data

    def kill(self) -> None:
        """End it, if it has not ended. Does not wait."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def wait(self) -> None:
        self._process.wait()

    def close(self) -> None:
        """Wait for its end and free what it took here."""
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with suppress(OSError, ValueError):
                pipe.close()

    def _lost(self, what: str) -> InternalError:
        self.kill()
        code = self._process.wait()
        if self.late:
            return InternalError(
                f"{what} could not be read: it took too long. Send less at a time, or tell the "
                "administrator of the server."
            )
        how = f"status {code}"
        if code < 0:
            with suppress(ValueError):
                how = signal.Signals(-code).name
        return InternalError(
            f"{what} could not be read: the process that did it ended unexpectedly ({how}). Check "
            "the file with another program, or write it again."
        )
