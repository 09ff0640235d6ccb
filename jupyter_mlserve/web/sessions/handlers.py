"""``sessions``: create, list, close; and a snapshot of one."""

from __future__ import annotations

from typing import Any

from ...contract.errors import InvalidInput
from ...store.snapshot_models import SnapshotQuota
from ..base import SESSIONS, allowed
from .base import SessionBase
from .capture import capture
from .loading import load
from .session import PYTHON, Session

KEYS = ("name", "snapshotId", "runtimeType")


class SessionsHandler(SessionBase):
    """``sessions``"""

    @allowed("read", SESSIONS)
    async def get(self) -> None:
        """The asker's own, oldest first."""
        self.reply([session_view(one) for one in self.node.core.sessions.of(self.principal)])

    @allowed("write", SESSIONS)
    async def post(self) -> None:
        """Create one. It is for Python, also when the body does not say so."""
        body = self.fields(*KEYS)
        runtime = body.get("runtimeType", PYTHON)
        if runtime == "R":
            raise InvalidInput(
                "This server runs Python; it has no R. Send 'runtimeType': 'Python'.",
                field="runtimeType",
            )
        if runtime != PYTHON:
            raise InvalidInput(field="runtimeType", expected="Python", got=repr(runtime)[:80])
        title = self.title(body)
        wanted = body.get("snapshotId")
        snapshot = None if wanted is None else await self.snapshot(wanted)
        session = await self.node.core.sessions.create(self.principal, title)
        if snapshot is not None:
            try:
                await load(self.node.core, session, snapshot)
            except BaseException:
                await self.node.core.sessions.end(session, "its snapshot could not be loaded")
                raise
        self.log.info("%s created the session %s", session.owner, session.id)
        self.reply({"sessionId": session.id}, 201)


class SessionHandler(SessionBase):
    """``sessions/{id}``"""

    @allowed("write", SESSIONS)
    async def delete(self, id: str) -> None:
        """Close it, if it does nothing just now: its objects and files are gone. Snapshots stay."""
        await self.node.core.sessions.close(self.session(id), force=False)
        self.reply("Session closed.")


class ForceHandler(SessionBase):
    """``sessions/{id}/force``"""

    @allowed("write", SESSIONS)
    async def delete(self, id: str) -> None:
        """Close it, whatever it does."""
        await self.node.core.sessions.close(self.session(id), force=True)
        self.reply("Session closed.")


class LoadHandler(SessionBase):
    """``sessions/{id}/loadsnapshot/{snapshotId}``"""

    @allowed("write", SESSIONS)
    async def post(self, id: str, snapshot_id: str) -> None:
        """Load objects and files of a snapshot; what has the same name is replaced."""
        with self.session(id).using() as session:
            await load(self.node.core, session, await self.snapshot(snapshot_id))
        self.reply("Snapshot loaded.")


class SnapshotOfHandler(SessionBase):
    """``sessions/{id}/snapshot``"""

    @allowed("write", SESSIONS)
    async def post(self, id: str) -> None:
        """Keep the objects and files of the session as they are now."""
        title = self.title(self.fields("name"))
        settings = self.node.settings.session
        quota = SnapshotQuota(settings.snapshot_max, settings.snapshot_user_quota)
        with self.session(id).using() as session:
            snapshot = await capture(self.node.core, session, title, quota)
        self.log.info("%s took the snapshot %s of a session", snapshot.owner, snapshot.id)
        self.reply({"snapshotId": snapshot.id}, 201)


def session_view(session: Session) -> dict[str, Any]:
    """The contract's Session object."""
    return {
        "id": session.id,
        "name": session.name or "",
        "owner": session.owner,
        "runtimeType": PYTHON,
    }
