"""The web node: everything behind the handlers, put together once.

Opened with the first request (or right after the server has started, in a thread): a Jupyter
server that nobody asks for a service should not wait for a database. Never loads author code,
pickles, pandas or numpy (DESIGN, promise 1).
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tornado.httputil import format_timestamp

from ..access.kernel_token import KernelToken
from ..access.policy import Policy
from ..access.principal import server_owner
from ..compute.config import ComputeConfig
from ..compute.realtime.config import RealtimeConfig
from ..contract.errors import TooBusy, Unavailable
from .batch.settings import BatchSettings
from .identity import IdentityCache, is_anonymous
from .sessions.settings import SessionSettings

if TYPE_CHECKING:
    from .core import Core

ACTIVITY = "jupyter_mlserve_last_activity"
# How long the end waits for answers on their way.
GOODBYE_SECONDS = 2.0


@dataclass(frozen=True)
class Settings:
    """The traits of the extension, as plain values. Sizes in bytes, times in seconds."""

    data_dir: Path
    db_url: str = ""
    blob_url: str = ""
    token_key_file: str = ""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    realtime: RealtimeConfig = field(default_factory=RealtimeConfig)
    batch: BatchSettings = field(default_factory=BatchSettings)
    session: SessionSettings = field(default_factory=SessionSettings)
    max_body_size: int = 64 * 1024**2
    max_definition_size: int = 16 * 1024**2
    max_upload_size: int = 4 * 1024**3
    storage_quota: int = 0
    blob_grace: float = 86_400.0
    identity_cache_seconds: float = 30.0
    scoring_counts_as_activity: bool = True

    @property
    def database(self) -> str:
        return self.db_url or str(self.data_dir / "catalog.sqlite3")

    @property
    def blobs(self) -> str:
        return self.blob_url or str(self.data_dir / "blobs")

    @property
    def token_key(self) -> Path:
        return Path(self.token_key_file) if self.token_key_file else self.data_dir / "token.key"


class WebNode:
    """What a request needs beyond itself. ``core`` opens the stores when it is first used."""

    def __init__(
        self,
        settings: Settings,
        web_settings: dict[str, Any],
        log: Logger,
    ) -> None:
        self.settings = settings
        self.web_settings = web_settings
        self.log = log
        provider = web_settings["identity_provider"]
        self.anonymous = is_anonymous(provider)
        self.identities = IdentityCache(
            provider, web_settings["authorizer"], settings.identity_cache_seconds
        )
        self.hub_user = os.environ.get("JUPYTERHUB_USER")
        self.kernel_token = KernelToken(server_owner(self.hub_user))
        self.policy = Policy()
        self.http_metrics = True
        self.find_address: Callable[[], str] = str
        # Has the server's event loop run something soon; from any thread.
        self.in_loop: Callable[[Callable[[], None]], Any] | None = None
        self.held = 0
        self.reading = asyncio.Lock()
        self.started = time.time()
        self._core: Core | None = None
        self._opening = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._second = 0
        self._date = ""
        self._active = 0.0
        self.stopped = False

    @property
    def address(self) -> str:
        """What this web node and its compute node are called: an address, with final slash."""
        return self.find_address()

    @property
    def core(self) -> Core:
        """Catalog, blobs, compute node, routes, publisher. Raises what opening them raises."""
        return self._core if self._core is not None else self.open()

    def open(self) -> Core:
        """Open the stores now; from any thread, and more than once."""
        from .core import Core

        with self._opening:
            if self.stopped:
                raise Unavailable("The server is being stopped.")
            if self._core is None:
                self._core = Core(self)
                if self.in_loop is not None:
                    self.in_loop(self._core.start)
            return self._core

    def _take(self) -> Core | None:
        """The stores, which are not opened any more; waits for an opening in progress."""
        with self._opening:
            self.stopped = True
            core, self._core = self._core, None
        return core

    @property
    def opened(self) -> Core | None:
        return self._core

    # -- work that outlives its caller --------------------------------------------------------

    def track(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` as a task that is known until it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def running(self) -> int:
        """Requests and background work in progress."""
        return len(self._tasks)

    @property
    def batches_running(self) -> int:
        """Batch executions that are being worked on."""
        return self._core.runner.running if self._core is not None else 0

    async def stop(self) -> None:
        """End everything: no process, task or connection is left."""
        core = await asyncio.to_thread(self._take)
        if core is not None:
            await core.stop()
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=GOODBYE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if core is not None:
            core.close()

    def hold(self, count: int) -> int:
        """Reserve memory for a large body that is coming; ``held -= count`` gives it back."""
        if self.held + count > self.settings.compute.max_pending:
            raise TooBusy(
                "The server holds as many large requests as it may. Try again in a moment.",
                retry_after=1.0,
            )
        self.held += count
        return count

    # -- small things the hot path asks for ---------------------------------------------------

    def date(self) -> str:
        """Now, as HTTP writes it; made once a second."""
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._date = format_timestamp(now)
        return self._date

    def active(self) -> None:
        """A call was scored: Jupyter and the hub must not take the server for idle."""
        now = time.monotonic()
        if now - self._active > 1.0 and self.settings.scoring_counts_as_activity:
            self._active = now
            self.web_settings[ACTIVITY] = datetime.now(timezone.utc)


def own_interpreter() -> dict[str, Any]:
    """The interpreter recorded for a definition that names none: the server's own."""
    try:
        dill: str | None = version("dill")
    except PackageNotFoundError:
        dill = None
    return {
        "executable": sys.executable,
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "dill": dill,
    }
