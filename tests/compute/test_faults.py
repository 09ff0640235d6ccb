"""Things are killed, stuck and flooded for real: clear answers, and the next call works."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlserve.compute.client import Reply

from .conftest import Driver, MakeNode, alive, below, body_of

SLEEP = "import os, time\ndef f(x):\n    time.sleep(x)\n    return os.getpid()"


def token_of(node: Driver) -> str:
    connection = node.node._connection
    assert connection is not None
    return connection.token


def meanwhile(node: Driver, action: Any, *inputs: float, delay: float = 0.3) -> list[Reply]:
    """Calls with ``inputs``, and ``action()`` while they run."""

    async def both() -> list[Reply]:
        running = [asyncio.ensure_future(node.ask(x=x)) for x in inputs]
        await asyncio.sleep(delay)
        action()
        return list(await asyncio.gather(*running))

    return node.run(both())


@pytest.fixture
def slow(make_node: MakeNode) -> Driver:
    node = make_node(pool_max=2, call_timeout=10.0)
    node.spec("s", SLEEP)
    node.call(x=0)
    return node


# Workers


def test_a_worker_killed_in_a_call_is_a_500_and_the_next_call_works(slow: Driver) -> None:
    (pid,) = slow.pool()["pids"]
    start = time.monotonic()
    (reply,) = meanwhile(slow, lambda: os.kill(pid, signal.SIGKILL), 5.0)
    assert time.monotonic() - start < 2
    assert (reply.status, body_of(reply)["exceptionType"]) == (500, "WorkerLost")
    assert "killed by SIGKILL" in body_of(reply)["message"]
    assert slow.output(x=0) != pid


def test_the_calls_of_other_workers_go_on(slow: Driver) -> None:
    async def both() -> list[Reply]:
        return list(await asyncio.gather(slow.ask(x=0.2), slow.ask(x=0.2)))

    slow.run(both())
    pids = slow.pool()["pids"]
    assert len(pids) == 2
    replies = meanwhile(slow, lambda: os.kill(pids[0], signal.SIGKILL), 0.8, 0.8)
    assert sorted(reply.status for reply in replies) == [200, 500]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("os._exit(3)", "exited with status 3"),
        ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
        ("os.abort()", "killed by SIGABRT"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ],
)
def test_code_that_kills_its_worker(make_node: MakeNode, line: str, says: str) -> None:
    node = make_node()
    node.spec("s", f"import os\ndef f(x):\n    if x: {line}\n    return x")
    reply = node.call(x=1)
    assert (reply.status, body_of(reply)["exceptionType"]) == (500, "WorkerLost")
    assert says in body_of(reply)["message"]
    assert "Traceback" not in reply.body.decode()
    if "SEGV" in says:
        # The owner sees where it crashed.
        assert 'File "<Svc 1.0: code>", line 3 in f' in reply.header["traceback"]
    assert node.output(x=0) == 0


def test_the_last_output_of_a_dying_worker_is_logged(make_node: MakeNode, caplog: Any) -> None:
    node = make_node()
    node.spec("s", "import os\ndef f(x):\n    print('my last words')\n    os._exit(3)")
    reply = node.call(x=1)
    assert reply.header["traceback"] == "my last words"
    assert (
        "died during a call: it exited with status 3; its last output:\nmy last words"
        in caplog.text
    )


def test_an_idle_worker_that_dies_is_not_noticed_by_callers(slow: Driver) -> None:
    for _ in range(3):
        (pid,) = slow.pool()["pids"]
        os.kill(pid, signal.SIGKILL)
        # At once: the node may not have been told yet.
        assert slow.call(x=0).status == 200


def test_calls_that_a_dead_worker_never_began_are_given_to_another(slow: Driver) -> None:
    """A stopped worker cannot read; when it is killed, the call it was given was not begun."""
    (pid,) = slow.pool()["pids"]
    os.kill(pid, signal.SIGSTOP)
    (reply,) = meanwhile(slow, lambda: os.kill(pid, signal.SIGKILL), 0)
    assert reply.status == 200


def test_a_stuck_call_is_ended_and_its_place_is_shown_to_owners(make_node: MakeNode) -> None:
    node = make_node(call_timeout=0.5)
    node.spec("s", "def g(x):\n    while x: pass\ndef f(x):\n    g(x)\n    return x")
    pid = node.pool().get("pids")
    start = time.monotonic()
    reply = node.call(x=1)
    assert 0.5 <= time.monotonic() - start < 2.5
    body = body_of(reply)
    assert (reply.status, body["exceptionType"]) == (504, "CallTimeout")
    assert "0.5 seconds (call_timeout)" in body["message"]
    assert body["details"] == {"limit": 0.5}
    frames = reply.header["traceback"].splitlines()
    assert frames[1:] == [
        '  File "<Svc 1.0: code>", line 2 in g',
        '  File "<Svc 1.0: code>", line 4 in f',
    ]
    assert node.output(x=0) == 0
    assert node.pool()["pids"] != pid


@pytest.mark.parametrize(
    "line",
    [
        "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 10, 12, 15, 37)]"
        "; time.sleep(60)",
        "import ctypes; ctypes.CDLL(None).sleep(60)",
        "import os; os.kill(os.getpid(), 19)",
    ],
    ids=["ignores-signals", "in-c-code", "stopped"],
)
def test_stuck_calls_that_resist(make_node: MakeNode, line: str) -> None:
    node = make_node(call_timeout=0.4)
    node.spec("s", f"def f(x):\n    if x:\n        {line}\n    return x")
    start = time.monotonic()
    assert node.call(x=1).status == 504
    assert time.monotonic() - start < 3
    assert node.output(x=0) == 0


def test_a_worker_is_ready_again_after_a_stuck_call(make_node: MakeNode) -> None:
    node = make_node(call_timeout=0.4)
    node.spec("s", "import time\ndef f(x): time.sleep(x)", outputs="")
    node.call(x=5)
    node.until(lambda: node.pool()["idle"] == 1)


def test_a_memory_hog_is_a_500_that_names_the_limit(make_node: MakeNode) -> None:
    node = make_node(worker_memory=300 * 1024**2)
    node.spec(
        "s", "def f(x):\n    kept = []\n    while x: kept.append(bytearray(10**7))\n    return x"
    )
    reply = node.call(x=1)
    body = body_of(reply)
    assert (reply.status, body["exceptionType"]) == (500, "WorkerLost")
    assert "300 MiB (worker_memory)" in body["message"]
    assert "MemoryError" in reply.header["traceback"]
    assert node.output(x=0) == 0


def test_memory_of_c_code_is_bounded_too(make_node: MakeNode) -> None:
    node = make_node(worker_memory=300 * 1024**2)
    code = """
