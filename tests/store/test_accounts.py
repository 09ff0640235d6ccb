"""Accounts and logins: one administrator, one valid generation, and who wins when two are quick."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from jupyter_mlserve.contract.errors import Conflict, NotAuthenticated, NotFound
from jupyter_mlserve.store import Catalog, accounts
from jupyter_mlserve.store.accounts import Account, Accounts, Login

IDLE, LONGEST = 100.0, 1000.0
NOW = datetime.now(timezone.utc)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def store(catalog: Catalog) -> Accounts:
    return Accounts(catalog.database, IDLE, LONGEST)


@pytest.fixture
def ann(store: Accounts) -> Account:
    return store.add("ann", "hash")


@pytest.fixture
def login(store: Accounts, ann: Account) -> Login:
    return started(store, ann)


def started(store: Accounts, account: Account, now: datetime = NOW) -> Login:
    found = store.start_login(account, now)
    assert found is not None
    return found


def at_once(work: Callable[[int], Any], count: int) -> list[Any]:
    gate = threading.Barrier(count)

    def one(number: int) -> Any:
        gate.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_the_first_account_is_the_administrator(store: Accounts) -> None:
    assert store.all() == []
    assert store.count() == 0
    assert store.add("ann", "hash").administrator
    assert not store.add("bob", "hash").administrator
    assert store.add("eve", "hash", administrator=True).administrator
    with pytest.raises(Conflict, match="'ann' already"):
        store.add("ann", "other")
    found = store.get("ann")
    assert found is not None
    assert found.password_hash == "hash"
    assert "hash" not in repr(found)
    assert [(one.username, one.administrator, one.logins) for one in store.all()] == [
        ("ann", True, 0),
        ("bob", False, 0),
        ("eve", True, 0),
    ]
    assert store.count() == 3
    for nobody in ("Ann", "x", "", "a\0", "\ud800", "x" * 300):
        assert store.get(nobody) is None


def test_of_several_first_ones_one_is_the_administrator(
    store: Accounts, catalog: Catalog, db_url: str
) -> None:
    with Catalog(db_url) as other:
        stores = [store, Accounts(other.database, IDLE, LONGEST)]
        made = at_once(lambda n: stores[n % 2].add(f"user{n}", "hash"), 6)
        assert sum(one.administrator for one in made) == 1
        results = at_once(lambda n: _outcome(lambda: stores[n % 2].add("same", f"hash{n}")), 4)
        assert sorted(map(type, results), key=str) == [Conflict, Conflict, Conflict, Account]
    assert store.count() == 7


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (Conflict, NotAuthenticated) as error:
        return error


def test_a_login_is_renewed_step_by_step(store: Accounts, login: Login) -> None:
    assert store.login(login.id, NOW) == login
    assert (login.generation, login.administrator, login.username) == (1, True, "ann")
    second = store.renew(login.id, 1, later(10))
    assert second is not None
    assert (second.generation, second.started_at, second.renewed_at) == (2, NOW, later(10))
    assert store.login(login.id, later(11)) == second
    assert [one.logins for one in store.all()] == [1]


def test_what_was_used_before_ends_the_login(store: Accounts, login: Login) -> None:
    assert store.renew(login.id, 1, later(1)) is not None
    with pytest.raises(NotAuthenticated, match="used twice, so this login has ended"):
        store.renew(login.id, 1, later(2))
    assert store.login(login.id, later(2)) is None
    assert store.renew(login.id, 2, later(3)) is None
    assert [one.logins for one in store.all()] == [0]


def test_of_two_renewals_at_once_exactly_one_wins(
    store: Accounts, ann: Account, db_url: str
) -> None:
    """Over several connections, as over processes; and the second one ends the login."""
    with Catalog(db_url) as other:
        stores = [store, Accounts(other.database, IDLE, LONGEST)]
        for _ in range(5):
            login = started(store, ann)
            found = at_once(
                lambda n, of=login: _outcome(lambda: stores[n % 2].renew(of.id, 1, later(1))), 6
            )
            assert [one.generation for one in found if isinstance(one, Login)] == [2]
            assert sum(isinstance(one, NotAuthenticated) for one in found) == 1
            assert store.login(login.id, later(1)) is None


def test_a_login_ends_by_itself(store: Accounts, ann: Account, login: Login) -> None:
    assert store.login(login.id, later(IDLE - 1)) is not None
    assert store.login(login.id, later(IDLE)) is None
    assert store.renew(login.id, 1, later(IDLE)) is None
    other, generation = started(store, ann), 1
    for step in range(1, 20):
        now = later(step * (IDLE - 1))
        renewed = store.renew(other.id, generation, now)
        if step * (IDLE - 1) >= LONGEST:
            assert renewed is None
            assert store.login(other.id, now) is None
            break
        assert renewed is not None
        generation = renewed.generation
    else:
        pytest.fail("it was renewed for ever")


def test_ended_logins_are_swept(store: Accounts, ann: Account) -> None:
    old, kept = started(store, ann), started(store, ann, later(50))
    assert store.sweep(later(IDLE)) == 0
    assert store.sweep(later(IDLE + 1)) == 1
    assert store.login(old.id, NOW) is None
    assert store.login(kept.id, later(60)) == kept
    # And when somebody logs in, now and then.
    store._next_sweep = 0.0
    started(store, ann, later(500))
    assert [one.logins for one in store.all()] == [1]
    started(store, ann, later(2000))
    assert [one.logins for one in store.all()] == [2]


def test_the_number_of_logins_is_bounded(
    store: Accounts, ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MAX_LOGINS", 3)
    made = [started(store, ann, later(step)) for step in range(3)]
    assert store.renew(made[0].id, 1, later(4)) is not None
    last = started(store, ann, later(5))
    alive = [store.login(one.id, later(6)) is not None for one in (*made, last)]
    assert alive == [True, False, True, True]


def test_another_password_ends_all_logins(store: Accounts, ann: Account, login: Login) -> None:
    bob = store.add("bob", "hash")
    others = started(store, bob)
    started(store, ann)
    assert store.set_password("ann", "new") == 2
    assert store.login(login.id, NOW) is None
    assert store.login(others.id, NOW) == others
    # Who was verified with the old one, and is late, does not get in.
    assert store.start_login(ann, NOW) is None
    changed = store.get("ann")
    assert changed is not None
    assert changed.password_hash == "new"
    assert started(store, changed).administrator
    with pytest.raises(NotFound, match="'eve'"):
        store.set_password("eve", "new")


def test_a_new_hash_of_the_same_password_ends_nothing(store: Accounts, ann: Account) -> None:
    first = started(store, ann)
    assert store.start_login(ann, NOW, "better hash") is not None
    found = store.get("ann")
    assert found is not None
    assert (found.password_hash, found.changed_at) == ("better hash", ann.changed_at)
    assert store.login(first.id, NOW) == first
    assert store.start_login(ann, NOW) is not None  # verified a moment before


def test_a_removed_account_is_gone_with_its_logins(
    store: Accounts, ann: Account, login: Login
) -> None:
    assert store.remove("ann") == 1
    assert store.get("ann") is None
    assert store.login(login.id, NOW) is None
    assert store.renew(login.id, 1, NOW) is None
    assert store.start_login(ann, NOW) is None
    with pytest.raises(NotFound):
        store.remove("ann")
    again = store.add("ann", "hash")
    assert again.administrator  # the first of all once more
    assert store.start_login(ann, NOW) is None


def test_revoking_ends_a_login(store: Accounts, login: Login) -> None:
    assert store.end_login(login.id) is True
    assert store.end_login(login.id) is False
    assert store.login(login.id, NOW) is None
    for nothing in ("", "x", "a\0", "\ud800", "x" * 300):
        assert store.end_login(nothing) is False
        assert store.login(nothing, NOW) is None
        assert store.renew(nothing, 1, NOW) is None


def test_the_pulse_tells_of_every_commit(store: Accounts, login: Login, db_url: str) -> None:
    database = store.database
    if not database.is_local:
        assert database.pulse() is None
        return
    before = database.pulse()
    assert database.pulse() == before
    store.login(login.id, NOW)
    assert database.pulse() == before
    with Catalog(db_url) as other:
        Accounts(other.database, IDLE, LONGEST).set_password("ann", "new")
    after = database.pulse()
    assert after != before
    store.add("bob", "hash")
    assert database.pulse() != after
