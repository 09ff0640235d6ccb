"""The workers of one version: who takes a call, when one is started, when one goes."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from ..contract.errors import MLServeError, PoolExhausted, TooBusy, TrialFailed
from .process import BUSY, IDLE, STARTING, Call, Stopped, Worker
from .reaper import Exit
from .replies import (
    call_error,
    call_timeout,
    cannot_load,
    load_error,
    out_of_memory,
    over_file_limit,
    worker_died,
)

if TYPE_CHECKING:
    from .node import Node
    from .trial import Trial

_LOAD_BACKOFF = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds after the nth failed load in a row
_YIELD_AFTER = 1.0  # seconds another version waits before a busy pool gives a worker up


class Pool:
    """Owned by the node; ``spec`` is the load spec of the state."""

    def __init__(self, node: Node, state_id: str, spec: dict[str, Any]) -> None:
        self.node = node
        self.config = node.config
        self.state_id = state_id
        self.spec = spec
        self.label = f"{spec.get('name')} {spec.get('version')}"
        own = spec.get("pool") or {}
        self.minimum = int(own.get("initial") or 0)
        self.maximum = int(own.get("max") or 0) or max(self.config.default_pool_max, self.minimum)
        self.workers: set[Worker] = set()
        self.idle: list[Worker] = []
        self.queue: deque[Call] = deque()
        self.requested = 0  # slots asked of the node and not granted yet
        self.calls = 0
        self.retired = False
        self.last_used = time.monotonic()
        self._warmed = False
        self._typical = 0.0  # seconds of a call, a moving average
        self._failure: MLServeError | None = None
        self._failures = 0
        self._failed_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    # Calls

    def submit(self, call: Call) -> None:
        """Take a call: an idle worker gets it at once, or it waits, or it is refused."""
        self.last_used = time.monotonic()
        self.calls += 1
        idle = self.idle
        while idle:
            worker = idle.pop()  # the one used last has the warmest caches
            if worker.state == IDLE:
                worker.begin(call, self.config.call_timeout)
                return
        if self._failure is not None and self.last_used < self._failed_until:
            wait = round(self._failed_until - self.last_used, 1)
            call.answer(None, cannot_load(self.label, self._failure, wait), 0.0)
        elif len(self.queue) >= self.config.max_queue and not self._room():
            call.answer(None, self._too_busy(), 0.0)
        else:
            self.queue.append(call)
            self.grow()

    def call_again(self, call: Call) -> None:
        """A worker died before it began this call."""
        self.queue.appendleft(call)
        self.grow()

    def _room(self) -> bool:
        # A queue of length 0 still lets a call start a worker.
        return not self.queue and len(self.workers) + self.requested < self.maximum

    def _too_busy(self) -> MLServeError:
        wait = self._typical * len(self.queue) / max(1, len(self.workers))
        return TooBusy(
            f"{self.label} has {len(self.queue)} calls waiting, as many as it may (max_queue). "
            "Try again in a moment.",
            retry_after=max(1.0, round(wait, 1)),
        )

    def _feed(self, worker: Worker) -> None:
        """An idle worker takes the next call that waits, or joins the idle ones."""
        if worker.state != IDLE:
            return
        if self.queue and not self._must_yield():
            worker.begin(self.queue.popleft(), self.config.call_timeout)
        elif self.queue or (self.retired and worker.trial is None):
            worker.end()
        else:
            self.idle.append(worker)
            if self.node.waiting:
                self.node.make_room()

    def _must_yield(self) -> bool:
        """Another version has waited long for its first worker, and this one never rests."""
        starving = self.node.starving() if self.node.waiting else None
        return starving is not None and time.monotonic() - starving[1] > _YIELD_AFTER

    # Workers

    def grow(self) -> None:
        """Ask for as many workers as are needed now."""
        if time.monotonic() < self._failed_until:
            return
        starting = sum(worker.state == STARTING and not worker.trial for worker in self.workers)
        live = len(self.workers) + self.requested
        wanted = len(self.queue) - starting - self.requested
        if not self._warmed and self.queue:
            self._warmed = True
            wanted = max(wanted, self.config.pool_initial - live)
        if not self.retired:
            wanted = max(wanted, self.minimum - live)
        for _ in range(min(wanted, self.maximum - live)):
            self.requested += 1
            self.node.request_slot(self)
        self.node.watch()

    def granted(self, trial: Trial | None = None) -> bool:
        """A slot is free for this pool; False when it is not needed any more."""
        if trial is None:
            self.requested -= 1
            if not self.queue and (self.retired or len(self.workers) >= self._desired()):
                return False
        worker = self.node.new_worker(self)
        worker.trial = trial
        self.workers.add(worker)
        task = asyncio.ensure_future(self._start(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _desired(self) -> int:
        return max(self.minimum, self.config.pool_initial if self._warmed else 0)

    async def _start(self, worker: Worker) -> None:
        spec = dict(
            self.spec,
            directory=worker.directory,
            limits={
                "console": self.config.console_limit,
                "memory": self.config.worker_memory,
                "file": self.config.file_limit,
                "result": self.config.result_limit,
            },
        )
        body = json.dumps(spec).encode()
        limit = self.config.load_timeout
        fork = self.node.fork_for(self.state_id, self.spec)
        try:
            await worker.start(str(self.spec["interpreter"]), body, limit, fork)
        except Stopped:
            self._forget(worker)
        except Exception as exc:
            if not isinstance(exc, MLServeError):
                self.log(logging.ERROR, f"{self.label}: a worker could not be started: {exc!r}")
                exc = TrialFailed(f"A worker could not be started: {exc}.")
            self._forget(worker)
            self._load_failed(worker, exc)

    def _forget(self, worker: Worker) -> None:
        if worker in self.workers:
            self.workers.discard(worker)
            if worker in self.idle:
                self.idle.remove(worker)
            self.node.release_slot()

    def _load_failed(self, worker: Worker, exc: MLServeError) -> None:
        """The version cannot be loaded (now): tell whoever waits, and do not try at once again."""
        if worker.trial is not None:
            worker.trial.failed(exc, "load")
            self.node.watch()
            return
        self.log(logging.WARNING, f"{self.label} could not be loaded: {exc.message}")
        if exc.traceback:
            self.log(logging.WARNING, exc.traceback)
        wait = _LOAD_BACKOFF[min(self._failures, len(_LOAD_BACKOFF) - 1)]
        self._failures += 1
        self._failed_until = time.monotonic() + wait
        if any(other.state in (IDLE, BUSY) for other in self.workers):
            return  # the others serve those who wait
        self._failure = exc
        self._refuse_all(cannot_load(self.label, exc, wait))

    def _refuse_all(self, exc: MLServeError) -> None:
        waiting, self.queue = self.queue, deque()
        for call in waiting:
            call.answer(None, exc, 0.0)

    # What workers tell (process.Owner)

    def worker_loaded(self, worker: Worker, header: dict[str, Any]) -> None:
        self._failure, self._failures, self._failed_until = None, 0, 0.0
        self.node.learn(self.spec, header.pop("modules", None) or ())
        if worker.trial is not None:
            worker.trial.loaded(worker, header)
            return
        if header.get("console"):
            self.log(logging.INFO, f"{self.label}: while loading: {header['console']}")
        self._feed(worker)

    def worker_failed(self, worker: Worker, header: dict[str, Any]) -> None:
        worker.stopped = True  # its end is no second failure
        worker.kill()
        self._load_failed(worker, load_error(header, self.label, self.config.worker_memory))

    def worker_idle(self, worker: Worker, seconds: float) -> None:
        self._typical += 0.1 * (seconds - self._typical)
        if 0 < self.config.worker_max_calls <= worker.calls:
            worker.replace = True
            worker.end()
        else:
            self._feed(worker)

    def worker_gone(self, worker: Worker, call: Call | None, how: Exit, output: str) -> None:
        self._forget(worker)
        if call is not None:
            worker.replace = True
            self._say_lost(worker, f"died during a call: {how}", output)
            self._doubt_fork(worker)
            memory = self.config.worker_memory
            exc = worker_died(self.label, str(how), how.peak_memory, memory, output)
            call.answer(None, exc, time.monotonic() - call.started)
        elif not worker.loaded and not worker.stopped and worker.forked:
            self._load_afresh(worker, str(how))
        elif not worker.loaded and not worker.stopped:
            self._load_failed(worker, self._died_loading(how, output))
        elif not worker.stopped:
            self._say_lost(worker, f"died between calls: {how}", output)
        if worker.replace and not self.retired:
            self._warmed = True
            self._top_up()
        self.grow()

    def _top_up(self) -> None:
        """Have as many workers ready as a version in use should, so that the next call is warm."""
        if len(self.workers) + self.requested < self._desired():
            self.requested += 1
            self.node.request_slot(self)

    def _load_afresh(self, worker: Worker, how: str) -> None:
        """A forked worker died while it loaded the version; it may be the fork that it minds."""
        self.node.distrust(self.state_id, f"{self.label}: a forked worker ended ({how})")
        if worker.trial is not None:
            worker.trial.begin()

    def _died_loading(self, how: Exit, output: str) -> MLServeError:
        memory = self.config.worker_memory
        if memory and how.peak_memory > 0.8 * memory:
            why = out_of_memory(self.label, memory, "loading it")
        else:
            why = (
                f"The interpreter {self.spec['interpreter']} ended while it loaded {self.label} "
                f"({how}). Python 3.8 or newer is needed, and objects that were packed under "
                "another Python version can crash it: publish again from this environment."
            )
        return TrialFailed(why, traceback=output, stage="load")

    def _doubt_fork(self, worker: Worker) -> None:
        """It never finished a call: libraries with threads hang or die like that after a fork."""
        if worker.forked and worker.calls == 0:
            self.node.distrust(self.state_id, f"{self.label}: a forked worker failed")

    def worker_stuck(self, worker: Worker, call: Call | None, place: str) -> None:
        self._doubt_fork(worker)
        if call is not None:
            self._say_lost(worker, "was killed: its call took too long", place)
            limit = self.config.call_timeout
            worker.replace = True
            call.answer(None, call_timeout(self.label, limit, place), limit)
            return
        limit = self.config.load_timeout
        why = (
            f"{self.label} was not loaded within {limit:g} seconds (load_timeout). Make loading "
            "quicker, or ask the administrator to allow more."
        )
        self._load_failed(worker, TrialFailed(why, traceback=place, stage="load"))

    def worker_over(self, worker: Worker, call: Call, why: str) -> None:
        worker.call = None
        worker.stopped = worker.replace = True
        self._say_lost(worker, f"was killed: it {why}", "")
        exc = over_file_limit(self.label, why)
        call.answer(None, exc, time.monotonic() - call.started)

    def _say_lost(self, worker: Worker, what: str, output: str) -> None:
        last = f"; its last output:\n{output}" if output else ""
        self.log(logging.WARNING, f"{self.label}: worker {worker.pid} {what}{last}")

    def answer_error(self, header: dict[str, Any]) -> MLServeError:
        """The exception for a worker's reply that is not 200."""
        return call_error(header, self.label, self.config.worker_memory)

    def log(self, level: int, message: str) -> None:
        self.node.log(level, message)

    # Time

    def check(self, now: float) -> None:
        """Look at everything that has a deadline."""
        for worker in list(self.workers):
            worker.check(now)
        loading = any(worker.state == STARTING for worker in self.workers)
        while self.queue and now > self.queue[0].deadline and not loading:
            self.queue.popleft().answer(None, self._waited(), 0.0)
        if len(self.workers) < self.minimum and not self.retired:
            self.grow()
        spare = len(self.workers) - (0 if self.retired else self.minimum)
        for worker in list(self.idle):
            if spare <= 0:
                break
            if worker.state != IDLE:
                self.idle.remove(worker)
            elif self.retired or now - worker.last_used > self.config.idle_timeout:
                self.idle.remove(worker)
                worker.end()
                spare -= 1

    def _waited(self) -> MLServeError:
        if self.workers:
            why = f"All workers of {self.label} were busy for so long that the call was given up."
        else:
            why = (
                f"All {self.config.max_workers} workers (max_workers) are busy with other "
                f"services, and none became free for {self.label}."
            )
        return PoolExhausted(f"{why} Try again in a moment.", retry_after=1.0)

    def retire(self) -> None:
        """No new calls; idle workers stop, busy ones when nothing waits for them any more."""
        self.retired = True
        for worker in self.idle:
            worker.end()
        self.idle.clear()
        if self.queue:
            self.grow()

    @property
    def empty(self) -> bool:
        return not self.workers and not self.queue and not self.requested

    def describe(self) -> dict[str, Any]:
        """For the status page; memory is read by the caller."""
        states = [worker.state for worker in self.workers]
        return {
            "state": self.state_id,
            "name": self.spec.get("name"),
            "version": self.spec.get("version"),
            "workers": len(self.workers),
            "busy": states.count(BUSY),
            "idle": states.count(IDLE),
            "starting": states.count(STARTING),
            "queue": len(self.queue),
            "calls": self.calls,
            "initial": self.minimum,
            "max": self.maximum,
            "retired": self.retired,
            "pids": sorted(worker.pid for worker in self.workers if worker.pid),
        }
