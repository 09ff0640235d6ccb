"""Blocks of records in the realtime process: calls come first, whatever the blocks do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.realtime_models import deadly, endless, linear, slow

from jupyter_mlserve.compute import client
from jupyter_mlserve.compute.block import PATIENCE, Block
from jupyter_mlserve.compute.client import Reply
from jupyter_mlserve.compute.realtime import client as realtime_client
from jupyter_mlserve.compute.realtime import queues
from jupyter_mlserve.compute.realtime.cache import Version
from jupyter_mlserve.compute.realtime.queues import NEVER, Call, Turns

from ..conftest import body_of
from .conftest import MakeRealtime, RealtimeDriver

MiB = 1024 * 1024
LONG = Block(budget=30.0)


def lines(*rows: Any, b: Any = 1.0) -> bytes:
    """A record of one row for each ``a``."""
    return b"".join(json.dumps({"inputData": {"a": [a], "b": [b]}}).encode() + b"\n" for a in rows)


async def send(
    node: RealtimeDriver, state: str, body: bytes, block: Block = LONG, media: str = "ll"
) -> Reply:
    return await node.node.call(state, body, lambda: node.specs[state], media, block)


def start(node: RealtimeDriver, state: str, body: bytes, **more: Any) -> asyncio.Task[Reply]:
    return asyncio.ensure_future(send(node, state, body, **more))


def results(reply: Reply) -> list[Any]:
    assert reply.status == 200, reply
    found = [json.loads(line) for line in reply.body.splitlines()]
    assert len(found) == reply.header["done"]
    assert reply.header["failed"] == sum(not item["success"] for item in found)
    return found


def values(reply: Reply) -> list[Any]:
    return [item["outputParameters"]["outputData"]["Pred"][0] for item in results(reply)]


def test_lines_in_and_results_out(realtime: RealtimeDriver) -> None:
    """A failed record is a line with the error of its own call."""
    realtime.publish(linear(3.0))
    body = lines(1.0, "x", None, 4.0)
    for media in ("ll", ""):
        reply = realtime.run(send(realtime, "s", body, media=media))
        found = results(reply)
        assert (reply.header["done"], reply.header["failed"]) == (4, 2)
        assert 0 < reply.header["seconds"] < 5
        assert found == [body_of(realtime.call(a=a, b=1.0)) for a in (1.0, "x", None, 4.0)]
    many = realtime.run(send(realtime, "s", lines(*range(5000))))
    assert values(many) == [3.0 * a + 2 for a in range(5000)]
    status = realtime.status()
    assert (status["busy"], status["queue"], status["blocks"]) == (0, 0, 0)


def test_arrow_in_and_arrow_out(realtime: RealtimeDriver) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    realtime.publish(linear(3.0))

    def stream(**columns: Any) -> bytes:
        sink = pyarrow.BufferOutputStream()
        table = pyarrow.table(columns)
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=1000)
        found: bytes = sink.getvalue().to_pybytes()
        return found

    numbers = [float(n) for n in range(2500)]
    reply = realtime.run(send(realtime, "s", stream(a=numbers, b=numbers), media="aa"))
    assert reply.status == 200
    found = pyarrow.ipc.open_stream(reply.body).read_all().to_pydict()
    assert found == {"Pred": [5 * n for n in numbers]}
    reply = realtime.run(send(realtime, "s", stream(a=numbers, b=[None] * 2500), media="aa"))
    assert (reply.status, body_of(reply)["exceptionType"]) == (400, "InvalidInput")
    assert body_of(reply)["success"] is False


# Calls come first


def test_calls_come_before_blocks_and_blocks_take_turns(make_realtime: MakeRealtime) -> None:
    """One thread, full of blocks: calls of any version wait for none; blocks go by version."""
    node = make_realtime(threads=1)
    for state in ("many", "few", "called"):
        node.publish(slow(20, 400), state)
    rows = [1.0] * 600  # more than the event loop would take
    order: list[str] = []

    async def block(state: str) -> None:
        assert (await send(node, state, lines(*rows))).status == 200
        order.append(state)

    async def work() -> None:
        await asyncio.gather(*[node.ask(state) for state in ("many", "few", "called")])
        blocks = [asyncio.ensure_future(block("many")) for _ in range(6)]
        blocks += [asyncio.ensure_future(block("few")) for _ in range(2)]
        await asyncio.sleep(0.02)
        status = await node.node.status()
        assert (status["busy"], status["queue"], status["blocks"]) == (1, 0, 8)
        for state in ("called", "many"):
            assert (await node.ask(state, a=rows, b=rows)).status == 200
        assert sum(not done.done() for done in blocks) >= 4
        await asyncio.gather(*blocks)

    node.run(work())
    assert order[:4].count("few") >= 1
    assert set(order[:5]) == {"many", "few"}
    assert order[-2:] == ["many", "many"]


def test_blocks_take_every_thread_and_give_them_up(make_realtime: MakeRealtime) -> None:
    """A block that runs ends between two pieces when a call has to wait."""
    node = make_realtime(threads=2)
    node.publish(slow(20, 400))
    rows = [1.0] * 600

    async def work() -> None:
        await node.ask()
        await send(node, "s", lines(*rows[:50]))
        blocks = [start(node, "s", lines(*rows * 20)) for _ in range(2)]
        await asyncio.sleep(0.1)
        status = await node.node.status()
        assert (status["busy"], status["blocks"]) == (2, 2)
        begin = time.monotonic()
        # One has a thread left for it; the others need those of the blocks.
        calls = [asyncio.ensure_future(node.ask(a=rows, b=rows)) for _ in range(3)]
        assert {reply.status for reply in await asyncio.gather(*calls)} == {200}
        took = time.monotonic() - begin
        replies = await asyncio.gather(*blocks)
        for reply in replies:
            assert 0 < reply.header["done"] < 12_000
            assert len(values(reply)) == reply.header["done"]
        # All of both blocks would have taken several times as long.
        assert took < 4

    node.run(work())


def test_calls_that_never_end_leave_a_share_to_blocks(make_realtime: MakeRealtime) -> None:
    """Both threads always have calls that wait; a block that is due need not end for them."""
    node = make_realtime(threads=1)
    node.publish(slow(20, 400))
    rows = [1.0] * 600  # more than the event loop would take

    async def work() -> None:
        await send(node, "s", lines(*rows[:50]))
        waits = []

        async def caller() -> None:
            while True:
                begin = time.monotonic()
                assert (await node.ask(a=rows, b=rows)).status == 200
                waits.append(time.monotonic() - begin)

        calls = [asyncio.ensure_future(caller()) for _ in range(4)]
        await asyncio.sleep(0.2)
        begin = time.monotonic()
        reply = await send(node, "s", lines(*rows * 20), Block(budget=0.4))
        assert 1.5 < time.monotonic() - begin < 6
        # As many as it has time for, not the first piece only.
        assert reply.header["seconds"] > 0.1 or reply.header["done"] == 12_000
        assert max(waits) < 2
        assert not any(call.done() for call in calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    node.run(work())


def test_small_calls_run_in_the_event_loop_but_no_block_does(realtime: RealtimeDriver) -> None:
    """Its calls being quick says nothing of the records of a block."""
    realtime.publish(endless())
    realtime.publish(linear(), "other")

    async def work() -> None:
        for _ in range(5):
            for state in ("s", "other"):
                assert (await realtime.ask(state, a=0.0, b=1.0)).status == 200
        blocks = [start(realtime, "s", lines(1.0)) for _ in range(2)]
        await asyncio.sleep(0.1)
        begin = time.monotonic()
        for _ in range(20):
            assert (await realtime.ask("other")).status == 200
            assert (await realtime.ask(a=0.0, b=1.0)).status == 200
        assert time.monotonic() - begin < 1
        status = await realtime.node.status()
        assert (status["busy"], status["blocks"]) == (2, 2)
        for block in blocks:
            block.cancel()

    realtime.run(work())


def test_long_calls_of_one_version_leave_a_thread_to_others(make_realtime: MakeRealtime) -> None:
    node = make_realtime(threads=2, call_timeout=20.0)
    node.publish(endless(), "long")
    node.publish(slow(20, 400), "other")
    rows = [1.0] * 600

    async def work() -> None:
        await node.ask("long", a=0.0, b=1.0)
        long = [asyncio.ensure_future(node.ask("long", a=1.0, b=1.0)) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert (await node.node.status())["busy"] == 2
        for _ in range(2):
            assert (await node.ask("other", a=rows, b=rows)).status == 200
        assert not any(call.done() for call in long)
        for call in long:
            call.cancel()

    node.run(work())


# Limits


def test_blocks_wait_without_a_deadline_in_a_queue_of_their_own(
    make_realtime: MakeRealtime,
) -> None:
    node = make_realtime(threads=1, call_timeout=0.4, max_queue=2)
    node.publish(slow(20, 400))

    async def work() -> None:
        await node.ask()
        begin = time.monotonic()
        blocks = [start(node, "s", lines(*[1.0] * 80)) for _ in range(66)]
        found = await asyncio.wait_for(asyncio.gather(*blocks), 50)
        assert time.monotonic() - begin > 0.5
        assert sorted({reply.status for reply in found}) == [200, 429]
        refused = [reply for reply in found if reply.status == 429]
        assert len(refused) == 1  # one ran, 64 waited
        assert refused[0].header["retry_after"] > 0
        assert "blocks" in body_of(refused[0])["message"]

    node.run(work())


def test_a_record_that_never_ends(make_realtime: MakeRealtime) -> None:
    """Those before it are answered; alone it is the call's 504."""
    node = make_realtime(threads=1, call_timeout=0.3)
    node.publish(endless())
    node.publish(linear(), "other")

    async def work() -> None:
        assert (await node.ask(a=0.0, b=1.0)).status == 200
        block = Block(budget=0.2)
        first = await send(node, "s", lines(0.0, 1.0, 0.0), block)
        assert (first.status, first.header["done"]) == (200, 1)
        begin = time.monotonic()
        second = await send(node, "s", lines(1.0, 0.0), block)
        assert (second.status, body_of(second)["exceptionType"]) == (504, "CallTimeout")
        assert 0.45 < time.monotonic() - begin < 2
        assert values(await send(node, "s", lines(0.0), block)) == [2.0]

    node.run(work())


