"""What requests about batches share: how much of everything is going on, and what was found out."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from ...contract.errors import TooBusy

# Uploads at a time: of one user, of all. Each is a file that no quota counts yet.
USER_UPLOADS, ALL_UPLOADS = 16, 64
# Streams of events at a time: of one user, of all.
USER_STREAMS, ALL_STREAMS = 64, 512
_REMEMBERED = 1024


class Desk:
    """One per web node, as ``core.desk``; used from its event loop only."""

    def __init__(self) -> None:
        self._uploads: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._answered: OrderedDict[str, int] = OrderedDict()
        self._sending: set[asyncio.Task[None]] = set()

    # Uploads

    def receive(self, user: str) -> None:
        """One more upload begins. Raises TooBusy."""
        if self._uploads[user] >= USER_UPLOADS or self._uploads.total() >= ALL_UPLOADS:
            raise TooBusy(
                "The server receives as many batches as it may at a time. Try again in a moment.",
                retry_after=2.0,
            )
        self._uploads[user] += 1

    def count(self, user: str, size: int) -> None:
        """So many bytes are coming, or have come, that no quota knows yet."""
        self._bytes[user] += size

    def received(self, user: str, size: int) -> None:
        """One upload less, of so many bytes: it has become an execution, or nothing."""
        _take(self._uploads, user, 1)
        _take(self._bytes, user, size)

    def coming(self, user: str | None = None) -> int:
        """Bytes of the uploads in progress, of one user or of all."""
        return self._bytes.total() if user is None else self._bytes[user]

    # Streams of events

    @contextmanager
    def stream(self, user: str) -> Iterator[None]:
        """Count one more while the block runs. Raises TooBusy."""
        if self._streams[user] >= USER_STREAMS or self._streams.total() >= ALL_STREAMS:
            raise TooBusy(
                "There are as many streams of events as this server keeps open. Close some, or "
                "ask for the state of the batch execution instead.",
                retry_after=5.0,
            )
        self._streams[user] += 1
        try:
            yield
        finally:
            _take(self._streams, user, 1)

    @property
    def busy(self) -> dict[str, int]:
        """Uploads and streams in progress."""
        return {"uploads": self._uploads.total(), "streams": self._streams.total()}

    # Answers in pieces

    def sending(self, task: asyncio.Task[None]) -> None:
        """An answer is on its way, which may take as long as its reader likes."""
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def stop(self) -> None:
        """Cut all answers that are on their way: the server is being stopped."""
        for task in self._sending:
            task.cancel()

    # Results

    def answered(self, id: str) -> int:
        """At least so many records, from the first one on, were seen to have their result."""
        return self._answered.get(id, 0)

    def saw_answered(self, id: str, count: int) -> None:
        self._answered[id] = max(count, self.answered(id))
        self._answered.move_to_end(id)
        while len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)


def _take(counter: Counter[str], user: str, number: int) -> None:
    counter[user] -= number
    if counter[user] <= 0:
        del counter[user]
