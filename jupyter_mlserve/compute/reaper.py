"""Tells of child processes that have ended, and ends what they leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple


class Exit(NamedTuple):
    """How a process ended: ``code`` as of subprocess (negative: signal); peak memory in bytes."""

    code: int
    peak_memory: int

    def __str__(self) -> str:
        if self.code >= 0:
            return f"it exited with status {self.code}"
        try:
            name = signal.Signals(-self.code).name
        except ValueError:
            name = str(-self.code)
        return f"it was killed by {name}"


OnExit = Callable[[Exit], None]
_MAX_UNCLAIMED = 1000
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Reaper:
    """Waits for every child of this process by SIGCHLD; one per process, in its main thread."""

    def __init__(self) -> None:
        self._watched: dict[int, OnExit] = {}
        # A process of the fork server may end before its id was told.
        self._unclaimed: dict[int, Exit] = {}

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_signal_handler(signal.SIGCHLD, self.reap)

    def watch(self, pid: int, on_exit: OnExit) -> None:
        """Call ``on_exit`` when process ``pid`` (a group leader) has ended."""
        early = self._unclaimed.pop(pid, None)
        if early is not None:
            on_exit(early)
        else:
            self._watched[pid] = on_exit

    def reap(self) -> None:
        while True:
            pid = _ended()
            if pid in self._watched:
                # While the leader is not reaped its group id cannot belong to anybody else.
                kill_group(pid)
            try:
                pid, status, usage = os.wait4(pid, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            found = Exit(os.waitstatus_to_exitcode(status), usage.ru_maxrss * _MAXRSS_UNIT)
            on_exit = self._watched.pop(pid, None)
            if on_exit is not None:
                on_exit(found)
            else:
                self._unclaimed[pid] = found
                if len(self._unclaimed) > _MAX_UNCLAIMED:
                    del self._unclaimed[next(iter(self._unclaimed))]


def _ended() -> int:
    """A child that has ended, not reaped yet; -1 when that cannot be told."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return -1
    try:
        found: Any = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return -1
    return int(found.si_pid) if found is not None else -1


def kill_group(pid: int) -> None:
    """Kill a worker and the processes it started, as far as they stayed in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
