"""Logging in over HTTP, and what the tokens open: everything of ours, and nothing of Jupyter."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any
from urllib.parse import quote

import pytest
from support.bodies import definition

from jupyter_mlserve.access.passwords import Passwords
from jupyter_mlserve.access.tokens import Tokens
from jupyter_mlserve.store import Catalog
from jupyter_mlserve.store.accounts import Accounts
from jupyter_mlserve.store.token_key import read_key

PASSWORD = "correct horse battery"
HASH = Passwords().hash(PASSWORD)


@pytest.fixture
def logins(node: Any) -> Any:
    """The server's, with ann, who is its administrator, and bob."""
    found = node.core.logins
    for name in ("ann", "bob"):
        found.accounts.add(name, HASH)
    return found


@pytest.fixture
def login(http: Any, logins: Any) -> Any:
    """``await login("ann")``: the reply's body; it must succeed."""

    async def run(username: str = "ann") -> Any:
        reply = await ask_login(http, username)
        assert reply.status == 200, reply
        assert reply.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in reply.headers
        return reply.json

    return run


async def ask_login(http: Any, username: Any, password: Any = PASSWORD, **options: Any) -> Any:
    body = {"username": username, "password": password}
    return await http("POST", "login", body, **{"token": None, **options})


async def refresh(http: Any, refresh_token: str, **options: Any) -> Any:
    body = {"refreshToken": refresh_token}
    return await http("POST", "login/refreshToken", body, **{"token": None, **options})


async def revoke(http: Any, token: str) -> Any:
    path = f"login/refreshToken?refreshToken={quote(token, safe='')}"
    return await http("DELETE", path, token=None)


async def test_a_login_opens_everything_of_ours_and_nothing_of_jupyters(
    http: Any, login: Any, jp_fetch: Any, raw: Any
) -> None:
    pair, bobs = await login("ann"), await login("bob")
    assert (pair["token_type"], pair["expires_in"]) == ("Bearer", 3600)
    assert set(pair) == {
        "token_type",
        "access_token",
        "expires_in",
        "expires_on",
        "refresh_token",
    }
    assert abs(int(pair["expires_on"]) - time.time() - 3600) < 60
    ann, bob = pair["access_token"], bobs["access_token"]

    # Two users: bob owns his service, ann is the administrator, all may call.
    assert (await http("POST", "services/Bobs/1", definition("y = 1 / x"), token=bob)).status == 201
    assert (await http("POST", "services/Anns/1", definition(), token=ann)).status == 201
    for token, expected in ((ann, 200), (bob, 403)):
        reply = await http("PATCH", "services/Anns/1", {"description": "d"}, token=token)
        assert reply.status == expected
    assert (await http("PATCH", "services/Bobs/1", {"description": "d"}, token=ann)).status == 200
    for _ in range(2):
        for token in (ann, bob):
            assert (await http("POST", "api/Bobs/1", {"x": 1}, token=token)).status == 200
    header = {"Authorization": f"token {bob}"}  # Jupyter's own word for it
    assert (await http("GET", "status", token=None, headers=header)).json["user"] == "bob"

    for path in ("api/kernels", "api/contents", "api/status", "api/me", "metrics", "tree"):
        reply = await jp_fetch(
            *path.split("/"),
            headers={"Authorization": f"Bearer {ann}"},
            raise_error=False,
            follow_redirects=False,
        )
        login_page = "/login?" in reply.headers.get("Location", "")
        assert reply.code == 403 or (reply.code == 302 and login_page), path

    # The token is read before the body comes.
    connection = await raw()
    await connection.send("POST", "api/Bobs/1", "Content-Length: 8", token=bob, pause=0.05)
    connection.write(b'{"x": 1}')
    assert (await connection.answer())[0] == 200


