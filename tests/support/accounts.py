"""Accounts of a running server, made beside it as ``jupyter mlserve user add`` does."""

from __future__ import annotations

from pathlib import Path

from jupyter_mlserve.access.passwords import Passwords
from jupyter_mlserve.store import Catalog
from jupyter_mlserve.store.accounts import Accounts
from support.running_server import RunningServer

PASSWORD = "correct-Horse-9-battery"


def add_accounts(server: RunningServer, *names: str) -> None:
    """Their password is ``PASSWORD``. The first account of a server is its administrator."""
    path = Path(server.env["JUPYTER_DATA_DIR"]) / "mlserve" / "catalog.sqlite3"
    hashed = Passwords().hash(PASSWORD)
    with Catalog(str(path)) as catalog:
        accounts = Accounts(catalog.database, 1e6, 1e6)
        for name in names:
            accounts.add(name, hashed)
