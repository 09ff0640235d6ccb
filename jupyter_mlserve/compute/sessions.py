"""The interpreters of sessions that the node runs, and the web node's requests about them.

They are workers with slots of their own, which services neither give nor take. A session whose
interpreter has ended is remembered, with why, until it is closed.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from ..contract.errors import Conflict, MLServeError, SessionFailed, TooBusy
from .process import ENDING, IDLE
from .protocol import Body
from .reaper import kill_group
from .session import Session, Task, unknown_session

if TYPE_CHECKING:
    from .node import Node

_MAX_LOST = 1000  # sessions remembered that have ended and were not closed


class Sessions:
    """All sessions of the node, by id."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._all: dict[str, Session] = {}

    def request(self, found: dict[str, Any], body: Body) -> None:
        """Answer a request of the web node, now or later."""
        number, op = found["id"], found["do"]
        session = self._all.get(found["session"])
        if op == "open":
            self._open(number, found["session"], json.loads(body))
        elif op == "close" and session is None:
            self.node.answer(number, {}, b"{}")
        elif session is None:
            self.node.answer_error(number, unknown_session())
        elif op == "close":
            session.close(number, bool(found["force"]))
        elif op == "cancel":
            session.cancel(number)
        elif op == "console":
            session.console_output(number)
        else:
            config = self.node.config
            limit = config.session_timeout if op == "execute" else config.load_timeout
            request = {"op": op}
            request.update((k, found[k]) for k in ("name", "path", "folder") if k in found)
            session.submit(Task(number, body, request, limit, session.answer))
        self.node.watch()

    def _open(self, number: int, name: str, spec: dict[str, Any]) -> None:
        interpreter, most = str(spec["interpreter"]), self.node.config.max_sessions
        refusal: MLServeError | None = None
        if name in self._all:
            refusal = Conflict("The session is open already. Close it first.")
        elif self.live >= most:
            refusal = TooBusy(
                f"{self.live} sessions have an interpreter, as many as may (max_sessions). Close "
                "one that is not needed, or try again later.",
                retry_after=10.0,
            )
        elif not os.access(interpreter, os.X_OK) or not os.path.isfile(interpreter):
            refusal = SessionFailed(
                f"The interpreter {interpreter} is not a program that this server can run. "
                "Restore that environment, or ask for another one."
            )
        if refusal is not None:
            self.node.answer_error(number, refusal)
            return
        session = self._all[name] = Session(self, name, spec)
        session.open(number)

    @property
    def live(self) -> int:
        """Sessions that have a process."""
        return sum(session.worker is not None for session in self._all.values())

    def forget(self, session: Session) -> None:
        if self._all.get(session.name) is session:
            del self._all[session.name]

    def drop(self, number: int) -> None:
        """Nobody waits for this request any more; what runs goes on."""
        for session in self._all.values():
            session.drop(number)

    # Time

    @property
    def busy(self) -> bool:
        """Deadlines have to be looked at often."""
        return any(
            session.queue or (session.worker is not None and session.worker.state != IDLE)
            for session in self._all.values()
        )

    def check(self, now: float) -> None:
        for session in list(self._all.values()):
            session.check(now)
        lost = [session for session in self._all.values() if session.worker is None]
        for session in lost[: max(0, len(lost) - _MAX_LOST)]:
            self.forget(session)

    def describe(self) -> list[dict[str, Any]]:
        """For the status page."""
        now = time.monotonic()
        return [
            {
                "session": session.name,
                "pid": worker.pid,
                "busy": worker.call is not None,
                "queue": len(session.queue),
                "age": round(now - worker.born, 1),
            }
            for session in self._all.values()
            if (worker := session.worker) is not None and worker.state != ENDING
        ]

    def kill_all(self) -> None:
        for session in self._all.values():
            if session.worker is not None and session.worker.pid:
                kill_group(session.worker.pid)
