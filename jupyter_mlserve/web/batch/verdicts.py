"""What the answer to a portion of records means for them."""

from __future__ import annotations

import json

from ...compute.client import Reply
from ...contract.errors import MLServeError, empty_result, result_error_body

# DONE: answered. BUSY: not begun, try again. LOST: the process that had it stopped; try again.
# UNLOADED: the version cannot be loaded. DIED, SLOW: its worker died, or did not finish.
# REFUSED: something else is wrong with these records, or with how they were sent.
DONE, BUSY, LOST, UNLOADED = "done", "busy", "lost", "unloaded"
DIED, SLOW, REFUSED = "died", "slow", "refused"


def verdict(reply: Reply) -> str:
    """One of the words above."""
    if reply.status == 200:
        return DONE
    error = reply.header.get("error")
    if error == "ComputeLost":
        return LOST
    if reply.status in (429, 503):
        return BUSY
    # What cannot be loaded says nothing of the records; a worker's reply then names a time after
    # which to try again.
    if reply.header.get("stage") == "load":
        return UNLOADED
    if error == "BundleCorrupt" or (error == "WorkerLost" and "retry_after" in reply.header):
        return UNLOADED
    if error == "WorkerLost":
        return DIED
    return SLOW if reply.status == 504 else REFUSED


def answered(reply: Reply, count: int) -> tuple[int, int]:
    """(done, failed) of a reply in lines to ``count`` records. Raises ValueError when its lines
    cannot be the answers to them: nothing of it is believed then."""
    done, failed = reply.header.get("done"), reply.header.get("failed", 0)
    body = reply.body
    lines = body.count(b"\n") + (not body.endswith(b"\n"))
    if not isinstance(done, int) or not isinstance(failed, int):
        raise ValueError(f"it says neither how many are done nor failed: {reply.header}")
    if not 0 < done <= count or done != lines or not 0 <= failed <= done:
        raise ValueError(f"{lines} lines for {count} records, {done} done, {failed} failed")
    return done, failed


def message_of(reply: Reply) -> str:
    """The sentence of an error."""
    try:
        return str(json.loads(reply.body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"It was answered with status {reply.status}."


def error_line(exc: MLServeError, label: str) -> bytes:
    """The result of a record that failed before or beyond its service; ``label`` names that."""
    body = result_error_body(exc)
    body["message"] = body["errorMessage"] = _named(body["message"], label)
    return _line(body)


def reply_line(reply: Reply, label: str, owner: bool) -> bytes:
    """The result of a record whose call as a whole was answered with an error."""
    message = _named(message_of(reply), label)
    try:
        body = json.loads(reply.body)
        assert isinstance(body, dict)
    except (ValueError, AssertionError):
        body = {"code": reply.status, "exceptionType": "InternalError", "fields": "", "link": ""}
    body |= empty_result(message, str(body.get("consoleOutput") or "")) | {"message": message}
    if owner and reply.header.get("traceback"):
        body.setdefault("details", {})["traceback"] = reply.header["traceback"]
    return _line(body)


def _named(message: str, label: str) -> str:
    return message if label.split(" ")[0] in message else f"{label}: {message}"


def _line(body: dict[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"
