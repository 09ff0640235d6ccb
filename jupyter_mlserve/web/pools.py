"""Dedicated pools of services, kept in the compute node as the catalog says.

The catalog is followed, whoever changes it: this server, or another on the same database. A pool
is warm without a call, also after a restart of this server or of the compute node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from logging import Logger
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..contract.errors import ComputeLost, Gone, MLServeError, NotFound
from .runtime import is_realtime, runtime_key

if TYPE_CHECKING:
    from ..compute.client import ComputeNode
    from ..store.catalog import Catalog
    from ..store.models import Pool, State

Json = dict[str, Any]
Word = Literal["Pending", "Success", "NotFound"]
LOOK = 2.0  # seconds between looks at what other servers did
GOODBYE = 5.0


class Held(NamedTuple):
    """What a version has in the compute node: ``key`` names its pool there."""

    key: str
    pool: Pool


class ServicePools:
    """``start()`` in the event loop; ``look()`` when the catalog has changed.

    ``spec`` gives what a state is run from, ``retire`` ends what a key names when nothing needs it.
    """

    def __init__(
        self,
        catalog: Catalog,
        compute: ComputeNode,
        spec: Callable[[State], Json | Awaitable[Json]],
        retire: Callable[[str], None],
        log: Logger,
    ) -> None:
        self._catalog = catalog
        self._compute = compute
        self._spec = spec
        self._retire = retire
        self._log = log
        self._held: dict[tuple[str, str], Held] = {}
        self._later: set[tuple[str, str]] = set()
        self._revision = -1
        self._wake: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._said = ""

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Warm the pools there are, and follow the catalog. May be repeated."""
        if self._task is None and not self._stopped:
            self._wake = asyncio.Event()
            self._task = asyncio.ensure_future(self._follow())

    def look(self) -> None:
        """The catalog has changed, or may have."""
        if self._wake is not None:
            self._wake.set()

    async def stop(self) -> None:
        self._stopped = True
        self.look()
        if self._task is not None:
            # It may be waiting for the database in a thread, which cannot be cancelled.
            await asyncio.wait({self._task}, timeout=GOODBYE)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        assert self._wake is not None
        while not self._stopped:
            self._wake.clear()
            try:
                await self._catch_up()
                self._said = ""
            except MLServeError as exc:
                if str(exc) != self._said:
                    self._said = str(exc)
                    self._log.warning("cannot look for dedicated pools: %s", exc)
            except Exception:
                self._log.exception("could not look for dedicated pools")
            with suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK)

    async def _catch_up(self) -> None:
        revision = await asyncio.to_thread(self._catalog.revision)
        again = set(self._later)
        changed = set(again)
        if self._revision < 0:
            states = await asyncio.to_thread(self._catalog.pooled)
            changed.update((state.name, state.version) for state in states)
        elif revision != self._revision:
            changed.update(await asyncio.to_thread(self._catalog.changes, self._revision))
        self._later |= changed
        self._revision = revision
        for version in changed:
            if self._stopped:
                return
            try:
                await self._apply(version)
                self._later.discard(version)
            except MLServeError as exc:
                if version not in again:
                    self._log.warning("the dedicated pool of %s %s: %s", *version, exc)

    async def _apply(self, version: tuple[str, str]) -> None:
        """Let the compute node have for this version what the catalog says now."""
        state: State | None = None
        with suppress(Gone, NotFound):
            state = await asyncio.to_thread(self._catalog.get, *version)
        key, pool = "", None
        if state is not None and not is_realtime(state.definition):
            key, pool = await asyncio.to_thread(runtime_key, state.definition), state.pool
        old = self._held.get(version)
        if old is not None and (pool is None or old.key != key):
            del self._held[version]
            await self._compute.release(old.key)
            if old.key != key:
                self._retire(old.key)
        if state is not None and pool is not None:
            self._held[version] = Held(key, pool)
            with suppress(ComputeLost):  # it is done when the compute node runs again
                await self._compute.dedicate(
                    key, pool.initial, pool.maximum, lambda: self._spec(state)
                )

    # -- what is asked --------------------------------------------------------------------------

    def report(self, compute: Json) -> dict[str, Json]:
        """How each pool is that should be there, by the name of its version."""
        there = {pool["state"]: pool for pool in compute.get("pools") or () if pool["dedicated"]}
        found: dict[str, Json] = {}
        for (name, version), held in sorted(self._held.items()):
            about = there.get(held.key)
            found[f"{name} {version}"] = {
                "status": _word(about, held.pool),
                "initialPoolSize": held.pool.initial,
                "maxPoolSize": about["max"] if about else held.pool.maximum,
                "currentPoolSize": about["workers"] if about else 0,
                "activeShellCount": about["busy"] if about else 0,
                "queue": about["queue"] if about else 0,
            }
        return found

    def status(self, state: State, compute: Json) -> Word:
        """How the pool of a state is; ``compute`` is what the compute node says of itself."""
        if state.pool is None or is_realtime(state.definition):
            return "NotFound"
        key = runtime_key(state.definition)
        pools = [p for p in compute.get("pools") or () if p["dedicated"] and not p["retired"]]
        return _word(next((p for p in pools if p["state"] == key), None), state.pool)


def _word(about: Json | None, pool: Pool) -> Word:
    """``about``: the pool as the compute node has it."""
    if about is None or about["initial"] != pool.initial:
        return "Pending"
    return "Success" if about["ready"] >= pool.initial else "Pending"
