"""What callers are told when a model cannot be loaded, or a call gives no result."""

from __future__ import annotations

from ...contract.errors import (
    BundleCorrupt,
    CallTimeout,
    InternalError,
    MLServeError,
    OutOfSpace,
)
from .sessions import is_memory_error


def cannot_load(label: str, exc: BaseException, limit: float | None) -> MLServeError:
    """``label`` is name and version; ``limit`` is load_timeout (seconds) if that was exceeded."""
    if limit is not None:
        return CallTimeout(
            f"{label}: loading its model took longer than {limit:g} seconds (load_timeout).",
            limit=limit,
        )
    if isinstance(exc, BundleCorrupt | OutOfSpace):
        return exc
    if is_memory_error(exc):
        return OutOfSpace(
            f"{label}: there is not enough memory to load its model. Try again later, or ask the "
            "administrator to raise runtime_memory."
        )
    text = " ".join(str(exc).split())[:300]
    return InternalError(f"{label}: its model cannot be loaded ({text}). Publish it again.")


def call_failed(label: str, exc: BaseException) -> MLServeError:
    """What the scorer raised, or what stands for it."""
    if isinstance(exc, MLServeError):
        return exc
    if isinstance(exc, MemoryError):
        return InternalError(
            f"{label}: the call needed more memory than is left. Send fewer rows at a time, or "
            "ask the administrator to raise runtime_memory."
        )
    return InternalError(
        f"{label}: the call failed. Publish it again; if that does not help, publish it as a "
        "standard service."
    )


def overdue(label: str, limit: float) -> CallTimeout:
    """``limit`` is call_timeout, in seconds."""
    return CallTimeout(
        f"{label}: the call took longer than {limit:g} seconds (call_timeout) and was ended. Send "
        "fewer rows at a time, or ask the administrator to allow more.",
        limit=limit,
    )
