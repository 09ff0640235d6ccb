"""What a server and a child of it say to each other, over pipes.

Request: lengths of header and body, the header (JSON), the body. Answer: any number of pieces,
then what was done (JSON), or an error (its body as JSON). What ends before that was a crash.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

Buffer = bytes | memoryview
PIECE, DONE, ERROR = b"P", b"D", b"E"
_REQUEST = struct.Struct("!IQ")
_ANSWER = struct.Struct("!cQ")
# Longer ones are not the child's: it was taken over by what it read.
_MOST = 1 << 31


def json_of(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def write_request(pipe: BinaryIO, header: dict[str, Any], body: bytes = b"") -> None:
    text = json_of(header)
    pipe.write(_REQUEST.pack(len(text), len(body)) + text)
    pipe.write(body)
    pipe.flush()


def read_request(pipe: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next request; None when there will be no more."""
    start = pipe.read(_REQUEST.size)
    if len(start) < _REQUEST.size:
        return None
    text, size = _REQUEST.unpack(start)
    header = json.loads(pipe.read(text))
    body = pipe.read(size)
    return (header, body) if len(body) == size else None


def answer(pipe: BinaryIO, kind: bytes, data: Buffer) -> None:
    pipe.write(_ANSWER.pack(kind, len(data)))
    pipe.write(data)
    pipe.flush()


def read_answer(pipe: BinaryIO) -> tuple[bytes, bytes] | None:
    """Kind and data of the next answer; None when the child ended before it was whole."""
    start = pipe.read(_ANSWER.size)
    if len(start) < _ANSWER.size:
        return None
    kind, size = _ANSWER.unpack(start)
    if kind not in (PIECE, DONE, ERROR) or size > _MOST:
        return None
    data = pipe.read(size)
    return (kind, data) if len(data) == size else None
