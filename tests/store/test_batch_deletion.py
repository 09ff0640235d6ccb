"""Batch executions of very many chunks are deleted by slices, and are gone at once all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from store.batch_children import an_execution

from jupyter_mlserve.contract.errors import NotFound
from jupyter_mlserve.store import Catalog
from jupyter_mlserve.store.batches import (
    BatchFiles,
    Execution,
    Executions,
    Summary,
    deletion,
    new_id,
)
from jupyter_mlserve.store.batches import statements as sql
from jupyter_mlserve.store.schema import batch, batch_chunk
from jupyter_mlserve.web.batch.retention import sweep

ME = "here:1:2:3"
SLICE = 1_000


@pytest.fixture
def executions(catalog: Catalog) -> Executions:
    return Executions(catalog.database)


def with_chunks(catalog: Catalog, number: int, **more: Any) -> Execution:
    made = Executions(catalog.database).create(an_execution(new_id(), number, **more))
    about = {"batch_id": made.id, "count": 1, "format": "lines", "failed": 0, "bytes": 1, "crc": 1}
    with catalog.database.write() as connection:
        connection.execute(sql.ADD_CHUNK, [{**about, "first": first} for first in range(number)])
    return made


def left(catalog: Catalog) -> tuple[int, int]:
    """Rows of executions, of chunks."""
    with catalog.database.read() as connection:
        tables = (batch, batch_chunk)
        executions, chunks = (len(connection.execute(table.select()).all()) for table in tables)
    return executions, chunks


@contextmanager
def transactions(catalog: Catalog) -> Iterator[list[int]]:
    """How many rows each transaction deleted."""
    found: list[int] = []

    def began(connection: Any) -> None:
        found.append(0)

    def done(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("DELETE"):
            found[-1] += cursor.rowcount

    engine = catalog.database.engine
    event.listen(engine, "begin", began)
    event.listen(engine, "after_cursor_execute", done)
    try:
        yield found
    finally:
        event.remove(engine, "begin", began)
        event.remove(engine, "after_cursor_execute", done)


def test_no_transaction_deletes_very_much(catalog: Catalog, executions: Executions) -> None:
    """Whoever else writes waits for the longest of them, not for their sum."""
    many = with_chunks(catalog, 2 * deletion.SLICE + 5)
    few = with_chunks(catalog, 3)
    with transactions(catalog) as deleted:
        assert executions.delete(many.id)
    assert sum(deleted) == many.total + 1
    assert max(deleted) <= deletion.SLICE + 1
    assert left(catalog) == (1, 3)
    with transactions(catalog) as deleted:
        assert executions.delete(few.id)
    assert [number for number in deleted if number] == [4], "at once, as it always was"
    assert left(catalog) == (0, 0)


@pytest.mark.parametrize("later", ["deletion", "sweep"])
def test_it_is_gone_at_once_and_what_a_kill_left_goes_later(
    catalog: Catalog,
    executions: Executions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    later: str,
) -> None:
    monkeypatch.setattr(deletion, "SLICE", SLICE)
    killed = with_chunks(catalog, 3 * SLICE, key="k", digest="d")
    assert executions.lease(killed.id, ME, 60.0)
    assert executions.begin(killed.id, ME)
    other = with_chunks(catalog, 2, owner="bob")

    def kill(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(deletion, "pause", kill)
        with pytest.raises(KeyboardInterrupt):
            executions.delete(killed.id)
    assert left(catalog) == (2, 2 * SLICE + 2), "it was ended after the first slice"

    with pytest.raises(NotFound, match=killed.id):
        executions.get(killed.id)
    assert executions.owned_by("ann") == executions.of("ann", "Tx", "1.0") == []
    assert executions.known([killed.id, other.id]) == {other.id}
    assert executions.usage("ann") == 0
    assert executions.usage() == other.input_bytes
    assert executions.summary() == Summary(1, 1, 0, other.input_bytes)
    assert executions.find_key("ann", "Tx", "1.0", "k") is None
    assert [execution.id for execution in executions.runnable()] == [other.id]
    assert executions.expired(datetime.now(timezone.utc) + timedelta(days=1)) == []
    assert not executions.lease(killed.id, ME, 60.0)
    assert executions.renew([killed.id], ME, 60.0) == set()
    assert executions.begin(killed.id, ME) is None
    assert not executions.note(killed.id, ME, "x")
    assert not executions.fail(killed.id, None, "x")
    late = executions.chunks_between(killed.id, 5, 6)[0]
    assert executions.commit(killed.id, ME, late) is None, "also what was committed before"
    again = executions.create(an_execution(new_id(), 1, key="k", digest="e"))
    assert again.key == "k", "who deletes it may send it again"
    if later == "deletion":
        assert not executions.delete(killed.id)  # of whatever
    else:
        sweep(executions, BatchFiles(tmp_path / "batches"), retention=0)
    assert left(catalog) == (2, 2), "what was left is removed"
