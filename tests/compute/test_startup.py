"""The compute node starts light, from any directory, and its protocol holds."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_mlserve.compute.protocol import BUFFER, Body, FrameProtocol
from jupyter_mlserve.worker.frames import HEADER, MAX_BODY, pack

from .conftest import Driver


def test_the_node_imports_no_heavy_library() -> None:
    code = "import sys, jupyter_mlserve.compute.__main__; print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in eval(out.stdout)}
    heavy = {
        "pandas",
        "numpy",
        "dill",
        "tornado",
        "orjson",
        "sqlalchemy",
        "traitlets",
        "jupyter_server",
    }
    assert loaded & heavy == set()
    assert "jupyter_mlserve" in loaded


def test_the_client_imports_no_heavy_library() -> None:
    code = "import sys, jupyter_mlserve.compute.client; print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in eval(out.stdout)}
    assert loaded & {"pandas", "numpy", "dill", "tornado"} == set()
    assert "jupyter_mlserve.worker.program" not in eval(out.stdout)


def test_files_in_the_servers_directory_do_not_shadow_modules(
    node: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "asyncio.py", "random.py", "frames.py"):
        (tmp_path / name).write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert node.output(x=1) == 2


def test_the_node_ends_when_its_parent_is_gone_before_it_started() -> None:
    ours, theirs = __import__("socket").socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "jupyter_mlserve.compute", str(theirs.fileno()), "1"]
        assert subprocess.run(command, pass_fds=[theirs.fileno()], timeout=20).returncode == 0


class Collector(FrameProtocol):
    max_body = 10_000_000

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[tuple[bytes, bytes]] = []
        self.ended: list[Exception | None] = []

    def frame_received(self, header: bytes, body: Body) -> None:
        self.frames.append((header, bytes(body)))

    def closed(self, exc: Exception | None) -> None:
        self.ended.append(exc)


def feed(protocol: Collector, stream: bytes, step: int) -> None:
    """As a transport does: copy what there is into the buffer that is offered."""
    view = memoryview(stream)
    while view:
        buffer = protocol.get_buffer(-1)
        assert len(buffer) > 0
        count = min(len(buffer), len(view), step)
        buffer[:count] = view[:count]
        protocol.buffer_updated(count)
        view = view[count:]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 5, 3000, 2 * BUFFER]),
            st.sampled_from([0, 1, 1000, BUFFER - 14, BUFFER, 3 * BUFFER]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([1, 13, 1000, BUFFER, 10**9]),
)
def test_frames_arrive_whole_however_they_are_cut(sizes: list[tuple[int, int]], step: int) -> None:
    if step < 1000:
        sizes = [(min(header, 3000), min(body, 1000)) for header, body in sizes]
    frames = [
        (b"h" * header, bytes([number]) * body) for number, (header, body) in enumerate(sizes)
    ]
    stream = b"".join(HEADER.pack(len(h), len(b)) + h + b for h, b in frames)
    protocol = Collector()
    feed(protocol, stream, step)
    assert protocol.frames == frames


@pytest.mark.parametrize("lengths", [(2**32 - 1, 0), (0, MAX_BODY + 1), (10, 10_000_001)])
def test_a_frame_over_the_limit_ends_the_connection(lengths: tuple[int, int]) -> None:
    async def connect() -> Collector:
        loop = asyncio.get_running_loop()
        ours, theirs = __import__("socket").socketpair()
        with theirs:
            ours.setblocking(False)
            _, protocol = await loop.create_connection(Collector, sock=ours)
            theirs.sendall(pack({"ok": 1})[0] + HEADER.pack(*lengths))
            while not protocol.ended:
                await asyncio.sleep(0.01)
            protocol.send(b"{}")  # nothing happens on a closed connection
        return protocol

    protocol = asyncio.run(connect())
    assert protocol.frames == [(b'{"ok":1}', b"")]


def test_a_worker_that_dies_with_unread_data_resets_the_connection() -> None:
    """What tells the node that a call was never begun; a promise of the kernel, so it is tested."""

    async def die(reads: bool) -> Exception | None:
        loop = asyncio.get_running_loop()
        ours, theirs = __import__("socket").socketpair()
        ours.setblocking(False)
        _, protocol = await loop.create_connection(Collector, sock=ours)
        protocol.send(b"{}", b"x" * 100)
        await asyncio.sleep(0.05)
        if reads:
            theirs.recv(1000)
        theirs.close()
        while not protocol.ended:
            await asyncio.sleep(0.01)
        return protocol.ended[0]

    assert isinstance(asyncio.run(die(reads=False)), ConnectionResetError)
    assert asyncio.run(die(reads=True)) is None


def test_the_node_runs_in_a_session_of_its_own(node: Driver) -> None:
    """A Ctrl-C in the server's terminal must not reach it."""
    node.call(x=1)
    assert node.node.pid is not None
    assert os.getsid(node.node.pid) == node.node.pid != os.getsid(0)
    (worker,) = node.pool()["pids"]
    assert os.getpgid(worker) == worker
