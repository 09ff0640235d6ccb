"""Stored results, read from their files in pieces of bounded size.

Results that are stored as JSON lines are passed on as they are; nothing is parsed. All of this
blocks: callers use threads.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from ...contract.errors import BundleCorrupt, NotFound
from ...store.batches.files import read_result
from ...store.batches.models import Chunk
from ...store.batches.upload import RESULTS

# Bytes that are read, and sent, at a time.
PIECE = 256 * 1024


def joined(
    folder: Path, chunks: Iterable[Chunk], offset: int, stop: int, separator: bytes
) -> Iterator[bytes]:
    """The results of the records [offset, stop), with ``separator`` between them.

    ``folder``: of the execution; ``chunks``: in order, without gaps, all stored as lines. Each
    file is checked before the first byte of it is given; BundleCorrupt when it is damaged.
    """
    waiting, size, more = [], 0, False
    for chunk in chunks:
        if chunk.stop <= offset:
            continue
        if chunk.first >= stop:
            break
        first, last = max(offset, chunk.first) - chunk.first, min(stop, chunk.stop) - chunk.first
        if more:
            waiting.append(separator)
        more = True
        for piece in _lines(folder, chunk, first, last):
            waiting.append(piece.replace(b"\n", separator) if separator != b"\n" else piece)
            size += len(piece)
            if size >= PIECE:
                yield b"".join(waiting)
                waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def line(folder: Path, chunk: Chunk, index: int) -> bytes:
    """The result of the record at ``index``, which the chunk holds."""
    first = index - chunk.first
    return b"".join(_lines(folder, chunk, first, first + 1))


def _lines(folder: Path, chunk: Chunk, first: int, last: int) -> Iterator[bytes]:
    """Lines [first, last) of a file in pieces; no newline behind the last one."""
    if chunk.bytes <= PIECE:
        data = read_result(folder, chunk)
        yield _between(data, first, last, chunk)
        return
    path = folder / RESULTS / chunk.name
    try:
        with open(path, "rb") as file:
            _check(file, chunk)
            yield from _pieces(file, first, last, chunk)
    except FileNotFoundError:
        if not folder.is_dir():
            raise NotFound("The batch execution was deleted.") from None
        read_result(folder, chunk)  # says what is wrong with it
        raise


def _between(data: bytes, first: int, last: int, chunk: Chunk) -> bytes:
    if first == 0 and last == chunk.count:
        return data[:-1] if data.endswith(b"\n") else data
    lines = data.split(b"\n", last)
    return b"\n".join(lines[first:last])


def _check(file: IO[bytes], chunk: Chunk) -> None:
    """Read it once to see that it is what was written; that costs less than keeping it."""
    crc = size = 0
    while block := file.read(PIECE):
        crc = zlib.crc32(block, crc)
        size += len(block)
    if (size, crc) != (chunk.bytes, chunk.crc):
        raise BundleCorrupt(
            f"The results of the records {chunk.first} to {chunk.stop - 1} cannot be read: their "
            f"file {chunk.name} is not what was written. Send these records again, or restore the "
            "folder of the batches from a backup.",
            first=chunk.first,
            count=chunk.count,
        )
    file.seek(0)


def _pieces(file: IO[bytes], first: int, last: int, chunk: Chunk) -> Iterator[bytes]:
    """Lines [first, last) of an open file, however long a line is."""
    number = 0  # of the line that the next byte belongs to
    while number < last and (block := file.read(PIECE)):
        start = 0
        while number < first:
            end = block.find(b"\n", start)
            if end < 0:
                break
            start, number = end + 1, number + 1
        if number < first:
            continue
        stop = len(block)
        left = last - number
        lines = block.count(b"\n", start)
        if lines >= left:
            stop = start - 1
            for _ in range(left):
                stop = block.index(b"\n", stop + 1)
            lines = left
        elif last == chunk.count and file.tell() == chunk.bytes and block.endswith(b"\n"):
            stop -= 1
        number += lines
        if stop > start:
            yield block[start:stop]
