"""A client with the name and password of an account, against a real server."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.running_server import RunningServer

from jupyter_mlserve import DeployClient
from jupyter_mlserve.access.passwords import Passwords
from jupyter_mlserve.access.tokens import ACCESS_SECONDS, Tokens
from jupyter_mlserve.client.login import Login
from jupyter_mlserve.contract.errors import (
    ConnectionFailed,
    NotAuthenticated,
    ServerNotFound,
    ServiceNotFound,
)
from jupyter_mlserve.store import Catalog
from jupyter_mlserve.store.accounts import Accounts
from jupyter_mlserve.store.token_key import read_key

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def accounts(server: RunningServer) -> Iterator[Accounts]:
    """Those of the running server, opened beside it as the command line does."""
    path = os.path.join(server.env["JUPYTER_DATA_DIR"], "mlserve", "catalog.sqlite3")
    with Catalog(path) as catalog:
        found = Accounts(catalog.database, 1e6, 1e6)
        for name in ("ann", "bob"):
            found.add(name, Passwords().hash(PASSWORD))
        yield found


@pytest.fixture
def ann(server: RunningServer, accounts: Accounts) -> Iterator[DeployClient]:
    with DeployClient(server.url, auth=("ann", PASSWORD)) as client:
        yield client


def login_of(client: DeployClient) -> Any:
    assert client.address.login is not None
    return client.address.login


def test_two_users_at_once(server: RunningServer, accounts: Accounts) -> None:
    def work(name: str) -> list[float]:
        with DeployClient(server.url, auth=(name, PASSWORD)) as client:
            service = client.deploy_service(
                f"By{name}", "1.0", code_str="y = x + 1", inputs="x: float", outputs="y: float"
            )
            assert service.capabilities()["published_by"] == name
            return [service.consume(x).output("y") for x in range(3)]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, ["ann", "bob"])) == [[1.0, 2.0, 3.0]] * 2


def test_renewed_when_it_is_time_and_when_it_is_refused(ann: DeployClient) -> None:
    login = login_of(ann)
    seen = [login._access]
    login._renew_at = time.monotonic() - 1
    ann.list_services()
    seen.append(login._access)
    # Somebody revokes it: a 401 in the middle of things, of which the caller sees nothing.
    login.end(ann.connection._ask)
    login._access = seen[-1]
    with pytest.raises(ServiceNotFound):
        ann.get_service("Nothing")
    seen.append(login._access)
    login.end(ann.connection._ask)
    login._access = seen[-1]
    with pytest.raises(ServiceNotFound), ann.connection.stream("services/Nothing/1.0"):
        pass
    assert len({*seen, login._access}) == 4


def test_a_refused_upload_is_sent_again_whole(ann: DeployClient) -> None:
    ann.deploy_service(
        "Again", "1.0", code_str="y = x + 1", inputs="x: float", outputs="y: float", update=True
    )
    login = login_of(ann)
    old = login._access
    login.end(ann.connection._ask)
    login._access = old
    started = ann.connection.request(
        "POST",
        "api/Again/1.0/batch",
        content=lambda: iter([b'{"x": 1}\n', b'{"x": 2}\n']),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert started["batchExecutionId"]


def test_many_threads_renew_once(ann: DeployClient) -> None:
    """A second renewal with the same refresh token would end the login."""
    login, asked = login_of(ann), []
    ask = ann.connection._ask

    def counted(method: str, path: str, *rest: Any) -> Any:
        asked.append(path)
        return ask(method, path, *rest)

    ann.connection._ask = counted  # type: ignore[method-assign]
    login._renew_at = time.monotonic() - 1
    gate = threading.Barrier(8)

    def work(_: int) -> None:
        gate.wait(20)
        ann.list_services()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert asked == ["login/refreshToken"]


def test_a_forked_child_logs_in_for_itself(ann: DeployClient) -> None:
    login = login_of(ann)
    login._renew_at = time.monotonic() - 1
    login._pid = -1  # as a child sees what its parent made
    ann.list_services()
    assert (login._pid, bool(login._refresh)) == (os.getpid(), True)


def test_closing_logs_out(server: RunningServer, accounts: Accounts) -> None:
    before = {one.username: one.logins for one in accounts.all()}
    client = DeployClient(server.url, auth=("bob", PASSWORD))
    assert {one.username: one.logins for one in accounts.all()} == {
        **before,
        "bob": (before["bob"] or 0) + 1,
    }
    client.close()
    assert {one.username: one.logins for one in accounts.all()} == before
    client.list_services()  # it may be used again
    client.close()
    client.close()


def test_a_wrong_password_and_no_server(server: RunningServer, accounts: Accounts) -> None:
    with pytest.raises(NotAuthenticated, match="user name or the password is wrong") as refused:
        DeployClient(server.url, auth=("bob", "not the password"))
    assert "not the password" not in str(refused.value)
    with pytest.raises(ServerNotFound, match="give its address as well"):
        DeployClient(auth=("bob", PASSWORD))
    with pytest.raises(ServerNotFound, match="Nothing answers"):
        DeployClient("http://127.0.0.1:9/", auth=("bob", PASSWORD))
    for wrong in (("bob",), ("bob", 1), ["bob", PASSWORD], {"bob": PASSWORD}):
        with pytest.raises(ValueError, match="name and password of an account"):
            DeployClient(server.url, auth=wrong)  # type: ignore[arg-type]


def test_a_token_that_has_expired(
    server: RunningServer, ann: DeployClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server says is passed on, and nobody becomes the owner of the server unawares."""
    key = read_key(Path(server.env["JUPYTER_DATA_DIR"], "mlserve", "token.key"))
    assert key is not None
    then = time.time() - 2 * ACCESS_SECONDS
    expired = Tokens(key, clock=lambda: then).pair("ann", "a login", 1, then).access_token
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", server.env["JUPYTER_RUNTIME_DIR"])

    def refused(auth: str | None) -> None:
        with pytest.raises(NotAuthenticated, match=r"This access token has expired\. Re") as caught:
            DeployClient(server.url, auth=auth)
        message = caught.value.message
        assert message.startswith(f"the given address: {server.url}: the token is refused (401)")
        for word in ("auth=(NAME, PASSWORD)", "`jupyter mlserve token`"):
            assert word in message
        assert expired not in message

    refused(expired)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", expired)
    refused(None)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", login_of(ann)._refresh)
    with pytest.raises(NotAuthenticated, match="This is a refresh token; send the access token"):
        DeployClient(server.url)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", login_of(ann)._access)
    assert DeployClient(server.url).connection.request("GET", "status")["user"] == "ann"


def test_the_password_shows_nowhere(ann: DeployClient) -> None:
    login = login_of(ann)
    for shown in (login, ann, ann.address, ann.connection):
        text = repr(shown) + str(shown)
        for secret in (PASSWORD, login._access, login._refresh):
            assert secret not in text
    with pytest.raises(TypeError, match="password"):
        pickle.dumps(login)


def test_a_password_that_is_not_right_any_more(ann: DeployClient, accounts: Accounts) -> None:
    login = login_of(ann)
    accounts.set_password("ann", Passwords().hash("another password"))
    try:
        with pytest.raises(NotAuthenticated, match="user name or the password is wrong"):
            ann.list_services()
    finally:
        accounts.set_password("ann", Passwords().hash(PASSWORD))
    ann.list_services()
    assert login._access


def test_an_answer_without_a_token_is_no_login() -> None:
    for answer in ({}, [], None, {"access_token": "x", "expires_in": "soon"}):
        with pytest.raises(ConnectionFailed, match="without a token"):
            Login("ann", PASSWORD).token(lambda *asked, answer=answer: answer)
