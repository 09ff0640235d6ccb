"""What the handlers of sessions and snapshots share."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...access.policy import Policy
from ...access.principal import Principal
from ...contract.errors import InvalidInput, NotFound
from ..sending import SendingHandler

if TYPE_CHECKING:
    from ...store.snapshot_models import Snapshot
    from ...store.snapshots import Snapshots
    from .session import Session

MAX_TITLE = 256


class SessionBase(SendingHandler):
    """Base of the handlers below ``sessions`` and ``snapshots``; it answers no verb itself."""

    def session(self, id: str) -> Session:
        """The session, if it is the asker's. Raises NotFound, SessionEnded."""
        return self.node.core.sessions.get(self.principal, id)

    def sees_traceback(self, exc: BaseException) -> bool:
        """The code that runs in a session is its user's own."""
        return True

    async def snapshot(self, id: str) -> Snapshot:
        """The snapshot, if it is the asker's. Raises NotFound."""
        core = self.node.core
        return await asyncio.to_thread(
            own_snapshot, core.snapshots, self.node.policy, self.principal, id
        )

    def fields(self, *known: str) -> dict[str, Any]:
        """The body, which has no other keys; null and left out are the same."""
        body = self.json_body()
        if unknown := set(body) - set(known):
            raise InvalidInput(
                f"The body has the unknown key {min(unknown)[:80]!r}; known are "
                f"{', '.join(map(repr, known))}.",
                field=min(unknown)[:80],
            )
        return {key: value for key, value in body.items() if value is not None}

    def title(self, body: dict[str, Any]) -> str | None:
        """The key ``name`` of a body: any text that can be shown."""
        name = body.get("name")
        if name is None or (isinstance(name, str) and not name):
            return None
        if not isinstance(name, str) or len(name) > MAX_TITLE or not name.isprintable():
            raise InvalidInput(
                field="name", expected=f"up to {MAX_TITLE} printable characters", got="none"
            )
        return name


def own_snapshot(snapshots: Snapshots, policy: Policy, who: Principal, id: object) -> Snapshot:
    """A snapshot of that user; blocks. That of somebody else is not found either."""
    found = None
    if isinstance(id, str):
        with suppress(NotFound):
            found = snapshots.get(id)
    if found is None or not policy.may(who, "snapshot", found.owner).allowed:
        raise NotFound(
            f"You have no snapshot {str(id)[:64]!r}. It may have been deleted.", field="snapshotId"
        )
    return found
