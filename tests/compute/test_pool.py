"""How many workers there are, who gets one, and when they go."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from jupyter_mlserve.compute.client import Reply

from .conftest import Driver, MakeNode, alive, body_of

SLEEP = "import os, time\ndef f(x):\n    time.sleep(x)\n    return os.getpid()"


def at_once(node: Driver, *inputs: float, state: str = "s") -> list[Reply]:
    async def ask() -> list[Reply]:
        return list(await asyncio.gather(*[node.ask(state, x=x) for x in inputs]))

    return node.run(ask())


def pids(replies: list[Reply]) -> list[int]:
    return [int(json.loads(reply.body)["outputParameters"]["y"]) for reply in replies]


def test_a_pool_grows_with_its_calls_up_to_its_maximum(make_node: MakeNode) -> None:
    node = make_node(pool_max=2)
    node.spec("s", SLEEP)
    assert node.pool() == {}
    node.call(x=0)
    assert node.pool()["workers"] == 1
    replies = at_once(node, *[0.2] * 5)
    assert [reply.status for reply in replies] == [200] * 5
    assert len(set(pids(replies))) == 2
    assert node.pool()["workers"] == 2


def test_calls_one_after_the_other_use_one_worker(make_node: MakeNode) -> None:
    node = make_node(pool_max=2)
    node.spec("s", SLEEP)
    assert len({node.output(x=0) for _ in range(10)}) == 1
    assert node.pool()["workers"] == 1


def test_initial_workers_are_started_with_the_first_call(make_node: MakeNode) -> None:
    node = make_node(pool_max=3, pool_initial=2)
    node.spec("s", SLEEP)
    node.call(x=0)
    node.until(lambda: node.pool()["idle"] == 2)


def test_a_version_that_says_so_has_its_own_pool(make_node: MakeNode) -> None:
    node = make_node(pool_max=1, idle_timeout=0.3)
    node.spec("s", SLEEP)
    node.run(node.node.dedicate("s", 2, 3, lambda: node.specs["s"]))
    node.until(lambda: node.pool().get("idle") == 2)
    assert len(set(pids(at_once(node, *[0.5] * 6)))) == 3
    # The third goes when it is idle, the initial two stay.
    node.until(lambda: node.pool()["workers"] == 2)
    node.run(asyncio.sleep(0.5))
    assert node.pool()["workers"] == 2


def test_idle_workers_go_and_the_version_is_forgotten(make_node: MakeNode) -> None:
    node = make_node(idle_timeout=0.3)
    node.spec("s", SLEEP)
    pid = node.output(x=0)
    assert alive(pid)
    node.until(lambda: not alive(pid), 5)
    node.until(lambda: not node.status()["pools"], 5)
    assert node.output(x=0) != pid


def test_exit_handlers_of_the_service_run_when_it_is_stopped(
    make_node: MakeNode, tmp_path: Any
) -> None:
    node = make_node()
    left = tmp_path / "left"
    init = f"import atexit\natexit.register(lambda: open({str(left)!r}, 'w').write('bye'))"
    node.spec("s", "def f(x): return x", initCode=init)
    node.call(x=0)
    node.run(node.node.retire("s"))
    node.until(lambda: left.exists() and left.read_text() == "bye")


def test_a_full_queue_is_a_429_with_a_time_to_come_back(make_node: MakeNode) -> None:
    node = make_node(pool_max=1, max_queue=2)
    node.spec("s", SLEEP)
    node.call(x=0)
    replies = at_once(node, *[0.3] * 5)
    statuses = [reply.status for reply in replies]
    assert sorted(statuses) == [200, 200, 200, 429, 429]
    busy = replies[statuses.index(429)]
    assert body_of(busy)["exceptionType"] == "TooBusy"
    assert "max_queue" in body_of(busy)["message"]
    assert busy.header["retry_after"] >= 1
    assert node.call(x=0).status == 200


def test_a_queue_of_none_still_starts_workers(make_node: MakeNode) -> None:
    node = make_node(pool_max=1, max_queue=0)
    node.spec("s", SLEEP)
    assert node.call(x=0).status == 200
    assert [reply.status for reply in at_once(node, 0.2, 0.2)] == [200, 429]


def test_the_least_recently_used_idle_worker_makes_room(make_node: MakeNode) -> None:
    node = make_node(max_workers=2)
    for state in "abc":
        node.spec(state, SLEEP)
    first, second = node.output("a", x=0), node.output("b", x=0)
    assert node.output("a", x=0) == first
    node.output("c", x=0)
    assert node.status()["workers"] == 2
    assert alive(first)
    assert not alive(second)
    assert node.output("a", x=0) == first


def test_all_workers_busy_with_others_is_a_503(make_node: MakeNode) -> None:
    node = make_node(max_workers=1, call_timeout=0.6)
    node.spec("a", SLEEP)
    node.spec("b", SLEEP)
    node.call("a", x=0)

    async def keep_busy() -> Reply:
        running = [asyncio.ensure_future(node.ask("a", x=0.5)) for _ in range(3)]
        await asyncio.sleep(0.05)
        reply = await node.ask("b", x=0)
        await asyncio.gather(*running)
        return reply

    reply = node.run(keep_busy())
    assert (reply.status, body_of(reply)["exceptionType"]) == (503, "PoolExhausted")
    assert "max_workers" in body_of(reply)["message"]
    assert reply.header["retry_after"] > 0


def test_a_version_that_never_rests_does_not_starve_another(make_node: MakeNode) -> None:
    node = make_node(max_workers=1, call_timeout=10)
    node.spec("a", SLEEP)
    node.spec("b", SLEEP)
    node.call("a", x=0)

    async def contend() -> tuple[Reply, float]:
        stop = False

        async def press() -> None:
            while not stop:
                assert (await node.ask("a", x=0.05)).status == 200

        pressing = [asyncio.ensure_future(press()) for _ in range(3)]
        await asyncio.sleep(0.1)
        start = time.monotonic()
        reply = await node.ask("b", x=0)
        took = time.monotonic() - start
        stop = True
        await asyncio.gather(*pressing)
        return reply, took

    reply, took = node.run(contend())
    assert reply.status == 200
    assert took < 5


def test_workers_are_recycled_after_so_many_calls(make_node: MakeNode) -> None:
    node = make_node(pool_max=1, worker_max_calls=3)
    node.spec("s", SLEEP)
    found = [node.output(x=0) for _ in range(7)]
    assert [found.count(pid) for pid in dict.fromkeys(found)] == [3, 3, 1]
    # The next one is started before it is needed.
    node.output(x=0)
    node.output(x=0)
    node.until(lambda: node.pool()["idle"] == 1 and node.pool()["pids"] != [found[-1]])


def test_calls_in_flight_and_waiting_finish_on_a_retired_state(make_node: MakeNode) -> None:
    node = make_node(pool_max=1)
    node.spec("s", SLEEP)
    pid = node.output(x=0)

    async def retire_meanwhile() -> list[Reply]:
        running = [asyncio.ensure_future(node.ask(x=0.2)) for _ in range(3)]
        await asyncio.sleep(0.05)
        await node.node.retire("s")
        return list(await asyncio.gather(*running))

    replies = node.run(retire_meanwhile())
    assert pids(replies) == [pid] * 3
    node.until(lambda: not alive(pid))
    node.until(lambda: node.status()["pools"] == [])


def test_idle_workers_of_a_retired_state_stop_at_once(make_node: MakeNode) -> None:
    node = make_node()
    node.spec("s", SLEEP)
    pid = node.output(x=0)
    node.run(node.node.retire("s"))
    node.until(lambda: not alive(pid), 3)


def test_a_version_that_cannot_be_loaded_any_more_is_not_tried_on_every_call(
    make_node: MakeNode,
) -> None:
    node = make_node(pool_max=1)
    node.spec("s", "def f(x): return x", initCode="import time; time.sleep(0.2); 1 / 0")
    reply = node.call(x=1)
    assert (reply.status, body_of(reply)["exceptionType"]) == (500, "WorkerLost")
    assert (
        "cannot be loaded at present: The init code failed: ZeroDivisionError"
        in body_of(reply)["message"]
    )
    assert 'File "<Svc 1.0: init>"' in reply.header["traceback"]
    start = time.monotonic()
    again = node.call(x=1)
    assert time.monotonic() - start < 0.15
    assert again.status == 500
    assert again.header["retry_after"] > 0


def test_a_version_that_failed_to_load_is_tried_again_later(
    make_node: MakeNode, tmp_path: Any
) -> None:
    node = make_node()
    flag = tmp_path / "ready"
    node.spec("s", "def f(x): return x", initCode=f"open({str(flag)!r})")
    assert node.call(x=1).status == 500
    flag.write_text("")
    node.until(lambda: node.call(x=1).status == 200, 5)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_no_call_is_lost_under_churn(make_node: MakeNode, concurrency: int) -> None:
    """Workers come and go all the time, and every call gets the answer of its own version."""
    node = make_node(max_workers=2, pool_max=2, worker_max_calls=5, idle_timeout=0.2)
    for state in "abc":
        node.spec(state, f"def f(x): return '{state}' + str(x)", "x: integer", "y: character")

    async def ask(number: int) -> None:
        for x in range(24 // concurrency):
            state = "abc"[(number + x // 4) % 3]
            reply = await node.ask(state, x=x)
            assert json.loads(reply.body)["outputParameters"]["y"] == f"{state}{x}"

    async def everything() -> None:
        await asyncio.gather(*[ask(number) for number in range(concurrency)])

    node.run(everything())
