"""Which state answers a call: a table in memory that follows the catalog.

A call must not wait for a database, and must not meet a state that was replaced. So routes are
kept, and before each use the catalog is asked for its revision (some microseconds): if anybody
changed anything, also another process, the routes of what changed are dropped. Finding a route
costs the same however many services there are.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..contract.errors import Gone, NotFound
from ..contract.names import check_name, check_version
from .metrics import CallMetrics
from .runtime import is_realtime, runtime_key

if TYPE_CHECKING:
    from ..store.catalog import Catalog
    from ..store.models import State

Json = dict[str, Any]
SpecOf = Callable[["State"], Json | Awaitable[Json]]
MAXIMUM = 10_000


class Route:
    """A version's current state, ready to be called.

    ``key`` names its pool of workers in the compute node, or its session if it is ``realtime``.
    """

    __slots__ = ("key", "metrics", "name_owner", "realtime", "spec", "state")

    def __init__(self, state: State, name_owner: str | None, spec: SpecOf) -> None:
        self.state = state
        self.name_owner = name_owner
        self.key = runtime_key(state.definition)
        self.realtime = is_realtime(state.definition)
        self.spec = lambda: spec(state)
        self.metrics = CallMetrics(state.name, state.version)

    @property
    def owner(self) -> str:
        return self.state.author


class Routes:
    """``find`` gives the route of a version; ``retire`` is called with the dropped ones.

    Used from the event loop only.
    """

    def __init__(
        self,
        catalog: Catalog,
        spec: SpecOf,
        retire: Callable[[Route], None],
        seconds_between_looks: float = 0.0,
    ) -> None:
        self._catalog = catalog
        self._spec = spec
        self._retire = retire
        self._pause = seconds_between_looks
        self._next_look = 0.0
        self._revision = catalog.revision()
        self._routes: dict[tuple[str, str | None], Route] = {}

    def __len__(self) -> int:
        return len(self._routes)

    def find(self, name: str, version: str | None) -> Route:
        """The route of a version; of the newest when none is named.

        Raises InvalidName, ServiceNotFound, VersionDeleted, or what the catalog raises.
        """
        if not self._pause or time.monotonic() >= self._next_look:
            self.follow()
        route = self._routes.get((name, version))
        return route if route is not None else self._load(name, version)

    def follow(self) -> None:
        """Drop the routes of everything that was changed since the last look."""
        revision = self._catalog.revision()
        if self._pause:
            self._next_look = time.monotonic() + self._pause
        if revision == self._revision:
            return
        changed = self._catalog.changes(self._revision)
        self._revision = revision
        for name, version in changed:
            self._routes.pop((name, None), None)
            old = self._routes.pop((name, version), None)
            if old is not None:
                self._replace(old)

    def _replace(self, old: Route) -> None:
        """Stop what runs a dropped route, unless the state that follows runs on it too."""
        state = old.state
        try:
            new = self._load(state.name, state.version)
        except (Gone, NotFound):
            self._retire(old)
            old.metrics.forget()
            return
        if new.key != old.key:
            self._retire(old)

    def _load(self, name: str, version: str | None) -> Route:
        check_name(name)
        if version is None:
            state = self._catalog.newest(name)
            route = self._routes.get((name, state.version)) or self._load(name, state.version)
        else:
            check_version(version)
            state = self._catalog.get(name, version)
            route = Route(state, self._catalog.name_owner(name), self._spec)
        while len(self._routes) >= MAXIMUM:
            del self._routes[next(iter(self._routes))]
        self._routes[(name, version)] = route
        return route
