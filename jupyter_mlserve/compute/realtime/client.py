"""The web node's side of the realtime process. Imports nothing heavy."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any, ClassVar

from ...contract.errors import ComputeLost, Unavailable, WorkerLost
from ...worker.frames import dump_header
from ..block import Block
from ..client import ComputeNode, Reply, SpecSource
from ..connection import Spec, error_reply
from .config import RealtimeConfig
from .flight import BLOCK, crashed

__all__ = ["RealtimeConfig", "RealtimeNode"]

_CRASHES = 3  # a version that had its part in so many crashes
_WITHIN = 600.0  # of the last seconds
_HELD_BACK = 60.0  # is refused for so many seconds; after each further crash for twice as long
_LONGEST = 3600.0
# The records of a batch that stop the process are found one by one, which takes a few crashes for
# each. Its calls are innocent of that; its blocks wait, from so many crashes on, so that other
# versions are disturbed once in _HELD_BACK seconds.
_BLOCK_CRASHES = 6


class RealtimeNode(ComputeNode):
    """The process that scores realtime services, supervised as the compute node is.

    A load spec is ``{"runtimeType": "Realtime", "name", "version", "model": {"path", "sha256"}}``;
    ``path`` is that of the container (the uploaded bytes), ``sha256`` its digest.
    """

    module: ClassVar[str] = "jupyter_mlserve.compute.realtime"
    name: ClassVar[str] = "realtime process"
    # One thread each: calls run side by side, and numpy would start threads it never needs. Two
    # heaps are enough, and give memory back sooner.
    environment: ClassVar[dict[str, str]] = {
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    at_rest: ClassVar[dict[str, Any]] = {
        "sessions": 0,
        "bytes": 0,
        "calls": 0,
        "busy": 0,
        "queue": 0,
        "blocks": 0,
        "versions": [],
    }

    def __init__(
        self, config: RealtimeConfig | None = None, log: logging.Logger | None = None
    ) -> None:
        found = config or RealtimeConfig()
        super().__init__(found, log)
        self.budget = found.model_memory
        self._crashes: dict[str, list[float]] = {}
        # State id, with BLOCK behind it for its blocks -> until when it is refused (monotonic
        # seconds).
        self._held: dict[str, float] = {}
        # State id -> when the process is known to have stopped because of it (monotonic seconds).
        self._culprits: dict[str, float] = {}

    async def call(
        self,
        state_id: str,
        body: bytes,
        spec: SpecSource,
        media: str = "",
        block: Block | None = None,
    ) -> Reply:
        """Score ``body``: the JSON of the inputs, or an Arrow stream, as ``media`` says.

        With ``block`` it holds many records, and waits, as long as it must, for a thread that no
        call wants; ``call_timeout`` and the block's ``budget`` count from when it begins. ``media``
        "" or "ll": a line for each record, in and out. The header of the reply has ``done``, the
        records that were answered (the first ones; at least 1), and ``failed``, how many of these
        lines are errors, each the one that a call with this record gives. ``media`` "aa": an Arrow
        stream of rows, answered by another of as many rows. Status 500 WorkerLost: scoring these
        records has stopped the process. ``stage`` "load" in the header: the model could not be
        loaded, whatever the records are.
        """
        if self._held:
            until = self._held.get(state_id, 0.0)
            if block is not None:
                until = max(until, self._held.get(state_id + BLOCK, 0.0))
            wait = until - time.monotonic()
            if wait > 0:
                return error_reply(
                    Unavailable(
                        "This version stopped the realtime process several times, and is not "
                        f"called for {wait:.0f} more seconds. If it goes on, publish it again, or "
                        "as a standard service.",
                        retry_after=round(wait, 1),
                    )
                )
        if block is None:
            return await super().call(state_id, body, spec, media)
        start = time.monotonic()
        reply = await super().call(state_id, body, spec, media, block)
        lost = reply.header.get("error") == ComputeLost.__name__
        if lost and self._culprits.get(state_id, 0.0) > start:
            return error_reply(
                WorkerLost("The realtime process stopped while it scored these records.")
            )
        return reply

    async def trial(self, state_id: str, spec: Spec, sample: bytes | None = None) -> Reply:
        """Try the model in a process of its own, on the example row of its header.

        Status 200: ``body`` is the result for that row, the header has ``load_seconds`` and
        ``call_seconds``. Else ``body`` is the error: the model is not acceptable or does not work.
        ``sample`` has no meaning here.
        """
        try:
            connection = await self._connected()
            request = dump_header({"op": "trial", "state": state_id})
            reply = await connection.ask(request, json.dumps(spec).encode())
        except ComputeLost as exc:
            return error_reply(exc)
        return reply

    async def status(self) -> dict[str, Any]:
        """``running, pid, restarts, sessions`` (loaded models), ``bytes`` they take, ``budget``
        (bytes), ``calls``, ``busy``, ``queue`` (calls), ``blocks`` (running
        or waiting), ``held_back`` (versions, or their blocks, refused after crashes) and
        ``versions``, a list of those that are loaded or waited for."""
        now = time.monotonic()
        held = sum(until > now for until in self._held.values())
        return {"budget": self.budget, "held_back": held, **await super().status()}

    def died(self, root: Path) -> None:
        """Which version is to blame? One that had its part too often is held back."""
        now = time.monotonic()
        states, certain = crashed(root)
        for key in states:
            state_id, block = key.removesuffix(BLOCK), key.endswith(BLOCK)
            if certain:
                self._culprits[state_id] = now
            times = [when for when in self._crashes.get(key, []) if now - when < _LONGEST * 2]
            times.append(now)
            self._crashes[key] = times
            most = _BLOCK_CRASHES if block else _CRASHES
            recent = sum(now - when < _WITHIN for when in times)
            again = len(times) - most
            if recent >= most or (again >= 0 and key in self._held):
                # Blocks do not wait for longer each time: many records may be at fault.
                seconds = _HELD_BACK if block else min(_LONGEST, _HELD_BACK * 2 ** max(again, 0))
                self._held[key] = now + seconds
                self.log.error(
                    "The realtime process stopped %d times while it scored or loaded %sstate %s; "
                    "%s not called for %.0f seconds.",
                    len(times),
                    "batches of " if block else "",
                    state_id,
                    "they are" if block else "that is",
                    seconds,
                )

    async def retire(self, state_id: str) -> None:
        """No new calls for the state; its model is unloaded when those in flight have ended."""
        for key in (state_id, state_id + BLOCK):
            self._crashes.pop(key, None)
            self._held.pop(key, None)
        self._culprits.pop(state_id, None)
        await super().retire(state_id)
