"""Cells of a real IPython shell."""

from __future__ import annotations

from typing import Any

import pytest
from support.capturing import Kernel, checked, item, status
from support.notebook import Notebook

from jupyter_mlserve.notebook.capture import Capture, CaptureOptions, capture_cell


def capture(notebook: Notebook, cell: str, **options: Any) -> Capture:
    source = notebook.shell.transform_cell(cell)
    return checked(capture_cell(source, notebook.names, CaptureOptions(written=cell, **options)))


def test_definitions_of_cells_travel_as_source(notebook: Notebook, kernel: Kernel) -> None:
    notebook("import math")
    notebook("%time k = 2\ndef helper(v):\n    return math.floor(v) + Config.rate\n")
    notebook("class Config:\n    rate = 1\n")
    notebook("class Config:\n    rate = 2\n")
    notebook("class Other:\n    rate = 3\n")
    notebook("class Model:\n    def go(self, v):\n        return helper(v)\nmodel = Model()\n")
    found = capture(notebook, "y = model.go(x)\n", inputs="x: float", outputs="y: float")
    assert kernel.call(found, {"x": 2.5}) == [{"y": 4.0}]
    assert {item(found, name).kind for name in ("helper", "Config", "Model")} == {"source"}
    # The first text is run again: it is the last that ran, though IPython knows it longer.
    notebook("class Config:\n    rate = 1\n")
    found = capture(notebook, "y = model.go(x)\n", inputs="x: float", outputs="y: float")
    assert kernel.call(found, {"x": 2.5}) == [{"y": 3.0}]


@pytest.mark.parametrize("name", ["get_ipython", "display", "In", "Out", "_", "_ih", "exit"])
def test_parts_of_ipython_are_refused(notebook: Notebook, name: str) -> None:
    notebook("1 + 1")
    found = capture(notebook, f"y = len(str({name}))\n", inputs=[], outputs="y: float")
    assert status(found) == {name: "refused"}
    assert item(found, name).advice


def test_magics_and_shell_commands_in_the_cell_are_refused(notebook: Notebook) -> None:
    found = capture(notebook, "!ls\ny = 1\n", inputs=[], outputs="y: float")
    assert "shell commands" in item(found, "get_ipython").advice
    assert found.body["mlserve"]["source"] == "!ls\ny = 1\n"


def test_ipythons_open_is_pythons(notebook: Notebook) -> None:
    found = capture(notebook, "y = len(open('t.txt').read())\n", inputs=[], outputs="y: float")
    assert status(found) == {}


def test_the_authors_own_name_for_what_ipython_has_too(notebook: Notebook) -> None:
    notebook("def display(v):\n    return v\ndef _(text):\n    return text\n")
    found = capture(notebook, "y = display(_('a'))\n", inputs=[], outputs="y: str")
    assert set(status(found).values()) == {"captured"}
