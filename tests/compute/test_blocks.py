"""Blocks of records: what comes back, who works on them, and that others need not wait."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlserve.compute.block import Block
from jupyter_mlserve.compute.client import Reply
from jupyter_mlserve.compute.config import available_cores

from .conftest import Driver, MakeNode, alive, body_of, lines_of

SLEEP = "import os, time\ndef f(x):\n    time.sleep(x)\n    return os.getpid()"
MIXED = """
import os, time
def f(x):
    print("x is", x)
    if x == 1:
        raise ValueError("one")
    if x == 2:
        return "text"
    if x == 3:
        open("out.txt", "w").write("three")
    if x == 4:
        return len(bytearray(10**9))
    return x
"""


def values(reply: Reply) -> list[Any]:
    return [result["outputParameters"]["y"] for result in lines_of(reply)]


async def together(*work: Coroutine[Any, Any, Reply]) -> list[Reply]:
    return list(await asyncio.gather(*work))


async def timed(work: Coroutine[Any, Any, Reply]) -> tuple[float, Reply]:
    begun = time.monotonic()
    reply = await work
    return time.monotonic() - begun, reply


class Stream:
    """Blocks without end, ``slots`` at a time, as a batch sends them."""

    def __init__(
        self, node: Driver, seconds: float, slots: int, state: str = "s", records: int = 1
    ) -> None:
        self.node = node
        self.replies: list[Reply] = []
        block = {"parallel": slots, "budget": 10.0}

        async def slot() -> None:
            while True:
                reply = await node.send([{"x": seconds}] * records, state, **block)
                self.replies.append(reply)
                if reply.status != 200:
                    await asyncio.sleep(0.05)

        async def begin() -> None:
            self.tasks = [asyncio.ensure_future(slot()) for _ in range(slots)]

        node.run(begin())

    def stop(self) -> None:
        async def stop() -> None:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

        self.node.run(stop())


class Load:
    """Calls without end of one version, so many at a time."""

    def __init__(self, node: Driver, seconds: float, count: int, state: str = "s") -> None:
        self.node = node
        self.waits: list[float] = []

        async def caller() -> None:
            while True:
                took, reply = await timed(node.ask(state, x=seconds))
                assert reply.status == 200
                self.waits.append(took)

        async def begin() -> None:
            self.tasks = [asyncio.ensure_future(caller()) for _ in range(count)]

        node.run(begin())

    def stop(self) -> None:
        async def stop() -> None:
            for task in self.tasks:
                task.cancel()
            ends = await asyncio.gather(*self.tasks, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends

        self.node.run(stop())


def test_a_block_answers_each_record_as_a_single_call(make_node: MakeNode) -> None:
    node = make_node(worker_memory=500 * 1024**2)
    node.spec("s", MIXED, files_out=["out.txt"])
    records = [
        b'{"x": 0}',
        b'{"x": 1}',
        b'{"x": 2}',
        b'{"x": 3}',
        b'{"x": "text"}',
        b"{",
        b'{"x": 0, "more": 1}',
        b'{"x": 4}',
    ]
    reply = node.block(list(records), owner=True)
    results = lines_of(reply)
    assert (reply.header["done"], reply.header["failed"]) == (8, 6)
    assert reply.header["seconds"] > 0

    async def single(record: bytes) -> Reply:
        return await node.node.call("s", record, lambda: node.specs["s"])

    for record, result in zip(records, results, strict=True):
        alone = node.run(single(record))
        traceback = result.get("details", {}).pop("traceback", None)
        assert traceback == alone.header.get("traceback")
        if not result.get("details", True):
            del result["details"]
        assert result == body_of(alone), record


def test_only_what_was_begun_in_time_is_answered(make_node: MakeNode) -> None:
    node = make_node()
    node.spec("s", SLEEP)
    reply = node.block([{"x": 0.1}] * 30, budget=0.25)
    assert 1 <= reply.header["done"] < 10
    assert len(lines_of(reply)) == reply.header["done"]
    assert node.block([{"x": 0}] * 3, budget=0).header["done"] == 1


def test_eight_sleepers_in_parallel(make_node: MakeNode) -> None:
    """Eight records of half a second, four at a time, are done in about a second."""
    node = make_node(pool_max=1)
    node.spec("s", SLEEP)
    node.call(x=0)
    begun = time.monotonic()
    replies = node.run(together(*[node.send([{"x": 0.5}], parallel=4) for _ in range(8)]))
    assert time.monotonic() - begun < 2.0
    assert len({pid for reply in replies for pid in values(reply)}) == 4
    # Workers beyond the maximum of the pool go soon; the others stay.
    assert node.pool()["workers"] == 4
    node.until(lambda: node.pool()["workers"] == 1, 8)


def test_a_batch_has_no_more_workers_than_it_may(make_node: MakeNode) -> None:
    node = make_node(pool_max=4)
    node.spec("s", SLEEP)
    replies = node.run(together(*[node.send([{"x": 0.05}], parallel=2) for _ in range(10)]))
    assert len({pid for reply in replies for pid in values(reply)}) <= 2
    assert node.pool()["workers"] == 2


def test_a_single_call_gets_a_worker_of_its_own(make_node: MakeNode) -> None:
    node = make_node(pool_max=2)
    node.spec("s", SLEEP)
    stream = Stream(node, 0.3, 3)
    try:
        node.until(lambda: node.pool().get("blocks") == 3)
        first, reply = node.run(timed(node.ask(x=0)))
        assert reply.status == 200
        # At most one chunk, or the start of a worker.
        assert first < 1.0
        node.until(lambda: node.pool()["workers"] == 4)
        node.until(lambda: node.pool()["idle"] >= 1)
        waits = [node.run(timed(node.ask(x=0)))[0] for _ in range(20)]
        assert sorted(waits)[10] < 0.1
        assert max(waits) < 0.6
        node.until(lambda: stream.replies)
        assert {reply.status for reply in stream.replies} == {200}
    finally:
        stream.stop()


def test_a_single_call_waits_for_one_chunk_when_there_is_no_other_worker(
    make_node: MakeNode,
) -> None:
    node = make_node(max_workers=1)
    node.spec("s", SLEEP)
    stream = Stream(node, 0.2, 4)
    try:
        node.until(lambda: len(stream.replies) > 1)
        for _ in range(5):
            seconds, reply = node.run(timed(node.ask(x=0)))
            assert reply.status == 200
            assert seconds < 0.6
        assert node.status()["workers"] == 1
    finally:
        stream.stop()


def test_blocks_do_not_keep_another_version_from_its_first_worker(make_node: MakeNode) -> None:
    node = make_node(max_workers=2)
    node.spec("s", SLEEP)
    node.spec("other", SLEEP)
    stream = Stream(node, 0.2, 4)
    try:
        node.until(lambda: node.pool().get("blocks") == 2)
        seconds, reply = node.run(timed(node.ask("other", x=0)))
        assert reply.status == 200
        assert seconds < 1.5  # a chunk, and a start
        # The batch goes on, and gets its worker back some time.
        count = len(stream.replies)
        node.until(lambda: len(stream.replies) > count + 2)
    finally:
        stream.stop()


def test_batches_of_two_versions_take_turns(make_node: MakeNode) -> None:
    node = make_node(max_workers=1)
    node.spec("s", SLEEP)
    node.spec("other", SLEEP)
    first, second = Stream(node, 0.1, 2), Stream(node, 0.1, 2, "other")
    try:
        node.until(lambda: len(first.replies) > 3 and len(second.replies) > 3)
        both = len(first.replies), len(second.replies)
        node.until(lambda: len(first.replies) > both[0] + 3 and len(second.replies) > both[1] + 3)
    finally:
        first.stop()
        second.stop()


def test_a_batch_gets_a_worker_beside_a_version_that_never_rests(make_node: MakeNode) -> None:
    node = make_node(max_workers=1)
    node.spec("s", SLEEP)
    node.spec("busy", SLEEP)

    async def calls() -> None:
        while True:
            await node.ask("busy", x=0.05)

    async def begin() -> list[asyncio.Task[None]]:
        return [asyncio.ensure_future(calls()) for _ in range(3)]

    tasks = node.run(begin())
    try:
        assert node.run(node.send([{"x": 0}])).status == 200
        assert node.call("busy", x=0).status == 200
    finally:
        for task in tasks:
            task.cancel()


def test_calls_that_never_end_leave_a_share_to_blocks(make_node: MakeNode) -> None:
    """One worker in all, and always calls that wait for it: each waits for one block more."""
    node = make_node(max_workers=1)
    node.spec("s", SLEEP)
    load = Load(node, 0.02, 4)
    try:
        node.until(lambda: len(load.waits) > 10)
        load.waits.clear()
        for _ in range(2):
            begun = time.monotonic()
            assert node.block([{"x": 0.05}] * 20, budget=0.4).header["done"] >= 7
            assert 1.5 < time.monotonic() - begun < 6
        # 0.02 seconds for each of four, and a block for some.
        waits = sorted(load.waits)
        assert waits[-1] < 1.5
        assert waits[len(waits) // 2] < 0.3
    finally:
        load.stop()


def test_calls_do_not_take_the_workers_that_were_started_for_blocks(make_node: MakeNode) -> None:
    """The version has two workers for blocks beside its own, and not more for its calls."""
    node = make_node(pool_max=1)
    node.spec("s", SLEEP)
    load = Load(node, 0.05, 6)
    stream = None
    try:
        node.until(lambda: load.waits)
        stream = Stream(node, 0.1, 2)
        node.until(lambda: len(stream.replies) > 20, 10)
        most = max(node.pool()["workers"] for _ in range(20) if not node.run(asyncio.sleep(0.05)))
        assert most == 3
        assert node.pool()["blocks"] >= 1
    finally:
        load.stop()
        if stream is not None:
            stream.stop()


def test_workers_on_blocks_share_the_cores(make_node: MakeNode) -> None:
    """What the libraries of each may take; of what runs alone, all."""
    pytest.importorskip("threadpoolctl")
    code = """
