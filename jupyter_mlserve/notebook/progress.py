"""What is happening, while it takes long: one line that changes in place.

In a notebook it is one output, updated by its display id, with an HTML progress bar, and empty
in the end. (A widget would leave "model not found" in the saved notebook.) In a terminal it is
one line of standard error, wiped at the end. Elsewhere it says nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from html import escape
from typing import Any, TypeVar

from .describe import elapsed_text, seconds_text
from .failures import Interrupted

_T = TypeVar("_T")

PATIENCE = 0.7  # seconds: what is done within them needs no progress shown
_BETWEEN = 0.1  # seconds between two updates: a front end should not be flooded


class Progress:
    """A line of progress. Nothing is shown before the first ``show``."""

    def __init__(self, shell: Any) -> None:
        self._notebook = getattr(shell, "kernel", None) is not None
        self._terminal = not self._notebook and sys.stderr.isatty()
        self._handle: Any = None
        self._last = 0.0
        self._written = 0
        self._shown = ""

    def show(self, text: str, fraction: float | None = None, *, force: bool = False) -> None:
        """Say what is being done; ``fraction`` (0 to 1) draws a bar where one can be drawn."""
        now, percent = time.monotonic(), "" if fraction is None else f" {fraction:.0%}"
        if text + percent == self._shown or (not force and now - self._last < _BETWEEN):
            return
        self._last, self._shown = now, text + percent
        if self._notebook:
            self._display(text, fraction)
        elif self._terminal:
            self._line(text + percent)

    def finish(self, text: str = "") -> None:
        """Say how it ended, or nothing; says nothing when nothing was shown before."""
        if self._handle is not None:
            self._display(text, None)
        elif self._written:
            self._line("")

    def _display(self, text: str, fraction: float | None) -> None:
        bar = ""
        if fraction is not None:
            percent = round(100 * min(max(fraction, 0.0), 1.0))
            bar = (
                f'<progress max="100" value="{percent}" style="width:16em;margin-right:8px;'
                f'vertical-align:middle" aria-label="{escape(text)}">{percent}%</progress>'
            )
        style = "font-size:12px;color:var(--jp-content-font-color2,inherit)"
        html = f'<div style="{style}" role="status">{bar}{escape(text)}</div>' if text else ""
        data = {
            "text/plain": text if fraction is None else f"{text} {fraction:.0%}",
            "text/html": html,
        }
        if self._handle is None:
            from IPython.display import display

            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def _line(self, text: str) -> None:
        blank = " " * max(0, self._written - len(text))
        end = "" if text else "\r"
        sys.stderr.write(f"\r{text}{blank}{end}")
        sys.stderr.flush()
        self._written = len(text)


def with_progress(
    progress: Progress,
    work: Callable[[], _T],
    text: Callable[[], tuple[str, float | None]],
    unknown: str,
) -> _T:
    """Do the work in a thread, and show how it goes once it has taken a while.

    Ctrl-C ends the wait (not the server's work), and ``unknown`` is what is then said.
    """
    box: dict[str, Any] = {}

    def run() -> None:
        try:
            box["result"] = work()
        except BaseException as error:
            box["error"] = error

    started = time.monotonic()
    thread = threading.Thread(target=run, name="jupyter_mlserve publish", daemon=True)
    thread.start()
    try:
        thread.join(PATIENCE)
        while thread.is_alive():
            words, fraction = text()
            progress.show(f"{words} ({elapsed_text(time.monotonic() - started)})", fraction)
            thread.join(0.2)
    except KeyboardInterrupt:
        progress.finish("Interrupted.")
        raise Interrupted(unknown) from None
    elapsed = seconds_text(time.monotonic() - started)
    if "error" in box:
        progress.finish(f"Failed after {elapsed}.")
        raise box["error"]
    progress.finish()
    result: _T = box["result"]
    return result
