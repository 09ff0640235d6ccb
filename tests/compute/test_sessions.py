"""Interpreters of sessions, through the compute node as the web node has it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dill
import pytest
from support.foreign_pickles import FOREIGN

from jupyter_mlserve.compute.client import ComputeConfig, ComputeNode, Reply
from jupyter_mlserve.compute.orphans import WORKER_MARK, marked

from .conftest import Driver, MakeNode, alive, body_of

Json = dict[str, Any]


class Room:
    """One session of ``driver``: open, and closed by the fixture that made it."""

    def __init__(self, driver: Driver, name: str, folder: Path) -> None:
        self.driver, self.name, self.folder = driver, name, folder
        self.node = driver.node
        folder.mkdir(exist_ok=True)

    def open(self, *workspace: tuple[str, Path], **more: Any) -> Reply:
        spec = {
            "interpreter": sys.executable,
            "directory": str(self.folder),
            "workspace": [{"name": name, "path": str(path)} for name, path in workspace],
            **more,
        }
        return self.driver.run(self.node.open_session(self.name, spec))

    async def ask(self, code: str, *outputs: str, **inputs: Any) -> Reply:
        request = {
            "code": code,
            "inputParameters": [{"name": k, "value": v} for k, v in inputs.items()],
            "outputParameters": list(outputs),
        }
        return await self.node.execute(self.name, json.dumps(request).encode())

    def do(self, code: str, *outputs: str, **inputs: Any) -> Json:
        """The ExecuteResponse, its outputs as a dict."""
        reply = self.driver.run(self.ask(code, *outputs, **inputs))
        assert reply.status == 200, reply
        result = body_of(reply)
        assert result["success"] is reply.header["success"]
        result["outputs"] = {x["name"]: x["value"] for x in result.pop("outputParameters")}
        return result

    def value(self, code: str, **inputs: Any) -> Any:
        """The value that the code gives to ``r``."""
        result = self.do(code, "r", **inputs)
        assert result["success"], result
        return result["outputs"]["r"]

    def meanwhile(self, code: str, action: Callable[[], Any]) -> tuple[Reply, Any]:
        """Run code; once it has printed something, await what ``action`` gives."""

        async def both() -> tuple[Reply, Any]:
            running = asyncio.ensure_future(self.ask(code))
            end = time.monotonic() + 20
            while time.monotonic() < end:
                said = await self.node.session_console(self.name)
                if running.done() or "go" in json.loads(said.body)["consoleOutput"]:
                    break
                await asyncio.sleep(0.02)
            assert not running.done(), running.result()
            found = await action()
            return await running, found

        return self.driver.run(both())

    def close(self, force: bool = False) -> Reply:
        return self.driver.run(self.node.close_session(self.name, force))

    def names(self) -> list[str]:
        reply = self.driver.run(self.node.session_objects(self.name))
        assert reply.status == 200, reply
        found: list[str] = json.loads(reply.body)
        return found

    def pid(self) -> int:
        return next(s["pid"] for s in self.driver.status()["sessions"] if s["session"] == self.name)


@pytest.fixture(scope="module")
def driver(
    loop: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Driver]:
    work = tmp_path_factory.mktemp("work")
    config = ComputeConfig(
        work_dir=str(work), session_grace=1.0, session_queue=2, console_limit=4096,
        worker_memory=1024**3, file_limit=4 * 1024**2, result_limit=1024**2,
    )  # fmt: skip
    driver = Driver(loop, ComputeNode(config))
    yield driver
    driver.run(driver.node.stop())
    assert not list(work.glob("*"))


@pytest.fixture
def other(driver: Driver, tmp_path: Path) -> Iterator[Room]:
    other = Room(driver, "other", tmp_path / "other")
    yield other
    assert other.close(force=True).status == 200


@pytest.fixture
def room(driver: Driver, tmp_path: Path) -> Iterator[Room]:
    room = Room(driver, tmp_path.name, tmp_path / "here")
    assert room.open().status == 200
    yield room
    assert room.close(force=True).status == 200
    assert driver.status()["sessions"] == []
    assert room.folder.is_dir()


def pack(path: Path, value: Any) -> Path:
    path.write_bytes(dill.dumps(value))
    return path


def says(reply: Reply, status: int, kind: str, *words: str) -> None:
    assert (reply.status, body_of(reply)["exceptionType"]) == (status, kind), reply
    for word in words:
        assert word in body_of(reply)["message"], body_of(reply)["message"]


# State, inputs, outputs


def test_state_stays_between_executions(room: Room) -> None:
    assert room.value("import os\nr = x + 1", x=3) == 4
    assert room.value("r += 1\ndef f(): return r, os.getpid()") == 5
    assert room.value("r = f()") == [5, room.pid()]
    assert room.names() == ["f", "os", "r", "x"]


def test_two_sessions_share_nothing(room: Room, other: Room) -> None:
    assert other.open().status == 200
    room.do("x = 1")
    other.do("y = 1; open('f', 'w')")
    assert (room.names(), other.names()) == (["x"], ["y"])
    assert list(room.folder.iterdir()) == []
    assert room.value("r = x") == 1


def test_code_that_raises_leaves_the_session_as_it_was(room: Room) -> None:
    result = room.do("x = 1\nprint('before')\ndef f(): return 1 / 0\nf()", "x")
    assert not result["success"]
    assert result["errorMessage"] == "ZeroDivisionError: division by zero"
    assert result["outputs"] == {}
    console = result["consoleOutput"]
    assert console.startswith("before\nTraceback")
    assert "def f(): return 1 / 0" in console
    assert "worker" not in console
    said = room.driver.run(room.node.session_console(room.name))
    assert body_of(said)["consoleOutput"] == console
    assert room.value("r = x") == 1


def test_a_request_that_is_none_is_refused(room: Room) -> None:
    for body in (b"", b"[]", b'{"code": 3}', b'{"code": "", "outputParameters": ["a b"]}'):
        reply = room.driver.run(room.node.execute(room.name, body))
        assert reply.status == 400, (body, reply)
        assert body_of(reply)["exceptionType"] == "InvalidInput"


def test_too_large_a_reply_is_said(room: Room) -> None:
    result = room.do("r = 'x' * 2_000_000", "r")
    assert not result["success"]
    assert "result_limit" in result["errorMessage"]
    assert room.value("r = len(r)") == 2_000_000


# Console, interrupts


def test_the_console_can_be_read_while_code_runs(room: Room) -> None:
    code = "import os, time\nprint('go')\nos.system('echo child')\ntime.sleep(0.5)\nprint('end')"
    seen = []

    async def look() -> None:
        while not seen or "child" not in seen[-1]:
            seen.append(body_of(await room.node.session_console(room.name))["consoleOutput"])
            await asyncio.sleep(0.02)

    reply, _ = room.meanwhile(code, look)
    assert seen[-1] == "go\nchild\n"
    assert body_of(reply)["consoleOutput"] == "go\nchild\nend\n"


@pytest.mark.parametrize(
    "code",
    [
        "import time\nprint('go')\ntime.sleep(60)",
        "print('go')\nwhile True: pass",
        "import asyncio\nprint('go')\nawait asyncio.sleep(60)",
        "import os\nprint('go')\nos.system('sleep 60')\nraise KeyboardInterrupt",
        "import time\nprint('go')\ntry: time.sleep(60)\nexcept BaseException: time.sleep(60)",
    ],
    ids=["sleep", "loop", "await", "child", "swallowed"],
)
def test_cancel_interrupts_and_the_session_lives_on(room: Room, code: str) -> None:
    room.do("kept = 1")
    reply, cancel = room.meanwhile(code, lambda: room.node.cancel_session(room.name))
    assert (cancel.status, body_of(cancel)) == (200, {"cancelled": True})
    result = body_of(reply)
    assert not result["success"]
    assert result["errorMessage"] == "KeyboardInterrupt"
    assert "_interrupted" not in result["consoleOutput"]
    assert room.value("r = kept") == 1


def test_a_signal_outside_of_an_execution_does_no_harm(room: Room) -> None:
    room.do("import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); r = 1")
    for _ in range(20):
        os.kill(room.pid(), signal.SIGINT)
        assert room.value("r = r") == 1
    reply = room.driver.run(room.node.cancel_session(room.name))
    assert (reply.status, body_of(reply)) == (200, {"cancelled": False})


def test_what_ignores_the_interrupt_is_killed(room: Room) -> None:
    code = """
