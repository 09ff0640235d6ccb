"""Who is asking."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Providers of principals: where a name comes from.
SERVER = "server"  # the one owner of a server that knows no names
LOCAL = "local"  # an account of this server, signed in by POST login
JUPYTER = "jupyter"  # an identity provider that names its users (JupyterHub's, or one of a site)


@dataclass(frozen=True)
class Principal:
    """A known user. ``username`` is what ownership hangs on, and what is stored and shown.

    Never decide anything by ``display_name``: users may change it (``PATCH /api/me``).
    ``administrator``: may do everything with every service (Machine Learning Server's role Owner).
    """

    username: str
    display_name: str
    provider: str
    administrator: bool = False


def from_jupyter(user: Any, identity_is_anonymous: bool, hub_user: str | None = None) -> Principal:
    """The principal behind ``handler.current_user``.

    ``user``: a ``jupyter_server.auth.User``, or what older identity providers give (a dict with
    ``name`` or ``username``, or a string).
    ``identity_is_anonymous``: the server's identity provider names nobody. It then makes up a
    random user for each browser, or even for each request, though there is one token or password:
    all of them are one owner, :func:`server_owner`, and own the same services tomorrow.
    ``hub_user``: as for :func:`server_owner`. JupyterHub lets others in, too, if it is told to.

    Raises ValueError when a user of a provider that names its users has no name.
    """
    if identity_is_anonymous:
        return server_owner(None)
    if isinstance(user, str):
        username, display_name = user, user
    elif isinstance(user, Mapping):
        username = str(user.get("username") or user.get("name") or "")
        display_name = str(user.get("display_name") or username)
    else:
        username = str(getattr(user, "username", None) or "")
        display_name = str(getattr(user, "display_name", None) or username)
    if not username:
        raise ValueError("The identity provider of this server gave a user without a name.")
    return Principal(username, display_name, JUPYTER, administrator=username == hub_user)


def server_owner(hub_user: str | None = None) -> Principal:
    """Who owns this server: the hub's name for them, if there is a hub, else the system's user.

    ``hub_user``: the value of ``JUPYTERHUB_USER`` if JupyterHub runs this server. The kernels of
    the server act for this principal.
    """
    if hub_user:
        return Principal(hub_user, hub_user, JUPYTER, administrator=True)
    username = _system_user()
    return Principal(username, username, SERVER, administrator=True)


def _system_user() -> str:
    """The system's name for the user of this process, or ``uid-N`` where it has none.

    Not from the environment, as getpass would: LOGNAME differs between a login shell, sudo and
    a service, and the owner of the services must not.
    """
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # Containers often run under a number alone.
        return f"uid-{uid}"
