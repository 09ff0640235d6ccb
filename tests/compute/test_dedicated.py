"""Dedicated pools: warm before anybody calls, never short of workers by others, never borrowing."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from jupyter_mlserve.compute.client import Reply

from .conftest import Driver, MakeNode, alive, body_of
from .test_pool import SLEEP, at_once, pids


def dedicate(node: Driver, initial: int, maximum: int, state: str = "s") -> None:
    node.run(node.node.dedicate(state, initial, maximum, lambda: node.specs[state]))


def warm(node: Driver, workers: int, state: str = "s") -> list[int]:
    """Process ids, once so many have the version loaded and nothing is starting."""
    node.until(lambda: (pool := node.pool(state)) and pool["ready"] == pool["workers"] == workers)
    return list(node.pool(state)["pids"])


def test_it_is_warm_without_a_call_and_comes_back_when_killed(make_node: MakeNode) -> None:
    node = make_node(max_workers=1)
    node.spec("s", SLEEP)
    node.spec("other", SLEEP)
    dedicate(node, 2, 2)
    first = warm(node, 2)
    assert node.status()["used"] == 0  # the other one is for others
    assert node.output("other", x=0) not in first
    os.kill(first[0], signal.SIGKILL)
    node.until(lambda: not alive(first[0]))
    second = node.until(lambda: (pool := node.pool())["ready"] == 2 and pool["pids"])
    assert first[1] in second
    assert first[0] not in second
    pid = node.node.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    node.until(lambda: node.node.pid not in (None, pid))
    third = warm(node, 2)
    assert not set(third) & set(first)
    assert node.output(x=0) in third


def test_others_neither_take_its_workers_nor_lend_theirs(make_node: MakeNode) -> None:
    node = make_node(max_workers=2, max_queue=1, call_timeout=10)
    for state in ("s", "a", "b", "c"):
        node.spec(state, SLEEP)
    dedicate(node, 1, 1)
    own = warm(node, 1)

    async def contend() -> tuple[Reply, list[Reply], Reply]:
        common = [asyncio.ensure_future(node.ask(state, x=1.5)) for state in "ab"]
        await asyncio.sleep(0.6)
        # All that others may have is busy: it answers at once.
        answer = await asyncio.wait_for(node.ask(x=0), 0.5)
        await asyncio.gather(*common)
        # It is busy, and takes none of the idle ones: one call waits, one is refused.
        crowd = await asyncio.gather(*[node.ask(x=0.3) for _ in range(3)])
        return answer, list(crowd), await node.ask("c", x=0)

    answer, crowd, other = node.run(contend())
    assert pids([answer]) == own
    assert sorted(reply.status for reply in crowd) == [200, 200, 429]
    assert {*pids([reply for reply in crowd if reply.status == 200])} == {*own}
    # It was idle and used the longest ago, and was not ended to make room.
    assert other.status == 200
    assert warm(node, 1) == own
    assert node.status()["used"] == 2


def test_a_call_that_waited_in_vain_is_told_so(make_node: MakeNode) -> None:
    node = make_node(call_timeout=0.4)
    node.spec("s", SLEEP)
    dedicate(node, 1, 1)
    warm(node, 1)
    late = [reply for reply in at_once(node, 0.35, 0.35, 0.35) if reply.status == 503]
    assert "All workers of Svc 1.0 were busy" in body_of(late[0])["message"]


def test_sizes_change_under_calls_and_nothing_is_lost(make_node: MakeNode) -> None:
    node = make_node(pool_max=2, max_workers=2)
    node.spec("s", SLEEP)
    seen: set[int] = set()
    failed: list[Any] = []

    async def change() -> None:
        stop = False

        async def press() -> None:
            while not stop:
                reply = await node.ask(x=0.02)
                if reply.status != 200:
                    failed.append(reply)
                    return
                else:
                    seen.update(pids([reply]))

        async def held(workers: int) -> None:
            for _ in range(500):
                status = await node.node.status()
                if [(p["ready"], p["workers"]) for p in status["pools"]] == [(workers, workers)]:
                    return
                await asyncio.sleep(0.02)
            raise AssertionError(status)

        spec = node.specs["s"]
        pressing = [asyncio.ensure_future(press()) for _ in range(4)]
        await held(2)
        for initial, maximum, workers in ((3, 3, 3), (1, 1, 1), (0, 4, 4)):
            await node.node.dedicate("s", initial, maximum, lambda: spec)
            await held(workers)
            assert (await node.node.status())["used"] == 0
        await node.node.release("s")
        await held(2)
        stop = True
        await asyncio.gather(*pressing)
        assert (await node.node.status())["used"] == 2

    node.run(change())
    assert not failed
    assert len(seen) >= 4


def test_workers_that_were_shared_become_its_own_without_reloading(make_node: MakeNode) -> None:
    node = make_node(max_workers=1)
    node.spec("s", SLEEP)
    node.spec("other", SLEEP)
    pid = node.output(x=0)
    dedicate(node, 1, 2)
    assert warm(node, 1) == [pid]
    node.call("other", x=0)  # there is room for it now
    assert node.output(x=0) == pid
    node.run(node.node.release("s"))
    # Together they are more than all may have: what became idle is ended.
    node.until(lambda: node.status()["used"] == 1)


def test_a_dedicated_pool_without_first_workers_grows_with_its_calls(make_node: MakeNode) -> None:
    node = make_node(max_workers=1, pool_max=3, idle_timeout=0.3)
    node.spec("s", SLEEP)
    dedicate(node, 0, 0)
    assert node.pool()["workers"] == 0
    assert len({*pids(at_once(node, *[0.4] * 6))}) == 3
    node.until(lambda: node.pool()["workers"] == 0)
    node.run(asyncio.sleep(0.5))
    assert node.pool()["dedicated"]


def test_a_trial_beside_full_pools_takes_its_turn_with_the_others(make_node: MakeNode) -> None:
    node = make_node(max_workers=1)
    node.spec("s", SLEEP)
    dedicate(node, 1, 1)
    warm(node, 1)
    node.spec("new", SLEEP)
    assert node.trial("new", {"x": 0}).status == 200
    assert node.status()["used"] == 1
    tried = node.pool("new")["pids"]
    dedicate(node, 1, 1, "new")
    assert warm(node, 1, "new") == tried
    assert node.status()["used"] == 0


def test_blocks_and_calls_share_the_size(make_node: MakeNode) -> None:
    node = make_node(max_workers=4)
    node.spec("s", SLEEP)
    dedicate(node, 2, 2)
    warm(node, 2)

    async def both() -> list[Reply]:
        blocks = [node.send([{"x": 0.1}] * 6, budget=0.2, parallel=2) for _ in range(3)]
        calls = [node.ask(x=0.05) for _ in range(6)]
        work = asyncio.gather(*blocks, *calls)
        while not work.done():
            (pool,) = (await node.node.status())["pools"]
            assert pool["workers"] <= 2
            await asyncio.sleep(0.02)
        return list(await work)

    assert [reply.status for reply in node.run(both())] == [200] * 9


def test_a_worker_that_dies_at_once_is_not_replaced_at_once(make_node: MakeNode) -> None:
    node = make_node()
    die = "import os, threading\nthreading.Timer(0.05, os._exit, (3,)).start()"
    node.spec("s", "def f(x): return x", initCode=die)
    dedicate(node, 1, 1)
    node.until(lambda: node.pool()["workers"] == 1)
    node.until(lambda: node.pool()["workers"] == 0)
    node.run(asyncio.sleep(0.3))
    assert node.pool()["workers"] == 0
    node.until(lambda: node.pool()["workers"] == 1, 5)
