"""A Jupyter server extension that tells which modules the server has imported; for one test."""

from __future__ import annotations

import sys
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web


class ModulesHandler(APIHandler):
    @web.authenticated
    async def get(self) -> None:
        self.finish({"modules": sorted(sys.modules)})


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "support.modules_reply"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    url = url_path_join(serverapp.base_url, "modules")
    serverapp.web_app.add_handlers(".*$", [(url, ModulesHandler)])
