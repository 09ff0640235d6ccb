"""The node: pools by state, the slots they share, and the web node's requests."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..contract.errors import MLServeError, WorkerLost
from ..worker.frames import dump_header, parse_header
from .block import Block
from .config import ComputeConfig
from .dedicated import dedicate
from .forks import Fork, ForkServers
from .pool import BLOCKS_YIELD_AFTER, Pool
from .pool_status import describe
from .process import ENDING, IDLE, Call, Owner, Worker, resident_memory
from .protocol import Body, FrameProtocol
from .reaper import Reaper, kill_group
from .replies import error_frame
from .sessions import Sessions
from .trial import Trial

_TICK = 0.1  # seconds between looks at deadlines, while there is something to watch
_SLOW_TICK = 1.0  # while there are only idle workers; more often for short idle time-outs
_LEFT_ALONE = 10.0  # seconds an idle worker is safe from blocks that want one more


class Waiting(NamedTuple):
    """Who waits for a slot since when; a trial brings itself, ``low`` means that blocks wait."""

    pool: Pool
    since: float
    trial: Trial | None
    low: bool

    @property
    def starving(self) -> bool:
        """It has no worker at all."""
        return self.trial is not None or not self.pool.workers

    def rank(self) -> int:
        """Its place in the order of those who wait; equals come in turn."""
        if not self.low:
            return 1 if self.starving else 2
        if self.starving:
            # A version that never rests must not take back at once what it gave up for this.
            return 0 if time.monotonic() - self.since > BLOCKS_YIELD_AFTER else 3
        return 4


class Node(FrameProtocol):
    """Speaks with the web node on one connection; ``finished`` is done when that is closed."""

    def __init__(self, reaper: Reaper) -> None:
        super().__init__()
        self.config = ComputeConfig()
        self.pools: dict[str, Pool] = {}
        # Pools that were retired or dropped and still have a worker.
        self.leaving: set[Pool] = set()
        self.trials: set[Trial] = set()
        self.sessions = Sessions(self)
        self.waiting: deque[Waiting] = deque()
        self.used = 0
        self.born = time.monotonic()
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._reaper = reaper
        self._root = Path()
        self._token = ""
        self._numbers = 0
        self._timer: asyncio.TimerHandle | None = None
        self._granting = False
        self._slow_tick = _SLOW_TICK
        self._forks: ForkServers | None = None

    # Requests of the web node

    def frame_received(self, header: bytes, body: Body) -> None:
        found = parse_header(header)
        op = found["op"]
        if op == "call":
            self._call(found, body)
            return
        try:
            getattr(self, f"_op_{op}")(found, body)
        except Exception as exc:
            self.log(logging.ERROR, f"The compute node failed in {op!r}: {exc!r}")
            self.answer_error(found["id"], WorkerLost(f"The compute node failed: {exc!r}"))

    def closed(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)

    def _call(self, found: dict[str, Any], body: Body) -> None:
        number = found["id"]
        pool = self.pools.get(found["state"])
        if pool is None:
            self.answer(number, {"status": 0})
            return
        now = time.monotonic()

        def answer(header: Any, result: Any, seconds: float) -> None:
            if header is None and not isinstance(result, MLServeError):
                # The way of nearly all calls: written by hand, it costs a tenth.
                start = f'{{"id":{number},"status":200,"seconds":{seconds:.6f}}}'
                self.send(start.encode(), result)
                return
            exc = result if header is None else pool.answer_error(header)
            self.answer_error(number, exc, seconds)

        if "b" in found:
            self._block(pool, number, found, body)
            return
        pool.submit(Call(number, body, now + self.config.call_timeout, answer))

    def _block(self, pool: Pool, number: int, found: dict[str, Any], body: Body) -> None:
        def answer(header: Any, result: Any, seconds: float) -> None:
            if header is not None and header["status"] == 200:
                self.answer(number, {**header, "seconds": round(seconds, 6)}, result)
                return
            exc = result if header is None else pool.answer_error(header)
            self.answer_error(number, exc, seconds)

        block = Block.from_dict(found["b"])
        pool.submit_block(Call(number, body, float("inf"), answer, block, found.get("m", "")))

    def _op_start(self, found: dict[str, Any], body: Body) -> None:
        values = json.loads(body)
        self._root = Path(values.pop("root"))
        self._token = values.pop("token")
        self.config = config = ComputeConfig.from_dict(values)
        self._slow_tick = min(_SLOW_TICK, max(_TICK, config.idle_timeout / 4))
        if config.fork_server:
            self._forks = ForkServers(
                self._reaper, self.log, config.load_timeout, config.idle_timeout
            )
        self.answer(found["id"], {"pid": os.getpid()})

    def _op_define(self, found: dict[str, Any], body: Body) -> None:
        state_id = found["state"]
        if state_id not in self.pools:
            pool = self.pools[state_id] = Pool(self, state_id, json.loads(body))
            pool.grow()

    def _op_pool(self, found: dict[str, Any], body: Body) -> None:
        """Sizes of the version's own pool; none of them: it shares with the others."""
        pool = self.pools.get(found["state"])
        if pool is not None:
            dedicate(pool, found.get("pool"))
            self.make_room()
        self.answer(found["id"], {"status": 0 if pool is None else 200})

    def _op_trial(self, found: dict[str, Any], body: Body) -> None:
        number = found["id"]
        pool = self.pools[found["state"]]
        sample = body if found.get("sample") else None
        Trial(pool, sample, lambda header, result: self.answer(number, header, result)).begin()

    def _op_retire(self, found: dict[str, Any], body: Body) -> None:
        pool = self.pools.pop(found["state"], None)
        if pool is not None:
            self.leaving.add(pool)
            pool.retire()
        self.answer(found["id"], {})
        self.watch()

    def _op_prepare(self, found: dict[str, Any], body: Body) -> None:
        if self._forks is not None:
            self._forks.prepare(found["interpreter"], found["imports"])
        self.answer(found["id"], {})
        self.watch()

    def _op_session(self, found: dict[str, Any], body: Body) -> None:
        self.sessions.request(found, body)

    def _op_cancel(self, found: dict[str, Any], body: Body) -> None:
        """The caller is gone: a call that waits is dropped, one that runs is let finish.

        A block that runs is given a moment.
        """
        for pool in self.all_pools():
            if pool.blocks.remove(found["id"]):
                return
            for call in pool.queue:
                if call.number == found["id"]:
                    pool.queue.remove(call)
                    return
        self.sessions.drop(found["id"])

    def _op_ping(self, found: dict[str, Any], body: Body) -> None:
        self.answer(0, {"op": "pong"})

    def _op_status(self, found: dict[str, Any], body: Body) -> None:
        pools = []
        for pool in self.all_pools():
            if pool.retired and pool.empty:
                continue
            pools.append(describe(pool))
        status = {
            "pid": os.getpid(),
            "uptime": round(time.monotonic() - self.born, 3),
            "workers": sum(about["workers"] for about in pools),
            "busy": sum(about["busy"] for about in pools),
            "queue": sum(about["queue"] for about in pools),
            "calls": sum(about["calls"] for about in pools),
            "rss": resident_memory(os.getpid()),
            "used": self.used,
            "max_workers": self.config.max_workers,
            "fork_servers": self._forks.describe() if self._forks is not None else [],
            "pools": pools,
            "sessions": self.sessions.describe(),
        }
        self.answer(found["id"], {}, json.dumps(status).encode())

    def answer(self, number: int, header: dict[str, Any], body: Body = b"") -> None:
        self.send(dump_header({"id": number, **header}).encode(), body)

    def answer_error(self, number: int, exc: MLServeError, seconds: float | None = None) -> None:
        header, body = error_frame(exc, seconds)
        self.answer(number, header, body)

    def log(self, level: int, message: str) -> None:
        """Into the log of the web node."""
        self.answer(0, {"op": "log", "level": level, "message": message})

    # Workers and the slots they take

    def new_worker(self, owner: Owner) -> Worker:
        number = self._next_number()
        return Worker(
            owner,
            number,
            str(self._root / f"w{number}" / "call"),
            self._reaper,
            self.config.console_limit,
            self.config.file_limit,
            self._token,
        )

    def new_interpreter(self, owner: Owner, directory: str, quota: float) -> Worker:
        """A worker for a session: it works in ``directory``, and leaves that behind."""
        return Worker(
            owner,
            self._next_number(),
            directory,
            self._reaper,
            self.config.console_limit,
            quota,
            self._token,
            keep=True,
            limit_name="session_quota",
        )

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def request_slot(self, pool: Pool, trial: Trial | None = None, low: bool = False) -> None:
        """The pool (or trial) is told by ``granted`` when it may start a worker.

        A dedicated pool, which is limited by its own size, needs no slot.
        """
        if pool.dedicated and trial is None:
            pool.granted(low=low)
            return
        self.waiting.append(Waiting(pool, time.monotonic(), trial, low))
        self._grant()
        self.make_room()

    def forget(self, pool: Pool) -> None:
        """The pool needs no slots any more; trials still do."""
        self.waiting = deque(e for e in self.waiting if e.pool is not pool or e.trial is not None)
        pool.requested = pool.blocks.requested = 0

    def release_slot(self) -> None:
        """A worker is gone, or is not counted any more."""
        self.used -= 1
        self._loop.call_soon(self._grant)

    def _grant(self) -> None:
        if self._granting:
            return
        self._granting = True
        try:
            while self.waiting and self.used < self.config.max_workers:
                chosen = min(self.waiting, key=Waiting.rank)
                self.waiting.remove(chosen)
                self.used += 1
                trial, pool = chosen.trial, chosen.pool
                if not (trial.granted() if trial is not None else pool.granted(low=chosen.low)):
                    self.used -= 1
        finally:
            self._granting = False

    def make_room(self) -> None:
        """End as many idle workers, the least recently used first, as there are who wait."""
        ending = sum(
            w.slot and w.state == ENDING for pool in self.all_pools() for w in pool.workers
        )
        urgent = sum(entry.rank() < 4 for entry in self.waiting) - ending
        now = time.monotonic()
        for number in range(len(self.waiting) - ending):
            # A pool with something to do needs its workers; the one that waits has none idle.
            idle = [w for pool in self.all_pools() for w in pool.idle if w.slot and w.state == IDLE]
            if number >= urgent:
                idle = [w for w in idle if now - w.last_used > _LEFT_ALONE]
            if not idle:
                break
            worker = min(idle, key=lambda worker: worker.last_used)
            owner = worker.owner
            assert isinstance(owner, Pool)
            owner.idle.remove(worker)
            worker.end()
        self.watch()

    def starving(self) -> Waiting | None:
        """Who comes first of those without any worker."""
        return min((e for e in self.waiting if e.starving), key=Waiting.rank, default=None)

    def end_trial(self, trial: Trial) -> None:
        """End the worker of a trial that failed, and forget its pool unless others use it."""
        pool = trial.pool
        others = set(pool.workers)
        for worker in pool.workers:
            if worker.trial is trial:
                others.discard(worker)
                worker.stopped = True
                worker.kill()
        tried = any(other.pool is pool for other in self.trials)
        if not (others or tried or pool.wanted):
            if self.pools.get(pool.state_id) is pool:
                del self.pools[pool.state_id]
            pool.retired = True
            self.leaving.add(pool)
        self.watch()

    def all_pools(self) -> list[Pool]:
        return [*self.pools.values(), *self.leaving]

    # Time

    def watch(self) -> None:
        """Make sure that deadlines are looked at, often while anything runs."""
        busy = bool(self.trials or self.waiting or self.sessions.busy) or any(
            pool.wanted or len(pool.idle) < len(pool.workers) for pool in self.all_pools()
        )
        if self._timer is not None:
            if not busy or self._timer.when() - self._loop.time() <= _TICK:
                return
            self._timer.cancel()
            self._timer = None
        if busy or self.pools or self.leaving or self._forks or self.sessions.live:
            self._timer = self._loop.call_later(_TICK if busy else self._slow_tick, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = time.monotonic()
        for trial in list(self.trials):
            trial.check(now)
        for pool in self.all_pools():
            pool.check(now)
        self.sessions.check(now)
        if self.waiting:
            self.make_room()
        if self._forks is not None:
            self._forks.check(now)
        self.leaving = {pool for pool in self.leaving if not pool.empty}
        # A version nobody calls costs nothing, not even its definition.
        for pool in list(self.pools.values()):
            unused = now - pool.last_used > self.config.idle_timeout
            if unused and pool.empty and not pool.dedicated:
                del self.pools[pool.state_id]
        self.watch()

    # Fork servers

    def fork_for(self, state_id: str, spec: dict[str, Any]) -> Fork | None:
        return self._forks.fork_for(state_id, spec) if self._forks is not None else None

    def learn(self, spec: dict[str, Any], modules: Iterable[str]) -> None:
        if self._forks is not None:
            self._forks.learn(spec, modules)

    def distrust(self, state_id: str, why: str) -> None:
        """Start no more workers of this state by a fork."""
        if self._forks is not None:
            self._forks.distrust(state_id)
        self.log(logging.WARNING, f"{why}; its workers are started afresh from now on.")

    def kill_all(self) -> None:
        """The end: no worker may stay."""
        for pool in self.all_pools():
            for worker in pool.workers:
                if worker.pid:
                    kill_group(worker.pid)
        self.sessions.kill_all()
        if self._forks is not None:
            self._forks.kill_all()
