"""Whose users have names, and what is remembered of whom."""

from __future__ import annotations

from typing import Any

import pytest
from jupyter_server.auth import AllowAllAuthorizer, Authorizer, IdentityProvider, User
from jupyter_server.auth.identity import LegacyIdentityProvider, PasswordIdentityProvider
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from jupyter_mlserve.access.principal import Principal
from jupyter_mlserve.web.identity import Identity, IdentityCache, is_anonymous


class Themed(PasswordIdentityProvider):
    """Changes something that names nobody."""

    def get_handlers(self) -> Any:
        return super().get_handlers()


class ByToken(IdentityProvider):
    def get_user_token(self, handler: Any) -> Any:
        return User("somebody")


class ByHeader(IdentityProvider):
    def get_user(self, handler: Any) -> Any:
        return User(handler.request.headers["X-User"])


class OldLogin:
    @classmethod
    def get_user(cls, handler: Any) -> Any:
        return "somebody"


@pytest.mark.parametrize(
    ("provider", "anonymous"),
    [
        (IdentityProvider, True),
        (PasswordIdentityProvider, True),
        (LegacyIdentityProvider, True),
        (Themed, True),
        (ByToken, False),
        (ByHeader, False),
    ],
)
def test_providers_that_name_their_users(provider: Any, anonymous: bool) -> None:
    assert is_anonymous(provider(token="t")) is anonymous


def test_a_login_handler_of_the_old_kind_may_name_them() -> None:
    class Provider:
        login_handler_class = OldLogin

    assert is_anonymous(Provider()) is False


def request(ip: str = "10.0.0.1", path: str = "/api/A/1", **headers: str) -> Any:
    class Context:
        remote_ip = ip
        protocol = "http"

    class Connection:
        context = Context()

    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPServerRequest(
        start_line=RequestStartLine("POST", path, "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "here", **sent}),
        connection=Connection(),  # type: ignore[arg-type]
    )


def identity(name: str) -> Identity:
    return Identity(User(name), Principal(name, name, "jupyter"))


def test_only_plain_token_requests_are_remembered() -> None:
    cache = IdentityCache(IdentityProvider(token="t"), AllowAllAuthorizer(), 30)
    assert cache.key(request()) is None
    assert cache.key(request(Cookie="username=1")) is None
    assert cache.key(request(Authorization="token t", Origin="http://x")) is None
    assert cache.key(request(path="/api/A/1?token=t", Authorization="token t")) is None
    key = cache.key(request(Authorization="token t"))
    assert key is not None
    assert b"token t" not in key
    assert cache.key(request(Authorization="token t", path="/api/B/1", X_Any="1")) == key
    assert cache.key(request(Authorization="token u")) != key
    assert cache.key(request(Authorization="token t", Host="there")) != key
    never = IdentityCache(IdentityProvider(token="t"), AllowAllAuthorizer(), 0)
    assert never.key(request(Authorization="token t")) is None


class Own(Authorizer):
    pass


@pytest.mark.parametrize(
    ("provider", "authorizer"), [(ByHeader, AllowAllAuthorizer), (IdentityProvider, Own)]
)
def test_whatever_a_foreign_check_may_look_at_counts(provider: Any, authorizer: Any) -> None:
    cache = IdentityCache(provider(token="t"), authorizer(), 30)
    key = cache.key(request(Authorization="token t", X_User="alice"))
    assert key == cache.key(
        request(Authorization="token t", X_User="alice", Content_Length="5", Accept="*/*")
    )
    for other in (
        request(Authorization="token t", X_User="bob"),
        request(Authorization="token t"),
        request(Authorization="token t", X_User="alice", path="/api/B/1"),
        request(Authorization="token t", X_User="alice", ip="10.0.0.2"),
    ):
        assert cache.key(other) != key


def test_memory_is_short_and_bounded() -> None:
    cache = IdentityCache(IdentityProvider(token="t"), AllowAllAuthorizer(), 30, maximum=3)
    now = [0.0]
    cache._clock = lambda: now[0]
    keys = [bytes([number]) for number in range(5)]
    for key in keys:
        cache.put(key, identity(str(key)))
    assert len(cache) == 3
    assert [cache.get(key) is not None for key in keys] == [False, False, True, True, True]
    now[0] = 29.9
    assert cache.get(keys[4]) is not None
    now[0] = 30.1
    assert cache.get(keys[4]) is None
    assert cache.get(None) is None
    cache.put(None, identity("nobody"))
    assert len(cache) == 3
