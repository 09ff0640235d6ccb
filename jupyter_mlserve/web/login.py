"""``login`` and ``login/refreshToken``: tokens for a user name and a password."""

from __future__ import annotations

from typing import Any

from jupyter_server import CallContext
from jupyter_server.auth.decorator import allow_unauthenticated

from ..access.tokens import TokenPair
from ..contract.errors import InvalidInput
from .base import MLServeHandler

# Most bytes of a body here: anybody may send one.
BODY_LIMIT = 64 * 1024


class OpenHandler(MLServeHandler):
    """Base of handlers that anybody may ask, with or without a token; it answers no verb itself.

    No cookie is read or set here, so there is nothing that a foreign page could make use of; it
    is refused all the same, unless Jupyter's settings allow its origin.
    """

    async def prepare(self) -> None:  # type: ignore[override]
        CallContext.set(CallContext.JUPYTER_HANDLER, self)
        self.current_user = self._jupyter_current_user = None
        self.check_host()
        self.set_cors_headers()
        self.set_header("Cache-Control", "no-store")
        self.check_origin()

    def check_xsrf_cookie(self) -> None:
        """There is no cookie that it could protect."""

    def texts(self, *keys: str) -> list[str]:
        """Texts of the body, which must be there. The error does not repeat what was given."""
        body = self.json_body()
        for key in keys:
            if not isinstance(body.get(key), str):
                example = ", ".join(f'"{name}": "..."' for name in keys)
                lacks = "must be a text" if key in body else "is missing"
                raise InvalidInput(
                    f"{key!r} {lacks}: send a JSON object such as {{{example}}}.", field=key
                )
        return [body[key] for key in keys]


class LoginHandler(OpenHandler):
    """``login``"""

    @allow_unauthenticated
    async def post(self) -> None:
        """The tokens of a new login."""
        username, password = self.texts("username", "password")
        pair = await self.node.core.logins.login(username, password, self.request.remote_ip or "")
        self.reply(token_view(pair))


class RefreshTokenHandler(OpenHandler):
    """``login/refreshToken``"""

    @allow_unauthenticated
    async def post(self) -> None:
        """A new pair of tokens for a refresh token."""
        (token,) = self.texts("refreshToken")
        self.reply(token_view(await self.node.core.logins.refresh(token)))

    @allow_unauthenticated
    async def delete(self) -> None:
        """End the login of a refresh token."""
        token = self.get_query_argument("refreshToken", None)
        if not token:
            raise InvalidInput(
                "The query must have the refresh token that is to be revoked: "
                "login/refreshToken?refreshToken=…",
                field="refreshToken",
            )
        await self.node.core.logins.revoke(token)
        self.reply({})


def token_view(pair: TokenPair) -> dict[str, Any]:
    """An AccessTokenResponse.

    ``expires_on`` is text, as the published schema says; the product printed a number there, and
    no client is known to read it.
    """
    return {
        "token_type": "Bearer",
        "access_token": pair.access_token,
        "expires_in": pair.expires_in,
        "expires_on": str(pair.expires_on),
        "refresh_token": pair.refresh_token,
    }
