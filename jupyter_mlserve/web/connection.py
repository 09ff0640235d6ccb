"""The connection file: how a kernel of this server finds and enters it.

``jupyter_runtime_dir()/mlserve-PID.json``, readable by its owner only, with the keys of Jupyter's
own ``jpserver-PID.json`` that a client needs, but with a token of ours. So it works on servers
that have no token (password only, or an identity provider of another kind), too. Kernels inherit
its path in the variable ``JUPYTER_MLSERVE_SERVER_INFO``; the token itself is in no environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_runtime_dir

from .._version import __version__

VARIABLE = "JUPYTER_MLSERVE_SERVER_INFO"
ANY_HOST = ("", "0.0.0.0", "::", "*")


class ConnectionFile:
    """Written when the port is known, removed at the end. ``server`` is Jupyter's ServerApp."""

    def __init__(self, server: Any, token: str) -> None:
        folder = getattr(server, "runtime_dir", "") or jupyter_runtime_dir()
        self.path = Path(folder) / f"mlserve-{os.getpid()}.json"
        self._server = server
        self._token = token
        self._before: str | None = None

    def announce(self) -> None:
        """Let kernels started from now on know the path (the file may come later)."""
        if os.environ.get(VARIABLE) != str(self.path):
            self._before = os.environ.get(VARIABLE)
            os.environ[VARIABLE] = str(self.path)

    def content(self) -> dict[str, Any]:
        server = self._server
        return {
            "url": server_url(server),
            "base_url": server.base_url,
            "hostname": server.ip,
            "sock": server.sock,
            "token": self._token,
            "pid": os.getpid(),
            "version": __version__,
        }

    def write(self) -> None:
        """Atomically, and never readable by others, not even for a moment."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        remove_dead(self.path.parent)
        descriptor, name = tempfile.mkstemp(".tmp", "mlserve-", self.path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(self.content(), stream, indent=2, sort_keys=True)
            os.replace(name, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()
        if os.environ.get(VARIABLE) == str(self.path):
            if self._before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = self._before


def server_url(server: Any) -> str:
    """The address to reach the server at from this machine, with base URL and final slash.

    A server that listens everywhere calls itself by its host name, which need not resolve here.
    """
    url: str = server.connection_url
    if not server.sock and server.ip in ANY_HOST:
        scheme = "https" if server.certfile else "http"
        url = f"{scheme}://127.0.0.1:{server.port}{server.base_url}"
    return url if url.endswith("/") else url + "/"


def node_address(server: Any) -> str:
    """What the web node and its compute node are called: an address that does not depend on who
    asks. With the host name, where the server listens on all addresses of its machine."""
    url: str = server.connection_url
    return f"{url.rstrip('/')}/mlserve/"


def remove_dead(folder: Path) -> None:
    """Remove the files of servers that ended without doing so themselves."""
    for path in folder.glob("mlserve-*.json"):
        number = path.stem.removeprefix("mlserve-")
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            with contextlib.suppress(OSError):
                path.unlink()
        except (ValueError, OverflowError, OSError):
            continue
