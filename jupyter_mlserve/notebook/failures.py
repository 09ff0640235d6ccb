"""How a magic fails: one line that says what to do, and the author's own traceback if it was
their code that failed. None of our frames."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..contract.errors import MLServeError, ServiceFailed, TrialFailed

_F = TypeVar("_F", bound=Callable[..., Any])

_THEIRS = {
    TrialFailed: "Your code failed in its trial. Its own traceback, from the fresh worker:",
    ServiceFailed: "The service's code failed. Its own traceback, from the worker:",
}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a magic, shown as one line."""

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self}"]


class CellFailed(Exception):
    """The cell of a magic failed in the notebook; IPython has shown how, above."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def plainly(magic: _F) -> _F:
    """Decorate a magic: its failures are shown as the module says.

    UsageError and our own errors are one line by themselves; a programming error of ours keeps
    its traceback.
    """

    @functools.wraps(magic)
    def run(*args: Any) -> Any:
        try:
            return magic(*args)
        except (TrialFailed, ServiceFailed) as error:
            _mark_theirs(error)
            raise
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted("nothing more is done.") from None

    return cast(_F, run)


def _mark_theirs(error: MLServeError) -> None:
    heading = next(text for kind, text in _THEIRS.items() if isinstance(error, kind))
    lines = [f"{type(error).__name__}: {error.message}"]
    console = str(error.details.get("console") or "").strip()
    if console:
        lines = ["It printed:", console, "", *lines]
    if error.traceback:
        lines = [heading, error.traceback.rstrip("\n"), "", *lines]
    error._render_traceback_ = lambda: lines  # type: ignore[method-assign]
