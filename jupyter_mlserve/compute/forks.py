"""Fork servers as the node sees them: one for each interpreter and set of libraries, when needed.

A fork server is only ever an accelerator. Whatever goes wrong with one, the worker is started in
the ordinary way, and a version whose forked worker misbehaves is not forked again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
import time
from array import array
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from ..contract.errors import MLServeError
from .imports import safe_imports, top_of
from .reaper import Exit, Reaper, kill_group
from .spawn import make_console, read_console, start_worker

Key = tuple[str, frozenset[str]]
# fork(socket of the worker, its console, additions to its environment) gives a pid, 0 on failure.
Fork = Callable[[socket.socket, int, dict[str, str]], Awaitable[int]]

MAX_SERVERS = 4  # of all interpreters and sets of libraries
_MAX_FAILURES = 2  # after these a set of libraries is not tried again
_MAX_MODULES = 4000
_MESSAGE = 160 * 1024
_FORK_TIMEOUT = 10.0


class ForkServers:
    """All fork servers of the node; ``log`` takes a level and a message."""

    def __init__(
        self,
        reaper: Reaper,
        log: Callable[[int, str], None],
        load_timeout: float,
        idle_timeout: float,
    ) -> None:
        self._reaper = reaper
        self._log = log
        self._load_timeout = load_timeout
        self._idle_timeout = idle_timeout
        self._servers: dict[Key, _Server] = {}
        self._failures: dict[Key, int] = {}
        self._distrusted: set[str] = set()

    def fork_for(self, state_id: str, spec: dict[str, Any]) -> Fork | None:
        """How to fork a worker for this load spec; None when it must be started afresh."""
        if state_id in self._distrusted:
            return None
        modules = safe_imports(spec)
        if not modules or not sys.platform.startswith("linux"):
            return None
        server = self._server(str(spec["interpreter"]), modules)
        return None if server is None else server.fork

    def prepare(self, interpreter: str, modules: list[str]) -> None:
        """Start a fork server that will be needed soon."""
        found = safe_imports({"imports": modules})
        if found and sys.platform.startswith("linux"):
            self._server(interpreter, found)

    def _server(self, interpreter: str, modules: list[str]) -> _Server | None:
        key = (interpreter, frozenset(map(top_of, modules)))
        if self._failures.get(key, 0) >= _MAX_FAILURES:
            return None
        server = self._servers.get(key) or self._wider(key)
        if server is None:
            self._make_room()
            server = self._servers[key] = _Server(key, self._reaper, self._ended)
            try:
                server.start(modules, self._load_timeout)
            except (MLServeError, OSError):
                self._count_failure(key)  # the ordinary start will say what is wrong
                del self._servers[key]
                return None
        server.last_used = time.monotonic()
        return server

    def _wider(self, key: Key) -> _Server | None:
        """A server of the interpreter that has imported all of these libraries, and others."""
        for (interpreter, libraries), server in self._servers.items():
            if interpreter == key[0] and libraries >= key[1]:
                return server
        return None

    def _make_room(self) -> None:
        while len(self._servers) >= MAX_SERVERS:
            oldest = min(self._servers.values(), key=lambda server: server.last_used)
            oldest.stop()
            del self._servers[oldest.key]

    def learn(self, spec: dict[str, Any], modules: Iterable[str]) -> None:
        """What a worker had imported once it was loaded: the next one may find it there."""
        safe = safe_imports(spec)
        if safe:
            key = (str(spec["interpreter"]), frozenset(map(top_of, safe)))
            server = self._servers.get(key) or self._wider(key)
            if server is not None:
                server.learn(modules)

    def distrust(self, state_id: str) -> None:
        """A forked worker of this state failed as none should: start them afresh from now on."""
        self._distrusted.add(state_id)

    def forget(self, state_id: str) -> None:
        self._distrusted.discard(state_id)

    def _ended(self, server: _Server, how: str, output: str) -> None:
        if self._servers.get(server.key) is server:
            del self._servers[server.key]
            self._count_failure(server.key)
            last = f"; its last output:\n{output}" if output else ""
            self._log(
                logging.WARNING,
                f"The fork server of {server.key[0]} for {', '.join(sorted(server.key[1]))} "
                f"ended ({how}); workers are started without it{last}",
            )

    def _count_failure(self, key: Key) -> None:
        self._failures[key] = self._failures.get(key, 0) + 1

    def check(self, now: float) -> None:
        """End those that were not used for the idle time-out."""
        for server in list(self._servers.values()):
            if now - server.last_used > self._idle_timeout:
                del self._servers[server.key]
                server.stop()

    def kill_all(self) -> None:
        for server in self._servers.values():
            server.stop()

    def __len__(self) -> int:
        return len(self._servers)

    def describe(self) -> list[dict[str, Any]]:
        """For the status page."""
        return [
            {"pid": server.pid, "interpreter": server.key[0], "libraries": sorted(server.key[1])}
            for server in self._servers.values()
        ]


class _Server:
    """One process that imports and forks. One request at a time; the rest wait for the lock."""

    def __init__(
        self, key: Key, reaper: Reaper, on_end: Callable[[_Server, str, str], None]
    ) -> None:
        self.key = key
        self.pid = 0
        self.last_used = time.monotonic()
        self._reaper = reaper
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._known: set[str] = set()
        self._reply: asyncio.Future[dict[str, Any]] | None = None
        self._console = -1
        self._sock: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._first: asyncio.Task[None] | None = None

    def start(self, modules: list[str], timeout: float) -> None:
        """Start the process and let it import ``modules``. Raises what starting a worker raises."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._console = make_console()
        with theirs:
            try:
                self.pid = start_worker(self.key[0], theirs, self._console, {}, "fork")
            except BaseException:
                ours.close()
                os.close(self._console)
                raise
        ours.setblocking(False)
        self._sock = ours
        self._loop.add_reader(ours, self._readable)
        self._reaper.watch(self.pid, self._exited)
        self._first = self._spawn(self._import(modules, timeout))

    def learn(self, modules: Iterable[str]) -> None:
        """Import these too, as far as they belong to the libraries of this server."""
        new = [name for name in modules if top_of(name) in self.key[1] and name not in self._known]
        if new and self._sock is not None:
            self._spawn(self._import(new[:_MAX_MODULES], 60.0))

    async def fork(self, sock: socket.socket, console: int, marks: dict[str, str]) -> int:
        """A new worker; 0 when there is none."""
        try:
            if self._first is not None:
                await asyncio.shield(self._first)
            async with self._lock:
                self.last_used = time.monotonic()
                request = {"op": "fork", "environ": marks}
                reply = await self._ask(request, _FORK_TIMEOUT, [sock.fileno(), console])
                return int(reply.get("pid") or 0)
        except (OSError, asyncio.TimeoutError, TimeoutError):
            self._fail("it did not answer")
            return 0

    async def _import(self, modules: list[str], timeout: float) -> None:
        modules = [name for name in modules if name not in self._known]
        self._known.update(modules)
        try:
            async with self._lock:
                for part in _parts(modules):
                    await self._ask({"op": "import", "modules": part}, timeout)
        except (OSError, asyncio.TimeoutError, TimeoutError):
            self._fail("it did not finish importing")

    async def _ask(
        self, request: dict[str, Any], timeout: float, fds: Iterable[int] = ()
    ) -> dict[str, Any]:
        if self._sock is None:
            raise ConnectionResetError
        self._reply = self._loop.create_future()
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        self._sock.sendmsg([json.dumps(request).encode()], ancillary)
        try:
            return await asyncio.wait_for(self._reply, timeout)
        finally:
            self._reply = None

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._fail("it closed its connection")
        elif self._reply is not None and not self._reply.done():
            self._reply.set_result(json.loads(data))

    def _exited(self, how: Exit) -> None:
        self.pid = 0
        self._fail(str(how))

    def _fail(self, how: str) -> None:
        if self._sock is not None:
            output = read_console(self._console, 4096)
            self.stop()
            self._on_end(self, how, output)

    def stop(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._loop.remove_reader(sock)
        sock.close()
        os.close(self._console)
        if self.pid:
            kill_group(self.pid)
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionResetError())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _parts(modules: list[str]) -> Iterable[list[str]]:
    """Pieces that fit into one message."""
    part: list[str] = []
    size = 0
    for name in modules:
        size += len(name) + 8
        if size > _MESSAGE // 2:
            yield part
            part, size = [], 0
        part.append(name)
    if part:
        yield part
