"""The author's program in a real worker: how it is loaded, called, and left as it was."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import dill
import pytest
from support.worker_process import blob, params

from .conftest import StartWorker


def test_a_function_is_called_with_its_inputs(start: StartWorker) -> None:
    worker = start("def f(x): return x + 1")
    assert worker.output({"x": 1.5}) == 2.5
    assert worker.call({"x": 1})[1] == {
        "success": True,
        "errorMessage": "",
        "consoleOutput": "",
        "changedFiles": [],
        "outputFiles": {},
        "outputParameters": {"y": 2.0},
    }


def test_a_script_reads_its_inputs_and_assigns_its_outputs(start: StartWorker) -> None:
    worker = start(
        "y = x + k\nz = [x]", "x: numeric", "y: numeric, z: list", None, initCode="k = 10"
    )
    assert worker.call({"x": 1})[1]["outputParameters"] == {"y": 11.0, "z": [1.0]}


@pytest.mark.parametrize("result", ["{'b': 2, 'a': 1, 'c': 3}", "(1, 2)", "[1, 2]", "P(1, 2)"])
def test_several_outputs_by_dict_or_tuple(start: StartWorker, result: str) -> None:
    code = (
        f"from collections import namedtuple\nP = namedtuple('P', 'a b')\ndef f(): return {result}"
    )
    worker = start(code, "", "a: integer, b: integer")
    assert worker.call({})[1]["outputParameters"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ("{'a': 1}", "no output 'b'"),
        ("(1, 2, 3)", "returned 3"),
        ("5", "a dict or a tuple of them, not a int"),
    ],
)
def test_several_outputs_that_do_not_come(start: StartWorker, result: str, says: str) -> None:
    header, _ = start(f"def f(): return {result}", "", "a: integer, b: integer").call({})
    assert header["kind"] == "ServiceFailed"
    assert says in header["message"]


def test_a_script_that_does_not_assign_its_output(start: StartWorker) -> None:
    header, _ = start("z = x", function=None).call({"x": 1})
    assert "did not assign the declared output 'y'" in header["message"]


def test_no_inputs_and_no_outputs(start: StartWorker) -> None:
    worker = start("def f(): return 'ignored'", "", "")
    assert worker.call(b"")[1]["outputParameters"] == {}
    assert worker.call(b"{}")[0]["status"] == 200
    assert worker.call(b'{"x": 1}')[0]["kind"] == "InvalidInput"


def test_optional_inputs_fall_back_on_the_declared_or_the_functions_default(
    start: StartWorker,
) -> None:
    inputs = params("x: numeric, y: numeric, z: numeric")
    inputs[1].update(optional=True, default=2)
    inputs[2].update(optional=True)
    worker = start("def f(x, y, z=100): return x + y + z", inputs)
    assert worker.output({"x": 1}) == 103
    assert worker.output({"x": 1, "z": 0, "y": 0}) == 1
    script = start("y = [x, y, z]", inputs, "y: list", None)
    assert script.output({"x": 1}) == [1, 2, None]


def test_positional_only_parameters(start: StartWorker) -> None:
    assert (
        start("def f(a, b, /): return a - b", "a: numeric, b: numeric").output({"b": 1, "a": 5})
        == 4
    )


def test_async_functions_and_top_level_await(start: StartWorker) -> None:
    code = "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x + 1"
    assert start(code).output({"x": 1}) == 2
    script = "import asyncio\ny = await asyncio.sleep(0, x + k)"
    worker = start(script, function=None, initCode="import asyncio\nk = await asyncio.sleep(0, 5)")
    assert worker.output({"x": 1}) == 6
    assert worker.output({"x": 2}) == 7


def test_tasks_left_by_an_async_call_do_not_run_on(start: StartWorker) -> None:
    code = """
import asyncio
seen = []
async def later(x):
    await asyncio.sleep(0.05)
    seen.append(x)
async def f(x):
    asyncio.get_running_loop().create_task(later(x))
    await asyncio.sleep(0.1 if x == 2 else 0)
    return list(seen)
