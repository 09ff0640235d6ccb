"""Publish, update, roll back, delete: in which order things happen, and what undoes them.

Knows no HTTP. Each change is: may they, is it valid, is everything there, does it load and run
(the trial, in a process of its own), and then one transaction of the catalog. Until
that transaction nothing is visible, after it everything is, and it is durable; whatever fails
before leaves nothing but a blob or two, which are collected later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from ..access.policy import Action, Policy
from ..access.principal import Principal
from ..compute.client import ComputeNode
from ..contract.definition import Definition
from ..contract.errors import (
    Gone,
    InvalidDefinition,
    InvalidInput,
    MLServeError,
    NotFound,
    StaleState,
    VersionExists,
)
from ..contract.names import check_name, check_version, new_version
from ..store.blobs import Blobs
from ..store.catalog import Catalog
from ..store.models import Pool, State
from ..store.snapshot_models import Snapshot
from ..store.snapshots import Snapshots
from .candidates import Candidate, candidate, not_uploaded, version_exists
from .models import Form, Model, read_model, store_model
from .runtime import is_realtime, load_spec
from .sessions.base import own_snapshot
from .sessions.publishing import with_snapshot
from .trials import Trial, tried

Json = dict[str, Any]

# Another process can change a version between our look and our change; each time we start over.
ATTEMPTS = 20


@dataclass(frozen=True)
class Outcome:
    """The state that is current now; ``unchanged`` when it was so before."""

    state: State
    unchanged: bool = False
    trial: Trial | None = None


class Publisher:
    """The one way by which the catalog changes.

    ``changed`` is called after every change, so that calls meet the new state before the answer
    to its publisher is out. ``interpreter`` is recorded for definitions that name none (clients
    of the published contract). ``max_model``: most bytes of a compiled model.
    """

    def __init__(
        self,
        catalog: Catalog,
        blobs: Blobs,
        snapshots: Snapshots,
        compute: ComputeNode,
        realtime: ComputeNode,
        policy: Policy,
        interpreter: Json,
        changed: Callable[[], None],
        max_model: int,
    ) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._snapshots = snapshots
        self._compute = compute
        self._realtime = realtime
        self._policy = policy
        self._interpreter = interpreter
        self._changed = changed
        self._max_model = max_model
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    # -- the changes --------------------------------------------------------------------------

    async def publish(
        self, who: Principal, name: str, version: str | None, body: object, *, again: bool = True
    ) -> Outcome:
        """Add a version. Raises VersionExists when it is there with another content.

        ``again``: when it is there with this very content, that is no error, but ``unchanged``.
        """
        version = self._may_publish(who, name, version)

        def read() -> Candidate:
            whole = with_snapshot(body, lambda id: self._snapshot(who, id))
            return self._candidate(Definition.from_publish(name, version, whole))

        return await self._publish(who, await asyncio.to_thread(read), again=again)

    async def publish_realtime(
        self, who: Principal, name: str, version: str | None, form: Form, *, again: bool = True
    ) -> Outcome:
        """As :meth:`publish`, a realtime version: the model, in the container that declares all."""
        version = self._may_publish(who, name, version)

        def read() -> tuple[Candidate, Model]:
            if form.container is None:
                raise InvalidDefinition(
                    "There is no model: send it as the part 'model', made by "
                    "serialize_model(model, sample).",
                    field="model",
                )
            model = read_model(form.container, self._max_model)
            definition = Definition.from_container(
                name,
                version,
                model.header,
                model.blob,
                form.description,
                form.operation_id,
            )
            return self._candidate(definition), model

        new, model = await asyncio.to_thread(read)
        return await self._publish(who, new, model, again=again)

    async def update(self, who: Principal, name: str, version: str, patch: object) -> Outcome:
        """Change parts of a version; parts that ``patch`` omits keep what they are.

        Concurrent updates of different parts are all kept: each is merged into what is there when
        its turn comes.
        """

        def merge(definition: Definition) -> Definition:
            whole = with_snapshot(patch, lambda id: self._snapshot(who, id), definition)
            return definition.merged(whole)

        return await self._update(who, name, version, merge)

    async def update_realtime(self, who: Principal, name: str, version: str, form: Form) -> Outcome:
        """Change a realtime version: its model, which brings its schema and proof, or its labels.

        Updates are merged as :meth:`update` does it.
        """
        model: Model | None = None
        if form.container is not None:
            model = await asyncio.to_thread(read_model, form.container, self._max_model)
        given = {"description": form.description, "operation_id": form.operation_id}
        texts: Json = {key: text for key, text in given.items() if text is not None}

        def merge(definition: Definition) -> Definition:
            if model is None:
                return definition.merged_container(**texts)
            return definition.merged_container(model.header, model.blob, **texts)

        return await self._update(who, name, version, merge, model)

    async def rollback(
        self, who: Principal, name: str, version: str, number: int | None
    ) -> Outcome:
        """Make an earlier state current again; None: the one before the current one."""

        async def change(current: State) -> Outcome:
            def read() -> tuple[State, Candidate, Candidate]:
                target = self._earlier(current, number)
                states = [Definition.from_json(state.definition) for state in (current, target)]
                return target, self._candidate(states[0]), self._candidate(states[1])

            target, old, new = await asyncio.to_thread(read)
            if target.id == current.id:
                return Outcome(current, unchanged=True)
            await self._require_blobs(new.definition)
            trial = await self._try_change(old, new)
            async with self._warm(current, old, new):
                state = await asyncio.to_thread(
                    self._catalog.rollback, name, version, target.number, who.username, current.id
                )
            return Outcome(state, trial=trial)

        return await self._change(who, "update", name, version, change)

    async def delete(self, who: Principal, name: str, version: str) -> State:
        """Delete a version. Calls in flight finish; later ones are told that it was deleted."""

        async def change(current: State) -> Outcome:
            state = await asyncio.to_thread(
                self._catalog.delete, name, version, who.username, current.id
            )
            return Outcome(state)

        return (await self._change(who, "delete", name, version, change)).state

    async def set_pool(
        self,
        who: Principal,
        name: str,
        version: str,
        resize: Callable[[Pool | None], Pool | None],
    ) -> State:
        """Give a version a dedicated pool, change its size, or take it away.

        ``resize`` makes the pool of the one there is; None is no pool. Calls in flight are not
        disturbed. Raises Conflict when there is no room for it.
        """

        async def change(current: State) -> Outcome:
            pool = resize(current.pool)
            if pool is not None and is_realtime(current.definition):
                raise InvalidInput(
                    f"{name} {version} is a realtime service. Those have no workers, so they can "
                    "have no dedicated pool; their models are loaded once for all calls."
                )
            state = await asyncio.to_thread(
                self._catalog.set_pool, name, version, pool, who.username, current.id
            )
            return Outcome(state, unchanged=pool == current.pool)

        return (await self._change(who, "update", name, version, change)).state

    # -- steps --------------------------------------------------------------------------------

    def _may_publish(self, who: Principal, name: str, version: str | None) -> str:
        """The version, made up if it has no name. Raises NotAllowed, InvalidName."""
        check_name(name)
        version = new_version() if version is None else check_version(version)
        self._policy.require(
            who, "publish", self._catalog.name_owner(name), about=f"The name {name!r}"
        )
        return version

    def _snapshot(self, who: Principal, id: object) -> Snapshot:
        return own_snapshot(self._snapshots, self._policy, who, id)

    async def _publish(
        self, who: Principal, new: Candidate, model: Model | None = None, *, again: bool
    ) -> Outcome:
        async with self._lock(new.definition.name, new.definition.version):
            existing = self._existing(new, again)
            await self._keep(new, model)
            if existing is not None:
                return existing
            await self._require_blobs(new.definition)
            trial = await self._try(new, new.key)
            try:
                state = await asyncio.to_thread(
                    self._catalog.publish,
                    new.id,
                    new.body,
                    new.content_hash,
                    who.username,
                    any_owner=who.administrator,
                )
            except BaseException as exc:
                await self._node(new).retire(new.key)
                # Another process may have been faster, with this very content or with another.
                existing = self._existing(new, again) if isinstance(exc, VersionExists) else None
                if existing is None:
                    raise
                return existing
            self._changed()
        return Outcome(state, trial=trial)

    async def _update(
        self,
        who: Principal,
        name: str,
        version: str,
        merged: Callable[[Definition], Definition],
        model: Model | None = None,
    ) -> Outcome:
        async def change(current: State) -> Outcome:
            def merge() -> tuple[Candidate, Candidate]:
                definition = Definition.from_json(current.definition)
                return self._candidate(definition), self._candidate(merged(definition))

            old, new = await asyncio.to_thread(merge)
            await self._keep(new, model)
            if new.content_hash == current.content_hash:
                return Outcome(current, unchanged=True)
            await self._require_blobs(new.definition)
            trial = await self._try_change(old, new)
            async with self._warm(current, old, new):
                state = await asyncio.to_thread(
                    self._catalog.update,
                    new.id,
                    name,
                    version,
                    new.body,
                    new.content_hash,
                    who.username,
                    current.id,
                )
            return Outcome(state, trial=trial)

        return await self._change(who, "update", name, version, change)

    async def _change(
        self,
        who: Principal,
        action: Action,
        name: str,
        version: str,
        change: Callable[[State], Any],
    ) -> Outcome:
        check_name(name)
        check_version(version)
        async with self._lock(name, version):
            for attempt in range(ATTEMPTS):
                current = self._catalog.get(name, version)
                owner = self._catalog.name_owner(name)
                self._policy.require(
                    who, action, current.author, owner, f"Service {name!r} version {version!r}"
                )
                try:
                    outcome: Outcome = await change(current)
                except StaleState:
                    if attempt == ATTEMPTS - 1:
                        raise
                    continue
                if not outcome.unchanged:
                    self._changed()
                return outcome
        raise AssertionError("not reached")

    def _lock(self, name: str, version: str) -> asyncio.Lock:
        """Changes of one version wait for each other here; those of other processes do not."""
        lock = self._locks.get((name, version))
        if lock is None:
            lock = self._locks[(name, version)] = asyncio.Lock()
        return lock

    def _candidate(self, definition: Definition) -> Candidate:
        """Definitions can be large: call it in a thread."""
        return candidate(definition, self._interpreter)

    async def _keep(self, new: Candidate, model: Model | None) -> None:
        """Store the model, if one came; this also heals a version whose stored one was damaged."""
        if model is not None and await asyncio.to_thread(store_model, self._blobs, model):
            await self._realtime.retire(new.key)  # it may remember that it could not be loaded

    def _node(self, new: Candidate) -> ComputeNode:
        return self._realtime if new.definition.realtime is not None else self._compute

    def _existing(self, new: Candidate, again: bool) -> Outcome | None:
        """The version if it is there with this very content; raises if with another.

        And if not ``again``: its caller cannot be told that nothing was changed.
        """
        name, version = new.definition.name, new.definition.version
        try:
            state = self._catalog.get(name, version)
        except (NotFound, Gone):
            return None
        identical = state.content_hash == new.content_hash
        if identical and again:
            return Outcome(state, unchanged=True)
        raise version_exists(new, state, identical)

    async def _require_blobs(self, definition: Definition) -> None:
        wanted = list(definition.blobs)
        missing = await asyncio.to_thread(self._blobs.missing, wanted) if wanted else []
        if missing:
            raise not_uploaded(definition, missing)

    async def _try_change(self, old: Candidate, new: Candidate) -> Trial | None:
        """The trial, unless workers and sample stay as they are, and nothing new is promised."""
        if new.key != old.key:
            return await self._try(new, new.key, current=True)
        promised = new.definition.batchable and not old.definition.batchable
        if not promised and new.definition.sample in (None, old.definition.sample):
            return None
        # On a pool of its own: a failed trial takes its pool along, and this one is in use.
        own = f"{new.key}-{new.id}"
        trial = await self._try(new, own, current=True)
        await self._node(new).retire(own)
        return trial

    async def _try(self, new: Candidate, key: str, current: bool = False) -> Trial:
        spec = await asyncio.to_thread(load_spec, new.body, self._blobs.path)
        return await tried(self._node(new), key, spec, new.definition, current)

    @asynccontextmanager
    async def _warm(self, current: State, old: Candidate, new: Candidate) -> AsyncIterator[None]:
        """While a change is stored: workers of the new state wait beside those of the old one.

        As many as fit into the dedicated pool beside the old ones, one at least, which the trial
        has left. Calls then find them, and the rest follow when the old ones have gone.
        """
        pool = current.pool
        if pool is None or new.key == old.key:
            yield
            return
        limits = self._catalog.pool_limits
        most = pool.most(limits.default) if limits is not None else pool.initial
        fit = max(1, min(pool.initial, most - pool.initial))
        spec = await asyncio.to_thread(load_spec, new.body, self._blobs.path)
        try:
            with suppress(MLServeError):  # then calls wait until it is warm
                await self._compute.dedicate(new.key, fit, pool.maximum, lambda: spec)
                await self._compute.warmed(new.key, fit)
            yield
        except BaseException:
            await self._compute.release(new.key)
            raise

    def _earlier(self, current: State, number: int | None) -> State:
        name, version = current.name, current.version
        if number is None:
            return self._catalog.previous(name, version)
        for state in self._catalog.states(name, version):
            if state.number == number:
                return state
        raise NotFound(
            f"Version {version!r} of service {name!r} has no state {number}. "
            "GET .../states lists those there are.",
            field="state",
        )
