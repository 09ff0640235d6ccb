"""One worker as the node sees it: its process, what it is doing, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from ..worker.frames import FrameError, parse_header
from .block import Block
from .forks import Fork
from .orphans import WORKER_MARK, kill_marked
from .protocol import Body, FrameProtocol
from .reaper import Exit, Reaper, kill_group
from .spawn import PLACE_SIGNAL, make_console, read_console, start_worker, trim_console

STARTING, IDLE, BUSY, ENDING = "starting", "idle", "busy", "ending"

_OK = b'{"status":200}'
_CALL = b'{"op":"call"}'
_LOAD = b'{"op":"load"}'
_GRACE = 2.0  # seconds for a worker that was asked to end
_PLACE_WAIT = 0.05  # seconds for a stuck worker to print where it is
_LAST_WORDS = 16 * 1024  # bytes of a dying worker's output that are kept
MAX_FILES = 20_000  # files a call may make


class Call:
    """A call on its way: how to answer it, and how long it may wait.

    ``block`` is set for one of many records (:mod:`.block_queue`), which come as ``media``, and
    gets its own ``header``.
    """

    __slots__ = (
        "answer",
        "block",
        "body",
        "deadline",
        "header",
        "media",
        "number",
        "retries",
        "started",
    )

    def __init__(
        self,
        number: int,
        body: Body,
        deadline: float,
        answer: Callable[[Any, Any, float], None],
        block: Block | None = None,
        media: str = "",
    ) -> None:
        self.number = number
        self.body = body
        self.deadline = deadline
        # answer(header of the worker or None, body or error, seconds)
        self.answer = answer
        self.header = _CALL
        self.block = block
        self.media = media
        self.started = 0.0
        self.retries = 0


class Owner(Protocol):
    """Whoever has a worker is told these (the pool)."""

    label: str

    def worker_loaded(self, worker: Worker, header: dict[str, Any]) -> None: ...
    def worker_failed(self, worker: Worker, header: dict[str, Any]) -> None: ...
    def worker_idle(self, worker: Worker, call: Call, seconds: float) -> None: ...
    def worker_gone(self, worker: Worker, call: Call | None, how: Exit, output: str) -> None: ...
    def worker_stuck(self, worker: Worker, call: Call | None, place: str) -> None: ...
    def worker_over(self, worker: Worker, call: Call, why: str) -> None: ...
    def call_again(self, call: Call) -> None: ...
    def log(self, level: int, message: str) -> None: ...


class Worker(FrameProtocol):
    """``state`` is STARTING until the version is loaded, ENDING from when it was told to go.

    ``gone`` is reported when both the process and the connection have ended, so that a reply that
    was written before the end is not lost.
    """

    def __init__(
        self,
        owner: Owner,
        number: int,
        directory: str,
        reaper: Reaper,
        console_limit: int,
        file_limit: float,
        token: str,
        keep: bool = False,
        limit_name: str = "file_limit",
    ) -> None:
        super().__init__()
        self.owner = owner
        self.number = number
        self.directory = directory
        self.keep = keep  # its directory, which was made by others, when it ends
        # Done when what it started is gone as well.
        self.cleanup: asyncio.Future[None] | None = None
        self.state = STARTING
        self.pid = 0
        self.calls = 0
        self.call: Call | None = None
        self.born = self.last_used = time.monotonic()
        self.deadline = float("inf")
        self.loaded = False
        self.stopped = False  # it was ended on purpose: its end is no failure
        self.forked = False
        self.abandoned = False  # nobody waits for the answer to its call
        self.replace = False  # another one should take its place
        self.slot = False  # it counts among those that max_workers limits
        self.trial: Any = None
        self._loop = asyncio.get_running_loop()
        self._reaper = reaper
        self._console = make_console()
        self._console_limit = console_limit
        self._file_limit = file_limit
        self._limit_name = limit_name
        self._mark = f"{token}-{number}"
        self._exit: Exit | None = None
        self._output = ""
        self._unread = False
        self._open = True
        self._files_checked = 0.0

    async def start(
        self,
        interpreter: str,
        spec: bytes,
        limit: float,
        fork: Fork | None = None,
        first: bytes = _LOAD,
    ) -> None:
        """Start the process, by ``fork`` where that works, and let it load for ``limit`` seconds.

        ``first`` is the header of the frame in which it gets its ``spec``.

        Raises MLServeError when it cannot be started, Stopped when it was told to end before.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        marks = {WORKER_MARK: self._mark}
        with theirs:
            try:
                if not self.keep:
                    os.makedirs(self.directory, mode=0o700, exist_ok=True)
                pid = await fork(theirs, self._console, marks) if fork is not None else 0
                if self.state == ENDING and not pid:
                    raise Stopped
                self.forked = bool(pid)
                self.pid = pid or start_worker(interpreter, theirs, self._console, marks)
            except BaseException:
                ours.close()
                self._close_console()
                raise
        self.deadline = time.monotonic() + limit
        self._reaper.watch(self.pid, self._exited)
        await self._loop.create_connection(lambda: self, sock=ours)
        if self.state == ENDING:
            self.kill()
        self.send(first, spec)

    # Working

    def begin(self, call: Call, limit: float) -> None:
        """Give the call to this idle worker; ``limit`` is in seconds."""
        self.state = BUSY
        self.abandoned = False
        self.call = call
        now = time.monotonic()
        call.started = self._files_checked = now
        self.deadline = now + limit
        if self.transport is None or self.transport.is_closing():
            self._unread = True  # it died a moment ago; its end is still to be told
        else:
            self.send(call.header, call.body)

    def frame_received(self, header: bytes, body: Body) -> None:
        if self.state == BUSY:
            self._answered(header, body)
        elif self.state == STARTING:
            try:
                found = parse_header(header)
            except FrameError:
                self.kill()
                return
            self.deadline = float("inf")
            if found.get("status") == 200:
                self.state = IDLE
                self.loaded = True
                self.last_used = time.monotonic()
                self.owner.worker_loaded(self, found)
            else:
                self.owner.worker_failed(self, found)

    def _answered(self, header: bytes, body: Body) -> None:
        call = self.call
        assert call is not None
        now = time.monotonic()
        seconds = now - call.started
        retire = False
        found: dict[str, Any] | None = None
        if header != _OK:
            try:
                found = parse_header(header)
            except FrameError:
                self.kill()
                return
            retire = bool(found.pop("retire", False))
            stray = found.pop("stray", "")
            if stray:
                self.owner.log(20, f"{self.owner.label}: worker {self.pid} wrote: {stray}")
            if call.block is not None:
                # Rows of one frame are one call of the function, however many they are.
                if not call.block.rows:
                    self.calls += int(found.get("done") or 1) - 1
            elif found == {"status": 200}:
                found = None
        self.call = None
        self.calls += 1
        self.state = IDLE
        self.last_used = now
        self.deadline = float("inf")
        call.answer(found, body, seconds)
        if retire:
            self.replace = True
            self.end()
        else:
            self.owner.worker_idle(self, call, seconds)

    # Watching

    def check(self, now: float) -> None:
        """Called several times a second while there is anything to watch."""
        if now > self.deadline:
            self.deadline = float("inf")
            if self.state == ENDING:
                self.kill()
            elif self.abandoned:
                self.call = None
                self.stopped = self.replace = True
                self.kill()
            else:
                self._show_place()
        elif self.state == BUSY and self.call is not None and now - self.call.started > 0.1:
            self.trim()
            if now - self._files_checked > 1.0:
                self._files_checked = now
                self._loop.create_task(self._check_files(self.call))

    def trim(self) -> None:
        """Let its console not grow beyond what is kept."""
        trim_console(self._console, self._console_limit)

    def output(self) -> str:
        """What it has written to its console since it last told."""
        return read_console(self._console, self._console_limit, start=True)

    def interrupt(self) -> None:
        """As Ctrl-C in a terminal: it and the processes it started get SIGINT."""
        if self.pid and self._exit is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGINT)

    async def _check_files(self, call: Call) -> None:
        count, size = await asyncio.to_thread(_folder_size, self.directory)
        if self.call is not call:
            return
        if size > self._file_limit:
            why = f"wrote files of {size:,} bytes; at most {self._file_limit:,} are allowed"
        elif count > MAX_FILES:
            why = f"made more than {MAX_FILES:,} files"
        else:
            return
        self.owner.worker_over(self, call, f"{why} ({self._limit_name})")
        self.kill()

    def _show_place(self) -> None:
        """It is stuck: let it print its frames, which works even inside C code, then kill it.

        From here on it is not listened to: the signal may have ended a system call early, and
        what the code makes of that is no answer.
        """
        call, self.call = self.call, None
        self.state = ENDING
        self.stopped = True
        if self.pid and self._exit is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, PLACE_SIGNAL)
        self._loop.call_later(_PLACE_WAIT, self._give_up, call)

    def _give_up(self, call: Call | None) -> None:
        output = read_console(self._console, _LAST_WORDS) or self._output
        self.owner.worker_stuck(self, call, _place_in(output))
        self.kill()

    # Ending

    def abandon(self, seconds: float) -> None:
        """The caller is gone: end what runs, unless it finishes within so many seconds."""
        self.abandoned = True
        self.deadline = min(self.deadline, time.monotonic() + seconds)

    def end(self) -> None:
        """Ask an idle worker to go: it sees the connection close, and runs its exit handlers."""
        if self.state == ENDING:
            return
        self.state = ENDING
        self.stopped = True
        self.deadline = time.monotonic() + _GRACE
        if self.transport is not None:
            self.transport.close()

    def kill(self) -> None:
        """End it now, with everything it started."""
        self.state = ENDING
        self.deadline = float("inf")
        if self.pid and self._exit is None:
            kill_group(self.pid)
        if self.transport is not None:
            self.transport.abort()

    def closed(self, exc: Exception | None) -> None:
        # The kernel tells of unread data by a reset: then the call was never begun.
        self._unread |= isinstance(exc, ConnectionResetError | BrokenPipeError)
        self._open = False
        if self._exit is not None:
            self._gone()
        elif self.state != ENDING:
            # A worker without a connection is of no use; the group goes with its leader.
            self.state = ENDING
            self._loop.call_later(_PLACE_WAIT, self.kill)

    def _exited(self, how: Exit) -> None:
        self._exit = how
        self._output = read_console(self._console, _LAST_WORDS)
        if self._open:
            # What it wrote before may still be unread. A child of it may hold the other end.
            self._loop.call_later(0.2, self.kill)
        else:
            self._gone()

    def _gone(self) -> None:
        assert self._exit is not None
        self.state = ENDING
        self._close_console()
        # Children that left the group are found by their mark; that takes a moment.
        left = "" if self.keep else os.path.dirname(self.directory)
        self.cleanup = self._loop.run_in_executor(None, _clean_up, self._mark, left)
        call, self.call = self.call, None
        if call is not None and self._unread and call.retries < 2:
            call.retries += 1
            self.owner.worker_gone(self, None, self._exit, self._output)
            self.owner.call_again(call)
        else:
            self.owner.worker_gone(self, call, self._exit, self._output)

    def _close_console(self) -> None:
        if self._console >= 0:
            os.close(self._console)
            self._console = -1


class Stopped(Exception):
    """The worker was told to end before it had a process."""


def _clean_up(mark: str, directory: str) -> None:
    kill_marked(WORKER_MARK, mark)
    if directory:
        shutil.rmtree(directory, ignore_errors=True)


def _folder_size(directory: str) -> tuple[int, int]:
    """Number and total size of the files below, counted until it is clearly too much."""
    count = size = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            count += 1
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(folder, name)).st_size
        if count > MAX_FILES:
            break
    return count, size


def _place_in(output: str) -> str:
    """The author's frames of what faulthandler printed, innermost first as it prints them."""
    lines = output.splitlines()
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith(("Current thread", "Thread", "Stack (most recent")):
            frames = [line for line in lines[number + 1 :] if line.startswith("  File ")]
            own = [line for line in frames if "_mlserve_worker" not in line]
            own = [line for line in own if f"{os.sep}worker{os.sep}" not in line]
            return "Stack (most recent call first):\n" + "\n".join(own or frames)
    return ""


def resident_memory(pid: int) -> int:
    """Bytes of the process that are in memory; 0 when that cannot be told."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
