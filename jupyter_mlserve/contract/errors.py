"""The one error tree, and the one JSON shape in which a failure travels.

An exception says *what* went wrong (its class), in a sentence (``message``), with the facts a
program may want (``details``, JSON values only). It knows no HTTP: the status of each class stands
in :mod:`.http_status` and nowhere else.

Raise every class the same way: ``Class("sentence", **details)``. Two details have a meaning of
their own: ``field`` (what is at fault; it becomes ``fields`` in the body) and ``retry_after``
(seconds; it becomes the ``Retry-After`` header).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

Body = dict[str, Any]
_E = TypeVar("_E", bound="MLServeError")

# The lengths to which a foreign body is believed when an exception is built from it.
_MAX_FOREIGN_TEXT = 2_000


class MLServeError(Exception):
    """Root of the tree. ``message`` is for people, ``details`` (JSON values) for programs."""

    # Details that only the author and owners of a service may read (DESIGN, promise 5).
    owner_only: ClassVar[frozenset[str]] = frozenset({"traceback"})

    def __init__(self, message: str = "", /, **details: Any) -> None:
        self.message: str = message or self._default_message(details)
        self.details: dict[str, Any] = details
        super().__init__(self.message)
        # A script (not a notebook) shows notes below the exception; str() must stay the message,
        # because it may reach a consumer.
        if self.traceback and hasattr(self, "add_note"):
            self.add_note(self.traceback)

    def _default_message(self, details: Mapping[str, Any]) -> str:
        return (type(self).__doc__ or type(self).__name__).split("\n", 1)[0]

    @property
    def field(self) -> str:
        """The input, key or option at fault; ``""`` when there is none."""
        return str(self.details.get("field") or "")

    @property
    def retry_after(self) -> float | None:
        """Seconds after which trying again makes sense; None when it does not."""
        value = self.details.get("retry_after")
        return float(value) if isinstance(value, int | float) else None

    @property
    def traceback(self) -> str:
        """Traceback of the author's code, if the failure was there and the reader may see it."""
        return str(self.details.get("traceback") or "")

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call cls(*args) and lose the details.
        return _rebuild, (type(self), self.message, self.details)

    def _render_traceback_(self) -> list[str]:
        """What IPython prints: the sentence, and the author's own traceback where there is one.

        Our frames would only hide what the author can act on.
        """
        line = f"{type(self).__name__}: {self.message}"
        return [self.traceback.rstrip("\n"), line] if self.traceback else [line]


def _rebuild(cls: type[_E], message: str, details: dict[str, Any]) -> _E:
    return cls(message, **details)


class BadRequest(MLServeError):
    """The request cannot be served as it was sent."""


class InvalidName(BadRequest):
    """A name or version breaks the rule for it."""


class InvalidDefinition(BadRequest):
    """A part of the definition is not valid; ``field`` names it."""


class InvalidInput(BadRequest):
    """The input of a call, or a body, is not what was declared.

    Details: ``field``, ``expected``, ``got``. Without a message one is made of them.
    """

    def _default_message(self, details: Mapping[str, Any]) -> str:
        if "expected" not in details:
            return "The input is not valid."
        field, got = details.get("field"), details.get("got")
        where = f"{field}: " if field else ""
        came = f", got {got}" if got else ""
        return f"{where}expected {details['expected']}{came}."


class ServiceFailed(BadRequest):
    """The author's code raised. Details: ``traceback`` (owners only), ``console``."""


class TrialFailed(BadRequest):
    """The service could not be loaded or called in its trial, so nothing was published.

    Details: ``traceback``, ``console``, ``stage`` ("load", "call" or "batchable"). Only the
    publisher sees it, so the traceback is never withheld.
    """

    owner_only: ClassVar[frozenset[str]] = frozenset()


class SessionFailed(BadRequest):
    """The session cannot do this. Details: ``field`` (an object's name), ``traceback``.

    Only the session's owner sees it, so the traceback is never withheld.
    """

    owner_only: ClassVar[frozenset[str]] = frozenset()


class MethodNotAllowed(BadRequest):
    """This address does not answer this HTTP method."""


class UnsupportedMedia(BadRequest):
    """The body is announced as something that this address does not read."""


class NotAuthenticated(MLServeError):
    """No valid token came with the request."""


class NotAllowed(MLServeError):
    """The user may not do this."""


class NotFound(MLServeError):
    """There is nothing at this address."""


class ServiceNotFound(NotFound):
    """No service has this name, or it has no such version."""


class BlobMissing(NotFound):
    """A definition names a blob that was not uploaded. Details: ``sha256`` (list of str)."""


class Conflict(MLServeError):
    """The request contradicts what is there."""


class VersionExists(Conflict):
    """The version is there already. Details: ``identical`` (bool), ``state`` (its current id)."""


class StaleState(Conflict):
    """Somebody else changed the version in between. Details: ``state`` (the current id)."""


class Gone(MLServeError):
    """What was here is gone."""


class VersionDeleted(Gone):
    """The version was deleted."""


class SessionLost(Gone):
    """The interpreter of the session has ended, and its variables with it."""


