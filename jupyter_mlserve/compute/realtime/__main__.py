"""The realtime process: ``python -m jupyter_mlserve.compute.realtime FD PARENT_PID``.

FD is the socket to the web node. The process ends, with its trials, when that closes. It runs no
author's code and needs no network; it has a directory of its own, and few rights besides.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import sys

from ..protocol import keep_large_buffers
from .node import Node

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SWITCH = 0.0005  # seconds


def main() -> None:
    fd, parent = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform.startswith("linux"):
        import ctypes

        libc = ctypes.CDLL(None)
        # The closed connection tells us too, but not while somebody else holds its other end.
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        return
    # What is imported now stays; looking through it again and again would only cost time.
    gc.freeze()
    keep_large_buffers()
    # Threads that decode and encode hold the interpreter for as long at most when the event loop
    # wants it.
    sys.setswitchinterval(_SWITCH)
    asyncio.run(serve(socket.socket(fileno=fd)))
    # Threads may still be scoring; nobody waits for them.
    os._exit(0)


async def serve(sock: socket.socket) -> None:
    """Serve the web node until it closes the connection or is gone."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    _, node = await loop.create_connection(Node, sock=sock)
    loop.add_signal_handler(signal.SIGTERM, node.closed, None)
    await node.finished


if __name__ == "__main__":
    main()
