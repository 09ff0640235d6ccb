"""The trial of a version before it becomes visible: load it in a fresh worker, call it once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..contract.errors import MLServeError, PoolExhausted
from .dedicated import free_slots
from .process import Call, Worker
from .protocol import Body
from .replies import EMPTY_RESULT, trial_frame

if TYPE_CHECKING:
    from .pool import Pool

# Takes the header of the reply (without its id) and its body.
Answer = Callable[[dict[str, Any], Body], None]


class Trial:
    """Asks for a worker of ``pool`` and answers once; without a ``sample`` it only loads."""

    def __init__(self, pool: Pool, sample: Body | None, answer: Answer) -> None:
        self.pool = pool
        self.sample = sample
        self.deadline = time.monotonic() + pool.config.load_timeout
        self.done = False
        self._answer = answer
        self._worker: Worker | None = None
        self._started = 0.0
        self._header: dict[str, Any] = {"status": 200}

    def begin(self) -> None:
        self.pool.node.trials.add(self)
        self.pool.node.request_slot(self.pool, self)
        self.pool.node.watch()

    def granted(self) -> bool:
        """A slot is free; False when nobody waits for it any more."""
        if self.done:
            return False
        self._started = time.monotonic()
        return self.pool.granted(self)

    def check(self, now: float) -> None:
        """Called while it waits for a slot or runs."""
        if not self._started and now > self.deadline:
            config = self.pool.config
            why = f"All {config.max_workers} workers (max_workers) are busy. Try again in a moment."
            self.failed(PoolExhausted(why, retry_after=5.0), "load")

    def loaded(self, worker: Worker, header: dict[str, Any]) -> None:
        self._worker = worker
        self._header["load_seconds"] = round(time.monotonic() - self._started, 6)
        self._header["python"] = header.get("python")
        if header.get("console"):
            self._header["console"] = header["console"]
        if self.sample is None:
            self._succeed(EMPTY_RESULT)
        else:
            call = Call(0, self.sample, float("inf"), self._called)
            worker.begin(call, self.pool.config.call_timeout)

    def _called(self, header: Any, body: Any, seconds: float) -> None:
        if header is None and not isinstance(body, MLServeError):
            self._header["call_seconds"] = round(seconds, 6)
            self._succeed(body)
            return
        self.failed(body if header is None else self.pool.answer_error(header), "call")

    def _succeed(self, body: Body) -> None:
        self._finish()
        worker = self._worker
        assert worker is not None
        worker.trial = None
        free_slots(self.pool)
        if self.sample is None:
            # After a call the worker reports itself.
            self.pool.worker_ready(worker)
        self._answer(self._header, body)

    def failed(self, exc: MLServeError, stage: str) -> None:
        """Nothing stays of a version that failed its trial; one that was in use before goes on."""
        if self.done:
            return
        self._finish()
        header, body = trial_frame(exc, stage)
        self.pool.node.end_trial(self)
        self._answer(header, body)

    def _finish(self) -> None:
        self.done = True
        self.pool.node.trials.discard(self)