import time, numpy
from threadpoolctl import threadpool_info
def f(x):
    time.sleep(x)
    return max(each["num_threads"] for each in threadpool_info())
"""
    node = make_node()
    node.spec("s", code)
    whole = node.output(x=0)
    assert whole >= 1
    assert values(node.block([{"x": 0}], parallel=4)) == [whole]
    replies = node.run(together(*[node.send([{"x": 0.3}], parallel=64) for _ in range(9)]))
    found = [value for reply in replies for value in values(reply)]
    assert min(found) == max(1, available_cores() // 9)
    assert max(found) <= whole
    assert node.output(x=0) == whole


def test_blocks_wait_beyond_the_queue_and_the_time_of_calls(make_node: MakeNode) -> None:
    node = make_node(max_queue=1, call_timeout=0.5, pool_max=1)
    node.spec("s", SLEEP)
    node.call(x=0)

    async def both() -> tuple[list[Reply], Reply]:
        blocks = [asyncio.ensure_future(node.send([{"x": 0.2}], parallel=1)) for _ in range(6)]
        await asyncio.sleep(0.1)
        assert (await node.ask(x=0)).status == 200
        return list(await asyncio.gather(*blocks)), await node.ask(x=0)

    blocks, call = node.run(both())
    assert [reply.status for reply in blocks] == [200] * 6
    assert call.status == 200


def test_blocks_have_a_queue_of_their_own_length(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node(max_workers=1)
    node.spec("s", SLEEP)

    async def many() -> list[Reply]:
        blocks = [asyncio.ensure_future(node.send([{"x": 0.5}])) for _ in range(530)]
        done, waiting = await asyncio.wait(blocks, timeout=1.5)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*blocks, return_exceptions=True)
        return [task.result() for task in done]

    replies = node.run(many())
    busy = [reply for reply in replies if reply.status == 429]
    assert 10 <= len(busy) < 20
    assert body_of(busy[0])["exceptionType"] == "TooBusy"
    assert busy[0].header["retry_after"] > 0
    node.until(lambda: node.pool()["blocks_waiting"] == 0)
    assert node.call(x=0).status == 200


def test_a_worker_that_is_killed_during_a_block(make_node: MakeNode) -> None:
    node = make_node()
    node.spec("s", SLEEP)
    pid = node.output(x=0)

    async def killed() -> Reply:
        task = asyncio.ensure_future(node.send([{"x": 0.2}] * 10))
        await asyncio.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        return await task

    reply = node.run(killed())
    assert reply.status == 500
    assert body_of(reply)["exceptionType"] == "WorkerLost"
    assert values(node.block([{"x": 0}])) != [pid]


def test_a_record_that_kills_its_worker(make_node: MakeNode) -> None:
    node = make_node()
    node.spec("s", "import os\ndef f(x):\n    if x: os._exit(3)\n    return x")
    reply = node.block([{"x": 0}, {"x": 1}])
    assert (reply.status, reply.header["error"]) == (500, "WorkerLost")
    assert values(node.block([{"x": 0}])) == [0]


def test_the_compute_node_is_killed_during_a_block(make_node: MakeNode) -> None:
    node = make_node()
    node.spec("s", SLEEP)
    node.call(x=0)

    async def killed() -> Reply:
        task = asyncio.ensure_future(node.send([{"x": 5}]))
        await asyncio.sleep(0.3)
        pid = node.node.pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        return await task

    reply = node.run(killed())
    assert (reply.status, reply.header["error"]) == (503, "ComputeLost")
    assert node.block([{"x": 0}]).status == 200


def test_a_stuck_record_ends_its_block_in_time(make_node: MakeNode) -> None:
    node = make_node(call_timeout=0.5)
    node.spec("s", SLEEP)
    node.call(x=0)
    seconds, reply = node.run(timed(node.send([{"x": 0.1}, {"x": 30}], budget=0.3)))
    assert (reply.status, reply.header["error"]) == (504, "CallTimeout")
    assert 0.7 < seconds < 2
    # Many records of less than the time of a call may take more than it together.
    reply = node.block([{"x": 0.2}] * 4, budget=0.7)
    assert reply.header["done"] == 4


def test_a_cancelled_block_does_not_run_on(make_node: MakeNode, tmp_path: Path) -> None:
    log = tmp_path / "log"
    node = make_node(pool_max=1)
    code = f"import time\ndef f(x):\n    time.sleep(x)\n    open({str(log)!r}, 'a').write('.')"
    node.spec("s", code, outputs="")
    node.call(x=0)
    (pid,) = node.pool()["pids"]

    async def cancel(seconds: float, records: int, after: float) -> None:
        tasks = [
            asyncio.ensure_future(node.send([{"x": seconds}] * records, budget=60.0, parallel=1))
            for _ in range(3)
        ]
        await asyncio.sleep(after)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # One that is nearly done keeps its worker.
    node.run(cancel(0.3, 1, 0.1))
    node.until(lambda: node.pool()["idle"] == 1)
    assert node.pool()["pids"] == [pid]
    done = len(log.read_text())
    assert done == 2
    node.run(cancel(0.2, 100, 0.3))
    node.until(lambda: not alive(pid), 5)
    assert len(log.read_text()) < done + 10
    assert node.pool().get("blocks_waiting", 0) == 0
    assert node.call(x=0).status == 200


def test_a_version_that_cannot_be_loaded(make_node: MakeNode) -> None:
    node = make_node()
    node.spec("s", "import nothing_of_this_name\ndef f(x): return x")
    reply = node.block([{"x": 0}])
    assert (reply.status, reply.header["error"]) == (500, "WorkerLost")
    assert "cannot be loaded" in body_of(reply)["message"]
    assert reply.header["retry_after"] > 0


def test_a_retired_version_finishes_its_blocks(make_node: MakeNode) -> None:
    node = make_node()
    node.spec("s", SLEEP)
    node.call(x=0)

    async def retire() -> list[Reply]:
        blocks = [asyncio.ensure_future(node.send([{"x": 0.2}], parallel=1)) for _ in range(4)]
        await asyncio.sleep(0.1)
        await node.node.retire("s")
        return list(await asyncio.gather(*blocks))

    assert [reply.status for reply in node.run(retire())] == [200] * 4
    # A batch goes on with the state it was started with.
    assert node.block([{"x": 0}]).status == 200
    node.until(lambda: len(node.status()["pools"]) == 1)


def test_a_worker_is_replaced_after_as_many_records_as_calls(make_node: MakeNode) -> None:
    node = make_node(worker_max_calls=10)
    node.spec("s", SLEEP)
    first = values(node.block([{"x": 0}] * 12))[0]
    assert values(node.block([{"x": 0}]))[0] != first


def test_rows_of_one_frame_are_one_call(make_node: MakeNode) -> None:
    """A worker is not replaced after each frame of very many rows: that costs half the speed."""
    node = make_node(worker_max_calls=10, pool_max=1)
    code = "import os\ndef f(df):\n    return df.assign(pid=os.getpid())"
    out = [{"name": "r", "type": "data.frame"}]
    node.spec("s", code, [{"name": "df", "type": "data.frame"}], out)
    records = [{"df": {"x": [i]}} for i in range(50)]
    pids = set()
    for _ in range(4):
        reply = node.block(records, rows=True)
        pids |= {r["outputParameters"]["r"]["pid"][0] for r in lines_of(reply)}
    assert len(pids) == 1


def test_blocks_and_calls_do_not_mix_their_answers(make_node: MakeNode) -> None:
    node = make_node(pool_max=2)
    node.spec("s", "def f(x): return x")

    async def mixed() -> None:
        async def block(start: int) -> None:
            reply = await node.send([{"x": start + i} for i in range(50)], parallel=3)
            assert values(reply) == [start + i for i in range(50)]

        async def call(x: int) -> None:
            reply = await node.ask(x=x)
            assert json.loads(reply.body)["outputParameters"] == {"y": x}

        await asyncio.gather(*(block(i * 100) for i in range(30)), *(call(i) for i in range(100)))

    node.run(mixed())


def test_arrow_blocks(make_node: MakeNode) -> None:
    pa = pytest.importorskip("pyarrow")
    node = make_node()
    out = [{"name": "r", "type": "data.frame"}]
    node.spec("s", "def f(df): return df * 2", [{"name": "df", "type": "data.frame"}], out)
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [float(i) for i in range(50_000)]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=4096)
    body = bytes(sink.getvalue())
    reply = node.block(body, media="aa", rows=True)
    assert reply.status == 200
    assert (reply.header["done"], reply.header["failed"]) == (50_000, 0)
    found = pa.ipc.open_stream(reply.body).read_all()
    assert found["a"].to_pylist() == [2.0 * i for i in range(50_000)]
    node.spec("none", "def f(x): return x")
    refused = node.block(body, "none", media="aa")
    assert (refused.status, refused.header["error"]) == (415, "UnsupportedMedia")
    assert node.block(body[:500], media="aa").status == 400
    # Lines in one call, too.
    reply = node.block([{"df": {"a": [i]}} for i in range(100)], rows=True)
    assert [r["outputParameters"]["r"]["a"] for r in lines_of(reply)] == [
        [2 * i] for i in range(100)
    ]


@pytest.mark.parametrize(
    ("field", "value"), [("budget", -1), ("budget", float("inf")), ("parallel", 0)]
)
def test_a_block_must_make_sense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Block(**{field: value})  # type: ignore[arg-type]


def test_a_block_as_it_travels() -> None:
    block = Block(0.5, 3, True, True)
    assert Block.from_dict({**json.loads(block.to_json()), "unknown": 1}) == block
