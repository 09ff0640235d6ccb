"""Frames over asyncio, for both ends: between web and compute node, and to the workers.

A small frame costs one read and no copy but its own; a large one is read straight into place
(``asyncio.StreamReader`` would copy it several times), and written from where it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import Any, cast

from ..worker.frames import HEADER, MAX_BODY, SMALL, FrameError, check_lengths

Body = bytes | bytearray
BUFFER = 2 * SMALL
# Asyncio copies what the socket does not take at once (all of it, up to Python 3.11), so it gets a
# large body in pieces of this size.
_PIECE = 256 * 1024
# Bytes a socket may take ahead of its reader, if the system allows: fewer turns of both loops.
_AHEAD = 4 * 1024 * 1024


def keep_large_buffers() -> None:
    """Use the memory of large bodies again, rather than give it back after each call.

    The GNU allocator maps large blocks afresh, and the kernel clears every page of them: measured,
    that took half of the time of a body of 3 MB. Once it has seen a block of 32 MB freed, it keeps
    blocks up to that size, and at most twice as much of freed memory. Elsewhere nothing happens.
    """
    bytes(32 * 1024 * 1024 - 64 * 1024)  # never written to, so it takes no memory itself


class FrameProtocol(asyncio.BufferedProtocol):
    """Subclasses take :meth:`frame_received` and :meth:`closed`.

    The body of a frame over 128 KiB comes as bytearray, any other as bytes.
    """

    max_body = MAX_BODY

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = memoryview(bytearray(BUFFER))
        self._start = 0
        self._end = 0
        # A frame too large for the buffer: its parts, and what of them is still to be read.
        self._large = (bytearray(), bytearray())
        self._rest: list[memoryview] = []
        # What waits until the socket takes more.
        self._unsent: deque[bytes | memoryview] = deque()
        self._full = False

    def frame_received(self, header: bytes, body: Body) -> None:
        raise NotImplementedError

    def closed(self, exc: Exception | None) -> None:
        """The connection is gone; ``exc`` says why, None means that the peer closed it."""

    def send(self, header: bytes, body: Body = b"") -> None:
        """Write one frame; ``header`` is JSON already. Nothing happens on a closed connection."""
        transport = self.transport
        if transport is None:
            return
        size = len(body)
        start = HEADER.pack(len(header), size) + header
        if size <= SMALL:
            if not self._full:
                transport.write(start + body)
            else:
                self._unsent.append(start + body)
        else:
            whole = memoryview(body)
            self._unsent.append(start)
            self._unsent.extend(whole[at : at + _PIECE] for at in range(0, size, _PIECE))
            self._send_more()

    def _send_more(self) -> None:
        while self._unsent and not self._full and self.transport is not None:
            self.transport.write(self._unsent.popleft())

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(0)
        with contextlib.suppress(OSError):
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _AHEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._rest.clear()
        self._unsent.clear()
        self.closed(exc)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._send_more()

    def get_buffer(self, sizehint: int) -> Any:
        return self._rest[0] if self._rest else self._buffer[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._rest:
            self._fill(nbytes)
            return
        self._end += nbytes
        try:
            self._hand_out()
        except FrameError:
            # The peer is not one of ours, or broke: nothing after this can be understood.
            self._start = self._end = 0
            if self.transport is not None:
                self.transport.abort()

    def _hand_out(self) -> None:
        """Pass on every frame that is wholly in the buffer, and make room for the next read."""
        buffer, end = self._buffer, self._end
        while True:
            start = self._start
            if end - start < HEADER.size:
                break
            header_size, body_size = HEADER.unpack_from(buffer, start)
            start += HEADER.size
            body_start = start + header_size
            body_end = body_start + body_size
            if body_end <= end:
                self._start = body_end
                self.frame_received(
                    bytes(buffer[start:body_start]), bytes(buffer[body_start:body_end])
                )
                continue
            if body_end - self._start > BUFFER:
                check_lengths(header_size, body_size)
                if body_size > self.max_body:
                    raise FrameError(f"a body of {body_size} bytes is over the limit")
                self._start_large(header_size, body_size, buffer[start:end])
                self._start = end
            break
        if self._start == end:
            self._start = self._end = 0
        elif self._start:
            rest = bytes(buffer[self._start : end])
            buffer[: len(rest)] = rest
            self._start, self._end = 0, len(rest)

    def _start_large(self, header_size: int, body_size: int, have: memoryview) -> None:
        self._large = bytearray(header_size), bytearray(body_size)
        self._rest = [memoryview(part) for part in self._large if part]
        for part in list(self._rest):
            count = min(len(part), len(have))
            part[:count] = have[:count]
            have = have[count:]
            self._fill(count)

    def _fill(self, count: int) -> None:
        rest = self._rest
        rest[0] = rest[0][count:]
        if not rest[0]:
            del rest[0]
        if not rest:
            header, body = self._large
            self._large = bytearray(), bytearray()
            self.frame_received(bytes(header), body)
