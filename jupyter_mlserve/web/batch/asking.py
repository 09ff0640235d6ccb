"""Portions of records sent to what runs a version, as often as it takes to get an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from ...access.principal import SERVER, Principal
from ...compute.client import Block, Reply
from ...compute.connection import error_reply
from ...contract.definition import Definition
from ...contract.errors import MLServeError
from ...store.batches import Execution
from ...store.batches.pinned import pinned
from ..runtime import is_realtime, runtime_key
from .todo import Span
from .verdicts import BUSY, DONE, LOST, UNLOADED, message_of, verdict

if TYPE_CHECKING:
    from ..core import Core

# So often the process may be lost with several records, until they are tried in parts; and with
# a record that is alone, until that is given up.
LOST_TOGETHER, LOST_ALONE = 3, 20
# Seconds between the attempts to load a version; after the last one the execution has failed.
LOAD_WAITS = (4.0, 8.0, 16.0, 30.0)

# A wait of so many seconds is told.
LONG = 5.0


class Broken(Exception):
    """The execution cannot go on; the sentence says why."""


class Asker:
    """Calls the state of a version that an execution was started with.

    ``key`` names what runs it in the compute node. ``label``: the version, for sentences.
    ``owner``: who reads the results may see the code. Making one blocks; raises VersionDeleted
    and ServiceNotFound.
    """

    def __init__(self, core: Core, execution: Execution, parallel: int, seconds: float) -> None:
        self.state = state = pinned(core.catalog.database, execution.state_id)
        self.definition = Definition.from_json(state.definition)
        self.realtime = is_realtime(state.definition)
        self.key = runtime_key(state.definition)
        self.label = f"{state.name} {state.version}"
        principal = Principal(execution.owner, execution.owner, SERVER)
        owner = core.catalog.name_owner(state.name)
        self.owner = core.policy.may(principal, "see_code", state.author, owner).allowed
        self._block = Block(seconds, parallel, self.definition.batchable, self.owner)
        self._node = core.realtime if self.realtime else core.compute
        # A dedicated pool is for the state that is current, and the compute node knows of it.
        shared = replace(state, pool=None)
        self._spec = lambda: core.spec(shared)
        # Of records that are suspected of stopping the process, one is asked at a time: else those
        # that are innocent would be lost, and given up, with the one that is not.
        self._apart = asyncio.Lock()
        self._not_before = 0.0
        self._load_failures = 0
        self._said = ""
        # Called with the reason when it has to wait for long, and with "" when it goes on.
        self.told: Callable[[str], None] = lambda message: None

    async def ask(self, span: Span, body: bytes, unwanted: Callable[[], bool]) -> Reply | None:
        """The answer to a portion; None when it is ``unwanted`` before it is begun.

        The header of an answer has ``seconds``. Raises Broken when the version cannot be loaded.
        """
        async with AsyncExitStack() as stack:
            return await self._ask(span, body, unwanted, stack)

    async def _ask(
        self, span: Span, body: bytes, unwanted: Callable[[], bool], stack: AsyncExitStack
    ) -> Reply | None:
        single, apart = len(span) == 1, False
        suspect = self.realtime and span.most == 1
        media = "aa" if span.arrow else "ll" if self.realtime else ""
        while True:
            if single and not apart and (suspect or span.lost >= LOST_TOGETHER):
                apart = True
                await stack.enter_async_context(self._apart)
            await _wait(self._not_before - time.monotonic(), unwanted)
            if unwanted():
                return None
            began = time.monotonic()
            try:
                reply = await self._node.call(self.key, body, self._spec, media, self._block)
            except MLServeError as exc:  # its parts are not there, or the store is not
                reply = error_reply(exc)
                reply.header["stage"] = "load"
            word = verdict(reply)
            if word == DONE:
                self._load_failures = 0
                self._say("")
                reply.header.setdefault("seconds", time.monotonic() - began)
            if word == LOST:
                span.lost += 1
                if span.lost >= (LOST_ALONE if single else LOST_TOGETHER):
                    return reply
            if word in (LOST, BUSY):
                seconds = float(reply.header.get("retry_after") or 1.0)
                if seconds >= LONG:
                    self._say(message_of(reply))
                await _wait(min(max(seconds, 0.05), 60.0), unwanted)
            elif word == UNLOADED:
                self._cannot_load(reply, began)
            else:
                return reply

    def _cannot_load(self, reply: Reply, began: float) -> None:
        """Wait, with all portions together, and try again; but not for ever."""
        if began < self._not_before:
            return  # several were told the same
        if self._load_failures >= len(LOAD_WAITS):
            raise Broken(message_of(reply))
        self._say(message_of(reply))
        self._not_before = time.monotonic() + LOAD_WAITS[self._load_failures]
        self._load_failures += 1

    def _say(self, message: str) -> None:
        if message != self._said:
            self._said = message
            self.told(message)


async def _wait(seconds: float, unwanted: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not unwanted():
        await asyncio.sleep(min(left, 0.5))