def test_blocks_that_are_cancelled_free_their_places(make_realtime: MakeRealtime) -> None:
    node = make_realtime(threads=1)
    node.publish(endless())

    async def work() -> None:
        assert (await node.ask(a=0.0, b=1.0)).status == 200
        blocks = [start(node, "s", lines(1.0)) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert (await node.node.status())["blocks"] == 3
        for block in blocks:
            block.cancel()
        begin = time.monotonic()
        assert values(await send(node, "s", lines(0.0))) == [2.0]
        assert time.monotonic() - begin < 2
        assert (await node.node.status())["blocks"] == 0

    node.run(work())


# Models come and go


def test_models_that_do_not_fit_together_take_turns(make_realtime: MakeRealtime) -> None:
    node = make_realtime(model_memory=3 * MiB)
    for number in range(4):
        node.publish(linear(float(number), 400_000), f"v{number}")

    async def batch(number: int) -> list[float]:
        found = []
        for _ in range(5):
            found += values(await send(node, f"v{number}", lines(1.0, 2.0, b=0.0)))
        return found

    async def work() -> list[list[float]]:
        return await asyncio.gather(*map(batch, range(4)))

    assert node.run(work()) == [[float(n), 2.0 * n] * 5 for n in range(4)]


def test_a_retired_version_ends_its_blocks_first(make_realtime: MakeRealtime) -> None:
    node = make_realtime(threads=1)
    node.publish(slow(20, 400))

    async def work() -> None:
        await node.ask()
        blocks = [start(node, "s", lines(*[1.0] * 500)) for _ in range(3)]
        await asyncio.sleep(0.02)
        await node.node.retire("s")
        assert {reply.status for reply in await asyncio.gather(*blocks)} == {200}

    node.run(work())
    node.until(lambda: node.status()["sessions"] == 0)


def test_a_model_that_cannot_be_loaded_is_no_fault_of_the_records(
    realtime: RealtimeDriver,
) -> None:
    spec = realtime.publish(linear())
    Path(spec["model"]["path"]).write_bytes(b"damaged")
    for _ in range(2):  # when it was tried, and when that was not long ago
        reply = realtime.run(send(realtime, "s", lines(1.0)))
        assert (reply.status, body_of(reply)["exceptionType"]) == (500, "BundleCorrupt")
        assert reply.header["stage"] == "load"


# The process dies


def test_records_that_stop_the_process_are_known(
    realtime: RealtimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those beside them, nor any when the process was killed from outside."""
    monkeypatch.setattr(client, "_BACKOFF", (0.0, 0.05, 0.05, 0.05))
    realtime.publish(deadly(), "deadly")
    realtime.publish(endless(), "beside")

    async def crash() -> list[Reply]:
        assert (await realtime.ask("beside", a=0.0, b=1.0)).status == 200
        beside = start(realtime, "beside", lines(1.0))
        await asyncio.sleep(0.1)
        return await asyncio.gather(send(realtime, "deadly", lines(1.0)), beside)

    async def killed() -> Reply:
        assert (await realtime.ask("beside", a=0.0, b=1.0)).status == 200
        beside = start(realtime, "beside", lines(1.0))
        await asyncio.sleep(0.1)
        os.kill(realtime.node.pid or 0, signal.SIGKILL)
        return await beside

    replies = [*realtime.run(crash()), realtime.run(killed())]
    found = [(reply.status, body_of(reply)["exceptionType"]) for reply in replies]
    assert found == [(500, "WorkerLost"), (503, "ComputeLost"), (503, "ComputeLost")]
    assert values(realtime.run(send(realtime, "beside", lines(0.0)))) == [2.0]


def test_records_that_stop_the_process_do_not_make_calls_wait(
    realtime: RealtimeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is found by a few crashes. From many on the blocks wait, so that others have peace."""
    monkeypatch.setattr(client, "_BACKOFF", (0.0,))
    monkeypatch.setattr(realtime_client, "_BLOCK_CRASHES", 4)
    realtime.publish(deadly(), "deadly")
    kinds = []
    for _ in range(5):
        reply = realtime.run(send(realtime, "deadly", lines(1.0)))
        kinds.append((reply.status, body_of(reply)["exceptionType"]))
    assert kinds == [(500, "WorkerLost")] * 4 + [(503, "Unavailable")]
    assert 50 < reply.header["retry_after"] <= 60
    assert realtime.status()["held_back"] == 1
    # A call is not held back: it is made.
    assert body_of(realtime.call("deadly"))["exceptionType"] == "ComputeLost"


# Whose turn it is


def version(name: str, calls: int = 0, blocks: int = 0, running: int = 0) -> Version:
    made = Version(name, {"name": name, "version": "1"})
    made.scorer = object()  # type: ignore[assignment]
    made.running = running
    made.queue = deque(Call(n, made, "", b"", 1.0) for n in range(calls))
    made.blocks = deque(Call(n, made, "ll", b"", NEVER, LONG) for n in range(blocks))
    return made


def taken(turns: Turns, free: int, most: int = 20) -> list[str]:
    """What is begun, one after the other, while nothing ends."""
    order = []
    while free and len(order) < most and (call := turns.take(free)) is not None:
        assert isinstance(call, Call)
        if call.block is None:
            call.version.running += 1
        order.append(call.version.state_id + ("" if call.block is None else "*"))
        free -= 1
    return order


def test_whose_turn_it_is() -> None:
    turns = Turns()
    assert turns.take(9) is None
    a, b = version("a", 3, 3), version("b", 1, 2)
    for one in (a, b, a):
        turns.enlist(one)
    assert turns.waiting()
    assert taken(turns, 20) == ["a", "b", "a", "a", "a*", "b*", "a*", "b*", "a*"]
    assert not turns.waiting()


def test_after_a_while_it_is_the_turn_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(queues, "time", SimpleNamespace(monotonic=lambda: now))
    turns = Turns()
    a, b = version("a", 9, 3), version("b", 0, 3)
    turns.enlist(a)
    turns.enlist(b)
    assert taken(turns, 2, 1) == ["a"]
    now += PATIENCE + 0.1
    a.running = 0
    for expected in ("a*", "b*"):
        # Also the last thread; but only one block, then calls have theirs again.
        call = turns.take(1)
        assert isinstance(call, Call)
        assert (call.version.state_id + "*", call.due) == (expected, True)
        assert taken(turns, 2, 2)[0] == "a"
        now += PATIENCE + 0.1
        a.running = 0
    assert turns.take(0) is None


@pytest.mark.parametrize(
    ("versions", "free", "order"),
    [
        ([version("a", 2)], 0, []),
        ([version("a", 2)], 1, ["a"]),
        ([version("a", 2, running=1)], 1, []),
        ([version("a", 2, running=1), version("b", 2)], 1, ["b"]),
        ([version("a", 5)], 3, ["a", "a"]),
        ([version("a", 5), version("b", 1, running=1)], 3, ["a", "b"]),
        ([version("a", 0, 5)], 3, ["a*", "a*"]),
        ([version("a", 1, 5)], 3, ["a", "a*"]),
        ([version("a", 0, 5), version("b", 1)], 1, ["b"]),
        ([version("a", 0, 5)], 1, []),
    ],
)
def test_the_last_thread_is_for_the_first_call_of_a_version(
    versions: list[Version], free: int, order: list[str]
) -> None:
    turns = Turns()
    for one in versions:
        turns.enlist(one)
    assert taken(turns, free) == order