class SessionEnded(Gone):
    """The session was closed, by its user or by the server."""


class TooLarge(MLServeError):
    """The body is larger than the server accepts. Details: ``limit`` (bytes)."""


class TooBusy(MLServeError):
    """The queue of the service is full. Details: ``retry_after`` (seconds)."""


class Unavailable(MLServeError):
    """The server cannot serve this now. Details: ``retry_after`` (seconds), if known."""


class ComputeLost(Unavailable):
    """The compute node stopped during the call; it is being restarted."""


class PoolExhausted(Unavailable):
    """All workers are busy with other services. Details: ``retry_after`` (seconds)."""


class CallTimeout(MLServeError):
    """The call took longer than the server allows. Details: ``limit`` (seconds)."""


class OutOfSpace(MLServeError):
    """The server has no room left for this."""


class InternalError(MLServeError):
    """The server failed."""


class WorkerLost(InternalError):
    """The worker died during the call; the next call gets a new one."""


class BundleCorrupt(InternalError):
    """A stored object or file is not what was published; publish the version again."""


class ServerNotFound(MLServeError):
    """No server was found (client side). Details: ``tried`` (list of str, in order)."""

    @property
    def tried(self) -> list[str]:
        return list(self.details.get("tried") or ())


class ConnectionFailed(MLServeError):
    """The server did not answer (client side)."""


def _tree(cls: type[MLServeError]) -> Iterator[type[MLServeError]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _tree(sub)


# By the name that travels as "exceptionType". Subclasses made elsewhere do not enter.
CLASSES: dict[str, type[MLServeError]] = {cls.__name__: cls for cls in _tree(MLServeError)}


def error_body(exc: BaseException, link: str = "", *, owner: bool = False) -> Body:
    """The JSON body of a failure: ``code, message, exceptionType, fields, link[, details]``.

    It is a superset of the published contract's two error shapes (core API: message, link,
    exceptionType; service swagger: code, message, fields).
    ``owner`` is True when the reader may see the author's traceback. An exception from outside
    the tree tells the reader nothing but that the server failed: its text may hold anything.
    """
    from .http_status import status_of

    if not isinstance(exc, MLServeError):
        exc = InternalError("The server failed; its log says why. Try again or tell its owner.")
    hidden = frozenset() if owner else exc.owner_only
    details = {k: _plain(v) for k, v in exc.details.items() if v is not None and k not in hidden}
    body: Body = {
        "code": status_of(exc),
        "message": _text(exc.message),
        "exceptionType": type(exc).__name__,
        "fields": _text(exc.field),
        "link": link,
    }
    if details:
        body["details"] = details
    return body


def result_error_body(exc: BaseException, link: str = "", *, owner: bool = False) -> Body:
    """:func:`error_body` plus the keys of a failed ``WebServiceResult``, for ``POST .../api/...``.

    Consumers of the published contract read these keys without looking at the status. What the
    code printed before it failed (detail ``console``) is their ``consoleOutput``.
    """
    body = error_body(exc, link, owner=owner)
    console = body.get("details", {}).pop("console", "")
    if not body.get("details", True):
        del body["details"]
    body.update(empty_result(body["message"], console if isinstance(console, str) else ""))
    return body


def empty_result(message: str, console: str = "") -> Body:
    """The ``WebServiceResult`` of a call that gave nothing; ``message`` says why."""
    return {
        "success": False,
        "errorMessage": message,
        "consoleOutput": console,
        "changedFiles": [],
        "outputFiles": {},
        "outputParameters": {},
    }


def from_body(status: int, body: object) -> MLServeError:
    """The exception that an error answer stands for (client side).

    ``body`` is the parsed JSON, or text when it was none. An ``exceptionType`` we do not know, or
    a body that is not ours (a proxy's page), falls back on the class of the HTTP status.
    """
    from .http_status import class_for

    if not isinstance(body, Mapping):
        text = " ".join(str(body or "").split())[:_MAX_FOREIGN_TEXT]
        if not text or text.startswith("<"):
            text = f"The server answered with status {status} and no explanation."
        return class_for(status)(text)
    cls = CLASSES.get(str(body.get("exceptionType")), class_for(status))
    message = body.get("message") or body.get("errorMessage") or body.get("reason")
    found = body.get("details")
    details = {str(k): v for k, v in found.items()} if isinstance(found, Mapping) else {}
    if body.get("fields") and "field" not in details:
        details["field"] = str(body["fields"])
    if body.get("link"):
        details.setdefault("link", str(body["link"]))
    console = body.get("consoleOutput")
    if console and isinstance(console, str):
        details.setdefault("console", console)
    return cls(str(message or f"The server answered with status {status}."), **details)


def _text(text: str) -> str:
    """Text that UTF-8 can carry: a lone surrogate would fail when the body is encoded."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _plain(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON can carry it. An error must never fail because of its own details."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return _text(value)
    if depth < 8:
        if isinstance(value, Mapping):
            return {_text(str(k)): _plain(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(v, depth + 1) for v in value]
    return _text(str(value))
