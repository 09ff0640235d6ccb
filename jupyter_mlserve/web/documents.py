"""``swagger.json`` and ``openapi.json``: the documents of the core API."""

from __future__ import annotations

from jupyter_server.utils import url_path_join

from ..contract import core_api
from .base import API, MLServeHandler, allowed


class CoreDocumentHandler(MLServeHandler):
    """The same for everybody; those of services are ``DocumentHandler``'s.

    Tornado answers 304 to a client that has this very content (ETag).
    """

    @allowed("read", API)
    async def get(self, kind: str) -> None:
        self.node.policy.require(self.principal, "list")
        self.set_header("Cache-Control", "no-cache")
        document = core_api.swagger if kind == "swagger" else core_api.openapi
        self.reply(document(url_path_join(self.base_url, "mlserve")))
