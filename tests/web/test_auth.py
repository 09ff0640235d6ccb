"""Who gets in: tokens, cookies, passwords, named users, our kernel token; what authorizers see."""

from __future__ import annotations

import asyncio
import json
from http.cookies import SimpleCookie
from typing import Any, ClassVar

import pytest
from jupyter_server.auth import Authorizer, IdentityProvider, User, passwd
from support.bodies import definition

EXECUTION = "00000000-0000-4000-8000-000000000000"
ENDPOINTS = [
    ("GET", "status"),
    *((method, "computenodes") for method in ("GET", "POST", "PUT", "DELETE")),
    ("GET", "swagger.json"),
    ("GET", "openapi.json"),
    ("GET", "services"),
    ("GET", "services/AddOne"),
    ("POST", "services/AddOne"),
    ("GET", "services/AddOne/1.0"),
    ("POST", "services/AddOne/1.0"),
    ("PATCH", "services/AddOne/1.0"),
    ("DELETE", "services/AddOne/1.0"),
    ("GET", "services/AddOne/history"),
    ("GET", "services/AddOne/1.0/history"),
    ("GET", "services/AddOne/1.0/states"),
    ("POST", "services/AddOne/1.0/rollback"),
    ("GET", "services/AddOne/1.0/pool"),
    ("POST", "services/AddOne/1.0/pool"),
    ("DELETE", "services/AddOne/1.0/pool"),
    ("POST", "api/AddOne"),
    ("POST", "api/AddOne/1.0"),
    ("GET", "api/AddOne/swagger.json"),
    ("GET", "api/AddOne/1.0/swagger.json"),
    ("GET", "api/AddOne/1.0/openapi.json"),
    ("POST", "api/AddOne/1.0/batch"),
    ("GET", "api/AddOne/1.0/batch"),
    *(
        (method, f"api/AddOne/1.0/batch/{EXECUTION}{rest}")
        for method, rest in (
            ("GET", ""),
            ("DELETE", ""),
            ("GET", "/results"),
            ("GET", "/events"),
            ("GET", "/0/files"),
            ("GET", "/0/files/answer.csv"),
        )
    ),
    ("POST", "realtime-services/AddOne"),
    ("POST", "realtime-services/AddOne/1.0"),
    ("PATCH", "realtime-services/AddOne/1.0"),
    ("GET", "sessions"),
    ("POST", "sessions"),
    *(
        (method, f"sessions/{EXECUTION}{rest}")
        for method, rest in (
            ("DELETE", ""),
            ("GET", "/workspace"),
            ("POST", "/workspace/model"),
            ("GET", "/workspace/model"),
            ("DELETE", "/workspace/model"),
            ("POST", "/snapshot"),
            ("DELETE", "/force"),
            ("POST", f"/loadsnapshot/{EXECUTION}"),
            ("POST", "/execute"),
            ("POST", "/cancel"),
            ("GET", "/history"),
            ("GET", "/console-output"),
            ("GET", "/files"),
            ("POST", "/files"),
            ("GET", "/files/a/b.csv"),
            ("DELETE", "/files/a.csv"),
        )
    ),
    ("GET", "snapshots"),
    ("GET", f"snapshots/{EXECUTION}"),
    ("DELETE", f"snapshots/{EXECUTION}"),
    ("POST", "blobs/missing"),
    ("POST", "prepare"),
    ("PUT", "blobs/" + "0" * 64),
    ("HEAD", "blobs/" + "0" * 64),
    ("GET", "no/such/address"),
    ("POST", "no/such/address"),
    ("PUT", "no/such/address"),
    ("PATCH", "no/such/address"),
    ("DELETE", "no/such/address"),
    ("HEAD", "no/such/address"),
]


def body_for(method: str) -> str | None:
    return "{}" if method in ("POST", "PUT", "PATCH") else None


@pytest.mark.parametrize("token", [None, "wrong", "a" * 5000])
async def test_without_a_valid_token_everything_is_a_401(http: Any, token: str | None) -> None:
    for method, path in ENDPOINTS:
        reply = await http(method, path, body_for(method), token=token)
        assert reply.status == 401, (method, path)
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert "Location" not in reply.headers
        if method != "HEAD":
            assert reply.json["exceptionType"] == "NotAuthenticated"


