"""The interpreter of a session, spoken to as the compute node does."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.worker_process import RunningWorker, dill_only

from jupyter_mlserve.worker.frames import send_frame

from .test_interpreters import interpreters

Json = dict[str, Any]
Start = Callable[..., "Console"]


class Console(RunningWorker):
    """A worker in a session's mode, in ``folder/call``."""

    def __init__(self, folder: Path, **more: Any) -> None:
        (folder / "call").mkdir(parents=True)
        super().__init__({}, folder, op="session", **more)

    def run(self, code: str, *outputs: str, **inputs: Any) -> Json:
        request = {
            "code": code,
            "inputParameters": [{"name": name, "value": inputs[name]} for name in inputs],
            "outputParameters": list(outputs),
        }
        header, body = self.ask({"op": "execute"}, json.dumps(request).encode())
        assert header["status"] == 200, header
        result: Json = json.loads(body)
        assert header["success"] is result["success"]
        assert header["console"] == result["consoleOutput"]
        return result

    def value(self, code: str, **inputs: Any) -> Any:
        result = self.run(code, "r", **inputs)
        assert result["success"], result
        assert [item["name"] for item in result["outputParameters"]] == ["r"]
        return result["outputParameters"][0]["value"]

    def said(self, code: str = "") -> str:  # type: ignore[override]
        if not code:
            return super().said()
        text: str = self.run(code)["consoleOutput"]
        return text


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    running: list[Console] = []

    def make(**more: Any) -> Console:
        running.append(Console(tmp_path_factory.mktemp("session"), **more))
        assert running[-1].loaded["status"] == 200, running[-1].loaded
        return running[-1]

    yield make
    for console in running:
        console.close()


@pytest.fixture(scope="module")
def console(start: Start) -> Console:
    """One for all: state stays, so tests choose names of their own."""
    return start()


def test_it_runs_under_every_supported_python(start: Start, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": dill_only(tmp_path)}
    for interpreter in interpreters():
        python = start(interpreter=interpreter, env=env)
        assert interpreter.find("/" + python.loaded["python"].rsplit(".", 1)[0]) > 0
        assert python.value("import asyncio\nr = x\nawait asyncio.sleep(0)", x=[1, None]) == [
            1,
            None,
        ]
        assert python.said("def f():\n  return len(r)\nf()") == "2\n"
        path = str(tmp_path / "object")
        assert python.ask({"op": "get", "name": "f", "path": path}, b"")[0]["status"] == 200
        assert python.ask({"op": "set", "name": "g", "path": path}, b"")[0]["status"] == 200
        assert python.value("r = g()") == 2
        assert "line 2, in f" in python.said("def f():\n  1/0\nf()")


# What runs, and what is printed


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("", ""),
        ("1 + 1", "2\n"),
        ("1 + 1; 2 + 2", "4\n"),
        ("q1 = 3", ""),
        ("None", ""),
        ("'a text'", "'a text'\n"),
        ("for i in range(2): i", ""),
        ("import asyncio\nasync def q2(): return 7\nawait q2()", "7\n"),
        ("import sys\nprint('a')\nprint('b', file=sys.stderr)", "a\nb\n"),
        (
            "import os\nprint('first')\nos.system('echo second')\nprint('third')\n0",
            "first\nsecond\nthird\n0\n",
        ),
        ("# only a comment", ""),
        ("__name__", "'__main__'\n"),
    ],
)
def test_code_runs_as_in_a_console(console: Console, code: str, printed: str) -> None:
    result = console.run(code)
    assert result["success"]
    assert result["consoleOutput"] == printed


