"""The one mapper from anything that went wrong to an HTTP answer with the canonical JSON body."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from http.client import responses
from logging import Logger
from typing import Any

from tornado.web import HTTPError

from ..contract.errors import (
    CLASSES,
    MethodNotAllowed,
    MLServeError,
    NotAuthenticated,
    NotFound,
    TooLarge,
    error_body,
    result_error_body,
)
from ..contract.http_status import class_for, status_of

JSON = "application/json"

# RFC 6750 asks for the challenge; browsers show no dialog for this scheme.
CHALLENGE = 'Bearer realm="Jupyter"'


@dataclass(slots=True)
class Answer:
    """What goes back: status, JSON body, and headers beyond the usual ones."""

    status: int
    body: bytes | bytearray
    headers: tuple[tuple[str, str], ...] = ()


def dump(value: Any) -> bytes:
    """Compact JSON. Definitions are validated JSON already, so nothing needs converting."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def as_error(exc: BaseException) -> MLServeError:
    """``exc`` as an error of the one tree; anything unforeseen becomes a plain InternalError."""
    if isinstance(exc, MLServeError):
        return exc
    if isinstance(exc, HTTPError):
        return from_http_error(exc)
    return CLASSES["InternalError"](
        "The server failed; its log says why. Try again or tell its owner."
    )


def from_http_error(exc: HTTPError) -> MLServeError:
    """Tornado's and Jupyter's own errors (host check, cross-site check, wrong method...)."""
    if exc.status_code == 401:
        return not_authenticated()
    if exc.status_code == 405:
        return MethodNotAllowed("This address does not answer this method.")
    text = http_message(exc)
    if exc.status_code == 404 and not text:
        return NotFound("There is nothing at this address.")
    return class_for(exc.status_code)(text or responses.get(exc.status_code, "The request failed."))


def http_message(exc: HTTPError) -> str:
    """The message as its raiser meant it: tornado doubles every '%' of a message without args."""
    text = exc.log_message or ""
    if not exc.args:
        return text.replace("%%", "%")
    try:
        return text % exc.args
    except (TypeError, ValueError):
        return text


def not_authenticated() -> NotAuthenticated:
    return NotAuthenticated(
        "This needs a valid token: that of the Jupyter server, or the access token that POST login "
        "gives to an account. Send it as the header 'Authorization: Bearer TOKEN'."
    )


def too_large(limit: int, what: str = "body", trait: str = "") -> TooLarge:
    advice = f" Its administrator can raise MLServeApp.{trait}." if trait else ""
    return TooLarge(
        f"The {what} is larger than the {size(limit)} that this server accepts.{advice}",
        limit=limit,
    )


def answer_error(
    exc: BaseException, *, result: bool = False, owner: bool = False, log: Logger | None = None
) -> Answer:
    """The answer to a failed request.

    ``result``: with the keys of a WebServiceResult (POST below ``api/``). ``owner``: the reader
    may see the author's traceback. What nobody foresaw is logged with its traceback.
    """
    error = as_error(exc)
    if log is not None and not isinstance(exc, (MLServeError, HTTPError)):
        log.error("unhandled error", exc_info=exc)
    body = (result_error_body if result else error_body)(error, owner=owner)
    return Answer(status_of(error), dump(body), error_headers(error))


def error_headers(error: MLServeError) -> tuple[tuple[str, str], ...]:
    headers: list[tuple[str, str]] = []
    if isinstance(error, NotAuthenticated):
        headers.append(("WWW-Authenticate", CHALLENGE))
    if error.retry_after is not None:
        headers.append(("Retry-After", retry_after(error.retry_after)))
    allow = error.details.get("allow")
    if isinstance(error, MethodNotAllowed) and allow:
        headers.append(("Allow", ", ".join(allow)))
    return tuple(headers)


def retry_after(seconds: float) -> str:
    """Whole seconds, at least one (RFC 9110 knows no fractions)."""
    return str(max(1, math.ceil(seconds)))


def size(count: int) -> str:
    """Bytes for people: 67108864 -> '64 MiB'."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} GiB"
