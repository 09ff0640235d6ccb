"""Taking a snapshot of a session: its files become blobs, as its objects are already."""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ...contract.errors import MLServeError, OutOfSpace
from ...contract.limits import MAX_FILES
from ...store.snapshot_models import Item, Snapshot, SnapshotQuota, new_id
from .folder import files_in, read
from .interpreter import asked
from .room import remove_tree
from .session import PYTHON, Session

if TYPE_CHECKING:
    from ...store.blobs import Blobs
    from ..core import Core


async def capture(core: Core, session: Session, name: str | None, quota: SnapshotQuota) -> Snapshot:
    """Store a snapshot of the session as it is now; durable when this returns.

    Raises OutOfSpace (a quota, too many files), TooBusy (too many snapshots), Conflict (a file
    was being written), SessionFailed (a variable cannot be stored: ``field``).
    """
    async with session.lock:
        session.alive()
        staged = tuple(session.staged.values())
        saved = session.folder / f"saved-{secrets.token_hex(8)}"
        if session.live:
            await asyncio.to_thread(saved.mkdir, 0o700)

        def store() -> Snapshot:
            core.blobs.require(item.sha256 for item in staged)
            objects = stored_files(core.blobs, saved, session.quota) if session.live else staged
            files = stored_files(core.blobs, session.files, session.quota)
            snapshot = Snapshot(
                id=new_id(),
                name=name,
                owner=session.owner,
                runtime_type=PYTHON,
                created_at=datetime.now(timezone.utc),
                objects=objects,
                files=files,
            )
            core.snapshots.add(snapshot, quota)
            return snapshot

        try:
            if session.live:
                await asked(core, session, core.compute.save_session(session.id, str(saved)))
            return await asyncio.to_thread(store)
        finally:
            if session.live:
                await asyncio.to_thread(remove_tree, saved)


def stored_files(blobs: Blobs, folder: Path, limit: int) -> tuple[Item, ...]:
    """All files of a working directory as blobs; ``limit``: most bytes of all of them."""
    found = files_in(folder)
    if len(found) > MAX_FILES:
        raise OutOfSpace(
            f"The working directory has {len(found):,} files; a snapshot has at most "
            f"{MAX_FILES:,}. Remove those that are not needed.",
            limit=MAX_FILES,
        )
    if sum(size for _, size in found) > limit:
        raise OutOfSpace(
            f"The files in the working directory have more than the {limit:,} bytes that a "
            "session may have (session_quota). Remove those that are not needed.",
            limit=limit,
        )
    return tuple(_stored(blobs, folder, name, size) for name, size in found)


def _stored(blobs: Blobs, folder: Path, name: str, size: int) -> Item:
    try:
        with blobs.new_writer(expected_size=size) as writer:
            for piece in read(folder, name):
                writer.write(piece)
    except MLServeError as exc:
        exc.message = f"The file {name!r} cannot be stored. {exc.message}"
        raise
    return Item(name, writer.sha, writer.size)
