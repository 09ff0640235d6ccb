"""From what a worker answered, or failed to, to the frames that the web node passes on."""

from __future__ import annotations

import json
from typing import Any

from ..contract.errors import (
    BundleCorrupt,
    CallTimeout,
    InvalidInput,
    MLServeError,
    PoolExhausted,
    ServiceFailed,
    TooBusy,
    TrialFailed,
    UnsupportedMedia,
    WorkerLost,
    empty_result,
    error_body,
    result_error_body,
)
from ..contract.http_status import status_of
from .reaper import Exit

EMPTY_RESULT = json.dumps(dict(empty_result(""), success=True)).encode()
# What an owner gets to read beside the body.
_OWNER_DETAILS = ("traceback", "console")
_MEMORY_SIGNS = ("MemoryError", "bad_alloc", "Cannot allocate memory", "out of memory")


def error_frame(exc: MLServeError, seconds: float | None = None) -> tuple[dict[str, Any], bytes]:
    """Reply header and body of a call that failed."""
    header: dict[str, Any] = {"status": status_of(exc), "error": type(exc).__name__}
    if exc.retry_after is not None:
        header["retry_after"] = exc.retry_after
    if exc.field:
        header["field"] = exc.field
    for key in _OWNER_DETAILS:
        if exc.details.get(key):
            header[key] = exc.details[key]
    if seconds is not None:
        header["seconds"] = round(seconds, 6)
    return header, json.dumps(result_error_body(exc)).encode()


def trial_frame(exc: MLServeError, stage: str) -> tuple[dict[str, Any], bytes]:
    """Reply of a trial that failed: its reader is the publisher, who may see everything."""
    if not isinstance(exc, TrialFailed | BundleCorrupt | PoolExhausted):
        details = dict(exc.details, stage=stage)
        # That the trial may be repeated helps nobody whose code is at fault.
        details.pop("retry_after", None)
        exc = TrialFailed(_trial_message(exc, stage), **details)
    exc.details.setdefault("stage", stage)
    header, _ = error_frame(exc)
    body = error_body(exc, owner=True)
    body.update(empty_result(body["message"], str(exc.details.get("console") or "")))
    return header, json.dumps(body).encode()


def _trial_message(exc: MLServeError, stage: str) -> str:
    if stage != "call":
        return exc.message
    if isinstance(exc, InvalidInput):
        return f"The sample does not fit the declared inputs: {exc.message}"
    return f"The call with the sample failed: {exc.message}"


def call_error(header: dict[str, Any], label: str, memory: int) -> MLServeError:
    """The exception for a worker's reply that is not 200."""
    kind, message = str(header.get("kind")), str(header.get("message") or "")
    if kind == "InvalidInput":
        field, expected, got = (str(header.get(key) or "") for key in ("field", "expected", "got"))
        return InvalidInput(message, field=field, expected=expected, got=got)
    details = {key: header[key] for key in _OWNER_DETAILS if header.get(key)}
    if kind == "OutOfMemory":
        return WorkerLost(out_of_memory(label, memory), **details)
    if kind == "ServiceFailed":
        return ServiceFailed(message, **details)
    if kind == "UnsupportedMedia":
        return UnsupportedMedia(message)
    return WorkerLost(f"{label}: the worker failed ({message}). Try again.", **details)


def load_error(header: dict[str, Any], label: str, memory: int) -> MLServeError:
    """The exception for a worker's reply that says the version could not be loaded."""
    details = {key: header[key] for key in _OWNER_DETAILS if header.get(key)}
    details["stage"] = "load"
    message = str(header.get("message") or "The service could not be loaded.")
    if header.get("kind") == "BundleCorrupt":
        return BundleCorrupt(message, **details)
    if header.get("kind") == "OutOfMemory":
        message = out_of_memory(label, memory, "loading it")
    return TrialFailed(message, **details)


def cannot_load(label: str, exc: MLServeError, retry_after: float) -> MLServeError:
    """What a caller is told when a version that was published cannot be loaded now."""
    details = {key: exc.details[key] for key in _OWNER_DETAILS if exc.details.get(key)}
    if isinstance(exc, BundleCorrupt):
        return BundleCorrupt(exc.message, **details)
    return WorkerLost(
        f"{label} cannot be loaded at present: {exc.message}", retry_after=retry_after, **details
    )


def out_of_memory(label: str, memory: int, when: str = "the call") -> str:
    limit = f"{size_text(memory)} (worker_memory)" if memory else "the machine's memory"
    return (
        f"{label}: {when} needed more memory than a worker may use, {limit}. "
        "Send less, make the service need less, or ask the administrator to raise the limit."
    )


def needed_too_much(peak_memory: int, memory: int, output: str) -> bool:
    """Whether a process seems to have ended for want of memory."""
    near_limit = bool(memory) and peak_memory > 0.8 * memory
    return near_limit or any(sign in output for sign in _MEMORY_SIGNS)


def worker_died(label: str, how: str, peak_memory: int, memory: int, output: str) -> MLServeError:
    """The worker was gone before it had answered; ``output`` is the last it said."""
    if needed_too_much(peak_memory, memory, output):
        return WorkerLost(out_of_memory(label, memory), traceback=output)
    return WorkerLost(
        f"{label}: the worker died during the call ({how}). The next call gets a new one; "
        "if it happens again, the service's own code or a library it uses is at fault.",
        traceback=output,
    )


def too_busy(label: str, waiting: int, seconds: float) -> MLServeError:
    """``seconds`` is when there may be room again."""
    return TooBusy(
        f"{label} has {waiting} calls waiting, as many as it may (max_queue). "
        "Try again in a moment.",
        retry_after=max(1.0, round(seconds, 1)),
    )


def waited(label: str, max_workers: int, workers: bool) -> MLServeError:
    """A call found no worker in time; ``workers`` says whether its version has any.

    ``max_workers``: of those that are shared; 0 when the version has its own.
    """
    if not max_workers and not workers:
        why = f"No worker of the dedicated pool of {label} was there in time."
    elif workers:
        why = f"All workers of {label} were busy for so long that the call was given up."
    else:
        why = (
            f"All {max_workers} workers (max_workers) are busy with other "
            f"services, and none became free for {label}."
        )
    return PoolExhausted(f"{why} Try again in a moment.", retry_after=1.0)


def died_loading(label: str, interpreter: str, how: Exit, memory: int, output: str) -> MLServeError:
    if memory and how.peak_memory > 0.8 * memory:
        why = out_of_memory(label, memory, "loading it")
    else:
        why = (
            f"The interpreter {interpreter} ended while it loaded {label} ({how}). Python 3.8 or "
            "newer is needed, and objects that were packed under another Python version can "
            "crash it: publish again from this environment."
        )
    return TrialFailed(why, traceback=output, stage="load")


def load_timeout(label: str, limit: float, place: str) -> MLServeError:
    why = (
        f"{label} was not loaded within {limit:g} seconds (load_timeout). Make loading "
        "quicker, or ask the administrator to allow more."
    )
    return TrialFailed(why, traceback=place, stage="load")


def call_timeout(label: str, limit: float, place: str) -> MLServeError:
    return CallTimeout(
        f"{label}: the call took longer than {limit:g} seconds (call_timeout) and was ended. "
        "Send less, or ask the administrator to allow more.",
        limit=limit,
        traceback=place,
    )


def over_file_limit(label: str, why: str) -> MLServeError:
    return WorkerLost(f"{label}: the call was ended, because it {why}.")


def size_text(size: int) -> str:
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= factor:
            return f"{round(size / factor, 1):g} {unit}"
    return f"{size} bytes"
