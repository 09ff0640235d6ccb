"""Local accounts and their logins, in the database of the catalog.

Tokens are signed and not kept here; a row of ``login`` says which generation of them is valid.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, bindparam, func, select

from ..contract.errors import Conflict, NotAuthenticated, NotFound
from .database import Database
from .rows import storable
from .schema import account, login, revision

# Logins that one account has at a time; the one renewed longest ago makes room for a new one.
MAX_LOGINS = 10_000
_SWEEP_SECONDS = 3600.0

# Lock of those who add accounts, so that only one can be the first. SQLite has none of it: there
# all writers are one after the other.
_LOCK = select(revision.c.value).where(revision.c.id == 1).with_for_update()
_ACCOUNT = select(account).where(account.c.username == bindparam("username"))
_COUNT = select(func.count()).select_from(account)
_LOGINS = (
    select(func.count())
    .select_from(login)
    .where(login.c.username == account.c.username)
    .scalar_subquery()
)
_ALL = select(account, _LOGINS.label("logins")).order_by(account.c.username)
_LOGIN = (
    select(login, account.c.administrator)
    .join_from(login, account, account.c.username == login.c.username)
    .where(login.c.id == bindparam("login"))
)
_RENEW = (
    login.update()
    .where(login.c.id == bindparam("login"), login.c.generation == bindparam("was"))
    .values(generation=login.c.generation + 1, renewed_at=bindparam("now"))
)
_END = login.delete().where(login.c.id == bindparam("login"))
_END_ALL = login.delete().where(login.c.username == bindparam("whose"))
_SURPLUS = (
    select(login.c.id)
    .where(login.c.username == bindparam("username"))
    .order_by(login.c.renewed_at.desc(), login.c.id)
    .offset(bindparam("most"))
)
_SWEEP = login.delete().where(
    (login.c.renewed_at < bindparam("idle")) | (login.c.started_at < bindparam("old"))
)


@dataclass(frozen=True)
class Account:
    """A local account. ``logins``: how many it has; None where that was not asked."""

    username: str
    administrator: bool
    created_at: datetime
    changed_at: datetime
    password_hash: str = field(repr=False)
    logins: int | None = None


@dataclass(frozen=True)
class Login:
    """A login of an account. Only tokens of ``generation`` are valid."""

    id: str
    username: str
    generation: int
    started_at: datetime
    renewed_at: datetime
    administrator: bool


class Accounts:
    """Every change is one transaction, over all threads and processes; see Catalog.

    ``idle_seconds``, ``login_seconds``: after how long without renewal, and after how long
    altogether, a login has ended. Times are given by the caller as aware moments.
    """

    def __init__(self, database: Database, idle_seconds: float, login_seconds: float) -> None:
        self.database = database
        self._idle = timedelta(seconds=idle_seconds)
        self._longest = timedelta(seconds=login_seconds)
        self._next_sweep = 0.0

    # Accounts

    def add(self, username: str, password_hash: str, *, administrator: bool = False) -> Account:
        """Add an account. The first one there is becomes an administrator in any case.

        Raises Conflict when it is there already.
        """
        now = datetime.now(timezone.utc)
        with self.database.write() as connection:
            connection.execute(_LOCK)
            if connection.execute(_ACCOUNT, {"username": username}).first() is not None:
                raise taken(username)
            administrator = administrator or not connection.scalar(_COUNT)
            added = Account(username, administrator, now, now, password_hash)
            connection.execute(
                account.insert(),
                {
                    "username": username,
                    "password_hash": password_hash,
                    "administrator": administrator,
                    "created_at": now,
                    "changed_at": now,
                },
            )
        return added

    def get(self, username: str) -> Account | None:
        """The account, or None."""
        if not storable(username):
            return None
        with self.database.read() as connection:
            row = connection.execute(_ACCOUNT, {"username": username}).first()
        return None if row is None else _account(row)

    def all(self) -> list[Account]:
        """All accounts, by name, with the number of their logins."""
        with self.database.read() as connection:
            return [_account(row, row.logins) for row in connection.execute(_ALL).all()]

    def count(self) -> int:
        """How many accounts there are."""
        with self.database.read() as connection:
            return int(connection.scalar(_COUNT) or 0)

    def set_password(self, username: str, password_hash: str) -> int:
        """Give an account another password. All its logins end; returns how many. NotFound."""
        now = datetime.now(timezone.utc)
        values = {"password_hash": password_hash, "changed_at": now}
        with self.database.write() as connection:
            changed = connection.execute(
                account.update().where(account.c.username == username).values(**values)
            )
            if not changed.rowcount:
                raise _no_account(username)
            return connection.execute(_END_ALL, {"whose": username}).rowcount

    def remove(self, username: str) -> int:
        """Remove an account and end its logins; returns how many there were. Raises NotFound."""
        with self.database.write() as connection:
            found = connection.execute(_ACCOUNT.with_for_update(), {"username": username}).first()
            if found is None:
                raise _no_account(username)
            ended = connection.execute(_END_ALL, {"whose": username}).rowcount
            connection.execute(account.delete().where(account.c.username == username))
            return ended

    # Logins

    def start_login(
        self, verified: Account, now: datetime, new_hash: str | None = None
    ) -> Login | None:
        """A login of the account whose password was ``verified``; its generation is 1.

        None when the account was changed or removed since it was read. ``new_hash``: of the same
        password, to be kept from now on.
        """
        username = verified.username
        with self.database.write() as connection:
            row = connection.execute(_ACCOUNT.with_for_update(), {"username": username}).first()
            if row is None or row.changed_at != verified.changed_at:
                return None
            if new_hash is not None:
                connection.execute(
                    account.update()
                    .where(account.c.username == username)
                    .values(password_hash=new_hash)
                )
            self._sweep(connection, now)
            values = {"username": username, "most": MAX_LOGINS - 1}
            for surplus in connection.scalars(_SURPLUS, values).all():
                connection.execute(_END, {"login": surplus})
            started = Login(str(uuid4()), username, 1, now, now, row.administrator)
            connection.execute(
                login.insert(),
                {
                    "id": started.id,
                    "username": username,
                    "generation": 1,
                    "started_at": now,
                    "renewed_at": now,
                },
            )
        return started

    def login(self, login_id: str, now: datetime) -> Login | None:
        """A login that has not ended, or None."""
        if not storable(login_id):
            return None
        with self.database.read() as connection:
            row = connection.execute(_LOGIN, {"login": login_id}).first()
        return None if row is None or self._over(row, now) else Login(*row)

    def renew(self, login_id: str, generation: int, now: datetime) -> Login | None:
        """Raise the generation of a login; of several at once, one succeeds.

        None when it has ended. Raises NotAuthenticated when ``generation`` is not the present
        one: somebody else has used the same token, so the login ends now, for both of them.
        """
        if not storable(login_id):
            return None
        values = {"login": login_id, "was": generation, "now": now}
        with self.database.write() as connection:
            before = connection.execute(_LOGIN, {"login": login_id}).first()
            if before is None or self._over(before, now):
                return None
            if connection.execute(_RENEW, values).rowcount:
                return Login(*connection.execute(_LOGIN, {"login": login_id}).one())
            connection.execute(_END, {"login": login_id})
        # Raised only here: inside the transaction it would take back the end of the login.
        raise NotAuthenticated(
            "This refresh token is not valid any more. It was used twice, so this login has "
            "ended. Log in again (POST login)."
        )

    def end_login(self, login_id: str) -> bool:
        """End a login; False when there was none."""
        if not storable(login_id):
            return False
        with self.database.write() as connection:
            return bool(connection.execute(_END, {"login": login_id}).rowcount)

    def sweep(self, now: datetime) -> int:
        """Remove logins that have ended by themselves; returns how many."""
        with self.database.write() as connection:
            return self._swept(connection, now)

    # Helpers

    def _over(self, row: Row[Any], now: datetime) -> bool:
        return bool(now >= row.renewed_at + self._idle or now >= row.started_at + self._longest)

    def _sweep(self, connection: Connection, now: datetime) -> None:
        """It reads the whole table, hence only now and then."""
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + _SWEEP_SECONDS
            self._swept(connection, now)

    def _swept(self, connection: Connection, now: datetime) -> int:
        values = {"idle": now - self._idle, "old": now - self._longest}
        return connection.execute(_SWEEP, values).rowcount


def _account(row: Row[Any], logins: int | None = None) -> Account:
    return Account(
        row.username,
        row.administrator,
        row.created_at,
        row.changed_at,
        row.password_hash,
        logins,
    )


def taken(username: str) -> Conflict:
    """The error for adding an account that is there."""
    return Conflict(
        f"There is an account {username!r} already. Give it another password with "
        f"`jupyter mlserve user password {username}`, or remove it first with "
        f"`jupyter mlserve user remove {username}`."
    )


def _no_account(username: str) -> NotFound:
    return NotFound(f"There is no account {username!r}.")
