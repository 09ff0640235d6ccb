"""Sentences about sessions, as the exceptions that the web node passes on."""

from __future__ import annotations

from typing import Any

from ..contract.errors import (
    CallTimeout,
    MLServeError,
    NotFound,
    SessionFailed,
    SessionLost,
    TooBusy,
)
from .reaper import Exit
from .replies import call_error, needed_too_much, size_text

_NOW = "Its variables are gone. Create another one (POST sessions)."


def unknown_session() -> SessionLost:
    return SessionLost(
        "The session has no interpreter any more: it was closed, or the compute node was started "
        f"anew. {_NOW}"
    )


def closed() -> SessionLost:
    return SessionLost("The session was closed.")


def gone(how: Exit, memory: int, output: str) -> SessionLost:
    """The interpreter ended by itself, or something outside ended it."""
    if needed_too_much(how.peak_memory, memory, output):
        limit = f"{size_text(memory)} (worker_memory)" if memory else "the machine's memory"
        why = f"it needed more memory than it may use, {limit}"
    else:
        why = str(how)
    return SessionLost(f"The interpreter of the session has ended ({why}). {_NOW}")


def stuck(late: bool, place: str) -> SessionLost:
    """It was told to stop what it did, and had to be killed."""
    why = "its code took longer than it may (session_timeout)" if late else "it was cancelled"
    return SessionLost(
        f"The interpreter of the session was killed: {why}, and did not react to the interrupt. "
        f"{_NOW}",
        traceback=place,
    )


def not_started(interpreter: str, how: str, name: str = "") -> SessionFailed:
    """The interpreter ended before the session was open, while it loaded the object ``name``."""
    if name:
        return SessionFailed(
            f"The interpreter ended while it loaded the object {name!r} ({how}). Objects that "
            "were packed under another Python version can crash it: pack it anew.",
            field=name,
        )
    return SessionFailed(
        f"The interpreter {interpreter} could not be started for a session ({how}). "
        "Python 3.8 or newer is needed."
    )


def too_long(op: str, limit: float, name: str = "") -> MLServeError:
    """What ran was interrupted at its time limit."""
    if op == "execute":
        return CallTimeout(
            f"The execution took longer than {limit:g} seconds (session_timeout) and was "
            "interrupted. The session goes on; do less at a time, or ask the administrator to "
            "allow more.",
            limit=limit,
        )
    what = f"Loading the object {name!r}" if name else "Loading or storing an object"
    if op == "open":
        what = "Starting the interpreter"
    return CallTimeout(
        f"{what} took longer than {limit:g} seconds (load_timeout) and was ended.",
        limit=limit,
        field=name,
    )


def full(waiting: int) -> TooBusy:
    return TooBusy(
        f"The session has {waiting} requests waiting, as many as it may (session_queue). "
        "Try again when it has done what it does.",
        retry_after=1.0,
    )


def busy_too_long(seconds: float) -> TooBusy:
    return TooBusy(
        f"The session was busy for the {seconds:g} seconds that a request may wait for it. "
        "Try again when it has done what it does, or cancel that.",
        retry_after=5.0,
    )


def session_error(header: dict[str, Any]) -> MLServeError:
    """The exception for a worker's reply that is not 200."""
    kind, message = str(header.get("kind")), str(header.get("message") or "")
    details = {key: str(header[key]) for key in ("field", "traceback") if header.get(key)}
    if kind == "NotFound":
        return NotFound(message, **details)
    if kind == "SessionFailed":
        return SessionFailed(message, **details)
    return call_error(header, "The session", 0)
