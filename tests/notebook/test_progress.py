"""The line of progress outside of notebooks. (In a notebook: test_publish.py, in a kernel.)"""

from __future__ import annotations

from io import StringIO

import pytest
from IPython.core.interactiveshell import InteractiveShell

from jupyter_mlserve.notebook.describe import elapsed_text
from jupyter_mlserve.notebook.progress import Progress


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_that_is_wiped(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    progress = Progress(shell)
    progress.show("Publishing A: 1 MB of 2 MB sent", 0.5)
    progress.show("not shown, too soon after", 0.6)
    progress.show("short", force=True)
    progress.finish()
    first, second, last = terminal.getvalue().split("\r")[1:4]
    assert first == "Publishing A: 1 MB of 2 MB sent 50%"
    assert second.rstrip() == "short"
    assert len(second) == len(first)
    assert last.strip() == ""
    assert "\n" not in terminal.getvalue()


def test_seconds_are_whole_and_nothing_is_said_twice(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    progress = Progress(shell)
    for seconds in (1.0, 1.2, 1.4, 2.0, 61.0):
        progress.show(f"({elapsed_text(seconds)})", force=True)
    said = [line.strip() for line in terminal.getvalue().split("\r") if line.strip()]
    assert said == ["(1 s)", "(2 s)", "(1 min 1 s)"]


def test_a_log_gets_nothing(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    log = StringIO()
    monkeypatch.setattr("sys.stderr", log)
    progress = Progress(shell)
    progress.show("Publishing A")
    progress.finish("Failed after 1 s.")
    assert log.getvalue() == ""


def test_what_was_never_shown_is_not_finished(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    Progress(shell).finish("Failed after 0.1 s.")
    assert terminal.getvalue() == ""
