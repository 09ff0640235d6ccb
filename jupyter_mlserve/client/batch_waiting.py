"""Waiting for a batch in a terminal, a script or a plain notebook: one line that changes."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from .events import Progress

_WIDTH = 24
_BETWEEN = 0.2  # seconds between two lines in place of each other
_LOG_BETWEEN = 30.0  # seconds between two lines of a log


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while waiting for a batch: the wait ends, and the batch does not."""

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self}"]


def bar(fraction: float, width: int = _WIDTH) -> str:
    """
    >>> bar(0.5, 8)
    '████░░░░'
    """
    full = min(width, int(fraction * width))
    return "\N{FULL BLOCK}" * full + "\N{LIGHT SHADE}" * (width - full)


def _in_kernel() -> bool:
    """Whether what is written appears in a notebook, where a line can be written over."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


class Line:
    """A line of text on standard error; a log gets a line now and then."""

    def __init__(self, stream: TextIO | None = None, *, notebook: bool = False) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._inplace = notebook or self._stream.isatty() or _in_kernel()
        self._written = 0
        self._when = float("-inf")

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        between = _BETWEEN if self._inplace else _LOG_BETWEEN
        if now - self._when < between and not progress.finished:
            return
        self._when = now
        self.say(f"{bar(progress.fraction)} {progress.fraction:4.0%}  {progress}")

    def say(self, text: str) -> None:
        if self._inplace:
            try:
                self._stream.write(f"\r{text}{' ' * max(0, self._written - len(text))}")
            except UnicodeEncodeError:  # a terminal that has no blocks
                text = text.replace("\N{FULL BLOCK}", "#").replace("\N{LIGHT SHADE}", ".")
                self._stream.write(f"\r{text}{' ' * max(0, self._written - len(text))}")
            self._written = len(text)
        else:
            self._stream.write(text.encode("ascii", "replace").decode() + "\n")
        self._stream.flush()

    def end(self) -> None:
        if self._inplace and self._written:
            self._stream.write("\n")
            self._stream.flush()
            self._written = 0