async def test_a_refused_request_does_not_cost_the_connection(raw: Any) -> None:
    """Headers and body come in two pieces, as most clients send them."""
    connection = await raw()
    for _ in range(2):
        await connection.send(
            "POST", "api/AddOne/1.0", "Content-Length: 1000", token="wrong", pause=0.05
        )
        connection.write(b"x" * 1000)
        status, headers, body = await connection.answer()
        assert (status, json.loads(body)["exceptionType"]) == (401, "NotAuthenticated")
        assert "connection" not in headers


async def test_both_schemes_and_the_query_are_jupyters_own(
    http: Any, publish: Any, jp_serverapp: Any
) -> None:
    await publish()
    token = jp_serverapp.identity_provider.token
    for authorization in (f"token {token}", f"Bearer {token}", f"bearer {token}"):
        headers = {"Authorization": authorization}
        reply = await http("POST", "api/AddOne/1.0", {"x": 1}, headers=headers)
        assert reply.status == 200
    reply = await http("POST", f"api/AddOne/1.0?token={token}", {"x": 1}, token=None)
    assert reply.status == 200


async def test_the_kernel_token_opens_everything_of_ours_and_nothing_of_jupyters(
    http: Any, node: Any
) -> None:
    token = node.kernel_token.value
    for number in range(3):
        reply = await http("POST", f"services/Mine/{number}", definition(), token=token)
        assert reply.status == 201
    for _ in range(2):
        reply = await http("POST", "api/Mine/1", {"x": 1}, token=token)
        assert reply.status == 200


async def test_jupyters_own_addresses_do_not_know_the_kernel_token(
    jp_fetch: Any, node: Any
) -> None:
    headers = {"Authorization": f"token {node.kernel_token.value}"}
    reply = await jp_fetch("api", "kernels", headers=headers, raise_error=False)
    assert reply.code == 403


async def test_tokens_are_believed_for_a_while_and_cookies_never(
    http: Any, publish: Any, node: Any
) -> None:
    await publish()
    for _ in range(3):
        await http("POST", "api/AddOne/1.0", {"x": 1})
    assert len(node.identities) == 1
    await http("POST", "api/AddOne/1.0", {"x": 1}, headers={"Origin": "http://elsewhere.example"})
    await http("POST", "api/AddOne/1.0", {"x": 1}, token="wrong")
    assert len(node.identities) == 1
    node.identities.clear()
    assert (await http("POST", "api/AddOne/1.0", {"x": 1})).status == 200


async def cookies(http: Any) -> dict[str, str]:
    """A login cookie and the cross-site token, as a browser holds them."""
    reply = await http("GET", "status")
    jar: SimpleCookie = SimpleCookie()
    for line in reply.headers.get_list("Set-Cookie"):
        jar.load(line)
    return {name: morsel.value for name, morsel in jar.items()}


async def test_cookie_users_need_the_cross_site_token(http: Any, publish: Any) -> None:
    await publish()
    login = "; ".join(f'{name}="{value}"' for name, value in (await cookies(http)).items())
    reply = await http("POST", "api/AddOne/1.0", {"x": 1}, token=None, headers={"Cookie": login})
    assert (reply.status, reply.json["exceptionType"]) == (403, "NotAllowed")
    assert "X-XSRFToken" in reply.json["message"]
    headers = {"Cookie": f"{login}; _xsrf=abc", "X-XSRFToken": "abc"}
    reply = await http("POST", "api/AddOne/1.0", {"x": 1}, token=None, headers=headers)
    assert reply.status == 200
    reply = await http("DELETE", "services/AddOne/1.0", token=None, headers={"Cookie": login})
    assert reply.status == 403
    # A form is what a page of another origin can send without asking.
    form = {"Cookie": login, "Content-Type": "multipart/form-data; boundary=b"}
    reply = await http("POST", "realtime-services/A/1", "--b--", token=None, headers=form)
    assert (reply.status, reply.json["exceptionType"]) == (403, "NotAllowed")
    foreign = {**headers, "Origin": "http://evil.example"}
    reply = await http("POST", "api/AddOne/1.0", {"x": 1}, token=None, headers=foreign)
    assert (reply.status, reply.json["exceptionType"]) == (403, "NotAllowed")


@pytest.mark.parametrize("first", ["127.0.0.1", "evil.example"])
async def test_the_host_check_stays(http: Any, publish: Any, first: str) -> None:
    """Also when the token is known already: a rebound DNS name must not get in."""
    await publish()
    for host in (first, "evil.example:80", "localhost:1"):
        reply = await http("POST", "api/AddOne/1.0", {"x": 1}, headers={"Host": host})
        expected = 403 if "evil" in host else 200
        assert reply.status == expected, host
    reply = await http("GET", "services", headers={"Host": "evil.example"})
    assert reply.status == 403
    assert "allow_remote_access" in reply.json["message"]


