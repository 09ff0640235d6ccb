from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_mlserve.worker import frames
from jupyter_mlserve.worker.frames import FrameError, Reader, pack, parse_header, send_frame

SIZES = [0, 1, 100, frames.SMALL - 20, frames.SMALL, frames.SMALL + 1, 3_000_000]


def test_every_size_of_body_arrives_as_it_was_sent() -> None:
    ours, theirs = socket.socketpair()

    def send() -> None:
        for size in SIZES:
            send_frame(ours, {"op": "call", "id": size}, b"x" * size)
        ours.close()

    sender = threading.Thread(target=send)
    sender.start()
    with theirs:
        reader = Reader(theirs)
        for size in SIZES:
            frame = reader.read()
            assert frame is not None
            assert parse_header(frame[0]) == {"op": "call", "id": size}
            assert bytes(frame[1]) == b"x" * size
        assert reader.read() is None
    sender.join()


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=8), st.integers(1, 400))
def test_frames_survive_being_cut_anywhere(bodies: list[bytes], step: int) -> None:
    stream = b"".join(b"".join(pack({"n": i}, body)) for i, body in enumerate(bodies))
    ours, theirs = socket.socketpair()

    def send() -> None:
        with ours:
            for start in range(0, len(stream), step):
                ours.sendall(stream[start : start + step])

    sender = threading.Thread(target=send)
    sender.start()
    found = []
    with theirs:
        reader = Reader(theirs)
        while (frame := reader.read()) is not None:
            found.append(frame[1])
    sender.join()
    assert found == bodies


@pytest.mark.parametrize(
    "stream",
    [
        b"\0\0\0",
        pack({"op": "call"}, b"12345")[0][:-1],
        pack({"op": "call"}, b"")[0][:-3],
        frames.HEADER.pack(frames.MAX_HEADER + 1, 0),
        frames.HEADER.pack(2, frames.MAX_BODY + 1) + b"{}",
    ],
)
def test_a_broken_stream_is_an_error(stream: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(stream)
        ours.close()
        with pytest.raises(FrameError):
            Reader(theirs).read()


@pytest.mark.parametrize("header", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_header_must_be_a_json_object(header: bytes) -> None:
    with pytest.raises(FrameError):
        parse_header(header)


def test_a_large_body_is_not_copied_into_the_frame() -> None:
    body = b"x" * (frames.SMALL + 1)
    assert pack({}, body)[1] is body
    assert len(pack({}, body[:-1])) == 1
