"""Snapshots: objects and files of a session as they were at a moment, kept until deleted.

A snapshot is a row that names blobs. So publishing from it copies nothing, and deleting it takes
nothing away from what was published.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, bindparam, func, select

from ..contract.errors import NotFound, OutOfSpace, TooBusy
from .database import Database
from .rows import storable
from .schema import snapshot, snapshot_blob
from .snapshot_models import Item, Snapshot, SnapshotQuota

_BY_ID = select(snapshot).where(snapshot.c.id == bindparam("id"))
_OF_OWNER = (
    select(snapshot)
    .where(snapshot.c.owner == bindparam("owner"))
    .order_by(snapshot.c.created_at, snapshot.c.id)
)
_USED = select(func.count(), func.coalesce(func.sum(snapshot.c.bytes), 0)).where(
    snapshot.c.owner == bindparam("owner")
)
_DELETE = snapshot.delete().where(snapshot.c.id == bindparam("which"))
_DELETE_BLOBS = snapshot_blob.delete().where(snapshot_blob.c.snapshot_id == bindparam("which"))


class Snapshots:
    """The snapshots in a database. All methods block, and may raise what those of Catalog may."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, new: Snapshot, quota: SnapshotQuota | None = None) -> None:
        """Store it; its blobs are there already. Raises TooBusy, OutOfSpace at a quota."""
        quota = quota or SnapshotQuota()
        with self._database.write() as connection:
            count, size = connection.execute(_USED, {"owner": new.owner}).one()
            if quota.count and count >= quota.count:
                raise TooBusy(
                    f"You have {count} snapshots on this server, the most that it keeps for one "
                    "user (snapshot_max). Delete those that are not needed any more (DELETE "
                    "snapshots/{id}); services published from them keep what they have.",
                    limit=quota.count,
                )
            if quota.bytes and int(size) + new.bytes > quota.bytes:
                raise OutOfSpace(
                    f"The snapshot does not fit into the {quota.bytes:,} bytes for your snapshots "
                    "(snapshot_user_quota). Delete those that are not needed any more (DELETE "
                    "snapshots/{id}); services published from them keep what they have.",
                    limit=quota.bytes,
                )
            content = {
                "objects": [asdict(item) for item in new.objects],
                "files": [asdict(item) for item in new.files],
            }
            connection.execute(
                snapshot.insert(),
                {
                    "id": new.id,
                    "name": new.name,
                    "owner": new.owner,
                    "runtime_type": new.runtime_type,
                    "created_at": new.created_at,
                    "bytes": new.bytes,
                    "content": json.dumps(content, separators=(",", ":")),
                },
            )
            rows = [{"snapshot_id": new.id, "sha256": sha} for sha in sorted(new.blobs)]
            if rows:
                connection.execute(snapshot_blob.insert(), rows)

    def get(self, id: str) -> Snapshot:
        """Raises NotFound."""
        row = None
        if storable(id):
            with self._database.read() as connection:
                row = connection.execute(_BY_ID, {"id": id}).first()
        if row is None:
            raise NotFound("There is no such snapshot.", field="snapshotId")
        return _snapshot(row)

    def of(self, owner: str) -> list[Snapshot]:
        """All of one user, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(_OF_OWNER, {"owner": owner}).all()
        return [_snapshot(row) for row in rows]

    def delete(self, id: str) -> bool:
        """Whether it was there. Its blobs stay for what else needs them."""
        with self._database.write() as connection:
            connection.execute(_DELETE_BLOBS, {"which": id})
            return bool(connection.execute(_DELETE, {"which": id}).rowcount)


def _snapshot(row: Row[Any]) -> Snapshot:
    content = json.loads(row.content)
    return Snapshot(
        id=row.id,
        name=row.name,
        owner=row.owner,
        runtime_type=row.runtime_type,
        created_at=row.created_at,
        objects=tuple(Item(**item) for item in content["objects"]),
        files=tuple(Item(**item) for item in content["files"]),
    )
