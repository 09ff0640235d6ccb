"""Models that crash, hang, eat or were damaged, for real: others go on, and the next call works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.realtime_models import (
    deadly,
    endless,
    linear,
    many_nodes,
    nested,
    slow,
    slow_to_load,
    stuck,
)

from jupyter_mlserve.compute import client
from jupyter_mlserve.compute.client import Reply
from jupyter_mlserve.compute.realtime import client as realtime_client
from jupyter_mlserve.compute.realtime.flight import Recorder, crashed, record_of

from ..conftest import MakeNode, alive, body_of
from .conftest import MakeRealtime, RealtimeDriver


def kind_of(reply: Reply) -> tuple[int, str]:
    return reply.status, body_of(reply).get("exceptionType", "")


@pytest.fixture
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_BACKOFF", (0.0, 0.05, 0.05, 0.05, 0.05, 0.05))


# The process dies


def test_the_process_killed_during_calls(make_realtime: MakeRealtime, make_node: MakeNode) -> None:
    """Calls in flight answer 503, the next one works, and the standard services notice nothing."""
    standard, node = make_node(), make_realtime()
    standard.spec("s", "import os\ndef f(x): return os.getpid()")
    worker = standard.output(x=0)
    node.publish(endless())
    node.publish(linear(), "other")
    assert node.values("other") == [5.0]
    pid = node.node.pid
    assert pid is not None

    async def work() -> list[Reply]:
        calls = [asyncio.ensure_future(node.ask(a=1.0, b=1.0)) for _ in range(5)]
        await asyncio.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        return list(await asyncio.gather(*calls))

    start = time.monotonic()
    for reply in node.run(work()):
        assert kind_of(reply) == (503, "ComputeLost")
        assert "realtime process" in body_of(reply)["message"]
        assert body_of(reply)["success"] is False
        assert reply.header["retry_after"] > 0
    assert time.monotonic() - start < 5
    assert node.values("other") == [5.0]
    assert node.values(a=0.0, b=1.0) == [2.0]
    assert node.node.pid != pid
    assert node.status()["restarts"] == 1
    assert standard.output(x=0) == worker
    assert standard.node.restarts == 0


@pytest.mark.usefixtures("quick_restarts")
def test_a_model_that_crashes_the_process_is_held_back(realtime: RealtimeDriver) -> None:
    """ONNX Runtime is crashed for real. The version at fault is found, whatever else ran."""
    realtime.publish(deadly(), "deadly")
    realtime.publish(linear(), "good")
    realtime.publish(endless(), "beside")

    async def crash() -> list[Reply]:
        assert (await realtime.ask("good")).status == 200
        beside = asyncio.ensure_future(realtime.ask("beside", a=1.0, b=1.0))
        await asyncio.sleep(0.1)
        return list(await asyncio.gather(realtime.ask("deadly"), beside))

    for _ in range(3):
        assert [kind_of(reply) for reply in realtime.run(crash())] == [(503, "ComputeLost")] * 2
    pid = realtime.until(lambda: realtime.node.pid)
    reply = realtime.call("deadly")
    assert kind_of(reply) == (503, "Unavailable")
    assert "stopped the realtime process several times" in body_of(reply)["message"]
    assert 50 < reply.header["retry_after"] <= 60
    assert realtime.values("good") == [5.0]
    assert realtime.values("beside", a=0.0, b=1.0) == [2.0]
    assert realtime.node.pid == pid
    assert realtime.status()["held_back"] == 1


@pytest.mark.usefixtures("quick_restarts")
def test_it_is_tried_again_later_and_held_back_for_longer(
    realtime: RealtimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realtime_client, "_HELD_BACK", 0.4)
    realtime.publish(deadly())
    for _ in range(3):
        assert kind_of(realtime.call()) == (503, "ComputeLost")
    assert kind_of(realtime.call()) == (503, "Unavailable")
    realtime.until(lambda: kind_of(realtime.call()) == (503, "ComputeLost"))
    reply = realtime.call()
    assert kind_of(reply) == (503, "Unavailable")
    assert 0.5 < reply.header["retry_after"] <= 0.8
    # Publishing again starts with a clean record.
    realtime.run(realtime.node.retire("s"))
    realtime.publish(linear())
    assert realtime.values() == [5.0]


def test_who_is_blamed(tmp_path: Path) -> None:
    """By the slot of the thread that crashed; without one, everything that ran."""
    code = f"""
import ctypes, os, threading, time
from pathlib import Path
from jupyter_mlserve.compute.realtime.flight import Recorder, record_of
recorder = Recorder(Path({str(tmp_path)!r}), 3)
def work(slot, name, end):
    recorder.enter(slot)
    recorder.begin(slot, record_of("finished before"))
    recorder.end(slot)
    recorder.begin(slot, record_of(name))
    end()