print('go')
sum(range(10**12))  # C code that does not look for signals
"""
    start = time.monotonic()
    reply, cancel = room.meanwhile(code, lambda: room.node.cancel_session(room.name))
    assert time.monotonic() - start < 10
    says(reply, 410, "SessionLost", "killed", "Create another one")
    says(cancel, 410, "SessionLost", "did not react")
    assert "line 3" in reply.header["traceback"]
    says(room.driver.run(room.node.session_objects(room.name)), 410, "SessionLost")


# Ends


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; print('go'); os._exit(3)", "exited with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import ctypes; ctypes.memset(ctypes.CDLL(None).malloc(2**40) or 0, 0, 9)", "ended"),
    ],
)
def test_a_dead_interpreter_is_a_410_from_then_on(room: Room, code: str, words: str) -> None:
    says(room.driver.run(room.ask(code)), 410, "SessionLost", words)
    for work in (
        room.ask("1"),
        room.node.session_console(room.name),
        room.node.cancel_session(room.name),
        room.node.get_object(room.name, "x", "/nowhere"),
    ):
        says(room.driver.run(work), 410, "SessionLost", words)
    assert room.close().status == 200
    says(room.driver.run(room.ask("1")), 410, "SessionLost", "no interpreter")
    assert room.open().status == 200  # the name is free again


def test_killed_between_executions(room: Room) -> None:
    os.kill(room.pid(), signal.SIGKILL)
    room.driver.until(lambda: room.driver.status()["sessions"] == [])
    says(room.driver.run(room.ask("1")), 410, "SessionLost", "SIGKILL")


def test_exits_of_the_code_end_the_code_only(room: Room) -> None:
    for code in ("exit()", "import sys; sys.exit(3)", "raise SystemExit"):
        assert room.do(code)["errorMessage"].startswith("SystemExit")
    assert room.value("r = 1") == 1


def test_what_code_started_ends_with_the_session(room: Room) -> None:
    start = "import subprocess as s; p = s.Popen(['sleep', '60'], start_new_session={}); r = p.pid"
    pids = [room.value(start.format(own)) for own in (False, True)]
    pids.append(room.value("import os\nr = os.fork()\nif not r: raise ValueError"))
    assert room.value("r = 2") == 2
    pids.append(room.pid())
    assert alive(pids[0])
    assert alive(pids[1])
    assert room.close().status == 200
    assert [pid for pid in pids if alive(pid)] == []


def test_closing_needs_force_while_code_runs(room: Room) -> None:
    code = "import time\nprint('go')\ntime.sleep(60)"

    async def close() -> tuple[Reply, Reply]:
        refused = await room.node.close_session(room.name)
        return refused, await room.node.close_session(room.name, force=True)

    start = time.monotonic()
    reply, (refused, closed) = room.meanwhile(code, close)
    says(refused, 409, "Conflict", "busy")
    assert closed.status == 200
    says(reply, 410, "SessionLost", "closed")
    assert time.monotonic() - start < 10


def test_all_sessions_are_gone_with_the_compute_node(make_node: MakeNode, tmp_path: Path) -> None:
    room = Room(make_node(), "s", tmp_path / "here")
    assert room.driver.run(room.node.close_session("s")).status == 200  # there is no node yet
    says(room.driver.run(room.ask("1")), 410, "SessionLost")
    assert room.open().status == 200
    room.do("x = 1")
    token = room.node._connection
    assert token is not None

    async def kill() -> None:
        os.kill(room.node.pid or 0, signal.SIGKILL)

    reply, _ = room.meanwhile("print('go')\nwhile True: pass", kill)
    says(reply, 410, "SessionLost", "compute node")
    says(room.driver.run(room.ask("1")), 410, "SessionLost", "compute node")
    room.driver.run(room.node.start())
    says(room.driver.run(room.ask("1")), 410, "SessionLost", "compute node")
    room.driver.until(lambda: not list(marked(WORKER_MARK, f"{token.token}-1")))
    assert room.open().status == 200
    assert room.names() == []


def test_many_sessions_leave_nothing(make_node: MakeNode, tmp_path: Path) -> None:
    driver = make_node()
    rooms = [Room(driver, f"s{n}", tmp_path / f"here{n}") for n in range(6)]
    room = rooms[0]

    async def live(number: int, room: Room) -> None:
        spec = {"interpreter": sys.executable, "directory": str(room.folder)}
        assert (await room.node.open_session(room.name, spec)).status == 200
        reply = await room.ask("r = x", "r", x=number)
        assert body_of(reply)["outputParameters"] == [{"name": "r", "value": number}]
        assert (await room.node.close_session(room.name, force=number % 2 == 1)).status == 200

    async def many() -> None:
        for _ in range(3):
            await asyncio.gather(*[live(number, room) for number, room in enumerate(rooms)])

    driver.run(many())
    connection = room.node._connection
    assert connection is not None
    assert [path.name for path in connection.root.iterdir()] == ["token"]
    assert len(os.listdir(f"/proc/{room.node.pid}/fd")) < 30
    children = Path(f"/proc/{room.node.pid}/task/{room.node.pid}/children").read_text()
    assert children == ""


# Limits


def test_memory_is_limited(room: Room) -> None:
    result = room.do("print('go'); x = bytearray(2 * 1024**3)")
    assert result["errorMessage"].startswith("MemoryError")
    assert room.names() == []


def test_files_are_limited(room: Room, other: Room) -> None:
    result = room.do("open('a', 'wb').write(bytes(5_000_000))")
    assert "File too large" in result["errorMessage"]
    other.open(quota=5_000_000)
    code = """
