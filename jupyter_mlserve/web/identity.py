"""Who is asking: Jupyter's own identity or a token of ours, and a short memory for scoring.

Jupyter's check of a token costs about 0.12 ms (it invents an anonymous user and signs a cookie
for every request that carries none), so scoring remembers its outcome per token for a short time.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jupyter_server.auth.authorizer import AllowAllAuthorizer
from jupyter_server.auth.identity import User
from tornado.httputil import HTTPServerRequest

from ..access.principal import Principal

OWN_MODULE = "jupyter_server."

# What decides the name of a user. A provider that replaces none of these knows no names.
NAMING = (
    "get_user",
    "_get_user",
    "get_user_token",
    "get_user_cookie",
    "user_from_cookie",
    "generate_anonymous_user",
    "process_login_form",
)

# Headers that differ from call to call and that no identity hangs on.
PASSING = frozenset({"Content-Length", "Content-Type", "Accept", "Accept-Encoding", "User-Agent"})


def is_anonymous(provider: Any) -> bool:
    """Whether the users of this identity provider are anonymous: a shared token or password.

    Jupyter then makes a random user per browser or even per request; nobody can be told from
    anybody else, so all of them are the one owner of the server.
    """
    if not _is_jupyters(type(provider), NAMING):
        return False
    # Legacy: names may come from a login handler class instead.
    handler = getattr(provider, "login_handler_class", None)
    return handler is None or _is_jupyters(handler, ("get_user", "get_user_token"))


def _is_jupyters(cls: type, names: tuple[str, ...]) -> bool:
    for name in names:
        attribute = getattr(cls, name, None)
        module = getattr(attribute, "__module__", None) or ""
        if attribute is not None and not module.startswith(OWN_MODULE):
            return False
    return True


@dataclass(slots=True)
class Identity:
    """A request's user, as Jupyter knows them and as we do, and headers to answer them with.

    ``holds``: says whether it is still so, where that can be told (None: it holds for a while).
    """

    user: User
    principal: Principal
    headers: tuple[tuple[str, str], ...] = ()
    holds: Callable[[], bool] | None = None


class IdentityCache:
    """Outcomes of Jupyter's checks by a digest of what they hang on; bounded, and soon forgotten.

    With Jupyter's own identity provider that is the Authorization header (a shared token) and the
    Host (checked by Jupyter too). Another provider, or another authorizer, may look at anything:
    then the key holds the address, the path and all headers. A revoked token works for at most
    ``seconds`` longer.
    """

    def __init__(self, provider: Any, authorizer: Any, seconds: float, maximum: int = 1024) -> None:
        self._simple = is_anonymous(provider) and type(authorizer) is AllowAllAuthorizer
        self._seconds = seconds
        self._maximum = maximum
        self._entries: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()
        self._clock: Callable[[], float] = time.monotonic

    def __len__(self) -> int:
        return len(self._entries)

    def key(self, request: HTTPServerRequest) -> bytes | None:
        """None when the request must take Jupyter's own way: it carries no header token, or a
        browser sent it (the answer's CORS headers hang on the origin)."""
        headers = request.headers
        authorization = headers.get("Authorization")
        if authorization is None or "Origin" in headers or request.query or not self._seconds:
            return None
        if self._simple:
            return _digest(authorization, request.host)
        parts = [request.remote_ip or "", request.path]
        parts += [f"{k}:{v}" for k, v in sorted(headers.get_all()) if k not in PASSING]
        return _digest(*parts)

    def get(self, key: bytes | None) -> Identity | None:
        entry = self._entries.get(key) if key is not None else None
        if entry is None or entry[0] < self._clock():
            return None
        identity = entry[1]
        if identity.holds is not None and not identity.holds():
            return None
        return identity

    def put(self, key: bytes | None, identity: Identity) -> None:
        if key is None:
            return
        self._entries[key] = (self._clock() + self._seconds, identity)
        self._entries.move_to_end(key)
        while len(self._entries) > self._maximum:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()


def _digest(*parts: str) -> bytes:
    # Lengths are part of it, lest two splits of one text have the same digest.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
