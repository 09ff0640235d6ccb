"""Where a server is and what opens it: the one value that discovery finds and the client uses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, unquote, urljoin, urlsplit

from .login import Login

# Pages of JupyterLab, Notebook and Classic that people copy out of the browser's address bar.
PAGES = re.compile(r"/(lab|tree|doc|notebooks|edit|consoles|terminals|login|view|nbclassic)(/.*)?$")
LOOPBACK = re.compile(r"^(localhost|127(\.\d{1,3}){3}|::1)$", re.IGNORECASE)


@dataclass(frozen=True)
class ServerAddress:
    """A Jupyter server with the extension.

    ``url`` is the root of the Jupyter server and ends with a slash. ``token`` may be empty (a
    server without authentication); a ``login`` stands in its place. ``how`` says in words how it
    was found. ``socket`` is the path of a unix socket; the host in ``url`` then has no meaning.
    ``verify_tls`` is True, False, or the path of a file of certificates to trust.
    """

    url: str
    token: str = field(repr=False, default="")
    how: str = "given"
    socket: str | None = None
    verify_tls: bool | str = True
    login: Login | None = field(default=None, compare=False)

    @property
    def prefix(self) -> str:
        """Where the extension's own URLs begin, with a slash at the end."""
        return self.url + "mlserve/"

    @property
    def link(self) -> str:
        """The address as one text that ``parse_url`` reads back, unix sockets included."""
        if self.socket is None:
            return self.url
        return f"http+unix://{quote(self.socket, safe='')}{urlsplit(self.url).path}"

    @property
    def is_local(self) -> bool:
        """True when requests stay on this machine: no proxy may see them."""
        return self.socket is not None or is_loopback(self.url)

    def absolute(self, url: str) -> str:
        """A URL of this server, whether the server gave it whole or as a path."""
        return urljoin(self.url, url)

    def __str__(self) -> str:
        return f"unix socket {self.socket}" if self.socket else self.url


def is_loopback(url: str) -> bool:
    return bool(LOOPBACK.match(urlsplit(url).hostname or ""))


def parse_url(text: str) -> tuple[str, str, str | None]:
    """What a person gives as "the server": root URL, token in it (or ""), unix socket (or None).

    Tolerated: a missing slash or scheme, a link with ``?token=``, a page such as ``/lab/tree/x``,
    a URL that already ends in ``/mlserve``, and Jupyter's own ``http+unix://%2Fpath/base/``.

    >>> parse_url("http://127.0.0.1:8888/base/lab?token=abc")
    ('http://127.0.0.1:8888/base/', 'abc', None)
    """
    text = text.strip()
    if "://" not in text:
        text = "http://" + text
    parts = urlsplit(text)
    socket: str | None = None
    scheme, host = parts.scheme.lower(), parts.netloc.rpartition("@")[2]
    if scheme in ("http+unix", "https+unix"):
        scheme, socket, host = "http", unquote(host), "localhost"
    if scheme not in ("http", "https") or not host:
        raise ValueError(
            f"{text!r} is not the address of a Jupyter server; it looks like http://host:8888/base/"
        )
    path = re.sub(r"/mlserve(/.*)?$", "/", parts.path)
    path = PAGES.sub("/", path)
    path = quote(path.rstrip("/") + "/", safe="/%@:~!$&'()*+,;=")
    token = parse_qs(parts.query).get("token", [""])[0]
    return f"{scheme}://{host}{path}", token, socket
