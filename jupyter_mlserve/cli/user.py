"""The options of ``jupyter mlserve user``. What it does is in ``accounts``, which loads a lot."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def run(arguments: argparse.Namespace) -> int:
    from . import accounts

    return accounts.ACTIONS[arguments.action](arguments)


def add_parser(commands: Any) -> None:
    """The command ``user`` and its own commands."""
    user = commands.add_parser(
        "user",
        help="add, list and remove accounts of the server",
        description="The local accounts of the server of this machine, whether it runs or not. Who "
        "has an account can publish and call services, and nothing else of Jupyter. Services "
        "belong to names: give nobody the name of a user that Jupyter knows by another way.",
    )
    actions = user.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def action(name: str, text: str, named: bool = True) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
        if named:
            made.add_argument("name", metavar="NAME", help="the name of the account")
        made.add_argument(
            "--data-dir",
            type=Path,
            metavar="FOLDER",
            help="MLServeApp.data_dir of the server (default: as Jupyter's configuration says)",
        )
        made.add_argument(
            "--db-url",
            metavar="URL",
            help="MLServeApp.db_url of the server (default: as Jupyter's configuration says)",
        )
        made.add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="the configuration file that the server is started with, if it is",
        )
        made.set_defaults(run=run, action=name)
        return made

    for name, text in (
        ("add", "Add an account; the first one becomes an administrator."),
        ("password", "Give an account another password; its logins end."),
    ):
        made = action(name, text)
        made.add_argument(
            "--password-stdin",
            action="store_true",
            help="read the password from the standard input instead of asking for it",
        )
        if name == "add":
            made.add_argument(
                "--administrator",
                action="store_true",
                help="the account may change all services, and the server's own settings",
            )
    action("list", "List the accounts.", named=False)
    action("remove", "Remove an account; its logins end, its services stay.")