async def test_what_is_refused(http: Any, login: Any, logins: Any, node: Any) -> None:
    """With the same words for a wrong name and a wrong password, and no word of either."""
    said = set()
    for username, password in (
        ("ann", "wrong password"),
        ("nobody", PASSWORD),
        ("ANN", PASSWORD),
        ("ann\0", PASSWORD),
    ):
        reply = await ask_login(http, username, password)
        assert (reply.status, reply.json["exceptionType"]) == (401, "NotAuthenticated")
        said.add(reply.json["message"])
    assert said == {"The user name or the password is wrong."}
    logins.throttle.__init__()
    for body in ({}, {"username": "ann"}, {"username": "ann", "password": 1}, {"password": None}):
        reply = await http("POST", "login", body, token=None)
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidInput")
        example = 'send a JSON object such as {"username": "...", "password": "..."}.'
        assert reply.json["message"].endswith(example)
    for text in ('["ann"]', "not json", '"' + PASSWORD, "[" * 20_000):
        reply = await http("POST", "login", text, token=None)
        assert reply.status == 400
        assert PASSWORD not in reply.json["message"]
    reply = await ask_login(http, "ann", "x" * 2000)
    assert reply.status == 401
    reply = await ask_login(http, "ann", "x" * 100_000)
    assert (reply.status, reply.json["exceptionType"]) == (413, "TooLarge")
    for method, path in (("GET", "login"), ("PUT", "login"), ("GET", "login/refreshToken")):
        reply = await http(method, path, "{}" if method == "PUT" else None, token=None)
        assert (reply.status, reply.headers["Allow"] != "") == (405, True)
    for token in ("", "x", "a.b.c", (await login())["access_token"], node.kernel_token.value):
        assert (await refresh(http, token)).status == 401
        assert (await revoke(http, token)).status == (401 if token else 400)
    assert (await http("DELETE", "login/refreshToken", token=None)).status == 400


async def test_renewing_and_revoking(http: Any, login: Any) -> None:
    async def status(token: str) -> int:
        found: int = (await http("GET", "services", token=token)).status
        return found

    first = await login()
    # An expired or foreign token beside it changes nothing.
    reply = await refresh(http, first["refresh_token"], token=first["access_token"])
    second = reply.json
    assert reply.status == 200
    assert second["access_token"] != first["access_token"]
    assert await status(second["access_token"]) == 200
    old = await http("GET", "services", token=first["access_token"])
    assert (old.status, "renewed or revoked" in old.json["message"]) == (401, True)
    mistaken = await http("GET", "services", token=second["refresh_token"])
    assert (mistaken.status, mistaken.json["message"]) == (
        401,
        "This is a refresh token; send the access token.",
    )
    # The old one once more: somebody has stolen it, or the new one.
    twice = await refresh(http, first["refresh_token"])
    assert twice.status == 401
    assert twice.json["message"].endswith(
        "It was used twice, so this login has ended. Log in again (POST login)."
    )
    assert await status(second["access_token"]) == 401
    for pair in (first, second):
        dead = await refresh(http, pair["refresh_token"])
        assert dead.status == 401
        assert dead.json["message"].endswith("has changed. Log in again (POST login).")

    third, other = await login(), await login()
    for _ in range(2):
        assert (await http("POST", "api/No/1", {}, token=third["access_token"])).status == 404
    reply = await revoke(http, third["refresh_token"])
    assert (reply.status, reply.json) == (200, {})
    for method, path in (("POST", "api/No/1"), ("GET", "services")):
        reply = await http(method, path, None, token=third["access_token"])
        assert reply.status == 401, path
    assert (await revoke(http, third["refresh_token"])).status == 401
    assert await status(other["access_token"]) == 200

    # Two renewals of one token at the same time.
    replies = await asyncio.gather(*(refresh(http, other["refresh_token"]) for _ in range(4)))
    assert sorted(reply.status for reply in replies) == [200, 401, 401, 401]
    won = next(reply.json for reply in replies if reply.status == 200)
    assert await status(won["access_token"]) == 401


