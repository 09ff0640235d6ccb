from __future__ import annotations

import logging
import os
import pwd
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_server.auth.identity import IdentityProvider, User

from jupyter_mlserve.access import Principal, from_jupyter, server_owner


def test_anonymous_users_are_one_owner() -> None:
    """Jupyter makes a new random user for each request that carries only a token."""
    provider = IdentityProvider()
    handler: Any = SimpleNamespace(log=logging.getLogger("test"))
    users = [provider.generate_anonymous_user(handler) for _ in range(2)]
    assert users[0].username != users[1].username
    owners = {from_jupyter(user, identity_is_anonymous=True) for user in users}
    me = pwd.getpwuid(os.getuid()).pw_name
    assert owners == {Principal(me, me, "server", administrator=True)} == {server_owner()}


def test_the_owner_does_not_hang_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = server_owner()
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "somebody-else")
    assert server_owner() == before


def test_a_user_without_a_name_in_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1_000_540_000)
    assert server_owner().username == "uid-1000540000"


def test_users_that_have_names_keep_them() -> None:
    user = User(username="ann", display_name="Ann the Great")
    expected = Principal("ann", "Ann the Great", "jupyter")
    assert from_jupyter(user, identity_is_anonymous=False) == expected
    assert from_jupyter("ann", False).username == "ann"
    assert from_jupyter({"name": "ann", "display_name": "A"}, False).username == "ann"
    assert from_jupyter({"name": "x", "username": "ann"}, False).username == "ann"


@pytest.mark.parametrize("user", [None, {}, "", {"display_name": "root"}])
def test_a_user_without_a_name_is_nobody(user: Any) -> None:
    with pytest.raises(ValueError, match="without a name"):
        from_jupyter(user, identity_is_anonymous=False)


def test_behind_a_hub_the_server_belongs_to_the_hubs_user() -> None:
    ann = Principal("ann", "ann", "jupyter", administrator=True)
    assert server_owner("ann") == ann
    assert server_owner("") == server_owner(None)
    # So the kernel of a user and their browser are the same owner.
    assert from_jupyter(User(username="ann"), False, "ann") == ann
    assert not from_jupyter(User(username="bob"), False, "ann").administrator
    assert not from_jupyter(User(username="ann"), False).administrator
