"""``realtime-services...``: publishing compiled models, in the published contract's own form.

Only to publish and to update; everything else is the same for all services, below ``services``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timezone

from ..contract.errors import TooLarge
from ..contract.names import check_name, check_version
from ..contract.realtime import MAX_HEADER
from .base import SERVICES, MLServeHandler, allowed
from .errors import Answer, dump, too_large
from .exchange import BodyExchange
from .models import Form
from .multipart import boundary_of, parts_of, text_of
from .views import note, outcome_view, wants_representation

PARTS = ("description", "operationId", "model")
# Of a body, beside the model: its header, the texts, and what separates the parts.
MAX_REST = MAX_HEADER + 1024 * 1024


class RealtimeServiceHandler(MLServeHandler):
    """``realtime-services/{name}``: who may publish; ``ModelUpload`` does it."""

    @allowed("write", SERVICES)
    async def post(self, name: str) -> None:
        """Asked before the body comes."""
        check_name(name)
        owner = self.node.core.catalog.name_owner(name)
        about = f"The name {name!r}"
        self.node.policy.require(self.principal, "publish", owner, about=about)


class RealtimeVersionHandler(MLServeHandler):
    """``realtime-services/{name}/{version}``: who may publish or update."""

    @allowed("write", SERVICES)
    async def post(self, name: str, version: str) -> None:
        """Asked before the body comes."""
        check_name(name)
        check_version(version)
        owner = self.node.core.catalog.name_owner(name)
        about = f"The name {name!r}"
        self.node.policy.require(self.principal, "publish", owner, about=about)

    @allowed("write", SERVICES)
    async def patch(self, name: str, version: str) -> None:
        """Asked before the body comes."""
        check_name(name)
        check_version(version)
        catalog = self.node.core.catalog
        state = catalog.get(name, version)
        owner = catalog.name_owner(name)
        about = f"Service {name!r} version {version!r}"
        self.node.policy.require(self.principal, "update", state.author, owner, about)


class ModelUpload(BodyExchange):
    """``POST`` and ``PATCH``: one form with the model and its labels."""

    handler_class: type[MLServeHandler] = RealtimeServiceHandler

    def begin(self) -> Awaitable[None] | None:
        self._boundary = boundary_of(self.request.headers.get("Content-Type", ""))
        self.hold_body(self.node.settings.realtime.max_model_size + MAX_REST)
        return None

    def too_large(self) -> TooLarge:
        return too_large(self.limit, trait="max_model_size")

    async def respond(self) -> Answer:
        try:
            # One at a time: reading it takes three times the memory of the body.
            async with self.node.reading:
                form = await asyncio.to_thread(self._read)
            return await self._change(form)
        finally:
            self.abandon()

    def _read(self) -> Form:
        parts = parts_of(self.take_body(), self._boundary, PARTS)
        return Form(
            parts.get("model"), text_of(parts, "description"), text_of(parts, "operationId")
        )

    async def _change(self, form: Form) -> Answer:
        assert self.identity is not None
        who, publisher = self.identity.principal, self.node.core.publisher
        name, *rest = self.path_args
        version = rest[0] if rest else None
        created = self.request.method == "POST"
        if created:
            again = wants_representation(self.request)
            outcome = await publisher.publish_realtime(who, name, version, form, again=again)
            created = not outcome.unchanged
        else:
            assert version is not None
            outcome = await publisher.update_realtime(who, name, version, form)
        if not outcome.unchanged:
            note(self.node, who, "published" if created else "updated", outcome.state)
        base_url = str(self.settings["base_url"])
        value, headers = outcome_view(self.node, who, self.request, base_url, outcome, created)
        return Answer(201 if created else 200, dump(value), tuple(headers.items()))

    def record(self, answer: Answer) -> None:
        super().record(answer)
        if self.identity is not None:
            self.settings["api_last_activity"] = datetime.now(timezone.utc)


class VersionUpload(ModelUpload):
    """The same where the version has a name."""

    handler_class = RealtimeVersionHandler
