"""The account of a client: a name and a password, and the tokens that they were exchanged for."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..contract.errors import ConnectionFailed, MLServeError, NotAuthenticated

# Renewed so many seconds before its end, so that a request does not meet it on its way.
EARLY_SECONDS = 60.0

# Sends a request without a token: method, path, JSON body, query. What it returns is the parsed
# answer, what it raises is what the answer says.
Ask = Callable[[str, str, Any, Mapping[str, str] | None], Any]


class Login:
    """Gives a valid access token whenever one is needed; safe to use from several threads.

    The password stays in memory, for when the tokens cannot be renewed any more. It is sent to
    ``POST login`` and nowhere else.
    """

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self._password = password
        self._access = ""
        self._refresh = ""
        self._renew_at = 0.0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"Login({self.username!r})"

    def __reduce__(self) -> Any:
        raise TypeError("A login holds a password, and is not pickled.")

    def token(self, ask: Ask, refused: str = "") -> str:
        """An access token. ``refused``: the server did not take this one, so give another.

        Raises NotAuthenticated (the name or the password is wrong), TooBusy (too many failures),
        ConnectionFailed.
        """
        if self._pid != os.getpid():
            # A fork: using the refresh token of the parent would end the login for both.
            self._lock, self._refresh, self._pid = threading.Lock(), "", os.getpid()
        with self._lock:
            if not self._access or self._access == refused or time.monotonic() > self._renew_at:
                self._take(self._renewed(ask))
            return self._access

    def _renewed(self, ask: Ask) -> Any:
        if self._refresh:
            # It may have ended, been revoked, or used by a request whose answer was lost.
            with contextlib.suppress(NotAuthenticated):
                token, self._refresh = self._refresh, ""
                return ask("POST", "login/refreshToken", {"refreshToken": token}, None)
        return ask("POST", "login", {"username": self.username, "password": self._password}, None)

    def _take(self, answer: Any) -> None:
        try:
            self._access = str(answer["access_token"])
            self._refresh = str(answer.get("refresh_token") or "")
            lasts = float(answer.get("expires_in") or 3600)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ConnectionFailed(
                "The server answered the login, but without a token. Is it one with "
                "jupyter_mlserve?"
            ) from None
        self._renew_at = time.monotonic() + lasts - min(EARLY_SECONDS, lasts / 2)

    def end(self, ask: Ask) -> None:
        """Make the tokens invalid, if the server can be reached. Later use logs in again."""
        with self._lock:
            token = self._refresh if self._pid == os.getpid() else ""
            self._access = self._refresh = ""
        if token:
            with contextlib.suppress(MLServeError):
                ask("DELETE", "login/refreshToken", None, {"refreshToken": token})
