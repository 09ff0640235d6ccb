"""Signed tokens of a login: one that opens services for an hour, one that renews both.

They are JSON Web Tokens (RFC 7519), signed with HS256 and the server's own key. What is in them
is not secret; that they are ours is certain. Whether they still count is not in them: a login
has a generation, raised by every renewal, and only tokens of the present one are valid.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..contract.errors import NotAuthenticated

Kind = Literal["access", "refresh"]
OTHER: dict[Kind, Kind] = {"access": "refresh", "refresh": "access"}

ISSUER = "jupyter_mlserve"
ALGORITHM = "HS256"
KEY_BYTES = 32

# Seconds. The lifetimes are those of Machine Learning Server.
ACCESS_SECONDS = 3600
IDLE_SECONDS = 14 * 86_400  # a login that is not renewed for so long ends
LOGIN_SECONDS = 90 * 86_400  # and any login after this


@dataclass(frozen=True)
class TokenPair:
    """What a login gives. ``expires_on`` (seconds since 1970) is when the access token ends."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    expires_on: int


@dataclass(frozen=True)
class Claims:
    """What one of our tokens says; ``expires`` in seconds since 1970."""

    username: str
    login: str
    generation: int
    expires: int


class Tokens:
    """Signs and reads tokens with one key (bytes, at least ``KEY_BYTES``)."""

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"The key has {len(key)} bytes, and needs at least {KEY_BYTES}.")
        self._key = key
        self._clock = clock

    def __repr__(self) -> str:
        return "Tokens()"

    def pair(self, username: str, login: str, generation: int, started: float) -> TokenPair:
        """New tokens for a login that ``started`` then (seconds since 1970)."""
        now = self._clock()
        end = started + LOGIN_SECONDS
        access = int(min(now + ACCESS_SECONDS, end))
        refresh = int(min(now + IDLE_SECONDS, end))
        common = {
            "iss": ISSUER,
            "sub": username,
            "iat": int(now),
            "sid": login,
            "gen": generation,
        }
        return TokenPair(
            self._sign({**common, "typ": "access", "exp": access}),
            self._sign({**common, "typ": "refresh", "exp": refresh}),
            max(0, access - int(now)),
            access,
        )

    def _sign(self, claims: dict[str, Any]) -> str:
        import jwt

        return jwt.encode(claims, self._key, algorithm=ALGORITHM)

    def read(self, token: str, kind: Kind) -> Claims | None:
        """What a token of this kind says; None when it is not one of ours.

        Raises NotAuthenticated when it is, but its time is over, or it is of the other kind.
        """
        import jwt

        late = False
        try:
            try:
                claims = self._claims(token)
            except jwt.ExpiredSignatureError:
                late = True
                claims = self._claims(token, verify_exp=False)
        except (jwt.InvalidTokenError, ValueError, TypeError):
            return None
        if claims.get("typ") == OTHER[kind]:
            raise of_other_kind(kind)
        if late:
            raise expired(kind)
        username, login, generation = (claims.get(key) for key in ("sub", "sid", "gen"))
        if (
            claims.get("typ") != kind
            or not isinstance(username, str)
            or not isinstance(login, str)
            or type(generation) is not int
        ):
            return None
        return Claims(username, login, generation, int(claims["exp"]))

    def _claims(self, token: str, *, verify_exp: bool = True) -> dict[str, Any]:
        import jwt

        return jwt.decode(
            token,
            self._key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            options={
                "require": ["iss", "sub", "iat", "exp"],
                # Another web node's clock may be ahead of ours: "issued at" proves nothing.
                "verify_iat": False,
                "verify_exp": verify_exp,
            },
        )


def looks_signed(token: str) -> bool:
    """Whether it may be a JSON Web Token: three parts, the first an object in base64."""
    return token.startswith("ey") and token.count(".") == 2


def expired(kind: Kind) -> NotAuthenticated:
    if kind == "access":
        return NotAuthenticated(
            "This access token has expired. Renew it with its refresh token (POST "
            "login/refreshToken), or log in again (POST login)."
        )
    return NotAuthenticated("This refresh token has expired. Log in again (POST login).")


def of_other_kind(kind: Kind) -> NotAuthenticated:
    """The error for a token that is of the other kind than the one wanted."""
    article = "a" if kind == "access" else "an"
    return NotAuthenticated(f"This is {article} {OTHER[kind]} token; send the {kind} token.")


def ended(kind: Kind) -> NotAuthenticated:
    """The error for a token that was renewed, revoked, or whose account has changed."""
    return NotAuthenticated(
        f"This {kind} token is not valid any more: it was renewed or revoked, or its account has "
        "changed. Log in again (POST login)."
    )