async def test_remembered_tokens_end_at_once(
    http: Any, publish: Any, login: Any, logins: Any, node: Any
) -> None:
    """Also when another process ends them, as the command line does."""
    await publish()

    async def call(pair: Any) -> int:
        found: int = (
            await http("POST", "api/AddOne/1.0", {"x": 1}, token=pair["access_token"])
        ).status
        return found

    pair, bobs = await login("ann"), await login("bob")
    for _ in range(3):
        assert (await call(pair), await call(bobs)) == (200, 200)
    assert len(node.identities) == 2
    with Catalog(node.settings.database) as other:
        Accounts(other.database, 1e6, 1e6).set_password("ann", HASH)
    assert (await call(pair), await call(bobs)) == (401, 200)
    renewed = (await refresh(http, bobs["refresh_token"])).json
    assert (await call(bobs), await call(renewed)) == (401, 200)
    with Catalog(node.settings.database) as other:
        Accounts(other.database, 1e6, 1e6).remove("bob")
    assert await call(renewed) == 401
    assert (await ask_login(http, "bob")).status == 401

    # And they are not remembered longer than they last.
    key = read_key(node.settings.token_key)
    assert key is not None
    account = logins.accounts.get("ann")
    started = logins.accounts.start_login(account, account.changed_at)
    short = Tokens(key, clock=lambda: time.time() - 3598.5).pair("ann", started.id, 1, time.time())
    view = {"access_token": short.access_token}
    assert await call(view) == 200
    await asyncio.sleep(max(0.0, short.expires_on - time.time()) + 0.05)
    assert await call(view) == 401


