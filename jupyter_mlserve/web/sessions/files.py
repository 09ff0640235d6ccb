"""``sessions/{id}/files``: the working directory of a session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from datetime import datetime, timezone

from ...contract.errors import TooLarge
from ..base import SESSIONS, MLServeHandler, allowed
from ..errors import Answer, dump, too_large
from ..exchange import Exchange
from ..multipart import boundary_of
from ..sending import attachment, in_threads
from .base import SessionBase
from .folder import files_in, place, read, remove, size_of
from .form import FIELD, FileForm
from .incoming import Incoming

# Written in pieces of this size, in a thread: a disk can be slow at any moment.
PIECE = 1024 * 1024
# Of a body, beside the file: the headers of its part, and what separates the parts.
MAX_REST = 16 * 1024


class FilesHandler(SessionBase):
    """``files``: all of them"""

    @allowed("read", SESSIONS)
    async def get(self, id: str) -> None:
        """Their names: paths, if there are folders."""
        with self.session(id).using() as session:
            found = await asyncio.to_thread(files_in, session.files)
        self.reply([name for name, _ in found])

    @allowed("write", SESSIONS)
    async def post(self, id: str) -> None:
        """Asked before the body comes; ``FileUpload`` reads it."""
        self.session(id)


class FileHandler(SessionBase):
    """``files/{fileName}``: one of them"""

    @allowed("read", SESSIONS)
    async def get(self, id: str, name: str) -> None:
        """Its bytes, to be saved and never shown: it may hold anything."""
        with self.session(id).using() as session:
            self.set_header("Content-Disposition", attachment(name.rpartition("/")[2]))
            self.set_header("X-Content-Type-Options", "nosniff")
            self.set_header("Content-Type", "application/octet-stream")
            await self.send(in_threads(read(session.files, name)))

    @allowed("write", SESSIONS)
    async def delete(self, id: str, name: str) -> None:
        """Remove it."""
        with self.session(id).using() as session:
            await asyncio.to_thread(remove, session.files, name)
        self.reply(f"File {name} deleted.")


class FileUpload(Exchange):
    """``POST files``: a form with the part ``file``, straight to the disk; 201."""

    handler_class: type[MLServeHandler] = FilesHandler

    _incoming: Incoming | None = None
    _counted = 0  # bytes that the session counts as coming, while they are

    async def begin(self) -> None:
        assert self.identity is not None
        self._session = self.node.core.sessions.get(self.identity.principal, self.path_args[0])
        boundary = boundary_of(self.request.headers.get("Content-Type", ""), "file", FIELD)
        self._pieces = bytearray()
        self.expect_body(self.node.settings.max_upload_size + MAX_REST)
        with self._session.using():
            used = await asyncio.to_thread(size_of, self._session.files)
            self._room = max(0, self._session.quota - used)
            self._incoming = await asyncio.to_thread(Incoming, self._session.folder)
        self._form = FileForm(boundary, self._incoming)
        if self.gone:
            self.abandon()

    def too_large(self) -> TooLarge:
        return too_large(self.node.settings.max_upload_size, "file", "max_upload_size")

    def receive(self, chunk: bytes) -> Awaitable[None] | None:
        self._session.touch()
        self._session.coming += len(chunk)
        self._counted += len(chunk)
        if self._session.coming > self._room + MAX_REST:
            self.refuse(self._session.no_room())
            return None
        self._pieces += chunk
        return self._write() if len(self._pieces) >= PIECE else None

    async def _write(self) -> None:
        pieces, self._pieces = bytes(self._pieces), bytearray()
        try:
            await asyncio.to_thread(self._store, pieces)
        except Exception as exc:
            self.refuse(exc)

    def _store(self, pieces: bytes) -> None:
        self._session.alive()
        self._form.write(pieces)

    async def respond(self) -> Answer:
        incoming, session = self._incoming, self._session
        assert incoming is not None
        try:
            with session.using():
                await asyncio.to_thread(self._store, bytes(self._pieces))
                name = self._form.finish()
                if incoming.size > self.node.settings.max_upload_size:
                    raise self.too_large()
                incoming.close()
                await asyncio.to_thread(self._place, incoming, name)
        finally:
            self._forget()
            self._incoming = None
            await asyncio.to_thread(incoming.discard)
        return Answer(201, dump({"name": name, "size": incoming.size}))

    def _place(self, incoming: Incoming, name: str) -> None:
        # Others came in the meantime, or code wrote files.
        if size_of(self._session.files) + incoming.size > self._session.quota:
            raise self._session.no_room()
        place(self._session.files, incoming.path, name)

    def record(self, answer: Answer) -> None:
        super().record(answer)
        if self.identity is not None:
            self.settings["api_last_activity"] = datetime.now(timezone.utc)

    def _forget(self) -> None:
        counted, self._counted = self._counted, 0
        if counted:
            self._session.coming -= counted

    def abandon(self) -> None:
        self._forget()
        incoming, self._incoming = self._incoming, None
        self._pieces = bytearray()
        if incoming is not None:
            # In a thread: it waits for what is being written.
            self.node.track(self._discard(incoming))

    async def _discard(self, incoming: Incoming) -> None:
        with suppress(OSError):
            await asyncio.to_thread(incoming.discard)
