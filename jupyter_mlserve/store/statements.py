"""The catalog's statements, built once: building them at every call would cost most of the time.

Each finds its rows through an index; a test reads the query plans.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, or_, select

from .schema import (
    event,
    revision,
    service,
    service_pool,
    snapshot_blob,
    state,
    state_blob,
    version,
)

_name: BindParameter[str] = bindparam("name")
_version: BindParameter[str] = bindparam("version")
_alive = version.c.deleted_at.is_(None)

# The lock of all writers: the first thing every change does (see schema).
_RAISE = revision.update().where(revision.c.id == 1).values(value=revision.c.value + 1)
REVISION = select(revision.c.value).where(revision.c.id == 1)


def next_event(connection: Connection) -> int:
    """Wait for other writers to finish, and take the number of this change."""
    connection.execute(_RAISE)
    return int(connection.execute(REVISION).scalar_one())


# A state together with its version: what becomes a models.State.
_COLUMNS: tuple[Any, ...] = (
    state.c.id,
    state.c.number,
    version.c.name,
    version.c.version,
    state.c.definition,
    state.c.content_hash,
    version.c.author,
    state.c.author.label("state_author"),
    version.c.created_at,
    state.c.created_at.label("state_created_at"),
    version.c.deleted_at,
    service_pool.c.version_id.label("pooled"),
    service_pool.c.initial.label("pool_initial"),
    service_pool.c.maximum.label("pool_maximum"),
)
_POOLED = service_pool.c.version_id == version.c.id
_CURRENT = (
    select(*_COLUMNS)
    .join_from(version, state, state.c.id == version.c.state_id)
    .outerjoin(service_pool, _POOLED)
)
_ANY = (
    select(*_COLUMNS)
    .join_from(state, version, version.c.id == state.c.version_id)
    .outerjoin(service_pool, _POOLED)
)
_BY_VERSION = (version.c.name == _name, version.c.version == _version)

CURRENT_OF_VERSION = _CURRENT.where(*_BY_VERSION).order_by(version.c.id.desc()).limit(1)
CURRENT_OF_NEWEST = (
    _CURRENT.where(version.c.name == _name, _alive).order_by(version.c.id.desc()).limit(1)
)
CURRENT_OF_SERVICE = _CURRENT.where(version.c.name == _name, _alive).order_by(version.c.id)
CURRENT_OF_ALL = _CURRENT.where(_alive).order_by(version.c.name, version.c.id)
# Those that may have a dedicated pool; what a definition says must be looked at. It reads all of
# them, but is asked only when a server starts and when a pool is added.
CURRENT_WITH_POOL = _CURRENT.where(
    _alive,
    or_(
        service_pool.c.version_id.is_not(None),
        state.c.definition.contains('"pool":{', autoescape=True),
    ),
).order_by(version.c.id)
STATES = _ANY.where(state.c.version_id == bindparam("version_id")).order_by(state.c.number)
STATE_BY_ID = _ANY.where(state.c.id == bindparam("state"))
STATE_BY_NUMBER = _ANY.where(
    state.c.version_id == bindparam("version_id"), state.c.number == bindparam("number")
)

# The last life of a version, with the hash of its current state.
LIFE = (
    select(version, state.c.content_hash)
    .join_from(version, state, state.c.id == version.c.state_id)
    .where(*_BY_VERSION)
    .order_by(version.c.id.desc())
    .limit(1)
)
LAST_LIFE = select(version.c.id).where(version.c.name == _name).limit(1)
NEWEST_VERSIONS = (
    select(version.c.version)
    .where(version.c.name == _name, _alive)
    .order_by(version.c.id.desc())
    .limit(bindparam("count"))
)
OWNER = select(service.c.owner).where(service.c.name == _name)

# What was live before the present state, in the present life (events since its publish).
NUMBER_BEFORE = (
    select(event.c.number)
    .where(
        event.c.name == _name,
        event.c.version == _version,
        event.c.id >= bindparam("version_id"),
        event.c.state_id != bindparam("state"),
    )
    .order_by(event.c.id.desc())
    .limit(1)
)

# Newest first, so that a limit keeps the newest.
_EVENTS: Select[Any] = select(
    event.c.at,
    event.c.who,
    event.c.action,
    event.c.name,
    event.c.version,
    event.c.state_id,
    event.c.number,
).where(event.c.name == _name)
HISTORY_OF_SERVICE = _EVENTS.order_by(event.c.id.desc())
HISTORY_OF_VERSION = _EVENTS.where(event.c.version == _version).order_by(event.c.id.desc())
# Without DISTINCT, for which SQLite would read the whole index by name.
CHANGES = select(event.c.name, event.c.version).where(event.c.id > bindparam("since"))

REFERENCED_BLOBS = (
    select(state_blob.c.sha256)
    .join_from(state_blob, state, state.c.id == state_blob.c.state_id)
    .join(version, version.c.id == state.c.version_id)
    .where(_alive | (version.c.deleted_at > bindparam("since")))
    .union(select(snapshot_blob.c.sha256))
)

ADD_SERVICE = service.insert().values(name=_name, owner=bindparam("owner"), versions=1)
COUNT_VERSION = (
    service.update()
    .where(service.c.name == bindparam("of"))
    .values(versions=service.c.versions + bindparam("by"))
)
FREE_NAME = service.delete().where(service.c.name == _name, service.c.versions <= 0)
ADD_VERSION = version.insert()
SET_STATE = (
    version.update()
    .where(version.c.id == bindparam("version_id"))
    .values(state_id=bindparam("state"), last_number=bindparam("last"))
)
SET_DELETED = (
    version.update()
    .where(version.c.id == bindparam("version_id"))
    .values(deleted_at=bindparam("now"))
)
ADD_STATE = state.insert()
ADD_BLOBS = state_blob.insert()
ADD_EVENT = event.insert()
ADD_POOL = service_pool.insert()
DROP_POOL = service_pool.delete().where(service_pool.c.version_id == bindparam("of"))
