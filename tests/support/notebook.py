"""A real IPython shell in the test process, used as a notebook: run cells, see what people see."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output


@dataclass
class Ran:
    """What running a cell gave: its result, what was printed and displayed, and its error."""

    result: Any
    error: BaseException | None
    printed: str
    complained: str
    displayed: list[RichOutput] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything a person would see of it."""
        return "\n".join((self.printed, self.complained, *map(repr, self.displayed)))


class Notebook:
    """Runs cells in a shell as a notebook would."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    @property
    def names(self) -> dict[str, Any]:
        return self.shell.user_ns

    def run(self, cell: str, cell_id: str | None = None) -> Ran:
        """Run a cell that may fail."""
        out, err = StringIO(), StringIO()
        with (
            capture_output(stdout=False, stderr=False, display=True) as shown,
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            result = self.shell.run_cell(cell, store_history=True, cell_id=cell_id)
        error = result.error_before_exec or result.error_in_exec
        return Ran(result.result, error, out.getvalue(), err.getvalue(), list(shown.outputs))

    def __call__(self, cell: str, cell_id: str | None = None) -> Any:
        """Run a cell that must not fail; its result."""
        ran = self.run(cell, cell_id)
        assert ran.error is None, ran.text
        return ran.result

    def fails(self, cell: str) -> str:
        """Run a cell that must fail; what the person sees of it."""
        ran = self.run(cell)
        assert ran.error is not None, f"did not fail:\n{cell}\n{ran.text}"
        return ran.text.strip()
