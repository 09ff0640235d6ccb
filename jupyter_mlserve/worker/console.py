"""Console output of a call: of Python, of C code and of child processes, in order, bounded.

File descriptors 1 and 2 are one memory file for the worker's whole life. The compute node made it
and holds it too, so that it can read what a dying worker said. Every writer appends (O_APPEND), so
emptying it is one truncation. Python's own writes are bounded where they are made; what C code
and children write beyond the limit is cut when it is read, and the node trims the file while a
call is running.
"""

from __future__ import annotations

import fcntl
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

_IOLBF = 1  # of stdio.h, the same in every C library we meet
CUT_MARK = "\n... console output was cut here: {limit} bytes are kept ...\n"


class _Bounded(io.FileIO):
    """Writes to a descriptor until the bound is reached, and drops the rest."""

    def __init__(self, fd: int, limit: int) -> None:
        super().__init__(fd, "wb", closefd=False)
        # One byte over the limit tells the reader that something was cut.
        self.limit = limit + 1
        self.written = 0

    def write(self, data: Any, /) -> int:
        size = len(data) if type(data) is bytes else memoryview(data).nbytes
        room = self.limit - self.written
        if room > 0:
            super().write(data if size <= room else memoryview(data).cast("B")[:room])
            self.written += size
        return size


class Console:
    """The worker's console. ``limit`` is in bytes per call."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # Author code may close or replace 1 and 2; this one stays.
        self._fd = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 100)
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | os.O_APPEND)
        self._inode = os.fstat(self._fd).st_ino
        self._fflush = _unbuffered_stdio()
        self._raw: list[_Bounded] = []
        self._streams: list[Any] = []
        self._open()

    def _open(self) -> None:
        self._raw = [_Bounded(fd, self.limit) for fd in (1, 2)]
        self._streams = [
            io.TextIOWrapper(
                io.BufferedWriter(raw),
                encoding="utf-8",
                errors="backslashreplace",
                line_buffering=True,
            )
            for raw in self._raw
        ]
        sys.stdout, sys.stderr = self._streams
        sys.__stdout__, sys.__stderr__ = self._streams  # type: ignore[misc]

    def take(self) -> str:
        """What was written since the last time; the console is empty afterwards.

        Costs 2 microseconds when nothing was written. Repairs what author code did to the
        streams and descriptors.
        """
        if sys.stdout is not self._streams[0] or sys.stderr is not self._streams[1]:
            self._flush_foreign()
            sys.stdout, sys.stderr = self._streams
        try:
            self._streams[0].flush()
            self._streams[1].flush()
        except (ValueError, OSError):
            self._open()
        if self._fflush is not None:
            self._fflush(None)
        try:
            found = os.fstat(1)
            intact = found.st_ino == self._inode and os.fstat(2).st_ino == self._inode
        except OSError:
            intact = False
        if not intact:
            os.dup2(self._fd, 1)
            os.dup2(self._fd, 2)
            found = os.fstat(self._fd)
        if not found.st_size:
            return ""
        return self._read(found.st_size)

    def _read(self, size: int) -> str:
        data = os.pread(self._fd, min(size, self.limit), 0)
        os.ftruncate(self._fd, 0)
        for raw in self._raw:
            raw.written = 0
        text = data.decode("utf-8", "replace").replace("\x00", "")
        return text + CUT_MARK.format(limit=self.limit) if size > self.limit else text

    def _flush_foreign(self) -> None:
        """Streams the author put in place of ours may hold text that is meant for the console."""
        for stream in (sys.stdout, sys.stderr):
            flush = getattr(stream, "flush", None)
            if flush is not None and stream not in self._streams:
                try:
                    flush()
                except Exception:  # the author's stream, the author's problem
                    continue


def _unbuffered_stdio() -> Optional[Any]:
    """Make C's stdout line-buffered; returns fflush, or None where there is no C library to ask."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        symbol = "__stdoutp" if sys.platform == "darwin" else "stdout"
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, symbol), None, _IOLBF, 0)
        fflush = libc.fflush
        fflush.argtypes = [ctypes.c_void_p]
        return fflush
    except (ImportError, AttributeError, OSError, ValueError):
        return None
