"""``api...``: calling services, and the documents that describe how.

A call passes through here as bytes: the web node does not look into its body, nor into the reply.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from jupyter_server.prometheus.metrics import HTTP_REQUEST_DURATION_SECONDS
from jupyter_server.utils import url_path_join

from ..contract.definition import Definition
from ..contract.errors import TooLarge, UnsupportedMedia
from ..contract.names import check_name, check_version
from ..contract.openapi import openapi
from ..contract.swagger import swagger
from .base import API, MLServeHandler, allowed
from .errors import Answer, dump, retry_after, too_large
from .exchange import BodyExchange

if TYPE_CHECKING:
    from ..compute.client import Reply
    from .routes import Route

Json = dict[str, Any]

# What clients say of a JSON body. `curl -d` calls everything a form.
ACCEPTED = frozenset(
    {
        "",
        "application/json",
        "text/json",
        "text/plain",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
    }
)
UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})
# What realtime services read and write beside JSON.
ARROW = "application/vnd.apache.arrow.stream"
ARROW_REPLY = (("Content-Type", ARROW),)
# Errors that the web node's side of the compute node makes, which knows no services.
NAMELESS = frozenset({"ComputeLost", "TooBusy", "Unavailable"})
# What the documents promise beside the call itself.
FEATURES = frozenset({"login", "batch"})
SEND_JSON = "Send a JSON object in UTF-8, with the header 'Content-Type: application/json'."


class ScoringHandler(MLServeHandler):
    """``api/{name}[/{version}]``: who may call; ``ScoringCall`` does it."""

    @allowed("execute", API)
    async def post(self, name: str, version: str | None = None) -> None:
        """Asked before the body comes, unless its answer for this token is known."""


class ScoringCall(BodyExchange):
    """One call: authenticated, bounded, handed to the compute node, answered as it answers."""

    handler_class = ScoringHandler
    remembered = True  # one class only: what it remembers is the permission to call
    result_shape = True

    _route: Route | None = None
    _media = ""
    _began = 0.0

    def begin(self) -> Awaitable[None] | None:
        headers = self.request.headers
        self.hold_body(self.node.settings.max_body_size)
        arrow = check_media_type(headers)
        accept = headers.get("Accept", "").lower()
        wanted = "arrow" in accept and accepts_arrow(accept)
        if arrow:
            self._media = "aa" if wanted else "aj"
            self._began = time.perf_counter()
            self._find()  # most services do not read it: say so before it comes
        elif wanted:
            self._media = "ja"
        return None

    def too_large(self) -> TooLarge:
        return too_large(self.limit, trait="max_body_size")

    async def respond(self) -> Answer:
        self._began = time.perf_counter()
        try:
            return await self._call()
        finally:
            self.abandon()

    def _find(self) -> Route:
        """The version that is meant now, which this caller may consume."""
        name, *version = self.path_args
        route = self.node.core.routes.find(name, version[0] if version else None)
        self._route = route
        assert self.identity is not None
        self.node.policy.require(
            self.identity.principal, "consume", route.state.author, route.name_owner
        )
        if self._media and not route.realtime:
            if self._media != "ja":
                raise UnsupportedMedia(
                    f"{route.state.name} {route.state.version} is a standard service, and those "
                    f"read no Arrow streams. {SEND_JSON}"
                )
            self._media = ""
        return route

    async def _call(self) -> Answer:
        route, media = self._find(), self._media
        body = self.take_body()
        self.abandon()  # from here on the compute node's client counts the bytes
        core = self.node.core
        if route.realtime:
            reply = await core.realtime.call(route.key, body, route.spec, media)
        else:
            reply = await core.compute.call(route.key, body, route.spec)
        if reply.status == 200:
            return Answer(200, reply.body, ARROW_REPLY if media[1:] == "a" else ())
        return self._failed(reply, route)

    def _failed(self, reply: Reply, route: Route) -> Answer:
        """The compute node's error; with the author's traceback if the reader may see it."""
        header, body = reply.header, named(reply, route)
        traceback = header.get("traceback")
        if traceback and self.identity is not None:
            decision = self.node.policy.may(
                self.identity.principal, "see_code", route.state.author, route.name_owner
            )
            if decision.allowed:
                body = with_traceback(body, traceback)
        seconds = header.get("retry_after")
        extra = () if seconds is None else (("Retry-After", retry_after(float(seconds))),)
        return Answer(reply.status, body, extra)

    def record(self, answer: Answer) -> None:
        if not self.request.query or "no_track_activity" not in self.request.query_arguments:
            self.node.active()
        if self._route is not None:
            self._route.metrics.record(answer.status, time.perf_counter() - self._began)
        if answer.status >= 400:
            super().record(answer)  # Jupyter's own log line, and its histogram
        elif self.node.http_metrics:
            succeeded.observe(self.request.request_time())

    def left(self) -> None:
        # A call that waits for a worker is taken back; one that runs is let finish.
        if self.task is not None:
            self.task.cancel()


# Jupyter's histogram, with the labels its log function would look up for every request.
succeeded = HTTP_REQUEST_DURATION_SECONDS.labels(
    method="POST", handler=f"{ScoringCall.__module__}.{ScoringCall.__name__}", status_code=200
)


def check_media_type(headers: Any) -> bool:
    """Whether the body is an Arrow stream. Refuses what is clearly neither that nor JSON."""
    given = headers.get("Content-Type", "")
    if given == "application/json" and "Content-Encoding" not in headers:
        return False
    kind, *parameters = (part.strip() for part in given.lower().split(";"))
    charsets = [part[8:].strip('"') for part in parameters if part.startswith("charset=")]
    encoding = headers.get("Content-Encoding", "identity").lower()
    if kind not in ACCEPTED and kind != ARROW and not kind.endswith("+json"):
        problem = f"The body is announced as {kind[:80]!r}."
    elif not UTF8.issuperset(charsets):
        problem = f"The body is announced as text in {charsets[0][:80]!r}."
    elif encoding != "identity":
        problem = f"The body is announced as compressed ({encoding[:80]!r})."
    else:
        return bool(kind == ARROW)
    raise UnsupportedMedia(f"{problem} {SEND_JSON}")


def accepts_arrow(accept: str) -> bool:
    """Whether an Accept header, in lower case, asks for Arrow streams (q=0 excludes them).

    Only by their name: ``*/*`` is what most clients send that want JSON. Who names both gets what
    they prefer, and Arrow when they do not say.
    """
    arrow, other = 0.0, 0.0
    for part in accept.split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if kind == ARROW:
            arrow = max(arrow, _quality(parameters))
        elif kind == "application/json":
            other = max(other, _quality(parameters))
    return arrow > 0 and arrow >= other


def _quality(parameters: list[str]) -> float:
    """The ``q`` of a part of an Accept header; what is not readable counts as 1 (RFC 9110)."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0


def named(reply: Reply, route: Route) -> bytes | bytearray:
    """The error body; a message that does not say which service it is about is made to."""
    if reply.header.get("error") not in NAMELESS:
        return reply.body
    error = json.loads(reply.body)
    state = route.state
    if state.name not in error["message"]:
        error["message"] = f"{state.name} {state.version}: {error['message']}"
        error["errorMessage"] = error["message"]
    return dump(error)


def with_traceback(body: bytes | bytearray, traceback: str) -> bytes:
    """The error body with the author's traceback among its details."""
    error = json.loads(body)
    error.setdefault("details", {})["traceback"] = traceback
    return dump(error)


class DocumentHandler(MLServeHandler):
    """``api/{name}[/{version}]/swagger.json`` and ``openapi.json``.

    Made from the current state for every request, so an update shows at once. Tornado answers 304
    to a client that has this very content (ETag).
    """

    @allowed("read", API)
    async def get(self, name: str, version: str | None, kind: str) -> None:
        check_name(name)
        if version is not None:
            check_version(version)
        route = self.node.core.routes.find(name, version)
        self.node.policy.require(self.principal, "consume", route.state.author, route.name_owner)
        definition = Definition.from_json(route.state.definition)
        root = url_path_join(self.base_url, "mlserve")
        self.set_header("Cache-Control", "no-cache")
        document = swagger if kind == "swagger" else openapi
        self.reply(document(definition, root, FEATURES))