"""
    worker = start(code, outputs="y: list")
    assert worker.output({"x": 1}) == []
    assert worker.output({"x": 2}) == [2]


def test_the_prelude_runs_in_order_before_init_and_code(start: StartWorker, tmp_path: Path) -> None:
    prelude = [
        {"source": "import math\n", "names": ["math"]},
        {"object": "second"},
        {"source": "def helper(x): return x + first + second\n", "names": ["helper"]},
    ]
    objects = [blob(tmp_path, "first", dill.dumps(10)), blob(tmp_path, "second", dill.dumps(100))]
    worker = start(
        "def f(x): return helper(x) + k + math.floor(1.5)",
        prelude=prelude,
        objects=objects,
        initCode="k = second * 10",
    )
    assert worker.output({"x": 1}) == 1112


def test_objects_of_the_notebooks_own_classes(start: StartWorker, tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Model:\n    def predict(self, x): return 2 * x\n", namespace)
    model = namespace["Model"]()
    worker = start(
        "def f(x): return m.predict(x)", objects=[blob(tmp_path, "m", dill.dumps(model))]
    )
    assert worker.output({"x": 4}) == 8


def test_code_can_import_itself_as_main(start: StartWorker) -> None:
    code = """
import pickle
k = 5
class C:
    def __init__(self, v): self.v = v
def f(x):
    import __main__
    return pickle.loads(pickle.dumps(C(__main__.k))).v + x
"""
    assert start(code).output({"x": 1}) == 6


def test_the_workers_own_modules_do_not_shadow_the_authors(start: StartWorker) -> None:
    code = """
def f():
    import sys
    found = [name for name in sys.modules if "jupyter" in name]
    for name in ("values", "frames", "limits", "program", "serve", "worker", "__init__"):
        try:
            __import__(name)
        except ImportError:
            continue
        found.append(name)
    return found
"""
    assert start(code, "", "y: list").output({}) == []


@pytest.mark.parametrize("function", ["f", None])
def test_a_call_leaves_no_variables_behind(start: StartWorker, function: str | None) -> None:
    body = """
import os
before = [n for n in globals() if n.startswith("v_")] + [base, os.environ.get("V")]
globals()["v_new"] = 1
base = "changed"
os.environ["V"] = "1"
os.environ.pop("HOME", None)
"""
    init = "base = 'kept'"
    if function:
        code = "def f():\n    global base\n" + body.replace("\n", "\n    ") + "\n    return before"
        worker = start(code, "", "y: list", "f", initCode=init)
    else:
        worker = start(body + "y = before", "", "y: list", None, initCode=init)
    first = worker.output({})
    assert first == ["kept", None]
    assert worker.output({}) == first
    home = start(
        "import os\ndef f(): return os.environ.pop('HOME')",
        "",
        "y: character",
    )
    assert home.output({}) == home.output({}) == os.environ["HOME"]


def test_deleted_and_renamed_variables_come_back(start: StartWorker) -> None:
    code = """
def f():
    global a, b, c
    found = [a, b, "c" in globals()]
    a, b = b, a
    c = b
    del a
    return found
"""
    worker = start(code, "", "y: list", initCode="a, b = 1, 2")
    assert worker.output({}) == [1, 2, False]
    assert worker.output({}) == [1, 2, False]


def test_variables_are_restored_after_a_failure_too(start: StartWorker) -> None:
    code = "def f(x):\n    global k\n    k += 1\n    if x: raise ValueError(k)\n    return k"
    worker = start(code, initCode="k = 0")
    for _ in range(2):
        assert worker.call({"x": 1})[0]["message"] == "ValueError: 1"
    assert worker.output({"x": 0}) == 1


def test_the_traceback_shows_the_authors_lines_and_nothing_of_ours(start: StartWorker) -> None:
    code = "def f(x):\n    return helper(x)\n"
    prelude = [{"source": "def helper(x):\n    return 1 / x\n", "names": ["helper"]}]
    header, _ = start(code, prelude=prelude).call({"x": 0})
    assert header["message"] == "ZeroDivisionError: float division by zero"
    lines = [line.strip(" ^~") for line in header["traceback"].splitlines()]
    assert [line for line in lines if line] == [
        "Traceback (most recent call last):",
        'File "<Svc 1.0: code>", line 2, in f',
        "return helper(x)",
        'File "<Svc 1.0: helper>", line 2, in helper',
        "return 1 / x",
        "ZeroDivisionError: float division by zero",
    ]


def test_tracebacks_of_scripts_async_code_and_chains(start: StartWorker) -> None:
    script = start("\n\ny = 1 / 0", function=None)
    assert 'File "<Svc 1.0: code>", line 3' in script.call({"x": 1})[0]["traceback"]
    code = """