import ctypes
def f(x):
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    return sum(libc.malloc(50 * 1024**2) is not None for _ in range(20))
"""
    node.spec("s", code)
    assert node.output(x=1) < 6


def test_endless_printing_is_ended_by_the_call_timeout(make_node: MakeNode) -> None:
    node = make_node(call_timeout=1.0, console_limit=1000, file_limit=200 * 1024**2)
    node.spec("s", "import os\ndef f(x):\n    while x: print('y' * 1000)\n    return x")
    node.spec("child", "import os\ndef f(x):\n    if x: os.system('yes')\n    return x")
    assert node.call("s", x=1).status == 504
    assert node.output("s", x=0) == 0
    # A child is ended by the call timeout too, or when it has filled the largest file allowed.
    assert node.call("child", x=1).status in (504, 200)
    assert node.output("child", x=0) == 0
    node.until(lambda: not any(name == b"yes" for name in command_names(token_of(node))))


def command_names(token: str) -> list[bytes]:
    return [Path(f"/proc/{pid}/comm").read_bytes().strip() for pid in below(token)]


def test_printing_of_children_stays_bounded_while_the_call_runs(make_node: MakeNode) -> None:
    """No file grows over its limit, and the node trims this one several times a second."""
    node = make_node(call_timeout=8.0, console_limit=1000, file_limit=20 * 1024**2)
    code = """
