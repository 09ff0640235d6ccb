"""Loading a snapshot into a session: its objects and files come beside those that are there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .folder import place, read_path, size_of
from .incoming import Incoming
from .interpreter import asked
from .session import Session

if TYPE_CHECKING:
    from ...store.snapshot_models import Snapshot
    from ..core import Core


async def load(core: Core, session: Session, snapshot: Snapshot) -> None:
    """What has the same name is replaced. Raises OutOfSpace, BlobMissing, SessionFailed."""
    async with session.lock:
        session.alive()
        await asyncio.to_thread(_load_files, core, session, snapshot)
        if session.live:
            for item in snapshot.objects:
                path = str(await asyncio.to_thread(core.blobs.path, item.sha256))
                await asked(core, session, core.compute.set_object(session.id, item.name, path))
            return
        staged = {**session.staged, **{item.name: item for item in snapshot.objects}}
        if sum(item.size for item in staged.values()) > session.quota:
            raise session.no_room()
        session.staged = staged


def _load_files(core: Core, session: Session, snapshot: Snapshot) -> None:
    core.blobs.require(snapshot.blobs)
    new = sum(item.size for item in snapshot.files)
    if new and size_of(session.files) + new > session.quota:
        raise session.no_room()
    for item in snapshot.files:
        incoming = Incoming(session.folder)
        try:
            for piece in read_path(core.blobs.path(item.sha256)):
                incoming.write(piece)
            incoming.close()
            place(session.files, incoming.path, item.name)
        finally:
            incoming.discard()
