from __future__ import annotations

import pytest

from jupyter_mlserve.access import throttle
from jupyter_mlserve.access.throttle import LONGEST_WAIT, MEMORY_SECONDS, Throttle, network
from jupyter_mlserve.contract.errors import TooBusy


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait(throttle: Throttle, username: str = "ann", address: str = "10.0.0.1") -> float:
    """Seconds that an attempt must wait; 0 if it may be made now."""
    try:
        throttle.check(username, address)
    except TooBusy as error:
        return error.retry_after or -1.0
    return 0.0


def fail(throttle: Throttle, count: int, username: str = "ann", address: str = "10.0.0.1") -> None:
    for _ in range(count):
        throttle.failed(username, address)


def test_five_failures_are_free_and_then_the_waits_double(clock: Clock) -> None:
    found = Throttle(clock)
    fail(found, 4)
    assert wait(found) == 0
    seen = []
    for _ in range(14):
        fail(found, 1)
        seen.append(wait(found))
        clock.now += seen[-1] - 0.01
        assert wait(found) > 0
        clock.now += 0.01
        assert wait(found) == 0
    assert seen == [1, 2, 4, 8, 16, 32, 64, 128, 256, *[LONGEST_WAIT] * 5]


def test_what_waits_is_the_account_and_the_address(clock: Clock) -> None:
    found = Throttle(clock)
    fail(found, 6)
    assert wait(found, "ann", "10.0.0.2") == 2  # the account, from anywhere
    assert wait(found, "bob", "10.0.0.1") == 2  # the address, for anybody
    assert wait(found, "bob", "10.0.0.2") == 0
    fail(found, 6, "bob", "2001:db8::1")
    assert wait(found, "eve", "2001:db8::ffff:1") == 2  # the same subscriber
    assert wait(found, "eve", "2001:db8:0:1::1") == 0


def test_the_right_user_is_not_locked_out_where_they_were_before(clock: Clock) -> None:
    found = Throttle(clock)
    found.succeeded("ann", "10.0.0.1")
    fail(found, 50, "ann", "10.6.6.6")
    assert wait(found, "ann", "10.6.6.6") == LONGEST_WAIT
    assert wait(found, "ann", "10.0.0.1") == 0
    assert wait(found, "ann", "10.0.0.2") == LONGEST_WAIT  # delayed; and not for ever
    clock.now += LONGEST_WAIT
    assert wait(found, "ann", "10.0.0.2") == 0
    # Who guesses from the same address (behind the same proxy) is not let off.
    fail(found, 6, "ann", "10.0.0.1")
    assert wait(found, "ann", "10.0.0.1") == 2


def test_an_own_account_gives_no_more_guesses_at_others(clock: Clock) -> None:
    found = Throttle(clock)
    for _ in range(5):
        fail(found, 1, "ann", "10.6.6.6")
        found.succeeded("eve", "10.6.6.6")
    assert wait(found, "ann", "10.6.6.6") == 1
    assert wait(found, "bob", "10.6.6.6") == 1
    assert wait(found, "eve", "10.6.6.6") == 0


def test_failures_are_forgotten(clock: Clock) -> None:
    found = Throttle(clock)
    fail(found, 6)
    clock.now += MEMORY_SECONDS + 1
    assert wait(found) == 0
    fail(found, 1)
    assert wait(found) == 0
    found.succeeded("ann", "10.0.0.1")
    assert wait(found) == 0


def test_memory_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MAXIMUM", 20)
    found = Throttle(clock)
    for number in range(100):
        fail(found, 1, f"user{number}", f"10.0.{number}.1")
        found.succeeded(f"user{number}", f"10.1.{number}.1")
    sizes = [len(found._accounts), len(found._addresses), len(found._pairs), len(found._known)]
    assert max(sizes) == 20


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("", ""),
        ("unix", "unix"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_networks(address: str, whose: str) -> None:
    assert network(address) == whose
