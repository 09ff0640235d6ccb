"""The realtime process: calls, loading on demand, the memory budget, its limits."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.realtime_models import Json, hungry, linear, slow

from jupyter_mlserve.compute.client import Reply
from jupyter_mlserve.compute.realtime.client import RealtimeConfig, RealtimeNode
from jupyter_mlserve.compute.realtime.config import HEADROOM

from ..conftest import body_of
from .conftest import MakeRealtime, RealtimeDriver

MiB = 1024 * 1024


def resident(driver: RealtimeDriver) -> int:
    """Bytes of the realtime process."""
    return int(Path(f"/proc/{driver.node.pid}/statm").read_text().split()[1]) * 4096


def test_a_call_is_answered_with_the_published_result(realtime: RealtimeDriver) -> None:
    realtime.publish(linear(3.0))
    reply = realtime.call(a=[1.0, -2.0], b=[2.0, 0.5])
    assert reply.status == 200
    assert body_of(reply) == {
        "success": True,
        "errorMessage": "",
        "consoleOutput": "",
        "changedFiles": [],
        "outputFiles": {},
        "outputParameters": {"outputData": {"Pred": [7.0, -5.0]}},
    }
    assert 0 < reply.header["seconds"] < 5


def test_wrong_input_is_a_400_in_the_one_error_shape(realtime: RealtimeDriver) -> None:
    realtime.publish(linear())
    for _ in range(3):  # in a thread and in the event loop
        reply = realtime.call(b=[1.0], a=[1.0])
        assert (reply.status, body_of(reply)["exceptionType"]) == (400, "InvalidInput")
        assert body_of(reply)["success"] is False
        assert body_of(reply)["fields"] == reply.header["field"] == "inputData"
    assert realtime.values(a=1.0, b=1.0) == [3.0]


def test_the_client_imports_nothing_heavy() -> None:
    code = "import sys, jupyter_mlserve.compute.realtime.client; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "onnx", "onnxruntime", "msgspec", "orjson", "PIL", "pyarrow", "pandas"}
    assert not heavy & set(eval(done.stdout))


def test_the_process_loads_neither_onnx_nor_what_nobody_asked_for(realtime: RealtimeDriver) -> None:
    realtime.publish(linear())
    realtime.values()
    maps = Path(f"/proc/{realtime.node.pid}/maps").read_text()
    assert "onnxruntime" in maps
    for name in ("/onnx/", "/pyarrow/", "/PIL/", "/pandas/", "/sklearn/", "/scipy/"):
        assert name not in maps


def test_small_calls_of_a_fast_model_run_in_the_event_loop(realtime: RealtimeDriver) -> None:
    """While both threads work for a second, they are answered at once."""
    realtime.publish(linear())
    realtime.publish(slow(60, 500), "slow")
    rows = [1.0] * 1500

    async def both() -> tuple[float, list[Reply]]:
        for state in ("s", "s", "slow"):
            assert (await realtime.ask(state)).status == 200
        long = [asyncio.ensure_future(realtime.ask("slow", a=rows, b=rows)) for _ in range(3)]
        await asyncio.sleep(0.1)
        start = time.monotonic()
        for _ in range(20):
            assert (await realtime.ask()).status == 200
        spent = time.monotonic() - start
        assert not any(call.done() for call in long)
        return spent, list(await asyncio.gather(*long))

    spent, replies = realtime.run(both())
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert spent < 0.5


def test_large_calls_run_side_by_side(make_realtime: MakeRealtime) -> None:
    node = make_realtime(threads=2)
    node.publish(slow(30, 400))
    rows = [1.0] * 1000

    async def work() -> int:
        await node.ask()
        calls = [asyncio.ensure_future(node.ask(a=rows, b=rows)) for _ in range(4)]
        await asyncio.sleep(0.05)
        busy = (await node.node.status())["busy"]
        assert {reply.status for reply in await asyncio.gather(*calls)} == {200}
        return int(busy)

    assert node.run(work()) == 2


def test_versions_take_turns_in_the_threads(make_realtime: MakeRealtime) -> None:
    """One version's queue does not come before another version's first call."""
    node = make_realtime(threads=1)
    node.publish(slow(20, 400), "many")
    node.publish(slow(20, 400), "one")
    rows = [1.0] * 600

    async def both() -> int:
        await asyncio.gather(node.ask("many"), node.ask("one"))
        queue = [asyncio.ensure_future(node.ask("many", a=rows, b=rows)) for _ in range(8)]
        await asyncio.sleep(0.02)
        assert (await node.ask("one", a=rows, b=rows)).status == 200
        waiting = sum(not call.done() for call in queue)
        assert {reply.status for reply in await asyncio.gather(*queue)} == {200}
        return waiting

    assert node.run(both()) >= 4


def test_models_load_when_they_are_called_and_only_once(realtime: RealtimeDriver) -> None:
    realtime.publish(linear(size=8 * MiB))

    async def flood() -> set[int]:
        return {
            reply.status for reply in await asyncio.gather(*[realtime.ask() for _ in range(50)])
        }

    assert realtime.status()["running"] is False
    assert realtime.run(flood()) == {200}
    about = realtime.version()
    assert (about["loads"], about["calls"], about["loaded"]) == (1, 50, True)
    assert 8 * MiB < about["bytes"] < 20 * MiB
    assert realtime.status()["bytes"] == about["bytes"]


def test_200_versions_take_the_memory_of_the_budget(make_realtime: MakeRealtime) -> None:
    """Each takes 1 MiB; 16 MiB of loaded models may be there at a time, and the rest comes back."""
    node = make_realtime(model_memory=16 * MiB)
    for number in range(200):
        node.publish(linear(float(number), MiB), f"v{number}")
    node.publish(linear(), "warm")
    node.values("warm")
    before = resident(node)
    for number in range(200):
        assert node.values(f"v{number}", a=1.0, b=0.0) == [float(number)]
    about = node.status()
    assert about["bytes"] <= about["budget"] == 16 * MiB
    assert 5 <= about["sessions"] <= 16
    assert about["evictions"] >= 180
    assert resident(node) - before < 40 * MiB
    # The least recently used went; the last is there; the first one comes back.
    assert node.version("v0") == {}
    assert node.version("v199")["loaded"]
    assert node.values("v0", a=1.0, b=1.0) == [2.0]
    assert node.version("v0")["loads"] == 2


def test_what_is_used_stays_loaded(make_realtime: MakeRealtime) -> None:
    node = make_realtime(model_memory=30 * MiB)
    node.publish(linear(7.0, 4 * MiB), "used")
    for number in range(12):
        node.publish(linear(float(number), 4 * MiB), f"v{number}")
        node.values(f"v{number}")
        assert node.values("used", a=1.0, b=0.0) == [7.0]
    assert node.version("used")["loads"] == 1


def test_more_versions_at_a_time_than_fit_still_get_their_turn(make_realtime: MakeRealtime) -> None:
    """What was just loaded scores a call before another model takes its place."""
    node = make_realtime(model_memory=3 * MiB, call_timeout=20.0)
    for number in range(8):
        node.publish(linear(float(number), 400_000), f"v{number}")

    async def calls(number: int) -> list[float]:
        found = []
        for _ in range(8):
            reply = await node.ask(f"v{number}", a=1.0, b=0.0)
            assert reply.status == 200, reply
            found += body_of(reply)["outputParameters"]["outputData"]["Pred"]
        return found

    async def work() -> list[list[float]]:
        return await asyncio.gather(*map(calls, range(8)))

    assert node.run(work()) == [[float(number)] * 8 for number in range(8)]
    # Each call may have to load its model again, but once.
    assert node.status()["evictions"] <= 2 * 64


def test_many_definitions_make_no_start_slower(make_realtime: MakeRealtime) -> None:
    """They are not loaded, nor even told to the process, until they are called."""
    node = make_realtime()
    for number in range(200):
        node.publish(linear(), f"v{number}")
    node.run(node.node.start())
    assert node.status()["versions"] == []
    node.values("v7")
    assert [item["state"] for item in node.status()["versions"]] == ["v7"]


def test_a_model_over_the_whole_budget_is_refused_with_its_name(
    make_realtime: MakeRealtime,
) -> None:
    node = make_realtime(model_memory=4 * MiB)
    node.publish(linear(size=8 * MiB))
    node.publish(linear(), "small")
    reply = node.call()
    assert (reply.status, body_of(reply)["exceptionType"]) == (507, "OutOfSpace")
    assert "4 MiB (model_memory)" in body_of(reply)["message"]
    assert node.values("small") == [5.0]


def test_a_retired_version_is_unloaded_and_forgotten(realtime: RealtimeDriver) -> None:
    realtime.publish(linear(size=4 * MiB))
    realtime.values()
    assert realtime.status()["sessions"] == 1
    realtime.run(realtime.node.retire("s"))
    assert (realtime.status()["sessions"], realtime.status()["bytes"]) == (0, 0)
    # Asked for again, it is defined again.
    assert realtime.values() == [5.0]


def test_calls_in_flight_end_when_their_version_is_retired(realtime: RealtimeDriver) -> None:
    realtime.publish(slow(20, 400))
    rows = [1.0] * 1000

    async def work() -> list[int]:
        await realtime.ask()
        calls = [asyncio.ensure_future(realtime.ask(a=rows, b=rows)) for _ in range(5)]
        await asyncio.sleep(0.02)
        await realtime.node.retire("s")
        return [reply.status for reply in await asyncio.gather(*calls)]

    assert realtime.run(work()) == [200] * 5
    realtime.until(lambda: realtime.status()["sessions"] == 0)


def test_a_full_queue_is_a_429(make_realtime: MakeRealtime) -> None:
    node = make_realtime(threads=1, max_queue=3)
    node.publish(slow(20, 400))
    rows = [1.0] * 1000

    async def flood() -> list[Reply]:
        await node.ask()
        return list(await asyncio.gather(*[node.ask(a=rows, b=rows) for _ in range(8)]))

    replies = node.run(flood())
    assert sorted(reply.status for reply in replies) == [200] * 4 + [429] * 4
    refused = next(reply for reply in replies if reply.status == 429)
    assert body_of(refused)["exceptionType"] == "TooBusy"
    assert "max_queue" in body_of(refused)["message"]
    assert refused.header["retry_after"] > 0


def test_calls_wait_for_a_model_in_a_bounded_queue(make_realtime: MakeRealtime) -> None:
    node = make_realtime(max_queue=5)
    node.publish(linear(size=32 * MiB))

    async def flood() -> list[int]:
        return [reply.status for reply in await asyncio.gather(*[node.ask() for _ in range(9)])]

    assert sorted(node.run(flood())) == [200] * 5 + [429] * 4


def test_bodies_held_at_a_time_are_bounded(make_realtime: MakeRealtime) -> None:
    node = make_realtime(max_pending=1000)
    node.publish(linear())
    assert node.call(a=[1.0] * 500, b=[1.0] * 500).status == 429
    assert node.call().status == 200


def test_a_large_result_is_refused(make_realtime: MakeRealtime) -> None:
    node = make_realtime(result_limit=1000)
    node.publish(linear())
    rows = [1.23456789] * 500
    reply = node.call(a=rows, b=rows)
    assert (reply.status, body_of(reply)["exceptionType"]) == (400, "ServiceFailed")
    assert "result_limit" in body_of(reply)["message"]
    assert node.call().status == 200


def test_a_caller_that_goes_away_frees_its_place(make_realtime: MakeRealtime) -> None:
    node = make_realtime(threads=1, call_timeout=30)
    node.publish(slow(400, 500))
    rows = [1.0] * 2000

    async def work() -> float:
        await node.ask()
        calls = [asyncio.ensure_future(node.ask(a=rows, b=rows)) for _ in range(3)]
        await asyncio.sleep(0.3)
        for call in calls:
            call.cancel()
        start = time.monotonic()
        assert (await node.ask(a=rows[:2], b=rows[:2])).status == 200
        return time.monotonic() - start

    # One run takes many seconds; it was ended.
    assert node.run(work()) < 5


def test_a_memory_bomb_fails_alone(make_realtime: MakeRealtime) -> None:
    node = make_realtime(model_memory=64 * MiB, runtime_memory=HEADROOM + 128 * MiB)
    node.publish(hungry())
    node.publish(linear(), "other")
    pid = node.values() and node.node.pid
    start = time.monotonic()
    reply = node.call(a=60_000, b=2)  # 29 GB
    assert (reply.status, body_of(reply)["exceptionType"]) == (500, "InternalError")
    assert "runtime_memory" in body_of(reply)["message"]
    assert time.monotonic() - start < 15
    assert node.values("other") == node.values() == [5.0]
    assert node.node.pid == pid
    assert resident(node) < 400 * MiB


def test_memory_of_a_large_call_is_given_back(realtime: RealtimeDriver) -> None:
    realtime.publish(hungry())
    realtime.values()
    before = resident(realtime)
    rows = [5000.0] + [1.0] * 2000  # 200 MB; too many rows for the event loop
    assert realtime.call(a=rows, b=rows).status == 200
    realtime.until(lambda: resident(realtime) - before < 60 * MiB)


def test_status_of_a_process_that_does_not_run(realtime: RealtimeDriver) -> None:
    about = realtime.status()
    assert about == {
        "running": False,
        "pid": None,
        "restarts": 0,
        "down": 0.0,
        "sessions": 0,
        "bytes": 0,
        "budget": 1024 * MiB,
        "held_back": 0,
        "calls": 0,
        "busy": 0,
        "queue": 0,
        "blocks": 0,
        "versions": [],
    }


def test_the_process_limits_itself(realtime: RealtimeDriver) -> None:
    realtime.run(realtime.node.start())
    proc = Path(f"/proc/{realtime.node.pid}")
    limits = {
        line[:26].strip(): line[26:].split()[0]
        for line in (proc / "limits").read_text().splitlines()[1:]
    }
    assert limits["Max core file size"] == "0"
    assert int(limits["Max data size"]) == RealtimeConfig().runtime_memory
    assert int(limits["Max file size"]) <= 16 * MiB
    status = dict(
        line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    assert status["Umask"] == "0077"
    root = Path((proc / "cwd").readlink())
    assert root.parent == Path(realtime.node.config.work_dir)
    assert root.stat().st_mode & 0o777 == 0o700
    environment = (proc / "environ").read_bytes()
    assert b"JUPYTER_TOKEN=" not in environment


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"call_timeout": 0}, "call_timeout must be more than 0"),
        ({"load_timeout": float("nan")}, "load_timeout must be more than 0"),
        ({"max_rows": 0}, "max_rows must be at least 1"),
        ({"threads": -1}, "threads must not be negative"),
        ({"runtime_memory": 2**30}, "runtime_memory must be 0 or at least"),
        ({"trial_memory": 1}, "trial_memory must be at least"),
    ],
)
def test_limits_that_make_no_sense_are_refused(values: Json, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RealtimeConfig(**values)


def test_limits_travel_to_the_process_and_back() -> None:
    config = RealtimeConfig(threads=3, call_timeout=1.5)
    assert RealtimeConfig.from_dict({**config.to_dict(), "root": "/", "new": 1}) == config
    assert config.thread_count == 3
    assert RealtimeConfig().thread_count >= 2
    assert RealtimeConfig(runtime_memory=0).run_memory == 0


def test_media_travel_to_the_scorer(realtime: RealtimeDriver) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    realtime.publish(linear())
    sink = pyarrow.BufferOutputStream()
    table = pyarrow.table({"a": [1.0, 2.0], "b": [0.0, 1.0]})
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue().to_pybytes()

    async def ask(media: str, sent: bytes) -> Reply:
        return await realtime.node.call("s", sent, lambda: realtime.specs["s"], media)

    as_json = json.dumps({"inputData": {"a": [1.0, 2.0], "b": [0.0, 1.0]}}).encode()
    for _ in range(3):
        for media, sent in (("aa", body), ("aj", body), ("ja", as_json), ("", as_json)):
            reply = realtime.run(ask(media, sent))
            assert reply.status == 200, reply
            found: Any
            if media.endswith("a"):
                found = pyarrow.ipc.open_stream(reply.body).read_all().to_pydict()
            else:
                found = body_of(reply)["outputParameters"]["outputData"]
            assert found == {"Pred": [1.0, 4.0]}


def test_one_object_is_one_process(make_realtime: MakeRealtime) -> None:
    first, second = make_realtime(), make_realtime()
    for node in (first, second):
        node.publish(linear())
        node.values()
    assert first.node.pid != second.node.pid
    assert isinstance(first.node, RealtimeNode)
