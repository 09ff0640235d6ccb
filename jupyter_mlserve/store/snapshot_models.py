"""What a snapshot is. Importing this loads no library."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Item:
    """An object (its variable's name) or a file (its path in the working directory)."""

    name: str
    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class Snapshot:
    """One snapshot. ``created_at`` is aware, in UTC."""

    id: str
    name: str | None
    owner: str
    runtime_type: str
    created_at: datetime
    objects: tuple[Item, ...] = ()
    files: tuple[Item, ...] = ()

    @property
    def bytes(self) -> int:
        """Of all objects and files."""
        return sum(item.size for item in (*self.objects, *self.files))

    @property
    def blobs(self) -> set[str]:
        """Digests of its content."""
        return {item.sha256 for item in (*self.objects, *self.files)}


@dataclass(frozen=True)
class SnapshotQuota:
    """What one user may keep; 0: no limit."""

    count: int = 0
    bytes: int = 0


def new_id() -> str:
    """A GUID."""
    return str(uuid.uuid4())
