"""Frames between two event loops' ends: large bodies wait for the reader, and keep their order."""

from __future__ import annotations

import asyncio
import os
import socket

from jupyter_mlserve.compute.protocol import Body, FrameProtocol
from jupyter_mlserve.worker.frames import Reader


class End(FrameProtocol):
    def __init__(self) -> None:
        super().__init__()
        self.frames: list[tuple[bytes, bytes]] = []
        self.ended = asyncio.get_running_loop().create_future()

    def frame_received(self, header: bytes, body: Body) -> None:
        self.frames.append((header, bytes(body)))

    def closed(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)


async def connect(sock: socket.socket) -> End:
    sock.setblocking(False)
    _, end = await asyncio.get_running_loop().create_connection(End, sock=sock)
    return end


async def test_frames_behind_a_large_one_keep_their_order() -> None:
    ours, theirs = socket.socketpair()
    end = await connect(ours)
    # More than any socket takes ahead of a reader who does not read yet.
    sent = [(b'{"n":0}', b""), (b'{"n":1}', os.urandom(20_000_001)), (b'{"n":2}', b"x" * 100)]
    sent += [(b'{"n":3}', os.urandom(300_000)), (b'{"n":4}', b"")]
    for header, body in sent:
        end.send(header, body)
    await asyncio.sleep(0.05)
    with theirs:
        reader = Reader(theirs)
        found = [await asyncio.to_thread(reader.read) for _ in sent]
        assert found == sent
        # And the connection goes on as usual.
        end.send(b'{"n":5}', b"y")
        assert await asyncio.to_thread(reader.read) == (b'{"n":5}', b"y")
        assert end.transport is not None
        end.transport.abort()
        await end.ended


async def test_both_ends_may_send_large_bodies_at_once() -> None:
    ours, theirs = socket.socketpair()
    ends = await connect(ours), await connect(theirs)
    bodies = [os.urandom(9_000_000), os.urandom(9_000_000)]
    for end, body in zip(ends, bodies, strict=True):
        end.send(b"{}", body)
    for _ in range(2000):
        if all(end.frames for end in ends):
            break
        await asyncio.sleep(0.01)
    assert [end.frames[0][1] for end in ends] == bodies[::-1]
    for end in ends:
        assert end.transport is not None
        end.transport.abort()
        await end.ended


async def test_what_was_not_sent_is_dropped_with_the_connection() -> None:
    ours, theirs = socket.socketpair()
    end = await connect(ours)
    end.send(b"{}", bytes(30_000_000))
    theirs.close()
    await asyncio.wait_for(end.ended, 20)
    end.send(b"{}", b"late")
    assert end.transport is None
