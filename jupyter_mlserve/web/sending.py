"""Answers that come in pieces: as slowly as their reader takes them, but not more slowly."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, suppress
from urllib.parse import quote

from tornado.iostream import StreamClosedError

from ..contract.errors import MLServeError
from .base import MLServeHandler

# A client must take an answer at so many bytes a second; it may be behind by so many seconds. What
# makes the answer waits for it: well shorter than others wait for their turn (store.batches.child).
RATE = 8 * 1024
STALLED = 30.0
# Bytes that are sent at a time.
SLICE = 64 * 1024


class SendingHandler(MLServeHandler):
    """Base of handlers whose answers can be large; it answers no verb itself."""

    _sender: asyncio.Task[None] | None = None

    async def send(self, pieces: AsyncGenerator[bytes, None]) -> None:
        """Answer with ``pieces``, each made when the client has taken the one before.

        What fails before the first piece is an ordinary error. After it the connection is cut:
        so the client sees that the answer is not whole. ``pieces`` is closed in any case.
        """
        self._hold_little()
        self._transforms = []  # Jupyter compresses, at the cost of everybody else in this loop
        self._sender = asyncio.get_running_loop().create_task(self._send(pieces))
        self.node.core.desk.sending(self._sender)
        await asyncio.wait({self._sender})
        if self._sender.cancelled():
            self._cut()  # the client went away, or the server is being stopped
            return
        error = self._sender.exception()
        if error is None:
            self.finish()
        elif not self._headers_written:
            raise error
        else:
            self._cut()
            if not isinstance(error, StreamClosedError):
                said = str(error) or "the client stopped reading it"
                self.log.warning("cut the answer to %s: %s", self.request.path, said)
                if not isinstance(error, MLServeError | TimeoutError | asyncio.TimeoutError):
                    self.log.error("unhandled error", exc_info=error)

    async def _send(self, pieces: AsyncGenerator[bytes, None]) -> None:
        left = STALLED
        async with aclosing(pieces):
            async for piece in pieces:
                for start in range(0, len(piece), SLICE):
                    data = piece[start : start + SLICE]
                    self.write(data)
                    began = time.monotonic()
                    await asyncio.wait_for(self.flush(), left)
                    left += len(data) / RATE - (time.monotonic() - began)
                    left = min(left, STALLED)

    def _hold_little(self) -> None:
        """What is not on its way yet waits here, so that it is seen how fast the client reads."""
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        stream = getattr(self.request.connection, "stream", None)
        if option is not None and stream is not None:
            with suppress(OSError, AttributeError):
                stream.socket.setsockopt(socket.IPPROTO_TCP, option, SLICE)

    def _cut(self) -> None:
        connection = self.request.connection
        if connection is not None:
            connection.close()  # type: ignore[attr-defined]
        self._log()
        self._finished = True  # there is nobody to whom more could be said

    def on_connection_close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
        super().on_connection_close()


async def in_threads(blocks: Generator[bytes, None, None]) -> AsyncGenerator[bytes, None]:
    """The pieces of a generator that blocks, each made in a thread."""
    try:
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            yield block
    finally:
        # A thread may still be in it when we were cancelled; it ends with that step.
        with suppress(ValueError):
            blocks.close()


def attachment(name: str) -> str:
    """A Content-Disposition by which every browser saves a file under this name (RFC 6266)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    if plain == name:
        return f'attachment; filename="{plain}"'
    exact = quote(name, safe="", errors="replace")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"
