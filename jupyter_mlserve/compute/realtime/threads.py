"""Threads that run and load models, and the one that watches that they end in time."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable

from .flight import Recorder

STUCK = 75  # exit status of a process that ended itself
_TICK = 0.05  # seconds between looks at what runs
_SLEEP_AFTER = 1.0  # without anything that ran

Task = Callable[["Slot"], None]


class Slot:
    """What one thread does now; used by that thread and by the watch."""

    def __init__(self, number: int, recorder: Recorder) -> None:
        self.number = number
        self.recorder = recorder
        self.lock = threading.Lock()
        # When to end what runs (monotonic seconds); 0 while nothing runs.
        self.deadline = 0.0
        self.record = b""
        self.cancel: Callable[[], None] | None = None
        self.cancelled = False
        self.owner: object = None

    def begin(
        self, record: bytes, deadline: float, cancel: Callable[[], None], owner: object
    ) -> None:
        """``cancel`` is called, once, by another thread when the deadline has passed."""
        self.recorder.begin(self.number, record)
        with self.lock:
            self.record = record
            self.cancelled = False
            self.cancel = cancel
            self.owner = owner
            self.deadline = deadline

    def end(self) -> bool:
        """Whether it was cancelled meanwhile; it will not be any more."""
        with self.lock:
            self.deadline = 0.0
            self.cancel = None
            self.owner = None
        self.recorder.end(self.number)
        return self.cancelled

    def stop(self, owner: object) -> None:
        """Cancel what runs, if it still is this."""
        with self.lock:
            if self.owner is owner:
                self._cancel()

    def check(self, now: float, grace: float) -> bool:
        """Cancel what is overdue; True when even that has not helped."""
        if not self.deadline or now <= self.deadline:
            return False
        with self.lock:
            if not self.deadline or now <= self.deadline:
                return False
            self._cancel()
            return now > self.deadline + grace

    def _cancel(self) -> None:
        if self.cancel is not None and not self.cancelled:
            self.cancelled = True
            self.cancel()


class Watch:
    """A thread of its own: the event loop may be what is stuck."""

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.slots: list[Slot] = []
        # Read by who begins something, so that an idle process has no timer running.
        self.asleep = False
        self._woken = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="mlserve-watch", daemon=True).start()

    def wake(self) -> None:
        self.asleep = False
        self._woken.set()

    def _run(self) -> None:
        active = time.monotonic()
        while True:
            now = time.monotonic()
            for slot in self.slots:
                if slot.deadline:
                    active = now
                    if slot.check(now, self.grace):
                        _end_process(slot)
            if now - active > _SLEEP_AFTER:
                self._woken.clear()
                self.asleep = True
                # Something may have begun just before it could know.
                if not any(slot.deadline for slot in self.slots):
                    self._woken.wait()
                active = time.monotonic()
            else:
                time.sleep(_TICK)


def _end_process(slot: Slot) -> None:
    slot.recorder.blame(slot.record)
    with contextlib.suppress(Exception):
        print(
            "jupyter_mlserve: a model could not be stopped; the realtime process is replaced.",
            file=sys.stderr,
            flush=True,
        )
    os._exit(STUCK)


class Threads:
    """``count`` threads that take tasks in turn; a task gets the slot of its thread."""

    def __init__(self, name: str, slots: list[Slot]) -> None:
        self.free = len(slots)
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for slot in slots:
            threading.Thread(target=self._run, args=(slot,), name=name, daemon=True).start()

    def submit(self, task: Task) -> None:
        """Tasks report by themselves and raise nothing."""
        self._tasks.put(task)

    def _run(self, slot: Slot) -> None:
        slot.recorder.enter(slot.number)
        task: Task | None = None
        while True:
            task = self._tasks.get()
            task(slot)
            # Or it would keep what it has loaded until the next task comes.
            task = None
