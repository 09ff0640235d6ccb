"""Logging in over HTTP, and what the tokens open: everything of ours, and nothing of Jupyter."""

from __future__ import annotations

from typing import Any

import pytest
from support.bodies import definition

from jupyter_mlserve.access.passwords import Passwords
from jupyter_mlserve.store.accounts import Accounts

PASSWORD = "correct horse battery"
HASH = Passwords().hash(PASSWORD)


@pytest.fixture
def accounts(node: Any) -> Accounts:
    """Those of the server: ann, its administrator, and bob."""
    found: Accounts = node.core.logins.accounts
    for name in ("ann", "bob"):
        found.add(name, HASH)
    return found


@pytest.fixture
def login(http: Any, accounts: Accounts) -> Any:
    async def run(username: str = "ann", password: str = PASSWORD) -> Any:
        reply = await http(
            "POST", "login", {"username": username, "password": password}, token=None
        )
        assert reply.status == 200, reply
        return reply.json

    return run


async def test_a_login_opens_everything_of_ours_and_nothing_of_jupyters(
    http: Any, login: Any, jp_fetch: Any
) -> None:
    pair = await login()
    assert pair["token_type"] == "Bearer"
    token = pair["access_token"]
    reply = await http("POST", "services/Hers/1", definition(), token=token)
    assert reply.status == 201
    for _ in range(2):
        reply = await http("POST", "api/Hers/1", {"x": 1}, token=token)
        assert reply.status == 200
    assert (await http("GET", "services", token=token)).json[0]["versionPublishedBy"] == "ann"
    reply = await jp_fetch(
        "api", "kernels", headers={"Authorization": f"Bearer {token}"}, raise_error=False
    )
    assert reply.code == 403