import time
for name in 'bcdefg':
    open(name, 'wb').write(bytes(1_000_000))
time.sleep(60)
"""
    says(other.driver.run(other.ask(code)), 410, "SessionLost", "session_quota")


def test_the_console_is_limited(room: Room) -> None:
    result = room.do("import os\nprint('x' * 100_000)\nos.system('yes | head -c 100000')\n1 / 0")
    assert len(result["consoleOutput"]) < 5000
    assert "cut here" in result["consoleOutput"]
    assert "ZeroDivisionError" in result["consoleOutput"]


def test_time_is_limited(make_node: MakeNode, tmp_path: Path) -> None:
    room = Room(make_node(session_timeout=0.5, session_grace=0.4), "s", tmp_path / "here")
    room.open()
    room.do("kept = 1")
    code = "import time\ntime.sleep(60)"
    says(room.driver.run(room.ask(code)), 504, "CallTimeout", "session_timeout", "goes on")
    assert room.value("r = kept") == 1
    code = "while True:\n  try: time.sleep(60)\n  except BaseException: pass"
    says(room.driver.run(room.ask(code)), 504, "CallTimeout", "session_timeout", "killed")
    says(room.driver.run(room.ask("1")), 410, "SessionLost", "killed")


def test_the_queue_is_limited_and_kept_in_order(room: Room) -> None:
    async def many() -> list[Reply]:
        first = asyncio.ensure_future(room.ask("import time; order = []; time.sleep(0.3)"))
        await asyncio.sleep(0.05)
        later = await asyncio.gather(*[room.ask(f"order += [{n}]") for n in "123"])
        return [await first, *later]

    replies = room.driver.run(many())
    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    says(replies[-1], 429, "TooBusy", "session_queue")
    assert room.value("r = order") == [1, 2]


def test_a_request_does_not_wait_for_ever(make_node: MakeNode, tmp_path: Path) -> None:
    room = Room(make_node(load_timeout=2.0), "s", tmp_path / "here")
    room.open()

    async def wait() -> Reply:
        objects = await room.node.session_objects("s")
        await room.node.cancel_session("s")
        return objects

    _, objects = room.meanwhile("import time\nprint('go')\ntime.sleep(60)", wait)
    says(objects, 429, "TooBusy", "busy for the 2 seconds")
    assert room.names() == ["time"]


def test_the_number_of_sessions_is_limited(make_node: MakeNode, tmp_path: Path) -> None:
    driver = make_node(max_sessions=1)
    first, second = (Room(driver, name, tmp_path / name) for name in "ab")
    assert first.open().status == 200
    says(second.open(), 429, "TooBusy", "max_sessions")
    says(first.open(), 409, "Conflict", "open already")
    driver.spec("s", "def f(x): return x + 1")
    assert driver.output(x=1) == 2  # services have slots of their own
    first.close()
    assert second.open().status == 200


# Objects


def test_objects_go_in_and_out(room: Room, other: Room, tmp_path: Path) -> None:
    run, node, name = room.driver.run, room.node, room.name
    path = pack(tmp_path / "in", {"k": [1, 2]})
    assert run(node.set_object(name, "box", str(path))).status == 200
    room.do("class A:\n  def f(self): return box['k']\na = A()\nimport json as j\n_hidden = 1")
    assert room.names() == ["A", "a", "box", "j"]
    out = tmp_path / "out"
    assert run(node.get_object(name, "box", str(out))).status == 200
    assert dill.loads(out.read_bytes()) == {"k": [1, 2]}
    folder = tmp_path / "saved"
    folder.mkdir()
    reply = run(node.save_session(name, str(folder)))
    assert (reply.status, body_of(reply)) == (200, {"objects": ["A", "a", "box", "j"]})
    assert run(node.delete_object(name, "box")).status == 200
    assert room.names() == ["A", "a", "j"]
    says(run(node.delete_object(name, "box")), 404, "NotFound", "'box'")
    says(run(node.get_object(name, "box", str(out))), 404, "NotFound", "'box'")

    assert other.open(*[(found.name, found) for found in sorted(folder.iterdir())]).status == 200
    assert other.value("r = [a.f(), j.dumps(1)]") == [[1, 2], "1"]


def test_an_object_that_cannot_be_stored_is_named(room: Room, tmp_path: Path) -> None:
    room.do("a = 1; gen = (x for x in 'ab')")
    reply = room.driver.run(room.node.save_session(room.name, str(tmp_path)))
    says(reply, 400, "SessionFailed", "'gen'", "generator", "underscore")
    assert reply.header["field"] == "gen"
    assert not (tmp_path / "gen").exists()
    reply = room.driver.run(room.node.get_object(room.name, "gen", str(tmp_path / "x")))
    says(reply, 400, "SessionFailed", "'gen'")


class Crash:
    """Ends the interpreter that unpickles it, as objects of another Python version may."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


