"""``sessions/{id}/workspace``: the objects of a session, as bytes that nobody here looks into.

Before the session has an interpreter they wait here; then they are its variables. One that waits
is a blob already: so a snapshot, and a service published from it, only name it, and nothing is
copied.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ...contract.errors import InvalidInput, MLServeError
from ...contract.names import check_variable
from ...store.snapshot_models import Item
from ..base import SESSIONS, allowed
from ..blobs import BlobUpload
from ..errors import Answer, dump, too_large
from ..refusal import declared_length
from ..sending import attachment, in_threads
from .base import SessionBase
from .folder import read, read_path
from .interpreter import asked, names

if TYPE_CHECKING:
    from ...store.writer import BlobWriter
    from .session import Session

MEDIA_TYPE = "application/octet-stream"


class WorkspaceHandler(SessionBase):
    """``workspace``: all objects"""

    @allowed("read", SESSIONS)
    async def get(self, id: str) -> None:
        """Their names."""
        with self.session(id).using() as session:
            found = await names(self.node.core, session) if session.live else session.staged
        self.reply(sorted(found))


class ObjectHandler(SessionBase):
    """``workspace/{objectName}``: one object"""

    @allowed("write", SESSIONS)
    async def post(self, id: str, name: str) -> None:
        """Asked before the body comes; ``ObjectUpload`` reads it."""
        check_variable(name)
        self.session(id)

    @allowed("read", SESSIONS)
    async def get(self, id: str, name: str) -> None:
        """The object as it was sent: what dill, or another pickler, made of it."""
        core = self.node.core
        check_variable(name)
        with self.session(id).using() as session:
            saved = session.folder / f"object-{secrets.token_hex(8)}"
            try:
                if session.live:
                    await asked(
                        core, session, core.compute.get_object(session.id, name, str(saved))
                    )
                    pieces = read(session.folder, saved.name)
                else:
                    item = session.staged_item(name)
                    pieces = read_path(await asyncio.to_thread(core.blobs.path, item.sha256))
                self.set_header("Content-Type", MEDIA_TYPE)
                self.set_header("Content-Disposition", attachment(f"{name}.dill"))
                await self.send(in_threads(pieces))
            finally:
                await asyncio.to_thread(saved.unlink, missing_ok=True)

    @allowed("write", SESSIONS)
    async def delete(self, id: str, name: str) -> None:
        """Remove it from the session."""
        core = self.node.core
        check_variable(name)
        with self.session(id).using() as session:
            if session.live:
                await asked(core, session, core.compute.delete_object(session.id, name))
            else:
                session.staged_item(name)
                del session.staged[name]
        self.reply(f"Object {name} deleted.")


class ObjectUpload(BlobUpload):
    """``POST workspace/{objectName}``: the body is the object, straight to the disk."""

    handler_class = ObjectHandler

    _counted = 0  # bytes that the session counts as coming, while they are

    async def begin(self) -> None:
        assert self.identity is not None
        id, name = self.path_args
        self._session = self.node.core.sessions.get(self.identity.principal, id)
        self._room = self._session.room(name)
        length = declared_length(self.request)
        if length == 0:
            raise InvalidInput(
                "The body is empty. Send the object as dill.dumps makes it.", field=name
            )
        self._pieces = bytearray()
        self.expect_body(self.node.settings.max_upload_size)
        if (length or 0) > self._room:
            raise self._session.no_room()
        blobs = self.node.core.blobs
        self._writer = await asyncio.to_thread(blobs.new_writer, self.limit, length)
        if self.gone:
            self.abandon()

    def too_large(self) -> MLServeError:  # type: ignore[override]
        return too_large(self.limit, "object", "max_upload_size")

    def receive(self, chunk: bytes) -> Awaitable[None] | None:
        self._session.touch()
        self._session.coming += len(chunk)
        self._counted += len(chunk)
        if self._session.ended or self._session.coming > self._room:
            self.refuse(self._problem())
            return None
        return super().receive(chunk)

    def _problem(self) -> MLServeError:
        try:
            self._session.alive()
        except MLServeError as exc:
            return exc
        return self._session.no_room()

    async def respond(self) -> Answer:
        writer, session, name = self._writer, self._session, self.path_args[1]
        assert writer is not None
        try:
            await self._keep(session, name, writer)
        finally:
            self._forget()
        return Answer(200, dump({"name": name, "size": writer.size}))

    async def _keep(self, session: Session, name: str, writer: BlobWriter) -> None:
        with session.using():
            await asyncio.to_thread(self._commit, writer)
            async with session.lock:
                session.alive()
                if not session.live:
                    if writer.size > session.room(name):  # others came in the meantime
                        raise session.no_room()
                    session.staged[name] = Item(name, writer.sha, writer.size)
            if session.live:
                core = self.node.core
                path = str(await asyncio.to_thread(core.blobs.path, writer.sha))
                await asked(core, session, core.compute.set_object(session.id, name, path))

    def abandon(self) -> None:
        self._forget()
        super().abandon()

    def _forget(self) -> None:
        counted, self._counted = self._counted, 0
        if counted:
            self._session.coming -= counted
