"""A compute node as the web node has it, driven from synchronous tests."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from support.worker_process import load_spec

from jupyter_mlserve.compute.client import Block, ComputeConfig, ComputeNode, Reply
from jupyter_mlserve.compute.orphans import NODE_MARK, marked

Json = dict[str, Any]
T = TypeVar("T")


class Driver:
    """``run`` a coroutine in the node's loop; ``call`` a service by the name of its state."""

    def __init__(self, loop: asyncio.AbstractEventLoop, node: ComputeNode) -> None:
        self.loop = loop
        self.node = node
        self.specs: dict[str, Json] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    def spec(self, state: str, *args: Any, **more: Any) -> None:
        """What a state is; the arguments are those of ``load_spec``."""
        self.specs[state] = load_spec(*args, **more)

    async def ask(self, state: str = "s", **inputs: Any) -> Reply:
        return await self.node.call(state, json.dumps(inputs).encode(), lambda: self.specs[state])

    def call(self, state: str = "s", **inputs: Any) -> Reply:
        return self.run(self.ask(state, **inputs))

    def output(self, state: str = "s", **inputs: Any) -> Any:
        reply = self.call(state, **inputs)
        assert reply.status == 200, reply
        (value,) = json.loads(reply.body)["outputParameters"].values()
        return value

    async def send(
        self, body: bytes | list[Any], state: str = "s", media: str = "", **block: Any
    ) -> Reply:
        """A call with many records; ``block`` are the fields of a Block."""
        if isinstance(body, list):
            lines = [x if isinstance(x, bytes) else json.dumps(x).encode() for x in body]
            body = b"\n".join(lines)
        return await self.node.call(
            state, body, lambda: self.specs[state], media, Block(**{"budget": 10.0, **block})
        )

    def block(self, body: bytes | list[Any], state: str = "s", **block: Any) -> Reply:
        return self.run(self.send(body, state, **block))

    def trial(self, state: str = "s", sample: Any = None) -> Reply:
        body = None if sample is None else json.dumps(sample).encode()
        return self.run(self.node.trial(state, self.specs[state], body))

    def status(self) -> Json:
        return self.run(self.node.status())

    def pool(self, state: str = "s") -> Json:
        found = [pool for pool in self.status()["pools"] if pool["state"] == state]
        return found[0] if found else {}

    def until(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """Let the loop run until ``condition`` holds; returns its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            self.run(asyncio.sleep(0.02))
        raise AssertionError("it did not happen in time")


MakeNode = Callable[..., Driver]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.fixture
def make_node(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> Iterator[MakeNode]:
    """``make_node(**ComputeConfig fields)``; at the end nothing may be left running."""
    drivers: list[Driver] = []

    def make(**config: Any) -> Driver:
        config.setdefault("work_dir", str(tmp_path / "work"))
        node = ComputeNode(ComputeConfig(**config), logging.getLogger("test.compute"))
        drivers.append(Driver(loop, node))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.run(driver.node.stop())
    assert not list((tmp_path / "work").glob("*"))


@pytest.fixture
def node(make_node: MakeNode) -> Driver:
    driver = make_node(pool_max=2, call_timeout=10.0)
    driver.spec("s", "def f(x): return x + 1")
    return driver


def body_of(reply: Reply) -> Json:
    found: Json = json.loads(reply.body)
    return found


def lines_of(reply: Reply) -> list[Json]:
    """The results of a block."""
    assert reply.status == 200, reply
    return [json.loads(line) for line in bytes(reply.body).splitlines()]


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def below(token: str) -> list[int]:
    """Processes of the compute node that has this token."""
    return [pid for pid in marked(NODE_MARK, token) if pid != os.getpid() and alive(pid)]
