"""Signed tokens: what is believed, and everything that is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest

from jupyter_mlserve.access.tokens import (
    ACCESS_SECONDS,
    IDLE_SECONDS,
    LOGIN_SECONDS,
    Claims,
    Tokens,
    looks_signed,
)
from jupyter_mlserve.contract.errors import NotAuthenticated

KEY = bytes(range(32))
TOKENS = Tokens(KEY)
NOW = int(time.time())
GOOD = {
    "iss": "jupyter_mlserve",
    "sub": "ann",
    "iat": NOW,
    "exp": NOW + 600,
    "typ": "access",
    "sid": "login",
    "gen": 3,
}


def part(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def signed(header: Any, payload: Any) -> str:
    """A token that has the right signature, whatever its header says."""
    text = f"{part(header)}.{part(payload)}"
    return f"{text}.{part(hmac.new(KEY, text.encode(), hashlib.sha256).digest())}"


def test_a_pair_is_read_as_what_it_is() -> None:
    pair = TOKENS.pair("ann", "login", 3, time.time())
    assert looks_signed(pair.access_token)
    assert looks_signed(pair.refresh_token)
    assert TOKENS.read(pair.access_token, "access") == Claims("ann", "login", 3, pair.expires_on)
    found = TOKENS.read(pair.refresh_token, "refresh")
    assert found is not None
    assert abs(found.expires - time.time() - IDLE_SECONDS) < 5
    assert pair.expires_in == ACCESS_SECONDS
    assert abs(pair.expires_on - time.time() - ACCESS_SECONDS) < 5
    for secret in (pair.access_token, pair.refresh_token):
        assert secret not in repr(pair)
    assert KEY.hex() not in repr(TOKENS)


@pytest.mark.parametrize("age", [0, LOGIN_SECONDS])
def test_a_token_of_the_other_kind_is_told_so(age: int) -> None:
    then = time.time() - age
    pair = Tokens(KEY, clock=lambda: then).pair("ann", "login", 1, then)
    with pytest.raises(NotAuthenticated, match=r"is a refresh token; send the access token\.$"):
        TOKENS.read(pair.refresh_token, "access")
    with pytest.raises(NotAuthenticated, match=r"is an access token; send the refresh token\.$"):
        TOKENS.read(pair.access_token, "refresh")
    # To others than its signer it is no token at all.
    assert Tokens(bytes(32)).read(pair.refresh_token, "access") is None


def test_no_token_outlives_its_login() -> None:
    started = time.time() - LOGIN_SECONDS + 100
    pair = TOKENS.pair("ann", "login", 1, started)
    end = int(started + LOGIN_SECONDS)
    assert pair.expires_on == end
    assert 95 <= pair.expires_in <= 100
    claims = TOKENS.read(pair.refresh_token, "refresh")
    assert claims is not None
    assert claims.expires == end


@pytest.mark.parametrize("late", [0, 1, 3600])
def test_expired_is_said_and_there_is_no_leeway(late: int) -> None:
    for kind, lasts in (("access", ACCESS_SECONDS), ("refresh", IDLE_SECONDS)):
        then = time.time() - lasts - late
        pair = Tokens(KEY, clock=lambda then=then: then).pair("ann", "login", 1, then)
        token = pair.access_token if kind == "access" else pair.refresh_token
        with pytest.raises(NotAuthenticated, match=f"This {kind} token has expired"):
            TOKENS.read(token, kind)  # type: ignore[arg-type]
        # To others than its signer it is no token at all.
        assert Tokens(bytes(32)).read(token, kind) is None  # type: ignore[arg-type]


def test_a_node_whose_clock_is_behind_believes_too() -> None:
    ahead = Tokens(KEY, clock=lambda: time.time() + 30)
    token = ahead.pair("ann", "login", 1, time.time()).access_token
    assert TOKENS.read(token, "access") is not None


def test_only_our_own_signature_counts() -> None:
    good = jwt.encode(GOOD, KEY, "HS256")
    assert TOKENS.read(good, "access") is not None
    header, payload, signature = good.split(".")
    other = part({**GOOD, "sub": "root"})
    forged = [
        jwt.encode(GOOD, bytes(32), "HS256"),
        jwt.encode(GOOD, KEY + b"\1", "HS256"),
        jwt.encode(GOOD, KEY + KEY, "HS512"),
        jwt.encode(GOOD, "", "none"),
        f"{header}.{other}.{signature}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[:-2]}",
        f"{header}.{payload}.{'A' * len(signature)}",
        f"{part({'alg': 'none'})}.{payload}.",
        f"{part({'alg': 'none'})}.{payload}.{signature}",
        f"{part({'alg': 'None', 'typ': 'JWT'})}.{payload}.",
        f"{part({'alg': 'HS512', 'typ': 'JWT'})}.{payload}.{signature}",
        f"{part({'typ': 'JWT'})}.{payload}.{signature}",
        f"{part({'alg': ['HS256']})}.{payload}.{signature}",
        f"{part({'alg': 'HS256', 'jwk': {'kty': 'oct', 'k': part(KEY)}})}.{payload}.{signature}",
        f"{part({'alg': 'HS256', 'kid': '../../dev/null'})}.{payload}.{signature}",
    ]
    for token in forged:
        assert TOKENS.read(token, "access") is None, token


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "HS384", "EdDSA", "hs256", "none", ""])
def test_the_algorithm_is_ours_to_choose_and_not_the_tokens(algorithm: str) -> None:
    """Also when our own key made the signature, which is how such confusions are made use of."""
    assert TOKENS.read(signed({"alg": "HS256", "typ": "JWT"}, GOOD), "access") is not None
    assert TOKENS.read(signed({"alg": algorithm, "typ": "JWT"}, GOOD), "access") is None


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "somebody else"},
        {"iss": ["jupyter_mlserve", "x"]},
        {"iss": None},
        {"iss": "jupyter"},
        {"typ": None},
        {"typ": ["access"]},
        {"sub": None},
        {"sub": 1},
        {"sub": {"a": 1}},
        {"sid": None},
        {"sid": 5},
        {"gen": "3"},
        {"gen": True},
        {"gen": None},
        {"gen": 3.0},
        {"exp": None},
        {"exp": "soon"},
        {"aud": "another service"},
        {"nbf": NOW + 600},
    ],
)
def test_claims_that_are_not_ours(change: dict[str, Any]) -> None:
    claims = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    assert TOKENS.read(signed({"alg": "HS256", "typ": "JWT"}, claims), "access") is None


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "ey", "eyJ..", "a.b.c", "ey.ey.ey", "é.é.é", "ey\ud800.x.y", "e" * 9000],
)
def test_what_is_no_token_at_all(text: str) -> None:
    assert TOKENS.read(text, "access") is None
    assert TOKENS.read(text, "refresh") is None


def test_a_payload_that_is_no_object() -> None:
    for payload in (b"[]", b'"x"', b"1", b"null", b"{", b"\xff", b'{"exp":1e999}'):
        assert TOKENS.read(signed({"alg": "HS256"}, payload), "access") is None


def test_a_short_key_is_no_key() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        Tokens(bytes(31))
