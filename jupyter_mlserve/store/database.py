"""Connections to the catalog's database, and how it is read and written safely.

SQLite (the default) keeps two connections open: one that only reads, one that only writes. Other
databases (PostgreSQL) use SQLAlchemy's pool.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.pool import NullPool

from ..contract.errors import InternalError, OutOfSpace, Unavailable
from .files import private_folder, sync_folder

# Longest wait for another writer, in seconds. A write itself takes milliseconds.
LOCK_TIMEOUT = 10.0
# An arbitrary number: the advisory lock of PostgreSQL under which the schema is migrated.
_MIGRATION_LOCK = 0x6D6C7376


def open_database(url: str) -> Database:
    """Open the database at ``url``: an SQLAlchemy URL, or the path of an SQLite file.

    An SQLite file is made if it is not there: readable by its user only, in a folder that is
    made likewise.
    """
    parsed = make_url(url) if "://" in url else URL.create("sqlite", database=url)
    if parsed.get_backend_name() == "sqlite":
        return SQLite(parsed)
    return Database(parsed)


class Database:
    """A database of several users: connections come from a pool."""

    # Whether reading takes microseconds, and so may be done on an event loop.
    is_local = False

    def __init__(self, url: URL) -> None:
        self.name = url.render_as_string(hide_password=True)
        self.engine = create_engine(
            url, pool_pre_ping=True, pool_timeout=LOCK_TIMEOUT, isolation_level="READ COMMITTED"
        )
        self._reading: Engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for statements that only read; each sees all that was committed."""
        with self._translated(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed durably at the end of the block, rolled back by an exception."""
        with self._translated(), self.engine.begin() as connection:
            self._limit_waiting(connection)
            yield connection

    @contextmanager
    def migrate(self) -> Iterator[Connection]:
        """A transaction during which nobody else migrates."""
        with self._translated(), self.engine.begin() as connection:
            self._limit_waiting(connection)
            if self.engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            yield connection

    def changed(self) -> bool:
        """False when certainly nothing was committed since the last question."""
        return True

    def pulse(self) -> int | None:
        """A number that is another one after every commit; None where that cannot be had cheaply.

        For who asks for it again and again: equal numbers say that nothing was committed since.
        """
        return None

    def close(self) -> None:
        """Close all connections. May be repeated."""
        self.engine.dispose()

    def _limit_waiting(self, connection: Connection) -> None:
        if self.engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(LOCK_TIMEOUT * 1000)}")

    def _translated(self) -> AbstractContextManager[None]:
        return _translated(self.name)


class SQLite(Database):
    """A file of SQLite, in WAL mode: readers never wait for the writer.

    Every transaction that writes begins IMMEDIATE, so it never fails half way because another
    process wrote, and is synchronized FULL: it is on the disk when it returns.
    """

    is_local = True

    def __init__(self, url: URL) -> None:
        if not url.database or url.database == ":memory:" or "mode" in url.query:
            raise InternalError(
                "The catalog needs a database that lives in a file. Give db_url a path, as in "
                "sqlite:////home/me/catalog.sqlite3."
            )
        path = Path(os.path.abspath(url.database))
        self.name = str(path)
        self._lock = threading.Lock()
        self._reader_lock = threading.Lock()
        self._pulse_lock = threading.Lock()
        self._data_version = -1
        with self._translated():
            private_folder(path.parent)
            if not path.exists():
                # SQLite gives its -wal and -shm files the mode of this one.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                sync_folder(path.parent)
            found = os.stat(path)
            self._inode = (found.st_dev, found.st_ino)
            url = url.set(database=str(path))
            self.engine = _engine(url, "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON")
            event.listen(self.engine, "begin", _begin_immediate)
            self._reading = _engine(url, "PRAGMA query_only=ON")
            self._writer = self.engine.connect()
            _use_wal(self._writer)
            self._reader = self._reading.connect()
            # For changed() alone, so that it never waits for a long list.
            self._pulse = sqlite3.connect(
                path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
            )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._translated(), self._reader_lock:
            yield self._reader

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._translated(), self._lock:
            self._check_in_place()
            with self._writer.begin():
                yield self._writer

    @contextmanager
    def migrate(self) -> Iterator[Connection]:
        with self._translated(), self.engine.connect() as connection:
            # SQLite changes a table by making a new one: its references must stand meanwhile.
            # This has no effect inside a transaction, so it comes before.
            _pragma(connection, "PRAGMA foreign_keys=OFF")
            with connection.begin():
                yield connection

    def changed(self) -> bool:
        with self._translated(), self._pulse_lock:
            now = self._read_pulse()
            if now == self._data_version:
                return False
            self._data_version = now
            return True

    def pulse(self) -> int | None:
        with self._translated(), self._pulse_lock:
            return self._read_pulse()

    def _read_pulse(self) -> int:
        # Measured at 3 microseconds. It tells of the commits of all other connections.
        (now,) = self._pulse.execute("PRAGMA data_version").fetchone()
        return int(now)

    def close(self) -> None:
        with self._lock, self._reader_lock, self._pulse_lock:
            for connection in (self._pulse, self._reader, self._writer):
                connection.close()
        self._reading.dispose()
        self.engine.dispose()

    def _check_in_place(self) -> None:
        """Refuse to write into a file that nobody will find again."""
        try:
            found = os.stat(self.name)
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._inode:
            raise InternalError(
                f"The catalog {self.name} was removed or replaced while the server was running, "
                "so nothing was changed. Restart the server."
            )


def _engine(url: URL, *pragmas: str) -> Engine:
    """An engine of SQLite without the driver's own, implicit transactions."""
    engine = create_engine(
        url,
        poolclass=NullPool,
        connect_args={"timeout": LOCK_TIMEOUT, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(pragma).close()

    return engine


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _pragma(connection: Connection, sql: str) -> Any:
    """The answer of a PRAGMA, outside of any transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    row = driver.execute(sql).fetchone()
    return row[0] if row else None


def _use_wal(connection: Connection) -> None:
    """Switch the file to WAL. It stays so, hence only the first opening has anything to do.

    The switch needs the file for itself and does not wait for it as statements do: two processes
    that open a new file at once get "database is locked" without the loop. Where WAL cannot be
    had (some network file systems), SQLite keeps its old journal, which is only slower.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            if _pragma(connection, "PRAGMA journal_mode") != "wal":
                _pragma(connection, "PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turn what the database or the disk says into an error of ours that says what to do."""
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError, sqlite3.Error, OSError) as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig else error
        said = " ".join(str(cause).split())
        if "locked" in said or "lock timeout" in said or isinstance(error, exc.TimeoutError):
            raise Unavailable(
                "The catalog is busy with other changes. Nothing was changed; try again.",
                retry_after=1.0,
            ) from error
        if "is full" in said or "No space left" in said or "could not extend" in said:
            raise OutOfSpace(
                "There is no space left on the disk of the catalog, so nothing was changed. "
                "Free some space, then try again."
            ) from error
        if "malformed" in said or "not a database" in said:
            raise InternalError(
                f"The catalog {name} is damaged ({said}). Restore it from a backup, or move it "
                "away and publish again."
            ) from error
        if isinstance(cause, OSError | sqlite3.OperationalError):
            raise InternalError(
                f"The catalog {name} cannot be used: {said}. Check that its folder exists and "
                "that the server may write there."
            ) from error
        if isinstance(error, exc.OperationalError | exc.InterfaceError):
            raise Unavailable(
                f"The catalog {name} does not answer ({said[:200]}). Try again; if it stays so, "
                "tell the administrator of the server.",
                retry_after=5.0,
            ) from error
        raise
