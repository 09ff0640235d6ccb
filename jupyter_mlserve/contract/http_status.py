"""The one table from error classes to HTTP status codes, read by every HTTP door.

A class that is not listed has the status of its nearest listed ancestor.
"""

from __future__ import annotations

from . import errors

STATUS: dict[type[errors.MLServeError], int] = {
    errors.MLServeError: 500,
    errors.BadRequest: 400,
    errors.MethodNotAllowed: 405,
    errors.UnsupportedMedia: 415,
    errors.NotAuthenticated: 401,
    errors.NotAllowed: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.TooLarge: 413,
    errors.TooBusy: 429,
    errors.InternalError: 500,
    errors.Unavailable: 503,
    errors.CallTimeout: 504,
    errors.OutOfSpace: 507,
}

# Backwards, for a client that meets an answer without our exceptionType.
_CLASS: dict[int, type[errors.MLServeError]] = {
    **{status: cls for cls, status in STATUS.items() if cls is not errors.MLServeError},
    502: errors.Unavailable,  # a proxy that cannot reach the server
}


def status_of(exc: BaseException | type[BaseException]) -> int:
    """HTTP status of an exception or its class; 500 for anything outside the tree."""
    cls = exc if isinstance(exc, type) else type(exc)
    for base in cls.__mro__:
        if base in STATUS:
            return STATUS[base]
    return 500


def class_for(status: int) -> type[errors.MLServeError]:
    """The most general class that has this status."""
    if status in _CLASS:
        return _CLASS[status]
    if 400 <= status < 500:
        return errors.BadRequest
    return errors.InternalError if status >= 500 else errors.MLServeError