@pytest.mark.parametrize(
    ("code", "message", "printed"),
    [
        ("1 +", "SyntaxError: invalid syntax (line 1)", "1 +"),
        ("raise ValueError('one\\ntwo')", "ValueError: one two", "ValueError: one\ntwo"),
        ("print('so far')\nno_such", "NameError: name 'no_such' is not defined", "so far\nTrace"),
        ("exit()", "SystemExit: the code called sys.exit(None)", "exit()"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "raise Key"),
        ("input()", "EOFError: EOF when reading a line", "input()"),
        ("import asyncio\nawait asyncio.wait_for(asyncio.sleep(9), 0.01)", "TimeoutError", "await"),
        ("def q3(): return q3()\nq3()", "RecursionError: maximum recursion depth", "q3"),
        ("class Q4(Exception):\n  def __str__(self): 1/0\nraise Q4", "Q4: (its text", "Q4"),
    ],
)
def test_code_that_fails(console: Console, code: str, message: str, printed: str) -> None:
    result = console.run(code)
    assert not result["success"]
    assert result["errorMessage"].startswith(message)
    assert "\n" not in result["errorMessage"]
    assert printed in result["consoleOutput"]
    assert "_mlserve_worker" not in result["consoleOutput"]
    assert f"{os.sep}worker{os.sep}" not in result["consoleOutput"]
    assert result["outputParameters"] == []


def test_what_code_does_to_its_surroundings_does_not_end_the_session(console: Console) -> None:
    for code in (
        "import sys; sys.stdout = None",
        "import os; os.close(1); os.close(2)",
        "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)",
        "import asyncio; asyncio.run(asyncio.sleep(0))",
        "import asyncio; asyncio.get_event_loop_policy().new_event_loop().close()",
        "import os; os.chdir('/')",
        "import sys; sys.setrecursionlimit(200)",
        "import os; pid = os.fork()\nif not pid: raise SystemExit",
    ):
        console.run(code)
        assert console.said("'here'") == "'here'\n"
        assert console.value("import asyncio; await asyncio.sleep(0); r = 1") == 1
    console.run(
        f"import os, sys; os.chdir({str(console.directory)!r}); sys.setrecursionlimit(1000)"
    )


def test_background_work_goes_on_between_executions(console: Console) -> None:
    console.run("import asyncio\nseen = []\nasync def q5():\n  seen.append(1)")
    result = console.run("task = asyncio.create_task(q5())\nawait asyncio.sleep(0.01)")
    assert result["success"], result
    assert console.value("r = seen") == [1]
    console.run("import threading\nthreading.Timer(0.05, print, ['from a thread']).start()")
    time.sleep(0.2)
    assert console.said("1") == "from a thread\n1\n"


# Inputs and outputs


def test_inputs_are_plain_values(console: Console) -> None:
    values = {"i": 1, "f": 1.5, "s": "ä", "n": None, "b": True, "l": [1, [2]], "d": {"a": [1]}}
    assert console.value("r = d0", d0=values) == values
    assert console.value("r = type(i0).__name__ + type(l0).__name__", i0=1, l0=[1]) == "intlist"


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("np.float32(0.5)", 0.5),
        ("np.arange(4).reshape(2, 2)", [[0, 1], [2, 3]]),
        ("np.array([1.5, np.nan, np.inf])", [1.5, None, None]),
        ("[1, float('nan'), np.int64(3)]", [1, None, 3]),
        ("np.array(['2024-05-31'], dtype='M8[D]')", ["2024-05-31T00:00:00"]),
        ("pd.Timestamp('2024-05-31 12:00')", "2024-05-31T12:00:00"),
        ("pd.Series([1, None, 3])", [1.0, None, 3.0]),
        ("pd.DataFrame({'a': [1, 2], 'b': ['x', None]})", {"a": [1, 2], "b": ["x", None]}),
        ("{'a': (1, 2), 3: pd.NA}", {"a": [1, 2], "3": None}),
        ("np.zeros(200_000).sum()", 0.0),
        ("b'ab'", "YWI="),
    ],
)
def test_outputs_are_encoded_by_their_value(console: Console, code: str, value: Any) -> None:
    console.run("import numpy as np, pandas as pd")
    assert console.value(f"r = {code}") == value


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("bad = object()", "TypeError: the output 'bad' has no JSON form"),
        ("bad = [1, {'k': lambda: 1}]", "'bad[1].k'"),
        ("bad = 2**70", "64 bits"),
        ("bad = []; bad.append(bad)", "levels of nesting"),
        ("del bad", "NameError: there is no variable 'bad'"),
    ],
)
def test_an_output_that_cannot_be_encoded_is_named(console: Console, code: str, words: str) -> None:
    console.run("bad = 1")
    result = console.run(f"{code}\nprint('ran')", "bad")
    assert not result["success"]
    assert words.strip("'") in result["errorMessage"]
    assert "bad" in result["errorMessage"]
    assert result["consoleOutput"].startswith("ran\n")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ([], ""),
        ({}, "code"),
        ({"code": None}, "code"),
        ({"code": "1", "inputParameters": {"x": 1}}, "inputParameters"),
        ({"code": "1", "inputParameters": [1]}, "inputParameters[0]"),
        ({"code": "1", "inputParameters": [{"value": 1}]}, "inputParameters[0].name"),
        (
            {"code": "1", "inputParameters": [{"name": "a.b", "value": 1}]},
            "inputParameters[0].name",
        ),
        ({"code": "1", "inputParameters": [{"name": "__import__"}]}, "inputParameters[0].name"),
        ({"code": "1", "outputParameters": "x"}, "outputParameters"),
        ({"code": "1", "outputParameters": ["if"]}, "outputParameters[0]"),
        ({"code": "1", "outputParameters": [{"name": "x"}]}, "outputParameters[0]"),
    ],
)
def test_a_request_that_is_not_in_order_is_refused(
    console: Console, request_: Any, field: str
) -> None:
    header, _ = console.ask({"op": "execute"}, json.dumps(request_).encode())
    assert (header["status"], header["kind"]) == (400, "InvalidInput")
    assert header["field"] == field
    lists = {"code": "1", "inputParameters": None, "outputParameters": None}
    assert console.ask({"op": "execute"}, json.dumps(lists).encode())[0]["status"] == 200


