"""Errors of programs that use the client wrongly: Python's own kinds, in one line in a notebook."""

from __future__ import annotations

from ..contract.errors import BadRequest, Conflict, MLServeError, NotFound


class WrongCall(BadRequest, TypeError, ValueError):
    """The arguments of a call are not those it takes. Also a TypeError and a ValueError."""


class NotInReply(NotFound, KeyError):
    """The reply holds nothing of this name. Also a KeyError."""

    def __str__(self) -> str:
        return self.message  # KeyError would put it in quotes


class ReplyMismatch(Conflict, ValueError):
    """The reply of a service is not what the object that called it was told. Also a ValueError."""


class NoSuchRecord(NotFound, IndexError):
    """A batch has no record at this position. Also an IndexError."""


class StillRunning(Conflict, TimeoutError):
    """A batch was not finished within the time that was given. Also a TimeoutError."""


class BatchFailed(MLServeError):
    """A batch execution as a whole could not go on."""


class SendingStopped(MLServeError):
    """The sending of records was stopped by the sender."""
