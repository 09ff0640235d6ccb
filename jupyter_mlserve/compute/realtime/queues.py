"""What waits for a thread, and whose turn it is: calls first, then blocks of records."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from ..block import PATIENCE, Block
from ..protocol import Body

if TYPE_CHECKING:
    from .cache import Version
    from .threads import Slot

NEVER = float("inf")


class Call:
    """A call that waits for a thread, for its model, or runs in a thread.

    With ``block`` it brings many records, and waits as long as it must: its ``deadline``
    (monotonic seconds) is set when it begins, and ``due`` when calls have gone first for long
    enough: then it need not end for them.
    """

    __slots__ = ("block", "body", "deadline", "due", "media", "number", "slot", "state", "version")

    def __init__(
        self,
        number: int,
        version: Version,
        media: str,
        body: Body,
        deadline: float,
        block: Block | None = None,
    ) -> None:
        self.number = number
        self.version = version
        self.media = media
        self.body = body
        self.deadline = deadline
        self.block = block
        self.due = False
        self.slot: Slot | None = None
        self.state = "waits"  # "runs", "done": its caller has an answer, or went away

    @property
    def queue(self) -> deque[Call]:
        """Where it waits."""
        return self.version.queue if self.block is None else self.version.blocks


class Turns:
    """Versions with calls that could run if a thread were free, one call of each in turn.

    Calls come before blocks. The last free thread is only for the call of a version of which no
    other runs: so neither blocks, nor the long calls of one version, hold up the first call of
    another. Calls that never end leave a share to the blocks, one block after each
    :data:`PATIENCE`.
    """

    def __init__(self) -> None:
        self._begun = 0.0  # when a block was, or when the first one came that waits
        self._calls: deque[Version] = deque()
        self._blocks: deque[Version] = deque()

    def enlist(self, version: Version) -> None:
        """It has calls or blocks; once is enough."""
        if version.queue and not version.listed:
            version.listed = True
            self._calls.append(version)
        if version.blocks and not version.blocks_listed:
            if not self._blocks:
                self._begun = time.monotonic()
            version.blocks_listed = True
            self._blocks.append(version)

    def waiting(self) -> bool:
        """Whether calls wait. Any thread may ask."""
        return bool(self._calls)

    def take(self, free: int) -> Call | Version | None:
        """The next call, if one of ``free`` threads is for it; a version that is not loaded, if
        that has the turn; None if there is nothing to do."""
        calls = self._calls
        if free and self._blocks and time.monotonic() - self._begun > PATIENCE:
            found = self._take_block()
            if isinstance(found, Call):
                found.due = bool(calls)
            if found is not None:
                return found
        for _ in range(len(calls) if free else 0):
            version = calls[0]
            if free == 1 and version.running and version.queue and version.scorer is not None:
                calls.rotate(-1)
                continue
            calls.popleft()
            version.listed = False
            if version.queue:
                return self._next(version, version.queue)
        return self._take_block() if free > 1 else None

    def _take_block(self) -> Call | Version | None:
        while self._blocks:
            self._begun = time.monotonic()
            version = self._blocks.popleft()
            version.blocks_listed = False
            if version.blocks:
                return self._next(version, version.blocks)
        return None

    def _next(self, version: Version, queue: deque[Call]) -> Call | Version:
        if version.scorer is None:  # unloaded meanwhile, to make room
            return version
        call = queue.popleft()
        self.enlist(version)
        return call
