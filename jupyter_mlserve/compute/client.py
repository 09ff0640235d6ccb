"""The web node's side of the compute node: it starts it, talks to it, and survives its death.

The compute node is two processes: this one for standard services, and one for realtime services
(:mod:`.realtime.client`), so that neither can take the other down. Both are supervised alike.
Everything runs in the event loop of the web node. Bodies pass through as bytes, unparsed.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import secrets
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from ..contract.errors import ComputeLost, MLServeError, TooBusy
from ..worker.frames import dump_header
from .block import Block
from .config import ComputeConfig
from .connection import UNKNOWN_STATE, Connection, Reply, Spec, error_reply
from .launch import spawn, wait, work_root
from .orphans import NODE_MARK, kill_marked
from .protocol import keep_large_buffers
from .session_client import SessionCalls

__all__ = ["Block", "ComputeConfig", "ComputeNode", "Reply"]

SpecSource = Callable[[], Spec | Awaitable[Spec]]

_START_TIMEOUT = 30.0
_LOOK = 0.05  # seconds between looks at workers that load
_STABLE = 60.0  # a node that lived so long starts with a clean record
_BACKOFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # before the nth start in a row


class NodeConfig(Protocol):
    """What is asked here of the limits of a node."""

    @property
    def max_pending(self) -> int: ...

    @property
    def load_timeout(self) -> float: ...

    @property
    def work_dir(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Dedicated:
    """A pool of its own for a state; ``maximum`` 0: as many workers as a version may have."""

    initial: int
    maximum: int
    spec: SpecSource


class ComputeNode(SessionCalls):
    """The compute node as a supervised process; start it by using it.

    One object belongs to one event loop. ``restarts`` counts the starts after the first one.
    """

    module: ClassVar[str] = "jupyter_mlserve.compute"
    name: ClassVar[str] = "compute node"
    environment: ClassVar[dict[str, str]] = {}
    # What ``status`` says of a node that does not run, beside running, pid and restarts.
    at_rest: ClassVar[dict[str, Any]] = {
        "workers": 0,
        "busy": 0,
        "queue": 0,
        "pools": [],
        "sessions": [],
    }

    def __init__(self, config: NodeConfig | None = None, log: logging.Logger | None = None) -> None:
        self.config: NodeConfig = config or ComputeConfig()
        self.log = log or logging.getLogger(__name__)
        self.restarts = -1
        self._connection: Connection | None = None
        self._starting: asyncio.Future[Connection] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._pending_bytes = 0
        self._dedicated: dict[str, Dedicated] = {}
        self._warming: set[asyncio.Task[None]] = set()
        self._burials: set[asyncio.Task[None]] = set()
        self._revival: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Process id of the running node; None when there is none."""
        return self._connection.process.pid if self._connection is not None else None

    async def start(self) -> None:
        """Start the node if it is not running. Calls do this by themselves."""
        self._stopped = False
        await self._connected()

    async def stop(self) -> None:
        """Stop the node and everything below it; calls in flight answer 503."""
        self._stopped = True
        if self._revival is not None:
            self._revival.cancel()
        if self._starting is not None:
            with contextlib.suppress(Exception):
                await asyncio.shield(self._starting)
        connection = self._connection
        if connection is not None:
            connection.ending = True
            connection.close()
        while self._burials or self._warming or self._connection is not None:
            await asyncio.gather(*self._burials, *self._warming)
            await asyncio.sleep(0)

    async def call(
        self,
        state_id: str,
        body: bytes,
        spec: SpecSource,
        media: str = "",
        block: Block | None = None,
    ) -> Reply:
        """Call the service whose state this is, with the JSON of its inputs.

        ``media`` is for realtime services, which also read and write Arrow streams: "aj" (Arrow
        in), "ja" (Arrow out) or "aa"; "" means JSON both ways.

        With ``block`` the body holds many records, and the call is of low priority: it waits as
        long as it must for a worker that no single call wants. ``media`` "" or "ll": one JSON
        object of inputs a line. Status 200 then has one WebServiceResult a line, for the first
        ``done`` records (header; at least 1), of which ``failed`` did not succeed; the others were
        not begun. ``media`` "aa" (the version's function must take a frame of any number of
        rows): an Arrow stream of rows, answered by one with as many rows, or by an error, and
        then nothing was done. A call that is cancelled while it runs ends its worker.

        ``spec`` gives the load spec (it may be a coroutine function); it is asked only when the
        node does not know the state: on the first call, and after a restart. What it raises comes
        out of here; everything else that goes wrong is a reply.
        """
        size = len(body)
        refusal = self._over_pending(size)
        if refusal is not None:
            return error_reply(refusal)
        self._pend(size)
        try:
            for _ in range(3):
                connection = self._connection
                if connection is None or not connection.ready:
                    connection = await self._connected()
                if state_id not in connection.defined:
                    found = spec()
                    if inspect.isawaitable(found):
                        found = await found
                    self._define(connection, state_id, found)
                reply = await connection.ask(connection.call_header(state_id, media, block), body)
                if reply.status != UNKNOWN_STATE:
                    return reply
                connection.defined.pop(state_id, None)
        except ComputeLost as exc:
            return error_reply(exc)
        finally:
            self._pend(-size)
        return error_reply(
            ComputeLost("The service is being replaced. Try again.", retry_after=1.0)
        )

    def _over_pending(self, size: int) -> TooBusy | None:
        """The refusal of a body of so many bytes; None when there is room for it."""
        if self._pending_bytes + size <= self.config.max_pending:
            return None
        why = "The server holds as many requests as it may. Try again in a moment."
        return TooBusy(why, retry_after=1.0)

    def _pend(self, size: int) -> None:
        """So many bytes of bodies are held from now on (negative: not held any more)."""
        self._pending_bytes += size

    async def trial(self, state_id: str, spec: Spec, sample: bytes | None) -> Reply:
        """Load the version in a fresh worker, and call it with ``sample`` (JSON of the inputs).

        Status 200: ``body`` is the result of the call (one without outputs when there was no
        sample), and the worker is kept for the state, so that its first call is warm. Any other
        status: nothing is left, ``body`` is the error, with traceback and console in its details.
        """
        try:
            connection = await self._connected()
            connection.define(state_id, spec)
            reply = await connection.ask(
                dump_header({"op": "trial", "state": state_id, "sample": sample is not None}),
                sample or b"",
            )
        except ComputeLost as exc:
            return error_reply(exc)
        if reply.status != 200:
            connection.defined.pop(state_id, None)
        return reply

    async def dedicate(self, state_id: str, initial: int, maximum: int, spec: SpecSource) -> None:
        """Give the state a pool of its own, of these sizes, or change its sizes.

        ``initial`` workers are started at once, also after each restart of the node, and nobody
        need call for that. ``maximum`` 0: as many as a version may have. Holds until ``release`` or
        ``retire``. Raises what ``spec`` raises, and ComputeLost (then it is done later).
        """
        self._dedicated[state_id] = Dedicated(initial, maximum, spec)
        try:
            await self._size(await self._connected(), state_id)
        except ComputeLost:
            self._plan_revival()
            raise

    async def warmed(self, state_id: str, workers: int) -> None:
        """Wait until so many workers of a state are loaded, or none is being loaded any more.

        No longer than a version may take to load.
        """
        end = time.monotonic() + self.config.load_timeout
        while time.monotonic() < end:
            found = [p for p in (await self.status())["pools"] if p["state"] == state_id]
            if not any(p["ready"] < workers and p["starting"] for p in found):
                return
            await asyncio.sleep(_LOOK)

    async def release(self, state_id: str) -> None:
        """Let the state share workers with the others again; calls in flight are not disturbed."""
        if self._dedicated.pop(state_id, None) is None:
            return
        connection = self._connection
        if connection is not None and connection.ready and state_id in connection.defined:
            with contextlib.suppress(ComputeLost):
                await connection.ask(dump_header({"op": "pool", "state": state_id}))

    def _define(self, connection: Connection, state_id: str, spec: Spec) -> None:
        if (own := self._dedicated.get(state_id)) is not None:
            spec = {**spec, "pool": {"initial": own.initial, "max": own.maximum}}
        connection.define(state_id, spec)

    async def _size(self, connection: Connection, state_id: str) -> None:
        """Tell the node of the state's own pool."""
        for _ in range(3):
            if (own := self._dedicated.get(state_id)) is None:
                return
            if state_id not in connection.defined:
                spec = own.spec()
                if inspect.isawaitable(spec):
                    spec = await spec
                if self._dedicated.get(state_id) is not own:
                    continue
                if state_id not in connection.defined:
                    self._define(connection, state_id, spec)
            pool = {"initial": own.initial, "max": own.maximum}
            request = {"op": "pool", "state": state_id, "pool": pool}
            reply = await connection.ask(dump_header(request))
            if reply.status != UNKNOWN_STATE:
                return
            connection.defined.pop(state_id, None)

    async def _warm(self, connection: Connection) -> None:
        """A node has started: have what it must hold without being called."""
        for state_id in list(self._dedicated):
            try:
                await self._size(connection, state_id)
            except ComputeLost:
                return
            except MLServeError as exc:
                self.log.warning("The %s has no pool for %s: %s", self.name, state_id, exc)
            except Exception:
                self.log.exception("The %s has no pool for %s", self.name, state_id)

    async def prepare(self, interpreter: str, imports: Iterable[str]) -> None:
        """A version that imports these (modules or packages) is about to be published.

        The libraries are imported beforehand, so that its trial need not wait for that. A hint:
        it starts nothing where it would not help, and fails silently.
        """
        request = {"op": "prepare", "interpreter": interpreter, "imports": list(imports)}
        with contextlib.suppress(ComputeLost):
            await (await self._connected()).ask(dump_header(request))

    async def retire(self, state_id: str) -> None:
        """No new calls for the state: idle workers stop now, busy ones when they have finished."""
        self._dedicated.pop(state_id, None)
        connection = self._connection
        if connection is None or connection.defined.pop(state_id, None) is None:
            return
        with contextlib.suppress(ComputeLost):
            await connection.ask(dump_header({"op": "retire", "state": state_id}))

    async def status(self) -> dict[str, Any]:
        """What runs: ``running, pid, restarts`` and what the node says of itself.

        ``down``: 0 if it runs, or was not needed yet; more after it has stopped by itself, then it
        is not started for so many seconds. It starts nothing.
        """
        about: dict[str, Any] = {
            "running": False,
            "pid": self.pid,
            "restarts": max(self.restarts, 0),
            "down": 0.0,
            **self.at_rest,
        }
        connection = self._connection
        if connection is not None and connection.ready:
            with contextlib.suppress(ComputeLost):
                reply = await connection.ask(dump_header({"op": "status"}))
                about.update(json.loads(reply.body), running=True)
        if not about["running"] and self._failures:
            about["down"] = round(max(0.001, self._not_before - time.monotonic()), 3)
        return about

    # Starting and losing the process

    async def _connected(self) -> Connection:
        """A running node. Raises ComputeLost when there is none and none can be started now."""
        connection = self._connection
        if connection is not None and connection.ready:
            return connection
        if self._stopped:
            raise ComputeLost(f"The {self.name} was stopped with the server.")
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
            self._starting.add_done_callback(self._started)
        # A caller that goes away must not take the start with it.
        return await asyncio.shield(self._starting)

    def _started(self, start: asyncio.Future[Connection]) -> None:
        self._starting = None
        # The callers have the exception; nobody may have been left to ask.
        if not start.cancelled() and start.exception() is not None:
            self._plan_revival()

    async def _start(self) -> Connection:
        wait = self._not_before - time.monotonic()
        if wait > 1.0:
            raise ComputeLost(
                f"The {self.name} stopped several times in a row; see the server's log. "
                f"It is started again in {wait:.0f} seconds.",
                retry_after=round(wait, 1),
            )
        if wait > 0:
            await asyncio.sleep(wait)
        token = secrets.token_hex(16)
        keep_large_buffers()
        try:
            root = await asyncio.to_thread(work_root, self.config.work_dir, token)
        except OSError as exc:
            raise self._cannot_start(f"no working directory can be made: {exc}") from exc
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = spawn(self.module, theirs, root, token, self.environment)
            except OSError as exc:
                ours.close()
                raise self._cannot_start(str(exc)) from exc
        loop = asyncio.get_running_loop()
        ours.setblocking(False)
        _, connection = await loop.create_connection(
            lambda: Connection(self, process, root, token), sock=ours
        )
        self._connection = connection
        self.restarts += 1
        config = dict(self.config.to_dict(), root=str(root), token=token)
        try:
            await asyncio.wait_for(
                connection.ask(dump_header({"op": "start"}), json.dumps(config).encode()),
                _START_TIMEOUT,
            )
        except (asyncio.TimeoutError, TimeoutError):
            connection.close()
            raise self._cannot_start("it did not answer") from None
        connection.ready = True
        self.log.info("The %s runs as process %d.", self.name, process.pid)
        if self._dedicated:
            task = asyncio.ensure_future(self._warm(connection))
            self._warming.add(task)
            task.add_done_callback(self._warming.discard)
        return connection

    def _cannot_start(self, why: str) -> ComputeLost:
        self._back_off()
        self.log.error("The %s could not be started: %s", self.name, why)
        return ComputeLost(
            f"The {self.name} could not be started ({why}).",
            retry_after=max(1.0, round(self._not_before - time.monotonic(), 1)),
        )

    def _back_off(self) -> None:
        self._failures = min(self._failures + 1, len(_BACKOFF))
        self._not_before = time.monotonic() + _BACKOFF[self._failures - 1]

    def lost(self, connection: Connection) -> None:
        """Called by the connection when it is closed, for whatever reason."""
        if self._connection is connection:
            self._connection = None
        task = asyncio.ensure_future(self._bury(connection))
        self._burials.add(task)
        task.add_done_callback(self._burials.discard)
        if connection.ending:
            return
        self.died(connection.root)
        if time.monotonic() - connection.born > _STABLE:
            self._failures = 0
        self._back_off()
        self.log.error(
            "The %s (process %d) stopped%s. Calls in flight were answered with 503.",
            self.name,
            connection.process.pid,
            "; it is restarted" if connection.defined or self._dedicated else "",
        )
        self._plan_revival(bool(connection.defined))

    def _plan_revival(self, needed: bool = False) -> None:
        """Start the node as soon as it may be, if it has to hold anything ready."""
        if (needed or self._dedicated) and self._revival is None and not self._stopped:
            delay = max(0.0, self._not_before - time.monotonic())
            self._revival = asyncio.get_running_loop().call_later(delay, self._revive)

    def died(self, root: Path) -> None:
        """The process ended by itself; ``root`` is its directory, which is removed soon."""

    def _revive(self) -> None:
        self._revival = None
        if not self._stopped and self._connection is None and self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
            self._starting.add_done_callback(self._started)

    async def _bury(self, connection: Connection) -> None:
        """See the process out, and what author code started below it."""
        process = connection.process
        try:
            if connection.ending:
                await asyncio.to_thread(wait, process, 5.0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.to_thread(wait, process, 30.0)
        await asyncio.to_thread(kill_marked, NODE_MARK, connection.token)
        await asyncio.to_thread(shutil.rmtree, connection.root, True)