async def test_answers_to_another_origin_carry_jupyters_cors_headers(
    http: Any, publish: Any
) -> None:
    await publish()
    for _ in range(2):
        reply = await http(
            "POST", "api/AddOne/1.0", {"x": 1}, headers={"Origin": "http://app.example"}
        )
        assert reply.headers["Access-Control-Allow-Origin"] == "http://app.example"
    preflight = await http("OPTIONS", "api/AddOne/1.0", token=None)
    assert preflight.status in (200, 204)
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]


class TestPassword:
    """A server with a password and no token: kernels enter with ours."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config: Any) -> Any:
        hashed = passwd("secret", "sha1")
        jp_server_config["PasswordIdentityProvider"] = {"hashed_password": hashed}
        jp_server_config["IdentityProvider"] = {"token": ""}
        # pytest-jupyter gives a random token to a server that has none.
        jp_server_config["ServerApp"]["token"] = ""
        return jp_server_config

    async def test_the_kernel_token_is_the_way_in(self, http: Any, node: Any) -> None:
        assert (await http("GET", "services", token=None)).status == 401
        assert (await http("POST", "services/A/1", definition(), token="")).status == 401
        own = node.kernel_token.value
        assert (await http("POST", "services/A/1", definition(), token=own)).status == 201
        assert (await http("POST", "api/A/1", {"x": 1}, token=own)).status == 200
        assert (await http("POST", "api/A/1", {"x": 1}, token=None)).status == 401


class TestOpen:
    """A server without any authentication."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config: Any) -> Any:
        jp_server_config["IdentityProvider"] = {"token": ""}
        jp_server_config["ServerApp"]["token"] = ""
        return jp_server_config

    async def test_everybody_is_the_owner(self, http: Any, node: Any) -> None:
        assert (await http("GET", "services", token=None)).status == 200
        # Foreign pages are kept out by the cross-site token, as everywhere in Jupyter.
        reply = await http("POST", "services/A/1", definition(), token=None)
        assert (reply.status, reply.json["exceptionType"]) == (403, "NotAllowed")
        double = {"Cookie": "_xsrf=abc", "X-XSRFToken": "abc"}
        for method, path, body, expected in [
            ("POST", "services/A/1", definition(), 201),
            ("POST", "api/A/1", {"x": 1}, 200),
            ("DELETE", "services/A/1", None, 200),
        ]:
            reply = await http(method, path, body, token=None, headers=double)
            assert reply.status == expected
        own = node.kernel_token.value
        assert (await http("POST", "services/A/2", definition(), token=own)).status == 201


class NamedUsers(IdentityProvider):
    """Two users with names, told apart by their tokens."""

    def get_user(self, handler: Any) -> Any:
        token = self.get_token(handler)
        if token not in ("alice-token", "bob-token"):
            return None
        handler._token_authenticated = True
        name = token.partition("-")[0]
        return User(username=name, name=name.title())


