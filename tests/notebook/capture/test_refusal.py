"""Things that cannot travel are named, with what to do; nothing that can travel is refused."""

from __future__ import annotations

from typing import Any

import pytest
from support.capturing import Kernel, item, status

from jupyter_mlserve.contract.errors import InvalidDefinition

CANNOT = {
    "open file": ("thing = open('/dev/null')", "open file", "--file"),
    "binary file": ("thing = open('/dev/null', 'rb')", "open file", "--file"),
    "lock": ("import threading\nthing = threading.Lock()", "lock", "init function"),
    "reentrant lock": ("import threading\nthing = threading.RLock()", "lock", "init function"),
    "condition": ("import threading\nthing = threading.Condition()", "lock", "init function"),
    "thread": ("import threading\nthing = threading.Thread()", "thread", "init function"),
    "executor": (
        "from concurrent.futures import ThreadPoolExecutor\nthing = ThreadPoolExecutor(1)",
        "thread",
        "init function",
    ),
    "queue": ("import queue\nthing = queue.Queue()", "thread", "init function"),
    "socket": ("import socket\nthing = socket.socket()", "network", "init function"),
    "TLS context": ("import ssl\nthing = ssl.create_default_context()", "network", "init"),
    "generator": ("thing = (n for n in range(3))", "generator", "list("),
    "coroutine": ("async def f():\n    pass\nthing = f()", "coroutine", "await"),
    "event loop": ("import asyncio\nthing = asyncio.new_event_loop()", "event loop", "await"),
    "sqlite": ("import sqlite3\nthing = sqlite3.connect(':memory:')", "database", "environment"),
    "engine": (
        "import sqlalchemy\nthing = sqlalchemy.create_engine('sqlite://')",
        "database",
        "environment",
    ),
    "http client": ("import httpx\nthing = httpx.Client()", "network", "init function"),
    "widget": ("import ipywidgets\nthing = ipywidgets.IntSlider()", "widget", "widget.value"),
    "temporary folder": (
        "import tempfile\nthing = tempfile.TemporaryDirectory()",
        "temporary",
        "working directory",
    ),
    "process": (
        "import subprocess\nthing = subprocess.Popen(['true'])\nthing.wait()",
        "process",
        "init function",
    ),
    "memory view": ("thing = memoryview(b'abc')", "memory", "bytes("),
    "made module": ("import types\nthing = types.ModuleType('thing')", "made while", "Import"),
    "deep": ("thing = []\nfor _ in range(100000):\n    thing = [thing]", "deeply", "flatter"),
    "refuses": (
        "class Refuses:\n    def __reduce__(self):\n        raise ValueError('not me')\n"
        "thing = Refuses()",
        "ValueError: not me",
        "init function",
    ),
}


def closing(value: Any) -> None:
    for name in ("close", "cleanup", "dispose"):
        if callable(getattr(value, name, None)):
            getattr(value, name)()


@pytest.mark.parametrize("label", CANNOT)
def test_what_cannot_travel_is_named(kernel: Kernel, label: str) -> None:
    made, reason, advice = CANNOT[label]
    kernel(made)
    capture = kernel.capture("y = use(thing) if x else 0\n", exclude=["use"], **NUMBER)
    (refused,) = capture.refused
    assert refused.name == "thing"
    assert reason in refused.reason
    assert advice in refused.advice
    with pytest.raises(InvalidDefinition, match="thing") as caught:
        capture.require()
    assert reason in caught.value.message
    assert caught.value.details["refused"] == ["thing"]
    assert not [each for each in capture.body["mlserve"]["objects"] if each["name"] == "thing"]
    closing(kernel.names["thing"])


NUMBER = {"inputs": "x: float", "outputs": "y: float"}


def test_what_is_inside_an_object_is_named_with_the_way_to_it(kernel: Kernel) -> None:
    kernel(
        "class Reader:\n    def __init__(self):\n        self.source = [open('/dev/null')]\n"
        "class Model:\n    def __init__(self):\n        self.reader = Reader()\n"
        "model = {'it': Model()}\n"
    )
    capture = kernel.capture("y = len(model)\n", inputs=[], outputs="y: float")
    assert "(inside: Model > Reader > TextIOWrapper)" in item(capture, "model").reason
    kernel.names["model"]["it"].reader.source[0].close()


def test_a_refused_thing_that_a_helper_uses_says_so(kernel: Kernel) -> None:
    kernel(
        "import threading\nguard = threading.Lock()\n"
        "def helper(v):\n    with guard:\n        return v\n"
    )
    (refused,) = kernel.capture("y = helper(x)\n", **NUMBER).refused
    assert refused.name == "guard"
    assert "used by helper" in refused.reason


