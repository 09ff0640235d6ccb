"""What the catalog promises to one caller. Several at once: test_concurrency.py."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest

from jupyter_mlserve.contract.errors import (
    Conflict,
    InvalidDefinition,
    NotAllowed,
    ServiceNotFound,
    StaleState,
    VersionDeleted,
    VersionExists,
)
from jupyter_mlserve.store import Catalog, State, blobs_of

Define = Callable[..., dict[str, Any]]


def test_what_was_published_comes_back_whole(catalog: Catalog, define: Define) -> None:
    before = datetime.now(timezone.utc)
    definition = define(
        description="é \u2028 \x00 \ud800 😀",
        deep={"b": [1, 2.5, None, True], "a": {}},
        code="x=1\n",
    )
    state = catalog.publish("s1", definition, "hash", "ann")
    assert state == State(
        id="s1",
        number=1,
        name="Tx",
        version="1.0",
        definition=definition,
        content_hash="hash",
        author="ann",
        state_author="ann",
        created_at=state.created_at,
        state_created_at=state.created_at,
    )
    assert before <= state.created_at <= datetime.now(timezone.utc)
    assert state.created_at.utcoffset() == timedelta(0)
    for found in (
        catalog.get("Tx", "1.0"),
        catalog.newest("Tx"),
        *catalog.versions("Tx"),
        *catalog.list_all(),
        *catalog.states("Tx", "1.0"),
    ):
        assert found == state
    assert list(catalog.get("Tx", "1.0").definition["deep"]) == ["b", "a"]


def test_a_catalog_survives_its_server(db_url: str, define: Define) -> None:
    with Catalog(db_url) as catalog:
        state = catalog.publish("s1", define(), "h", "ann")
        revision = catalog.revision()
    with Catalog(db_url) as catalog:
        assert catalog.get("Tx", "1.0") == state
        assert catalog.revision() == revision


def test_the_same_version_again_is_refused(catalog: Catalog, define: Define) -> None:
    catalog.publish("s1", define(), "h1", "ann")
    with pytest.raises(VersionExists) as same:
        catalog.publish("s2", define(), "h1", "ann")
    assert same.value.details == {"identical": True, "state": "s1"}
    with pytest.raises(VersionExists) as other:
        catalog.publish("s2", define(description="new"), "h2", "ann")
    assert other.value.details == {"identical": False, "state": "s1"}
    assert catalog.get("Tx", "1.0").id == "s1"
    assert len(catalog.history("Tx")) == 1


def test_identical_means_the_current_state(catalog: Catalog, define: Define) -> None:
    catalog.publish("s1", define(), "h1", "ann")
    catalog.update("s2", "Tx", "1.0", define(), "h2", "ann", "s1")
    with pytest.raises(VersionExists) as error:
        catalog.publish("s3", define(), "h1", "ann")
    assert error.value.details == {"identical": False, "state": "s2"}


def test_the_first_to_publish_owns_the_name_until_its_last_version_is_deleted(
    catalog: Catalog, define: Define
) -> None:
    assert catalog.name_owner("Tx") is None
    catalog.publish("s1", define(version="1"), "h", "ann")
    with pytest.raises(NotAllowed, match="belongs to ann") as error:
        catalog.publish("s2", define(version="2"), "h", "bob")
    assert error.value.details == {"owner": "ann"}
    with pytest.raises(NotAllowed):  # not even whether the version is there
        catalog.publish("s2", define(version="1"), "h", "bob")
    second = catalog.publish("s2", define(version="2"), "h", "bob", any_owner=True)
    assert (second.author, catalog.name_owner("Tx")) == ("bob", "ann")
    catalog.delete("Tx", "1", "ann")
    assert catalog.name_owner("Tx") == "ann"
    catalog.delete("Tx", "2", "bob")
    assert catalog.name_owner("Tx") is None
    catalog.publish("s3", define(version="1"), "h", "bob")
    assert catalog.name_owner("Tx") == "bob"


def test_an_update_is_a_new_state_of_the_same_version(catalog: Catalog, define: Define) -> None:
    first = catalog.publish("s1", define(), "h1", "ann")
    second = catalog.update("s2", "Tx", "1.0", define(description="d"), "h2", "bob", "s1")
    assert (second.id, second.number, second.content_hash) == ("s2", 2, "h2")
    assert (second.author, second.state_author) == ("ann", "bob")
    assert second.created_at == first.created_at <= second.state_created_at
    assert catalog.get("Tx", "1.0") == second
    assert catalog.states("Tx", "1.0") == [first, second]


def test_an_update_from_an_old_state_is_refused(catalog: Catalog, define: Define) -> None:
    catalog.publish("s1", define(), "h", "ann")
    catalog.update("s2", "Tx", "1.0", define(), "h", "ann", "s1")
    revision = catalog.revision()
    with pytest.raises(StaleState) as error:
        catalog.update("s3", "Tx", "1.0", define(), "h", "ann", "s1")
    assert error.value.details == {"state": "s2"}
    with pytest.raises(StaleState):
        catalog.rollback("Tx", "1.0", 1, "ann", "s1")
    with pytest.raises(StaleState):
        catalog.delete("Tx", "1.0", "ann", "s1")
    assert catalog.get("Tx", "1.0").id == "s2"
    assert catalog.revision() == revision


def test_an_update_cannot_rename(catalog: Catalog, define: Define) -> None:
    catalog.publish("s1", define(), "h", "ann")
    with pytest.raises(InvalidDefinition, match="keeps the name"):
        catalog.update("s2", "Tx", "1.0", define(version="2.0"), "h", "ann", "s1")


def test_rollback_makes_an_earlier_state_current(catalog: Catalog, define: Define) -> None:
    first = catalog.publish("s1", define(), "h1", "ann")
    second = catalog.update("s2", "Tx", "1.0", define(description="d"), "h2", "ann", "s1")
    assert catalog.rollback("Tx", "1.0", 1, "ann", "s2") == first
    assert catalog.get("Tx", "1.0") == first
    # What comes next has a number of its own.
    third = catalog.update("s3", "Tx", "1.0", define(), "h3", "ann", "s1")
    assert third.number == 3
    assert catalog.states("Tx", "1.0") == [first, second, third]


def test_rollback_without_a_number_goes_to_what_was_live_before(
    catalog: Catalog, define: Define
) -> None:
    catalog.publish("s1", define(), "h", "ann")
    with pytest.raises(Conflict, match="never updated"):
        catalog.rollback("Tx", "1.0", None, "ann")
    with pytest.raises(Conflict, match="never updated"):
        catalog.previous("Tx", "1.0")
    catalog.update("s2", "Tx", "1.0", define(), "h", "ann", "s1")
    catalog.update("s3", "Tx", "1.0", define(), "h", "ann", "s2")
    assert catalog.previous("Tx", "1.0").id == "s2"
    assert catalog.rollback("Tx", "1.0", None, "ann").id == "s2"
    assert catalog.previous("Tx", "1.0").id == "s3"
    assert catalog.rollback("Tx", "1.0", None, "ann").id == "s3"


def test_rollback_knows_nothing_of_a_former_life(catalog: Catalog, define: Define) -> None:
    catalog.publish("s1", define(), "h", "ann")
    catalog.delete("Tx", "1.0", "ann")
    catalog.publish("s2", define(), "h", "bob")
    with pytest.raises(Conflict, match="never updated"):
        catalog.rollback("Tx", "1.0", None, "bob")
    with pytest.raises(ServiceNotFound, match="no state 1; the latest is 2"):
        catalog.rollback("Tx", "1.0", 1, "bob")


def test_rollback_to_the_current_state_changes_nothing(catalog: Catalog, define: Define) -> None:
    state = catalog.publish("s1", define(), "h", "ann")
    revision = catalog.revision()
    assert catalog.rollback("Tx", "1.0", 1, "ann") == state
    assert catalog.revision() == revision
    assert len(catalog.history("Tx")) == 1
    catalog.update("s2", "Tx", "1.0", define(), "h", "ann", "s1")  # the transaction is over


def test_a_deleted_version_says_so_until_it_is_published_again(
    catalog: Catalog, define: Define
) -> None:
    catalog.publish("s1", define(version="1"), "h", "ann")
    catalog.publish("s2", define(version="2"), "h", "ann")
    assert catalog.delete("Tx", "1", "ann").id == "s1"
    for ask in (
        lambda: catalog.get("Tx", "1"),
        lambda: catalog.states("Tx", "1"),
        lambda: catalog.delete("Tx", "1", "ann"),
        lambda: catalog.rollback("Tx", "1", 1, "ann"),
        lambda: catalog.update("s9", "Tx", "1", define(version="1"), "h", "ann", "s1"),
    ):
        with pytest.raises(VersionDeleted, match="was deleted on"):
            ask()
    assert [s.version for s in catalog.versions("Tx")] == ["2"]
    again = catalog.publish("s3", define(version="1"), "h", "ann")
    assert again.number == 2, "a number is never used twice"
    assert catalog.get("Tx", "1") == again
    assert catalog.states("Tx", "1") == [again]


def test_the_newest_version_is_the_last_published_not_the_last_updated(
    catalog: Catalog, define: Define
) -> None:
    for version in ("2.0", "10.0", "1.0"):
        catalog.publish(f"s{version}", define(version=version), "h", "ann")
    catalog.update("u", "Tx", "2.0", define(version="2.0"), "h", "ann", "s2.0")
    assert catalog.newest("Tx").version == "1.0"
    assert [s.version for s in catalog.versions("Tx")] == ["2.0", "10.0", "1.0"]
    catalog.delete("Tx", "1.0", "ann")
    assert catalog.newest("Tx").version == "10.0"
    catalog.delete("Tx", "2.0", "ann")
    catalog.publish("again", define(version="2.0"), "h", "ann")
    assert [s.version for s in catalog.versions("Tx")] == ["10.0", "2.0"]
    for version in ("10.0", "2.0"):
        catalog.delete("Tx", version, "ann")
    with pytest.raises(VersionDeleted, match="All versions"):
        catalog.newest("Tx")


def test_what_is_not_there_is_named(catalog: Catalog, define: Define) -> None:
    with pytest.raises(ServiceNotFound, match="no service named 'Tx'"):
        catalog.get("Tx", "1")
    for number in range(7):
        catalog.publish(f"s{number}", define(version=str(number)), "h", "ann")
    with pytest.raises(ServiceNotFound, match=r"no version '9'. Newest versions: 6, 5, 4, 3, 2\."):
        catalog.get("Tx", "9")
    with pytest.raises(ServiceNotFound):
        catalog.newest("Ty")
    with pytest.raises(ServiceNotFound):
        catalog.history("Ty")
    with pytest.raises(ServiceNotFound):
        catalog.history("Tx", "9")
    assert catalog.versions("Ty") == []


@pytest.mark.parametrize(
    "name", ["tx", "TX", "Tx ", " Tx", "T%", "T_", "Tx\0", "\ud800", "", "x" * 300, "Tx' OR '1'='1"]
)
def test_names_match_exactly(catalog: Catalog, define: Define, name: str) -> None:
    catalog.publish("s1", define(), "h", "ann")
    with pytest.raises(ServiceNotFound):
        catalog.get(name, "1.0")
    with pytest.raises(ServiceNotFound):
        catalog.get("Tx", name)
    with pytest.raises(ServiceNotFound):
        catalog.newest(name)
    with pytest.raises(ServiceNotFound):
        catalog.delete(name, "1.0", "ann")
    with pytest.raises(ServiceNotFound):
        catalog.history(name)
    assert catalog.name_owner(name) is None
    assert catalog.versions(name) == []


def test_names_that_differ_in_case_are_different(catalog: Catalog, define: Define) -> None:
    catalog.publish("s1", define(name="Tx", version="v"), "h", "ann")
    catalog.publish("s2", define(name="tx", version="v"), "h", "bob")
    catalog.publish("s3", define(name="Tx", version="V"), "h", "ann")
    assert catalog.get("Tx", "v").id == "s1"
    assert catalog.get("tx", "v").author == "bob"
    # One letter or two code points: no normal form is made of a name.
    catalog.publish("s4", define(name="caf\u00e9"), "h", "ann")
    with pytest.raises(ServiceNotFound):
        catalog.get("cafe\u0301", "1.0")


@pytest.mark.parametrize(
    "broken", [{"name": None}, {"name": ""}, {"version": 1.0}, {"version": "\ud800"}]
)
def test_a_definition_without_a_name_is_refused(
    catalog: Catalog, define: Define, broken: dict[str, Any]
) -> None:
    with pytest.raises(InvalidDefinition):
        catalog.publish("s1", {**define(), **broken}, "h", "ann")
    assert catalog.list_all() == []


def test_a_state_id_is_used_once_and_a_failure_changes_nothing(
    catalog: Catalog, define: Define
) -> None:
    catalog.publish("s1", define(version="1"), "h", "ann")
    revision = catalog.revision()
    with pytest.raises(Conflict, match="taken"):
        catalog.publish("s1", define(version="2"), "h", "ann")
    with pytest.raises(ValueError, match="JSON"):
        catalog.publish("s2", define(version="2", bad=float("nan")), "h", "ann")
    assert [s.version for s in catalog.list_all()] == ["1"]
    assert catalog.revision() == revision
    catalog.publish("s2", define(version="2"), "h", "ann")


def test_history_tells_what_was_live_when(catalog: Catalog, define: Define) -> None:
    catalog.publish("s1", define(version="1"), "h", "ann")
    catalog.update("s2", "Tx", "1", define(version="1"), "h", "bob", "s1")
    catalog.publish("t1", define(version="2"), "h", "ann")
    catalog.rollback("Tx", "1", 1, "ann")
    catalog.delete("Tx", "1", "ann")
    catalog.publish("s3", define(version="1"), "h", "ann")
    events = catalog.history("Tx")
    assert [(e.action, e.who, e.version, e.state_id, e.number) for e in events] == [
        ("publish", "ann", "1", "s1", 1),
        ("update", "bob", "1", "s2", 2),
        ("publish", "ann", "2", "t1", 1),
        ("rollback", "ann", "1", "s1", 1),
        ("delete", "ann", "1", "s1", 1),
        ("publish", "ann", "1", "s3", 3),
    ]
    assert [e.at for e in events] == sorted(e.at for e in events)
    assert all(e.at.utcoffset() == timedelta(0) for e in events)
    assert catalog.history("Tx", "1") == [e for e in events if e.version == "1"]
    assert catalog.history("Tx", limit=2) == events[-2:]
    assert catalog.history("Tx", "2", limit=5) == [events[2]]


def test_the_list_is_by_name_and_age(catalog: Catalog, define: Define) -> None:
    for name, version in (("B", "2"), ("A", "9"), ("B", "1"), ("A", "10")):
        catalog.publish(uuid4().hex, define(name, version), "h", "ann")
    assert [(s.name, s.version) for s in catalog.list_all()] == [
        ("A", "9"),
        ("A", "10"),
        ("B", "2"),
        ("B", "1"),
    ]


def test_blobs_of_a_definition() -> None:
    definition = {
        "mlserve": {
            "objects": [{"name": "m", "sha256": "aa"}, {"name": "n", "sha256": "aa"}],
            "files": [{"name": "f", "sha256": "bb"}],
            "sample": {"sha256": "not a reference"},
        }
    }
    assert blobs_of(definition) == {"aa", "bb"}
    assert blobs_of({}) == set()
    assert blobs_of({"mlserve": {"objects": None}}) == set()


def test_blobs_are_needed_as_long_as_a_state_can_come_back(
    catalog: Catalog, define: Define
) -> None:
    catalog.publish("s1", define(blobs=["a" * 64]), "h", "ann")
    catalog.update("s2", "Tx", "1.0", define(blobs=["b" * 64]), "h", "ann", "s1")
    catalog.publish("t1", define(version="2", blobs=["b" * 64]), "h", "ann")
    assert catalog.referenced_blobs() == {"a" * 64, "b" * 64}
    catalog.delete("Tx", "1.0", "ann")
    assert catalog.referenced_blobs() == {"a" * 64, "b" * 64}, "calls in flight may need them"
    assert catalog.referenced_blobs(deleted_seconds=0) == {"b" * 64}


def test_revision_follows_every_change_and_tells_what_changed(
    catalog: Catalog, define: Define
) -> None:
    seen = [catalog.revision()]
    catalog.publish("s1", define(), "h", "ann")
    seen.append(catalog.revision())
    catalog.update("s2", "Tx", "1.0", define(), "h", "ann", "s1")
    seen.append(catalog.revision())
    catalog.rollback("Tx", "1.0", 1, "ann")
    seen.append(catalog.revision())
    catalog.publish("t1", define(name="Ty"), "h", "ann")
    seen.append(catalog.revision())
    catalog.delete("Tx", "1.0", "ann")
    seen.append(catalog.revision())
    assert seen == sorted(set(seen))
    assert catalog.revision() == seen[-1]
    assert sorted(catalog.changes(seen[0])) == [("Tx", "1.0"), ("Ty", "1.0")]
    assert catalog.changes(seen[4]) == [("Tx", "1.0")]
    assert catalog.changes(seen[-1]) == []


def test_many_random_changes_against_a_model(catalog: Catalog, define: Define) -> None:
    """The same changes made to a dictionary give the same answers."""
    dice = random.Random(7)
    live: dict[tuple[str, str], list[str]] = {}
    current: dict[tuple[str, str], str] = {}
    for turn in range(250):
        key = (dice.choice("AB"), dice.choice("12"))
        state, action = f"s{turn}", dice.choice(["publish", "update", "rollback", "delete"])
        new = define(*key, turn=turn)
        if action == "publish" and key not in live:
            catalog.publish(state, new, "h", "ann")
            live[key], current[key] = [state], state
        elif key in live and action == "update":
            catalog.update(state, *key, new, "h", "ann", current[key])
            live[key].append(state)
            current[key] = state
        elif key in live and action == "rollback":
            chosen = dice.choice(catalog.states(*key))
            assert catalog.rollback(*key, chosen.number, "ann", current[key]) == chosen
            current[key] = chosen.id
        elif key in live and action == "delete":
            catalog.delete(*key, "ann")
            del live[key], current[key]
        else:
            continue
        assert {(s.name, s.version): s.id for s in catalog.list_all()} == current
        if key in live:
            assert [s.id for s in catalog.states(*key)] == live[key]
            assert catalog.get(*key).id == current[key]
        owner = "ann" if any(name == key[0] for name, _ in live) else None
        assert catalog.name_owner(key[0]) == owner
