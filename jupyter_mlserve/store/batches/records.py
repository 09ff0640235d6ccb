"""Batch executions in the database: what there is, who works on it, and how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from ...contract.batch import FINAL, IN_PROGRESS, READY
from ...contract.errors import Conflict, OutOfSpace, TooBusy
from ..database import Database
from ..rows import storable
from . import deletion
from . import statements as sql
from .holders import is_dead
from .models import Chunk, Execution, Quota, Summary, is_id, no_execution
from .quotas import check_bytes, check_new, used
from .upload import Upload

# Ids in one statement: databases limit the parameters.
_MANY = 500
# Chunks that are read at a time.
_PAGE = 1000
# More than any number of a record.
_NO_RECORD = 1 << 62


class Executions:
    """The executions in a database that is migrated already: ``Executions(catalog.database)``.

    Each change is one transaction, durable when it returns; one that raised has changed nothing.
    None is a change of the catalog: its revision stays. All methods block, and may be called from
    any thread, and from several processes at once. They may raise Unavailable (the database is
    locked or gone; ``retry_after``), OutOfSpace and InternalError, as those of the catalog.

    Who works on an execution holds a lease on it, as a holder (holders.new_holder) and for a time
    that it renews. A lease ends with its time; or at once, if its holder was a process of this
    machine that has ended. Only the holder can add results.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # Making them

    def create(self, execution: Execution, *, quota: Quota | None = None) -> Execution:
        """Add an execution whose records are on the disk.

        If its owner has sent a request with this key for this version before, nothing is added:
        with the same digest the execution of then is returned (it has another id), with another
        one Conflict is raised. Of twins that come at the same time, one is made.

        Raises TooBusy (the user has as many as are kept for one), OutOfSpace (no bytes left in a
        quota), NotFound (its id is none), Conflict (its id is taken).
        """
        if not is_id(execution.id):
            raise no_execution(execution.id)
        with self._database.write() as connection:
            connection.execute(sql.LOCK)
            twin = self._by_key(connection, execution)
            if twin is not None:
                connection.rollback()
                if twin.digest != execution.digest:
                    raise Conflict(
                        f"The Idempotency-Key {execution.key!r} was used for other records of "
                        f"this version before (batch execution {twin.id}). Give each request a "
                        "key of its own.",
                        batchExecutionId=twin.id,
                    )
                return twin
            if quota is not None:
                check_new(connection, execution, quota)
            values = asdict(execution)
            values["request_key"] = values.pop("key")
            try:
                connection.execute(sql.ADD, values)
            except IntegrityError as error:
                raise Conflict(f"There is a batch execution {execution.id} already.") from error
        return execution

    def admit(
        self, upload: Upload, execution: Execution, *, quota: Quota | None = None
    ) -> Execution:
        """:meth:`create`, and the end of its (sealed) upload: its folder stays, or goes away.

        The folder also stays when it is not known whether the transaction was committed: a later
        sweep will know. (Never remove what a client may have been told is there.)
        """
        try:
            made = self.create(execution, quota=quota)
        except (Conflict, OutOfSpace, TooBusy):
            upload.discard()
            raise
        except BaseException:
            upload.release()
            raise
        if made.id == execution.id:
            upload.release()
        else:
            upload.discard()
        return made

    def find_key(self, owner: str, name: str, version: str, key: str) -> Execution | None:
        """The execution that a request with this Idempotency-Key has made."""
        if not storable(name, version, key):
            return None
        values = {"user": owner, "service": name, "number": version, "request": key}
        with self._database.read() as connection:
            return _execution(connection.execute(sql.BY_KEY, values).first())

    # Questions

    def get(self, id: str) -> Execution:
        """The execution with this id. Raises NotFound."""
        found = None
        if is_id(id):
            with self._database.read() as connection:
                found = self._get(connection, id)
        if found is None:
            raise no_execution(id)
        return found

    def of(self, owner: str, name: str, version: str) -> list[Execution]:
        """All that a user has started of a version, oldest first."""
        if not storable(name, version):
            return []
        values = {"user": owner, "service": name, "number": version}
        with self._database.read() as connection:
            return _all(connection.execute(sql.OWNED_OF, values).all())

    def owned_by(self, owner: str) -> list[Execution]:
        """All that a user has started, oldest first."""
        with self._database.read() as connection:
            return _all(connection.execute(sql.OWNED, {"user": owner}).all())

    def usage(self, owner: str | None = None) -> int:
        """Bytes on the disk, of one user's executions or of all."""
        with self._database.read() as connection:
            return used(connection, owner)[0]

    def summary(self) -> Summary:
        """How many there are, and their bytes."""
        with self._database.read() as connection:
            rows = connection.execute(sql.SUMMARY).all()
        counts = {state: count for state, count, _ in rows}
        return Summary(
            executions=sum(counts.values()),
            ready=counts.get(READY, 0),
            running=counts.get(IN_PROGRESS, 0),
            bytes=int(sum(size for _, _, size in rows)),
        )

    def known(self, ids: Iterable[str]) -> set[str]:
        """Those of ``ids`` that are executions."""
        wanted = [id for id in ids if is_id(id)]
        found: set[str] = set()
        with self._database.read() as connection:
            for start in range(0, len(wanted), _MANY):
                part = {"ids": wanted[start : start + _MANY]}
                found.update(connection.scalars(sql.KNOWN, part))
        return found

    def expired(self, before: datetime, limit: int = 1000) -> list[str]:
        """Ids of executions that ended before that moment, at most so many."""
        with self._database.read() as connection:
            return list(connection.scalars(sql.EXPIRED, {"before": before, "count": limit}))

    def runnable(self, now: datetime | None = None, holder: str | None = None) -> list[Execution]:
        """Those that have not ended and that nobody (but ``holder``) works on, oldest first."""
        now = now or _now()
        with self._database.read() as connection:
            rows = connection.execute(sql.GOING).all()
        return [_made(row) for row in rows if _is_free(row, holder, now)]

    def interrupted(self) -> list[Execution]:
        """Those of :meth:`runnable` that were begun: who worked on them has died or stopped."""
        return [execution for execution in self.runnable() if execution.state == IN_PROGRESS]

    # Leases

    def lease(self, id: str, holder: str, seconds: float) -> bool:
        """Take the execution for so long, unless another holds it or it has ended or is gone."""
        now = _now()
        with self._database.write() as connection:
            row = connection.execute(sql.LEASE_OF, {"of": id}).first()
            if row is None or row.state in FINAL or not _is_free(row, holder, now):
                return False
            until = now + timedelta(seconds=seconds)
            connection.execute(sql.LEASE, {"of": id, "by": holder, "until": until})
        return True

    def renew(self, ids: Iterable[str], holder: str, seconds: float) -> set[str]:
        """Hold these for so long from now. Returns those that are still held: the others were
        taken by another, have ended, or are gone."""
        wanted = list(ids)
        held: set[str] = set()
        until = _now() + timedelta(seconds=seconds)
        for start in range(0, len(wanted), _MANY):
            values = {"ids": wanted[start : start + _MANY], "by": holder}
            with self._database.write() as connection:
                connection.execute(sql.RENEW, {**values, "until": until})
                held.update(connection.scalars(sql.STILL_HELD, values))
        return held

    def release(self, id: str, holder: str) -> None:
        """Let others take it. Nothing happens if it is not held."""
        with self._database.write() as connection:
            connection.execute(sql.RELEASE, {"of": id, "by": holder})

    # Work

    def begin(self, id: str, holder: str) -> Execution | None:
        """It is being worked on from now (or again). None: it is not held, or has ended."""
        values = {"of": id, "by": holder}
        with self._database.write() as connection:
            if not connection.execute(sql.BEGIN, {**values, "now": _now()}).rowcount:
                return None
            return self._get(connection, id)

    def note(self, id: str, holder: str, message: str) -> bool:
        """Say why it waits; "": it goes on. False: it is not held, or has ended."""
        values = {"of": id, "by": holder, "said": _text(message)}
        with self._database.write() as connection:
            return connection.execute(sql.NOTE, values).rowcount > 0

    def commit(
        self, id: str, holder: str, chunk: Chunk, *, quota: Quota | None = None
    ) -> Execution | None:
        """Count the results of a chunk, whose file is on the disk: from now on they are there.

        Returns the execution as it is then: Complete (and not held any more) if this was the last
        chunk. None, and nothing is done: it is not held, or not in progress, or gone. A chunk that
        was committed already is not counted again.

        Raises OutOfSpace when the results do not fit into ``quota`` (its bytes), and Conflict
        when some of these records have results already, or do not exist.
        """
        values = {"of": id, "by": holder, "now": _now()}
        values |= {"records": chunk.count, "bad": chunk.failed, "size": chunk.bytes}
        with self._database.write() as connection:
            counted = connection.execute(sql.COUNT, values).rowcount > 0
            key = {"of": id, "stop": chunk.stop}
            before = connection.execute(sql.CHUNK_BEFORE, key).first()
            if before is None or Chunk(*before) != chunk:
                if not counted:
                    return None
                execution = self._get(connection, id)
                assert execution is not None
                if before is not None and before.first + before.count > chunk.first:
                    raise _twice(id, chunk)
                if not (0 <= chunk.first < chunk.stop <= execution.total):
                    raise Conflict(f"The batch execution {id} has {execution.total} records.")
                if quota is not None:
                    check_bytes(connection, execution, quota, "The results")
                connection.execute(sql.ADD_CHUNK, {**asdict(chunk), "batch_id": id})
                return execution
            connection.rollback()
        with self._database.read() as connection:
            return self._get(connection, id)

    def fail(self, id: str, holder: str | None, message: str) -> bool:
        """It cannot go on; ``message`` says why. What was answered stays.

        ``holder`` None: whoever holds it. False: it is not held (by that holder), or has ended.
        """
        values: dict[str, Any] = {"of": id, "said": _text(message), "now": _now()}
        if holder is not None:
            values["by"] = holder
        statement = sql.FAIL if holder is None else sql.FAIL_HELD
        with self._database.write() as connection:
            return connection.execute(statement, values).rowcount > 0

    def delete(self, id: str) -> bool:
        """Remove it from the database, whatever its state; then remove its files. False: it was
        not there. Who works on it is told by its next commit or renewal. It is gone at once;
        with very many chunks this takes seconds (deletion.py), in which others can write."""
        return is_id(id) and deletion.delete(self._database, id)

    def finish_deletions(self) -> None:
        """Remove the rows that are left of deletions which a kill ended."""
        deletion.finish(self._database)

    # Chunks

    def chunks(self, id: str) -> list[Chunk]:
        """All that were committed, by their first record."""
        return list(self.each_chunk(id))

    def each_chunk(self, id: str) -> Iterator[Chunk]:
        """As :meth:`chunks`, without holding all of them at once; there may be very many."""
        return self._chunks(id, 0, _NO_RECORD)

    def chunks_between(self, id: str, first: int, stop: int) -> list[Chunk]:
        """Those that hold some of the records [first, stop), by their first record."""
        if first >= stop:
            return []
        # The one that begins at or before ``first``, then those that begin after it.
        with self._database.read() as connection:
            row = connection.execute(sql.CHUNK_BEFORE, {"of": id, "stop": first + 1}).first()
        before = [] if row is None or row.first + row.count <= first else [Chunk(*row)]
        return [*before, *self._chunks(id, first + 1, stop)]

    def _chunks(self, id: str, start: int, stop: int) -> Iterator[Chunk]:
        """Those that begin in [start, stop); a page at a time, so that other readers come in."""
        while True:
            values = {"of": id, "start": start, "stop": stop, "count": _PAGE}
            with self._database.read() as connection:
                rows = connection.execute(sql.CHUNKS_BETWEEN, values).all()
            for row in rows:
                yield Chunk(*row)
            if len(rows) < _PAGE:
                return
            start = rows[-1].first + 1

    # Helpers

    def _get(self, connection: Connection, id: str) -> Execution | None:
        return _execution(connection.execute(sql.GET, {"of": id}).first())

    def _by_key(self, connection: Connection, execution: Execution) -> Execution | None:
        if execution.key is None:
            return None
        values = {
            "user": execution.owner,
            "service": execution.name,
            "number": execution.version,
            "request": execution.key,
        }
        return _execution(connection.execute(sql.BY_KEY, values).first())


def _twice(id: str, chunk: Chunk) -> Conflict:
    return Conflict(
        f"Some of the records {chunk.first} to {chunk.stop - 1} of the batch execution {id} have "
        "results already."
    )


def _is_free(row: Any, holder: str | None, now: datetime) -> bool:
    """Whether the lease in a row is over, or that of this holder."""
    return (
        row.holder is None or row.holder == holder or row.held_until <= now or is_dead(row.holder)
    )


def _execution(row: Any) -> Execution | None:
    return None if row is None else _made(row)


def _made(row: Any) -> Execution:
    values = dict(row._mapping)
    values.pop("holder", None)
    values.pop("held_until", None)
    return Execution(**values)


def _all(rows: Iterable[Any]) -> list[Execution]:
    return [_made(row) for row in rows]


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _text(message: str) -> str:
    """As every database can hold it: PostgreSQL refuses a NUL, UTF-8 a lone surrogate."""
    return message.replace("\0", "").encode("utf-8", "replace").decode()[:10_000]
