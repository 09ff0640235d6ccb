"""Rows of the catalog's tables: made of what callers give, and turned into what they get."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import IntegrityError

from ..contract.errors import Conflict, InvalidDefinition, VersionDeleted
from . import statements as sql
from .models import Action, Pool, State, blobs_of, pool_of


def name_and_version(definition: Mapping[str, Any]) -> tuple[str, str]:
    """What a definition names. Raises InvalidDefinition; the real rules are those of contract."""
    for field in ("name", "version"):
        value = definition.get(field)
        if not isinstance(value, str) or not value or not storable(value):
            raise InvalidDefinition(f"The definition has no valid {field}.", field=field)
    return definition["name"], definition["version"]


def storable(*texts: str) -> bool:
    """False for text that no database can hold or compare, so that nothing has such a name."""
    return all(
        len(text) <= 255 and "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
        for text in texts
    )


def number_before(connection: Connection, name: str, version: str, life: Row[Any]) -> int:
    """Number of the state that was live before the current one of this life of a version."""
    values = {"name": name, "version": version, "version_id": life.id, "state": life.state_id}
    number: int | None = connection.scalar(sql.NUMBER_BEFORE, values)
    if number is None:
        raise Conflict(
            f"Version {version!r} of service {name!r} was never updated, so there is no earlier "
            "state to go back to."
        )
    return number


def was_deleted(name: str, version: str, at: datetime) -> VersionDeleted:
    """The error for a version that was deleted at that moment."""
    return VersionDeleted(
        f"Version {version!r} of service {name!r} was deleted on {at:%Y-%m-%d %H:%M} UTC. "
        "Publish it again, or use another version."
    )


def to_state(row: Row[Any]) -> State:
    """A row of one of the statements that select a state with its version."""
    definition = json.loads(row.definition)
    pool = pool_of(definition)
    if row.pooled is not None:
        sizes = (row.pool_initial, row.pool_maximum)
        pool = None if None in sizes else Pool(*sizes)
    return State(
        id=row.id,
        number=row.number,
        name=row.name,
        version=row.version,
        definition=definition,
        content_hash=row.content_hash,
        author=row.author,
        state_author=row.state_author,
        created_at=row.created_at,
        state_created_at=row.state_created_at,
        pool=pool,
    )


def add_state(connection: Connection, version_id: int, state: State) -> None:
    """Store a state and which blobs it needs. Raises Conflict when its id is taken."""
    # Escaped to ASCII: PostgreSQL refuses a NUL and UTF-8 a lone surrogate, JSON can hold both.
    text = json.dumps(state.definition, separators=(",", ":"), allow_nan=False)
    try:
        connection.execute(
            sql.ADD_STATE,
            {
                "id": state.id,
                "version_id": version_id,
                "number": state.number,
                "definition": text,
                "content_hash": state.content_hash,
                "author": state.state_author,
                "created_at": state.state_created_at,
            },
        )
    except IntegrityError as error:
        raise Conflict(f"The state id {state.id!r} is taken. Give each state its own.") from error
    blobs = [{"state_id": state.id, "sha256": sha} for sha in sorted(blobs_of(state.definition))]
    if blobs:
        connection.execute(sql.ADD_BLOBS, blobs)


def add_event(
    connection: Connection, number: int, at: datetime, who: str, action: Action, state: State
) -> None:
    """Store that ``who`` did ``action``, after which (before which, if deleted) this was live."""
    connection.execute(
        sql.ADD_EVENT,
        {
            "id": number,
            "at": at,
            "who": who,
            "action": action,
            "name": state.name,
            "version": state.version,
            "state_id": state.id,
            "number": state.number,
        },
    )