threading.Thread(target=work, args=(1, "beside", lambda: time.sleep(60)), daemon=True).start()
time.sleep(0.2)
segv = lambda: ctypes.string_at(0)
kill = lambda: os.kill(os.getpid(), 9)
work(2, "killer", segv if MODE == "segv" else kill)
"""
    segv = [sys.executable, "-c", f"MODE = 'segv'\n{code}"]
    assert subprocess.run(segv, check=False).returncode == -signal.SIGSEGV
    assert crashed(tmp_path) == (["killer"], True)
    kill = [sys.executable, "-c", f"MODE = 'kill'\n{code}"]
    assert subprocess.run(kill, check=False).returncode == -signal.SIGKILL
    states, certain = crashed(tmp_path)
    assert (sorted(states), certain) == (["beside", "killer"], False)


def test_the_recorder_survives_odd_ids_and_a_damaged_file(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from jupyter_mlserve.compute.realtime.flight import Recorder, record_of
recorder = Recorder(Path({str(tmp_path)!r}), 2)
for slot, state in enumerate(["é" * 100, "x" * 300]):
    recorder.enter(slot)
    recorder.begin(slot, record_of(state))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert crashed(tmp_path) == (["é" * 100], False)
    (tmp_path / "slots").write_bytes(b"\xff" * 700)
    crashed(tmp_path)
    assert crashed(tmp_path / "nothing") == ([], False)
    assert Recorder.__doc__
    assert record_of("") == b"\0"


# Calls and loads that do not end


@pytest.mark.parametrize("warm", [False, True], ids=["in-a-thread", "in-the-event-loop"])
def test_an_endless_call_is_a_504(make_realtime: MakeRealtime, warm: bool) -> None:
    node = make_realtime(call_timeout=2.0)
    node.publish(endless())
    node.publish(linear(), "other")
    node.values("other")
    for _ in range(5 * warm):
        # Fast calls let the next one begin in the event loop; it must not stay there.
        assert node.values(a=0.0, b=1.0) == [2.0]
    pid = node.node.pid

    async def work() -> tuple[Reply, float]:
        start = time.monotonic()
        endless_one = asyncio.ensure_future(node.ask(a=1.0, b=1.0))
        await asyncio.sleep(0.45)
        # Long before the other ends.
        assert (await node.ask("other")).status == 200
        assert not endless_one.done()
        reply = await endless_one
        return reply, time.monotonic() - start

    reply, seconds = node.run(work())
    assert kind_of(reply) == (504, "CallTimeout")
    assert "2 seconds (call_timeout)" in body_of(reply)["message"]
    assert 1.9 < seconds < 8
    assert node.values(a=0.0, b=1.0) == [2.0]
    assert node.node.pid == pid


def test_a_call_that_waits_gets_the_thread_when_another_is_ended(
    make_realtime: MakeRealtime,
) -> None:
    node = make_realtime(threads=1, call_timeout=1.5)
    node.publish(endless(), "endless")
    node.publish(slow(1, 10), "other")

    async def work() -> list[Reply]:
        first = asyncio.ensure_future(node.ask("endless", a=1.0, b=1.0))
        await asyncio.sleep(1.0)
        return [*await asyncio.gather(node.ask("other"), first)]

    other, first = node.run(work())
    # The thread is free again before its own time is over.
    assert (other.status, first.status) == (200, 504)


def test_a_call_that_cannot_be_stopped_ends_the_process(make_realtime: MakeRealtime) -> None:
    """One multiplication that takes half a minute: 504 in time, and then a new process."""
    node = make_realtime(call_timeout=0.5, stuck_grace=0.5)
    node.publish(stuck())
    node.publish(endless(), "endless")
    assert node.values(a=1.0, b=1.0) == [3.0]
    pid = node.node.pid
    assert pid is not None
    rows = [1.0] * 4000  # too large a body for the event loop

    def ended() -> bool:
        """Asked again where a busy machine stops the call before the multiplication."""
        if not alive(pid):
            return True
        start = time.monotonic()
        reply = node.call(a=[9000.0, *rows], b=[1.0, *rows])
        assert kind_of(reply) == (504, "CallTimeout")
        assert time.monotonic() - start < 8
        with contextlib.suppress(AssertionError):
            node.until(lambda: not alive(pid), 5)
        return not alive(pid)

    node.until(ended, 30)
    node.until(lambda: node.call(a=1.0, b=1.0).status == 200)
    assert node.node._crashes.keys() == {"s"}


def test_a_call_stuck_in_the_event_loop_ends_the_process_too(make_realtime: MakeRealtime) -> None:
    node = make_realtime(call_timeout=0.5, stuck_grace=0.5)
    node.publish(stuck())
    for _ in range(5):
        node.values(a=1.0, b=1.0)
    start = time.monotonic()
    assert kind_of(node.call(a=4500.0, b=1.0)) == (503, "ComputeLost")
    assert time.monotonic() - start < 10
    assert node.values(a=1.0, b=1.0) == [3.0]


def test_a_load_that_takes_too_long_is_ended(make_realtime: MakeRealtime) -> None:
    node = make_realtime(load_timeout=0.3, stuck_grace=20)
    node.publish(many_nodes())
    node.publish(linear(), "other")
    node.values("other")
    pid = node.node.pid

    async def work() -> list[Reply]:
        waiting = [asyncio.ensure_future(node.ask()) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert (await node.ask("other")).status == 200
        return list(await asyncio.gather(*waiting))

    for reply in node.run(work()):
        assert kind_of(reply) == (504, "CallTimeout")
        assert "load_timeout" in body_of(reply)["message"]
    # It is not tried again at once.
    assert node.call().status == 504
    assert node.version() == {}
    assert node.values("other") == [5.0]
    assert node.node.pid == pid


@pytest.mark.parametrize("model", [slow_to_load, nested])
def test_a_load_that_cannot_be_ended_ends_the_process(
    make_realtime: MakeRealtime, model: Callable[[], bytes]
) -> None:
    node = make_realtime(load_timeout=0.3, stuck_grace=0.3)
    node.publish(model())
    node.publish(linear(), "other")
    assert kind_of(node.call()) == (503, "ComputeLost")
    assert node.values("other") == [5.0]
    assert node.node._crashes.keys() == {"s"}


# Damaged files


@pytest.mark.parametrize("damage", ["gone", "cut", "changed", "a folder"])
def test_a_damaged_blob_is_a_500_of_its_version_only(
    realtime: RealtimeDriver, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = realtime.publish(linear())
    realtime.publish(linear(4.0), "other")
    path = Path(spec["model"]["path"])
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[:-10])
    elif damage == "changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "a folder":
        path.mkdir()
    for _ in range(2):
        reply = realtime.call()
        assert kind_of(reply) == (500, "BundleCorrupt")
        assert "svc-s 1" in body_of(reply)["message"]
        assert "Publish the version again" in body_of(reply)["message"]
        assert str(path) not in reply.body.decode()
    assert realtime.values("other") == [8.0]
    if damage == "a folder":
        path.rmdir()
    path.write_bytes(data)
    # A load that failed is tried again after a second.
    realtime.until(lambda: realtime.call().status == 200, 20)


def test_a_blob_damaged_while_its_model_is_loaded_does_not_matter(realtime: RealtimeDriver) -> None:
    spec = realtime.publish(linear())
    realtime.values()
    Path(spec["model"]["path"]).unlink()
    assert realtime.values() == [5.0]


def test_bytes_that_are_no_model_fail_alone(realtime: RealtimeDriver) -> None:
    """Their digest is right, so they were stored like this."""
    realtime.publish(b"blobMLS1 and nothing that makes sense", "odd")
    realtime.publish(linear())
    reply = realtime.call("odd")
    assert kind_of(reply) == (500, "InternalError")
    assert "cannot be loaded" in body_of(reply)["message"]
    assert realtime.values() == [5.0]


# The server dies

SERVER = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from support.realtime_models import endless, slow, spec_of
from jupyter_mlserve.compute.realtime.client import RealtimeConfig, RealtimeNode

async def main():
    node = RealtimeNode(RealtimeConfig(work_dir={work!r}))
    folder = Path({work!r}) / "blobs"
    spec = spec_of(folder, endless())
    await node.start()
    call = asyncio.ensure_future(
        node.call("s", b'{{"inputData": {{"a": [1.0], "b": [1.0]}}}}', lambda: spec)
    )
    trial = asyncio.ensure_future(node.trial("t", spec_of(folder, slow(2000, 600))))
    await asyncio.sleep(1.0)
    print(node.pid, *[p for p in Path(f"/proc/{{node.pid}}/task").iterdir()][:0], flush=True)
    await asyncio.gather(call, trial)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_server_dies_the_process_dies(tmp_path: Path, number: int) -> None:
    """Also in the middle of a call, and with the trial that runs."""
    tests = Path(__file__).parents[2]
    script = SERVER.format(tests=str(tests), work=str(tmp_path / "work"))
    server = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        below = [pid, *children(pid)]
        assert len(below) == 2
        os.kill(server.pid, number)
        server.wait(10)
    end = time.monotonic() + 10
    while any(map(alive, below)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(map(alive, below))


def children(pid: int) -> list[int]:
    found: list[Any] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += (task / "children").read_text().split()
    return [int(item) for item in found]
