"""The catalog: which services there are, in which versions, and what they were before."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Any

from sqlalchemy import Row

from ..contract.errors import (
    InvalidDefinition,
    NotAllowed,
    ServiceNotFound,
    VersionDeleted,
    VersionExists,
)
from . import statements as sql
from .database import open_database
from .lives import alive, first, not_found
from .migrate import upgrade
from .models import Event, Pool, PoolLimits, State, pool_of
from .pools import check_room, pooled, put_pool
from .rows import (
    add_event,
    add_state,
    name_and_version,
    number_before,
    storable,
    to_state,
    was_deleted,
)


class Catalog:
    """Services, versions and states in a database; every change is one transaction.

    ``db_url``: an SQLAlchemy URL (SQLite or PostgreSQL), or the path of an SQLite file. A missing
    or empty database is set up, an older one is migrated, a newer one is refused.

    A change that returned is durable; one that raised has changed nothing. Changes exclude each
    other, over all threads and processes. Names and versions are compared exactly, byte by byte.
    All methods may raise Unavailable (the database is locked or gone; ``retry_after``),
    OutOfSpace, or InternalError (it cannot be used, and why). ``database`` is for what else lives
    in it: batch executions, snapshots. ``pools``: limits of the dedicated pools of all versions
    together; a change that asks for more raises Conflict.
    """

    def __init__(self, db_url: str, pools: PoolLimits | None = None) -> None:
        self.database = open_database(db_url)
        self.pool_limits = pools
        self._revision: int | None = None
        self._revision_lock = threading.Lock()
        try:
            upgrade(self.database)
        except BaseException:
            self.database.close()
            raise

    def close(self) -> None:
        """Close the database. May be repeated."""
        self.database.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Changes

    def publish(
        self,
        state_id: str,
        definition: Mapping[str, Any],
        content_hash: str,
        author: str,
        *,
        any_owner: bool = False,
    ) -> State:
        """Add the version that ``definition`` names, with this as its first state.

        The first to publish a name owns it until its last version is deleted. ``any_owner`` lets
        an author publish under a name of another; whether they may is not asked here.

        Raises VersionExists (details: ``identical``: same content hash; ``state``: id of the
        current state), NotAllowed (another author owns the name; details: ``owner``).
        """
        name, version = name_and_version(definition)
        with self.database.write() as connection:
            number = sql.next_event(connection)
            owner = connection.scalar(sql.OWNER, {"name": name})
            if owner not in (None, author) and not any_owner:
                raise NotAllowed(
                    f"The name {name!r} belongs to {owner}, so you cannot publish under it. "
                    "Choose another name.",
                    owner=owner,
                )
            life = connection.execute(sql.LIFE, {"name": name, "version": version}).first()
            if life is not None and life.deleted_at is None:
                raise VersionExists(
                    f"Service {name!r} has a version {version!r} already. Update it, or publish "
                    "under another version.",
                    identical=life.content_hash == content_hash,
                    state=life.state_id,
                )
            now = datetime.now(timezone.utc)
            if owner is None:
                connection.execute(sql.ADD_SERVICE, {"name": name, "owner": author})
            else:
                connection.execute(sql.COUNT_VERSION, {"of": name, "by": 1})
            state = State(
                id=state_id,
                number=1 if life is None else life.last_number + 1,
                name=name,
                version=version,
                definition=dict(definition),
                content_hash=content_hash,
                author=author,
                state_author=author,
                created_at=now,
                state_created_at=now,
                pool=pool_of(definition),
            )
            check_room(connection, self.pool_limits, state, None)
            connection.execute(
                sql.ADD_VERSION,
                {
                    "id": number,
                    "name": name,
                    "version": version,
                    "author": author,
                    "created_at": now,
                    "state_id": state_id,
                    "last_number": state.number,
                },
            )
            add_state(connection, number, state)
            add_event(connection, number, now, author, "publish", state)
        return state

    def update(
        self,
        state_id: str,
        name: str,
        version: str,
        definition: Mapping[str, Any],
        content_hash: str,
        author: str,
        expected_state: str,
    ) -> State:
        """Make ``definition`` (the whole of it) the new state of a version.

        ``expected_state`` is the id of the state it was made from: if that is not the current one
        any more, somebody else was faster, and StaleState is raised (details: ``state``: id of
        the current one). Raises ServiceNotFound, VersionDeleted. A dedicated pool stays, unless
        the definition brings another than before.
        """
        if name_and_version(definition) != (name, version):
            raise InvalidDefinition(
                "An update keeps the name and the version. Publish under the new ones instead.",
                field="name" if definition["name"] != name else "version",
            )
        with self.database.write() as connection:
            number = sql.next_event(connection)
            life = alive(connection, name, version, expected_state)
            state = State(
                id=state_id,
                number=life.last_number + 1,
                name=name,
                version=version,
                definition=dict(definition),
                content_hash=content_hash,
                author=life.author,
                state_author=author,
                created_at=life.created_at,
                state_created_at=datetime.now(timezone.utc),
                pool=pool_of(definition),
            )
            before = to_state(connection.execute(sql.STATE_BY_ID, {"state": life.state_id}).one())
            if state.pool == pool_of(before.definition):
                state = replace(state, pool=before.pool)
            else:
                # Who changes the pool of the definition means it.
                connection.execute(sql.DROP_POOL, {"of": life.id})
                check_room(connection, self.pool_limits, state, before.pool)
            add_state(connection, life.id, state)
            connection.execute(
                sql.SET_STATE,
                {"version_id": life.id, "state": state_id, "last": state.number},
            )
            add_event(connection, number, state.state_created_at, author, "update", state)
        return state

    def rollback(
        self,
        name: str,
        version: str,
        number: int | None,
        author: str,
        expected_state: str | None = None,
    ) -> State:
        """Make state ``number`` of a version current again; None: what was live before this one.

        It is a new entry of the history, not a new state. If that state is current already,
        nothing is changed. Raises ServiceNotFound (no such version, no such state),
        VersionDeleted, StaleState (as :meth:`update`), Conflict (there is nothing to go back to).
        """
        with self.database.write() as connection:
            event = sql.next_event(connection)
            life = alive(connection, name, version, expected_state)
            key = {"version_id": life.id}
            if number is None:
                number = number_before(connection, name, version, life)
            row = connection.execute(sql.STATE_BY_NUMBER, {**key, "number": number}).first()
            if row is None:
                raise ServiceNotFound(
                    f"Version {version!r} of service {name!r} has no state {number}; the latest "
                    f"is {life.last_number}.",
                    field="state",
                )
            state = to_state(row)
            if state.id == life.state_id:
                connection.rollback()
                return state
            before = to_state(connection.execute(sql.STATE_BY_ID, {"state": life.state_id}).one())
            check_room(connection, self.pool_limits, state, before.pool)
            connection.execute(sql.SET_STATE, {**key, "state": state.id, "last": life.last_number})
            add_event(connection, event, datetime.now(timezone.utc), author, "rollback", state)
        return state

    def delete(
        self, name: str, version: str, author: str, expected_state: str | None = None
    ) -> State:
        """Delete a version; ``author`` is who does it. Returns the state that was live.

        From now on the version answers VersionDeleted until it is published again; its history
        stays. Raises ServiceNotFound, VersionDeleted, StaleState (as :meth:`update`).
        """
        with self.database.write() as connection:
            number = sql.next_event(connection)
            life = alive(connection, name, version, expected_state)
            state = to_state(connection.execute(sql.STATE_BY_ID, {"state": life.state_id}).one())
            now = datetime.now(timezone.utc)
            connection.execute(sql.SET_DELETED, {"version_id": life.id, "now": now})
            connection.execute(sql.DROP_POOL, {"of": life.id})
            connection.execute(sql.COUNT_VERSION, {"of": name, "by": -1})
            connection.execute(sql.FREE_NAME, {"name": name})
            add_event(connection, number, now, author, "delete", state)
        return state

    def set_pool(
        self,
        name: str,
        version: str,
        pool: Pool | None,
        author: str,
        expected_state: str | None = None,
    ) -> State:
        """Give a version a dedicated pool, change its size, or (None) let it have none.

        ``author`` is who does it. The pool stays through updates, and goes with the version. It is
        an entry of the history, unless nothing changes. Raises ServiceNotFound, VersionDeleted,
        StaleState (as :meth:`update`), Conflict (it does not fit).
        """
        with self.database.write() as connection:
            number = sql.next_event(connection)
            life = alive(connection, name, version, expected_state)
            before = to_state(connection.execute(sql.STATE_BY_ID, {"state": life.state_id}).one())
            state = replace(before, pool=pool)
            if pool == before.pool:
                connection.rollback()
                return state
            check_room(connection, self.pool_limits, state, before.pool)
            put_pool(connection, life.id, before, pool)
            add_event(connection, number, datetime.now(timezone.utc), author, "pool", state)
        return state

    # Questions

    def get(self, name: str, version: str) -> State:
        """The current state of a version. Raises ServiceNotFound, VersionDeleted."""
        with self.database.read() as connection:
            row = first(connection, sql.CURRENT_OF_VERSION, name=name, version=version)
            if row is None:
                raise not_found(connection, name, version)
        if row.deleted_at is not None:
            raise was_deleted(name, version, row.deleted_at)
        return to_state(row)

    def newest(self, name: str) -> State:
        """The current state of the version of a service that was published last.

        An update does not make a version newer. Raises ServiceNotFound; VersionDeleted when all
        versions there were are deleted.
        """
        with self.database.read() as connection:
            row = first(connection, sql.CURRENT_OF_NEWEST, name=name)
            if row is None:
                if first(connection, sql.LAST_LIFE, name=name) is None:
                    raise not_found(connection, name, None)
                raise VersionDeleted(
                    f"All versions of service {name!r} were deleted. Its owner can publish it "
                    "again."
                )
        return to_state(row)

    def versions(self, name: str) -> list[State]:
        """The current states of all versions of a service, oldest version first; may be empty."""
        if not storable(name):
            return []
        with self.database.read() as connection:
            rows = connection.execute(sql.CURRENT_OF_SERVICE, {"name": name}).all()
        return [to_state(row) for row in rows]

    def list_all(self) -> list[State]:
        """The current states of all versions there are: by name, oldest version first."""
        with self.database.read() as connection:
            rows = connection.execute(sql.CURRENT_OF_ALL).all()
        return [to_state(row) for row in rows]

    def pooled(self) -> list[State]:
        """The current states of all versions that have a dedicated pool; oldest version first."""
        with self.database.read() as connection:
            return pooled(connection)

    def states(self, name: str, version: str) -> list[State]:
        """All states of a version since it was published, by number; any may be rolled back to.

        Raises ServiceNotFound, VersionDeleted.
        """
        with self.database.read() as connection:
            life = alive(connection, name, version)
            rows = connection.execute(sql.STATES, {"version_id": life.id}).all()
        return [to_state(row) for row in rows]

    def previous(self, name: str, version: str) -> State:
        """The state that was live before the current one: what a rollback without number takes.

        Raises ServiceNotFound, VersionDeleted, Conflict (the version was never updated).
        """
        with self.database.read() as connection:
            life = alive(connection, name, version)
            number = number_before(connection, name, version, life)
            key = {"version_id": life.id, "number": number}
            row = connection.execute(sql.STATE_BY_NUMBER, key).one()
        return to_state(row)

    def history(
        self, name: str, version: str | None = None, limit: int | None = None
    ) -> list[Event]:
        """What happened to a service, or to one version of it, oldest first.

        It outlives deletion. ``limit``: only the last so many. Raises ServiceNotFound when there
        never was such a service or version.
        """
        values: dict[str, Any] = {"name": name}
        statement = sql.HISTORY_OF_SERVICE
        if version is not None:
            values["version"] = version
            statement = sql.HISTORY_OF_VERSION
        with self.database.read() as connection:
            rows: Sequence[Row[Any]] = []
            if storable(*values.values()):
                if limit is not None:
                    statement = statement.limit(limit)
                rows = connection.execute(statement, values).all()
            if not rows and limit != 0:
                raise not_found(connection, name, version)
        return [Event(*row) for row in reversed(rows)]

    def name_owner(self, name: str) -> str | None:
        """Who owns a name; None when it is free."""
        if not storable(name):
            return None
        with self.database.read() as connection:
            owner: str | None = connection.scalar(sql.OWNER, {"name": name})
        return owner

    def referenced_blobs(self, deleted_seconds: float = 86_400.0) -> set[str]:
        """Digests of all blobs that are needed: by every state of every version, by snapshots.

        Also by versions deleted less than ``deleted_seconds`` ago: calls that were in flight then
        may still read them.
        """
        since = datetime.now(timezone.utc) - timedelta(seconds=deleted_seconds)
        with self.database.read() as connection:
            return set(connection.scalars(sql.REFERENCED_BLOBS, {"since": since}))

    def revision(self) -> int:
        """A number that every change raises, whoever makes it; for followers of the catalog.

        About 4 microseconds on SQLite when nothing was changed, a query elsewhere.
        """
        with self._revision_lock:
            if self.database.changed():
                self._revision = None  # Also if reading the new one fails.
            if self._revision is None:
                with self.database.read() as connection:
                    self._revision = int(connection.scalar(sql.REVISION) or 0)
            return self._revision

    def read_revision(self) -> int:
        """As :meth:`revision`, but the database is asked in any case."""
        with self.database.read() as connection:
            return int(connection.scalar(sql.REVISION) or 0)

    def changes(self, since: int) -> list[tuple[str, str]]:
        """The (name, version) of all versions that changed after revision ``since``, each once."""
        with self.database.read() as connection:
            rows = connection.execute(sql.CHANGES, {"since": since}).all()
        return list(dict.fromkeys((row.name, row.version) for row in rows))