class TestNamedUsers:
    @pytest.fixture
    def jp_server_config(self, jp_server_config: Any) -> Any:
        jp_server_config["ServerApp"]["identity_provider_class"] = NamedUsers
        return jp_server_config

    async def test_what_belongs_to_whom(self, http: Any, raw: Any) -> None:
        alice, bob = {"token": "alice-token"}, {"token": "bob-token"}
        failing = definition("y = 1 / x", description="Alice's.")
        assert (await http("POST", "services/Hers/1", failing, **alice)).status == 201

        mine = (await http("GET", "services/Hers/1", **alice)).json[0]
        assert mine["versionPublishedBy"] == "alice"
        assert (mine["code"], mine["myPermissionOnService"]) == ("y = 1 / x", "read/write")
        theirs = (await http("GET", "services", **bob)).json[0]
        assert (theirs["code"], theirs["myPermissionOnService"]) == (None, "read only")
        assert "interpreter" not in theirs["mlserve"]
        assert theirs["description"] == "Alice's."

        for method, path, body in [
            ("PATCH", "services/Hers/1", {"description": "Bob's."}),
            ("DELETE", "services/Hers/1", None),
            ("POST", "services/Hers/1/rollback", {}),
            ("POST", "services/Hers/2", definition()),
        ]:
            reply = await http(method, path, body, **bob)
            assert (reply.status, reply.json["exceptionType"]) == (403, "NotAllowed"), path
            assert "alice" in reply.json["message"]
        assert (await http("GET", "services/Hers/1", **alice)).json == [mine]

        # A foreign model is refused before it has come.
        form = ["Content-Type: multipart/form-data; boundary=b", f"Content-Length: {2**40}"]
        for method, path in [
            ("POST", "realtime-services/Hers"),
            ("POST", "realtime-services/Hers/2"),
            ("PATCH", "realtime-services/Hers/1"),
        ]:
            connection = await raw()
            await connection.send(method, path, *form, token="bob-token")
            status, _, answer = await connection.answer()
            assert (status, json.loads(answer)["exceptionType"]) == (403, "NotAllowed"), path

        # Everybody may call; only the author sees where the code failed. Twice: the second time
        # the identities are remembered.
        for _ in range(2):
            for who, sees in [(alice, True), (bob, False)]:
                assert (await http("POST", "api/Hers/1", {"x": 1}, **who)).status == 200
                failed = (await http("POST", "api/Hers/1", {"x": 0}, **who)).json
                assert failed["exceptionType"] == "ServiceFailed"
                assert "ZeroDivisionError" in failed["message"]
                assert ("traceback" in failed.get("details", {})) is sees
        events = (await http("GET", "services/Hers/history", **bob)).json["history"]
        assert [event["who"] for event in events] == ["alice"]

    async def test_a_batch_belongs_to_who_started_it(self, http: Any) -> None:
        """Not to the author of the service; and the author's code stays the author's."""
        alice, bob = {"token": "alice-token"}, {"token": "bob-token"}
        assert (
            await http("POST", "services/Hers/1", definition("y = 1 / x"), **alice)
        ).status == 201
        path, seen = "api/Hers/1/batch", {}
        for name, who in (("alice", alice), ("bob", bob)):
            started = await http("POST", path, [{"x": 0}, {"x": 1}], **who)
            seen[name] = started.json["batchExecutionId"]
        for name, who, other in (("alice", alice, "bob"), ("bob", bob, "alice")):
            assert (await http("GET", path, **who)).json == [seen[name]]
            own, foreign = f"{path}/{seen[name]}", f"{path}/{seen[other]}"
            while (status := (await http("GET", own, **who)).json)["state"] != "Complete":
                await asyncio.sleep(0.05)
            failed, fine = status["batchExecutionResults"]
            assert (failed["success"], fine["outputParameters"]) == (False, {"y": 1.0})
            assert failed["errorMessage"].startswith("ZeroDivisionError")
            assert ("traceback" in failed.get("details", {})) is (name == "alice")
            for method, rest in [
                ("GET", ""),
                ("DELETE", ""),
                ("GET", "/results"),
                ("GET", "/events"),
                ("GET", "/0/files"),
                ("GET", "/0/files/a"),
            ]:
                refused = await http(method, foreign + rest, **who)
                unknown = await http(method, f"{path}/{EXECUTION}{rest}", **who)
                assert (refused.status, unknown.status) == (404, 404), (name, rest)
                assert refused.content.replace(seen[other].encode(), b"") == (
                    unknown.content.replace(EXECUTION.encode(), b"")
                )
        # One key of two users makes two executions.
        key = {"Idempotency-Key": "one"}
        ids = {
            (await http("POST", path, [{"x": 1}], headers=key, **who)).json["BatchExecutionId"]
            for who in (alice, bob)
        }
        assert len(ids) == 2
        # Records are refused before they come, if one does not get in at all.
        assert (await http("POST", path, [{"x": 1}], token="eve-token")).status == 401

    async def test_a_session_and_a_snapshot_belong_to_who_made_them(self, http: Any) -> None:
        """To nobody else, whoever that is; and nobody learns which there are."""
        alice, bob = {"token": "alice-token"}, {"token": "bob-token"}
        id = (await http("POST", "sessions", {"name": "Hers"}, **alice)).json["sessionId"]
        path = f"sessions/{id}"
        assert (await http("POST", f"{path}/workspace/x", b"\x80\x03K\x05.", **alice)).status == 200
        kept = (await http("POST", f"{path}/snapshot", {}, **alice)).json["snapshotId"]
        for listed in ("sessions", "snapshots"):
            assert len((await http("GET", listed, **alice)).json) == 1
            assert (await http("GET", listed, **bob)).json == []
        foreign = [(path, id), (f"snapshots/{kept}", kept)]
        closed = (await http("POST", "sessions", {}, **alice)).json["sessionId"]
        assert (await http("DELETE", f"sessions/{closed}", **alice)).status == 200
        assert (await http("GET", f"sessions/{closed}/history", **alice)).status == 410
        foreign.append((f"sessions/{closed}", closed))
        for method, address in ENDPOINTS:
            for own, secret in foreign:
                kind = own.split("/")[0]
                if not address.startswith(f"{kind}/"):
                    continue
                sent = body_for(method)
                unknown = await http(method, address, sent, **bob)
                refused = await http(method, address.replace(EXECUTION, secret, 1), sent, **bob)
                assert (refused.status, unknown.status) == (404, 404), (method, address)
                assert refused.content.replace(secret.encode(), b"") == (
                    unknown.content.replace(EXECUTION.encode(), b"")
                )
        mine = (await http("POST", "sessions", {}, **bob)).json["sessionId"]
        for body, address in (
            ({"snapshotId": kept}, "sessions"),
            ({"snapshotId": kept, **definition()}, "services/His/1"),
            (None, f"sessions/{mine}/loadsnapshot/{kept}"),
        ):
            refused = await http("POST", address, body, **bob)
            assert (refused.status, refused.json["fields"]) == (404, "snapshotId"), address
        assert (await http("GET", f"{path}/workspace", **alice)).json == ["x"]


