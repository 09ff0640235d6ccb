"""How sessions are opened: threads are the calls', never the sessions'."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.realtime_models import linear

from jupyter_mlserve.compute.realtime.sessions import open_session, session_options
from jupyter_mlserve.contract.realtime import unpack

from .conftest import MakeRealtime, RealtimeDriver


def threads(node: RealtimeDriver) -> int:
    return len(list(Path(f"/proc/{node.node.pid}/task").iterdir()))


def test_a_session_has_one_thread() -> None:
    options = session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    opened = open_session(unpack(linear()).model).get_session_options()
    assert (opened.intra_op_num_threads, opened.inter_op_num_threads) == (1, 1)


def test_sessions_start_no_threads_and_calls_share_one(make_realtime: MakeRealtime) -> None:
    """Any number of models and of calls: the threads of the process are as many as before."""
    node = make_realtime(threads=2)
    rows = [1.0] * 20_000

    async def busy(state: str) -> None:
        replies = await asyncio.gather(*[node.ask(state, a=rows, b=rows) for _ in range(6)])
        assert {reply.status for reply in replies} == {200}

    node.publish(linear(1.0), "v0")
    node.run(busy("v0"))
    before = threads(node)
    for number in range(1, 9):
        node.publish(linear(float(number)), f"v{number}")
        node.run(busy(f"v{number}"))
    assert threads(node) <= before
    assert node.status()["sessions"] == 9
    assert [node.version(f"v{number}")["loads"] for number in range(9)] == [1] * 9