def test_changed_files_are_named(console: Console) -> None:
    here = console.directory
    (here / "uploaded").write_text("a")
    assert console.run("open('uploaded').read()")["changedFiles"] == []
    code = "import os\nos.makedirs('a/b')\nfor n in ('a/b/c', 'd'): open(n, 'w').write('x')"
    assert console.run(code)["changedFiles"] == ["a/b/c", "d"]
    assert console.run("1")["changedFiles"] == []
    assert console.run("open('d', 'a').write('y'); os.remove('a/b/c')")["changedFiles"] == ["d"]
    assert console.run("open('e', 'w'); 1/0")["changedFiles"] == ["e"]
    code = "os.symlink('/etc', 'link'); os.mkfifo('fifo'); os.symlink('.', 'a/loop')"
    assert console.run(code)["changedFiles"] == ["fifo"]
    assert (here / "d").read_text() == "xy"


def test_modules_beside_the_code_are_found(console: Console) -> None:
    (console.directory / "beside.py").write_text("def f(): return 5")
    assert console.value("import beside\nr = beside.f()") == 5


# Interrupts


def interrupt(console: Console, code: str) -> Json:
    """Run ``code``, which prints "go", and interrupt it then."""
    request = json.dumps({"code": code}).encode()
    send_frame(console.sock, {"op": "execute"}, request)
    end = time.monotonic() + 20
    while b"go" not in os.pread(console.console, 1000, 0) and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(console.process.pid, signal.SIGINT)
    frame = console._reader.read()
    assert frame is not None
    result: Json = json.loads(frame[1])
    return result


def test_interrupts_hit_code_only(console: Console) -> None:
    for code in ("while True: pass", "import time; time.sleep(60)", "await asyncio.sleep(60)"):
        result = interrupt(console, f"import asyncio\nprint('go')\n{code}")
        assert result["errorMessage"] == "KeyboardInterrupt"
        assert "_interrupted" not in result["consoleOutput"]
    for _ in range(50):
        os.kill(console.process.pid, signal.SIGINT)
        assert console.value("r = 1") == 1
    code = "try:\n  print('go')\n  while True: pass\nexcept KeyboardInterrupt: 'caught'"
    assert interrupt(console, code)["success"]


# Objects


