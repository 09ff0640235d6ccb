"""``batch/{id}/events``: progress as server-sent events, so that nobody needs to ask again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

from ...contract.batch import FINAL
from ...contract.errors import NotFound
from ...store.batches.models import Execution
from ..base import API, allowed
from ..errors import dump
from .base import BatchHandler
from .views import event_view

if TYPE_CHECKING:
    from .progress import Progress

# A comment is sent after so many quiet seconds: proxies close what is silent, and a client that
# has gone is noticed by it.
HEARTBEAT = 15.0
# A stream ends after so many seconds even if the execution has not: its reader comes again, and
# shows again who it is.
LONGEST = 3600.0
# Milliseconds after which it comes again.
RETRY = 2000
DELETED = "Deleted"


class EventsHandler(BatchHandler):
    """``events``"""

    @allowed("read", API)
    async def get(self, name: str, version: str, id: str) -> None:
        """Events ``progress`` until the end; ``deleted`` if it is deleted meanwhile.

        A browser that comes again after the last event gets 204, which tells it to stay away.
        """
        execution = await self.execution(name, version, id)
        last = self.request.headers.get("Last-Event-ID", "")
        if execution.final and last.partition("-")[0] in FINAL:
            self.set_status(204)
            self.finish()
            return
        with self.node.core.desk.stream(self.principal.username):
            self.set_header("Content-Type", "text/event-stream")
            self.set_header("Cache-Control", "no-cache")
            self.set_header("X-Accel-Buffering", "no")  # nginx would hold events back
            await self.send(self._events(execution))

    async def _events(self, execution: Execution) -> AsyncGenerator[bytes, None]:
        core, retention = self.node.core, self.node.settings.batch.retention
        watched = core.runner.watch(execution.id)
        ends = time.monotonic() + LONGEST
        first = f"retry: {RETRY}\n\n".encode()
        async for progress in beating(watched, ends):
            if progress is None:
                yield b":\n\n"
                continue
            if progress.state != execution.state:
                # Its row has changed as well: when it began, when it ended.
                try:
                    execution = await asyncio.to_thread(core.executions.get, execution.id)
                except NotFound:
                    break
            view = event_view(execution, retention, progress)
            yield first + event("progress", f"{progress.state}-{progress.completed}", view)
            first = b""
            if progress.final:
                return
        if time.monotonic() < ends and not self.node.stopped:
            with suppress(NotFound):
                await asyncio.to_thread(core.executions.get, execution.id)
                return
            yield first + event("deleted", DELETED, {"batchExecutionId": execution.id})


async def beating(
    watched: AsyncIterator[Progress], ends: float
) -> AsyncGenerator[Progress | None, None]:
    """What ``watched`` gives, and None when nothing came for a while; until the moment ``ends``."""
    step: asyncio.Task[Progress] | None = None
    try:
        while (left := ends - time.monotonic()) > 0:
            if step is None:
                step = asyncio.create_task(_next(watched))
            done, _ = await asyncio.wait({step}, timeout=min(left, HEARTBEAT))
            if not done:
                yield None
                continue
            finished, step = step, None
            try:
                progress = finished.result()
            except (StopAsyncIteration, NotFound):
                return
            yield progress
    finally:
        if step is not None:
            step.cancel()
            with suppress(BaseException):
                await step
        close = getattr(watched, "aclose", None)
        if close is not None:
            await close()


async def _next(watched: AsyncIterator[Progress]) -> Progress:
    return await anext(watched)


def event(kind: str, id: str, value: object) -> bytes:
    """One event on the wire; JSON has no line breaks of its own."""
    return f"event: {kind}\nid: {id}\ndata: ".encode() + dump(value) + b"\n\n"
