"""How often somebody may be wrong: failed logins by account and by address, in bounded memory."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from ..contract.errors import TooBusy

# Failures that cost nothing; each further one doubles the wait that follows it.
FREE_FAILURES = 5
FIRST_WAIT = 1.0
LONGEST_WAIT = 300.0
# A failure is forgotten when so many seconds have gone by without another.
MEMORY_SECONDS = 3600.0
MAXIMUM = 10_000


class _Failures:
    """Counts by key. The key that failed longest ago makes room for a new one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # key -> failures, and when the last one was
        self._entries: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def count(self, key: str) -> int:
        count, last = self._entries.get(key, (0, 0.0))
        if count and self._clock() - last > MEMORY_SECONDS:
            del self._entries[key]
            return 0
        return count

    def wait(self, key: str) -> float:
        """Seconds until ``key`` may try again."""
        count = self.count(key)
        if count < FREE_FAILURES:
            return 0.0
        wait: float = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(count - FREE_FAILURES, 30))
        return max(0.0, self._entries[key][1] + wait - self._clock())

    def add(self, key: str) -> None:
        self._entries[key] = (self.count(key) + 1, self._clock())
        self._entries.move_to_end(key)
        while len(self._entries) > MAXIMUM:
            self._entries.popitem(last=False)

    def forget(self, key: str) -> None:
        self._entries.pop(key, None)


class Throttle:
    """Asked before a password is verified, told how it went. Not safe for several threads.

    After five failures an account waits, an address waits, and the two of them together do: 1, 2,
    4… seconds, 300 at most. So guessing takes for ever, and the right user is delayed for minutes
    at the worst. Where they have logged in before they are not delayed by what others do
    elsewhere: for such a pair of account and address only its own failures count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts = _Failures(clock)
        self._addresses = _Failures(clock)
        self._pairs = _Failures(clock)
        self._known: OrderedDict[str, None] = OrderedDict()

    def check(self, username: str, address: str) -> None:
        """Raises TooBusy (``retry_after``) when this account or address must wait."""
        address = network(address)
        pair = _pair(username, address)
        wait = self._pairs.wait(pair)
        if pair not in self._known:
            wait = max(wait, self._accounts.wait(username), self._addresses.wait(address))
        if wait > 0:
            raise TooBusy(
                "There were too many wrong user names or passwords. Wait "
                f"{wait:.0f} s, then try again.",
                retry_after=wait,
            )

    def failed(self, username: str, address: str) -> None:
        address = network(address)
        self._accounts.add(username)
        self._addresses.add(address)
        self._pairs.add(_pair(username, address))

    def succeeded(self, username: str, address: str) -> None:
        """Only the pair starts afresh: who has an account could else guess those of others."""
        pair = _pair(username, network(address))
        self._pairs.forget(pair)
        self._known[pair] = None
        self._known.move_to_end(pair)
        while len(self._known) > MAXIMUM:
            self._known.popitem(last=False)


def network(address: str) -> str:
    """Whom a remote address belongs to: of IPv6, a subscriber has 2**64 of them."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found.packed, 64), strict=False).network_address)


def _pair(username: str, address: str) -> str:
    return f"{address} {username}"
