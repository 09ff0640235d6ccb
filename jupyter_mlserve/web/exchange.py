"""Requests that we read ourselves: bounded, authenticated before the body, answered in one piece.

Tornado gives a request to a delegate in three steps: headers, pieces of the body, end. An
``Exchange`` is such a delegate. It is what a ``RequestHandler`` with ``stream_request_body`` is,
less what scoring pays for and does not need (DESIGN section 7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from logging import Logger
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.identity import User
from tornado import httputil
from tornado.web import Application

from ..contract.errors import TooBusy, TooLarge
from .errors import JSON, Answer, answer_error, too_large
from .identity import Identity
from .refusal import BARE, SMALL, Refusal, accept_any_size, declared_length, write_answer

if TYPE_CHECKING:
    from .base import MLServeHandler
    from .node import WebNode


class Exchange(httputil.HTTPMessageDelegate):
    """One request from headers to answer. Subclasses: ``begin``, ``receive``, ``respond``.

    ``handler_class`` decides who may: its verb, decorated as any Jupyter handler's, is called in
    front of the body. If ``remembered``, ``node.identities`` keeps the outcome for a while.
    """

    handler_class: type[MLServeHandler]
    remembered = False
    result_shape = False

    def __init__(
        self,
        node: WebNode,
        application: Application,
        request: httputil.HTTPServerRequest,
        path_args: tuple[str, ...],
    ) -> None:
        assert request.connection is not None
        self.node = node
        self.application = application
        self.request = request
        self.connection = request.connection
        self.path_args = path_args
        self.identity: Identity | None = None
        self.limit = 0
        self.status = 0
        self.received = 0
        self.gone = False
        self.task: asyncio.Task[None] | None = None
        self._refusal: Refusal | None = None

    # -- for subclasses -----------------------------------------------------------------------

    def begin(self) -> Awaitable[None] | None:
        """The caller is known and allowed; the body has not come. Raise to refuse it."""
        return None

    def receive(self, chunk: bytes) -> Awaitable[None] | None:
        """A piece of the body, within the limit. Must not raise: use ``refuse``."""
        raise NotImplementedError

    async def respond(self) -> Answer:
        """The body is complete: the answer. May raise."""
        raise NotImplementedError

    def abandon(self) -> None:
        """The request ends without ``respond``: let go of what was received."""

    def left(self) -> None:
        """The client has gone while ``respond`` runs; what it does is for nobody."""

    # -- tornado's steps ----------------------------------------------------------------------

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        key = self.node.identities.key(self.request) if self.remembered else None
        self.identity = self.node.identities.get(key)
        if self.identity is None:
            return self._ask(key)
        try:
            waiting = self.begin()
        except Exception as exc:
            self.refuse(exc)
            return None
        return self._awaited(waiting) if waiting is not None else None

    async def _ask(self, key: bytes | None) -> None:
        try:
            handler = self.handler_class(self.application, self.request)
            await handler.prepare()
            verb = getattr(handler, str(self.request.method).lower())
            await verb(*self.path_args)
            self.identity = handler.identity()
            if handler.token_authenticated:
                self.node.identities.put(key, self.identity)
            waiting = self.begin()
            if waiting is not None:
                await waiting
        except Exception as exc:
            self.refuse(exc)

    async def _awaited(self, waiting: Awaitable[None]) -> None:
        try:
            await waiting
        except Exception as exc:
            self.refuse(exc)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self.received += len(chunk)
        if self._refusal is None and self.received > self.limit:
            self.refuse(self.too_large())
        if self._refusal is not None:
            self._refusal.drop(len(chunk))
            return None
        return self.receive(chunk)

    def finish(self) -> None:
        if self._refusal is not None:
            self._refusal.end()
            return
        self.connection.set_close_callback(self._closed)  # type: ignore[attr-defined]
        self.task = self.node.track(self._run())

    def on_connection_close(self) -> None:
        # While the headers or the body were read.
        if self._refusal is not None:
            self._refusal.lost()
        else:
            self.gone = True
            self.abandon()

    def _closed(self) -> None:
        # While the answer was made.
        self.gone = True
        self.left()

    # -- the answer ---------------------------------------------------------------------------

    def expect_body(self, limit: int) -> None:
        """Accept at most ``limit`` bytes; raises TooLarge when more are announced."""
        self.limit = limit
        length = declared_length(self.request)
        if length is not None and length > limit:
            raise self.too_large()
        if length is None or length > SMALL:
            accept_any_size(self.connection)

    def too_large(self) -> TooLarge:
        return too_large(self.limit)

    def refuse(self, exc: BaseException) -> None:
        """Answer with an error now, before the body has come to its end."""
        if self._refusal is not None or self.gone:
            return
        self.abandon()
        answer = self.error(exc)
        self.status = answer.status
        self._refusal = Refusal(self.request, answer, self.headers, self.received > 0)
        self.record(answer)

    def error(self, exc: BaseException) -> Answer:
        return answer_error(exc, result=self.result_shape, log=self.node.log)

    async def _run(self) -> None:
        try:
            answer = await self.respond()
        except Exception as exc:
            answer = self.error(exc)
        self.status = answer.status
        if not self.gone:
            write_answer(self.connection, answer, self.headers())
            self.connection.finish()
        self.record(answer)

    def headers(self) -> httputil.HTTPHeaders:
        headers = httputil.HTTPHeaders()
        headers["Content-Type"] = JSON
        headers["Date"] = self.node.date()
        for name, value in self.identity.headers if self.identity else BARE:
            headers[name] = value
        return headers

    def record(self, answer: Answer) -> None:
        """Jupyter's own log line and histogram; subclasses may do with less."""
        self.application.log_request(self)  # type: ignore[arg-type]

    # -- what Jupyter's log function asks a handler for ------------------------------------------

    def get_status(self) -> int:
        return self.status

    @property
    def current_user(self) -> User | None:
        return self.identity.user if self.identity else None

    @property
    def settings(self) -> dict[str, Any]:
        return self.application.settings

    @property
    def log(self) -> Logger:
        return self.node.log


class BodyExchange(Exchange):
    """An exchange that holds its body in memory, within what the web node may hold in all.

    Subclasses call ``hold_body`` in ``begin``, and ``take_body`` in ``respond``.
    """

    _first: bytes = b""
    _more: list[bytes] | None = None
    _held = 0  # bytes of memory reserved for a large body
    _counting = False  # its size is not known before

    def hold_body(self, limit: int) -> None:
        """Accept at most ``limit`` bytes. Raises TooLarge, TooBusy."""
        self.expect_body(limit)
        length = declared_length(self.request)
        self._counting = length is None
        if length is not None and length > SMALL:
            self._held = self.node.hold(length)

    def receive(self, chunk: bytes) -> Awaitable[None] | None:
        if self._counting:
            try:
                self._held += self.node.hold(len(chunk))
            except TooBusy as exc:
                self.refuse(exc)
                return None
        if not self._first:
            self._first = chunk
        elif self._more is None:
            self._more = [self._first, chunk]
        else:
            self._more.append(chunk)
        return None

    def take_body(self) -> bytes:
        """The whole body; it is not kept here any more, but still counted."""
        body = self._first if self._more is None else b"".join(self._more)
        self._first, self._more = b"", None
        return body

    def abandon(self) -> None:
        self._first, self._more = b"", None
        self.node.held -= self._held
        self._held = 0
