"""The realtime process: versions, the threads they share, and the web node's requests.

A small call of a fast model runs in the event loop: handing it to a thread and back would cost
more than itself. Everything else runs in a few threads, first come, first served by version, and
blocks of records when no call wants a thread.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...contract.errors import InternalError, MLServeError, TooBusy
from ...worker.frames import dump_header, parse_header
from ...worker.limits import limit_resources
from ..block import LINES, Block
from ..protocol import Body, FrameProtocol
from ..replies import error_frame
from . import cache, failures, sessions
from .about import describe
from .cache import SMALL_BODY, Cache, Version
from .config import RealtimeConfig
from .flight import Recorder
from .queues import NEVER, Call, Turns
from .tasks import Drop, Load, Run, RunBlock, Sweep
from .threads import Slot, Threads, Watch
from .trials import Trials

if TYPE_CHECKING:
    from .lines import Lines

_TICK = 0.1  # seconds between looks at deadlines, while calls wait or run in threads
_LATE = 0.15  # seconds a call that was ended may take to say so itself
_INLINE_LIMIT = 0.25  # seconds; a call that holds the event loop so long goes on in a thread
_SWEEP_AFTER = 1.0  # seconds from a call in a thread to giving back the memory of such calls
_LOADS = 2  # models that are loaded at a time
_MOST_BLOCKS = 64  # of one version that wait


class Node(FrameProtocol):
    """Speaks with the web node on one connection; ``finished`` is done when that is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[None] = self.loop.create_future()
        self.config = RealtimeConfig()
        self.versions: dict[str, Version] = {}
        self.calls: dict[int, Call] = {}
        self.turns = Turns()
        self.total = 0
        self.born = time.monotonic()
        self._loads: deque[Version] = deque()
        self._loading = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sweeping = False

    # Requests of the web node

    def frame_received(self, header: bytes, body: Body) -> None:
        found = parse_header(header)
        op = found["op"]
        if op == "call":
            if "b" in found:
                self._call_block(found, body)
            else:
                self._call(found["id"], found["state"], found.get("m", ""), body)
            return
        try:
            getattr(self, f"_op_{op}")(found, body)
        except Exception as exc:
            self.log(logging.ERROR, f"The realtime process failed in {op!r}: {exc!r}")
            self._answer_error(found["id"], InternalError(f"The realtime process failed: {exc!r}"))

    def closed(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)

    def _op_start(self, found: dict[str, Any], body: Body) -> None:
        values = json.loads(body)
        root = Path(values.pop("root"))
        values.pop("token")
        self.config = config = RealtimeConfig.from_dict(values)
        limit_resources(config.runtime_memory, 16 * 1024 * 1024)
        sessions.limit_memory(config.run_memory)
        self.cache = Cache(config.model_memory)
        self.watch = Watch(config.stuck_grace)
        threads = config.thread_count + 1  # Turns says what the one more is for
        count = 1 + threads + _LOADS
        recorder = Recorder(root, count)
        slots = self.watch.slots = [Slot(number, recorder) for number in range(count)]
        self._inline = slots[0]
        recorder.enter(0)
        self._inline_options = sessions.run_options()
        self.threads = Threads("mlserve-score", slots[1 : 1 + threads])
        self._loaders = Threads("mlserve-load", slots[1 + threads :])
        self.watch.start()
        self.trials = Trials(config, root)
        self.answer(found["id"], {"pid": os.getpid()})

    def _op_define(self, found: dict[str, Any], body: Body) -> None:
        state_id = found["state"]
        if state_id not in self.versions:
            self.versions[state_id] = Version(state_id, json.loads(body))

    def _op_retire(self, found: dict[str, Any], body: Body) -> None:
        version = self.versions.pop(found["state"], None)
        if version is not None:
            version.retired = True
            if not version.wanted:
                self._unload(version)
        self.answer(found["id"], {})

    def _op_trial(self, found: dict[str, Any], body: Body) -> None:
        number = found["id"]

        def tried(header: dict[str, Any], result: bytes) -> None:
            self.loop.call_soon_threadsafe(self.answer, number, header, result)

        self.trials.submit(json.loads(body), tried)

    def _op_prepare(self, found: dict[str, Any], body: Body) -> None:
        self.answer(found["id"], {})

    def _op_ping(self, found: dict[str, Any], body: Body) -> None:
        self.answer(0, {"op": "pong"})

    def _op_cancel(self, found: dict[str, Any], body: Body) -> None:
        """The caller is gone: nobody needs the result."""
        call = self.calls.get(found["id"])
        if call is not None:
            self._give_up(call)

    def _op_status(self, found: dict[str, Any], body: Body) -> None:
        self.answer(found["id"], {}, json.dumps(describe(self)).encode())

    def answer(self, number: int, header: dict[str, Any], body: Body = b"") -> None:
        self.send(dump_header({"id": number, **header}).encode(), body)

    def _answer_error(
        self, number: int, exc: MLServeError, seconds: float | None = None, **more: str
    ) -> None:
        header, body = error_frame(exc, seconds)
        self.answer(number, {**header, **more}, body)

    def log(self, level: int, message: str) -> None:
        """Into the log of the web node."""
        self.answer(0, {"op": "log", "level": level, "message": message})

    # Calls

    def _call(self, number: int, state_id: str, media: str, body: Body) -> None:
        version = self.versions.get(state_id)
        if version is None:
            self.answer(number, {"status": 0})
            return
        size = len(body)
        if version.scorer is not None and size <= SMALL_BODY and version.quick(media, size):
            self._run_inline(number, version, media, body, size)
            return
        self._queue(Call(number, version, media, body, time.monotonic() + self.config.call_timeout))

    def _run_inline(self, number: int, version: Version, media: str, body: Body, size: int) -> None:
        scorer, slot, options = version.scorer, self._inline, self._inline_options
        assert scorer is not None
        start = time.monotonic()
        if self.watch.asleep:
            self.watch.wake()
        slot.begin(version.record, start + _INLINE_LIMIT, self._stop_inline, None)
        result: bytes | BaseException
        try:
            result = scorer.score(body, media, options)
        except Exception as exc:
            result = exc.with_traceback(None)
        overdue = slot.end()
        end = time.monotonic()
        version.last_used = end
        if overdue:
            # It may take its time, but not the event loop's.
            self._inline_options = sessions.run_options()
            version.slow(media, size)
            if not isinstance(result, bytes):
                self._queue(Call(number, version, media, body, start + self.config.call_timeout))
                return
        else:
            version.took(media, size, end - start)
        version.calls += 1
        self.total += 1
        if isinstance(result, bytes):
            # The way of nearly all calls: written by hand, it costs a tenth.
            header = f'{{"id":{number},"status":200,"seconds":{end - start:.6f}}}'
            self.send(header.encode(), result)
        else:
            self._answer_error(number, self._explained(version, result), end - start)

    def _stop_inline(self) -> None:
        self._inline_options.terminate = True

    def _call_block(self, found: dict[str, Any], body: Body) -> None:
        """Many records: they wait for threads that no call wants, and never run in the loop."""
        number, block = found["id"], Block.from_dict(found["b"])
        version = self.versions.get(found["state"])
        if version is None:
            self.answer(number, {"status": 0})
            return
        self._queue(Call(number, version, found.get("m") or LINES, body, NEVER, block))

    def _queue(self, call: Call) -> None:
        version, queue = call.version, call.queue
        if len(queue) >= (self.config.max_queue if call.block is None else _MOST_BLOCKS):
            what = "calls wait already (max_queue)" if call.block is None else "blocks wait already"
            self._answer_error(
                call.number,
                TooBusy(
                    f"{version.label}: {len(queue)} {what}. Try again in a moment.", retry_after=1.0
                ),
            )
            return
        if version.scorer is None and not version.loading:
            if version.failure is not None and time.monotonic() < version.retry_at:
                self._answer_error(call.number, version.failure, stage="load")
                return
            self._load(version)
        queue.append(call)
        self.calls[call.number] = call
        if version.scorer is not None:
            self.turns.enlist(version)
        self._dispatch()
        if self._timer is None:
            self._timer = self.loop.call_later(_TICK, self._tick)

    def _dispatch(self) -> None:
        """Give what waits to free threads."""
        while (call := self.turns.take(self.threads.free)) is not None:
            if isinstance(call, Version):
                if not call.loading:
                    self._load(call)
                continue
            version, block = call.version, call.block
            assert version.scorer is not None
            call.state = "runs"
            version.last_used = time.monotonic()
            self.threads.free -= 1
            if self.watch.asleep:
                self.watch.wake()
            if block is None:
                version.running += 1
                self.threads.submit(Run(self, call, version.scorer))
            else:
                version.blocks_running += 1
                call.deadline = version.last_used + block.budget + self.config.call_timeout
                self.threads.submit(RunBlock(self, call, version.scorer, block))
        # Not before: making room could unload what was just loaded, and its calls would wait again.
        self._start_loads()

    def ran(self, call: Call, result: bytes | BaseException, overdue: bool, spent: float) -> None:
        """A thread has ended a call; ``spent`` is in seconds of the processor."""
        version = call.version
        version.running -= 1
        version.calls += 1
        self.total += 1
        if len(call.body) <= SMALL_BODY and not overdue:
            version.took(call.media, len(call.body), spent)
        self._ended(call, result, {}, overdue, spent)

    def ran_block(
        self, call: Call, result: Lines | bytes | BaseException, overdue: bool, spent: float
    ) -> None:
        """A thread has ended a block."""
        call.version.blocks_running -= 1
        more = {}
        if not isinstance(result, bytes | BaseException):
            if result.unexpected is not None:
                self._explained(call.version, result.unexpected)
            more = {"done": result.done, "failed": result.failed}
            result = result.body
        self._ended(call, result, more, overdue, spent)

    def _ended(
        self,
        call: Call,
        result: bytes | BaseException,
        more: dict[str, Any],
        overdue: bool,
        spent: float,
    ) -> None:
        version = call.version
        self.threads.free += 1
        version.last_used = time.monotonic()
        if call.state != "done":
            self._finish(call)
            if isinstance(result, bytes):
                header = {"status": 200, "seconds": round(spent, 6), **more}
                self.answer(call.number, header, result)
            elif overdue:
                self._answer_error(
                    call.number, failures.overdue(version.label, self.config.call_timeout), spent
                )
            else:
                self._answer_error(call.number, self._explained(version, result), spent)
        if version.retired and not version.wanted and not version.busy:
            self._unload(version)
        if not self._sweeping:
            self._sweeping = True
            self.loop.call_later(_SWEEP_AFTER, self._loaders.submit, Sweep(self))
        self._dispatch()

    def swept(self) -> None:
        self._sweeping = False

    def _explained(self, version: Version, exc: BaseException) -> MLServeError:
        if not isinstance(exc, MLServeError | MemoryError):
            self.log(logging.ERROR, f"{version.label} failed: {exc!r}")
        return failures.call_failed(version.label, exc)

    def _finish(self, call: Call) -> None:
        call.state = "done"
        self.calls.pop(call.number, None)

    def _give_up(self, call: Call) -> None:
        """Its caller has an answer or is gone."""
        if call.state == "waits":
            call.queue.remove(call)
        elif call.slot is not None:
            call.slot.stop(call)
        self._finish(call)

    def _tick(self) -> None:
        self._timer = None
        now = time.monotonic()
        for call in list(self.calls.values()):
            # One that runs is ended by the watch, and then answers by itself, if it can be ended.
            late = _LATE if call.state == "runs" else 0.0
            if now > call.deadline + late:
                self._give_up(call)
                self._answer_error(
                    call.number, failures.overdue(call.version.label, self.config.call_timeout)
                )
        if self.calls:
            self._timer = self.loop.call_later(_TICK, self._tick)

    # Models

    def _load(self, version: Version) -> None:
        """To be loaded, as soon as `_start_loads` finds a thread for it."""
        version.loading = True
        self._loads.append(version)

    def _start_loads(self) -> None:
        while self._loads and self._loading < _LOADS:
            version = self._loads.popleft()
            self._loading += 1
            self.cache.make_room(cache.expected_size(version.spec["model"]["path"]))
            if self.watch.asleep:
                self.watch.wake()
            dropped, self.cache.dropped = self.cache.dropped, []
            self._loaders.submit(Load(self, version, dropped, self._loading == 1))

    def loaded(self, version: Version, found: Any, size: int, overdue: bool) -> None:
        """A thread has loaded a model: ``found`` is its scorer, or what was raised."""
        version.loading = False
        self._loading -= 1
        try:
            if isinstance(found, BaseException):
                raise found
            self.cache.add(version, found, size)
        except Exception as exc:
            error = failures.cannot_load(
                version.label, exc, self.config.load_timeout if overdue else None
            )
            self.log(logging.ERROR, error.message)
            version.failed(error)
            for queue in (version.queue, version.blocks):
                while queue:
                    call = queue.popleft()
                    self._finish(call)
                    self._answer_error(call.number, error, stage="load")
        found = None
        if version.retired and not version.wanted:
            self._unload(version)
        else:
            self.turns.enlist(version)
        self._drop()
        self._dispatch()

    def _unload(self, version: Version) -> None:
        self.cache.drop(version)
        self._drop()

    def _drop(self) -> None:
        if self.cache.dropped:
            dropped, self.cache.dropped = self.cache.dropped, []
            self._loaders.submit(Drop(dropped))
