"""Results on their way into the store, behind the work that makes more of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ...contract.errors import InternalError, MLServeError, NotFound, OutOfSpace, Unavailable
from ...store.batches import BatchFiles, Chunk, Execution, Executions, Quota
from ...store.batches.models import ROWS

# Results that wait for the disk: while there are more, no further work is begun.
MAX_BYTES = 64 * 1024**2
MAX_COUNT = 64
# Neighbours are stored as one, up to this size.
MAX_FILE = 8 * 1024**2
# Seconds before the store is tried again after it failed, and at most.
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0

Threaded = Callable[..., Awaitable[Any]]
Body = bytes | bytearray


class LeaseLost(Exception):
    """Somebody else works on the execution now, or it was deleted."""


class QuotaReached(Exception):
    """The results do not fit any more; the sentence says into what."""


@dataclass
class Result:
    """The answers to the records [first, first + count): parts of one file."""

    first: int
    count: int
    format: str
    failed: int
    parts: list[Body]
    size: int

    @property
    def stop(self) -> int:
        return self.first + self.count

    def take_in(self, other: Result) -> bool:
        """Become one with the results that follow, if they can be in one file."""
        if (
            self.format != ROWS
            or other.format != ROWS
            or self.stop != other.first
            or self.size + other.size > MAX_FILE
        ):
            return False
        self.count += other.count
        self.failed += other.failed
        self.parts += other.parts
        self.size += other.size
        return True


class Committer:
    """Stores the results of one execution in a task of its own: file first, then its row.

    ``told`` is called with the execution after each; ``waits`` with the reason when the store does
    not take them now, and with "" when it does again.
    """

    def __init__(
        self,
        executions: Executions,
        files: BatchFiles,
        execution: Execution,
        holder: str,
        quota: Quota,
        threaded: Threaded,
        told: Callable[[Execution], None],
        waits: Callable[[str], None],
    ) -> None:
        self._executions = executions
        self._files = files
        self._id = execution.id
        self._holder = holder
        self._quota = quota
        self._threaded = threaded
        self._told = told
        self._waits = waits
        self._waiting: list[Result] = []
        self._held = 0
        self._bytes = 0
        self._stir = asyncio.Event()
        self._said = False

    @property
    def full(self) -> bool:
        """Whether the store is behind, so that no more work should be begun."""
        return self._bytes > MAX_BYTES or self._held > MAX_COUNT

    @property
    def empty(self) -> bool:
        """Whether everything is stored."""
        return self._held == 0

    def put(self, result: Result) -> None:
        self._waiting.append(result)
        self._held += 1
        self._bytes += result.size
        self._stir.set()

    async def run(self) -> None:
        """Store what is put, for ever. Raises LeaseLost, QuotaReached, and what is unexpected."""
        while True:
            while not self._waiting:
                self._stir.clear()
                await self._stir.wait()
            results, self._waiting = self._waiting, []
            for result, count in _joined(results):
                execution = await self._store(result)
                # Of two that are told of, none should be taken for the last one too early.
                self._held -= count
                self._bytes -= result.size
                self._told(execution)

    async def _store(self, result: Result) -> Execution:
        wait = FIRST_WAIT
        chunk = None
        while True:
            try:
                if chunk is None:
                    chunk = await self._threaded(self._write, result)
                found: Execution | None = await self._threaded(self._commit, chunk)
            except NotFound:
                raise LeaseLost from None
            except (OutOfSpace, Unavailable, InternalError) as exc:
                if isinstance(exc, OutOfSpace) and exc.details.get("limit"):
                    if chunk is not None:
                        await self._threaded(
                            self._files.forget_result, self._id, chunk.first, chunk.count, chunk.crc
                        )
                    raise QuotaReached(exc.message) from None
                await self._wait(exc, wait)
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            if found is None:
                raise LeaseLost
            if self._said:
                await self._say("")
            return found

    def _write(self, result: Result) -> Chunk:
        size, crc = self._files.write_result(self._id, result.first, result.count, result.parts)
        return Chunk(result.first, result.count, result.format, result.failed, size, crc)

    def _commit(self, chunk: Chunk) -> Execution | None:
        return self._executions.commit(self._id, self._holder, chunk, quota=self._quota)

    async def _wait(self, why: MLServeError, seconds: float) -> None:
        if not isinstance(why, Unavailable):  # a busy database is nothing to speak of
            await self._say(f"Its results cannot be stored at present: {why.message}")
        await asyncio.sleep(seconds)

    async def _say(self, message: str) -> None:
        self._said = bool(message)
        self._waits(message)
        with suppress(MLServeError):  # what cannot be stored cannot be said there either
            await self._threaded(self._executions.note, self._id, self._holder, message)


def _joined(results: list[Result]) -> list[tuple[Result, int]]:
    """Neighbours as one; each with how many it was made of."""
    found: list[tuple[Result, int]] = []
    for result in sorted(results, key=lambda result: result.first):
        if found and found[-1][0].take_in(result):
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((result, 1))
    return found