def test_objects_are_what_the_user_named(console: Console) -> None:
    console.run("import math\n_private = 1\nglobals()['a b'] = 1\nglobals()[3] = 1\nmine = 1")
    names = json.loads(console.ask({"op": "objects"}, b"")[1])
    assert {"math", "mine"} <= set(names)
    assert not {"_private", "a b", 3, "__builtins__", "__name__"} & set(names)


def test_functions_and_classes_keep_their_surroundings(console: Console, start: Start) -> None:
    folder = console.directory.parent / "saved"
    folder.mkdir()
    code = """
for _ in [_ for _ in globals() if not str(_).startswith('_')]: del globals()[_]
import math, beside as local
k = 2
def area(x): return math.pi * x ** k
class Shape:
    def area(self, x): return area(x)
shape = Shape()
"""
    (console.directory / "beside.py").write_text("def f(): return 5\nlock = open('/dev/null')")
    console.run(code)
    header, body = console.ask({"op": "save", "folder": str(folder)}, b"")
    assert header["status"] == 200, header
    names = json.loads(body)["objects"]
    assert names == sorted(path.name for path in folder.iterdir())
    assert names == ["Shape", "area", "k", "local", "math", "shape"]
    other = start()
    (other.directory / "beside.py").write_text("def f(): return 6")
    for name in names:
        header, _ = other.ask({"op": "set", "name": name, "path": str(folder / name)}, b"")
        assert header["status"] == 200, header
    assert other.value("r = shape.area(1)") == math.pi
    assert other.value("r = local.f()") == 6  # a module is imported anew, not copied


def test_loading_objects_harms_no_file(start: Start, tmp_path: Path) -> None:
    """dill's pickle of a file that was open for writing makes it anew, empty."""
    folder, wrote, other = tmp_path / "saved", start(), start()
    folder.mkdir()
    wrote.run("with open('out.csv', 'w') as f: _ = f.write('1')\nholder = [f]")
    header, body = wrote.ask({"op": "save", "folder": str(folder)}, b"")
    assert header["status"] == 200, header
    assert "f" not in json.loads(body)["objects"]
    (other.directory / "out.csv").write_text("1")
    sent = {"op": "set", "name": "holder", "path": str(folder / "holder")}
    assert other.ask(sent, b"")[0]["status"] == 200
    assert other.value("r = holder[0].closed")
    assert (other.directory / "out.csv").read_text() == "1"


@pytest.mark.parametrize("name", ["", "a b", "../x", "__import__", "if", "x" * 300])
def test_names_that_are_none(console: Console, tmp_path: Path, name: str) -> None:
    for op in ("get", "delete"):
        header, _ = console.ask({"op": op, "name": name, "path": str(tmp_path / "x")}, b"")
        assert (header["status"], header["kind"]) == (400, "NotFound")
    path = tmp_path / "object"
    path.write_bytes(b"\x80\x04K\x01.")
    header, _ = console.ask({"op": "set", "name": name, "path": str(path)}, b"")
    assert header["status"] == (200 if name.isidentifier() and len(name) > 100 else 400)


def test_an_object_that_fills_the_disk_leaves_no_file(start: Start, tmp_path: Path) -> None:
    small = start(file=100_000)
    small.run("big = b'x' * 1_000_000")
    header, _ = small.ask({"op": "get", "name": "big", "path": str(tmp_path / "big")}, b"")
    assert header["field"] == "big"
    assert "File too large (file_limit)" in header["message"]
    assert not (tmp_path / "big").exists()
    assert small.value("r = len(big)") == 1_000_000


def test_without_dill_code_runs_and_objects_say_what_is_missing(
    start: Start, tmp_path: Path
) -> None:
    code = "import sys; sys.modules['dill'] = None; r = 1"
    bare = start()
    assert bare.value(code) == 1
    header, _ = bare.ask({"op": "get", "name": "r", "path": str(tmp_path / "r")}, b"")
    assert "pip install dill" in header["message"]
    assert sys.executable in header["message"]


def test_it_loads_no_more_than_it_needs(start: Start) -> None:
    loaded = start().value("import sys; r = sorted(sys.modules)")
    assert not {"dill", "numpy", "asyncio", "typing", "hashlib"} & set(loaded)
