"""A Jupyter server extension with constant replies: what a call costs before any service.

``constant`` is an ordinary `APIHandler`; ``lean`` is answered the way scoring is, by a
delegate of ours that knows the caller and takes the body, but calls nothing.
"""

from __future__ import annotations

from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.routing import PathMatches, Rule

from jupyter_mlserve.web.api import ScoringCall
from jupyter_mlserve.web.base import SETTING
from jupyter_mlserve.web.errors import Answer
from jupyter_mlserve.web.targets import ExchangeTarget

REPLY = (
    '{"success":true,"errorMessage":"","consoleOutput":"","changedFiles":[],'
    '"outputFiles":{},"outputParameters":{"y":2.0}}'
)


class ConstantHandler(APIHandler):
    auth_resource = "constant"

    @web.authenticated
    @authorized(action="execute", resource="constant")
    async def post(self) -> None:
        self.finish(REPLY)


class LeanConstant(ScoringCall):
    async def respond(self) -> Answer:
        self.abandon()
        return Answer(200, REPLY.encode())


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "constant_reply"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    application = serverapp.web_app
    url = url_path_join(serverapp.base_url, "constant")
    application.add_handlers(".*$", [(url, ConstantHandler)])

    def add_lean() -> None:  # when our own extension is there, whichever was loaded first
        lean = ExchangeTarget(application.settings[SETTING], application, LeanConstant, "POST")
        address = url_path_join(serverapp.base_url, "(lean)")
        application.add_handlers(".*$", [Rule(PathMatches(f"{address}$"), lean)])

    serverapp.io_loop.add_callback(add_lean)
