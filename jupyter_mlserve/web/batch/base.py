"""What the handlers of batch executions share: whose it is."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ...contract.errors import NotFound
from ...store.batches.models import Execution, is_id
from ..sending import SendingHandler


class BatchHandler(SendingHandler):
    """Base of the handlers below ``api/{name}/{version}/batch``; it answers no verb itself."""

    async def execution(self, name: str, version: str, id: str) -> Execution:
        """The execution, if the asker started it.

        That of somebody else, of another service, and what is no id at all are one and the same
        NotFound: nobody learns which ids there are.
        """
        found = None
        if is_id(id):
            with suppress(NotFound):
                found = await asyncio.to_thread(self.node.core.executions.get, id)
        if (
            found is None
            or (found.name, found.version) != (name, version)
            or not self.node.policy.may(self.principal, "batch", found.owner).allowed
        ):
            raise NotFound(
                f"You have no batch execution {id[:64]!r} of {name[:64]} {version[:64]}. It may "
                "have been deleted, by you or because it was old.",
                field="batchExecutionId",
            )
        return found
