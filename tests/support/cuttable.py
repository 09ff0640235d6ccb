"""A proxy between a client and a server whose connections can be cut, as a network does it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Cut = Callable[[int, bytes], bool]


class Proxy:
    """Passes bytes on; ``url`` takes the place of the server's.

    ``cut_sent(n, seen)`` and ``cut_answer(n, seen)`` say, for the n-th connection (from 1) and all
    that has passed on it in that direction, whether both ends are to be reset now, before the last
    piece is passed on.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self.cuts = 0
        self.cut_sent: Cut = lambda n, seen: False
        self.cut_answer: Cut = lambda n, seen: False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            ends, n = (client, server), self.connections
            for source, target, cut in (
                (client, server, lambda n, seen: self.cut_sent(n, seen)),
                (server, client, lambda n, seen: self.cut_answer(n, seen)),
            ):
                arguments = (source, target, ends, cut, n)
                threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        ends: tuple[socket.socket, socket.socket],
        cut: Cut,
        n: int,
    ) -> None:
        seen = b""
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                seen = (seen + piece)[-1_000_000:]
                if cut(n, seen):
                    self.cuts += 1
                    break
                target.sendall(piece)
        for end in ends:
            with contextlib.suppress(OSError):
                # A reset, and no polite end.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.close()


@contextmanager
def proxy_to(host: str, port: int) -> Iterator[Proxy]:
    made = Proxy(host, port)
    try:
        yield made
    finally:
        made.close()
