"""Running code in a session: execute, cancel, and what there is to see of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from datetime import datetime, timezone
from typing import Any

import msgspec

from ...contract.errors import CallTimeout, InvalidInput, ServiceFailed, error_body
from ...contract.http_status import status_of
from ..base import SESSIONS, MLServeHandler, allowed
from ..errors import Answer, as_error, dump
from ..exchange import BodyExchange
from .base import SessionBase
from .interpreter import asked, start


class ExecuteHandler(SessionBase):
    """``sessions/{id}/execute``"""

    @allowed("execute", SESSIONS)
    async def post(self, id: str) -> None:
        """Asked before the body comes; ``Execution`` does it."""
        self.session(id)


class HistoryHandler(SessionBase):
    """``sessions/{id}/history``"""

    @allowed("read", SESSIONS)
    async def get(self, id: str) -> None:
        """The code that was run, oldest first."""
        self.reply(list(self.session(id).history.entries))


class ConsoleHandler(SessionBase):
    """``sessions/{id}/console-output``"""

    @allowed("read", SESSIONS)
    async def get(self, id: str) -> None:
        """What the execution that runs has printed so far, or the last one in all."""
        with self.session(id).using() as session:
            if not session.live:
                self.reply({"consoleOutput": ""})
                return
            core = self.node.core
            reply = await asked(core, session, core.compute.session_console(session.id))
        self.reply(json.loads(reply.body))


class CancelHandler(SessionBase):
    """``sessions/{id}/cancel``"""

    @allowed("execute", SESSIONS)
    async def post(self, id: str) -> None:
        """Interrupt what runs, as Ctrl-C does; the session and its variables stay."""
        stopped = False
        with self.session(id).using() as session:
            if session.live:
                core = self.node.core
                reply = await asked(core, session, core.compute.cancel_session(session.id))
                stopped = bool(json.loads(reply.body).get("cancelled"))
        self.reply("Execution cancelled." if stopped else "Nothing was running.")


class _Request(msgspec.Struct):
    """All that the web node reads of an ExecuteRequest; the rest it skips."""

    code: str


class Execution(BodyExchange):
    """``POST execute``: 200 when the code ran to its end, 400 when it failed.

    Every answer has the keys of the contract's ExecuteResponse; failures have those of errors
    beside them.
    """

    handler_class: type[MLServeHandler] = ExecuteHandler

    def begin(self) -> Awaitable[None] | None:
        self.hold_body(self.node.settings.max_body_size)
        return None

    async def respond(self) -> Answer:
        assert self.identity is not None
        core = self.node.core
        try:
            body = self.take_body()
            code = _code_of(body)
            with core.sessions.get(self.identity.principal, self.path_args[0]).using() as session:
                await start(core, session)
                try:
                    reply = await asked(core, session, core.compute.execute(session.id, body))
                except CallTimeout:
                    session.history.add(code)  # it ran; what was refused did not
                    raise
                session.history.add(code)
        finally:
            self.abandon()
        if reply.header.get("success"):
            return Answer(200, reply.body)
        result = json.loads(reply.body)
        failed = error_body(ServiceFailed(result["errorMessage"] or "The code failed."))
        return Answer(failed["code"], dump({**failed, **result}))

    def error(self, exc: BaseException) -> Answer:
        answer = super().error(exc)
        body = error_body(as_error(exc), owner=True)
        nothing: dict[str, Any] = {
            "success": False,
            "errorMessage": body["message"],
            "outputParameters": [],
            "consoleOutput": "",
            "changedFiles": [],
        }
        return Answer(status_of(as_error(exc)), dump({**body, **nothing}), answer.headers)

    def record(self, answer: Answer) -> None:
        super().record(answer)
        if self.identity is not None:
            self.settings["api_last_activity"] = datetime.now(timezone.utc)


def _code_of(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Request).code
    except msgspec.DecodeError as exc:
        said = str(exc)
    except RecursionError:
        said = "it is nested too deeply"
    raise InvalidInput(
        f"The body is not what code is run with ({said}). Send a JSON object such as "
        '{"code": "y = x + 1", "inputParameters": [{"name": "x", "value": 1}], '
        '"outputParameters": ["y"]}.',
        field="code",
    )