def test_a_lock_inside_an_object_is_made_again(kernel: Kernel) -> None:
    kernel(
        "import threading\n"
        "class Counter:\n"
        "    def __init__(self):\n        self.lock, self.n = threading.Lock(), 41\n"
        "    def next(self):\n"
        "        with self.lock:\n            self.n += 1\n            return self.n\n"
        "counter = Counter()\n"
    )
    capture = kernel.capture("y = counter.next()\n", inputs=[], outputs="y: float")
    assert kernel.call(capture, {}) == [{"y": 42.0}]
    with kernel.names["counter"].lock:
        held = kernel.capture("y = counter.next()\n", inputs=[], outputs="y: float")
    assert "lock" in held.refused[0].reason


def test_values_that_look_like_files_travel(kernel: Kernel) -> None:
    kernel("import io\ntext = io.StringIO('ab')\ndata = io.BytesIO(b'cd')\n")
    capture = kernel.capture(
        "y = text.getvalue() + data.getvalue().decode()\n", inputs=[], outputs="y: str"
    )
    assert kernel.call(capture, {}) == [{"y": "abcd"}]


def test_what_the_code_may_do_without_is_skipped(kernel: Kernel) -> None:
    kernel("import threading\nguard = threading.Lock()\n")
    capture = kernel.capture(
        "if x > 1:\n    guard = None\ny = x\nif guard is None:\n    y = -x\n", **NUMBER
    )
    assert status(capture) == {"guard": "skipped"}
    assert capture.refused == []
    capture = kernel.capture("y = x if x else guard\n", exclude=["guard"], **NUMBER)
    assert item(capture, "guard").reason == "named with --exclude"


def test_reduce_runs_once(kernel: Kernel) -> None:
    kernel(
        "asked = []\n"
        "class Weird:\n"
        "    def __reduce__(self):\n        asked.append(1)\n        return (int, (5,))\n"
        "class State:\n"
        "    def __getstate__(self):\n        asked.append(2)\n        return {'a': 1}\n"
        "thing = [1, Weird(), State(), (lambda: 3)]\n"
    )
    capture = kernel.capture("y = thing[1]\n", inputs=[], outputs="y: float")
    assert kernel.names["asked"] == [1, 2]
    assert kernel.call(capture, {}) == [{"y": 5.0}]


def test_all_that_travels_has_a_limit(kernel: Kernel) -> None:
    kernel("import os\nsmall = [os.urandom(100)]\nlarge = [os.urandom(5000)]\n")
    code = "y = len(small) + len(large)\n"
    capture = kernel.capture(code, inputs=[], outputs="y: float", total_limit=2000)
    (refused,) = capture.refused
    assert refused.name == "large"
    assert "larger than" in refused.reason
    assert kernel.capture(code, inputs=[], outputs="y: float", total_limit=9000).refused == []


def test_things_of_the_notebooks_folder_inside_an_object_need_their_module(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kernel.folder / "shapes.py").write_text("class Round:\n    r = 3.0\n")
    (kernel.folder / "pack").mkdir()
    (kernel.folder / "pack" / "__init__.py").write_text("def go(v):\n    return v\n")
    (kernel.folder / "chain.py").write_text("import shapes\n")
    monkeypatch.syspath_prepend(str(kernel.folder))
    kernel("import shapes, pack, chain\nround_one = [shapes.Round()]\n")
    capture = kernel.capture("y = round_one[0].r\n", inputs=[], outputs="y: float")
    assert item(capture, "round_one").advice == "Send it along: --file shapes.py"
    capture = kernel.capture(
        "y = round_one[0].r\n", inputs=[], outputs="y: float", files=["shapes.py"]
    )
    assert kernel.call(capture, {}) == [{"y": 3.0}]
    capture = kernel.capture("y = pack.go(1)\n", inputs=[], outputs="y: float")
    assert item(capture, "pack").kind == "module"
    assert "pip install -e pack" in item(capture, "pack").advice
    capture = kernel.capture(
        "import chain\ny = 1\n", inputs=[], outputs="y: float", files=["chain.py"]
    )
    assert item(capture, "chain").advice == "Send it along: --file shapes.py"
    both = ["chain.py", "shapes.py"]
    capture = kernel.capture("import chain\ny = 1\n", inputs=[], outputs="y: float", files=both)
    assert kernel.call(capture, {}) == [{"y": 1.0}]
