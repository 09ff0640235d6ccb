"""``jupyter mlserve user``: the accounts of this machine's server, whether it runs or not.

The commands open the server's database themselves: who can do that is who may.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.exc import ArgumentError

from ..access.passwords import MAX_BYTES, Passwords, check_password
from ..access.principal import server_owner
from ..access.tokens import IDLE_SECONDS, LOGIN_SECONDS
from ..access.usernames import check_username
from ..contract.errors import InternalError, InvalidInput, NotFound
from ..store.accounts import Account, Accounts, taken
from ..store.catalog import Catalog
from ..web.node import Settings


def add(arguments: argparse.Namespace) -> int:
    name = check_username(arguments.name)
    with opened(arguments, make=True) as accounts:
        if accounts.get(name) is not None:
            raise taken(name)
        hashed = Passwords().hash(password(arguments, name))
        made = accounts.add(name, hashed, administrator=arguments.administrator)
        where = accounts.database.name
    role = "administrator" if made.administrator else "user"
    print(f"Added the {role} {name!r} to {where}.")
    if made.administrator and not arguments.administrator:
        print("It is the first account, hence an administrator: it may change all services.")
    if name in (server_owner().username, os.environ.get("JUPYTERHUB_USER")):
        print(f"{name} is also the owner of this server: what its notebooks publish is theirs.")
    print("They log in with POST mlserve/login, or in Python with")
    print(f"  DeployClient(URL, auth=({name!r}, PASSWORD))")
    return 0


def listing(arguments: argparse.Namespace) -> int:
    with opened(arguments) as accounts:
        found = accounts.all()
        where = accounts.database.name
    if not found:
        print(
            f"There is no account in {where}. Add one: jupyter mlserve user add NAME",
            file=sys.stderr,
        )
        return 0
    rows = [["account", "role", "created (UTC)", "password of (UTC)", "logins"], *map(row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for line in rows:
        cells = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip())
    return 0


def row(account: Account) -> list[str]:
    return [
        account.username,
        "administrator" if account.administrator else "user",
        f"{account.created_at:%Y-%m-%d %H:%M}",
        f"{account.changed_at:%Y-%m-%d %H:%M}",
        str(account.logins),
    ]


def change_password(arguments: argparse.Namespace) -> int:
    with opened(arguments) as accounts:
        if accounts.get(arguments.name) is None:
            raise no_account(arguments.name, accounts)
        hashed = Passwords().hash(password(arguments, arguments.name))
        ended = accounts.set_password(arguments.name, hashed)
    print(f"Changed the password of {arguments.name!r}; {logins(ended)}.")
    return 0


def remove(arguments: argparse.Namespace) -> int:
    with opened(arguments) as accounts:
        if accounts.get(arguments.name) is None:
            raise no_account(arguments.name, accounts)
        ended = accounts.remove(arguments.name)
        left = accounts.all()
    print(f"Removed the account {arguments.name!r}; {logins(ended)}.")
    print("Its services stay, and belong to whoever has this name again.")
    if left and not any(account.administrator for account in left):
        print(
            "No account is an administrator now. `jupyter mlserve user add NAME --administrator` "
            "makes one."
        )
    return 0


def logins(count: int) -> str:
    """How many logins have come to their end, as the last words of a sentence."""
    if not count:
        return "it was logged in nowhere"
    return "its login has ended" if count == 1 else f"its {count} logins have ended"


def no_account(name: str, accounts: Accounts) -> NotFound:
    return NotFound(
        f"There is no account {name[:80]!r} in {accounts.database.name}; `jupyter mlserve user "
        "list` shows those there are."
    )


def password(arguments: argparse.Namespace, name: str) -> str:
    """A new password, from the terminal (asked twice, without echo) or from a line of stdin."""
    if arguments.password_stdin:
        line = sys.stdin.readline(MAX_BYTES + 2)
        given = line.removesuffix("\n").removesuffix("\r")
        check_password(given)
        return given
    if not sys.stdin.isatty():
        raise InvalidInput(
            "There is no terminal to ask for the password. Give it as a line of the standard "
            "input, with --password-stdin."
        )
    given = getpass.getpass(f"Password of {name}: ")
    check_password(given)
    if getpass.getpass("The same again: ") != given:
        raise InvalidInput("The two passwords differ, so nothing was changed.")
    return given


@contextmanager
def opened(arguments: argparse.Namespace, make: bool = False) -> Iterator[Accounts]:
    """The accounts of the server's database; if ``make``, one that is not there is made."""
    url = settings(arguments).database
    local = Path(url.removeprefix("sqlite:///")) if "://" not in url else None
    if local is not None and not make and not local.exists():
        raise NotFound(
            f"There is no database {local} yet. If the server has another one, say which: "
            "--data-dir or --db-url (`jupyter mlserve user --help`)."
        )
    try:
        catalog = Catalog(url)
    except (ArgumentError, ImportError) as exc:
        # Without its text: there may be a password in the URL.
        raise InvalidInput(
            f"The db_url cannot be used ({type(exc).__name__}). It must be an SQLAlchemy URL whose "
            "driver is installed here, or the path of an SQLite file."
        ) from exc
    with catalog:
        yield Accounts(catalog.database, IDLE_SECONDS, LOGIN_SECONDS)


def settings(arguments: argparse.Namespace) -> Settings:
    """Where the server stores: as the options say, or the files that it would read itself."""
    if arguments.data_dir is None and arguments.db_url is None:
        return configured(arguments.config)
    # A db_url of the files would be that of another data_dir.
    folder = (arguments.data_dir or Path()).expanduser().absolute()
    return Settings(data_dir=folder, db_url=arguments.db_url or "")


def configured(file: Path | None) -> Settings:
    """Jupyter's own order: the server's files, and over them those of the extension."""
    from jupyter_server.serverapp import ServerApp

    from ..web.app import MLServeApp

    try:
        server: Any = ServerApp(raise_config_file_errors=True)
        if file is not None:
            server.config_file = str(file.expanduser().absolute())
        server.load_config_file(suppress_errors=False)
        extension: Any = MLServeApp(raise_config_file_errors=True)
        extension.serverapp = server  # it looks where the server does
        extension.load_config_file(suppress_errors=False)
        extension.update_config(server.config)
        found: Settings = extension.node_settings()
    except Exception as exc:  # whatever is written in those files
        raise InternalError(
            f"Jupyter's configuration cannot be used: {type(exc).__name__}: {exc}. Correct it, or "
            "say where the server stores its data: --data-dir."
        ) from exc
    return found


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "add": add,
    "list": listing,
    "password": change_password,
    "remove": remove,
}
