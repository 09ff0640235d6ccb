"""``status``: how every process and store is; and the answer to unknown addresses."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from jupyter_server.utils import url_path_join

from .._version import __version__
from ..contract.errors import NotFound
from .base import STATUS, MLServeHandler, allowed

if TYPE_CHECKING:
    from ..compute.client import ComputeNode

Json = dict[str, Any]
PASS, WARN, FAIL = "pass", "warn", "fail"


class StatusHandler(MLServeHandler):
    """``status``: also what a client asks to see that this is the server it looks for."""

    @allowed("read", STATUS)
    async def get(self) -> None:
        """Always 200; ``statusCode`` is the worst of the components'."""
        compute, realtime, database, blobs, batches = await asyncio.gather(
            self._process("compute"),
            self._process("realtime"),
            self._ask(self._database),
            self._ask(self._blobs),
            self._ask(self._batches),
        )
        components = {
            "web": {
                "statusCode": PASS,
                "pid": os.getpid(),
                "uptime": round(time.time() - self.node.started, 3),
                "running": self.node.running,
            },
            "compute": compute,
            "realtime": realtime,
            "database": database,
            "blobs": blobs,
            "batches": batches,
        }
        codes = [component["statusCode"] for component in components.values()]
        root = f"{self.request.protocol}://{self.request.host}"
        self.reply(
            {
                "statusCode": next(code for code in (FAIL, WARN, PASS) if code in codes),
                "name": "jupyter_mlserve",
                "version": __version__,
                "url": f"{root}{url_path_join(self.base_url, 'mlserve')}/",
                "user": self.principal.username,
                "components": components,
            }
        )

    async def _ask(self, question: Any) -> Json:
        try:
            answer: Json = await asyncio.to_thread(question)
        except Exception as exc:
            return {"statusCode": FAIL, "message": str(exc)}
        return {"statusCode": PASS, **answer}

    def _database(self) -> Json:
        return {"revision": self.node.core.catalog.revision()}

    def _blobs(self) -> Json:
        used, quota = self.node.core.blobs.used(), self.node.settings.storage_quota
        full = bool(quota) and used > 0.9 * quota
        return {"statusCode": WARN if full else PASS, "used": used, "quota": quota or None}

    def _batches(self) -> Json:
        summary = self.node.core.executions.summary()
        quota = self.node.settings.batch.quota
        full = bool(quota) and summary.bytes > 0.9 * quota
        return {
            "statusCode": WARN if full else PASS,
            "executions": summary.executions,
            "ready": summary.ready,
            "running": summary.running,
            "bytes": summary.bytes,
            "quota": quota or None,
            **self.node.core.desk.busy,
        }

    async def _process(self, name: str) -> Json:
        try:
            compute: ComputeNode = getattr(self.node.core, name)
            about = await compute.status()
            # Versions of realtime services that stopped their process again and again.
            return {"statusCode": WARN if about.get("held_back") else PASS, **about}
        except Exception as exc:
            return {"statusCode": FAIL, "message": str(exc)}


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
