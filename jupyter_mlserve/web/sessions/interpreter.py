"""Sessions that have an interpreter: starting it, and what its replies mean.

A session gets one when code is to run in it. What was staged is loaded there, and from then on
its objects are the variables of the interpreter.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from ...contract.errors import MLServeError, SessionLost
from ..answers import error_of
from .session import Session

if TYPE_CHECKING:
    from ...compute.client import Reply
    from ..core import Core


async def start(core: Core, session: Session) -> None:
    """Give the session an interpreter, if it has none.

    Raises SessionFailed (an object cannot be loaded: ``field``), TooBusy, SessionEnded. The
    session then stays as it was.
    """
    async with session.lock:
        session.alive()
        if session.live:
            return
        spec = await asyncio.to_thread(_spec, core, session)  # may download
        session.alive()
        session.started = True
        reply = await core.compute.open_session(session.id, spec)
        if reply.status != 200:
            session.alive()  # closed meanwhile: that is why
            raise error_of(reply)
        if session.ended:
            await core.compute.close_session(session.id, True)
        session.alive()
        session.live = True
        session.staged.clear()


def _spec(core: Core, session: Session) -> dict[str, Any]:
    return {
        "interpreter": sys.executable,
        "directory": str(session.files),
        "quota": session.quota,
        "workspace": [
            {"name": item.name, "path": str(core.blobs.path(item.sha256))}
            for item in session.staged.values()
        ],
    }


async def asked(core: Core, session: Session, asking: Awaitable[Reply]) -> Reply:
    """The reply to what the interpreter was asked. Raises what it is if it is not 200.

    When the interpreter is gone, so is the session.
    """
    reply = await asking
    if reply.status == 200:
        return reply
    exc: MLServeError = error_of(reply)
    if isinstance(exc, SessionLost):
        session.alive()  # closed by its user, who knows
        await core.sessions.end(session, exc.message.rstrip("."))
    raise exc


async def names(core: Core, session: Session) -> list[str]:
    """The names of its variables."""
    reply = await asked(core, session, core.compute.session_objects(session.id))
    return list(json.loads(reply.body))
