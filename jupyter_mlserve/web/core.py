"""The stores, the two processes that run services, and what ties them together.

Importing this loads SQLAlchemy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from ..access.tokens import IDLE_SECONDS, LOGIN_SECONDS
from ..compute.client import ComputeNode
from ..compute.realtime.client import RealtimeNode
from ..contract.errors import BlobMissing, BundleCorrupt, MLServeError
from ..store.accounts import Accounts
from ..store.batches import BatchFiles, Executions
from ..store.batches.child import Children
from ..store.blobs import Blobs
from ..store.catalog import Catalog
from ..store.models import PoolLimits, State
from ..store.snapshots import Snapshots
from .batch.desk import Desk
from .batch.runner import BatchRunner
from .logins import Logins
from .pools import ServicePools
from .publishing import Publisher
from .routes import Route, Routes
from .runtime import is_realtime, load_spec
from .sessions.registry import Sessions

if TYPE_CHECKING:
    from .node import WebNode

# Other databases than SQLite are asked for their revision by a query, and not for every call.
REMOTE_LOOK_SECONDS = 0.25
# Where blobs become unused often, as with each publish from a session, looking for all that are
# waits so long for more.
COLLECT_SECONDS = 600.0


class Core:
    """Made once per web node.

    ``compute`` runs standard services, ``realtime`` realtime ones; neither can stop the other.
    """

    def __init__(self, node: WebNode) -> None:
        from .node import own_interpreter

        settings = node.settings
        self._node = node
        self._log = node.log
        self.policy = node.policy
        compute = settings.compute
        self.catalog = Catalog(
            settings.database, PoolLimits(compute.default_pool_max, compute.most_dedicated)
        )
        try:
            self.blobs = Blobs(
                settings.blobs, settings.data_dir / "cache", quota=settings.storage_quota
            )
            self.compute = ComputeNode(settings.compute, node.log)
            self.realtime = RealtimeNode(settings.realtime, node.log)
            remote = "://" in settings.database and not settings.database.startswith("sqlite")
            # Whether other servers, on other machines, may use the same database.
            self.shared = remote
            self.routes = Routes(
                self.catalog, self.spec, self._retire, REMOTE_LOOK_SECONDS if remote else 0.0
            )
            self.snapshots = Snapshots(self.catalog.database)
            self.publisher = Publisher(
                self.catalog,
                self.blobs,
                self.snapshots,
                self.compute,
                self.realtime,
                node.policy,
                own_interpreter(),
                self._changed,
                settings.realtime.max_model_size,
            )
            accounts = Accounts(self.catalog.database, IDLE_SECONDS, LOGIN_SECONDS)
            self.logins = Logins(accounts, settings.token_key, node.log)
            self.pools = ServicePools(
                self.catalog, self.compute, self.spec, self._retire_key, node.log
            )
            self.executions = Executions(self.catalog.database)
            self.batches = BatchFiles(settings.batch.folder(settings.data_dir))
            self.children = Children()
            self.desk = Desk()
            self.runner = BatchRunner(self, settings.batch, node.log)
            self.sessions = Sessions(
                settings.data_dir,
                settings.session,
                self.compute,
                node.policy,
                self.collect_some_time,
                node.log,
            )
        except BaseException:
            self.catalog.close()
            raise
        self._collecting = False
        self._collected = -COLLECT_SECONDS

    def spec(self, state: State) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        """Asked when the compute node does not know the state: first call, or after a restart."""
        if "://" in self._node.settings.blobs:
            return asyncio.to_thread(self._load_spec, state)  # may download
        return self._load_spec(state)

    def _load_spec(self, state: State) -> dict[str, Any]:
        try:
            return load_spec(state.definition, self.blobs.path, state.pool)
        except BlobMissing as exc:
            part = "its model" if is_realtime(state.definition) else "an object or file of it"
            raise BundleCorrupt(
                f"Service {state.name!r} version {state.version!r} cannot be loaded: {part} "
                "is gone from the store. Its author must publish it again.",
                **exc.details,
            ) from exc

    def compute_of(self, route: Route) -> ComputeNode:
        """Which of the two runs it."""
        return self.realtime if route.realtime else self.compute

    def start(self) -> None:
        """In the event loop: go on with batches that were interrupted, warm the pools."""
        self.runner.start()
        self.pools.start()

    def _changed(self) -> None:
        self.routes.follow()
        self.pools.look()

    def _retire(self, route: Route) -> None:
        self._retire_key(route.key, self.compute_of(route))

    def _retire_key(self, key: str, compute: ComputeNode | None = None) -> None:
        if self.runner.holds(key):
            return  # it retires it at its end
        self._node.track(self._retire_now(key, compute or self.compute))

    async def _retire_now(self, key: str, compute: ComputeNode) -> None:
        try:
            await compute.retire(key)
        except MLServeError as exc:
            # A process that is gone runs nothing that could be stopped.
            self._log.debug("could not retire %s: %s", key, exc)

    def collect_soon(self) -> None:
        """Remove blobs that nothing needs any more, in the background."""
        if not self._collecting:
            self._collecting = True
            self._collected = time.monotonic()
            self._node.track(self._collect())

    def collect_some_time(self) -> None:
        """The same, unless it was done a short while ago."""
        if time.monotonic() - self._collected >= COLLECT_SECONDS:
            self.collect_soon()

    async def _collect(self) -> None:
        try:
            staged = self.sessions.blobs()
            removed = await asyncio.to_thread(self._collect_now, staged)
            if removed.blobs:
                self._log.info(
                    "removed %d blobs (%d bytes) that no service needs",
                    removed.blobs,
                    removed.bytes,
                )
        except MLServeError as exc:
            self._log.warning("could not collect old blobs: %s", exc)
        finally:
            self._collecting = False

    def _collect_now(self, staged: set[str]) -> Any:
        grace = self._node.settings.blob_grace
        return self.blobs.collect(self.catalog.referenced_blobs(grace) | staged, grace)

    async def stop(self) -> None:
        """Stop the batches, then both processes; calls in flight are answered with 503."""
        self.desk.stop()
        await asyncio.gather(self.runner.stop(), self.pools.stop())
        await self.children.close()
        await self.sessions.stop()
        await asyncio.gather(self.compute.stop(), self.realtime.stop())

    def close(self) -> None:
        """After ``stop()``: let go of the stores."""
        self.logins.close()
        self.sessions.remove()
        self.catalog.close()
