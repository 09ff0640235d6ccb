"""The trial before a version becomes visible."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import dill
import pytest
from support.foreign_pickles import FOREIGN, minor
from support.worker_process import blob

from .conftest import Driver, MakeNode, alive, body_of


def refused(node: Driver, sample: Any = None) -> dict[str, Any]:
    """The error of a trial, after which nothing may be left."""
    reply = node.trial(sample=sample)
    body = body_of(reply)
    assert reply.status == body["code"] == 400
    assert body["exceptionType"] == "TrialFailed"
    assert (body["success"], body["errorMessage"]) == (False, body["message"])
    node.until(lambda: node.status()["workers"] == 0)
    assert node.status()["pools"] == []
    return body


def test_a_trial_without_a_sample_loads_the_version_and_keeps_the_worker(node: Driver) -> None:
    reply = node.trial()
    assert reply.status == 200
    assert body_of(reply)["success"] is True
    assert body_of(reply)["outputParameters"] == {}
    assert reply.header["load_seconds"] > 0
    assert reply.header["python"] == "{}.{}.{}".format(*sys.version_info[:3])
    (pid,) = node.pool()["pids"]
    node.specs["s"] = {}  # not asked again
    assert node.output(x=1) == 2
    assert node.pool()["pids"] == [pid]


def test_a_trial_with_a_sample_gives_its_result(node: Driver) -> None:
    node.spec("s", "def f(x):\n    print('hi')\n    return x + 1", initCode="print('loading')")
    reply = node.trial(sample={"x": 1})
    assert reply.status == 200
    assert body_of(reply)["outputParameters"] == {"y": 2.0}
    assert body_of(reply)["consoleOutput"] == "hi\n"
    assert reply.header["console"] == "loading\n"
    assert reply.header["call_seconds"] > 0
    assert node.pool()["workers"] == 1


def test_every_trial_has_a_fresh_worker(node: Driver) -> None:
    node.trial()
    first = node.pool()["pids"]
    node.trial()
    assert len(node.pool()["pids"]) == 2
    assert set(first) < set(node.pool()["pids"])


def test_code_that_does_not_load(node: Driver) -> None:
    node.spec("s", "def f(x): return x", initCode="print('so far')\n1 / 0")
    body = refused(node)
    assert body["message"] == "The init code failed: ZeroDivisionError: division by zero."
    assert 'File "<Svc 1.0: init>", line 2' in body["details"]["traceback"]
    assert body["details"]["console"] == body["consoleOutput"] == "so far\n"
    assert body["details"]["stage"] == "load"


def test_code_that_fails_with_the_sample(node: Driver) -> None:
    node.spec("s", "def f(x):\n    print('so far')\n    return x / 0")
    body = refused(node, {"x": 1})
    assert body["message"].startswith("The call with the sample failed: ZeroDivisionError")
    assert "line 3, in f" in body["details"]["traceback"]
    assert body["details"]["console"] == "so far\n"
    assert body["details"]["stage"] == "call"


def test_a_sample_that_does_not_fit(node: Driver) -> None:
    body = refused(node, {"x": "a"})
    assert "sample does not fit the declared inputs" in body["message"]
    assert body["fields"] == "x"


def test_a_result_that_does_not_fit(node: Driver) -> None:
    node.spec("s", "def f(x): return [x]")
    assert "the output 'y' is declared float" in refused(node, {"x": 1})["message"]


@pytest.mark.parametrize(
    ("interpreter", "says"),
    [
        ("/no/such/python", "does not exist"),
        (__file__, "is not a program"),
        ("/bin/true", "exited with status 0"),
        ("/bin/false", "exited with status 1"),
    ],
)
def test_an_interpreter_that_is_none(node: Driver, interpreter: str, says: str) -> None:
    if interpreter == __file__ and os.geteuid() == 0 and os.access(__file__, os.X_OK):
        pytest.skip("the file system lets root run everything")
    node.spec("s", "def f(x): return x", interpreter=interpreter)
    message = refused(node)["message"]
    assert says in message
    assert interpreter in message
    assert "publish again" in message


def test_an_interpreter_that_is_too_old(node: Driver) -> None:
    old = sorted((Path.home() / ".pyenv" / "versions").glob("2.7*/bin/python"))
    if not old:
        pytest.skip("there is no Python 2 on this machine")
    node.spec("s", "def f(x): return x", interpreter=str(old[0]))
    body = refused(node)
    assert "Python 3.8 or newer is needed" in body["message"]
    assert "SyntaxError" in body["details"]["traceback"]


def test_objects_of_another_python_and_the_worker_that_read_them(
    node: Driver, tmp_path: Path
) -> None:
    origin = next(o for o in ("3.13/0.4.1", "3.11/0.4.1") if minor(o) != sys.version_info[:2])
    content = FOREIGN[origin]["model"]
    # Its process says who it is before the objects are read.
    where = tmp_path / "pid"
    code = "def f(x): return model.predict([x])"
    more = {
        "prelude": [
            {
                "source": f"import os\nopen({str(where)!r}, 'w').write(str(os.getpid()))",
                "names": [],
            },
            {"object": "model", "names": ["model"]},
        ]
    }
    node.spec("s", code, objects=[blob(tmp_path, "model", content)], **more)
    message = refused(node)["message"]
    assert f"was packed under Python {origin.split('/')[0]}, and is to run under Python " in message
    assert "under Python {}.{} (".format(*sys.version_info) in message
    assert not alive(int(where.read_text()))


def test_a_missing_package(node: Driver) -> None:
    prelude = [{"source": "import no_such_package", "names": ["no_such_package"]}]
    node.spec("s", "def f(x): return x", prelude=prelude)
    body = refused(node)
    assert f"The interpreter {sys.executable}" in body["message"]
    assert "no module 'no_such_package'. Install it there" in body["message"]


def test_an_object_that_never_finishes_loading(make_node: MakeNode, tmp_path: Path) -> None:
    class Endless:
        def __reduce__(self) -> Any:
            return eval, ("[None for _ in iter(int, 1)]",)

    node = make_node(load_timeout=0.7, worker_memory=0)
    import time

    class Sleeper:
        def __reduce__(self) -> Any:
            return time.sleep, (1000,)

    node.spec("s", "def f(x): return x", objects=[blob(tmp_path, "m", dill.dumps(Sleeper()))])
    body = refused(node)
    assert "was not loaded within 0.7 seconds (load_timeout)" in body["message"]


def test_a_loop_in_init_is_shown_where_it_hangs(make_node: MakeNode) -> None:
    node = make_node(load_timeout=0.7)
    node.spec("s", "def f(x): return x", initCode="def g():\n    while True: pass\ng()")
    body = refused(node)
    assert "load_timeout" in body["message"]
    assert 'File "<Svc 1.0: init>", line 2 in g' in body["details"]["traceback"]


def test_an_object_that_fills_the_memory(make_node: MakeNode, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return bytearray, (10**9,)

    node = make_node(worker_memory=300 * 1024**2)
    node.spec("s", "def f(x): return x", objects=[blob(tmp_path, "m", dill.dumps(Bomb()))])
    message = refused(node)["message"]
    assert "300 MiB (worker_memory)" in message


def test_an_object_that_kills_the_interpreter(node: Driver, tmp_path: Path) -> None:
    class Crash:
        def __reduce__(self) -> Any:
            return eval, ("__import__('ctypes').string_at(0)",)

    node.spec("s", "def f(x): return x", objects=[blob(tmp_path, "m", dill.dumps(Crash()))])
    body = refused(node)
    assert "killed by SIGSEGV" in body["message"]
    assert "Segmentation fault" in body["details"]["traceback"]


def test_code_that_exits_in_the_middle_of_loading(node: Driver) -> None:
    node.spec("s", "import os\nprint('bye')\nos._exit(7)")
    body = refused(node)
    assert "exited with status 7" in body["message"]
    assert body["details"]["traceback"] == "bye"


def test_a_worker_that_dies_with_the_sample(node: Driver) -> None:
    node.spec("s", "import os\ndef f(x): os._exit(7)")
    body = refused(node, {"x": 1})
    assert "the worker died during the call" in body["message"]


def test_a_sample_that_takes_too_long(make_node: MakeNode) -> None:
    node = make_node(call_timeout=0.5)
    node.spec("s", "def f(x):\n    while True: pass")
    body = refused(node, {"x": 1})
    assert "longer than 0.5 seconds" in body["message"]
    assert "line 2 in f" in body["details"]["traceback"]


def test_a_failed_trial_leaves_a_state_in_use_alone(node: Driver) -> None:
    node.spec("s", "def f(x): return 1 / x")
    (pid,) = [node.output(x=1), *node.pool()["pids"]][1:]
    assert node.trial(sample={"x": 0}).status == 400
    assert node.output(x=1) == 1
    node.until(lambda: node.pool()["pids"] == [pid])


def test_a_damaged_object_stays_a_500(node: Driver, tmp_path: Path) -> None:
    item = dict(blob(tmp_path, "m", dill.dumps(1)), sha256="0" * 64)
    node.spec("s", "def f(x): return x", objects=[item])
    reply = node.trial()
    assert (reply.status, body_of(reply)["exceptionType"]) == (500, "BundleCorrupt")
    node.until(lambda: node.status()["pools"] == [])


def test_a_trial_takes_the_place_of_an_idle_worker(make_node: MakeNode) -> None:
    node = make_node(max_workers=1)
    node.spec("other", "def f(x): return x")
    node.spec("s", "def f(x): return x + 1")
    assert node.output("other", x=1) == 1
    assert node.trial(sample={"x": 1}).status == 200
    assert node.status()["workers"] == 1
    assert node.pool("other").get("workers", 0) == 0
    assert node.output("other", x=1) == 1


def test_a_trial_without_a_free_worker_is_a_503(make_node: MakeNode) -> None:
    node = make_node(max_workers=1, load_timeout=0.4, call_timeout=10)
    node.spec("busy", "import time\ndef f(x): time.sleep(x)", outputs="")
    node.spec("s", "def f(x): return x")
    node.call("busy", x=0)

    async def both() -> Any:
        import asyncio

        slow = asyncio.ensure_future(node.ask("busy", x=1))
        await asyncio.sleep(0.05)
        reply = await node.node.trial("s", node.specs["s"], None)
        await slow
        return reply

    reply = node.run(both())
    assert (reply.status, body_of(reply)["exceptionType"]) == (503, "PoolExhausted")
    assert reply.header["retry_after"] > 0
