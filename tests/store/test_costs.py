"""What things cost: counted in statements and rows, which no busy machine changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from jupyter_mlserve.store import Catalog

Define = Callable[..., dict[str, Any]]
Statements = list[tuple[str, Any]]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(str(tmp_path / "catalog.sqlite3")) as catalog:
        yield catalog


@contextmanager
def watched(catalog: Catalog) -> Iterator[Statements]:
    """All statements that are executed in the block, with their parameters."""
    seen: Statements = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        seen.append((statement, parameters))

    engines = (catalog.database.engine, catalog.database._reading)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


def life_of_a_version(catalog: Catalog, define: Define, version: str) -> None:
    """One of each, on one version."""
    definition = define(version=version, blobs=["a" * 64])
    catalog.publish(f"{version}-1", definition, "h", "ann")
    catalog.get("Tx", version)
    catalog.newest("Tx")
    catalog.name_owner("Tx")
    catalog.update(f"{version}-2", "Tx", version, definition, "h", "ann", f"{version}-1")
    catalog.rollback("Tx", version, None, "ann")
    catalog.states("Tx", version)
    catalog.changes(catalog.revision() - 1)
    catalog.delete("Tx", version, "ann")


def test_costs_do_not_grow_with_history_or_with_services(local: Catalog, define: Define) -> None:
    with watched(local) as first:
        life_of_a_version(local, define, "first")
    local.publish("stay", define(version="stay"), "h", "ann")
    for number in range(40):
        local.publish(f"o{number}", define(name=f"Other{number}"), "h", "ann")
        life_of_a_version(local, define, str(number))
    state = "stay"
    for number in range(40):
        local.update(f"u{number}", "Tx", "stay", define(version="stay"), "h", "ann", state)
        state = f"u{number}"
    with watched(local) as last:
        life_of_a_version(local, define, "last")
    assert [s for s, _ in last if "service" not in s] == [s for s, _ in first if "service" not in s]
    assert len(last) == len(first)


def test_every_statement_finds_its_rows_by_an_index(local: Catalog, define: Define) -> None:
    """Read the query plans: no scan of a table, no sorting, apart from what lists everything."""
    local.publish("stay", define(version="stay"), "h", "ann")
    with watched(local) as seen:
        life_of_a_version(local, define, "1")
        local.versions("Tx")
        local.history("Tx", "1")
        with pytest.raises(Exception, match="no version"):
            local.get("Tx", "none")
    plans = []
    with local.database.read() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        for statement, parameters in seen:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                plan = driver.execute("EXPLAIN QUERY PLAN " + statement, parameters).fetchall()
                plans.append((statement, [row[3] for row in plan]))
    assert len(plans) > 20
    for statement, steps in plans:
        assert any("SEARCH" in step for step in steps), statement
        for step in steps:
            assert not step.startswith("SCAN"), (statement, steps)
            assert "FOR ORDER BY" not in step, (statement, steps)


def test_asking_for_the_revision_costs_no_statement(local: Catalog, define: Define) -> None:
    local.publish("s1", define(), "h", "ann")
    local.revision()
    with watched(local) as seen:
        for _ in range(100):
            local.revision()
    assert seen == []
    local.publish("s2", define(version="2"), "h", "ann")
    with watched(local) as seen:
        for _ in range(100):
            local.revision()
    assert len(seen) == 1


def test_the_web_node_gets_no_heavy_library(tmp_path: Path) -> None:
    """A server that opens an up-to-date catalog and a local folder loads neither Alembic nor
    fsspec, and never what belongs to kernels and workers."""
    path = tmp_path / "c.sqlite3"
    Catalog(str(path)).close()
    code = (
        "import sys; from jupyter_mlserve.store import Blobs, Catalog;"
        "import jupyter_mlserve.access;"
        "c = Catalog(sys.argv[1]); c.list_all(); Blobs(sys.argv[2]).missing([]); c.close();"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "blobs")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "sqlalchemy" in loaded
    heavy = {"alembic", "fsspec", "dill", "numpy", "pandas", "IPython", "tornado"}
    assert heavy.isdisjoint(loaded)
