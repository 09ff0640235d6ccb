"""What a stream of Arrow messages is made of, read before anything of it is loaded.

pyarrow checks what it reads, but it decompresses whatever it is given, joins what comes in deltas
again and again, and takes a stream that was cut between two messages for a whole one. So the
messages are gone through first: their envelopes are flatbuffers, which pyarrow has verified by
then, and the few fields needed are read here (format/Message.fbs of Apache Arrow).
"""

from __future__ import annotations

import struct
from typing import Any

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_COMPRESSED = 3  # field of RecordBatch


class Refused(ValueError):
    """The stream holds what is not accepted: ``expected`` and ``got`` are phrases."""

    def __init__(self, expected: str, got: str) -> None:
        self.expected, self.got = expected, got
        super().__init__(f"expected {expected}, got {got}")


def check_message(metadata: bytes, first: bool, compressed: bool = False) -> int:
    """Check the envelope of one message; the rows it brings (0 for schemas and dictionaries).

    ``first`` is whether nothing came before, ``compressed`` whether buffers may be: for who can
    bear what they grow to. Raises Refused, or struct.error for no flatbuffer.
    """
    message = _Table(metadata, _offset(metadata, 0))
    kind = message.scalar(1, "<B")
    if (kind == _SCHEMA) is not first:
        raise Refused("one schema, at the beginning", "a message out of its place")
    if kind == _SCHEMA:
        return 0
    batch = message.table(2)
    if kind == _DICTIONARY:
        if batch.scalar(2, "<B"):
            raise Refused("whole dictionaries", "a delta of one")
        batch = batch.table(1)
    elif kind != _BATCH:
        raise Refused("record batches", "a message of another kind")
    if batch.place(_COMPRESSED) and not compressed:
        raise Refused("an uncompressed stream", "compressed buffers")
    return int(batch.scalar(0, "<q")) if kind == _BATCH else 0


class _Table:
    """A flatbuffer table: its fields by their number in the schema."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.start = data, start
        self.fields = start - int(struct.unpack_from("<i", data, start)[0])
        self.size = int(struct.unpack_from("<H", data, self.fields)[0])

    def place(self, number: int) -> int:
        """Where the field is; 0 if it is left out."""
        entry = 4 + 2 * number
        if entry + 2 > self.size:
            return 0
        offset = int(struct.unpack_from("<H", self.data, self.fields + entry)[0])
        return self.start + offset if offset else 0

    def scalar(self, number: int, form: str) -> Any:
        place = self.place(number)
        return struct.unpack_from(form, self.data, place)[0] if place else 0

    def table(self, number: int) -> _Table:
        place = self.place(number)
        if not place:
            raise Refused("an Arrow stream", "an empty message")
        return _Table(self.data, _offset(self.data, place))


def _offset(data: bytes, place: int) -> int:
    return place + int(struct.unpack_from("<I", data, place)[0])
