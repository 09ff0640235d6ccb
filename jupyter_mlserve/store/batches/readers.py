"""Turns at work that goes on for as long as somebody reads, shared among users.

Used from one event loop only.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ...contract.errors import TooBusy

# Whoever reads for more than so many seconds at fewer than so many bytes a second makes room when
# another waits.
PATIENCE = 20.0
RATE = 128 * 1024


class Turn:
    """What somebody has had of a turn: ``seconds`` is the time that the reader alone took."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.seconds = 0.0
        self.bytes = 0
        self._given = 0.0

    def give(self, piece: bytes) -> bytes:
        """The reader gets a piece now."""
        self._given = time.monotonic()
        self.bytes += len(piece)
        return piece

    def taken(self) -> None:
        """It has taken it."""
        self.seconds += time.monotonic() - self._given

    @property
    def slow(self) -> bool:
        return self.seconds > PATIENCE and self.bytes < RATE * self.seconds


class Turns:
    """``most`` at a time, of which one user has at most ``each``: the others are for others.

    Next is always the user who has fewest, then who has waited longest.
    """

    def __init__(self, most: int, each: int, wait: float) -> None:
        """``wait``: seconds after which whoever has no turn yet is refused."""
        self._most, self._each, self._wait = most, each, wait
        self._has: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, user: str) -> AsyncIterator[Turn]:
        """Raises TooBusy."""
        place = (user, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        self._let_in()
        try:
            try:
                await asyncio.wait_for(place[1], self._wait)
            except asyncio.TimeoutError:
                raise self._refusal(user) from None
            yield Turn(user)
        finally:
            if place in self._waiting:
                self._waiting.remove(place)
            else:
                self._has[user] -= 1
                self._has += Counter()  # forgets who has none
            self._let_in()

    def make_room(self, turn: Turn) -> None:
        """Raises TooBusy when its reader is slow and another user waits for it."""
        if turn.slow and any(
            user != turn.user and self._has[user] < self._each for user, _ in self._waiting
        ):
            raise TooBusy(
                f"It was read at {turn.bytes / turn.seconds / 1024:,.0f} KiB a second while "
                "others waited, so it was ended. Ask for parts of it (offset and limit).",
                retry_after=5.0,
            )

    def _let_in(self) -> None:
        while self._has.total() < self._most:
            may = [
                (user, future)
                for user, future in self._waiting
                if self._has[user] < self._each and not future.done()
            ]
            if not may:
                return
            user, future = min(may, key=lambda place: self._has[place[0]])
            self._waiting.remove((user, future))
            self._has[user] += 1
            future.set_result(None)

    def _refusal(self, user: str) -> TooBusy:
        if self._has[user] >= self._each:
            said = (
                f"{self._has[user]} of your batches are being read or written, the most at a time "
                "for one user. Wait until one has ended, or close its connection"
            )
        else:
            said = "The server is reading or writing as many batches as it can at a time"
        return TooBusy(f"{said}. Then try again.", retry_after=5.0)
