"""``batch/{id}/{index}/files``: what the call of one record wrote."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator

from ...contract.errors import BundleCorrupt, NotFound
from ...store.batches.models import ROWS, Execution
from ..base import API, allowed
from ..sending import attachment
from .asked import record_index
from .base import BatchHandler
from .reading import PIECE, line


class RecordBase(BatchHandler):
    """Files of one record; it answers no verb itself."""

    async def files(self, name: str, version: str, id: str, index: str) -> dict[str, str | None]:
        """Files of the record, in base64, by name; None for a declared one it did not write."""
        execution = await self.execution(name, version, id)
        # One at a time: a result can be large, and is taken apart in memory.
        async with self.node.reading:
            return await asyncio.to_thread(
                self._files, execution, record_index(index, execution.total)
            )

    def _files(self, execution: Execution, index: int) -> dict[str, str | None]:
        core = self.node.core
        chunks = core.executions.chunks_between(execution.id, index, index + 1)
        if not chunks:
            ended = execution.final and execution.completed < execution.total
            raise NotFound(
                f"Record {index} "
                + ("was not answered." if ended else "is not answered yet; ask again later.")
            )
        if chunks[0].format != ROWS:
            return {}  # answered as a table, which has no files
        found = line(core.batches.folder(execution.id), chunks[0], index)
        try:
            files = json.loads(found)["outputFiles"]
        except (ValueError, KeyError, TypeError):
            raise BundleCorrupt(f"The stored result of record {index} cannot be read.") from None
        return dict(files)


class RecordFilesHandler(RecordBase):
    """``files``: the names."""

    @allowed("read", API)
    async def get(self, name: str, version: str, id: str, index: str) -> None:
        """Names of the declared files that the call wrote."""
        files = await self.files(name, version, id, index)
        self.reply([file for file, content in files.items() if content is not None])


class RecordFileHandler(RecordBase):
    """``files/{file}``: one of them."""

    @allowed("read", API)
    async def get(self, name: str, version: str, id: str, index: str, file: str) -> None:
        """Its bytes, to be saved and never shown: it may hold anything."""
        content = (await self.files(name, version, id, index)).get(file)
        if content is None:
            raise NotFound(
                f"Record {index} wrote no file {file[:80]!r}. The names of its files are at "
                f"{self.request.path.rpartition('/')[0][:400]}.",
                field="fileName",
            )
        try:
            data = await asyncio.to_thread(base64.b64decode, content, validate=True)
        except (binascii.Error, ValueError):
            raise BundleCorrupt(f"The stored file {file!r} cannot be read.") from None
        self.set_header("Content-Disposition", attachment(file))
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Length", str(len(data)))
        await self.send(_slices(data))


async def _slices(data: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data) or 1, PIECE):
        yield data[start : start + PIECE]
