"""Renderings in child processes while somebody reads slowly, or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlserve.contract.errors import TooBusy
from jupyter_mlserve.store.batches import BatchFiles, Chunk, child, new_id, readers
from jupyter_mlserve.store.batches.child import Children
from jupyter_mlserve.store.batches.child_process import Child
from jupyter_mlserve.store.batches.plan import OutPlan

OUTPUTS = OutPlan([{"name": "y", "type": "character"}])
RECORDS = 2_000


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, list[Chunk]]:
    """Results of which the table has two megabytes: more than pipes and pieces hold."""
    files = BatchFiles(tmp_path / "batches")
    upload = files.upload(new_id())
    line = {"success": True, "outputParameters": {"y": "x" * 1_000}, "outputFiles": {}}
    data = (json.dumps(line) + "\n").encode() * RECORDS
    size, crc = files.write_result(upload.id, 0, RECORDS, data)
    upload.release()
    return upload.folder, [Chunk(0, RECORDS, "lines", 0, size, crc)]


@pytest.fixture
def download(stored: Any) -> Any:
    """``await download(children, user)``: all bytes; ``pause``: seconds for each piece."""

    async def run(children: Children, user: str, pause: float = 0.0) -> int:
        size = 0
        pieces: AsyncIterator[bytes] = children.render(*stored, OUTPUTS, "csv", user=user)
        async with aclosing(pieces) as rendered:  # type: ignore[type-var]
            async for piece in rendered:
                size += len(piece)
                await asyncio.sleep(pause)
        return size

    return run


@pytest.fixture(autouse=True)
def all_reaped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """None is left after a test, not even as a zombie."""
    pids = []

    class Known(Child):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            pids.append(self.pid)

    monkeypatch.setattr(child, "Child", Known)
    yield
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow is what would take half a second for all."""
    monkeypatch.setattr(readers, "PATIENCE", 0.2)
    monkeypatch.setattr(readers, "RATE", 4_000_000)


async def begun(children: Children, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(children._children) < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("slow")
async def test_one_user_leaves_room_for_others(download: Any) -> None:
    children = Children(1, wait=0.5)
    mine = asyncio.create_task(download(children, "ann", 5))
    await begun(children, 1)
    with pytest.raises(TooBusy, match="1 of your batches"):
        await download(children, "ann")
    assert await download(children, "bob") > RECORDS * 1_000
    assert not mine.done()  # however slow it is, nobody wants its place
    mine.cancel()
    await asyncio.wait({mine})
    assert await download(children, "ann") > RECORDS * 1_000
    await children.close()


@pytest.mark.usefixtures("slow")
async def test_slow_readers_make_room_for_other_users(download: Any) -> None:
    children = Children(1, wait=5.0)
    readers = [asyncio.create_task(download(children, user, 0.1)) for user in ("ann", "bob")]
    await begun(children, 2)
    more = asyncio.create_task(download(children, "ann"))  # has its turn already
    await asyncio.sleep(0.5)
    assert not any(each.done() for each in (*readers, more))
    assert await asyncio.wait_for(download(children, "carl"), 3) > RECORDS * 1_000
    done, left = await asyncio.wait([*readers, more], timeout=4)
    assert not left
    outcomes = [type(each.exception()) for each in readers]
    assert TooBusy in outcomes
    assert done
    await children.close()


async def test_fast_readers_are_left_alone_and_leavers_leave_nothing(
    download: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "PATIENCE", 0.0)
    monkeypatch.setattr(readers, "RATE", 1)
    children = Children(1, wait=5.0)
    users = ["ann", "bob", "carl"] * 2
    sizes = await asyncio.gather(*[download(children, user, 0.001) for user in users])
    assert len(set(sizes)) == 1
    # Of those that wait, some go away just when they are let in.
    for round in range(6):
        tasks = [asyncio.create_task(download(children, user)) for user in users]
        await asyncio.sleep(0.02 * round)
        for task in tasks[1::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert done[::2] == sizes[::2]
    await children.close()