import os, time
def f(x):
    os.system("timeout 0.5 yes 2> /dev/null")
    largest = os.fstat(1).st_size
    end = time.monotonic() + 5
    while os.fstat(1).st_size > 1001 and time.monotonic() < end:
        time.sleep(0.05)
    return [largest, os.fstat(1).st_size]
"""
    node.spec("s", code, outputs="y: list")
    body = body_of(node.call(x=1))
    largest, trimmed = body["outputParameters"]["y"]
    assert largest <= 20 * 1024**2
    assert trimmed == 1001
    assert body["consoleOutput"].startswith("y\ny\n")
    assert "console output was cut here: 1000 bytes" in body["consoleOutput"]


def test_a_file_bomb_is_stopped(make_node: MakeNode) -> None:
    node = make_node(call_timeout=20, file_limit=5 * 1024**2)
    code = """
import time
def f(x):
    n = 0
    while x:
        n += 1
        open(str(n), "wb").write(bytes(10**6))
        time.sleep(0.02)
    return x
"""
    node.spec("s", code)
    reply = node.call(x=1)
    assert (reply.status, body_of(reply)["exceptionType"]) == (500, "WorkerLost")
    assert "at most 5,242,880 are allowed (file_limit)" in body_of(reply)["message"]
    assert node.output(x=0) == 0
    node.until(lambda: not list(Path(node.node.config.work_dir).rglob("1")))


def test_a_single_huge_file_cannot_be_written(make_node: MakeNode) -> None:
    node = make_node(file_limit=10_000)
    node.spec("s", "def f(x):\n    if x: open('a', 'wb').write(bytes(20_000))\n    return x")
    reply = node.call(x=1)
    assert reply.status == 400
    assert "File too large" in body_of(reply)["message"]
    assert node.output(x=0) == 0


def test_garbage_on_the_workers_connection_ends_the_worker_only(make_node: MakeNode) -> None:
    node = make_node()
    node.spec("s", "import os\ndef f(x):\n    if x: os.write(3, b'garbage' * 1000)\n    return x")
    assert node.call(x=1).status == 500
    assert node.output(x=0) == 0


# The compute node


def test_the_compute_node_killed_during_calls(slow: Driver) -> None:
    token, pid, workers = token_of(slow), slow.node.pid, slow.pool()["pids"]
    assert pid is not None
    start = time.monotonic()
    replies = meanwhile(slow, lambda: os.kill(pid, signal.SIGKILL), 5.0, 5.0, 5.0)
    assert time.monotonic() - start < 3
    for reply in replies:
        assert (reply.status, body_of(reply)["exceptionType"]) == (503, "ComputeLost")
        assert body_of(reply)["success"] is False
        assert reply.header["retry_after"] > 0
    # The next call works, with the same definition.
    assert slow.call(x=0).status == 200
    assert slow.node.restarts == 1
    assert slow.node.pid != pid
    slow.until(lambda: not below(token))
    assert not any(map(alive, workers))


def test_a_node_that_had_services_comes_back_by_itself(slow: Driver) -> None:
    pid = slow.node.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    slow.until(lambda: slow.node.pid not in (None, pid))


def test_a_node_that_dies_again_and_again_is_started_less_and_less_often(
    slow: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_mlserve.compute import client

    monkeypatch.setattr(client, "_BACKOFF", (0.0, 0.1, 0.2, 1.5))
    for _ in range(4):
        assert slow.call(x=0).status == 200
        pid = slow.node.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        slow.until(lambda pid=pid: slow.node.pid != pid)
    reply = slow.call(x=0)
    assert (reply.status, body_of(reply)["exceptionType"]) == (503, "ComputeLost")
    assert "stopped several times in a row" in body_of(reply)["message"]
    assert 1 < reply.header["retry_after"] <= 1.5
    slow.until(lambda: slow.call(x=0).status == 200, 10)


@pytest.fixture
def impatient(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> Driver:
    from jupyter_mlserve.compute import connection

    monkeypatch.setattr(connection, "_PING_EVERY", 0.1)
    monkeypatch.setattr(connection, "_SILENCE", 0.6)
    node = make_node()
    node.spec("s", SLEEP)
    return node


def test_a_node_that_does_not_answer_is_replaced(impatient: Driver) -> None:
    impatient.call(x=0)
    pid = impatient.node.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert impatient.call(x=0).status == 503
    assert impatient.call(x=0).status == 200
    assert not alive(pid)


def test_long_calls_do_not_look_like_silence(impatient: Driver) -> None:
    assert impatient.call(x=1.2).status == 200


# Nothing may be left


def test_children_of_a_killed_worker_die_with_it(make_node: MakeNode) -> None:
    node = make_node(call_timeout=0.8)
    code = """
