"""What the catalog answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Action = Literal["publish", "update", "rollback", "delete", "pool"]


@dataclass(frozen=True)
class Pool:
    """A dedicated pool: ``initial`` workers wait for calls, and there are at most ``maximum``.

    ``maximum`` 0: as many as a version may have where the server says so.
    """

    initial: int
    maximum: int

    def most(self, default: int) -> int:
        """Workers at most, where ``default`` is the server's own maximum of a version."""
        return self.maximum or max(default, self.initial)


@dataclass(frozen=True)
class PoolLimits:
    """Workers at most: ``default`` of a pool that names no maximum, ``most`` of all pools."""

    default: int
    most: int


@dataclass(frozen=True)
class State:
    """One state of a version: what was published, or what an update made of it.

    id: unique over everything there ever was. number: 1, 2, 3.. within (name, version), never
    used twice. author: who published the version. state_author: who made this state. Moments are
    aware, in UTC; created_at is the version's, state_created_at the state's. pool: the dedicated
    pool of the version, the one it was given or else that of this definition.
    """

    id: str
    number: int
    name: str
    version: str
    definition: dict[str, Any]
    content_hash: str
    author: str
    state_author: str
    created_at: datetime
    state_created_at: datetime
    pool: Pool | None = None


@dataclass(frozen=True)
class Event:
    """One change of the catalog. After it, state ``number`` was live (after a delete: no more).

    The action "pool": the version was given a dedicated pool, or another size of it, or lost it.
    """

    at: datetime
    who: str
    action: Action
    name: str
    version: str
    state_id: str
    number: int


def pool_of(definition: Mapping[str, Any]) -> Pool | None:
    """The dedicated pool that a (valid) definition asks for."""
    own = (definition.get("mlserve") or {}).get("pool")
    return Pool(int(own.get("initial") or 0), int(own["max"])) if own else None


def blobs_of(definition: Mapping[str, Any]) -> set[str]:
    """SHA-256 digests of what a (valid) definition needs: its objects and files, or its model."""
    ours = definition.get("mlserve") or {}
    items = [*(ours.get("objects") or ()), *(ours.get("files") or ())]
    if ours.get("model"):
        items.append(ours["model"])
    return {item["sha256"] for item in items}
