"""The dedicated pools of versions: the rows, and whether there is room for them."""

from __future__ import annotations

from sqlalchemy import Connection

from ..contract.errors import Conflict
from . import statements as sql
from .models import Pool, PoolLimits, State, pool_of
from .rows import to_state


def pooled(connection: Connection) -> list[State]:
    """The current states of all versions that have a dedicated pool; oldest version first."""
    states = [to_state(row) for row in connection.execute(sql.CURRENT_WITH_POOL).all()]
    return [state for state in states if state.pool is not None]


def put_pool(connection: Connection, version_id: int, state: State, pool: Pool | None) -> None:
    """Let the version have this pool (None: none), whatever its definition says."""
    connection.execute(sql.DROP_POOL, {"of": version_id})
    if pool != pool_of(state.definition):
        row = {"version_id": version_id, "initial": None, "maximum": None}
        if pool is not None:
            row.update(initial=pool.initial, maximum=pool.maximum)
        connection.execute(sql.ADD_POOL, row)


def check_room(
    connection: Connection,
    limits: PoolLimits | None,
    state: State,
    before: Pool | None,
) -> None:
    """Whether the pool of ``state`` fits beside those of the other versions.

    What a version has ``before``, it keeps. Raises Conflict. Called in a change, that is while
    nobody else adds a pool.
    """
    if limits is None or state.pool is None:
        return
    wanted = state.pool.most(limits.default)
    if before is not None and wanted <= before.most(limits.default):
        return
    others = 0
    for other in pooled(connection):
        if other.pool is not None and (other.name, other.version) != (state.name, state.version):
            others += other.pool.most(limits.default)
    if others + wanted > limits.most:
        raise Conflict(
            f"A dedicated pool of {wanted} workers for {state.name} {state.version} does not fit: "
            f"those of other services have {others}, and all together may have {limits.most} "
            "(max_dedicated_workers). Ask for fewer, delete another pool, or have the limit raised."
        )
