"""The workers of one version: who takes a call, when one is started, when one goes."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from ..contract.errors import MLServeError, TooBusy, TrialFailed
from .backoff import Backoff
from .block_queue import MAX_BLOCKS, BlockQueue
from .dedicated import shed, sizes
from .pool_idle import end_idle
from .process import BUSY, IDLE, STARTING, Call, Stopped, Worker
from .reaper import Exit
from .replies import (
    call_error,
    call_timeout,
    cannot_load,
    died_loading,
    load_error,
    load_timeout,
    out_of_memory,
    over_file_limit,
    too_busy,
    waited,
    worker_died,
)

if TYPE_CHECKING:
    from .node import Node
    from .trial import Trial

_YIELD_AFTER = 1.0  # seconds another version waits before a busy pool gives a worker up
BLOCKS_YIELD_AFTER = 3.0  # the same, when it waits to work on blocks
_SHORT_LIFE = 5.0  # seconds; a worker that dies sooner by itself is not replaced at once


class Pool:
    """Owned by the node; ``spec`` is the load spec of the state."""

    def __init__(self, node: Node, state_id: str, spec: dict[str, Any]) -> None:
        self.node = node
        self.config = node.config
        self.state_id = state_id
        self.spec = spec
        self.label = f"{spec.get('name')} {spec.get('version')}"
        own = spec.get("pool")
        self.dedicated = bool(own)
        self.minimum, self.maximum = sizes(own, self.config)
        self.workers: set[Worker] = set()
        self.idle: list[Worker] = []
        self.queue: deque[Call] = deque()
        self.blocks = BlockQueue()
        self.requested = 0  # slots asked of the node and not granted yet, for calls
        self.calls = 0
        self.retired = False
        self.shrinking = False  # there may be more workers than there should be
        self.last_used = time.monotonic()
        self._warmed = False
        self._typical = 0.0  # seconds of a call, a moving average
        self._backoff = Backoff()
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
        if (refusal := self._backoff.refusal(self.label, self.last_used)) is not None:
            call.answer(None, refusal, 0.0)
        elif len(self.queue) >= self.config.max_queue and not self._room():
            call.answer(None, self._too_busy(), 0.0)
        else:
            self.queue.append(call)
            self.grow()

    def submit_block(self, call: Call) -> None:
        """Take a call that has a block."""
        self.last_used = time.monotonic()
        if (refusal := self._backoff.refusal(self.label, self.last_used)) is not None:
            call.answer(None, refusal, 0.0)
        elif len(self.blocks.waiting) >= MAX_BLOCKS:
            why = f"{self.label} has {MAX_BLOCKS} blocks of records waiting. Try again later."
            call.answer(None, TooBusy(why, retry_after=5.0), 0.0)
        else:
            self.blocks.add(call)
            while self.idle and self.blocks.may_begin:
                self._feed(self.idle.pop())
            self.grow()

    def call_again(self, call: Call) -> None:
        """A worker died before it began this call."""
        (self.queue if call.block is None else self.blocks.waiting).appendleft(call)
        self.grow()

    def _room(self) -> bool:
        # A queue of length 0 still lets a call start a worker.
        return not self.queue and self._live() < self.maximum

    def _live(self) -> int:
        """Workers, also those asked for, that are not busy with blocks.

        A dedicated pool is of its size, whatever its workers are busy with.
        """
        live = len(self.workers) + self.requested
        return live if self.dedicated else live - len(self.blocks.running)

    def _too_busy(self) -> MLServeError:
        waiting = len(self.queue)
        return too_busy(self.label, waiting, self._typical * waiting / max(1, len(self.workers)))

    def _feed(self, worker: Worker) -> None:
        """An idle worker takes the next call that waits, or a block, or joins the idle ones."""
        if worker.state != IDLE or (self.shrinking and shed(self, worker)):
            return
        blocks = self.blocks
        if self.queue and self._must_yield():
            worker.end()
        elif self.queue and blocks.may_begin and self._block_is_due():
            blocks.begin(worker, self.config.call_timeout)
        elif self.queue:
            blocks.interrupted(worker)
            worker.begin(self.queue.popleft(), self.config.call_timeout)
        elif self.retired and worker.trial is None and not blocks.waiting:
            worker.end()
        elif not blocks.may_begin:
            blocks.interrupted(worker)
            self.idle.append(worker)
            if self.node.waiting:
                self.node.make_room()
        elif (
            self.node.waiting
            and not self.dedicated
            and blocks.must_yield(
                worker, (entry for entry in self.node.waiting if entry.pool is not self)
            )
        ):
            worker.end()
        else:
            blocks.begin(worker, self.config.call_timeout)

    def _block_is_due(self) -> bool:
        """Calls have as many workers as they may, or never leave one to a block that waits."""
        busy = sum(worker.call is not None for worker in self.workers)
        return busy - len(self.blocks.running) >= self.maximum or self.blocks.overdue

    def _must_yield(self) -> bool:
        """Another version has waited long for its first worker, and this one never rests."""
        waiting = self.node.waiting and not self.dedicated
        starving = self.node.starving() if waiting else None
        if starving is None:
            return False
        after = BLOCKS_YIELD_AFTER if starving.low else _YIELD_AFTER
        return time.monotonic() - starving.since > after

    # Workers

    def grow(self) -> None:
        """Ask for as many workers as are needed now."""
        if self._backoff.waits:
            return
        starting = self._starting()
        live = self._live()
        wanted = len(self.queue) - starting - self.requested
        if not self._warmed and self.queue:
            self._warmed = True
            wanted = max(wanted, self.config.pool_initial - live)
        if not self.retired:
            wanted = max(wanted, self.minimum - live)
        for _ in range(min(wanted, self.maximum - live)):
            self.requested += 1
            self.node.request_slot(self)
        if self.blocks.waiting:
            for _ in range(self._wanted_for_blocks()):
                self.blocks.requested += 1
                self.node.request_slot(self, low=True)
        self.node.watch()

    def _starting(self) -> int:
        return sum(worker.state == STARTING and not worker.trial for worker in self.workers)

    def _free(self) -> int:
        """Workers, also those asked for, that can take a block when the calls have theirs."""
        return max(0, self._starting() + self.requested + len(self.idle) - len(self.queue))

    def _wanted_for_blocks(self) -> int:
        """Workers to ask for; at most those that blocks may have, beyond the ones of the calls."""
        room = self.maximum - len(self.workers) - self.requested
        wanted = self.blocks.wanted(self._free(), room)
        return min(wanted, room - self.blocks.requested) if self.dedicated else wanted

    def granted(self, trial: Trial | None = None, low: bool = False) -> bool:
        """A slot is free for this pool; False when it is not needed any more."""
        if low:
            self.blocks.requested -= 1
            if self._wanted_for_blocks() < 1:
                return False
        elif trial is None:
            self.requested -= 1
            if not self.queue and (self.retired or len(self.workers) >= self._desired()):
                return False
        worker = self.node.new_worker(self)
        worker.trial = trial
        worker.slot = trial is not None or not self.dedicated
        self.workers.add(worker)
        task = asyncio.ensure_future(self._start(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _desired(self) -> int:
        usual = self.config.pool_initial if self._warmed else 0
        return max(self.minimum, min(usual, self.maximum))

    async def _start(self, worker: Worker) -> None:
        spec = dict(
            self.spec,
            directory=worker.directory,
            out_of_memory=out_of_memory(self.label, self.config.worker_memory),
            limits=self.config.worker_limits,
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
        self.blocks.gone(worker)
        if worker in self.workers:
            self.workers.discard(worker)
            if worker in self.idle:
                self.idle.remove(worker)
            if worker.slot:
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
        wait = self._backoff.failed()
        if any(other.state in (IDLE, BUSY) for other in self.workers):
            return  # the others serve those who wait
        self._backoff.refuse(exc)
        self._refuse_all(cannot_load(self.label, exc, wait))

    def _refuse_all(self, exc: MLServeError) -> None:
        waiting = [*self.queue, *self.blocks.waiting]
        self.queue.clear()
        self.blocks.waiting.clear()
        for call in waiting:
            call.answer(None, exc, 0.0)

    # What workers tell (process.Owner)

    def worker_loaded(self, worker: Worker, header: dict[str, Any]) -> None:
        self._backoff.loaded()
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

    def worker_idle(self, worker: Worker, call: Call, seconds: float) -> None:
        if call.block is None:
            self._typical += 0.1 * (seconds - self._typical)
        else:
            self.blocks.ended(worker)
        self.worker_ready(worker)

    def worker_ready(self, worker: Worker) -> None:
        """It may take the next call, unless it has had enough of them."""
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
            memory, interpreter = self.config.worker_memory, str(self.spec["interpreter"])
            exc = died_loading(self.label, interpreter, how, memory, output)
            self._load_failed(worker, exc)
        elif not worker.stopped:
            self._say_lost(worker, f"died between calls: {how}", output)
            if worker.calls == 0 and time.monotonic() - worker.born < _SHORT_LIFE:
                self._backoff.failed()  # the next may do the same
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
        self._load_failed(worker, load_timeout(self.label, self.config.load_timeout, place))

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
            most = 0 if self.dedicated else self.config.max_workers
            self.queue.popleft().answer(None, waited(self.label, most, bool(self.workers)), 0.0)
        if self.blocks.waiting or (len(self.workers) < self.minimum and not self.retired):
            self.grow()
        end_idle(self, now)

    def retire(self) -> None:
        """No new calls; idle workers stop, busy ones when nothing waits for them any more."""
        self.retired = True
        for worker in self.idle:
            worker.end()
        self.idle.clear()
        if self.queue or self.blocks.waiting:
            self.grow()

    @property
    def ready(self) -> int:
        """Workers that have the version loaded."""
        return sum(w.state in (IDLE, BUSY) and w.trial is None for w in self.workers)

    @property
    def wanted(self) -> bool:
        """Something waits for a worker of this pool."""
        blocks = self.blocks
        return bool(self.queue or self.requested or blocks.waiting or blocks.requested)

    @property
    def empty(self) -> bool:
        return not self.workers and not self.wanted