async def f(x):
    try:
        1 / 0
    except ZeroDivisionError as exc:
        raise KeyError("chained") from exc
"""
    text = start(code).call({"x": 1})[0]["traceback"]
    assert "direct cause" in text
    for shown in (text, script.call({"x": 1})[0]["traceback"]):
        assert "_mlserve_worker" not in shown
        assert f"worker{os.sep}" not in shown
        assert "asyncio" not in shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("raise ValueError", "ValueError"),
        ("import sys; sys.exit(3)", "SystemExit: the code called sys.exit(3)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("return f(x)", "RecursionError: maximum recursion depth exceeded"),
        ("raise Bad()", "Bad: (its text cannot be shown)"),
        ("raise ValueError('\\ud800')", "ValueError: \\ud800"),
        ('class L(Exception): pass\n    raise L("x" * 10**6)', None),
        ("exec('1 +')", "SyntaxError: invalid syntax (line 1)"),
    ],
)
def test_whatever_the_code_raises_is_an_answer(
    start: StartWorker, line: str, message: str | None
) -> None:
    bad = "class Bad(Exception):\n    def __str__(self): raise RuntimeError\n"
    worker = start(
        f"{bad}def f(x):\n    if x: {line}\n    return 7".replace("if x: class", "class")
    )
    header, _ = worker.call({"x": 1})
    assert (header["status"], header["kind"]) == (400, "ServiceFailed")
    assert len(header["message"]) < 3000
    assert len(header["traceback"]) < 40_000
    if message is not None:
        assert header["message"] == message
        assert worker.output({"x": 0}) == 7


def test_running_out_of_memory_asks_for_a_new_worker(start: StartWorker) -> None:
    worker = start("def f(x): return len(bytearray(int(x)))", memory=300 * 1024**2)
    assert worker.output({"x": 1000}) == 1000
    header, _ = worker.call({"x": 10**9})
    assert (header["status"], header["kind"], header["retire"]) == (500, "OutOfMemory", True)


def test_the_output_type_is_the_authors_error(start: StartWorker) -> None:
    header, _ = start("def f(x): return 'a'").call({"x": 1})
    assert header["kind"] == "ServiceFailed"
    assert header["message"] == (
        "TypeError: the output 'y' is declared float, but the code gave a str; expected a number"
    )


def test_a_reply_that_is_too_large(start: StartWorker) -> None:
    worker = start("def f(x): return 'a' * int(x)", outputs="y: character", result=1000)
    assert worker.output({"x": 100}) == "a" * 100
    assert "result_limit" in worker.call({"x": 1000})[0]["message"]
    printed = start("def f(x): print('a' * 900)", outputs="", result=1000)
    assert "result_limit" in printed.call({"x": 1})[0]["message"]


def test_vectors_matrices_and_frames_reach_the_code(start: StartWorker) -> None:
    code = "def f(v, m, d): return d.assign(c=v + m.sum(axis=1))"
    worker = start(code, "v: vector, m: matrix, d: data.frame", "y: data.frame")
    found = worker.output({"v": [1, 2], "m": [[1, 1], [2, 2]], "d": {"a": [5, 6]}})
    assert found == {"a": [5, 6], "c": [3, 6]}


def test_nan_never_leaves(start: StartWorker) -> None:
    worker = start("def f(x): return [float('nan'), {'a': float('inf')}]", outputs="y: list")
    assert worker.output({"x": 1}) == [None, {"a": None}]


# Loading


def failed_load(start: StartWorker, *args: Any, **more: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = start(*args, ok=False, **more).loaded
    assert loaded["status"] == 400
    return loaded


def test_a_load_that_fails_tells_where_and_why(start: StartWorker) -> None:
    loaded = failed_load(start, "def f(x: return x")
    assert loaded["message"].startswith("The code failed: SyntaxError: ")
    assert 'File "<Svc 1.0: code>", line 1' in loaded["traceback"]
    loaded = failed_load(start, "def f(x): return x", initCode="print('hello')\n1 / 0")
    assert loaded["message"] == "The init code failed: ZeroDivisionError: division by zero."
    assert loaded["console"] == "hello\n"
    loaded = failed_load(start, prelude=[{"source": "def g(:", "names": ["g"]}])
    assert loaded["message"].startswith("The definition of g failed: SyntaxError")
    assert "does not define the function 'g'" in failed_load(start, function="g")["message"]
    assert "has no object 'm'" in failed_load(start, prelude=[{"object": "m"}])["message"]
    loaded = failed_load(start, "import sys; sys.exit(1)")
    assert "SystemExit" in loaded["message"]


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("def f(y): return y", "takes no argument 'x'"),
        ("def f(x, k): return x", "needs the argument 'k'"),
    ],
)
def test_a_function_that_cannot_take_the_inputs_does_not_load(
    start: StartWorker, code: str, complaint: str
) -> None:
    assert complaint in failed_load(start, code)["message"]


@pytest.mark.parametrize(
    "code",
    ["def f(x, k=1): return x", "def f(**all): return all['x']", "def f(x, *more): return x"],
)
def test_a_function_that_can_take_the_inputs_loads(start: StartWorker, code: str) -> None:
    assert start(code).output({"x": 1}) == 1.0


def test_a_missing_package_is_named_with_what_to_do(start: StartWorker) -> None:
    loaded = failed_load(
        start, prelude=[{"source": "import no_such_thing.sub", "names": ["no_such_thing"]}]
    )
    assert "has no module 'no_such_thing'" in loaded["message"]
    assert "Install it there" in loaded["message"]


def test_a_corrupt_object_is_refused_before_it_is_unpickled(
    start: StartWorker, tmp_path: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "exploded"),)

    item = blob(tmp_path, "model", dill.dumps(Bomb()))
    loaded = failed_load(start, objects=[dict(item, sha256="0" * 64)])
    assert loaded["kind"] == "BundleCorrupt"
    assert "the object 'model'" in loaded["message"]
    assert "Publish the version again" in loaded["message"]
    assert not (tmp_path / "exploded").exists()
    loaded = failed_load(start, objects=[dict(item, path=str(tmp_path / "gone"))])
    assert loaded["kind"] == "BundleCorrupt"
    assert "No such file" in loaded["message"]


def test_an_object_that_cannot_be_unpickled_is_named(start: StartWorker, tmp_path: Path) -> None:
    loaded = failed_load(start, objects=[blob(tmp_path, "model", b"no pickle")])
    assert loaded["kind"] == "TrialFailed"
    assert loaded["message"].startswith("The object 'model' could not be loaded: ")
    missing = b"cno_such_module\nThing\n."
    loaded = failed_load(start, objects=[blob(tmp_path, "model", missing)])
    assert "has no module 'no_such_module'" in loaded["message"]


def test_a_load_that_needs_too_much_memory(start: StartWorker) -> None:
    loaded = failed_load(start, initCode="x = bytearray(10**9)", memory=300 * 1024**2)
    assert loaded["kind"] == "OutOfMemory"


def test_the_recorded_python_version_is_held(start: StartWorker) -> None:
    assert start(python="{}.{}.0".format(*__import__("sys").version_info[:2])).output({"x": 1}) == 2
    loaded = failed_load(start, python="3.7.1")
    assert "published from Python 3.7.1" in loaded["message"]


def test_an_unknown_type_is_said_at_load(start: StartWorker) -> None:
    loaded = failed_load(start, inputs="x: tensor")
    assert "'tensor', which is not known here" in loaded["message"]


def test_what_loading_printed_is_reported(start: StartWorker) -> None:
    assert start(initCode="print('ready')").loaded["console"] == "ready\n"


def test_unknown_operations_do_not_kill_the_worker(start: StartWorker) -> None:
    from jupyter_mlserve.worker.frames import send_frame

    worker = start()
    send_frame(worker.sock, {"op": "dance"})
    assert worker.call({"x": 1})[0]["status"] == 400
    assert math.isclose(worker.call({"x": 1})[1]["outputParameters"]["y"], 2)
