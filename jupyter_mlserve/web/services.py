"""``services...``: list, get, publish, update, roll back, delete, history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..contract.definition import contract_time
from ..contract.errors import InvalidInput
from ..contract.names import check_name, check_version
from .base import SERVICES, MLServeHandler, allowed
from .views import note, outcome_view, service_view, wants_representation

if TYPE_CHECKING:
    from ..store.models import Event, State
    from .publishing import Outcome

Json = dict[str, Any]


class ServicesBase(MLServeHandler):
    """Views of states, shared by the handlers below; it answers no verb itself."""

    async def reply_states(self, find: Any, *args: Any) -> None:
        """Answer the array of states that ``find(*args)`` gives; long work, so in a thread."""

        def views() -> list[Json]:
            catalog = self.node.core.catalog
            owners: dict[str, str | None] = {}
            found: Iterable[State] = find(*args)
            views = []
            for state in found:
                if state.name not in owners:
                    owners[state.name] = catalog.name_owner(state.name)
                owner = owners[state.name]
                views.append(service_view(self.node, self.principal, state, owner))
            return views

        self.reply(await asyncio.to_thread(views))

    def reply_outcome(self, done: str, outcome: Outcome, status: int) -> None:
        if not outcome.unchanged:
            note(self.node, self.principal, done, outcome.state)
        value, headers = outcome_view(
            self.node, self.principal, self.request, self.base_url, outcome, status == 201
        )
        self.reply(value, status, headers)


class AllServicesHandler(ServicesBase):
    """``services``"""

    @allowed("read", SERVICES)
    async def get(self) -> None:
        """All versions of all services: by name, oldest version first."""
        self.node.policy.require(self.principal, "list")
        await self.reply_states(self.node.core.catalog.list_all)


class NamedServiceHandler(ServicesBase):
    """``services/{name}``"""

    @allowed("read", SERVICES)
    async def get(self, name: str) -> None:
        """All versions of one service, oldest first; an empty array when there is none."""
        self.node.policy.require(self.principal, "list")
        check_name(name)
        await self.reply_states(self.node.core.catalog.versions, name)

    @allowed("write", SERVICES)
    async def post(self, name: str) -> None:
        """Publish a version whose name the server makes up: a GUID."""
        body = self.json_body()
        outcome = await self.node.core.publisher.publish(self.principal, name, None, body)
        self.reply_outcome("published", outcome, 201)


class VersionHandler(ServicesBase):
    """``services/{name}/{version}``"""

    @allowed("read", SERVICES)
    async def get(self, name: str, version: str) -> None:
        """An array of one."""
        self.node.policy.require(self.principal, "list")
        check_name(name)
        check_version(version)
        catalog = self.node.core.catalog
        await self.reply_states(lambda: [catalog.get(name, version)])

    @allowed("write", SERVICES)
    async def post(self, name: str, version: str) -> None:
        """Publish. A version that is there is a conflict: also with this very content, unless
        the answer can say so (``Prefer: return=representation``), which then is a 200."""
        body = self.json_body()
        outcome = await self.node.core.publisher.publish(
            self.principal, name, version, body, again=wants_representation(self.request)
        )
        self.reply_outcome("published", outcome, 200 if outcome.unchanged else 201)

    @allowed("write", SERVICES)
    async def patch(self, name: str, version: str) -> None:
        """Update parts of the version."""
        body = self.json_body()
        outcome = await self.node.core.publisher.update(self.principal, name, version, body)
        self.reply_outcome("updated", outcome, 200)

    @allowed("write", SERVICES)
    async def delete(self, name: str, version: str) -> None:
        """Delete the version; its history stays."""
        core = self.node.core
        state = await core.publisher.delete(self.principal, name, version)
        note(self.node, self.principal, "deleted", state)
        core.collect_soon()
        self.reply(f"Service {name} version {version} deleted.")


class HistoryHandler(ServicesBase):
    """``services/{name}/history`` and ``services/{name}/{version}/history``"""

    @allowed("read", SERVICES)
    async def get(self, name: str, version: str | None = None) -> None:
        """What was live when, and by whose hand, oldest first; it outlives deletion."""
        self.node.policy.require(self.principal, "list")
        check_name(name)
        if version is not None:
            check_version(version)
        events = await asyncio.to_thread(self.node.core.catalog.history, name, version)
        self.reply({"history": [event_json(event) for event in events]})


class StatesHandler(ServicesBase):
    """``services/{name}/{version}/states``"""

    @allowed("read", SERVICES)
    async def get(self, name: str, version: str) -> None:
        """All states of the version, by number: what it can be rolled back to."""
        self.node.policy.require(self.principal, "list")
        check_name(name)
        check_version(version)
        await self.reply_states(self.node.core.catalog.states, name, version)


class RollbackHandler(ServicesBase):
    """``services/{name}/{version}/rollback``"""

    @allowed("write", SERVICES)
    async def post(self, name: str, version: str) -> None:
        """Make an earlier state current again: ``{"state": number}``, null for the one before."""
        body = self.json_body()
        number = body.get("state")
        if unknown := set(body) - {"state"}:
            raise InvalidInput(
                f"The body has the unknown key {min(unknown)[:80]!r}; known is 'state'.",
                field="state",
            )
        if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
            raise InvalidInput(field="state", expected="a number or null", got=repr(number)[:80])
        outcome = await self.node.core.publisher.rollback(self.principal, name, version, number)
        self.reply_outcome("rolled back", outcome, 200)


def event_json(event: Event) -> Json:
    return {
        "at": contract_time(event.at),
        "who": event.who,
        "action": event.action,
        "name": event.name,
        "version": event.version,
        "state": {"id": event.state_id, "number": event.number},
    }
