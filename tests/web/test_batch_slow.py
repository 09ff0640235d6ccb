"""Downloads that are read slowly, or not at all: they hold up nobody else for long."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
from support.stored_batches import Stored, result

from jupyter_mlserve.store.batches.readers import Turns
from jupyter_mlserve.web import sending

RECORDS = 2_500


@pytest.fixture
def stored(publish: Any, node: Any) -> Any:
    """Results of 2.5 MB, of which only a child process makes a table."""

    async def make() -> Stored:
        await publish(outputs={"y": "character"}, code="y = str(x)")
        owner = node.kernel_token.principal.username
        state = node.core.catalog.get("AddOne", "1.0").id
        batch = Stored(node.core, owner, RECORDS, state_id=state).begin()
        batch.add(0, [result("x" * 1_000)] * RECORDS)
        return batch

    return make


class Reader:
    """A client behind a narrow line: its system takes little that was not read."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.got = 0

    async def read(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            data = await asyncio.wait_for(loop.sock_recv(self.sock, size), 10)
        except ConnectionError:
            data = b""
        self.got += len(data)
        return data

    async def trickle(self, size: int, pause: float) -> float:
        """Read so much at a time; seconds until there was no more."""
        began = time.monotonic()
        while await self.read(size):
            await asyncio.sleep(pause)
        return time.monotonic() - began


@pytest.fixture
def narrow(jp_http_port: int, jp_base_url: str, jp_serverapp: Any) -> Any:
    """``reader = await narrow(path)``: a GET, of which the answer is not read yet."""
    opened: list[socket.socket] = []

    async def get(path: str) -> Reader:
        sock = socket.socket()
        opened.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", jp_http_port))
        token = jp_serverapp.identity_provider.token
        head = [f"GET {jp_base_url}mlserve/{path} HTTP/1.0", f"Authorization: token {token}"]
        await loop.sock_sendall(sock, "\r\n".join([*head, "", ""]).encode())
        reader = Reader(sock)
        assert b" 200 OK\r\n" in await reader.read(20)
        return reader

    yield get
    for sock in opened:
        sock.close()


@pytest.mark.parametrize("pause", [None, 0.05])
async def test_who_reads_too_slowly_is_cut_before_others_have_waited_too_long(
    http: Any, stored: Any, narrow: Any, node: Any, monkeypatch: pytest.MonkeyPatch, pause: Any
) -> None:
    """Also who takes a little all the time: 200 kB a second, where twice that is wanted."""
    monkeypatch.setattr(sending, "STALLED", 0.5)
    monkeypatch.setattr(sending, "RATE", 400_000)
    monkeypatch.setattr(node.core.children, "_rendering", Turns(1, 1, 4.0))
    path = f"{(await stored()).path}/results?format=csv"
    reader = await narrow(path)
    reading = asyncio.ensure_future(reader.trickle(10_000, pause)) if pause else None
    began = time.monotonic()
    reply = await http("GET", path)
    assert (reply.status, reply.content.count(b"\n")) == (200, RECORDS + 1)
    assert time.monotonic() - began < 3.5
    await (reading or reader.trickle(1 << 20, 0))
    assert reader.got < 2_400_000


async def test_a_slow_line_is_no_fault(
    http: Any, stored: Any, narrow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice what is wanted, evenly: nothing is lost in buffers that fill and drain."""
    monkeypatch.setattr(sending, "STALLED", 1.0)
    monkeypatch.setattr(sending, "RATE", 150_000)
    batch = await stored()
    for format in ("csv", "lines"):
        whole = await http("GET", f"{batch.path}/results?format={format}")
        reader = await narrow(f"{batch.path}/results?format={format}")
        seconds = await reader.trickle(40_000, 0.05)
        assert reader.got > len(whole.content), seconds
