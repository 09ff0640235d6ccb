"""The realtime process as the web node has it, driven from synchronous tests."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.realtime_models import spec_of

from jupyter_mlserve.compute.client import Reply
from jupyter_mlserve.compute.realtime.client import RealtimeConfig, RealtimeNode

from ..conftest import Driver

Json = dict[str, Any]


class RealtimeDriver(Driver):
    """``publish`` a container as a state, without any trial; ``ask`` and ``call`` it with rows."""

    node: RealtimeNode

    def __init__(self, loop: asyncio.AbstractEventLoop, node: RealtimeNode, folder: Path) -> None:
        super().__init__(loop, node)
        self.folder = folder

    def publish(self, container: bytes, state: str = "s") -> Json:
        self.specs[state] = spec_of(self.folder, container, f"svc-{state}")
        return self.specs[state]

    async def ask(self, state: str = "s", *, media: str = "", **inputs: Any) -> Reply:
        columns = {
            name: value if isinstance(value, list) else [value] for name, value in inputs.items()
        }
        body = json.dumps({"inputData": columns or {"a": [1.0], "b": [2.0]}}).encode()
        return await self.node.call(state, body, lambda: self.specs[state], media)

    def values(self, state: str = "s", **inputs: Any) -> list[Any]:
        reply = self.call(state, **inputs)
        assert reply.status == 200, reply
        found: list[Any] = json.loads(reply.body)["outputParameters"]["outputData"]["Pred"]
        return found

    def try_out(self, container: bytes) -> Reply:
        """The trial of a container."""
        return self.run(self.node.trial("tried", spec_of(self.folder, container)))

    def version(self, state: str = "s") -> Json:
        found = [item for item in self.status()["versions"] if item["state"] == state]
        return found[0] if found else {}


MakeRealtime = Callable[..., RealtimeDriver]


@pytest.fixture
def make_realtime(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> Iterator[MakeRealtime]:
    """``make_realtime(**RealtimeConfig fields)``; at the end nothing may be left running."""
    drivers: list[RealtimeDriver] = []

    def make(**config: Any) -> RealtimeDriver:
        config.setdefault("work_dir", str(tmp_path / "realtime"))
        node = RealtimeNode(RealtimeConfig(**config), logging.getLogger("test.realtime"))
        drivers.append(RealtimeDriver(loop, node, tmp_path / "blobs"))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.run(driver.node.stop())
    assert not list((tmp_path / "realtime").glob("*"))


@pytest.fixture
def realtime(make_realtime: MakeRealtime) -> RealtimeDriver:
    return make_realtime()