async def test_passwords_and_tokens_are_in_no_log(
    http: Any, login: Any, logins: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("tornado.access", "tornado.application", "ServerApp", "MLServeApp"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    pair = await login()
    pair = (await refresh(http, pair["refresh_token"])).json
    await http("GET", "services", token=pair["access_token"])
    await ask_login(http, "ann", PASSWORD + "!")
    secret = quote(pair["refresh_token"], safe="")
    for path in (
        f"login/refreshtoken?refreshToken={secret}",
        f"login/refreshToken/?x=1&refreshToken={secret}x",
        f"services?refresh%54oken={secret}",
        f"api/A/1?refreshToken={secret}",
    ):
        await http("DELETE", path, token=None)
        await http("GET", path, token=pair["access_token"])
        await http("POST", path, "{}", token=pair["access_token"])
    logins.accounts.database.close()  # what nobody foresaw is logged with all there is
    assert (await revoke(http, pair["refresh_token"])).status >= 500
    assert (await ask_login(http, "ann")).status >= 500
    assert "/login/refreshToken" in caplog.text
    for found in (PASSWORD, pair["refresh_token"], pair["access_token"], HASH):
        assert found not in caplog.text


async def test_pages_of_other_origins_are_refused(http: Any, logins: Any) -> None:
    foreign = {"Origin": "http://evil.example"}
    reply = await ask_login(http, "ann", headers=foreign)
    assert (reply.status, reply.json["exceptionType"]) == (403, "NotAllowed")
    assert "Access-Control-Allow-Origin" not in reply.headers
    # Nor a form, which needs no permission to be sent.
    reply = await http(
        "POST",
        "login",
        json.dumps({"username": "ann", "password": PASSWORD}),
        token=None,
        headers={**foreign, "Content-Type": "text/plain"},
    )
    assert reply.status == 403
    asked = {**foreign, "Access-Control-Request-Method": "POST"}
    reply = await http("OPTIONS", "login", token=None, headers=asked)
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert (await ask_login(http, "ann", headers={"Host": "evil.example"})).status == 403
    # A browser's cookies are of no use and of no harm here.
    cookie = {"Cookie": "_xsrf=a; username=b"}
    assert (await ask_login(http, "ann", headers=cookie)).status == 200


class TestAllowedOrigin:
    @pytest.fixture
    def jp_server_config(self, jp_server_config: Any) -> Any:
        jp_server_config["ServerApp"]["allow_origin"] = "http://app.example"
        return jp_server_config

    async def test_it_may_log_in(self, http: Any, logins: Any) -> None:
        reply = await ask_login(http, "ann", headers={"Origin": "http://app.example"})
        assert reply.status == 200
        assert reply.headers["Access-Control-Allow-Origin"] == "http://app.example"
        reply = await ask_login(http, "ann", headers={"Origin": "http://evil.example"})
        assert reply.status == 403


async def test_guessing_is_slowed_down(http: Any, login: Any, logins: Any) -> None:
    await login("bob")
    for _ in range(5):
        assert (await ask_login(http, "ann", "wrong password")).status == 401
    reply = await ask_login(http, "ann")
    assert (reply.status, reply.json["exceptionType"]) == (429, "TooBusy")
    assert int(reply.headers["Retry-After"]) == 1
    assert (await ask_login(http, "nobody")).status == 429  # the address waits
    assert (await ask_login(http, "bob")).status == 200  # but not who was here before
    await asyncio.sleep(1.05)
    assert (await ask_login(http, "ann", "wrong password")).status == 401
    assert int((await ask_login(http, "ann")).headers["Retry-After"]) == 2
    await asyncio.sleep(2.05)
    assert (await ask_login(http, "ann")).status == 200


async def test_logins_at_the_same_time_take_turns(
    http: Any, logins: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most = 0, 0
    verify = logins.passwords.verify

    def watched(known: Any, password: str) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return bool(verify(known, password))
        finally:
            running -= 1

    monkeypatch.setattr(logins.passwords, "verify", watched)
    replies = await asyncio.gather(*(ask_login(http, "ann") for _ in range(6)))
    assert [reply.status for reply in replies] == [200] * 6
    assert len({reply.json["access_token"] for reply in replies}) == 6
    assert most <= 2
    monkeypatch.setattr("jupyter_mlserve.web.logins.WAITING", 3)
    replies = await asyncio.gather(*(ask_login(http, "ann") for _ in range(6)))
    assert [reply.status for reply in replies].count(200) == 3
    assert {reply.status for reply in replies} == {200, 429}
    # Wrong ones in a bunch are not all tried before the first is counted.
    monkeypatch.setattr("jupyter_mlserve.web.logins.WAITING", 64)
    replies = await asyncio.gather(*(ask_login(http, "bob", "wrong one") for _ in range(20)))
    tried = [reply.status for reply in replies].count(401)
    assert 5 <= tried <= 6
    assert logins._waiting == 0


async def test_an_outdated_hash_is_made_anew(http: Any, logins: Any) -> None:
    import argon2

    weak = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    logins.accounts.add("old", weak)
    first = (await ask_login(http, "old")).json
    assert logins.accounts.get("old").password_hash != weak
    assert (await ask_login(http, "old")).status == 200
    assert (await http("GET", "services", token=first["access_token"])).status == 200


async def test_a_key_that_cannot_be_trusted(
    http: Any, logins: Any, node: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = node.settings.token_key
    path.write_text("not a key")
    path.chmod(0o600)
    reply = await ask_login(http, "ann")
    assert (reply.status, reply.json["exceptionType"]) == (500, "InternalError")
    assert str(path) not in reply.json["message"]
    assert str(path) in caplog.text
    assert (await http("GET", "services", token="eyJ.x.y")).status == 401
    assert (await http("GET", "services")).status == 200  # all others are not touched by it
    path.unlink()
    pair = (await ask_login(http, "ann")).json
    assert (await http("GET", "services", token=pair["access_token"])).status == 200
    assert logins.status() == {"accounts": 2}


class TestBroughtAlong:
    """The key lies elsewhere, where several servers may share it."""

    @pytest.fixture
    def mlserve_config(self, tmp_path: Any) -> Any:
        path = tmp_path / "shared" / "our.key"
        path.parent.mkdir()
        path.write_text("ab" * 40)
        path.chmod(0o400)
        return {"token_key_file": str(path)}

    async def test_it_is_used(self, http: Any, login: Any, node: Any) -> None:
        pair = await login()
        key = Tokens(bytes([0xAB]) * 40)
        assert key.read(pair["access_token"], "access") is not None
        assert not (node.settings.data_dir / "token.key").exists()


class TestOpen:
    """A server without authentication: a token that has ended is refused all the same."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config: Any) -> Any:
        jp_server_config["IdentityProvider"] = {"token": ""}
        jp_server_config["ServerApp"]["token"] = ""
        return jp_server_config

    async def test_who_logs_in_is_themselves(self, http: Any, login: Any) -> None:
        pair = await login()
        reply = await http("GET", "status", token=pair["access_token"])
        assert reply.json["user"] == "ann"
        reply = await http("POST", "services/A/1", definition(), token=pair["access_token"])
        assert reply.status == 201
        await revoke(http, pair["refresh_token"])
        assert (await http("GET", "status", token=pair["access_token"])).status == 401
        assert (await http("GET", "status", token=None)).status == 200
