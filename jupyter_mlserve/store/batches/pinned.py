"""The state of a version that an execution was started with."""

from __future__ import annotations

from ...contract.errors import ServiceNotFound
from .. import statements as sql
from ..database import Database
from ..models import State
from ..rows import storable, to_state, was_deleted


def pinned(database: Database, state_id: str, *, deleted: bool = False) -> State:
    """A state by its id, whatever came after it; blocks.

    Raises VersionDeleted when the version it is a state of was deleted, also if another was
    published under the same name since (unless ``deleted``: what it declared is still known);
    ServiceNotFound when there never was such a state.
    """
    with database.read() as connection:
        row = None
        if storable(state_id):
            row = connection.execute(sql.STATE_BY_ID, {"state": state_id}).first()
    if row is None:
        raise ServiceNotFound(f"There is no state {state_id!r} of any service.")
    if row.deleted_at is not None and not deleted:
        raise was_deleted(row.name, row.version, row.deleted_at)
    return to_state(row)
