"""Run a notebook headlessly, cell by cell, with nbclient, and say how it goes."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
OUTPUT_LINES = 16
LINE_WIDTH = 240


class CellFailed(Exception):
    """A cell raised. ``number`` counts all cells of the notebook from 1."""

    def __init__(self, number: int, source: str, error: str, traceback: str) -> None:
        super().__init__(f"cell {number} failed: {error}")
        self.number = number
        self.source = source
        self.error = error
        self.traceback = traceback


@dataclass
class Progress:
    """Writes one line per cell to ``stream``, and what it gave back if ``outputs`` is set."""

    stream: TextIO
    outputs: bool = False

    def heading(self, text: str) -> None:
        if self.outputs:
            self.stream.write(f"\n{text}\n")
            self.stream.flush()

    def cell(self, number: int, total: int, cell: Any, seconds: float) -> None:
        width = len(str(total))
        self.stream.write(
            f"  [{number:{width}}/{total}] {title_of(cell.source)}  {seconds:.1f} s\n"
        )
        if self.outputs:
            for line in output_lines(cell.outputs):
                self.stream.write(f"      {line}\n")
        self.stream.flush()


def load(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, as_version=4)


def run_cells(nb: Any, client: Any, progress: Progress, save: Callable[[], None]) -> int:
    """Execute the cells with a prepared ``nbclient.NotebookClient`` in its kernel.

    ``save`` is called at the end, also when a cell failed, so that the outputs are there to look
    at. Returns the number of code cells that ran; raises CellFailed.
    """
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    total = len(nb.cells)
    client.reset_execution_trackers()
    try:
        for index, cell in enumerate(nb.cells):
            if cell.cell_type == "markdown":
                for heading in headings(cell.source):
                    progress.heading(heading)
                continue
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            started = time.monotonic()
            try:
                client.execute_cell(cell, index, execution_count=client.code_cells_executed + 1)
            except CellControlSignal as error:
                raise CellFailed(index + 1, cell.source, *failure_of(cell, error)) from None
            except DeadKernelError:
                text = "the kernel died (out of memory, or killed?)"
                raise CellFailed(index + 1, cell.source, text, "") from None
            progress.cell(index + 1, total, cell, time.monotonic() - started)
    finally:
        client.set_widgets_metadata()
        save()
    return int(client.code_cells_executed)


def failure_of(cell: Any, error: Exception) -> tuple[str, str]:
    """One line; and what the cell showed, with the author's traceback. A usage error of a magic
    has no traceback: what it printed is all there is to say."""
    name = getattr(error, "ename", type(error).__name__)
    said = str(getattr(error, "evalue", error)).strip().splitlines() or [""]
    line = f"{name}: {said[0]}"
    for output in cell.outputs:
        if output.output_type == "error":
            shown = [o.data.get("text/plain", "") for o in cell.outputs if "data" in o]
            return line, "\n".join([*shown, *output.traceback])
    printed = [o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
    return line, "".join(printed).rstrip()


def title_of(source: str) -> str:
    """The line of a cell that says most: its magic, else its first comment or line."""
    lines = [line.strip() for line in source.strip().splitlines() if line.strip()]
    return short(lines[0] if lines else "", 72)


def headings(source: str) -> list[str]:
    return [line.lstrip("#").strip() for line in source.splitlines() if re.match(r"#{1,3} ", line)]


def output_lines(outputs: list[Any]) -> list[str]:
    """The outputs of a cell as text, long ones cut."""
    lines: list[str] = []
    for output in outputs:
        if output.output_type == "stream":
            text = output.text
        elif output.output_type == "error":
            text = f"{output.ename}: {output.evalue}"
        else:
            text = output.data.get("text/plain", "")
        found = [short(line, LINE_WIDTH) for line in plain(text).rstrip().splitlines()]
        if len(found) > OUTPUT_LINES:
            rest = len(found) - OUTPUT_LINES + 1
            found = [*found[: OUTPUT_LINES - 1], f"… {rest} more lines"]
        lines += found
    return lines


def short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def plain(text: str) -> str:
    return ANSI.sub("", text)


def colours(text: str, stream: TextIO = sys.stderr) -> str:
    """Tracebacks keep their colours on a terminal only."""
    return text if stream.isatty() else plain(text)
