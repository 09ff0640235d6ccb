"""The frame: how web node, compute node and workers talk. Language-neutral on purpose.

A frame is 12 bytes (``!IQ``: header length, body length in bytes, big-endian), a header (compact
JSON object, UTF-8) and a body (opaque bytes). On a connection with many requests in flight the
header's ``id`` tells which one a reply belongs to; a worker does one thing at a time.

Node to worker: ``{"op": "load"}`` (body: the load spec as JSON), ``{"op": "call"}`` (body: the
inputs as JSON). Worker to node: ``{"status": 200}`` and a body that is ready JSON, or
``{"status": 4xx/5xx, "kind": error class, "message": ...}`` without one.
"""

from __future__ import annotations

import json
import struct

TYPE_CHECKING = False  # typing itself costs 2 ms of every worker's start
if TYPE_CHECKING:
    import socket
    from typing import Any, Dict, List, Optional, Tuple, Union

    Header = Dict[str, Any]
    Buffer = Union[bytes, bytearray, memoryview]

HEADER = struct.Struct("!IQ")
MAX_HEADER = 8 * 1024 * 1024  # bytes; a header may carry a traceback and console output
MAX_BODY = 4 * 1024 * 1024 * 1024  # bytes
# Up to this size copying a body behind its header is cheaper than a second system call.
SMALL = 64 * 1024

dump_header = json.JSONEncoder(separators=(",", ":")).encode
_decode_json = json.JSONDecoder().decode


class FrameError(Exception):
    """What came is not a frame, or it ended in the middle of one."""


def pack(header: Header, body: Buffer = b"") -> List[Buffer]:
    """The buffers of one frame, to be written one after the other."""
    return pack_raw(dump_header(header).encode(), body)


def pack_raw(header: bytes, body: Buffer = b"") -> List[Buffer]:
    """As :func:`pack`, for a header that is JSON already (the hot path writes it by hand)."""
    start = HEADER.pack(len(header), len(body)) + header
    if len(body) <= SMALL:
        return [start + body]
    return [start, body]


def check_lengths(header: int, body: int) -> None:
    """Raise FrameError for lengths that no peer of ours announces."""
    if header > MAX_HEADER or body > MAX_BODY:
        raise FrameError(f"a frame of {header} + {body} bytes is over the limit")


def parse_header(data: Buffer) -> Header:
    """The header of a frame. Raises FrameError when it is no JSON object."""
    try:
        header = _decode_json(str(data, "utf-8"))
    except (ValueError, RecursionError) as exc:
        raise FrameError(f"the header of a frame is not JSON: {exc}") from None
    if type(header) is not dict:
        raise FrameError("the header of a frame is not a JSON object")
    return header


def send_frame(sock: socket.socket, header: Header, body: Buffer = b"") -> None:
    """Write one frame to a blocking socket."""
    for buffer in pack(header, body):
        sock.sendall(buffer)


class Reader:
    """Reads frames from a blocking socket; small ones with one system call."""

    def __init__(self, sock: socket.socket) -> None:
        self._recv_into = sock.recv_into
        self._buffer = bytearray(SMALL)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0

    def read(self) -> Optional[Tuple[bytes, bytes]]:
        """Header and body of the next frame (bytes); None when the peer has closed.

        Raises FrameError when it closed in the middle of a frame.
        """
        if self._start == self._end:
            self._start, self._end = 0, self._recv_into(self._buffer)
            if not self._end:
                return None
        while self._end - self._start < HEADER.size:
            self._more()
        header_size, body_size = HEADER.unpack_from(self._buffer, self._start)
        check_lengths(header_size, body_size)
        self._start += HEADER.size
        return self._take(header_size), self._take(body_size)

    def _more(self) -> None:
        """At least one byte more behind what is buffered."""
        if self._start:
            rest = bytes(self._view[self._start : self._end])
            self._view[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        count = self._recv_into(self._view[self._end :])
        if not count:
            raise FrameError("the connection closed in the middle of a frame")
        self._end += count

    def _take(self, size: int) -> bytes:
        start = self._start
        if size <= self._end - start:
            self._start = start + size
            return bytes(self._view[start : start + size])
        whole = bytearray(size)
        have = self._end - start
        whole[:have] = self._view[start : self._end]
        self._start = self._end = 0
        view = memoryview(whole)
        while have < size:
            count = self._recv_into(view[have:])
            if not count:
                raise FrameError("the connection closed in the middle of a frame")
            have += count
        # str() and json accept it as they do bytes; turning it into bytes would copy it.
        return whole  # type: ignore[return-value]
