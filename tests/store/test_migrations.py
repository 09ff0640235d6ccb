"""The schema: made, migrated, refused; and what the migrations make is what the program means."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from jupyter_mlserve.contract.errors import InternalError
from jupyter_mlserve.store import Catalog, migrate, migrations
from jupyter_mlserve.store.batches import Execution, Executions, new_id
from jupyter_mlserve.store.database import open_database
from jupyter_mlserve.store.schema import REVISIONS, metadata

Define = Callable[..., dict[str, Any]]

# A later revision, as one that changes a table that others refer to.
NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", {last!r}

def upgrade():
    with op.batch_alter_table("version") as table:
        table.add_column(sa.Column("note", sa.Text, nullable=False, server_default="none"))
        table.alter_column("author", type_=sa.String(500), existing_nullable=False)
"""


@pytest.fixture
def next_scripts(tmp_path: Path) -> str:
    """Our migrations and one more, as a later version of the program would have them."""
    folder = tmp_path / "next%20version"  # the configuration file of Alembic dislikes a %
    shutil.copytree(Path(str(migrations.__file__)).parent, folder)
    (folder / "versions" / "9999_next.py").write_text(NEXT.format(last=REVISIONS[-1]))
    return str(folder)


def test_the_known_revisions_are_those_of_the_files() -> None:
    config = Config()
    config.set_main_option("script_location", migrate.SCRIPTS)
    scripts = ScriptDirectory.from_config(config)
    found = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(found)) == REVISIONS
    assert scripts.get_heads() == [REVISIONS[-1]]


def test_the_migrations_make_the_schema_of_the_program(db_url: str) -> None:
    Catalog(db_url).close()
    database = open_database(db_url)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    database.close()


def test_an_older_catalog_is_migrated(db_url: str, define: Define, next_scripts: str) -> None:
    """As the next version of the program would do it, with services in the catalog."""
    with Catalog(db_url) as catalog:
        state = catalog.publish("s1", define(), "h", "ann")
        catalog.update("s2", "Tx", "1.0", define(), "h", "ann", "s1")
    database = open_database(db_url)
    migrate.upgrade(database, (*REVISIONS, "9999"), next_scripts)
    with database.read() as connection:
        assert migrate.revision_of(connection) == "9999"
        rows = connection.exec_driver_sql("SELECT name, version, author, note FROM version")
        assert [tuple(row) for row in rows] == [("Tx", "1.0", "ann", "none")]
        ids = connection.exec_driver_sql("SELECT id FROM state ORDER BY id").scalars().all()
        assert ids == [state.id, "s2"]
    if db_url.startswith("sqlite"):
        with database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    database.close()


def test_a_catalog_without_batches_gets_them(db_url: str) -> None:
    """One of the first release, with a service in it."""
    database = open_database(db_url)
    migrate.upgrade(database, REVISIONS[:1])
    moment = "2026-01-02 03:04:05.000000"
    with database.write() as connection:
        for statement in (
            "UPDATE revision SET value = 1",
            "INSERT INTO service VALUES ('Tx', 'ann', 1)",
            f"INSERT INTO version VALUES (1, 'Tx', '1.0', 'ann', '{moment}', 's1', 1, NULL)",
            f"INSERT INTO state VALUES ('s1', 1, 1, '{{}}', 'h', 'ann', '{moment}')",
            f"INSERT INTO event VALUES (1, '{moment}', 'ann', 'publish', 'Tx', '1.0', 's1', 1)",
        ):
            connection.exec_driver_sql(statement)
    database.close()
    with Catalog(db_url) as catalog:
        assert catalog.get("Tx", "1.0").id == "s1"
        assert catalog.revision() == 1
        executions = Executions(catalog.database)
        now = datetime.now(timezone.utc)
        made = executions.create(Execution(new_id(), "Tx", "1.0", "s1", "ann", now, total=1))
        assert executions.get(made.id) == made


def test_a_migration_that_fails_changes_nothing(
    db_url: str, define: Define, next_scripts: str
) -> None:
    script = Path(next_scripts) / "versions" / "9999_next.py"
    script.write_text(script.read_text() + '    op.execute("SELECT * FROM nowhere")\n')
    with Catalog(db_url) as catalog:
        state = catalog.publish("s1", define(), "h", "ann")
    database = open_database(db_url)
    with pytest.raises(Exception, match="nowhere"):
        migrate.upgrade(database, (*REVISIONS, "9999"), next_scripts)
    database.close()
    with Catalog(db_url) as catalog:
        assert catalog.get("Tx", "1.0") == state


def test_a_newer_catalog_is_refused(db_url: str, define: Define, next_scripts: str) -> None:
    with Catalog(db_url) as catalog:
        catalog.publish("s1", define(), "h", "ann")
    database = open_database(db_url)
    migrate.upgrade(database, (*REVISIONS, "9999"), next_scripts)
    with pytest.raises(InternalError, match=r"newer version .* Upgrade jupyter_mlserve") as error:
        Catalog(db_url)
    assert error.value.details == {"found": "9999", "known": REVISIONS[-1]}
    with database.read() as connection:
        assert migrate.revision_of(connection) == "9999", "untouched"
    database.close()


def test_the_hosts_logging_stays_as_it_is(tmp_path: Path) -> None:
    root, own = logging.getLogger(), logging.getLogger("jupyter_mlserve.test")
    before = (root.level, list(root.handlers), own.disabled, logging.root.manager.disable)
    Catalog(str(tmp_path / "catalog.sqlite3")).close()
    assert (root.level, list(root.handlers), own.disabled, logging.root.manager.disable) == before


def test_the_migrations_travel_in_the_package(tmp_path: Path) -> None:
    """Run from a copy of the package elsewhere, as from an installed wheel."""
    import jupyter_mlserve

    package = Path(str(jupyter_mlserve.__file__)).parent
    target = tmp_path / "site" / "jupyter_mlserve"
    for room in ("store", "contract"):
        shutil.copytree(package / room, target / room, ignore=shutil.ignore_patterns("*.pyc"))
    for file in ("__init__.py", "_version.py"):
        shutil.copy(package / file, target / file)
    code = (
        "import jupyter_mlserve, sys; from jupyter_mlserve.store import Catalog;"
        "Catalog(sys.argv[1]).close(); print(jupyter_mlserve.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "c.sqlite3")],
        cwd=tmp_path / "site",
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(target))
    with sqlite3.connect(tmp_path / "c.sqlite3") as plain:
        found = plain.execute("SELECT version_num FROM alembic_version").fetchall()
    plain.close()
    assert found == [(REVISIONS[-1],)]