class Missing:
    def __reduce__(self) -> tuple[Any, ...]:
        return __import__, ("no_such_module",)


class Stuck:
    def __reduce__(self) -> tuple[Any, ...]:
        return time.sleep, (60,)


def test_a_session_whose_objects_cannot_be_loaded_is_not_opened(
    make_node: MakeNode, tmp_path: Path
) -> None:
    room = Room(make_node(load_timeout=2.0, session_grace=0.5), "s", tmp_path / "here")
    good = pack(tmp_path / "good", 1)
    wrong = {
        "crash": ("'x'", "status 9", "another Python version"),
        "missing": ("'x'", "no_such_module", "Install it"),
        "text": ("'x'", "could not be loaded"),
        "gone": ("'x'", "No such file"),
        "old": ("'x' was packed under Python 3.7 or older, and is to run under Python 3.",),
    }
    pack(tmp_path / "crash", Crash())
    pack(tmp_path / "missing", Missing())
    (tmp_path / "text").write_text("no pickle")
    (tmp_path / "old").write_bytes(FOREIGN["3.7/0.3.7"]["model"])
    for name, words in wrong.items():
        reply = room.open(("y", good), ("x", tmp_path / name))
        says(reply, 400, "SessionFailed", *words)
        assert reply.header["field"] == "x"
        says(room.driver.run(room.ask("1")), 410, "SessionLost")
    says(room.open(("x", pack(tmp_path / "stuck", Stuck()))), 504, "CallTimeout", "load_timeout")
    says(room.open(("a b", good)), 400, "SessionFailed", "'a b'")
    assert room.open(("y", good)).status == 200
    assert room.names() == ["y"]
    reply = room.driver.run(room.node.set_object("s", "x", str(tmp_path / "missing")))
    says(reply, 400, "SessionFailed", "'x'", "no_such_module")
    assert room.value("r = y") == 1


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"interpreter": "/no/such/python"}, "/no/such/python"),
        ({"interpreter": "/bin/true"}, "could not be started"),
        ({"interpreter": __file__}, "not a program"),
        ({"directory": "/no/such/folder"}, "directory"),
    ],
)
def test_a_session_that_cannot_start_says_why(
    driver: Driver, tmp_path: Path, spec: Json, words: str
) -> None:
    room = Room(driver, "s", tmp_path / "here")
    says(room.open(**spec), 400, "SessionFailed", words)
    driver.until(lambda: driver.status()["sessions"] == [])
    assert not os.path.exists("/no")
