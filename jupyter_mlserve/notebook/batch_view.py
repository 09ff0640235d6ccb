"""A batch as it goes, on the screen: a bar with rate, failures, time left and a button to cancel.

In a notebook two outputs belong to it. The upper one is plain HTML with the batch's id and the
line that comes back to it: it stays when the kernel or the page goes. Below it is a widget, which
is replaced when the batch ends: a widget in a saved notebook is an empty place. In a terminal it
is one line of text.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from html import escape
from typing import TYPE_CHECKING, Any

from .document import Card

if TYPE_CHECKING:
    from ..client.batch import Batch
    from ..client.events import Progress

_BETWEEN = 0.2  # seconds between two updates
_SURE = 6.0  # seconds in which a second click on "Cancel" counts

_STYLE = """
.jp-mlserve-bar{--mls-text:var(--jp-content-font-color1,var(--vscode-editor-foreground,inherit));
--mls-dim:var(--jp-content-font-color2,var(--vscode-descriptionForeground,inherit));
color:var(--mls-text);font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;
line-height:1.5}
.jp-mlserve-bar .mls-track{display:flex;height:8px;border-radius:4px;overflow:hidden;
background:var(--jp-border-color2,rgba(128,128,128,.3))}
.jp-mlserve-bar .mls-good{background:var(--jp-success-color1,#2e7d32)}
.jp-mlserve-bar .mls-bad{background:var(--jp-error-color1,#d32f2f)}
.jp-mlserve-bar .mls-numbers{display:flex;flex-wrap:wrap;gap:0 18px;margin-top:5px;
font-variant-numeric:tabular-nums}
.jp-mlserve-bar .mls-numbers b{font-weight:600}
.jp-mlserve-bar .mls-numbers span{color:var(--mls-dim)}
.jp-mlserve-bar .mls-numbers .mls-failed{color:var(--jp-error-color1,#d32f2f);font-weight:600}
"""


def bar_html(progress: Progress) -> str:
    """The bar and its numbers; failed records are red at the end of it."""
    from ..client.events import duration_text, rate_text

    total = max(progress.total, 1)
    bad = 100 * progress.failed / total
    if progress.failed:
        bad = max(bad, 0.7)  # a few among a million are seen, too
    good = max(0.0, 100 * progress.completed / total - bad)
    share = 100 * progress.fraction
    shown = f"{share:.0f}%" if share in (0, 100) or 1 <= share <= 99 else f"{share:.1f}%"
    words = [
        f"<b>{shown}</b>",
        f"<span>{progress.completed:,} of {progress.total:,} records</span>",
    ]
    if progress.failed:
        words.append(f'<span class="mls-failed">{progress.failed:,} failed</span>')
    else:
        words.append("<span>none failed</span>")
    if not progress.connected:
        words.append("<span>the server does not answer; trying again</span>")
    elif not progress.finished:
        if progress.state != "InProgress":
            words.append("<span>waiting for its turn</span>")
        if progress.rate:
            words.append(f"<span>{rate_text(progress.rate)} records/s</span>")
        if progress.seconds_left is not None:
            words.append(f"<span>{duration_text(progress.seconds_left)} left</span>")
        if progress.message:
            words.append(f"<span>{escape(progress.message)}</span>")
    spoken = escape(str(progress), quote=True)
    return (
        f'<style>{_STYLE}</style><div class="jp-mlserve-bar">'
        f'<div class="mls-track" role="progressbar" aria-label="Batch" aria-valuemin="0"'
        f' aria-valuemax="100" aria-valuenow="{share:.0f}" aria-valuetext="{spoken}">'
        f'<div class="mls-good" style="width:{good:.2f}%"></div>'
        f'<div class="mls-bad" style="width:{bad:.2f}%"></div></div>'
        f'<div class="mls-numbers">{"".join(words)}</div></div>'
    )


class View:
    """Says nothing: a log, or ``--quiet``. Base of the others."""

    cancelled = False

    def open(self, batch: Batch, heading: Card) -> None:
        """The batch is started."""

    def show(self, progress: Progress) -> None:
        """It has come so far."""

    def close(self, card: Card | None) -> None:
        """It is not watched any more; the card stays in its place."""


class TerminalView(View):
    """One line of standard error that changes; the card is printed below it."""

    def __init__(self) -> None:
        from ..client.batch_waiting import Line

        self._line = Line()

    def show(self, progress: Progress) -> None:
        self._line.show(progress)

    def close(self, card: Card | None) -> None:
        self._line.end()
        if card is not None:
            from IPython.display import display

            display(card)


class NotebookView(View):
    """HTML and a widget. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self.cancelled = False
        self._heading: Any = None
        self._place: Any = None
        self._box: Any = None
        self._bar: Any = None
        self._button: Any = None
        self._sure = float("-inf")
        self._last = float("-inf")
        self._batch: Batch | None = None
        self._lock = threading.Lock()

    def open(self, batch: Batch, heading: Card) -> None:
        import ipywidgets
        from IPython.display import display

        self._batch = batch
        self._bar = ipywidgets.HTML(layout=ipywidgets.Layout(flex="1 1 auto", min_width="0"))
        self._button = ipywidgets.Button(
            description="Cancel",
            tooltip="Stop this batch, and delete it with its results",
            layout=ipywidgets.Layout(width="auto", min_width="7em", flex="0 0 auto"),
        )
        self._button.on_click(self._clicked)
        self._box = ipywidgets.HBox(
            [self._bar, self._button],
            layout=ipywidgets.Layout(max_width="58rem", align_items="flex-start"),
        )
        self._box.layout.grid_gap = "16px"
        self._heading = display(heading._repr_mimebundle_(), raw=True, display_id=True)
        bundle = self._box._repr_mimebundle_()
        bundle["text/plain"] = f"Batch {batch.execution_id}: its progress is shown by a widget."
        self._place = display(bundle, raw=True, display_id=True)
        _let_clicks_in(self._button)

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last < _BETWEEN and not progress.finished:
            return
        self._last = now
        if self._bar is not None:
            self._bar.value = bar_html(progress)
            if now - self._sure > _SURE and self._sure > 0:
                self._ask(False)

    def close(self, card: Card | None) -> None:
        with self._lock:
            box, self._box = self._box, None
        if box is None:
            return
        shown = {"text/plain": "", "text/html": ""} if card is None else card._repr_mimebundle_()
        self._place.update({"text/plain": "", "text/html": ""}, raw=True)
        self._heading.update(shown, raw=True)
        for widget in (self._bar, self._button, box):
            widget.close()

    def _ask(self, asking: bool) -> None:
        self._sure = time.monotonic() if asking else float("-inf")
        self._button.description = "Stop and delete it?" if asking else "Cancel"
        self._button.button_style = "danger" if asking else ""
        self._button.style.text_color = "white" if asking else None

    def _clicked(self, _: Any) -> None:
        """The first click asks, the second one cancels."""
        if time.monotonic() - self._sure > _SURE:
            self._ask(True)
            return
        self.cancelled = True
        self._button.disabled = True
        self._button.description = "Cancelling…"
        assert self._batch is not None
        try:
            self._batch.cancel()
        except Exception as error:
            self.cancelled = False
            self._button.disabled = False
            self._button.description = "Cancel"
            self._button.tooltip = f"It could not be cancelled: {error}"


def _let_clicks_in(button: Any) -> None:
    """Let a click be heard while the cell that shows the button runs.

    JupyterLab (from 4.4 on) sends it to a subshell of the kernel, a thread of its own. ipykernel
    (7.4) would bring it back to the thread that made the button, which is busy watching the
    batch, and the click would wait for its end; unless it does not remember which one that was.
    Elsewhere a click waits: interrupting the cell is then the way, and its card says how to cancel.
    """
    with contextlib.suppress(AttributeError, TypeError):
        vars(button.comm).pop("_reply_subshell_id", None)


def view_for(shell: Any, *, quiet: bool = False) -> View:
    if quiet:
        return View()
    if getattr(shell, "kernel", None) is not None:
        return NotebookView()
    return TerminalView() if sys.stderr.isatty() else LogView()


class LogView(View):
    """Only the card at the end."""

    def close(self, card: Card | None) -> None:
        if card is not None:
            from IPython.display import display

            display(card)
