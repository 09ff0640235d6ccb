"""Inputs and outputs: what is found, what is odd, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from support.capturing import Kernel

from jupyter_mlserve.contract.errors import InvalidDefinition
from jupyter_mlserve.contract.types import params_to_text
from jupyter_mlserve.notebook.capture import Capture


def interface(capture: Capture) -> str:
    body = capture.body
    return (
        params_to_text(body["inputParameterDefinitions"])
        + " -> "
        + params_to_text(body["outputParameterDefinitions"])
    )


def inner(head: str, body: str = "return x") -> str:
    return f"def f({head}:\n    {body}\n"


# The head of a function, and its interface.
HEADS = {
    "x: float) -> float": "x: float -> answer: float",
    "x: int, y: str = 'a') -> bool": "x: int, y: str = 'a' -> answer: bool",
    "x: float | None = None) -> list": "x: float? -> answer: list",
    "x: 'float', *, y: dict) -> 'DataFrame'": "x: float, y: dict -> answer: DataFrame",
    "x=2.5, y='a', z=True, n=3) -> dict": (
        "x: float = 2.5, y: str = 'a', z: bool = True, n: float = 3 -> answer: dict"
    ),
    "x: np.ndarray, *args, **kwargs) -> np.float64": "x: numpy.array -> answer: float",
    "x: float, y: 'DataFrame[a: float]' = None) -> None": ("x: float, y: DataFrame[a: float]? -> "),
    "x: dt.datetime, /) -> bytes": "x: datetime -> answer: bytes",
    "x: Record) -> Two": "x: dict -> low: float, name: str",
}


# What classes of the notebook are is known only when the cell has run.
RUNS = [(head, run) for head in HEADS for run in (True, False) if run or "Record" not in head]


@pytest.mark.parametrize(("head", "run"), RUNS)
def test_interfaces_of_functions(kernel: Kernel, head: str, run: bool) -> None:
    kernel(
        "import numpy as np, datetime as dt, typing\n"
        "class Record(typing.TypedDict):\n    a: float\n"
        "class Two(typing.NamedTuple):\n    low: float\n    name: str\n"
    )
    capture = kernel.capture(inner(head, "return locals()"), run=run)
    assert interface(capture) == HEADS[head]


def test_the_declaration_wins_and_contradictions_are_told(kernel: Kernel) -> None:
    capture = kernel.capture(
        "def f(b: str, a: int, c: float = 1.5) -> float:\n    return a + c\n",
        inputs="a: float, b: int, c: float",
        outputs="total: DataFrame",
    )
    assert interface(capture) == "b: int, a: float, c: float = 1.5 -> total: DataFrame"
    assert capture.warnings == [
        "The input 'b' is declared as int, and annotated as str: the declaration counts.",
        "The input 'b' is never used by f.",
        "The output 'total' is declared as DataFrame, and annotated as float: "
        "the declaration counts.",
    ]


@pytest.mark.parametrize(
    ("cell", "options", "complaint"),
    [
        (inner("x, y) -> float"), {}, r"types of x and y are not known.*f\(x: float, y: float\)"),
        (inner("x=None) -> float"), {"inputs": "z: float"}, "'z' is declared, but f has no such"),
        (inner("x, y) -> float"), {"inputs": "x: float"}, "needs the argument 'y'"),
        (inner("x: complex) -> float"), {}, "'complex' is not a type.*-i"),
        (inner("x: float)"), {}, "What f returns is not known.*-> float.*-o"),
        (inner("x: float) -> complex"), {}, "'complex' is not a type.*-o"),
        (inner("x: float) -> int", "yield x"), {}, "f is a generator"),
        (
            inner("x: float)", "return x, x"),
            {"outputs": "a: float, b: float, c: float"},
            "never returns the 3 declared outputs",
        ),
        ("y = x\n", {"outputs": "y: float"}, 'reads x, which is neither.*-i "x: float"'),
        ("y = 1\n", {"inputs": "x: float", "outputs": "z: float"}, "'z' is declared, and no line"),
        ("y = 1\nprint(y)\n", {"inputs": []}, "its last line does not show it"),
        ("y = 1\ny.attr = 2\n", {"inputs": []}, "its last line does not show it"),
        ("y = 1\n", {"inputs": []}, "the code was not run here"),
        ("y = 1\n", {"function": "f"}, "does not define the function 'f'"),
        ("y = 1\n", {"form": "function"}, "defines no function"),
        ("y = 1\n", {"form": "script", "function": "f"}, "Leave out one"),
        ("", {}, "The cell has no code"),
        ("# only a comment\n", {"outputs": "y: float"}, "The cell has no code"),
        ("y = (1\n", {}, r"Line 1 is not valid Python \('\(' was never closed\)"),
        ("%magic\ny = 1\n", {}, "Line 1 is not valid Python"),
        ("return 1\n", {}, "'return' outside function"),
        ("y = 1\n", {"outputs": "y: float", "objects": ["gone"]}, "no variable 'gone'"),
        ("y = 1\n", {"outputs": "y: float", "init": "z ="}, "not valid Python"),
        (inner("x: float) -> float"), {"sample": {"x": "a"}}, "sample.x"),
        (inner("x: float) -> float"), {"sample": {"x": 1, "z": 1}}, "'z' is not an input"),
        (inner("x: dict) -> float"), {"sample": {"x": {"a": {1}}}}, "sample"),
    ],
)
def test_what_cannot_be(kernel: Kernel, cell: str, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidDefinition, match=complaint) as caught:
        kernel.capture(cell, **options)
    assert caught.value.field


RETURNS = {
    "return 1.0, 2.0": [],
    "return {'a': 1, 'b': 2}": [],
    "return make(x)": [],
    "if x:\n        return 1, 2, 3\n    return x, x": [
        "f returns 3 values, and 2 outputs are declared."
    ],
    "if x:\n        return {'a': 1}\n    return x, x": [
        "f returns a dict without the declared output b."
    ],
    "if x:\n        return 'text'\n    return x, x": [
        "f returns one value, and 2 outputs are declared: return a tuple, or a dict by name."
    ],
    "print(x)": ["f returns nothing: a and b will be null."],
    "def g():\n        return 1, 2, 3\n    return g()": [],
}


@pytest.mark.parametrize("body", RETURNS)
def test_several_outputs_are_compared_with_what_is_returned(kernel: Kernel, body: str) -> None:
    kernel("def make(v):\n    return v, v\n")
    body = f"print(x)\n    {body}"
    capture = kernel.capture(inner("x: float)", body), outputs="a: float, b: float")
    assert capture.warnings == RETURNS[body.partition("    ")[2]]


def test_an_argument_that_is_not_declared_keeps_its_default(kernel: Kernel) -> None:
    capture = kernel.capture(
        "def f(x: float, y: float = 2.0, z=open) -> float:\n    return x + y + len([z])\n",
        inputs="x: float",
    )
    assert "'y' of f is not declared as an input" in capture.warnings[0]
    assert kernel.call(capture, {"x": 1}) == [{"answer": 4.0}]
    capture = kernel.capture(
        "def f(x: float, z: float = hash) -> float:\n    return x + len([z])\n", run=True
    )
    assert interface(capture) == "x: float -> answer: float"
    assert "no JSON value" in capture.warnings[0]
    assert kernel.call(capture, {"x": 1}) == [{"answer": 2.0}]


def test_keyword_arguments_take_what_is_declared(kernel: Kernel) -> None:
    capture = kernel.capture(
        "def f(x: float, **rest) -> float:\n    return x + sum(rest.values())\n",
        inputs="y: float, x: float",
    )
    assert kernel.call(capture, {"x": 1, "y": 2}) == [{"answer": 3.0}]


def test_a_cell_that_changed_since_it_ran_is_read_from_its_text(kernel: Kernel) -> None:
    kernel("def f(x: float) -> float:\n    return x\n")
    capture = kernel.capture("def f(x: int, y: int) -> int:\n    return x + y\n")
    assert interface(capture) == "x: int, y: int -> answer: int"


def test_inputs_of_a_script(kernel: Kernel) -> None:
    kernel("hp = 120\nRATE = 2.0\ndef helper():\n    return wt\n")
    capture = kernel.capture(
        "y = hp + RATE + helper()\n", inputs="hp: float, wt: float, no: str", outputs="y: float"
    )
    assert capture.warnings == ["The input 'no' is never used by the code."]
    assert kernel.call(capture, {"hp": 1, "wt": 2, "no": ""}) == [{"y": 5.0}]
    capture = kernel.capture("hp = 2\ny = hp\n", inputs="hp: float", outputs="y: float")
    assert capture.warnings == ["The input 'hp' is overwritten before the code reads it."]
    capture = kernel.capture("y = hp * RATE\n", outputs="y: float")
    assert interface(capture) == " -> y: float"
    assert '-i "hp: float"' in capture.warnings[0]
    assert "RATE" not in capture.warnings[0]
    capture = kernel.capture("y = hp * RATE\n", inputs=[], outputs="y: float")
    assert capture.warnings == []


def test_the_sample_tells_types(kernel: Kernel) -> None:
    kernel("import pandas as pd\nhp = 1\n")
    sample = {"hp": 120, "name": "a", "df": None}
    sample["df"] = kernel.names["pd"].DataFrame({"n": [1], "s": ["a"]})
    capture = kernel.capture("y = hp + len(name) + len(df)\n", sample=sample, outputs="y: float")
    assert interface(capture) == "hp: float, name: str, df: DataFrame[n: int, s: str] -> y: float"
    assert "taken from the sample" in capture.warnings[0]
    assert capture.body["mlserve"]["sample"] == {
        "hp": 120,
        "name": "a",
        "df": {"n": [1], "s": ["a"]},
    }
    capture = kernel.capture(
        "def f(hp, df: pd.DataFrame, k=1) -> float:\n    return hp + len(df) + k\n",
        sample={"hp": 1.5, "df": sample["df"]},
    )
    assert interface(capture) == (
        "hp: float, df: DataFrame[n: int, s: str], k: float = 1 -> answer: float"
    )


@pytest.mark.parametrize(
    ("cell", "outputs"),
    [
        ("a = 1\nb = a + 1\n", "b: float"),
        ("b = [1]\nb += [2]\n", "b: list"),
        ("a, (b) = 1.5, 'x'\n", "a: float, b: str"),
        ("b = {}\nb\n", "b: dict"),
        ("a = True\nb = 'x'\na, b\n", "a: bool, b: str"),
        ("import pandas as pd\nb = pd.DataFrame({'n': [1]})\n", "b: DataFrame"),
        ("import numpy as np\nb = np.eye(2)\n", "b: numpy.matrix"),
    ],
)
def test_outputs_of_a_script_are_what_its_last_statement_shows(
    kernel: Kernel, cell: str, outputs: str
) -> None:
    capture = kernel.capture(cell, run=True, inputs=[])
    assert interface(capture) == f" -> {outputs}"


def test_an_annotation_declares_an_output_of_a_script(kernel: Kernel) -> None:
    capture = kernel.capture("y: float = x * 2\n", inputs="x: float")
    assert interface(capture) == "x: float -> y: float"


def test_outputs_that_are_declared(kernel: Kernel) -> None:
    kernel("held = 3.0\n")
    capture = kernel.capture("y = x\n", inputs="x: float", outputs="y: float, held: float, x: int")
    assert capture.warnings == [
        "The output 'held' is never assigned by the code: every call would return the value it "
        "has now."
    ]
    assert kernel.call(capture, {"x": 1}) == [{"y": 1.0, "held": 3.0, "x": 1}]
    capture = kernel.capture("if x:\n    y = 1\n", inputs="x: float", outputs="y: float")
    assert capture.warnings == ["The output 'y' is not assigned on every path of the code."]
    capture = kernel.capture("open('a.txt', 'w').close()\n", inputs=[], artifacts=["a.txt"])
    assert interface(capture) == " -> "


def test_names_in_eval_are_not_seen(kernel: Kernel) -> None:
    kernel("hidden = 3.0\n")
    capture = kernel.capture(
        "y = eval('hidden')\n", inputs=[], outputs="y: float", objects=["hidden"]
    )
    assert capture.warnings == [
        "the code calls eval: names used only in there are not seen. Name them with --object."
    ]
    assert kernel.call(capture, {}) == [{"y": 3.0}]


def test_an_undefined_name_of_a_helper_is_a_warning(kernel: Kernel) -> None:
    kernel("def helper(v):\n    return v if v else not_defined_anywhere\n")
    capture = kernel.capture("y = helper(x)\n", inputs="x: float", outputs="y: float")
    assert capture.warnings == ["helper reads not_defined_anywhere, which is not defined."]


def test_training_data_that_the_cell_reads_when_it_loads_is_told(kernel: Kernel) -> None:
    kernel("cars = list(range(600_000))\n")
    capture = kernel.capture(
        "top = max(cars)\ndef f(x: float) -> float:\n    return x * top\n", run=True
    )
    assert "because line 1 of the cell reads it whenever a worker starts" in capture.warnings[0]


def test_values_by_name_come_before_the_notebooks(kernel: Kernel) -> None:
    kernel("def helper(v):\n    return v * model['a']\nmodel = {'a': 1.0}\nunused = [1]\n")
    given = {"model": {"a": 5.0}, "unused": [2]}
    from jupyter_mlserve.notebook.capture import CaptureOptions, capture_cell, capture_function

    options = CaptureOptions(inputs="x: float", outputs="y: float", objects=set(given))
    capture = capture_cell("y = helper(x)\n", given, options)
    assert kernel.call(capture, {"x": 2}) == [{"y": 10.0}]
    assert [each["name"] for each in capture.body["mlserve"]["objects"]] == ["model", "unused"]
    options = CaptureOptions(inputs="v: float", outputs="y: float")
    capture = capture_function(kernel.names["helper"], "extra = 1\n", given, options)
    assert capture.body["initCode"] == "extra = 1\n"
    assert kernel.call(capture, {"v": 2}) == [{"y": 10.0}]


def test_only_objects_can_be_packed(kernel: Kernel) -> None:
    from jupyter_mlserve.notebook.capture import CaptureOptions, capture_cell

    options = CaptureOptions(inputs=[], outputs=[], form="script", objects={"model"})
    capture = capture_cell("", {"model": [1]}, options)
    assert [each["name"] for each in capture.body["mlserve"]["objects"]] == ["model"]


def test_what_is_no_function_is_refused(kernel: Kernel) -> None:
    for thing in (3, dict):
        with pytest.raises(InvalidDefinition, match="must be a function"):
            kernel.capture_function(thing)
