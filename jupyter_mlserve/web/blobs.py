"""``blobs...``: which are missing, and uploading them; straight to the disk, never into memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ..contract.errors import BlobMissing, InvalidInput, TooLarge
from .base import BLOBS, MLServeHandler, allowed
from .errors import Answer, dump, too_large
from .exchange import Exchange
from .refusal import declared_length

if TYPE_CHECKING:
    from ..store.writer import BlobWriter

MAX_ASKED = 10_000
# Written in pieces of this size, in a thread: a disk can be slow at any moment.
PIECE = 1024 * 1024


class MissingBlobsHandler(MLServeHandler):
    """``blobs/missing``"""

    @allowed("write", BLOBS)
    async def post(self) -> None:
        """``{"sha256": [..]}``: those of them that must still be uploaded."""
        self.node.policy.require(self.principal, "publish")
        asked = self.json_body().get("sha256")
        if not isinstance(asked, list) or len(asked) > MAX_ASKED:
            raise InvalidInput(
                field="sha256", expected=f"an array of at most {MAX_ASKED} digests", got="none"
            )
        missing = await asyncio.to_thread(self.node.core.blobs.missing, asked)
        self.reply({"missing": missing})


class BlobHandler(MLServeHandler):
    """``blobs/{sha256}``. Nobody gets a blob back out: it may hold anything, also a pickle."""

    @allowed("read", BLOBS)
    async def head(self, sha: str) -> None:
        """200 if it is there, 404 if not."""
        self.node.policy.require(self.principal, "publish")
        if not await asyncio.to_thread(self.node.core.blobs.has, sha):
            raise BlobMissing("There is no such blob.", sha256=[sha])
        self.finish()

    @allowed("write", BLOBS)
    async def put(self, sha: str) -> None:
        """Asked before the body comes; ``BlobUpload`` reads it."""
        self.node.policy.require(self.principal, "publish")


class BlobUpload(Exchange):
    """``PUT blobs/{sha256}``: 201 when it is new, 200 when it was there."""

    handler_class: type[MLServeHandler] = BlobHandler

    _writer: BlobWriter | None = None
    _there = False

    async def begin(self) -> None:
        self._pieces = bytearray()
        self.expect_body(self.node.settings.max_upload_size)
        self._writer = await asyncio.to_thread(self._open)

    def _open(self) -> BlobWriter:
        blobs, (sha,) = self.node.core.blobs, self.path_args
        self._there = blobs.has(sha)
        length = declared_length(self.request)
        return blobs.writer(sha, self.limit, length)

    def too_large(self) -> TooLarge:
        return too_large(self.limit, "blob", "max_upload_size")

    def receive(self, chunk: bytes) -> Awaitable[None] | None:
        self._pieces += chunk
        return self._write() if len(self._pieces) >= PIECE else None

    async def _write(self) -> None:
        if self._writer is None:
            return
        pieces, self._pieces = self._pieces, bytearray()
        try:
            await asyncio.to_thread(self._writer.write, pieces)
        except Exception as exc:
            self.refuse(exc)

    async def respond(self) -> Answer:
        writer = self._writer
        assert writer is not None
        await asyncio.to_thread(self._commit, writer)
        body = dump({"sha256": writer.sha, "size": writer.size})
        return Answer(200 if self._there else 201, body)

    def _commit(self, writer: BlobWriter) -> None:
        writer.write(self._pieces)
        writer.commit()

    def record(self, answer: Answer) -> None:
        super().record(answer)
        if self.identity is not None:
            self.settings["api_last_activity"] = datetime.now(timezone.utc)

    def abandon(self) -> None:
        writer, self._writer = self._writer, None
        self._pieces = bytearray()
        if writer is not None:
            writer.abort()
