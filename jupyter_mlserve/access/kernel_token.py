"""The secret by which the kernels of a server are known to it."""

from __future__ import annotations

import hmac
import secrets

from .principal import Principal


class KernelToken:
    """A random secret of 256 bits, made new for every run of the server.

    It stands in the connection file (mode 0600) that kernels find through their environment, so
    publishing works on servers that have only a password. Who presents it is ``principal``, the
    owner of the server.
    """

    __slots__ = ("_expected", "principal", "value")

    def __init__(self, principal: Principal, value: str | None = None) -> None:
        """``value``: only for a server that must know the token of an earlier run."""
        self.principal = principal
        self.value = value or secrets.token_hex(32)
        self._expected = self.value.encode()

    def __repr__(self) -> str:
        return f"KernelToken(principal={self.principal.username!r})"

    def matches(self, token: str | None) -> bool:
        """Whether this is the token; takes the same time wherever a wrong one differs."""
        if not token:
            return False
        return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._expected)

    def authenticate(self, authorization: str | None) -> Principal | None:
        """The principal for an ``Authorization: Bearer X`` (or ``token X``) header, or None."""
        scheme, _, token = (authorization or "").strip().partition(" ")
        if scheme.lower() not in ("bearer", "token"):
            return None
        return self.principal if self.matches(token.strip()) else None
