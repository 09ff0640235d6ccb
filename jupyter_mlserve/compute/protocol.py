"""Frames over asyncio, for both ends: between web and compute node, and to the workers.

A small frame costs one read and no copy but its own; a large one is read straight into place
(``asyncio.StreamReader`` would copy it several times).
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from ..worker.frames import HEADER, MAX_BODY, SMALL, FrameError, check_lengths

Body = bytes | bytearray
BUFFER = 2 * SMALL


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
            transport.write(start + body)
        else:
            transport.write(start)
            transport.write(body)

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._rest.clear()
        self.closed(exc)

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
