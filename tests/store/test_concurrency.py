"""Several processes and threads on one catalog, and processes killed in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_mlserve.store import Catalog, Event

Start = Callable[..., Any]


def run_together(children: list[Any]) -> list[Any]:
    for child in children:
        child.ready()
    for child in children:
        child.go()
    return [child.result() for child in children]


def test_kill_in_the_middle_leaves_a_version_whole_or_absent(tmp_path: Path, child: Start) -> None:
    """A process that writes blobs and publishes is killed 24 times; see children.kill."""
    result = child("kill", tmp_path, 24).result()
    assert result["rounds"] == 24
    assert result["returned"] >= 18, "most were killed while they published"
    assert 0 < result["unborn"] <= 6, "some were killed before anything was published"


def test_no_update_is_lost(db_url: str, catalog: Catalog, child: Start) -> None:
    start = {"name": "Counter", "version": "1", "mlserve": {}, "count": 0}
    catalog.publish("s0", start, "h", "ann")
    stale = run_together([child("count", db_url, who, 40) for who in ("ann", "bob", "cid")])
    assert sum(stale) > 0, "they did get in each other's way"
    assert catalog.get("Counter", "1").definition["count"] == 120
    states = catalog.states("Counter", "1")
    assert [s.number for s in states] == list(range(1, 122))
    assert [s.definition["count"] for s in states] == list(range(121))


def test_a_name_has_exactly_one_first_publisher(
    db_url: str, catalog: Catalog, child: Start
) -> None:
    ann, bob = (child("compete", db_url, who) for who in ("ann", "bob"))
    for number in range(40):
        for one in (ann, bob):
            one.ready()
        for one in (ann, bob) if number % 2 else (bob, ann):
            one.go(f"n{number}")
            if number % 4 < 2:  # a head start, so that even a busy machine lets both win some
                time.sleep(0.02)
    won = [one.result() for one in (ann, bob)]
    states = catalog.list_all()
    assert len(states) == 40
    assert {s.id for s in states if s.author == "ann"} == set(won[0])
    assert {s.id for s in states if s.author == "bob"} == set(won[1])
    assert all(won), "both won some"
    assert all(catalog.name_owner(s.name) == s.author for s in states)


def test_publish_update_and_delete_at_once_leave_one_story(
    db_url: str, catalog: Catalog, child: Start
) -> None:
    """What each process was told is what the history says, and the history makes sense."""
    told = run_together([child("fight", db_url, who, 150) for who in ("ann", "bob")])
    events = [*catalog.history("A"), *catalog.history("B")]
    for who, done in zip(("ann", "bob"), told, strict=True):
        said = [(e.action, e.name, e.version, e.state_id) for e in events if e.who == who]
        assert sorted(said) == sorted(map(tuple, done))
    live: dict[tuple[str, str], Event] = {}
    states: dict[tuple[str, str], set[str]] = {}
    numbers: dict[tuple[str, str], int] = {}
    for event in events:
        key = (event.name, event.version)
        if event.action == "publish":
            assert key not in live
            states[key] = set()
        elif event.action == "delete":
            assert event.state_id == live.pop(key).state_id
            continue
        else:
            assert key in live
        if event.action == "rollback":
            assert event.state_id in states[key]
        else:
            assert event.number == numbers.get(key, 0) + 1
            numbers[key] = event.number
            states[key].add(event.state_id)
        live[key] = event
    there = {(s.name, s.version): s.id for s in catalog.list_all()}
    assert there == {key: event.state_id for key, event in live.items()}
    for key in there:
        assert {s.id for s in catalog.states(*key)} == states[key]


def test_two_processes_open_a_new_database_at_once(db_url: str, child: Start) -> None:
    names = run_together([child("open_fresh", db_url) for _ in range(3)])
    with Catalog(db_url) as catalog:
        assert sorted(s.name for s in catalog.list_all()) == sorted(names)


def test_new_files_are_opened_at_the_same_moment(tmp_path: Path, child: Start) -> None:
    """Also the folder is made, and the file switched to WAL, by two at once."""
    pair = [child("open_many", tmp_path) for _ in range(2)]
    for number in range(6):
        for one in pair:
            one.ready()
        for one in pair if number % 2 else reversed(pair):
            one.go(f"new{number}")
    assert [one.result() for one in pair] == [6, 6]
    for number in range(6):
        with Catalog(str(tmp_path / f"new{number}" / "catalog.sqlite3")) as catalog:
            assert len(catalog.list_all()) == 2


def test_the_revision_changes_when_another_process_publishes(
    db_url: str, catalog: Catalog, child: Start
) -> None:
    other = child("publish_one", db_url, "Elsewhere")
    other.ready()
    before = catalog.revision()
    assert catalog.revision() == before
    other.go()
    revision = other.result()
    assert catalog.revision() == revision > before
    assert catalog.changes(before) == [("Elsewhere", "1")]
    assert catalog.get("Elsewhere", "1").author == "me"


def test_threads_share_a_catalog(catalog: Catalog, define: Callable[..., Any]) -> None:
    errors: list[BaseException] = []

    def work(who: int) -> None:
        try:
            for turn in range(25):
                catalog.publish(f"{who}-{turn}", define(f"T{who}", str(turn)), "h", "ann")
                assert catalog.newest(f"T{who}").version == str(turn)
                assert catalog.revision() >= turn
                catalog.list_all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(catalog.list_all()) == 100
    assert catalog.revision() == 100


def test_catalogs_open_in_several_threads_at_once(tmp_path: Path) -> None:
    """Alembic keeps its state in modules, so migrations in one process must take turns."""
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            Catalog(str(tmp_path / f"{number % 2}.sqlite3")).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_closing_twice_is_no_error(catalog: Catalog) -> None:
    for _ in range(2):
        catalog.close()
