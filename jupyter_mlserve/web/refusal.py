"""Bodies that are too large, or not wanted: refused early, and so that the refusal arrives.

A server that answers and closes while the client is still sending resets the connection, and the
client may never read the answer. So the rest of the body is read and dropped for a while first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http.client import responses
from typing import cast

from tornado import httputil

from .errors import JSON, Answer, answer_error, too_large

# A refused body up to this size is read to its end, so that the connection can be kept.
SMALL = 256 * 1024
# Of a larger one, this much is dropped before the connection is closed, for at most this long.
DRAIN_BYTES = 32 * 1024 * 1024
DRAIN_SECONDS = 10.0
# The headers of an answer to somebody unknown.
BARE = (("X-Content-Type-Options", "nosniff"),)
# Bodies above this are not copied behind the headers, but written on their own.
LARGE = 64 * 1024


def declared_length(request: httputil.HTTPServerRequest) -> int | None:
    """Content-Length; None when the body is chunked, 0 when there is none.

    A value that is no number is left to tornado, which refuses the message as malformed.
    """
    headers = request.headers
    if "Transfer-Encoding" in headers:
        return None
    value = headers.get("Content-Length", "")
    return int(value) if value.isascii() and value.isdigit() else 0


def accept_any_size(connection: httputil.HTTPConnection) -> None:
    """We count the body: tornado's own limit would be refused in tornado's words, or by silence."""
    connection.set_max_body_size(1 << 62)  # type: ignore[attr-defined]


def write_answer(
    connection: httputil.HTTPConnection, answer: Answer, headers: httputil.HTTPHeaders
) -> None:
    """Start line, headers and body in one write; the caller ends the exchange."""
    headers["Content-Length"] = str(len(answer.body))
    for name, value in answer.headers:
        headers[name] = value
    start = httputil.ResponseStartLine("", answer.status, responses.get(answer.status, "Unknown"))
    if len(answer.body) <= LARGE:
        connection.write_headers(start, headers, bytes(answer.body))
    else:
        connection.write_headers(start, headers)
        # Tornado keeps a view of it, whichever it is, until it is written.
        connection.write(cast(bytes, answer.body))


class Refusal:
    """An answer given before the body was read, and what happens to the rest of that body."""

    def __init__(
        self,
        request: httputil.HTTPServerRequest,
        answer: Answer,
        headers: Callable[[], httputil.HTTPHeaders],
        body_started: bool = False,
    ) -> None:
        connection = request.connection
        assert connection is not None
        self._connection = connection
        self._left = DRAIN_BYTES
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        length = declared_length(request)
        self._pending: tuple[Answer, httputil.HTTPHeaders] | None = (answer, headers())
        if length is not None and length <= SMALL:
            return  # answered when the body has come to its end
        accept_any_size(connection)
        self._pending[1]["Connection"] = "close"
        self._write()
        if request.headers.get("Expect", "").lower() == "100-continue" and not body_started:
            self.end()  # the client sends no body now
        else:
            self._timer = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self.end)

    def _write(self) -> None:
        if self._pending is not None:
            write_answer(self._connection, *self._pending)
            self._pending = None

    def drop(self, count: int) -> None:
        """``count`` bytes of the body came and went."""
        self._left -= count
        if self._left < 0:
            self.end()

    def end(self) -> None:
        """The body has ended, or enough of it was dropped: let go of the connection."""
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._write()
        self._connection.finish()

    def lost(self) -> None:
        """The client has gone."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()


class Guard(httputil.HTTPMessageDelegate):
    """Around an ordinary handler: its body has a limit, and exceeding it is a 413 in our shape."""

    def __init__(
        self,
        inner: httputil.HTTPMessageDelegate,
        request: httputil.HTTPServerRequest,
        limit: int,
        trait: str = "",
    ) -> None:
        self._inner = inner
        self._request = request
        self._limit = limit
        self._trait = trait
        self._received = 0
        self._refusal: Refusal | None = None

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        length = declared_length(self._request)
        if length is None:
            assert self._request.connection is not None
            accept_any_size(self._request.connection)
        elif length > self._limit:
            self._refuse()
            return None
        return self._inner.headers_received(start_line, headers)

    def _refuse(self) -> None:
        answer = answer_error(too_large(self._limit, trait=self._trait))
        self._refusal = Refusal(self._request, answer, plain_headers, self._received > 0)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._received += len(chunk)
        if self._refusal is None and self._received > self._limit:
            self._refuse()
            self._inner.on_connection_close()  # lets go of what it has read
        if self._refusal is not None:
            self._refusal.drop(len(chunk))
            return None
        return self._inner.data_received(chunk)

    def finish(self) -> None:
        if self._refusal is not None:
            self._refusal.end()
        else:
            self._inner.finish()

    def on_connection_close(self) -> None:
        if self._refusal is not None:
            self._refusal.lost()
        else:
            self._inner.on_connection_close()


def plain_headers() -> httputil.HTTPHeaders:
    headers = httputil.HTTPHeaders({"Content-Type": JSON})
    headers.update(BARE)
    return headers
