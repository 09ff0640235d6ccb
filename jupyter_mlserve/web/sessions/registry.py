"""The sessions there are: created, found, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from logging import Logger
from pathlib import Path
from typing import Any

from ...access.policy import Policy
from ...access.principal import Principal
from ...compute.client import ComputeNode
from ...contract.errors import NotFound, SessionEnded, TooBusy, Unavailable
from ..answers import error_of
from .ids import is_ours, load_key, new_id
from .room import Room
from .session import Session
from .settings import SessionSettings

# How often it is seen to idle sessions: at this part of the time that they may be idle.
_LOOKS = 4


class Sessions:
    """One per web node, as ``core.sessions``; used from its event loop only."""

    def __init__(
        self,
        data_dir: Path,
        settings: SessionSettings,
        compute: ComputeNode,
        policy: Policy,
        unused: Callable[[], None],
        log: Logger,
    ) -> None:
        self._settings = settings
        self._compute = compute
        self._policy = policy
        self._unused = unused  # called when objects that waited are not needed any more
        self._log = log
        self._key = load_key(data_dir / "session_ids.key")
        self._room = Room(data_dir / "sessions")
        self._sessions: dict[str, Session] = {}
        self._making: list[str] = []  # the owners of sessions whose folder is being made
        self._ending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    async def create(self, who: Principal, name: str | None) -> Session:
        """A new, empty session. Raises TooBusy."""
        self._admit(who.username)
        id = new_id(self._key, who.username)
        self._making.append(who.username)
        try:
            folder = await asyncio.to_thread(self._room.make, id)
        finally:
            self._making.remove(who.username)
        session = Session(id, name, who.username, folder, self._settings.session_quota)
        if self._stopped:
            raise Unavailable("The server is being stopped.")
        self._sessions[id] = session
        self._watch()
        return session

    def _admit(self, owner: str) -> None:
        owners = [session.owner for session in self._sessions.values()] + self._making
        own, settings = owners.count(owner), self._settings
        if own >= settings.session_user_limit:
            raise TooBusy(
                f"You have {own} sessions on this server, the most that one user may have "
                "(session_user_limit). Close some (DELETE sessions/{id}), or wait until those that "
                "are not used end.",
                limit=settings.session_user_limit,
            )
        if len(owners) >= settings.session_limit:
            raise TooBusy(
                "There are as many sessions on this server as it may have (session_limit). Try "
                "again later, or have the limit raised.",
                limit=settings.session_limit,
                retry_after=30.0,
            )

    def of(self, who: Principal) -> list[Session]:
        """The sessions of a user, oldest first."""
        return [session for session in self._sessions.values() if session.owner == who.username]

    def get(self, who: Principal, id: str) -> Session:
        """A session of that user. Raises SessionEnded if there was one, else NotFound.

        That of somebody else is not found either: nobody learns which ids there are.
        """
        session = self._sessions.get(id)
        if session is not None and self._policy.may(who, "session", session.owner).allowed:
            session.touch()
            return session
        if session is None and is_ours(self._key, who.username, id):
            raise SessionEnded(
                f"The session {id} has ended: it was closed, or its interpreter ended, or "
                f"nobody used it for {self._settings.session_idle_timeout:g} seconds, or the "
                "server was restarted. "
                "Create another one (POST sessions).",
                field="id",
            )
        raise NotFound(f"You have no session {id[:64]!r}.", field="id")

    def blobs(self) -> set[str]:
        """Digests of all that is staged: the collector of unused blobs must leave them alone."""
        return {item.sha256 for one in self._sessions.values() for item in one.staged.values()}

    # -- the end ------------------------------------------------------------------------------

    async def close(self, session: Session, *, force: bool) -> None:
        """End a session whose user does not need it any more.

        Raises Conflict when its interpreter has something to do, unless ``force``.
        """
        if session.live and not force:
            reply = await self._compute.close_session(session.id, False)
            if reply.status != 200:
                raise error_of(reply)
        await self.end(session, "it was closed")

    async def end(self, session: Session, why: str) -> None:
        """End a session, whatever it does; all of it is gone when this returns. May be repeated."""
        if session.ended:
            return
        session.ended = why
        self._sessions.pop(session.id, None)
        self._log.info("session %s of %s ended: %s", session.id, session.owner, why)
        # A client that goes away must not leave it half ended.
        await asyncio.shield(self._keep(self._clear(session)))

    async def _clear(self, session: Session) -> None:
        if session.started:
            await self._compute.close_session(session.id, True)
        async with session.lock:
            if session.staged:
                session.staged.clear()
                self._unused()
        await asyncio.to_thread(self._room.remove, session.id)

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    def _watch(self) -> None:
        if self._timer is None and self._sessions and not self._stopped:
            pause = self._settings.session_idle_timeout / _LOOKS
            self._timer = asyncio.get_running_loop().call_later(pause, self._look)

    def _look(self) -> None:
        self._timer = None
        limit = self._settings.session_idle_timeout
        for session in list(self._sessions.values()):
            if session.idle >= limit:
                self._keep(self.end(session, f"nobody used it for {limit:g} seconds"))
        self._watch()

    async def stop(self) -> None:
        """End all of them; the server is being stopped, and so is the compute node."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for session in list(self._sessions.values()):
            session.ended = "the server was stopped"
        self._sessions.clear()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def remove(self) -> None:
        """After ``stop``, when no interpreter runs any more: remove their folders."""
        self._room.close()
