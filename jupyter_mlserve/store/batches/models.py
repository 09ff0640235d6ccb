"""What the store knows of a batch execution. Light: the child processes of batches import it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from ...contract.batch import FINAL, READY
from ...contract.errors import InternalError, NotFound

# Formats of stored records and results: JSON lines, or Arrow streams.
ROWS, ARROW = "lines", "arrow"

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


@dataclass(frozen=True)
class Execution:
    """One batch execution: which records, for which state of which version, and how far it is.

    total, completed, failed: numbers of records (those that failed are completed too).
    parallel: how many calls at a time were asked for. format: of the stored records, ``lines`` or
    ``arrow``. units: what the stored records can be read by: records (lines) or record batches of
    ``piece`` records (arrow; the last may be shorter). upload_bytes: size of what was sent;
    input_bytes, result_bytes: what is on the disk. message: why it failed or why it waits; "".
    key, digest: Idempotency-Key of the request and what tells its body from others; None, "".
    Moments are aware, in UTC.
    """

    id: str
    name: str
    version: str
    state_id: str
    owner: str
    created_at: datetime
    state: str = READY
    total: int = 0
    completed: int = 0
    failed: int = 0
    parallel: int = 1
    format: str = ROWS
    piece: int = 1
    units: int = 0
    upload_bytes: int = 0
    input_bytes: int = 0
    result_bytes: int = 0
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    key: str | None = None
    digest: str = ""

    @property
    def final(self) -> bool:
        """Whether it has ended: no record of it will be answered any more."""
        return self.state in FINAL

    def span(self, first: int, stop: int) -> tuple[int, int]:
        """Which records, [from, to), the units [first, stop) hold."""
        return min(first * self.piece, self.total), min(stop * self.piece, self.total)


@dataclass(frozen=True)
class Chunk:
    """The stored results of the records [first, first + count): one file and one row.

    format: ``lines`` (one WebServiceResult a line) or ``arrow``. failed: how many of the records
    failed. bytes, crc: length and CRC-32 of the file.
    """

    first: int
    count: int
    format: str
    failed: int
    bytes: int
    crc: int

    @property
    def stop(self) -> int:
        """The first record after it."""
        return self.first + self.count

    @property
    def name(self) -> str:
        """Name of its file in the folder ``results`` of the execution.

        With its CRC: what a process writes that lost its lease meanwhile, and does not know it
        yet, can never take the place of what another has committed.
        """
        return result_name(self.first, self.count, self.crc)


@dataclass(frozen=True)
class Quota:
    """Most bytes that all executions, and those of one user, may take on the disk (records and
    results), and most executions that are kept for one user. 0: no limit."""

    total_bytes: int = 0
    user_bytes: int = 0
    user_executions: int = 0


@dataclass(frozen=True)
class Summary:
    """How many executions there are: all, waiting, being worked on; and their bytes."""

    executions: int
    ready: int
    running: int
    bytes: int


class DamagedUnit(InternalError):
    """Stored records are not what was written. ``units``: which, of those that were asked for."""

    def __init__(self, message: str = "", /, *, units: list[int] | None = None) -> None:
        self.units: list[int] = units or []
        super().__init__(message, units=self.units[:100])


def new_id() -> str:
    """An id for a new execution: a GUID, as the published contract has it."""
    return str(uuid4())


def is_id(text: object) -> bool:
    """Whether this can be the id of an execution at all."""
    return isinstance(text, str) and _ID.match(text) is not None


def checked_id(text: str) -> str:
    """``text``, if it can be an id: it also becomes the name of a folder. Raises NotFound."""
    if not is_id(text):
        raise no_execution(text)
    return text


def no_execution(id: object) -> NotFound:
    """The error for an id that nothing has, or nothing any more."""
    said = str(id)[:64].encode("utf-8", "replace").decode()
    return NotFound(f"There is no batch execution {said!r}.", field="batchExecutionId")


def result_name(first: int, count: int, crc: int) -> str:
    """Name of the file that holds the results of these records (see Chunk.name)."""
    return f"{first:012d}-{count}-{crc:08x}"
