"""Sessions as the web node has them: what it asks of their interpreters."""

from __future__ import annotations

import json
from typing import Any

from ..contract.errors import ComputeLost, SessionLost, TooBusy
from ..worker.frames import dump_header
from .connection import Connection, Reply, Spec, error_reply


class SessionCalls:
    """The part of ComputeNode that is about sessions.

    A session is an interpreter of its own in which code runs as in a console: what it leaves
    behind is there for the next code. It does one thing at a time; ``session_queue`` requests may
    wait for it. Everything that goes wrong is a reply, as of ``ComputeNode.call``: 410 when the
    interpreter has ended, for whatever reason; 429 when there are too many of something.
    """

    _connection: Connection | None

    async def _connected(self) -> Connection:
        raise NotImplementedError

    def _over_pending(self, size: int) -> TooBusy | None:
        raise NotImplementedError

    def _pend(self, size: int) -> None:
        raise NotImplementedError

    async def open_session(self, session: str, spec: Spec) -> Reply:
        """Start the interpreter of a new session.

        ``spec``: ``interpreter`` (path), ``directory`` (absolute path of the session's working
        directory; it must be there, and stays there when the session ends), ``workspace`` (list
        of ``{"name", "path"}``: dill files to load), ``quota`` (bytes that all files below the
        directory may have: code that writes more is ended with its interpreter; without it only
        the size of each is bounded, by ``file_limit``, and their number).

        Status 200: ``{"python": "3.11.7"}``; 400 when an object cannot be loaded (``field`` names
        it) or the interpreter cannot be used: then nothing is left; 429 when there are
        ``max_sessions``; 409 when it is open already.
        """
        try:
            await self._connected()
        except ComputeLost as exc:
            return error_reply(exc)
        return await self._ask_session("open", session, json.dumps(spec).encode())

    async def execute(self, session: str, body: bytes) -> Reply:
        """Run code; ``body`` is the JSON of the published ExecuteRequest.

        Inputs become variables, as the plain values JSON has. As in a console, the value of an
        expression at the end is printed. Status 200: ``body`` is the JSON of the ExecuteResponse,
        ``header["success"]`` its ``success``. Code that raises, or an output that is not there or
        has no JSON form, is ``success`` false; the console output ends with the traceback.
        504: it took longer than ``session_timeout``.
        """
        size = len(body)
        refusal = self._over_pending(size)
        if refusal is not None:
            return error_reply(refusal)
        self._pend(size)
        try:
            return await self._ask_session("execute", session, body)
        finally:
            self._pend(-size)

    async def session_objects(self, session: str) -> Reply:
        """JSON list of the names of its variables; not those that begin with an underscore."""
        return await self._ask_session("objects", session)

    async def set_object(self, session: str, name: str, path: str) -> Reply:
        """Load the dill file into a variable. 400: it cannot be loaded."""
        return await self._ask_session("set", session, name=name, path=path)

    async def get_object(self, session: str, name: str, path: str) -> Reply:
        """Store a variable in a dill file. 404: there is none; 400: it cannot be stored."""
        return await self._ask_session("get", session, name=name, path=path)

    async def delete_object(self, session: str, name: str) -> Reply:
        """Delete a variable. 404: there is none."""
        return await self._ask_session("delete", session, name=name)

    async def save_session(self, session: str, folder: str) -> Reply:
        """Store all variables in dill files of their names, in a folder that is there.

        Status 200: ``{"objects": [names]}``; 400 when one cannot be stored (``field`` names it).
        """
        return await self._ask_session("save", session, folder=folder)

    async def session_console(self, session: str) -> Reply:
        """``{"consoleOutput"}`` of the execution that runs, so far, or else of the last one."""
        return await self._ask_session("console", session)

    async def cancel_session(self, session: str) -> Reply:
        """Interrupt what runs, as Ctrl-C does. Status 200, when it has ended: ``{"cancelled"}``.

        ``cancelled`` is false when nothing ran. An interpreter that does not react within
        ``session_grace`` seconds is killed: 410.
        """
        return await self._ask_session("cancel", session)

    async def close_session(self, session: str, force: bool = False) -> Reply:
        """End the interpreter and everything it started; the session is forgotten.

        Answers 200 when all that is gone, also for a session that is not there. 409 when
        something runs or waits, unless ``force``: then that answers 410.
        """
        if self._connection is None:
            return Reply(200, b"{}")
        return await self._ask_session("close", session, force=force)

    async def _ask_session(self, op: str, session: str, body: bytes = b"", **more: Any) -> Reply:
        connection = self._connection
        request = {"op": "session", "do": op, "session": session, **more}
        if connection is not None and connection.ready:
            try:
                return await connection.ask(dump_header(request), body)
            except ComputeLost as exc:
                if op == "open":
                    return error_reply(exc)
        if op == "close":
            return Reply(200, b"{}")
        return error_reply(
            SessionLost(
                "The compute node was restarted, and the interpreter of the session is gone with "
                "its variables. Close the session, and create another one."
            )
        )
