"""Works on batch executions: takes those that wait, and sees each to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from logging import Logger
from typing import TYPE_CHECKING, Any, TypeVar

from ...contract.batch import FAILED, READY
from ...contract.errors import Gone, MLServeError, NotFound, VersionDeleted
from ...store.batches import Execution, new_holder
from ...store.batches.pinned import pinned
from ..metrics import QUEUED, RUNNING, count_batch, forget_batches
from ..runtime import runtime_key
from .engine import Engine
from .progress import Progress, progress_of
from .retention import sweeping
from .settings import BatchSettings
from .turns import Turn, choose
from .watching import Watchers

if TYPE_CHECKING:
    from ..core import Core

__all__ = ["BatchRunner", "Progress"]

T = TypeVar("T")

# Seconds for which a lease is taken, and after which it is renewed.
LEASE, RENEW = 30.0, 10.0
# Seconds between two looks for executions that another server has left: while some wait or are
# worked on, and otherwise.
SOON, LATER = 1.0, 5.0
# Seconds between two looks whether the versions that are worked on were deleted.
TEND = 1.0
# Threads for the files and rows of executions; the server's own are for its requests.
THREADS = 6
# A run that ended by a fault of ours is repeated so often.
FAULTS = 5


class BatchRunner:
    """One per web node, as ``core.runner``; used from its event loop only.

    Beside it: ``core.executions`` (Executions) and ``core.batches`` (BatchFiles). Several
    runners, of several servers, may share these: who works on an execution holds a lease on it.
    """

    def __init__(self, core: Core, settings: BatchSettings, log: Logger) -> None:
        self._core = core
        self._settings = settings
        self._log = log
        self._holder = new_holder()
        self._engines: dict[str, Engine] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._served: dict[str, float] = {}
        self._faults: dict[str, int] = {}
        self._elsewhere: set[str] = set()
        self._watchers = Watchers()
        self._threads = ThreadPoolExecutor(THREADS, "mlserve-batch")
        self._wake: asyncio.Event | None = None
        self._own: list[asyncio.Task[None]] = []
        self._stopped = False

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work, and go on with what was interrupted. May be repeated."""
        if self._stopped or self._own:
            return
        self._wake = asyncio.Event()
        core, retention = self._core, self._settings.retention
        self._own = [
            asyncio.ensure_future(self._serve()),
            asyncio.ensure_future(self._tend()),
            asyncio.ensure_future(sweeping(core.executions, core.batches, retention, self._log)),
        ]

    async def stop(self) -> None:
        """End all work; what is not completed goes on after the next start, or elsewhere."""
        self._stopped = True
        for task in (*self._own, *self._runs.values()):
            task.cancel()
        await asyncio.gather(*self._own, *self._runs.values(), return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)
        QUEUED.set(0)
        RUNNING.set(0)

    @property
    def running(self) -> int:
        """Executions that are being worked on here."""
        return len(self._engines)

    async def _threaded(self, function: Callable[..., T], *args: Any, **more: Any) -> T:
        call = partial(function, *args, **more)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    # -- what others ask ------------------------------------------------------------------------

    def submit(self, id: str) -> None:
        """An execution was made, and can be begun."""
        self.start()
        self._look_now()

    async def cancel(self, id: str) -> None:
        """End the execution, if it runs, and remove everything of it. May be repeated.

        The records it works on are stopped. Nothing of it is found any more when this returns.
        Raises what the store raises; if that is before anything was removed, it goes on.
        """
        await self._threaded(self._core.executions.delete, id)
        engine, run = self._engines.get(id), self._runs.get(id)
        if engine is not None and run is not None:
            engine.let_go()
            if engine.ended:
                run.cancel()  # it waits, to be tried again
            await asyncio.wait({run})
        await self._threaded(self._core.batches.remove, id)
        self._watchers.tell(id, True)

    async def progress(self, id: str) -> Progress:
        """Where it stands now. Raises NotFound."""
        engine = self._engines.get(id)
        if engine is None or engine.ended or engine.execution.state == READY:
            return progress_of(await self._threaded(self._core.executions.get, id))
        found = progress_of(engine.execution, engine.rate.rate())
        return found if not engine.message else found.saying(engine.message)

    def watch(self, id: str) -> AsyncIterator[Progress]:
        """Its progress: as it is now, then at most twice a second whatever changed, at once each
        change of state; ends after a final state, or when the execution was removed.

        Raises NotFound at the first step when there is no such execution.
        """
        return self._watchers.watch(id, self.progress)

    def holds(self, key: str) -> bool:
        """Whether an execution goes on with what ``key`` names: then it must not be retired now.
        The runner has it retired when that is over. (An update does not disturb a batch.)"""
        return any(
            engine.asker is not None and engine.asker.key == key
            for engine in self._engines.values()
        )

    # -- whose turn it is -----------------------------------------------------------------------

    def _look_now(self) -> None:
        if self._wake is not None:
            self._wake.set()

    async def _serve(self) -> None:
        assert self._wake is not None
        while True:
            self._wake.clear()
            wait = LATER
            try:
                waiting = await self._threaded(self._waiting)
                waiting = [one for one in waiting if one.id not in self._engines]
                await self._take_turns(waiting)
                QUEUED.set(sum(one.id not in self._engines for one in waiting))
                if waiting or self._engines:
                    wait = SOON
            except MLServeError as exc:
                self._log.warning("cannot look for batch executions: %s", exc)
                wait = SOON
            except Exception:
                self._log.exception("could not look for batch executions")
            with suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)

    def _waiting(self) -> list[Execution]:
        """Executions that nobody else works on, and that can be worked on here; blocks.

        One that is ours and has no engine could not be released when it was interrupted.
        """
        found = self._core.executions.runnable(holder=self._holder)
        if not self._core.shared:
            return found  # if its files are not here, they are nowhere
        here = []
        for execution in found:
            if self._core.batches.folder(execution.id).is_dir():
                here.append(execution)
            elif execution.id not in self._elsewhere:
                self._elsewhere.add(execution.id)
                self._log.info("the batch execution %s has its files elsewhere", execution.id)
        return here

    async def _take_turns(self, waiting: list[Execution]) -> None:
        running = {
            id: Turn(engine.execution.owner, engine.began, engine.pausing)
            for id, engine in self._engines.items()
        }
        now = time.monotonic()
        begin, pause = choose(waiting, running, self._served, self._settings.max_running, now)
        if pause is not None:
            self._engines[pause].pause()
        for execution in begin:
            held = await self._threaded(
                self._core.executions.lease, execution.id, self._holder, LEASE
            )
            if held:
                self._begin(execution)
            else:
                self._look_now()  # another server was quicker; see what is left

    def _begin(self, execution: Execution) -> None:
        with suppress(MLServeError):
            # Who knows the route is told when the version goes; then its metrics end.
            self._core.routes.find(execution.name, execution.version)
        engine = Engine(
            self._core,
            self._settings,
            execution,
            self._holder,
            self._threaded,
            self._told,
            self._log,
        )
        self._engines[engine.id] = engine
        self._runs[engine.id] = asyncio.ensure_future(self._run(engine))
        RUNNING.set(len(self._engines))

    async def _run(self, engine: Engine) -> None:
        id = engine.id
        try:
            await engine.run()
            self._faults.pop(id, None)
        except Exception as exc:
            self._log.exception("the batch execution %s was interrupted", id)
            await self._fault(engine, exc)
        finally:
            del self._engines[id], self._runs[id]
            RUNNING.set(len(self._engines))
            now = time.monotonic()
            self._served[id] = self._served[engine.execution.owner] = now
            while len(self._served) > 10_000:
                del self._served[next(iter(self._served))]
            self._watchers.tell(id, True)
            self._look_now()
        await self._retire(engine)

    async def _fault(self, engine: Engine, exc: Exception) -> None:
        """Try again, but not for ever."""
        count = self._faults[engine.id] = self._faults.get(engine.id, 0) + 1
        await asyncio.sleep(min(2.0**count, 30.0))
        if count < FAULTS:
            return
        said = exc.message if isinstance(exc, MLServeError) else "see the log of the server."
        message = f"It was interrupted {count} times and given up: {said}"
        try:
            if await self._threaded(self._core.executions.fail, engine.id, None, message):
                count_batch(engine.execution, replace(engine.execution, state=FAILED))
            del self._faults[engine.id]
        except MLServeError as error:
            self._log.error("cannot store that %s failed: %s", engine.id, error)

    def _told(self, engine: Engine) -> None:
        turn = engine.ended or engine.execution.completed == 0
        self._watchers.tell(engine.id, turn)

    # -- what happens meanwhile -------------------------------------------------------------------

    async def _tend(self) -> None:
        """Keep the leases, and see when versions are deleted."""
        renewed = time.monotonic()
        revision = -1
        while True:
            await asyncio.sleep(TEND)
            if not self._engines:
                continue
            try:
                now = time.monotonic()
                if now - renewed >= RENEW:
                    renewed = now
                    await self._renew()
                found = await self._threaded(self._core.catalog.revision)
                if found != revision:
                    revision = found
                    await self._look_for_deleted()
            except MLServeError as exc:
                self._log.warning("cannot keep up with the batch executions: %s", exc)
            except Exception:
                self._log.exception("cannot keep up with the batch executions")

    async def _renew(self) -> None:
        ids = list(self._engines)
        held = await self._threaded(self._core.executions.renew, ids, self._holder, LEASE)
        for id in ids:
            engine = self._engines.get(id)
            if engine is not None and id not in held and not engine.ended:
                engine.let_go()

    async def _look_for_deleted(self) -> None:
        for engine in list(self._engines.values()):
            state = engine.execution.state_id
            try:
                await self._threaded(pinned, self._core.catalog.database, state)
            except (NotFound, VersionDeleted) as exc:
                engine.give_up(exc.message)

    async def _retire(self, engine: Engine) -> None:
        """Stop what ran it, unless it is what answers calls now, or another execution needs it."""
        asker, execution = engine.asker, engine.execution
        if self._stopped:
            return
        try:
            key = await self._threaded(self._current, execution)
            if not key:
                forget_batches(execution.name, execution.version)
            if asker is not None and key != asker.key and not self.holds(asker.key):
                node = self._core.realtime if asker.realtime else self._core.compute
                await node.retire(asker.key)
        except MLServeError as exc:
            self._log.debug("could not retire what ran %s: %s", engine.id, exc)

    def _current(self, execution: Execution) -> str:
        """The key of the version as it is now; "" if it is not there."""
        try:
            state = self._core.catalog.get(execution.name, execution.version)
        except (Gone, NotFound):
            return ""
        return runtime_key(state.definition)
