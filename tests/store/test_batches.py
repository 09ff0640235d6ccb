"""Batch executions in the database: made, found, leased, counted, ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import event

from jupyter_mlserve.contract.errors import Conflict, NotFound, OutOfSpace, TooBusy
from jupyter_mlserve.store import Catalog
from jupyter_mlserve.store.batches import (
    Chunk,
    Execution,
    Executions,
    Quota,
    Summary,
    new_holder,
    new_id,
)
from jupyter_mlserve.store.batches.holders import is_dead

Define = Callable[..., dict[str, Any]]
ME = "here:1:2:3"
AN_ID = "0d0111e1-69ed-4efa-9175-55ea5d8b4c65"
OTHER = "there:1:2:3"
EARLY = datetime(2020, 1, 1, tzinfo=timezone.utc)


def an_execution(total: int = 4, **more: Any) -> Execution:
    made = Execution(
        id=new_id(),
        name="Tx",
        version="1.0",
        state_id="s1",
        owner="ann",
        created_at=datetime.now(timezone.utc),
        total=total,
        units=total,
        input_bytes=100,
    )
    return replace(made, **more)


def chunk(first: int, count: int = 1, failed: int = 0, size: int = 10) -> Chunk:
    return Chunk(first, count, "lines", failed, size, 0xFFFFFFFF)


@pytest.fixture
def executions(catalog: Catalog) -> Executions:
    return Executions(catalog.database)


@pytest.fixture
def begun(executions: Executions) -> Execution:
    """One that is held by ME, in progress."""
    made = executions.create(an_execution())
    assert executions.lease(made.id, ME, 60.0)
    found = executions.begin(made.id, ME)
    assert found is not None
    return found


# Made and found


def test_what_is_made_is_found_as_it_was(executions: Executions) -> None:
    made = an_execution(
        total=5_000_000_000,
        units=1_220_704,
        parallel=7,
        format="arrow",
        piece=4096,
        upload_bytes=1 << 40,
        input_bytes=1 << 41,
        key="k",
        digest="csv:" + "a" * 64,
        message="Grüße",
    )
    assert executions.create(made) == made
    assert executions.get(made.id) == made
    assert executions.of("ann", "Tx", "1.0") == [made]
    assert executions.owned_by("ann") == [made]
    assert executions.find_key("ann", "Tx", "1.0", "k") == made
    assert made.state == "Ready"
    assert not made.final


def test_lists_are_oldest_first_and_of_one_user(executions: Executions) -> None:
    made = [
        executions.create(an_execution(created_at=EARLY + timedelta(seconds=n))) for n in (3, 1, 2)
    ]
    executions.create(an_execution(owner="bob"))
    executions.create(an_execution(version="2.0", created_at=EARLY))
    in_order = [made[1], made[2], made[0]]
    assert executions.of("ann", "Tx", "1.0") == in_order
    assert [e.version for e in executions.owned_by("ann")] == ["2.0", "1.0", "1.0", "1.0"]
    assert executions.of("eve", "Tx", "1.0") == executions.owned_by("eve") == []
    assert [e.owner for e in executions.runnable()] == ["ann"] * 4 + ["bob"]


@pytest.mark.parametrize(
    "id", ["", "x", "../../etc", "\0", "\ud800", "A" * 36, f"{AN_ID}\n", AN_ID.upper(), 7]
)
def test_what_is_no_id_is_not_found(executions: Executions, id: Any) -> None:
    with pytest.raises(NotFound, match="There is no batch execution") as error:
        executions.get(id)
    error.value.message.encode()
    assert not executions.delete(id)
    assert executions.known([id]) == set()
    with pytest.raises(NotFound):
        executions.create(an_execution(id=id))


def test_text_that_no_database_holds_is_found_nowhere(executions: Executions) -> None:
    for text in ("\0", "\ud800", "x" * 300):
        assert executions.of("ann", text, "1.0") == []
        assert executions.find_key("ann", "Tx", "1.0", text) is None


def test_an_id_is_there_once(executions: Executions) -> None:
    made = executions.create(an_execution())
    with pytest.raises(Conflict, match="already"):
        executions.create(replace(made, owner="bob"))
    assert executions.get(made.id) == made


def test_a_request_that_came_before_makes_nothing(executions: Executions) -> None:
    first = executions.create(an_execution(key="k", digest="d"))
    full = Quota(1, 1, 1)
    assert executions.create(an_execution(key="k", digest="d"), quota=full) == first
    with pytest.raises(Conflict, match="Give each request a key of its own") as error:
        executions.create(an_execution(key="k", digest="e"))
    assert error.value.details == {"batchExecutionId": first.id}
    for other in ({"owner": "bob"}, {"version": "2"}, {"name": "Ty"}, {"key": "K"}, {"key": None}):
        made = an_execution(**{"key": "k", "digest": "d", **other})
        assert executions.create(made) == made
    executions.delete(first.id)
    again = an_execution(key="k", digest="e")
    assert executions.create(again) == again, "who deletes it may send it again"


def test_quotas_say_what_to_do(executions: Executions) -> None:
    quota = Quota(total_bytes=350, user_bytes=250, user_executions=3)
    for _ in range(2):
        executions.create(an_execution(), quota=quota)
    with pytest.raises(OutOfSpace, match=r"250 bytes for .*\(batch_user_quota\)"):
        executions.create(an_execution(), quota=quota)
    executions.create(an_execution(owner="bob"), quota=quota)
    with pytest.raises(OutOfSpace, match=r"350 bytes for all batch executions .*\(batch_quota\)"):
        executions.create(an_execution(owner="bob"), quota=quota)
    executions.create(an_execution(input_bytes=0), quota=quota)
    with pytest.raises(TooBusy, match="You have 3 batch executions"):
        executions.create(an_execution(input_bytes=0), quota=quota)
    executions.create(an_execution(input_bytes=10**12), quota=Quota())
    assert executions.summary() == Summary(5, 5, 0, 300 + 10**12)
    assert executions.usage("bob") == 100


def test_nothing_of_it_is_a_change_of_the_catalog(
    catalog: Catalog, executions: Executions, define: Define
) -> None:
    catalog.publish("s1", define(), "h", "ann")
    before = catalog.revision()
    made = executions.create(an_execution(total=1))
    executions.lease(made.id, ME, 60.0)
    executions.begin(made.id, ME)
    executions.commit(made.id, ME, chunk(0))
    executions.delete(made.id)
    assert catalog.revision() == before
    assert catalog.changes(before) == []


# Leases


def test_one_holds_it(executions: Executions) -> None:
    made = executions.create(an_execution())
    assert executions.runnable() == [made]
    assert executions.lease(made.id, ME, 60.0)
    assert executions.lease(made.id, ME, 60.0), "the same holder may ask again"
    assert not executions.lease(made.id, OTHER, 60.0)
    assert executions.runnable() == []
    assert executions.runnable(holder=ME) == [made], "it may have lost sight of it"
    assert executions.runnable(holder=OTHER) == []
    later = datetime.now(timezone.utc) + timedelta(seconds=61)
    assert executions.runnable(later) == [made]
    executions.release(made.id, OTHER)
    assert executions.runnable() == []
    executions.release(made.id, ME)
    assert executions.lease(made.id, OTHER, 60.0)
    assert not executions.lease(new_id(), ME, 60.0)


def test_a_lease_runs_out_and_can_be_renewed_until_it_is_taken(executions: Executions) -> None:
    made = [executions.create(an_execution()) for _ in range(3)]
    ids = [one.id for one in made]
    assert all(executions.lease(id, ME, 0.0) for id in ids)
    assert executions.runnable() == made
    assert executions.renew(ids[:2], ME, 60.0) == set(ids[:2])
    assert executions.lease(ids[2], OTHER, 60.0)
    assert not executions.lease(ids[1], OTHER, 60.0)
    assert executions.renew([*ids, new_id()], ME, 60.0) == set(ids[:2])
    executions.delete(ids[0])
    executions.fail(ids[1], None, "no")
    assert executions.renew(ids, ME, 60.0) == set()
    assert executions.renew(ids, OTHER, 60.0) == {ids[2]}
    assert executions.renew([], ME, 60.0) == set()


def test_only_the_holder_changes_it(executions: Executions, begun: Execution) -> None:
    id = begun.id
    assert executions.begin(id, OTHER) is None
    assert executions.commit(id, OTHER, chunk(0)) is None
    assert not executions.note(id, OTHER, "no")
    assert not executions.fail(id, OTHER, "no")
    assert executions.get(id) == begun
    assert executions.chunks(id) == []
    executions.release(id, ME)
    assert executions.commit(id, ME, chunk(0)) is None
    assert executions.lease(id, OTHER, 60.0)
    assert executions.commit(id, OTHER, chunk(0)) is not None
    assert executions.commit(id, ME, chunk(1)) is None


def test_it_is_begun_once_and_taken_over(executions: Executions, begun: Execution) -> None:
    assert begun.state == "InProgress"
    assert begun.started_at is not None
    assert executions.interrupted() == []
    executions.release(begun.id, ME)
    assert executions.interrupted() == [begun]
    executions.create(an_execution())
    assert executions.interrupted() == [begun]
    executions.lease(begun.id, OTHER, 60.0)
    assert executions.begin(begun.id, OTHER) == begun, "it keeps the moment it was begun"
    assert executions.summary() == Summary(2, 1, 1, 200)


def test_holders() -> None:
    mine = new_holder()
    assert len(mine) < 255
    assert mine != new_holder()
    assert not is_dead(mine)
    host, pid, start, random = mine.split(":")
    assert is_dead(f"{host}:{pid}:{start}9:{random}"), "a later process with its number"
    assert is_dead(f"{host}:4194399:{start}:{random}"), "a number that no process has"
    assert not is_dead(f"else{host}:4194399:{start}:{random}"), "who knows"
    for holder in ("", ":::", "x", f"{host}:x:1:2", f"{host}:-1:1:2", f"{host}:1:2:3:4"):
        assert not is_dead(holder)


# Work


def test_chunks_are_counted_until_all_is_done(executions: Executions, begun: Execution) -> None:
    id = begun.id
    after = executions.commit(id, ME, chunk(2, 2, failed=1, size=30))
    assert after is not None
    assert (after.completed, after.failed, after.result_bytes) == (2, 1, 30)
    assert (after.state, after.finished_at) == ("InProgress", None)
    assert executions.note(id, ME, "waits\0 for the \ud800disk")
    assert executions.get(id).message == "waits for the ?disk"
    assert executions.commit(id, ME, chunk(1)) is not None
    last = executions.commit(id, ME, chunk(0))
    assert last is not None
    assert (last.completed, last.failed, last.result_bytes) == (4, 1, 50)
    assert (last.state, last.message, last.final) == ("Complete", "", True)
    assert last.finished_at is not None
    assert executions.get(id) == last
    assert executions.chunks(id) == [chunk(0), chunk(1), chunk(2, 2, 1, 30)]
    assert executions.runnable() == []
    assert not executions.lease(id, ME, 60.0)
    assert executions.begin(id, ME) is None
    assert not executions.fail(id, None, "no")
    assert executions.get(id) == last


def test_no_record_is_counted_twice(executions: Executions, begun: Execution) -> None:
    id = begun.id
    after = executions.commit(id, ME, chunk(1, 2))
    assert executions.commit(id, ME, chunk(1, 2)) == after, "said again, when the answer was lost"
    for wrong in (chunk(1), chunk(1, 3), chunk(0, 2), chunk(0, 4), chunk(2), chunk(1, 2, 1)):
        with pytest.raises(Conflict, match="have results already"):
            executions.commit(id, ME, wrong)
    for wrong in (chunk(3, 2), chunk(4), chunk(-1), chunk(3, 0)):
        with pytest.raises(Conflict):
            executions.commit(id, ME, wrong)
    assert executions.get(id) == after
    executions.commit(id, ME, chunk(0))
    last = executions.commit(id, ME, chunk(3))
    assert last is not None
    assert last.state == "Complete"
    assert executions.commit(id, ME, chunk(3)) == last


def test_what_failed_keeps_its_results(executions: Executions, begun: Execution) -> None:
    executions.commit(begun.id, ME, chunk(0))
    assert executions.fail(begun.id, ME, "The version was deleted.")
    failed = executions.get(begun.id)
    assert (failed.state, failed.message) == ("Failed", "The version was deleted.")
    assert failed.finished_at is not None
    assert executions.chunks(begun.id) == [chunk(0)]
    assert executions.commit(begun.id, ME, chunk(1)) is None
    assert not executions.fail(begun.id, ME, "again")
    assert executions.get(begun.id) == failed
    # One that nobody holds, and that was not even begun.
    waiting = executions.create(an_execution())
    assert executions.fail(waiting.id, None, "no")
    assert executions.get(waiting.id).state == "Failed"


def test_deleted_is_gone(executions: Executions, begun: Execution) -> None:
    executions.commit(begun.id, ME, chunk(0))
    other = executions.create(an_execution())
    assert executions.known([begun.id, new_id(), other.id]) == {begun.id, other.id}
    assert executions.delete(begun.id)
    assert not executions.delete(begun.id)
    assert executions.commit(begun.id, ME, chunk(1)) is None
    assert executions.chunks(begun.id) == []
    assert executions.owned_by("ann") == [other]
    with pytest.raises(NotFound, match=begun.id):
        executions.get(begun.id)


def test_what_ended_long_ago_expires(executions: Executions, begun: Execution) -> None:
    now = datetime.now(timezone.utc)
    failed = executions.create(an_execution(created_at=EARLY))
    executions.fail(failed.id, None, "no")
    assert executions.expired(now) == [], "it ended just now"
    soon = datetime.now(timezone.utc) + timedelta(seconds=1)
    assert executions.expired(soon) == [failed.id]
    executions.commit(begun.id, ME, chunk(0, 4))
    soon = datetime.now(timezone.utc) + timedelta(seconds=1)
    assert set(executions.expired(soon)) == {failed.id, begun.id}
    assert len(executions.expired(soon, 1)) == 1


def test_chunks_between(executions: Executions) -> None:
    made = executions.create(an_execution(total=30))
    executions.lease(made.id, ME, 60.0)
    executions.begin(made.id, ME)
    for first in (0, 5, 10, 20):  # 15 to 19 and 25 to 29 have no results yet
        executions.commit(made.id, ME, chunk(first, 5))

    def between(first: int, stop: int) -> list[int]:
        return [c.first for c in executions.chunks_between(made.id, first, stop)]

    assert between(0, 30) == [0, 5, 10, 20]
    assert between(0, 1) == [0]
    assert between(4, 5) == [0]
    assert between(4, 6) == [0, 5]
    assert between(5, 10) == [5]
    assert between(12, 21) == [10, 20]
    assert between(15, 20) == between(25, 30) == between(3, 3) == between(9, 2) == []
    assert [c.first for c in executions.each_chunk(made.id)] == [0, 5, 10, 20]


# Costs


Statements = list[tuple[str, Any]]


@contextmanager
def watched(catalog: Catalog) -> Iterator[Statements]:
    seen: Statements = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        seen.append((statement, parameters))

    engines = (catalog.database.engine, catalog.database._reading)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


def life(executions: Executions) -> None:
    made = executions.create(an_execution(key="k", digest="d"), quota=Quota(10**9, 10**9, 10**4))
    executions.find_key("ann", "Tx", "1.0", "k")
    executions.lease(made.id, ME, 60.0)
    executions.begin(made.id, ME)
    executions.renew([made.id], ME, 60.0)
    executions.commit(made.id, ME, chunk(0))
    executions.chunks_between(made.id, 0, 4)
    executions.chunks(made.id)
    executions.get(made.id)
    executions.known([made.id])
    executions.release(made.id, ME)
    executions.fail(made.id, None, "no")
    executions.expired(EARLY)
    executions.runnable()
    executions.delete(made.id)


def test_each_thing_is_found_by_an_index(tmp_path: Any) -> None:
    with Catalog(str(tmp_path / "c.sqlite3")) as catalog:
        executions = Executions(catalog.database)
        with watched(catalog) as first:
            life(executions)
        for number in range(30):
            made = executions.create(an_execution(total=30, owner=f"u{number % 3}"))
            executions.lease(made.id, ME, 60.0)
            executions.begin(made.id, ME)
            for record in range(30):
                executions.commit(made.id, ME, chunk(record))
        with watched(catalog) as last:
            life(executions)
        assert [statement for statement, _ in first] == [statement for statement, _ in last]
        checked = 0
        with catalog.database.read() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            for statement, parameters in last:
                whole = "sum(" in statement and "owner" not in statement  # the quota of all
                if statement.startswith(("SELECT", "UPDATE", "DELETE")) and not whole:
                    plan = driver.execute("EXPLAIN QUERY PLAN " + statement, parameters).fetchall()
                    assert any("SEARCH" in row[3] for row in plan), statement
                    assert not any(row[3].startswith("SCAN") for row in plan), statement
                    checked += 1
        assert checked > 20
