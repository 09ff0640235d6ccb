"""``status``: how every process and store is; and the answer to unknown addresses."""

from __future__ import annotations

from jupyter_server.utils import url_path_join

from .._version import __version__
from ..contract.errors import NotFound
from .base import STATUS, MLServeHandler, allowed
from .health import bare, health


class StatusHandler(MLServeHandler):
    """``status``: also what a client asks to see that this is the server it looks for."""

    @allowed("read", STATUS)
    async def get(self) -> None:
        """Always 200; ``statusCode`` is the worst of the components'.

        Details of processes and stores are for administrators.
        """
        found = await health(self.node)
        if not self.node.policy.may(self.principal, "administer").allowed:
            found = bare(found)
        root = f"{self.request.protocol}://{self.request.host}"
        self.reply(
            {
                "statusCode": found["statusCode"],
                "name": "jupyter_mlserve",
                "version": __version__,
                "url": f"{root}{url_path_join(self.base_url, 'mlserve')}/",
                "user": self.principal.username,
                "details": found["details"],
                "components": found["components"],
            }
        )


class UnknownHandler(MLServeHandler):
    """Any other address below ``mlserve/``: a JSON 404 instead of Jupyter's HTML page."""

    @allowed("read", STATUS)
    async def get(self, *args: str) -> None:
        self._unknown()

    @allowed("read", STATUS)
    async def head(self, *args: str) -> None:
        self._unknown()

    @allowed("write", STATUS)
    async def post(self, *args: str) -> None:
        self._unknown()

    @allowed("write", STATUS)
    async def put(self, *args: str) -> None:
        self._unknown()

    @allowed("write", STATUS)
    async def patch(self, *args: str) -> None:
        self._unknown()

    @allowed("write", STATUS)
    async def delete(self, *args: str) -> None:
        self._unknown()

    def _unknown(self) -> None:
        raise NotFound(
            "There is nothing at this address. Services are listed by GET "
            f"{url_path_join(self.base_url, 'mlserve/services')} and called by POST "
            f"{url_path_join(self.base_url, 'mlserve/api/NAME/VERSION')}."
        )
