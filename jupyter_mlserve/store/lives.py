"""Finding a version in its present life: since it was published for the last time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from ..contract.errors import ServiceNotFound, StaleState
from . import statements as sql
from .rows import storable, was_deleted

# How many versions a "no such version" names, newest first.
_NAMED_VERSIONS = 5


def alive(connection: Connection, name: str, version: str, expected: str | None = None) -> Row[Any]:
    """The life of a version that is not deleted and (if given) in the expected state.

    Raises ServiceNotFound, VersionDeleted, StaleState (details: ``state``: the current id).
    """
    life = first(connection, sql.LIFE, name=name, version=version)
    if life is None:
        raise not_found(connection, name, version)
    if life.deleted_at is not None:
        raise was_deleted(name, version, life.deleted_at)
    if expected is not None and life.state_id != expected:
        raise StaleState(
            f"Version {version!r} of service {name!r} was changed by somebody else in the "
            "meantime, so nothing was changed. Look at it again, then repeat.",
            state=life.state_id,
        )
    return life


def first(connection: Connection, statement: Any, **names: str) -> Row[Any] | None:
    """The first row of a statement about something with these names."""
    if not storable(*names.values()):
        return None
    return connection.execute(statement, names).first()


def not_found(connection: Connection, name: str, version: str | None) -> ServiceNotFound:
    """The error for a service or version that is not there; it names what is."""
    names = {"name": name, "count": _NAMED_VERSIONS}
    there = connection.scalars(sql.NEWEST_VERSIONS, names).all() if storable(name) else ()
    if version is None or not there:
        return ServiceNotFound(f"There is no service named {name!r}.", field="name")
    return ServiceNotFound(
        f"Service {name!r} has no version {version!r}. Newest versions: {', '.join(there)}.",
        field="version",
    )
