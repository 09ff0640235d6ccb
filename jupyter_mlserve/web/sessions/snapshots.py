"""``snapshots``: list, download, delete."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Generator
from typing import IO, Any, cast

from ...contract.definition import contract_time
from ...store.blobs import Blobs
from ...store.snapshot_models import Snapshot
from ..base import SESSIONS, allowed
from ..sending import attachment, in_threads
from .base import SessionBase
from .folder import read_path

# The zip format has no earlier time, and none with zones.
_NEVER = (1980, 1, 1, 0, 0, 0)


class SnapshotsHandler(SessionBase):
    """``snapshots``"""

    @allowed("read", SESSIONS)
    async def get(self) -> None:
        """The asker's own, oldest first."""
        found = await asyncio.to_thread(self.node.core.snapshots.of, self.principal.username)
        self.reply([snapshot_view(snapshot) for snapshot in found])


class SnapshotHandler(SessionBase):
    """``snapshots/{id}``"""

    @allowed("read", SESSIONS)
    async def get(self, id: str) -> None:
        """A zip file: ``workspace/NAME.dill`` for each object, ``files/NAME`` for each file."""
        snapshot = await self.snapshot(id)
        blobs = self.node.core.blobs
        await asyncio.to_thread(blobs.require, snapshot.blobs)
        self.set_header("Content-Type", "application/zip")
        self.set_header("Content-Disposition", attachment(f"{snapshot.id}.zip"))
        await self.send(in_threads(zipped(snapshot, blobs)))

    @allowed("write", SESSIONS)
    async def delete(self, id: str) -> None:
        """Delete it. Services that were published from it keep what they have."""
        snapshot = await self.snapshot(id)
        core = self.node.core

        def delete() -> None:
            # Somebody may be publishing from it just now: what it has stays for a while.
            core.blobs.missing(snapshot.blobs)
            core.snapshots.delete(snapshot.id)

        await asyncio.to_thread(delete)
        core.collect_some_time()
        self.log.info("%s deleted the snapshot %s", snapshot.owner, snapshot.id)
        self.reply("Snapshot deleted.")


def snapshot_view(snapshot: Snapshot) -> dict[str, Any]:
    """The contract's Snapshot object."""
    return {
        "id": snapshot.id,
        "name": snapshot.name or "",
        "owner": snapshot.owner,
        "creationTime": contract_time(snapshot.created_at),
        "contentSize": snapshot.bytes,
    }


class _Pipe:
    """What zipfile writes into: no file, and nothing to go back in."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken = bytes(self.written)
        self.written.clear()
        return taken


def zipped(snapshot: Snapshot, blobs: Blobs) -> Generator[bytes, None, None]:
    """The snapshot as a zip file, in pieces; made while it is read, and never whole anywhere."""
    moment = snapshot.created_at.timetuple()[:6]
    members = [(f"workspace/{item.name}.dill", item) for item in snapshot.objects]
    members += [(f"files/{item.name}", item) for item in snapshot.files]
    pipe = _Pipe()
    with zipfile.ZipFile(cast(IO[bytes], pipe), "w") as archive:
        for name, item in members:
            about = zipfile.ZipInfo(name, max(moment, _NEVER))
            about.external_attr = 0o600 << 16
            with archive.open(about, "w", force_zip64=item.size > zipfile.ZIP64_LIMIT) as member:
                for piece in read_path(blobs.path(item.sha256)):
                    member.write(piece)
                    yield pipe.take()
    yield pipe.take()
