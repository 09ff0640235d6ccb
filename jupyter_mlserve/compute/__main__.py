"""The compute node's process: ``python -m jupyter_mlserve.compute FD PARENT_PID``.

FD is the socket to the web node. The node ends, with everything below it, when that closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time

from .node import Node
from .orphans import NODE_MARK, kill_marked
from .protocol import keep_large_buffers
from .reaper import Reaper

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    fd, parent = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform.startswith("linux"):
        import ctypes

        libc = ctypes.CDLL(None)
        # The closed connection tells us too, but not while somebody else holds its other end.
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        # Workers of the fork server, and what dead workers leave, become children of ours.
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != parent:
        return
    keep_large_buffers()
    asyncio.run(serve(socket.socket(fileno=fd)))
    # Threads may still be cleaning up after workers; everything that matters is done.
    os._exit(0)


async def serve(sock: socket.socket) -> None:
    """Serve the web node until it closes the connection or is gone."""
    loop = asyncio.get_running_loop()
    reaper = Reaper()
    reaper.install(loop)
    sock.setblocking(False)
    _, node = await loop.create_connection(lambda: Node(reaper), sock=sock)
    loop.add_signal_handler(signal.SIGTERM, node.closed, None)
    try:
        await node.finished
    finally:
        node.kill_all()
        kill_marked(NODE_MARK, os.environ.get(NODE_MARK, ""))
        _reap_all(3.0)


def _reap_all(seconds: float) -> None:
    """Wait for the killed children, so that none is left to init."""
    end = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)


if __name__ == "__main__":
    main()
