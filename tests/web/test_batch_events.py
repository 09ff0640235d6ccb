"""Progress as server-sent events, and answers to clients that are slow or go away."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from support.stored_batches import Stored, result
from tornado.simple_httpclient import HTTPStreamClosedError

from jupyter_mlserve.web import sending
from jupyter_mlserve.web.batch import desk, events


@pytest.fixture
def stored(node: Any) -> Any:
    owner = node.kernel_token.principal.username
    return lambda total, **more: Stored(node.core, owner, total, **more)


@pytest.fixture
def plain(jp_http_port: int, jp_base_url: str, jp_serverapp: Any, jp_asyncio_loop: Any) -> Any:
    """``reader, close = await plain(path)``: a GET whose answer is not chunked (HTTP/1.0)."""
    opened: list[Any] = []

    async def get(path: str, *lines: str) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
        opened.append(writer)
        token = jp_serverapp.identity_provider.token
        head = [f"GET {jp_base_url}mlserve/{path} HTTP/1.0", f"Authorization: token {token}"]
        writer.write("\r\n".join([*head, *lines, "", ""]).encode())
        await writer.drain()
        start = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        return start.decode().split("\r\n"), reader, writer

    yield get
    for writer in opened:
        writer.transport.abort()
    jp_asyncio_loop.run_until_complete(asyncio.sleep(0))


async def one(reader: Any, seconds: float = 10) -> tuple[str, str, Any]:
    """The next event: type, id, data; comments and the time to wait are skipped."""
    deadline = time.monotonic() + seconds
    while True:  # each comment would begin the time anew
        left = deadline - time.monotonic()
        block = (await asyncio.wait_for(reader.readuntil(b"\n\n"), left)).decode()
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            return fields["event"], fields["id"], json.loads(fields["data"])


async def rest(reader: Any, seconds: float = 10) -> bytes:
    """All that still comes."""
    return bytes(await asyncio.wait_for(reader.read(), seconds))


async def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_events_from_the_first_to_the_last(
    http: Any, stored: Any, plain: Any, node: Any
) -> None:
    batch = stored(4)
    head, reader, _ = await plain(f"{batch.path}/events")
    assert head[0].split()[1] == "200"
    assert "Content-Type: text/event-stream" in head
    assert "Cache-Control: no-cache" in head
    kind, id, data = await one(reader)
    assert (kind, id, data["state"]) == ("progress", "Ready-0", "Ready")
    assert node.core.desk.busy["streams"] == 1
    batch.begin()
    batch.add(0, [result(0), {"success": False}], failed=1)
    seen = []
    deadline = time.monotonic() + 10
    while not seen or seen[-1][2]["completedItemCount"] < 2:
        assert time.monotonic() < deadline, seen
        seen.append(await one(reader))
    assert seen[-1][:2] == ("progress", "InProgress-2")
    assert (seen[-1][2]["failedItemCount"], "rate" in seen[-1][2]) == (1, True)
    assert seen[-1][2]["startedAt"]
    batch.add(2, [result(2), result(3)])
    kind, id, last = await one(reader)
    assert (kind, id, last["state"]) == ("progress", "Complete-4", "Complete")
    assert set(last) == set((await http("GET", f"{batch.path}?results=false")).json) | {
        "rate",
        "secondsLeft",
    }
    assert last["finishedAt"]
    assert await rest(reader) == b""
    await until(lambda: node.core.desk.busy["streams"] == 0)
    # A browser comes again by itself: 204 tells it that there is no more.
    reply = await http("GET", f"{batch.path}/events", headers={"Last-Event-ID": "Complete-4"})
    assert (reply.status, reply.content) == (204, b"")
    reply = await http("GET", f"{batch.path}/events", headers={"Last-Event-ID": "InProgress-2"})
    assert (reply.status, reply.content.count(b"event: progress")) == (200, 1)
    assert "Content-Encoding" not in reply.headers


async def test_quiet_times_deletion_and_clients_that_leave(
    http: Any, stored: Any, plain: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)
    batch = stored(4).begin()
    _, reader, writer = await plain(f"{batch.path}/events")
    await one(reader)
    assert await asyncio.wait_for(reader.readuntil(b"\n\n"), 10) == b":\n\n"
    writer.transport.abort()
    await until(lambda: node.core.desk.busy["streams"] == 0)
    _, reader, _ = await plain(f"{batch.path}/events")
    await one(reader)
    assert (await http("DELETE", batch.path)).json == [batch.id]
    assert (await one(reader))[::2] == ("deleted", {"batchExecutionId": batch.id})
    assert await rest(reader) == b""
    assert (await http("GET", f"{batch.path}/events")).status == 404
    assert not node.core.batches.folder(batch.id).exists()
    # However long it takes, a reader must show from time to time who it is.
    monkeypatch.setattr(events, "LONGEST", 0.3)
    batch = stored(4).begin()
    reply = await http("GET", f"{batch.path}/events")
    assert reply.status == 200
    assert b"event: deleted" not in reply.content


async def test_streams_are_bounded(
    http: Any, stored: Any, plain: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "USER_STREAMS", 2)
    batch = stored(4)
    opened = [await plain(f"{batch.path}/events") for _ in range(2)]
    reply = await http("GET", f"{batch.path}/events")
    assert (reply.status, reply.json["exceptionType"]) == (429, "TooBusy")
    assert int(reply.headers["Retry-After"]) >= 1
    opened[0][2].transport.abort()
    monkeypatch.setattr(events, "LONGEST", 0.1)
    await until(lambda: node.core.desk.busy["streams"] == 1)
    assert (await http("GET", f"{batch.path}/events")).status == 200


async def test_large_results_pass_at_the_speed_of_the_reader(
    http: Any, stored: Any, plain: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 MB in 200 files: what is held for one reader stays small, and all of it arrives."""
    batch = stored(64_000).begin()
    for first in range(0, 64_000, 320):
        batch.add(first, [result(f"{n:06d}" + "x" * 900) for n in range(first, first + 320)])
    made = 0
    original = sending.in_threads

    async def counted(blocks: Any) -> Any:
        nonlocal made
        async for piece in original(blocks):
            made += len(piece)
            yield piece

    monkeypatch.setattr("jupyter_mlserve.web.batch.results.in_threads", counted)
    head, reader, _ = await plain(batch.path, "Accept-Encoding: gzip")
    assert "Content-Type: application/json" in head
    assert not any(line.startswith("Content-Encoding") for line in head)
    await asyncio.sleep(0.5)
    assert made < 24 * 1024**2  # the buffers of two sockets, and a few pieces
    status = json.loads(await rest(reader, 40))
    assert made > 64_000_000
    values = [int(each["outputParameters"]["y"][:6]) for each in status["batchExecutionResults"]]
    assert values == list(range(64_000))
    # One that stops reading is let go.
    monkeypatch.setattr(sending, "STALLED", 0.2)
    _, reader, _ = await plain(batch.path)
    await asyncio.sleep(0.8)
    assert len(await rest(reader)) < 64_000_000
    # What turns out to be damaged in the middle is never taken for whole.
    chunk = node.core.executions.chunks_between(batch.id, 63_000, 63_001)[0]
    (node.core.batches.folder(batch.id) / "results" / chunk.name).unlink()
    with pytest.raises(HTTPStreamClosedError):
        await http("GET", f"{batch.path}/results?format=lines")
