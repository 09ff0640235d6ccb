"""Logging in to local accounts: from a password to tokens, and from a token to who shows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from logging import Logger
from pathlib import Path
from typing import Any

from ..access.passwords import Passwords
from ..access.principal import LOCAL, Principal
from ..access.throttle import Throttle
from ..access.tokens import Claims, TokenPair, Tokens, ended
from ..contract.errors import InternalError, MLServeError, NotAuthenticated, TooBusy
from ..store.accounts import Account, Accounts, Login
from ..store.token_key import ensure_key, read_key

# Passwords that are verified at a time (64 MiB and a core each), and that wait for it.
AT_A_TIME = 2
WAITING = 64


@dataclass(frozen=True)
class Access:
    """Who showed an access token, and for how long that is so."""

    principal: Principal
    expires: int
    pulse: int | None
    now_pulse: Callable[[], int | None]

    def holds(self) -> bool:
        """False when the token has expired, or when its login may have ended.

        On SQLite any commit of any process makes it false, and the login is looked at again.
        """
        try:
            return time.time() < self.expires and self.now_pulse() == self.pulse
        except Exception:  # the database is gone; who asks it next says so
            return False


class Logins:
    """Used from the event loop; what takes long is done in threads of its own.

    The name of an account is the name of its owner, as the names of Jupyter's users and of the
    server's owner are: the same name is the same person, and owns the same services. Only who
    has a shell on the server can add accounts, and whoever has a kernel has as much.
    """

    def __init__(self, accounts: Accounts, key_file: Path, log: Logger) -> None:
        self.accounts = accounts
        self.passwords = Passwords()
        self.throttle = Throttle()
        self._key_file = key_file
        self._log = log
        self._tokens: Tokens | None = None
        self._complaint = ""
        self._threads = ThreadPoolExecutor(AT_A_TIME, "jupyter_mlserve_login")
        self._turn = asyncio.Semaphore(AT_A_TIME)
        self._waiting = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def status(self) -> dict[str, Any]:
        """For ``status``: how many accounts there are. Raises what is wrong. Blocks."""
        read_key(self._key_file)
        return {"accounts": self.accounts.count()}

    # Asked without a token

    async def login(self, username: str, password: str, address: str) -> TokenPair:
        """The tokens of a new login. ``address``: where the request comes from.

        Raises NotAuthenticated, TooBusy (``retry_after``): too many failures, or too many logins
        at the same time.
        """
        self.throttle.check(username, address)
        if self._waiting >= WAITING:
            raise TooBusy(
                "Too many users log in at the same time. Try again in a moment.", retry_after=2.0
            )
        self._waiting += 1
        try:
            async with self._turn:
                # Again: others may have failed while this one waited.
                self.throttle.check(username, address)
                found = await self._in_thread(self._verified, username, password)
                if found is None:
                    self.throttle.failed(username, address)
                    raise NotAuthenticated("The user name or the password is wrong.")
                self.throttle.succeeded(username, address)
                pair: TokenPair = await self._in_thread(self._start, *found)
                return pair
        finally:
            self._waiting -= 1

    def _verified(self, username: str, password: str) -> tuple[Account, str | None] | None:
        """The account; with a new hash of the password where the old one is outdated."""
        account = self.accounts.get(username)
        known = account.password_hash if account is not None else None
        if not self.passwords.verify(known, password) or account is None or known is None:
            return None
        outdated = self.passwords.outdated(known)
        return account, self.passwords.hash(password) if outdated else None

    def _start(self, account: Account, new_hash: str | None) -> TokenPair:
        tokens = self._signing()
        login = self.accounts.start_login(account, now(), new_hash)
        if login is None:
            raise NotAuthenticated("The account was changed in this moment. Log in again.")
        self._log.info("%s logged in", account.username)
        return _pair(tokens, login)

    async def refresh(self, token: str) -> TokenPair:
        """A new pair for a refresh token; the old pair is not valid any more.

        One that was used before ends the login: it may be in wrong hands. Raises NotAuthenticated.
        """
        return await asyncio.to_thread(self._refresh, token)

    def _refresh(self, token: str) -> TokenPair:
        tokens, claims = self._refreshing(token)
        login = self.accounts.renew(claims.login, claims.generation, now())
        if login is None:
            raise ended("refresh")
        return _pair(tokens, login)

    async def revoke(self, token: str) -> None:
        """End the login of a refresh token, and with it all its tokens. NotAuthenticated."""
        await asyncio.to_thread(self._revoke, token)

    def _revoke(self, token: str) -> None:
        _, claims = self._refreshing(token)
        if not self.accounts.end_login(claims.login):
            raise ended("refresh")
        self._log.info("%s logged out", claims.username)

    def _refreshing(self, token: str) -> tuple[Tokens, Claims]:
        tokens = self._reading()
        claims = tokens.read(token, "refresh") if tokens is not None else None
        if tokens is None or claims is None:
            raise NotAuthenticated("This is no refresh token of this server. Log in (POST login).")
        return tokens, claims

    # Asked with a token

    async def access(self, token: str) -> Access | None:
        """Whose access token this is; None when it is not one of ours.

        Raises NotAuthenticated when it was one and is not valid any more.
        """
        try:
            tokens = self._tokens or await asyncio.to_thread(self._reading)
        except InternalError:
            return None  # it may be a token that Jupyter's identity provider knows
        claims = tokens.read(token, "access") if tokens is not None else None
        if claims is None:
            return None
        database = self.accounts.database
        pulse = database.pulse()  # before the login is read: what changes then, shows
        login = await self._login(claims)
        if login is None or (login.generation, login.username) != (
            claims.generation,
            claims.username,
        ):
            raise ended("access")
        principal = Principal(login.username, login.username, LOCAL, login.administrator)
        return Access(principal, claims.expires, pulse, database.pulse)

    async def _login(self, claims: Claims) -> Login | None:
        if self.accounts.database.is_local:
            return self.accounts.login(claims.login, now())
        return await asyncio.to_thread(self.accounts.login, claims.login, now())

    # Helpers

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def _reading(self) -> Tokens | None:
        """What reads tokens; None while there is no key, so that nobody can have one."""
        if self._tokens is None:
            key = self._usable(read_key)
            if key is not None:
                self._tokens = Tokens(key)
        return self._tokens

    def _signing(self) -> Tokens:
        if self._tokens is None:
            key = self._usable(ensure_key)
            assert key is not None
            self._tokens = Tokens(key)
        return self._tokens

    def _usable(self, get: Callable[[Path], bytes | None]) -> bytes | None:
        try:
            return get(self._key_file)
        except MLServeError as exc:
            # Who asks may be anybody, and need not know about files.
            if exc.message != self._complaint:
                self._complaint = exc.message
                self._log.error("%s", exc)
            raise InternalError(
                "The server cannot make or read access tokens; its log says why. Tell its "
                "administrator."
            ) from exc


def _pair(tokens: Tokens, login: Login) -> TokenPair:
    return tokens.pair(login.username, login.id, login.generation, login.started_at.timestamp())


def now() -> datetime:
    return datetime.now(timezone.utc)
