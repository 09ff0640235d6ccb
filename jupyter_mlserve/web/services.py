"""``services...``: list, get, publish, update, roll back, delete, history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jupyter_server.utils import url_path_join

from ..contract.definition import Definition, contract_time
from ..contract.errors import InvalidInput
from ..contract.names import check_name, check_version
from .base import SERVICES, MLServeHandler, allowed

if TYPE_CHECKING:
    from ..store.models import Event, State
    from .publishing import Outcome

Json = dict[str, Any]


class ServicesBase(MLServeHandler):
    """Views of states, shared by the handlers below; it answers no verb itself."""

    def view(self, state: State, name_owner: str | None) -> Json:
        """The contract's WebService, with what this reader may see."""
        policy, who = self.node.policy, self.principal
        sees = policy.may(who, "see_code", state.author, name_owner).allowed
        writes = policy.may(who, "update", state.author, name_owner).allowed
        definition = Definition.from_json(state.definition)
        return definition.web_service(
            state, may_see_code=sees, permission="read/write" if writes else "read only"
        )

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
                views.append(self.view(state, owners[state.name]))
            return views

        self.reply(await asyncio.to_thread(views))

    def note(self, done: str, state: State) -> None:
        """One line in the server's log for every change: who did what."""
        self.log.info(
            "%s %s %s version %s (state %d)",
            self.principal.username,
            done,
            state.name,
            state.version,
            state.number,
        )

    def reply_outcome(self, done: str, outcome: Outcome, status: int) -> None:
        """The contract's JSON string, or everything if ``Prefer: return=representation`` came."""
        state = outcome.state
        if not outcome.unchanged:
            self.note(done, state)
        path = f"/services/{state.name}/{state.version}"
        if status == 201:
            self.set_header("Location", url_path_join(self.base_url, "mlserve", path))
        if not self.wants_representation():
            self.reply(path, status)
            return
        name_owner = self.node.core.catalog.name_owner(state.name)
        self.reply(
            {
                "service": self.view(state, name_owner),
                "urls": self.urls(state.name, state.version),
                "unchanged": outcome.unchanged,
                "trial": outcome.trial.to_json() if outcome.trial else None,
            },
            status,
            Preference_Applied="return=representation",
        )

    def wants_representation(self) -> bool:
        preferences = ",".join(self.request.headers.get_list("Prefer"))
        return any(
            part.strip().lower() == "return=representation" for part in preferences.split(",")
        )

    def urls(self, name: str, version: str) -> Json:
        """Absolute addresses, as this client reached the server."""
        root = f"{self.request.protocol}://{self.request.host}"
        root += url_path_join(self.base_url, "mlserve")
        api = f"{root}/api/{name}/{version}"
        return {
            "api": api,
            "newest": f"{root}/api/{name}",
            "swagger": f"{api}/swagger.json",
            "openapi": f"{api}/openapi.json",
            "service": f"{root}/services/{name}/{version}",
        }


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
        """Publish; 200 when the version is there with this very content."""
        body = self.json_body()
        outcome = await self.node.core.publisher.publish(self.principal, name, version, body)
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
        self.note("deleted", await core.publisher.delete(self.principal, name, version))
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
