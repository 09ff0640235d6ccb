"""Where each unit of the stored records begins, and what its bytes must add up to.

The file ``index`` beside ``input``, little-endian: units + 1 offsets into ``input`` (u64; the
first is where unit 0 begins, the last is where the last one ends), a CRC-32 (u32) per unit, and
the CRC-32 of what stands before unit 0 (the schema of an Arrow stream; nothing for JSON lines).
It is read by slices, for there may be millions of units.
"""

from __future__ import annotations

import os
import sys
import zlib
from array import array
from contextlib import suppress
from itertools import pairwise
from operator import le
from pathlib import Path
from types import TracebackType

Buffer = bytes | bytearray | memoryview

INPUT, INDEX = "input", "index"
# Offsets and sums that are gathered before they are written.
_BLOCK = 1 << 15
_OFFSET, _CRC = 8, 4
# No unit is larger: a damaged offset must not make us read gigabytes.
_MAX_UNIT = 1 << 28


class IndexWriter:
    """Writes the index of what is appended to ``input``; made as the units are made.

    >>> with IndexWriter(folder, prefix=b"") as index:
    ...     for line in lines:
    ...         input.write(line)
    ...         index.add(line)

    Leaving the block makes it durable, leaving it by an exception removes it.
    """

    def __init__(self, folder: Path, prefix: Buffer = b"") -> None:
        self.units = 0
        self._path = folder / INDEX
        self._end = len(prefix)
        self._prefix_crc = zlib.crc32(prefix)
        self._offsets = array("Q", [self._end])
        self._crcs = array("I")
        self._sums_path = folder / (INDEX + ".sums")
        self._file = open(self._path, "xb")  # noqa: SIM115
        self._sums = open(self._sums_path, "x+b")  # noqa: SIM115

    def add(self, unit: Buffer) -> None:
        """The next unit: exactly the bytes that are appended to ``input``."""
        self.note(len(unit), zlib.crc32(unit))

    def note(self, length: int, crc: int) -> None:
        """As :meth:`add`, when length (bytes) and CRC-32 are known already."""
        self._end += length
        self._offsets.append(self._end)
        self._crcs.append(crc)
        self.units += 1
        if len(self._crcs) >= _BLOCK:
            self._flush()

    def close(self) -> None:
        """Finish the file; durable (but for its name) on return."""
        self._crcs.append(self._prefix_crc)
        self._flush()
        self._sums.seek(0)
        while block := self._sums.read(1 << 18):
            self._file.write(block)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._sums.close()
        self._sums_path.unlink()

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        for file, path in ((self._file, self._path), (self._sums, self._sums_path)):
            # What could not be written any more is not wanted either.
            with suppress(OSError):
                file.close()
            path.unlink(missing_ok=True)

    def _flush(self) -> None:
        _little(self._offsets).tofile(self._file)
        _little(self._crcs).tofile(self._sums)
        self._offsets, self._crcs = array("Q"), array("I")


class Index:
    """An open index. ``units``: how many there are."""

    def __init__(self, handle: int) -> None:
        """Raises ValueError when the file cannot be an index."""
        self._handle = handle
        size = os.fstat(handle).st_size
        self.units, rest = divmod(size, _OFFSET + _CRC)
        self.units -= 1
        if rest or self.units < 0:
            raise ValueError(f"the index has an impossible length of {size} bytes")

    def check(self, first: int, stop: int) -> None:
        """Raises ValueError unless there are the units [first, stop)."""
        if not 0 <= first <= stop <= self.units:
            raise ValueError(f"units {first} to {stop} were asked for, of {self.units}")

    def offsets(self, first: int, stop: int) -> array[int]:
        """Where the units [first, stop) begin, and where the last of them ends."""
        return self._numbers("Q", first * _OFFSET, stop - first + 1)

    def crcs(self, first: int, stop: int) -> array[int]:
        """CRC-32 of each of the units [first, stop)."""
        return self._numbers("I", (self.units + 1) * _OFFSET + first * _CRC, stop - first)

    def prefix(self) -> tuple[int, int]:
        """Length in bytes, and CRC-32, of what stands before unit 0."""
        return self.offsets(0, 0)[0], self.crcs(self.units, self.units + 1)[0]

    def _numbers(self, kind: str, position: int, count: int) -> array[int]:
        numbers = array(kind)
        numbers.frombytes(read_exactly(self._handle, position, count * numbers.itemsize))
        return _little(numbers)


def damaged(data: memoryview, offsets: array[int], crcs: array[int], first: int) -> list[int]:
    """Numbers of the units in ``data`` whose bytes are not those that were written.

    ``data`` begins where the unit ``first`` does.
    """
    start = offsets[0]
    crc32 = zlib.crc32
    bad = []
    before = 0
    for number, crc in enumerate(crcs):
        after = offsets[number + 1] - start
        if crc32(data[before:after]) != crc:
            bad.append(first + number)
        before = after
    return bad


def misplaced(offsets: array[int], size: int, first: int) -> list[int]:
    """Numbers of the units whose place in a file of ``size`` bytes cannot be right.

    So when the index is damaged, or the file was cut short.
    """
    if offsets[-1] - offsets[0] <= _MAX_UNIT and offsets[-1] <= size and _ascending(offsets):
        return []
    return [
        first + number
        for number, (start, stop) in enumerate(pairwise(offsets))
        if not start <= stop <= min(size, start + _MAX_UNIT)
    ]


def _ascending(offsets: array[int]) -> bool:
    return all(map(le, offsets, offsets[1:]))


def read_exactly(handle: int, position: int, length: int) -> bytes:
    """Bytes of a file. Raises ValueError when it is too short."""
    parts = []
    while length > 0:
        part = os.pread(handle, min(length, 1 << 30), position)
        if not part:
            raise ValueError("a file is shorter than it was")
        parts.append(part)
        position += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _little(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
