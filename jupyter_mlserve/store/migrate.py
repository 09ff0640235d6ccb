"""Bring a database to the schema of this program."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sqlalchemy import Connection, inspect

from ..contract.errors import InternalError
from .database import Database
from .schema import REVISIONS

# As a package, so that it is found wherever the package is installed.
SCRIPTS = "jupyter_mlserve.store:migrations"

# Alembic keeps what it is doing in its modules: one at a time in one process.
_lock = threading.Lock()


def upgrade(database: Database, known: Sequence[str] = REVISIONS, scripts: str = SCRIPTS) -> None:
    """Migrate the database to the last revision in ``known``, or do nothing if it is there.

    Raises InternalError when the database is at a revision this program does not know. Several
    processes may do this at once: one migrates, the others wait.
    """
    with database.read() as connection:
        if _is_current(database, connection, known):
            return
    with _lock, database.migrate() as connection:
        if _is_current(database, connection, known):
            return
        # Alembic takes a third of a second to import, so only who migrates pays for it.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", scripts.replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, known[-1])


def _is_current(database: Database, connection: Connection, known: Sequence[str]) -> bool:
    found = revision_of(connection)
    if found is None:
        return False
    if found not in known:
        raise InternalError(
            f"The catalog {database.name} was written by a newer version of jupyter_mlserve "
            f"(its schema is {found}, this version knows up to {known[-1]}). "
            "Upgrade jupyter_mlserve, or give it another data folder.",
            found=found,
            known=known[-1],
        )
    return found == known[-1]


def revision_of(connection: Connection) -> str | None:
    """The revision a database is at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return str(row[0]) if row else None
