"""The files that a split writes, under its limits."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ...contract.errors import InvalidInput, TooLarge
from .index import INPUT, IndexWriter
from .split import Split, SplitLimits

_BUFFER = 1 << 20


class InputWriter:
    """Writes units to ``input`` and their index. Use it as a context manager.

    ``prefix`` stands before the units, ``tail`` after them; ``piece``: records in an Arrow unit,
    0 for lines.
    """

    def __init__(
        self,
        folder: Path,
        limits: SplitLimits,
        prefix: bytes = b"",
        tail: bytes = b"",
        piece: int = 0,
    ) -> None:
        self.total = 0
        self._limits, self._tail, self._piece = limits, tail, piece
        self._bytes = 0
        self._path = folder / INPUT
        self._file = open(self._path, "xb", buffering=_BUFFER)  # noqa: SIM115
        try:
            self._index = IndexWriter(folder, prefix)
        except BaseException:
            self._file.close()
            raise
        if prefix:
            self._file.write(prefix)
            self._bytes = len(prefix)

    def lines(self, lines: Sequence[bytes]) -> None:
        """The next records, each JSON without a line break."""
        if not lines:
            return
        self._count(len(lines))
        lengths = list(map(len, lines))
        longest = self._limits.line
        if max(lengths) > longest:
            row = next(row for row, length in enumerate(lengths) if length > longest)
            raise too_long(self.total - len(lines) + row, longest)
        self._grow(sum(lengths) + len(lines))
        ended = [line + b"\n" for line in lines]
        note = self._index.note
        for length, crc in zip(lengths, map(zlib.crc32, ended), strict=True):
            note(length + 1, crc)
        self._file.writelines(ended)

    def batch(self, data: Any, rows: int) -> None:
        """The next unit of an Arrow stream: a message of ``rows`` records."""
        self._count(rows)
        self._grow(len(data))
        self._index.note(len(data), zlib.crc32(data))
        self._file.write(data)

    def result(self) -> Split:
        """What was written; after the context ended."""
        format = "arrow" if self._piece else "lines"
        return Split(format, self.total, self._index.units, self._piece or 1, self._bytes)

    def _count(self, more: int) -> None:
        self.total += more
        if self.total > self._limits.records:
            raise too_many(self._limits.records)

    def _grow(self, more: int) -> None:
        self._bytes += more
        if self._bytes > self._limits.output:
            limit = self._limits.output
            raise TooLarge(
                f"The records of the upload take more than {limit:,} bytes when they are read. "
                "Send them as several batches, or ask the administrator for more room.",
                limit=limit,
            )

    def __enter__(self) -> InputWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._file.write(self._tail)
                self._bytes += len(self._tail)
                self._file.flush()
                os.fsync(self._file.fileno())
        except BaseException as failed:
            self._index.__exit__(type(failed), failed, failed.__traceback__)
            raise
        else:
            self._index.__exit__(kind, error, trace)
        finally:
            try:
                self._file.close()
            except OSError:
                if kind is None:
                    raise
            if kind is not None:
                self._path.unlink(missing_ok=True)


def too_many(limit: int) -> TooLarge:
    return TooLarge(
        f"The upload has more than {limit:,} records (batch_max_records). Send them as several "
        "batches, or ask the administrator to raise the limit.",
        limit=limit,
    )


def too_long(row: int, limit: int) -> InvalidInput:
    expected = f"a record of at most {limit:,} bytes as JSON"
    return InvalidInput(
        f"Record {row} of the upload: expected {expected}, got a longer one.",
        field="body",
        expected=expected,
        got="a longer one",
        row=row,
    )


def wrong_upload(
    expected: str, got: str, row: int | None = None, field: str = "body"
) -> InvalidInput:
    """The error for an upload (or its record ``row``) that is not what it should be."""
    if field != "body":
        where = f"{field}: " if row is None else f"{field} in record {row}: "
    else:
        where = "The upload: " if row is None else f"Record {row} of the upload: "
    return InvalidInput(
        f"{where}expected {expected}, got {got}.", field=field, expected=expected, got=got, row=row
    )
