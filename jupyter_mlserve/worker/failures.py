"""What went wrong in the author's code, told without our own frames."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Dict, Optional

MAX_MESSAGE = 2_000  # characters
MAX_TRACEBACK = 32_000
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class LoadFailure(Exception):
    """The service cannot be loaded; ``kind`` is the error class the node should raise."""

    def __init__(self, message: str, kind: str = "TrialFailed", traceback: str = "") -> None:
        self.kind = kind
        self.message = message
        self.traceback = traceback
        super().__init__(message)


def message_of(exc: BaseException) -> str:
    """``TypeError: what it says``, bounded. Never fails, whatever the exception's own code does."""
    name = type(exc).__name__
    try:
        text = str(exc)
    except Exception:
        text = "(its text cannot be shown)"
    if isinstance(exc, SystemExit):
        text = f"the code called sys.exit({text})"
    elif isinstance(exc, RecursionError):
        text = text.split(" while ", 1)[0]
    elif isinstance(exc, SyntaxError) and exc.msg:
        text = str(exc.msg) + (f" (line {exc.lineno})" if exc.lineno else "")
    return _printable(cut(f"{name}: {text}" if text else name, MAX_MESSAGE))


def traceback_of(exc: BaseException) -> str:
    """The traceback as Python prints it, from the author's first frame on, bounded."""
    import traceback

    try:
        _trim_chain(exc)
        text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
    except Exception:
        # An exception may break its own printing; then its type and place must do.
        try:
            places = "".join(traceback.format_tb(_author_frames(exc.__traceback__)))
        except Exception:
            places = ""
        text = f"Traceback (most recent call last):\n{places}{message_of(exc)}\n"
    return _printable(cut(text, MAX_TRACEBACK))


def _trim_chain(exc: BaseException) -> None:
    seen: set[int] = set()
    waiting: list[Any] = [exc]
    while waiting and len(seen) < 50:
        item = waiting.pop()
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        item.__traceback__ = _author_frames(item.__traceback__)
        waiting += [item.__cause__, item.__context__]
        waiting += getattr(item, "exceptions", ())  # an exception group


def _author_frames(tb: Optional[TracebackType]) -> Optional[TracebackType]:
    """The traceback without the frames of this package and what it called to get to the author."""
    first = tb
    while tb is not None:
        name = tb.tb_frame.f_code.co_filename
        if not name.startswith(_HERE) and not _is_machinery(name):
            return tb
        tb = tb.tb_next
    # Only ours: the failure is told by its message, except where ours led into a library.
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_HERE):
        first = first.tb_next
    return first


def _is_machinery(name: str) -> bool:
    """Frames between ours and the author's: the event loop of async services."""
    return f"{os.sep}asyncio{os.sep}" in name


def missing_module(exc: BaseException) -> Optional[str]:
    """The top-level module whose absence made ``exc``; None when that is not the reason."""
    if isinstance(exc, ModuleNotFoundError) and exc.name:
        return exc.name.split(".", 1)[0]
    return None


def advice_for(exc: BaseException) -> str:
    """What to do about a failure to load; "" when there is nothing general to say."""
    module = missing_module(exc)
    if module is not None:
        return (
            f" The interpreter {sys.executable}, under which the service runs, has no module "
            f"{module!r}. Install it there, or publish from an environment that has it."
        )
    if isinstance(exc, ImportError):
        return (
            f" The packages of {sys.executable} are not those the service was published with. "
            "Restore them, or publish again."
        )
    return ""


def cut(text: str, limit: int) -> str:
    """``text``, its middle left out when it is longer than ``limit`` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _printable(text: str) -> str:
    """Lone surrogates would break the reply."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def failure(exc: BaseException, kind: str = "ServiceFailed", status: int = 400) -> Dict[str, Any]:
    """The reply header of a failed call."""
    return {
        "status": status,
        "kind": kind,
        "message": message_of(exc),
        "traceback": traceback_of(exc),
    }
