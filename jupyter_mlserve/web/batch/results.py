"""``batch/{id}/results``: results by pages, or as a file in the format that is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from ...contract.batch import COMPLETE, MEDIA
from ...contract.definition import Definition
from ...store.batches.models import ROWS, Chunk, Execution
from ...store.batches.plan import OutPlan, out_plan_of
from ..base import API, allowed
from ..errors import dump
from ..sending import attachment, in_threads
from .asked import download_format, page
from .base import BatchHandler
from .reading import joined

if TYPE_CHECKING:
    from ..core import Core

# Records whose chunks are looked up at a time.
WINDOW = 10_000
# What the name of a downloaded file ends with.
SUFFIXES = {"json": "json", "lines": "jsonl", "csv": "csv", "arrow": "arrow", "parquet": "parquet"}


class ResultsHandler(BatchHandler):
    """``results``"""

    @allowed("read", API)
    async def get(self, name: str, version: str, id: str) -> None:
        """Results in the order of the records, as far as there is no gap yet.

        ``?offset=&limit=``. JSON comes in pages; ``next`` says where the next one begins, null
        when there is none yet. The other formats come whole, as a file to be saved.
        """
        query = self.request.query_arguments
        format = download_format(query, ",".join(self.request.headers.get_list("Accept")))
        asked = page(query, format)
        execution = await self.execution(name, version, id)
        there = stop = await answered(self.node.core, execution)
        first = min(asked.offset, stop)
        if asked.limit is not None:
            stop = min(stop, first + asked.limit)
        self.set_header("Vary", "Accept")
        self.set_header("Content-Type", MEDIA[format])
        if format == "json":
            view = {
                "offset": asked.offset,
                "count": stop - first,
                "totalItemCount": execution.total,
                "completedItemCount": execution.completed,
                "next": stop if stop < there else None,
            }
            await self.send(self._page(execution, view, first, stop))
            return
        file = f"{name}-{version}-{id[:8]}.{SUFFIXES[format]}"
        self.set_header("Content-Disposition", attachment(file))
        self.set_header("X-Content-Type-Options", "nosniff")
        await self.send(pieces(self.node.core, execution, format, first, stop))

    async def _page(
        self, execution: Execution, view: dict[str, Any], first: int, stop: int
    ) -> AsyncGenerator[bytes, None]:
        head = dump(view)[:-1] + b',"results":'
        async for piece in pieces(self.node.core, execution, "json", first, stop):
            yield head + piece
            head = b""
        yield b"}"


async def answered(core: Core, execution: Execution) -> int:
    """How many records, from the first one on, have their result."""
    if execution.state == COMPLETE:
        return execution.total
    seen = core.desk.answered(execution.id)
    stop = await asyncio.to_thread(_answered, core, execution, seen)
    core.desk.saw_answered(execution.id, stop)
    # There may be more than the row said that was read before.
    return min(stop, execution.completed)


def _answered(core: Core, execution: Execution, seen: int) -> int:
    stop = seen
    for chunk in chunks_of(core, execution, seen, execution.total):
        if chunk.first > stop:
            break
        stop = chunk.stop
    return stop


def chunks_of(core: Core, execution: Execution, first: int, stop: int) -> Iterator[Chunk]:
    """The stored chunks of the records [first, stop), in order; looked up as they are needed."""
    while first < stop:
        last = None
        for last in core.executions.chunks_between(execution.id, first, min(first + WINDOW, stop)):
            yield last
        first = max(first + WINDOW, last.stop if last is not None else 0)


async def pieces(
    core: Core, execution: Execution, format: str, first: int, stop: int
) -> AsyncGenerator[bytes, None]:
    """The results of the records [first, stop), which are all there, as pieces of a file.

    ``format``: one of ``contract.batch.MEDIA``; ``json`` is one array.
    """
    if format in ("json", "lines") and execution.format == ROWS:
        async for piece in in_threads(_passed_on(core, execution, format, first, stop)):
            yield piece
        return
    chunks, outputs = await asyncio.to_thread(_plan, core, execution, first, stop)
    folder = core.batches.folder(execution.id)
    found = core.children.render(
        folder, chunks, outputs, format, first, stop - first, execution.owner
    )
    async with aclosing(cast("AsyncGenerator[bytes, None]", found)) as rendered:
        async for piece in rendered:
            yield piece


def _plan(core: Core, execution: Execution, first: int, stop: int) -> tuple[list[Chunk], OutPlan]:
    """What a rendering must know: the chunks, and what the state that ran declares."""
    from ...store.batches.pinned import pinned  # the database; it is open by now

    state = pinned(core.catalog.database, execution.state_id, deleted=True)
    outputs = out_plan_of(Definition.from_json(state.definition))
    return list(chunks_of(core, execution, first, stop)), outputs


def _passed_on(
    core: Core, execution: Execution, format: str, first: int, stop: int
) -> Generator[bytes, None, None]:
    """Results that are stored as JSON lines go out as they are."""
    folder = core.batches.folder(execution.id)
    chunks = chunks_of(core, execution, first, stop)
    if format == "json":
        before = b"["
        for piece in joined(folder, chunks, first, stop, b","):
            yield before + piece
            before = b""
        yield before + b"]"
    else:
        yield from joined(folder, chunks, first, stop, b"\n")
        if stop > first:
            yield b"\n"
