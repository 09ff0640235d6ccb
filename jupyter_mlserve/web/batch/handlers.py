"""``api/{name}/{version}/batch``: start, list, look at and delete batch executions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from ...store.batches.models import Execution
from ..base import API, allowed
from ..errors import dump
from .asked import flag, partial
from .base import BatchHandler
from .results import answered, pieces
from .views import status_view


class BatchesHandler(BatchHandler):
    """``batch``: all executions of a version that the asker has started."""

    @allowed("execute", API)
    async def post(self, name: str, version: str) -> None:
        """Asked before the body comes; ``BatchUpload`` reads it."""

    @allowed("read", API)
    async def get(self, name: str, version: str) -> None:
        """Their ids, oldest first; with ``?details=true`` what is known of each."""
        details = flag(self.request.query_arguments, "details")
        core = self.node.core
        found = await asyncio.to_thread(core.executions.of, self.principal.username, name, version)
        if not found:
            core.routes.find(name, version)  # an empty list of what there is not would mislead
        retention = self.node.settings.batch.retention
        if details:
            self.reply([status_view(execution, retention) for execution in found])
        else:
            self.reply([execution.id for execution in found])


class ExecutionHandler(BatchHandler):
    """``batch/{id}``: one execution."""

    @allowed("read", API)
    async def get(self, name: str, version: str, id: str) -> None:
        """Where it stands, and its results.

        All results at the end; the first ones before, if ``showPartialResults``, and then only
        these count as completed; none if ``results=false``.
        """
        query = self.request.query_arguments
        early, wanted = partial(query), flag(query, "results")
        execution = await self.execution(name, version, id)
        progress = None if execution.final else await self.node.core.runner.progress(id)
        status = status_view(execution, self.node.settings.batch.retention, progress)
        if wanted is False or not (early or execution.final):
            self.reply(status)
            return
        stop = await answered(self.node.core, execution)
        # Programs of the published contract read as many results as this says.
        status["completedItemCount"] = stop
        self.set_header("Content-Type", "application/json")
        await self.send(self._whole(status, execution, stop))

    async def _whole(
        self, status: dict[str, Any], execution: Execution, stop: int
    ) -> AsyncGenerator[bytes, None]:
        """The status with the results of the records [0, stop) as its last key."""
        head = dump(status)[:-1] + b',"batchExecutionResults":'
        async for piece in pieces(self.node.core, execution, "json", 0, stop):
            yield head + piece
            head = b""
        yield b"}"

    @allowed("write", API)
    async def delete(self, name: str, version: str, id: str) -> None:
        """Stop it and remove everything of it; an array of its id."""
        execution = await self.execution(name, version, id)
        await self.node.core.runner.cancel(execution.id)
        self.log.info(
            "%s deleted the batch execution %s of %s version %s",
            self.principal.username,
            execution.id,
            name,
            version,
        )
        self.reply([execution.id])
