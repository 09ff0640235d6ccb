"""One life of the compute node's process, as the web node has it: requests out, replies in."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from ..contract.errors import ComputeLost, MLServeError, result_error_body
from ..contract.http_status import status_of
from ..worker.frames import dump_header, parse_header
from .block import Block
from .protocol import Body, FrameProtocol

Spec = dict[str, Any]

UNKNOWN_STATE = 0  # status of a reply: define the state and send the call again
_PING_EVERY = 10.0  # seconds, while a reply is awaited
_SILENCE = 30.0  # a node that says nothing for so long, not even to a ping, is stuck


@dataclass(frozen=True)
class Reply:
    """Answer of the compute node.

    status: the HTTP status. body: ready JSON, a WebServiceResult or an error body that has its
    keys too; a large one is a bytearray, as it was read. header: ``seconds`` (in the worker), and
    where they apply ``retry_after`` (seconds), ``traceback`` (of the author's code, for owners
    only), ``console``, ``error`` (the exceptionType), ``field``; after a trial also
    ``load_seconds`` and ``call_seconds``.
    """

    status: int
    body: Body
    header: dict[str, Any] = field(default_factory=dict)


def error_reply(exc: MLServeError) -> Reply:
    """An error as the reply to a call."""
    header: dict[str, Any] = {"error": type(exc).__name__}
    if exc.retry_after is not None:
        header["retry_after"] = exc.retry_after
    return Reply(status_of(exc), json.dumps(result_error_body(exc)).encode(), header)


class Supervisor(Protocol):
    """What a connection needs of the node it belongs to."""

    name: ClassVar[str]
    log: logging.Logger

    def lost(self, connection: Connection) -> None: ...


class Connection(FrameProtocol):
    """One life of the compute node's process."""

    def __init__(
        self, node: Supervisor, process: subprocess.Popen[bytes], root: Path, token: str
    ) -> None:
        super().__init__()
        self.process = process
        self.root = root
        self.token = token
        self.born = time.monotonic()
        self.ready = False
        self.ending = False
        # State id -> its JSON text, for the header of a call.
        self.defined: dict[str, str] = {}
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._next_id = 0
        self._pending: dict[int, asyncio.Future[Reply]] = {}
        self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def define(self, state_id: str, spec: Spec) -> None:
        """Frames keep their order, so a call may follow at once."""
        self.defined[state_id] = json.dumps(state_id)
        header = dump_header({"id": 0, "op": "define", "state": state_id})
        self.send(header.encode(), json.dumps(spec).encode())

    def call_header(self, state_id: str, media: str, block: Block | None = None) -> str:
        more = f',"m":{json.dumps(media)}' if media else ""
        if block is not None:
            more += f',"b":{block.to_json()}'
        return f'{{"op":"call","state":{self.defined[state_id]}{more}}}'

    async def ask(self, header: str, body: Body = b"") -> Reply:
        """Send a request; ``header`` is a JSON object without its id. Raises ComputeLost."""
        if self.transport is None:
            raise self._lost()
        number = self._next_id = self._next_id + 1
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._pending[number] = future
        if self._watch is None:
            self._heard = self._loop.time()
            self._watch = self._loop.call_later(_PING_EVERY, self._check)
        self.send(f'{{"id":{number},{header[1:]}'.encode(), body)
        try:
            return await future
        except asyncio.CancelledError:
            if self._pending.pop(number, None) is not None:
                self.send(f'{{"id":{number},"op":"cancel"}}'.encode())
            raise

    def frame_received(self, header: bytes, body: Body) -> None:
        self._heard = self._loop.time()
        found = parse_header(header)
        number = found.pop("id", 0)
        future = self._pending.pop(number, None)
        if future is not None:
            if not future.done():
                future.set_result(Reply(found.pop("status", 200), body, found))
        elif found.get("op") == "log":
            self._node.log.log(int(found["level"]), "%s", found["message"])

    def closed(self, exc: Exception | None) -> None:
        self.ready = False
        if self._watch is not None:
            self._watch.cancel()
        error = self._lost()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(error)
        self._pending.clear()
        self._node.lost(self)

    def _lost(self) -> ComputeLost:
        return ComputeLost(
            f"The {self._node.name} stopped while it had the request, and is being restarted. "
            "Try again if the service may be called twice.",
            retry_after=1.0,
        )

    def _check(self) -> None:
        """While replies are awaited: is the node alive?"""
        self._watch = None
        if not self._pending:
            return
        if self._loop.time() - self._heard > _SILENCE:
            self._node.log.error("The %s does not answer; it is killed.", self._node.name)
            self.process.kill()
            return
        self.send(b'{"id":0,"op":"ping"}')
        self._watch = self._loop.call_later(_PING_EVERY, self._check)