import os, subprocess, time
def f(x):
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
    time.sleep(1000)
"""
    node.spec("s", code, outputs="")
    reply = node.call(x=1)
    assert reply.status == 504
    node.until(lambda: b"sleep" not in command_names(token_of(node)))


def test_a_forked_child_that_holds_the_connection_does_not_hide_the_death(
    make_node: MakeNode,
) -> None:
    node = make_node()
    code = """
import os, time
def f(x):
    if x:
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
        os._exit(1)
    return x
"""
    node.spec("s", code)
    start = time.monotonic()
    assert node.call(x=1).status == 500
    assert time.monotonic() - start < 3
    assert node.output(x=0) == 0


SERVER = """
import asyncio, json, os, sys
sys.path.insert(0, {tests!r})
from support.worker_process import load_spec
from jupyter_mlserve.compute.client import ComputeConfig, ComputeNode

async def main():
    node = ComputeNode(ComputeConfig(work_dir={work!r}))
    code = '''
import os, subprocess, time
def f(x):
    if x:
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        while True: pass
    return os.getpid()
'''
    spec = load_spec(code)
    worker = json.loads((await node.call("s", b'{{"x": 0}}', lambda: spec)).body)
    stuck = asyncio.ensure_future(node.call("s", b'{{"x": 1}}', lambda: spec))
    await asyncio.sleep(0.5)
    print(node.pid, node._connection.token, worker["outputParameters"]["y"], flush=True)
    await stuck

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_the_server_dies_everything_below_it_dies(tmp_path: Path, number: int) -> None:
    """Also a worker in the middle of a call, and what its code has started."""
    script = SERVER.format(tests=str(Path(__file__).parent.parent), work=str(tmp_path / "work"))
    server = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with server:
        assert server.stdout is not None
        node, token, worker = server.stdout.readline().split()
        assert alive(int(node))
        assert alive(int(float(worker)))
        assert len(below(token)) >= 3
        server.send_signal(number)
        server.wait(10)
    end = time.monotonic() + 10
    while (below(token) or alive(int(node))) and time.monotonic() < end:
        time.sleep(0.02)
    assert below(token) == []
    assert not alive(int(node))


def test_what_a_dead_server_left_is_removed_by_the_next_one(
    make_node: MakeNode, tmp_path: Path
) -> None:
    """Server and compute node are killed at the same moment: nobody is left to clean up."""
    work = tmp_path / "work"
    script = SERVER.format(tests=str(Path(__file__).parent.parent), work=str(work))
    server = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with server:
        assert server.stdout is not None
        node, token, worker = server.stdout.readline().split()
        os.kill(server.pid, signal.SIGSTOP)
        os.kill(int(node), signal.SIGKILL)
        server.kill()
        server.wait(10)
    end = time.monotonic() + 5
    while alive(int(float(worker))) and time.monotonic() < end:
        time.sleep(0.02)
    # The worker is gone by itself; what its code started is not.
    assert not alive(int(float(worker)))
    assert len(list(work.iterdir())) == 1
    assert len(below(token)) == 1
    driver = make_node()
    driver.spec("s", "def f(x): return x")
    assert driver.output(x=1) == 1
    assert below(token) == []
    assert len(list(work.iterdir())) == 1


def test_stopping_the_node_during_calls(slow: Driver) -> None:
    token = token_of(slow)

    async def stop_meanwhile() -> Reply:
        running = asyncio.ensure_future(slow.ask(x=5.0))
        await asyncio.sleep(0.2)
        await slow.node.stop()
        return await running

    reply = slow.run(stop_meanwhile())
    assert (reply.status, json.loads(reply.body)["exceptionType"]) == (503, "ComputeLost")
    assert below(token) == []
