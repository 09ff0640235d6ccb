"""A Jupyter server extension with one constant `APIHandler`: what Jupyter itself costs a call."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

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


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "constant_reply"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    url = url_path_join(serverapp.base_url, "constant")
    serverapp.web_app.add_handlers(".*$", [(url, ConstantHandler)])