class Recorder(Authorizer):
    asked: ClassVar[list[tuple[str, str, str, str]]] = []
    answer = True

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        self.asked.append((handler.request.method, handler.request.path, action, resource))
        return self.answer


class TestAuthorizer:
    @pytest.fixture
    def jp_server_config(self, jp_server_config: Any) -> Any:
        jp_server_config["ServerApp"]["authorizer_class"] = Recorder
        return jp_server_config

    @pytest.fixture(autouse=True)
    def clean_recorder(self) -> None:
        Recorder.asked.clear()
        Recorder.answer = True

    @pytest.mark.parametrize("answer", [True, False])
    async def test_every_verb_asks_for_its_own_action_and_resource(
        self, http: Any, jp_base_url: str, answer: bool
    ) -> None:
        Recorder.answer = answer
        actions = {"GET": "read", "HEAD": "read"}
        resources = dict.fromkeys(("services", "realtime-services", "prepare"), "services")
        resources |= {"api": "api", "blobs": "blobs"}
        resources |= dict.fromkeys(("sessions", "snapshots"), "sessions")
        resources |= {"swagger.json": "api", "openapi.json": "api"}
        # Twice and in both directions: Jupyter's decorator is known to remember the first.
        for method, path in [*ENDPOINTS, *reversed(ENDPOINTS)]:
            Recorder.asked.clear()
            reply = await http(method, path, body_for(method))
            assert (reply.status == 403) is not answer, (method, path)
            scoring = method == "POST" and path.startswith("api/")
            running = scoring or path.endswith(("/execute", "/cancel"))
            action = "execute" if running else actions.get(method, "write")
            resource = f"jupyter_mlserve:{resources.get(path.split('/')[0], 'status')}"
            expected = (method, f"{jp_base_url}mlserve/{path}", action, resource)
            # A remembered call does not ask again; everything else asks exactly once.
            assert Recorder.asked in ([expected], [] if scoring and answer else [expected])

    async def test_no_class_inherits_a_decorated_verb(self, jp_serverapp: Any) -> None:
        from jupyter_mlserve.web.addresses import HANDLERS
        from jupyter_mlserve.web.api import DocumentHandler, ScoringHandler
        from jupyter_mlserve.web.base import VERBS, MLServeHandler
        from jupyter_mlserve.web.batch.handlers import BatchesHandler
        from jupyter_mlserve.web.blobs import BlobHandler
        from jupyter_mlserve.web.realtime import RealtimeServiceHandler, RealtimeVersionHandler
        from jupyter_mlserve.web.status import UnknownHandler

        classes = {cls for _, cls in HANDLERS}
        classes |= {DocumentHandler, ScoringHandler, BlobHandler, UnknownHandler}
        classes |= {RealtimeServiceHandler, RealtimeVersionHandler, BatchesHandler}
        for cls in classes:
            own = [verb for verb in VERBS if verb.lower() in vars(cls)]
            assert own, cls
            for verb in VERBS:
                function = getattr(cls, verb.lower())
                assert verb in own or function is MLServeHandler._unimplemented_method
                if verb in own:
                    assert function.__code__.co_filename.endswith("tornado/web.py"), (cls, verb)
