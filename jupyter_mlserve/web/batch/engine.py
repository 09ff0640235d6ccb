"""Works on one batch execution: portions of its records out, results in, until it is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from logging import Logger
from typing import TYPE_CHECKING, Any

from ...compute.client import Reply
from ...contract.batch import COMPLETE
from ...contract.errors import (
    BundleCorrupt,
    MLServeError,
    NotFound,
    ServiceNotFound,
    TooBusy,
    Unavailable,
    VersionDeleted,
    WorkerLost,
)
from ...store.batches import DamagedUnit, Execution, Quota
from ...store.batches.models import ARROW, ROWS
from ...store.batches.plan import plan_of
from ..metrics import count_batch
from .asking import Asker, Broken
from .committing import Committer, LeaseLost, QuotaReached, Result
from .progress import Rate
from .settings import BatchSettings
from .sizes import Sizes
from .sources import Source
from .todo import PARTS, Span, Todo
from .verdicts import (
    DIED,
    DONE,
    LOST,
    SLOW,
    answered,
    error_line,
    message_of,
    reply_line,
    verdict,
)

if TYPE_CHECKING:
    from ..core import Core

# A record that killed so many workers is given up.
KILLS = 3
# Seconds for results on their way when the server is being stopped.
LAST_SECONDS = 2.0
# Rows that are held as text at a time when a worker cannot take them as they are stored.
MAX_TEXTS = 2

Threaded = Callable[..., Awaitable[Any]]


class Engine:
    """One run of one execution, on a lease that somebody else keeps.

    ``execution`` is as it was stored last, ``message`` says why it waits, ``asker`` (when it has
    begun) what runs it. ``told`` is called after each change.
    """

    def __init__(
        self,
        core: Core,
        settings: BatchSettings,
        execution: Execution,
        holder: str,
        threaded: Threaded,
        told: Callable[[Engine], None],
        log: Logger,
    ) -> None:
        self.execution = execution
        self.id = execution.id
        self.began = time.monotonic()
        self.rate = Rate(execution.completed)
        self.message = ""
        self.asker: Asker | None = None
        self.pausing = False
        self.ended = False
        self._core = core
        self._settings = settings
        self._holder = holder
        self._threaded = threaded
        self._tell = told
        self._log = log
        self._label = f"{execution.name} {execution.version}"
        self.parallel = max(1, min(execution.parallel, settings.parallel_cap))
        self._slots = asyncio.Semaphore(self.parallel)
        self._free = self.parallel
        self._ahead = 0
        self._stir = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._kills: dict[int, int] = {}
        self._owner = False
        self._lines_only = False

    # -- from outside ---------------------------------------------------------------------------

    def pause(self) -> None:
        """Begin nothing more; it ends when what is in progress is stored."""
        self.pausing = True
        self._stir.set()

    def give_up(self, message: str) -> None:
        """It cannot go on."""
        self._end(Broken(message))

    def let_go(self) -> None:
        """It was deleted, or is somebody else's now: end at once."""
        self._end(LeaseLost())

    def _end(self, why: BaseException) -> None:
        if self._error is None:
            self._error = why
        self._stir.set()

    # -- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until it is complete, has failed, was paused, or is not ours any more."""
        held = True
        try:
            await self._run()
            held = self.execution.state != COMPLETE
        except LeaseLost:
            held = False
        except (BundleCorrupt, VersionDeleted, ServiceNotFound) as exc:
            await self._fail(exc.message)
            held = False
        except NotFound:  # its files are gone: it was deleted
            held = False
        except (Broken, QuotaReached) as exc:
            await self._fail(str(exc))
            held = False
        finally:
            if held:
                with suppress(MLServeError):
                    await self._threaded(self._core.executions.release, self.id, self._holder)
            self.ended = True
            self._tell(self)

    async def _run(self) -> None:
        executions, files = self._core.executions, self._core.batches
        begun = await self._threaded(executions.begin, self.id, self._holder)
        if begun is None:
            raise LeaseLost
        self.execution = execution = begun
        self._tell(self)
        seconds = self._settings.chunk_seconds
        self.asker = await self._threaded(Asker, self._core, execution, self.parallel, seconds)
        self.asker.told = self._waits
        self._label, self._owner = self.asker.label, self.asker.owner
        done = await self._threaded(executions.chunks, self.id)
        await self._threaded(files.tidy, self.id, done)
        self._sizes = Sizes(execution, self.parallel, seconds, self.asker.realtime)
        piece = execution.piece if execution.format == ARROW else 0
        self._todo = Todo(execution.total, done, piece)
        plan = plan_of(self.asker.definition)
        self._source = Source(
            files,
            execution,
            lambda stream: self._core.children.convert(stream, plan),
            self._threaded,
        )
        self._committer = committer = Committer(
            executions,
            files,
            execution,
            self._holder,
            Quota(self._settings.quota, self._settings.user_quota),
            self._threaded,
            self._stored,
            self._waits,
        )
        commits = asyncio.ensure_future(committer.run())
        commits.add_done_callback(self._finished)
        try:
            await self._drive()
        except asyncio.CancelledError:
            # The server is being stopped: what is answered already should not be lost.
            await self._cancel()
            with suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._flushed(commits), LAST_SECONDS)
            raise
        finally:
            await self._cancel()
            commits.cancel()
            await asyncio.gather(commits, return_exceptions=True)
        if not self.pausing and self.execution.state != COMPLETE:
            raise RuntimeError(f"{self.execution.completed} of {self.execution.total} are done")

    async def _drive(self) -> None:
        """Keep all slots busy, with one portion ready beyond them."""
        while True:
            self._stir.clear()
            if self._error is not None:
                raise self._error
            while self._may_begin():
                span = self._todo.take(self._sizes.next(self._todo.left))
                if span is None:
                    break
                if span.arrow and self._lines_only:
                    span.arrow = False
                task = asyncio.ensure_future(self._work(span))
                self._ahead += 1
                self._tasks.add(task)
                task.add_done_callback(self._finished)
            if not self._tasks and self._committer.empty and (self.pausing or not self._todo):
                return
            await self._stir.wait()

    def _may_begin(self) -> bool:
        if self.pausing or self._ahead > self._free or self._committer.full:
            return False
        if self._lines_only and self._source.texts >= MAX_TEXTS and self._tasks:
            return self._todo.repeated
        return True

    def _finished(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end(error)
        self._stir.set()

    async def _cancel(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _flushed(self, commits: asyncio.Future[None]) -> None:
        while not self._committer.empty and not commits.done():
            self._stir.clear()
            await self._stir.wait()

    async def _fail(self, message: str) -> None:
        self._log.warning(
            "the batch execution %s of %s cannot go on: %s", self.id, self._label, message
        )
        executions = self._core.executions
        for wait in (0.2, 1.0, 5.0, None):
            try:
                ours = await self._threaded(executions.fail, self.id, self._holder, message)
                before, self.execution = (
                    self.execution,
                    await self._threaded(executions.get, self.id),
                )
                if ours:
                    count_batch(before, self.execution)
            except NotFound:
                return
            except MLServeError:
                if wait is None:
                    raise
                await asyncio.sleep(wait)
            else:
                return

    # -- one portion ------------------------------------------------------------------------------

    async def _work(self, span: Span) -> None:
        ahead = True
        try:
            try:
                body, now = await self._source.read(span)
            except DamagedUnit as exc:
                self._damaged(span, exc)
                return
            except (TooBusy, Unavailable) as exc:  # too many rows are being converted
                await asyncio.sleep(exc.retry_after or 1.0)
                self._todo.back(span)
                return
            end = now.text.first + len(now.text) if now.text is not None else now.stop
            end = min(end, span.stop)
            self._todo.back(now.part(now.stop, end))
            self._todo.back(span.part(end, span.stop))
            async with self._slots:
                ahead = False
                self._ahead -= 1
                self._free -= 1
                self._stir.set()
                try:
                    assert self.asker is not None
                    reply = await self.asker.ask(now, body, lambda: self.pausing)
                finally:
                    self._free += 1
            if reply is None:
                self._todo.back(now)
            else:
                self._judge(now, reply)
        finally:
            if ahead:
                self._ahead -= 1

    def _judge(self, span: Span, reply: Reply) -> None:
        word = verdict(reply)
        if word == DONE:
            self._done(span, reply)
        elif span.arrow:
            # Which of its rows is at fault is found with lines.
            self._lines_only = self._lines_only or reply.status == 415
            lines = replace(span, arrow=False, lost=0)
            self._todo.back(lines.suspects() if word in (DIED, SLOW, LOST) else lines)
        elif len(span) == 1:
            self._alone(span, reply, word)
        else:
            if word == DIED and len(span) <= PARTS:
                for record in range(span.first, span.stop):
                    self._kills[record] = self._kills.get(record, 0) + 1
            self._todo.back(span.suspects())

    def _done(self, span: Span, reply: Reply) -> None:
        count, body = len(span), reply.body
        failed = 0
        if not span.arrow:
            try:
                count, failed = answered(reply, count)
            except ValueError as exc:
                self._log.error("a worker of %s answered nonsense: %s", self._label, exc)
                header = {"error": "WorkerLost"}
                line = error_line(WorkerLost("its worker did not answer the records."), self._label)
                self._judge(span, Reply(500, line, header))
                return
        parts = [body] if span.arrow or body.endswith(b"\n") else [body, b"\n"]
        self._sizes.measured(count, float(reply.header["seconds"]))
        self._put(span.first, count, ARROW if span.arrow else ROWS, failed, parts)
        self._todo.back(span.part(span.first + count, span.stop))

    def _alone(self, span: Span, reply: Reply, word: str) -> None:
        """A record that was sent by itself, and not answered."""
        if word == DIED:
            kills = self._kills[span.first] = self._kills.get(span.first, 0) + 1
            if kills < KILLS:
                self._todo.back(span.suspects())
                return
            line = error_line(
                WorkerLost(
                    f"{self._label}: this record killed its worker three times, so it is not "
                    f"tried again. The last time: {message_of(reply)}"
                ),
                self._label,
            )
        else:
            line = reply_line(reply, self._label, self._owner)
        self._put(span.first, 1, ROWS, 1, [line])

    def _damaged(self, span: Span, exc: DamagedUnit) -> None:
        """These records are lost, the others are not."""
        bad = {record for record in exc.units if span.first <= record < span.stop}
        if not bad:
            raise BundleCorrupt(exc.message)
        line = error_line(exc.with_traceback(None), self._label)
        first = span.first
        for record in sorted(bad):
            self._todo.back(span.part(first, record))
            first = record + 1
            self._put(record, 1, ROWS, 1, [line])
        self._todo.back(span.part(first, span.stop))

    def _put(
        self, first: int, count: int, format: str, failed: int, parts: list[bytes | bytearray]
    ) -> None:
        if self._kills:
            for record in range(first, first + count):
                self._kills.pop(record, None)
        size = sum(map(len, parts))
        self._committer.put(Result(first, count, format, failed, parts, size))

    # -- what the store says ----------------------------------------------------------------------

    def _stored(self, execution: Execution) -> None:
        count_batch(self.execution, execution)
        self.execution = execution
        self.rate.count(execution.completed)
        self._tell(self)
        self._stir.set()

    def _waits(self, message: str) -> None:
        self.message = message
        self._tell(self)
