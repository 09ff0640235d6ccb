"""Captures that must work: each runs in a fresh process and answers as the notebook does."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import support.capturing
from support.capturing import Kernel, item, prelude, status

import jupyter_mlserve
from jupyter_mlserve.notebook.capture import Capture

NUMBER = {"inputs": "x: float", "outputs": "y: float"}


def test_a_script_brings_functions_classes_constants_and_objects(kernel: Kernel) -> None:
    kernel("import math\nfrom os.path import join as joined\nSCALE = 2.5\nlimits = {'top': [1, 2]}")
    kernel(
        "def helper(v):\n    return other(v) * SCALE\n"
        "def other(v):\n    return math.floor(v) if v > 0 else helper(-v)\n"
    )
    kernel(
        "class Base:\n    k = 1\n"
        "class Step(Base):\n"
        "    def __init__(self, n):\n        self.n = n\n"
        "    def go(self, v):\n        return helper(v) + self.n + self.k\n"
        "step = Step(3)\n"
    )
    capture = kernel.capture("y = step.go(x) + limits['top'][1]\np = joined('a', 'b')\n", **NUMBER)
    assert kernel.call(capture, {"x": 2.5}, {"x": -4}) == [{"y": 11.0}, {"y": 31.0}]
    assert set(status(capture).values()) == {"captured"}
    assert set(status(capture)) == {
        *("math", "joined", "SCALE", "limits", "helper", "other", "Base", "Step", "step")
    }
    steps = prelude(capture)
    assert steps[0] == "from posixpath import join as joined"
    assert steps.index("class Base:\n    k = 1") < steps.index("step")
    assert item(capture, "limits").type == "dict"
    sizes = {each["name"]: each["size"] for each in capture.body["mlserve"]["objects"]}
    assert sizes == {"limits": item(capture, "limits").size, "step": item(capture, "step").size}
    assert sorted(sizes.values()) == sorted(len(blob) for blob in capture.blobs.values())


def test_a_notebook_variable_that_the_code_replaces_first_stays(kernel: Kernel) -> None:
    kernel("train = list(range(100000))\ntable = [1.0, 2.0]\nrows = 7")
    capture = kernel.capture(
        "rows = x\nfor value in table:\n    rows += value\ntable = table[:1]\n"
        "y = rows + len(table)\n",
        **NUMBER,
    )
    assert set(status(capture)) == {"table"}
    assert kernel.call(capture, {"x": 1}, {"x": 2}) == [{"y": 5.0}, {"y": 6.0}]


def test_a_function_cell_is_called_by_its_signature(kernel: Kernel) -> None:
    kernel("import math\nfactor = {'a': 2.0}")
    capture = kernel.capture(
        "def helper(v):\n    return v * factor['a']\n\n"
        "def area(r: float, n: int = 2) -> float:\n"
        '    """Area of a circle.\n\n    Times n.\n    """\n'
        "    return math.pi * helper(r) * n\n",
        run=True,
    )
    own = capture.body["mlserve"]
    assert (own["form"], own["function"]) == ("function", "area")
    assert capture.body["inputParameterDefinitions"] == [
        {"name": "r", "type": "numeric"},
        {"name": "n", "type": "integer", "optional": True, "default": 2},
    ]
    assert capture.body["outputParameterDefinitions"] == [{"name": "answer", "type": "numeric"}]
    assert capture.body["description"] == "Area of a circle.\n\nTimes n."
    (one, two) = kernel.call(capture, {"r": 1}, {"r": 1, "n": 1})
    assert one["answer"] == pytest.approx(12.566370614359172)
    assert two["answer"] == pytest.approx(6.283185307179586)
    assert set(status(capture)) == {"math", "factor"}


def test_a_function_nobody_calls_brings_nothing(kernel: Kernel) -> None:
    kernel("cars = [1.0] * 100000\nmodel = [3.0]")
    capture = kernel.capture(
        "def train():\n    return sum(cars)\n\n"
        "def predict(x: float) -> float:\n    return x * model[0]\n",
        run=True,
    )
    assert status(capture) == {"model": "captured"}
    assert kernel.call(capture, {"x": 2.0}) == [{"answer": 6.0}]


def test_several_outputs_come_by_tuple_or_dict(kernel: Kernel) -> None:
    code = "def split(x: float):\n    return {}\n"
    for text in ("x + 1, 'a'", "{'low': x + 1, 'name': 'a'}"):
        capture = kernel.capture(code.format(text), outputs="low: float, name: str")
        assert kernel.call(capture, {"x": 1}) == [{"low": 2.0, "name": "a"}]
        assert capture.warnings == []


def test_async_functions_and_top_level_await(kernel: Kernel) -> None:
    kernel("import asyncio\nasync def later(v):\n    await asyncio.sleep(0)\n    return v + 1\n")
    capture = kernel.capture("async def f(x: float) -> float:\n    return await later(x)\n")
    assert kernel.call(capture, {"x": 1}) == [{"answer": 2.0}]
    capture = kernel.capture("y = await later(x)\n", **NUMBER)
    assert kernel.call(capture, {"x": 1}) == [{"y": 2.0}]


def test_closures_lambdas_and_functions_without_source_travel_by_value(kernel: Kernel) -> None:
    kernel(
        "K = 10\n"
        "def helper(v):\n    return v + K\n"
        "def make(n):\n"
        "    count = [0]\n"
        "    def inner(v):\n"
        "        count[0] += 1\n"
        "        return helper(v) + n + count[0] + (inner(v - 1) if v > 1 else 0)\n"
        "    return inner\n"
        "closure = make(3)\n"
        "pair = [lambda v: helper(v) * 2, None]\n"
        "exec('def bare(v):\\n    return helper(v) + other_bare(v)')\n"
        "exec('def other_bare(v):\\n    return K if v < 1 else bare(v - 1)')\n"
    )
    code = "y = closure(x) + pair[0](x) + bare(x)\n"
    kernel("x = 2.0\n")
    expected = eval("closure(x) + pair[0](x) + bare(x)", kernel.names)
    kernel("closure = make(3)\n")
    capture = kernel.capture(code, **NUMBER)
    assert kernel.call(capture, {"x": 2.0}) == [{"y": expected}]
    assert item(capture, "closure").reason.startswith("by value")
    assert item(capture, "helper").kind == "source"
    assert status(capture).keys() == {"closure", "pair", "bare", "other_bare", "helper", "K", "x"}


def test_functions_by_value_see_the_inputs_of_the_call(kernel: Kernel) -> None:
    kernel(
        "rate = 1.0\ndef make():\n    secret_sauce = 2\n"
        "    def inner():\n        return rate * secret_sauce\n    return inner\n"
        "by_value = make()\ndef by_source():\n    return rate\n"
    )
    capture = kernel.capture(
        "y = by_value() + by_source()\n", inputs="rate: float", outputs="y: float"
    )
    assert kernel.call(capture, {"rate": 5}) == [{"y": 15.0}]
    assert item(capture, "rate").status == "skipped"
    assert capture.warnings == []


def test_definition_time_needs_come_first_and_call_time_circles_are_fine(kernel: Kernel) -> None:
    kernel(
        "import functools\n"
        "REGISTRY = {}\n"
        "def note(name):\n    REGISTRY[name] = len(REGISTRY)\n"
        "def register(f):\n"
        "    note(f.__name__)\n"
        "    @functools.wraps(f)\n"
        "    def inner(*args):\n        return f(*args) + OFFSET\n"
        "    return inner\n"
        "OFFSET = 1\n"
        "def default():\n    return [OFFSET]\n"
        "START = default()\n"
    )
    kernel(
        "class Meta(type):\n"
        "    def __new__(cls, name, bases, body):\n"
        "        note(name)\n"
        "        return super().__new__(cls, name, bases, body)\n"
    )
    kernel(
        "class Even(metaclass=Meta):\n"
        "    first = START[0]\n"
        "    def check(self, n):\n        return True if n == 0 else Odd().check(n - 1)\n"
        "class Odd(metaclass=Meta):\n"
        "    def check(self, n):\n        return False if n == 0 else Even().check(n - 1)\n"
    )
    kernel("REGISTRY.clear()\n@register\ndef total(n, start=START):\n    return n + start[0]\n")
    kernel("even = Even()\n")
    capture = kernel.capture(
        "y = total(x) + even.check(int(x)) + even.first + len(REGISTRY)\n", **NUMBER
    )
    expected = kernel.names["total"](4) + 1 + 1
    answer = kernel.call(capture, {"x": 4})[0]["y"]
    assert answer - expected in (3, 4)  # how often note() ran while the prelude was made
    steps = prelude(capture)
    for earlier, later in (
        ("def note(name)", "class Meta(type)"),
        ("class Meta(type)", "class Even(metaclass=Meta)"),
        ("START", "class Even(metaclass=Meta)"),
        ("REGISTRY", "@register"),
        ("OFFSET = 1", "@register"),
        ("class Even(metaclass=Meta)", "even"),
        ("class Odd(metaclass=Meta)", "even"),
    ):
        at = [
            next(n for n, step in enumerate(steps) if step.startswith(part))
            for part in (earlier, later)
        ]
        assert at[0] < at[1], (earlier, later, steps)


def test_instances_of_notebook_classes_keep_their_class(kernel: Kernel) -> None:
    kernel(
        "import enum, dataclasses, typing, collections\n"
        "class Colour(enum.Enum):\n    RED = 1\n    BLUE = 2\n"
        "@dataclasses.dataclass\nclass Point:\n    a: float\n"
        "    b: list = dataclasses.field(default_factory=list)\n"
        "class Row(typing.NamedTuple):\n    p: Point\n    c: Colour\n"
        "Pair = collections.namedtuple('Pair', 'left right')\n"
        "class Outer:\n"
        "    class Inner:\n        def go(self):\n            return 7\n"
        "rows = [Row(Point(1.5, [1]), Colour.RED)]\n"
        "pair = Pair(Outer.Inner(), Outer)\n"
    )
    capture = kernel.capture(
        "(row,) = rows\n"
        "y = row.p.a + (row.c is Colour.RED) + isinstance(row.p, Point) + len(row.p.b)\n"
        "y += isinstance(row, Row) + isinstance(pair, Pair) + pair.left.go()\n"
        "y += isinstance(pair.left, pair.right.Inner)\n",
        inputs=[],
        outputs="y: float",
    )
    assert kernel.call(capture, {}) == [{"y": 1.5 + 1 + 1 + 1 + 1 + 1 + 7 + 1}]
    assert item(capture, "Pair").reason.startswith("by value")
    assert {item(capture, name).kind for name in ("Colour", "Point", "Row", "Outer")} == {"source"}


def test_a_class_that_was_changed_after_its_definition_travels_as_it_is(kernel: Kernel) -> None:
    kernel(
        "class Model:\n    rate = 1\n    def go(self, v):\n        return v\n"
        "class Child(Model):\n    def go(self, v):\n        return super().go(v) * self.rate\n"
    )
    kernel(
        "def replacement(self, v):\n    return v + 100\nModel.go = replacement\nChild.rate = 3\n"
    )
    kernel("model = Child()\n")
    capture = kernel.capture("y = model.go(x)\n", **NUMBER)
    assert kernel.call(capture, {"x": 1}) == [{"y": 303.0}]
    assert item(capture, "Model").reason.startswith("by value")


def test_changed_classes_that_dill_cannot_write_travel_as_their_text(kernel: Kernel) -> None:
    kernel(
        "import enum, typing\nfrom pydantic import BaseModel\n"
        "class Colour(enum.Enum):\n    RED = 1\n"
        "class Row(typing.NamedTuple):\n    a: int\n"
        "    def twice(self):\n        return 2 * self.a\n"
        "class In(BaseModel):\n    a: int\n"
        "for each in Colour, Row, In:\n    each.more = lambda self: 3\n"
        "held = [Colour.RED, Row(2), In(a=3)]\n"
    )
    capture = kernel.capture(
        "y = held[0].value + held[1].twice() + held[2].a + isinstance(held[2], In)\n"
        "y += (held[0] is Colour.RED) + isinstance(held[1], Row)\n",
        inputs=[],
        outputs="y: float",
    )
    assert kernel.call(capture, {}) == [{"y": 1 + 4 + 3 + 3}]
    assert len(capture.warnings) == 3
    assert all("changed after its definition" in text for text in capture.warnings)


def test_an_object_of_an_older_class_keeps_the_older_class(kernel: Kernel) -> None:
    kernel("class Model:\n    def go(self):\n        return 1\nmodel = Model()\n")
    kernel("class Model:\n    def go(self):\n        return 2\n")
    capture = kernel.capture("y = model.go() * 10 + Model().go()\n", inputs=[], outputs="y: float")
    assert kernel.call(capture, {}) == [{"y": 12.0}]
    assert any("defined again since" in text for text in capture.warnings)


def test_decorated_functions(kernel: Kernel) -> None:
    kernel(
        "import functools\n"
        "@functools.lru_cache(maxsize=None)\ndef slow(v):\n    return v * 2\n"
        "def plain(v):\n    return v + 1\n"
        "cached = functools.lru_cache(plain)\n"
        "plain2 = plain\n"
        "def twice(f):\n    def inner(v):\n        return f(f(v))\n    return inner\n"
        "@twice\ndef grow(v):\n    return v * 3\n"
        "half = functools.partial(lambda a, b: a / b, b=2)\n"
    )
    capture = kernel.capture("y = slow(x) + cached(x) + plain2(x) + grow(x) + half(x)\n", **NUMBER)
    assert kernel.call(capture, {"x": 2}) == [{"y": 4 + 3 + 3 + 18 + 1}]
    assert item(capture, "slow").kind == "source"
    assert item(capture, "grow").kind == "object"
    assert item(capture, "plain2").reason == "alias of plain"


def test_default_arguments_keep_the_value_of_their_definition(kernel: Kernel) -> None:
    kernel("SCALE = 2\ndef f(v, k=SCALE):\n    return v * k\nSCALE = 50\n")
    capture = kernel.capture("y = f(x)\n", **NUMBER)
    assert kernel.call(capture, {"x": 2}) == [{"y": 4.0}]


def test_one_object_under_two_names_travels_once(kernel: Kernel) -> None:
    kernel("model = list(range(1000))\nsame = model\n")
    capture = kernel.capture("y = float(model is same)\n", inputs=[], outputs="y: float")
    assert kernel.call(capture, {}) == [{"y": 1.0}]
    assert len(capture.blobs) == 1


def test_submodules_are_imported_as_the_code_uses_them(kernel: Kernel) -> None:
    kernel("import xml.etree.ElementTree\nimport os as system\nimport json.tool")
    capture = kernel.capture(
        "y = float(xml.etree.ElementTree.fromstring('<a>3</a>').text)\n"
        "z = system.path.join('a', 'b')\n",
        inputs=[],
        outputs="y: float, z: str",
    )
    assert kernel.call(capture, {}) == [{"y": 3.0, "z": "a/b"}]
    assert "import xml\nimport xml.etree\nimport xml.etree.ElementTree" in prelude(capture)


def test_annotations_do_not_hold_a_service_back(kernel: Kernel) -> None:
    kernel(
        "import threading, decimal, typing\n"
        "lock = threading.Lock()\n"
        "class Kind:\n    pass\n"
        "T = typing.TypeVar('T')\n"
        "def helper(v: decimal.Decimal, k: Kind = None, n: 'Unknown' = 1) -> T:\n    return v + n\n"
        "def odd(v: lock) -> 'lock':\n    return v\n"
    )
    capture = kernel.capture("y = helper(x) + odd(x)\n", **NUMBER)
    assert kernel.call(capture, {"x": 2}) == [{"y": 5.0}]
    assert "lock" not in {each.name for each in capture.refused}
    assert item(capture, "decimal").status == "captured"
    assert item(capture, "Kind").status == "captured"


def test_future_annotations_stay_unevaluated(kernel: Kernel) -> None:
    kernel(
        "from __future__ import annotations\n"
        "import dataclasses\n"
        "def helper(v: Nothing) -> Nowhere:\n    return v\n"
        "@dataclasses.dataclass\nclass P:\n    a: Nothing\n"
    )
    capture = kernel.capture("y = helper(x) + P(1).a\n", **NUMBER)
    assert kernel.call(capture, {"x": 2}) == [{"y": 3.0}]


def test_init_runs_once_and_provides_names(kernel: Kernel) -> None:
    kernel("base = [10]\n")
    capture = kernel.capture(
        "counter.append(1)\ny = x + counter[0] + len(counter)\n",
        init="counter = [base[0]]\n",
        **NUMBER,
    )
    assert kernel.call(capture, {"x": 1}, {"x": 1}) == [{"y": 13.0}, {"y": 14.0}]
    kernel("def prepare():\n    global table\n    table = {'k': base[0]}\n")
    capture = kernel.capture("y = x + table['k']\n", init=kernel.names["prepare"], **NUMBER)
    assert capture.body["initCode"].endswith("prepare()\n")
    assert kernel.call(capture, {"x": 1}) == [{"y": 11.0}]


def test_files_travel_and_can_be_modules(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    (kernel.folder / "mytools.py").write_text("import colorsys\ndef third(v):\n    return v / 3\n")
    (kernel.folder / "table.csv").write_text("a,b\n1,2\n")
    monkeypatch.syspath_prepend(str(kernel.folder))
    kernel("import mytools\nfrom mytools import third\n")
    code = "y = mytools.third(x) + third(x) + len(open('table.csv').readlines())\n"
    refused = kernel.capture(code, files=["table.csv"], **NUMBER).refused
    assert {each.name for each in refused} == {"mytools", "third"}
    assert all(each.advice == "Send it along: --file mytools.py" for each in refused)
    capture = kernel.capture(code, files=["table.csv", "mytools.py"], **NUMBER)
    assert kernel.call(capture, {"x": 3}) == [{"y": 4.0}]
    assert [file["name"] for file in capture.body["mlserve"]["files"]] == [
        "table.csv",
        "mytools.py",
    ]


def test_a_function_of_a_script(kernel: Kernel) -> None:
    names = kernel(
        "import math\nbase = [1.0]\n"
        "def main():\n"
        "    def nested(x: float) -> float:\n        return helper(x)\n"
        "    return nested\n"
        "def helper(v):\n    return math.floor(v) + base[0]\n"
        "def direct(x: float, *, k: float = 2) -> float:\n    return helper(x) * k\n"
        "def make(n):\n"
        "    def inner(x: float) -> float:\n        return x * n\n"
        "    return inner\n"
        "class Holder:\n    def method(self, x: float) -> float:\n        return x * 7\n"
    )
    answers = {}
    for label, f in {
        "direct": names["direct"],
        "nested": names["main"](),
        "closure": names["make"](5),
        "method": names["Holder"]().method,
    }.items():
        capture = kernel.capture_function(f)
        answers[label] = kernel.call(capture, {"x": 2.5})[0]["answer"]
        assert capture.body["mlserve"]["function"] == f.__name__
    assert answers == {"direct": 6.0, "nested": 3.0, "closure": 12.5, "method": 17.5}


def test_provenance_and_packages(kernel: Kernel) -> None:
    import importlib.metadata
    import platform
    import sys

    import dill

    kernel("import numpy as np\nfrom packaging.version import Version\n")
    capture = kernel.capture(
        "def f(x: float) -> float:\n    import orjson\n    return float(np.floor(x))\n",
        written="%%time\nas typed",
        notebook="/home/me/work.ipynb",
        cell_id="abc",
    )
    own = capture.body["mlserve"]
    assert own["source"] == "%%time\nas typed"
    assert (own["notebook"], own["cellId"]) == ("/home/me/work.ipynb", "abc")
    version = importlib.metadata.version
    assert own["packages"] == {"numpy": version("numpy"), "orjson": version("orjson")}
    assert own["interpreter"] == {
        "executable": sys.executable,
        "version": platform.python_version(),
        "implementation": "CPython",
        "dill": dill.__version__,
    }


def test_the_same_cell_gives_the_same_capture(kernel: Kernel) -> None:
    kernel("names = {'b', 'a'}\nimport math, json\n")
    kernel("def f(v):\n    return json.dumps(v) + str(math.pi)\n")

    def again() -> Capture:
        return kernel.capture(
            "y = f(sorted(names)) + str(x)\n", inputs="x: float", outputs="y: str"
        )

    one, two = again(), again()
    assert one.body == two.body
    assert [str(each) for each in one.report] == [str(each) for each in two.report]


def test_functions_of_a_script_and_of_a_module_beside_it(tmp_path: Path) -> None:
    """Python compiles a file as a whole, and IPython a cell statement by statement."""
    (tmp_path / "beside.py").write_text(
        "import math\n"
        "class Base:\n    rate = 2\n"
        "class Held(Base):\n"
        "    def go(self, v):\n        return helper(v) * self.rate\n"
        "held = Held()\nLIMIT = [5]\n"
        "def helper(v): return math.floor(v) + LIMIT[0]\n"
        "def operation(x: float) -> float:\n    return helper(x) + held.go(x)\n"
    )
    (tmp_path / "script.py").write_text(
        "import enum, pathlib, sys\nimport beside\n"
        "from support.capturing import Kernel, checked, item\n"
        "from jupyter_mlserve.notebook.capture import capture_function\n"
        "class Empty(enum.Enum):\n    A = 1\n"
        "class Plain:\n    k = 3\n"
        "things = [Plain(), Empty.A]\n__version__ = '1.2'\n"
        "def own(x: float) -> float:\n"
        "    return x + things[0].k + (things[1] is Empty.A) + len(__version__)\n"
        "kernel = Kernel(pathlib.Path(sys.argv[1]))\n"
        "for f in (own, beside.operation):\n"
        "    capture = checked(capture_function(f))\n"
        "    kinds = {each.name: each.kind for each in capture.report}\n"
        "    print(f(2.5), kernel.call(capture, {'x': 2.5})[0]['answer'], kinds)\n"
    )
    tests = Path(support.capturing.__file__).parent.parent
    ours = Path(jupyter_mlserve.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "script.py", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{ours}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kinds = [
        {"enum": "import", "things": "object"}
        | dict.fromkeys(("Empty", "Plain", "__version__"), "source"),
        {"math": "import", "held": "object", "LIMIT": "object"}
        | dict.fromkeys(("helper", "Base", "Held"), "source"),
    ]
    for line, answer, expected in zip(done.stdout.splitlines(), (9.5, 21), kinds, strict=True):
        here, fresh, found = line.split(" ", 2)
        assert float(here) == float(fresh) == answer
        assert ast.literal_eval(found) == expected


def test_an_edited_file_is_not_taken_for_what_was_imported_from_it(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kernel.folder / "edited.py"
    path.write_text("def f(x: float) -> float:\n    return x + 1\n")
    monkeypatch.syspath_prepend(str(kernel.folder))
    module = importlib.import_module("edited")
    monkeypatch.delitem(sys.modules, "edited")
    path.write_text("def f(x: float) -> float:\n    return x + 200\n")
    os.utime(path, (1, 1))
    capture = kernel.capture_function(module.f)
    assert kernel.call(capture, {"x": 1}) == [{"answer": 2.0}]
    assert item(capture, "f").reason.startswith("by value")
