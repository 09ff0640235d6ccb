"""Who waits for news of an execution."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from ...contract.errors import NotFound
from .progress import Progress

# Seconds between two reports of one execution, if its state is the same.
APART = 0.5
# Seconds after which one is looked at without news: another server may work on it.
LOOK = 1.0


class _Ear:
    """Hears that something changed (``news``), or even the state (``turn``)."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.turn = asyncio.Event()


class Watchers:
    """Those who watch the executions of one runner."""

    def __init__(self) -> None:
        self._ears: dict[str, set[_Ear]] = {}

    def tell(self, id: str, turn: bool) -> None:
        """Something of an execution changed; ``turn``: its state, or that it is worked on."""
        for ear in self._ears.get(id, ()):
            ear.news.set()
            if turn:
                ear.turn.set()

    async def watch(
        self, id: str, progress: Callable[[str], Awaitable[Progress]]
    ) -> AsyncIterator[Progress]:
        """What ``progress`` says: now, and whenever it has changed; see BatchRunner.watch."""
        with self._listening(id) as ear:
            last = await progress(id)
            yield last
            while not last.final:
                await _within(ear.turn, APART)
                if not ear.turn.is_set():
                    await _within(ear.news, LOOK - APART)
                ear.news.clear()
                ear.turn.clear()
                try:
                    now = await progress(id)
                except NotFound:
                    return  # it was deleted
                if now != last:
                    last = now
                    yield now

    @contextmanager
    def _listening(self, id: str) -> Iterator[_Ear]:
        ear = _Ear()
        self._ears.setdefault(id, set()).add(ear)
        try:
            yield ear
        finally:
            ears = self._ears[id]
            ears.discard(ear)
            if not ears:
                del self._ears[id]


async def _within(event: asyncio.Event, seconds: float) -> None:
    with suppress(asyncio.TimeoutError, TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
