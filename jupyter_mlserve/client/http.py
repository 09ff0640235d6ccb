"""One HTTP connection to one server: requests below its ``mlserve/`` prefix, errors as exceptions.

Blocking on purpose: it works in a script, in a cell and inside a running event loop alike.
"""

from __future__ import annotations

import json as jsonlib
import os
import platform
import secrets
import ssl
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import IO, Any
from urllib.parse import quote

import httpx

from .._version import __version__
from ..contract.errors import ConnectionFailed, MLServeError, NotAuthenticated, from_body
from .address import ServerAddress

# Repeating these changes nothing, so they are sent again when a kept connection turns out dead.
# A blob's PUT is named by its content; no other PUT exists.
SAFE = frozenset({"GET", "HEAD", "PUT"})
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError)

CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 60.0
USER_AGENT = f"jupyter_mlserve/{__version__} (Python {platform.python_version()})"

Content = bytes | Callable[[], Iterator[bytes]]
# Parts of a multipart/form-data body: name, file name (None: a plain field), content.
Multipart = Sequence[tuple[str, tuple[str | None, bytes | IO[bytes]]]]


def path_of(*parts: str) -> str:
    """A path below ``mlserve/`` from names that may need quoting.

    >>> path_of("services", "a b", "1.0")
    'services/a%20b/1.0'
    """
    return "/".join(quote(part, safe="") for part in parts)


class Connection:
    """Requests to one server, over kept connections; safe to use from several threads.

    The token is sent to the given address only: redirects are never followed, proxies and
    cookies are not used on this machine's own addresses. ``timeout`` is in seconds and counts
    from the last byte sent to the first byte received. With the login of an account in the
    address, access tokens are had, and renewed, when they are needed.
    """

    def __init__(self, address: ServerAddress, *, timeout: float = REQUEST_SECONDS) -> None:
        self.address = address
        self.timeout = timeout
        self._client: httpx.Client | None = None
        self._pid = 0

    def url(self, *parts: str) -> str:
        """The absolute URL of a path below ``mlserve/``."""
        return self.address.prefix + path_of(*parts)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: Content | None = None,
        multipart: Multipart | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """The parsed JSON of the answer (None when it has no body).

        Raises the exception that the server's error body names (``contract.errors``), or
        ``ConnectionFailed`` when there was no answer. ``json=None`` sends no body.
        """
        response = self.send(
            method,
            path,
            json=json,
            content=content,
            multipart=multipart,
            params=params,
            headers=headers,
            timeout=timeout,
        )
        if response.status_code >= 300:
            raise error_of(response, self.address)
        if not response.content:
            return None
        try:
            return jsonlib.loads(response.content)
        except ValueError:
            raise ConnectionFailed(
                f"{response.url} answered {response.status_code}, but not with JSON: "
                f"{_excerpt(response.text)}. Is there another program, or a proxy, at this address?"
            ) from None

    def send(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: Content | None = None,
        multipart: Multipart | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """The answer itself, whatever its status.

        Raises ``ConnectionFailed``; if there is a login, also what it raises (``Login.token``).
        """
        sent = dict(headers or {})
        if json is not None:
            content = jsonlib.dumps(json, allow_nan=False, separators=(",", ":")).encode()
            sent["Content-Type"] = "application/json"
        seconds = self.timeout if timeout is None else timeout
        # Jupyter's own API is asked with a leading slash: "/api/sessions".
        base = self.address.url if path.startswith("/") else self.address.prefix
        attempts = 2 if method in SAFE else 1
        refused = ""
        while True:
            attempts -= 1
            token = self._sign(sent, refused)
            try:
                response = self._http().request(
                    method,
                    base + path.lstrip("/"),
                    content=content() if callable(content) else content,
                    files=multipart,
                    params=params,
                    headers=sent,
                    timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
                )
            except BROKEN as error:
                if not attempts:
                    raise _connection_failed(error, method, path, self.address, seconds) from error
                continue
            except httpx.HTTPError as error:
                raise _connection_failed(error, method, path, self.address, seconds) from error
            if response.status_code != 401 or not token or refused:
                return response
            # It was renewed or revoked meanwhile. Nothing was done, so anything may be repeated.
            refused, attempts = token, attempts + 1

    def _sign(self, headers: dict[str, str], refused: str = "") -> str:
        """Put an access token into the headers and return it; "" if there is no login."""
        if self.address.login is None:
            return ""
        token = self.address.login.token(self._ask, refused)
        headers["Authorization"] = f"Bearer {token}"
        return token

    def _ask(self, method: str, path: str, json: Any, params: Mapping[str, str] | None) -> Any:
        """A request of the login itself, without a token."""
        address = replace(self.address, login=None, token="")
        with Connection(address, timeout=self.timeout) as bare:
            return bare.request(method, path, json=json, params=params)

    def log_in(self) -> None:
        """Log in now, if the address has a login. Raises what ``Login.token`` does."""
        self._sign({})

    def log_out(self) -> None:
        """End the login of the address, if it has one. The next request logs in again."""
        if self.address.login is not None:
            self.address.login.end(self._ask)

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[httpx.Response]:
        """The answer to a GET, to be read piece by piece; the connection ends with the block.

        ``timeout`` is in seconds, for each piece. Raises what ``request`` raises; a connection
        that breaks inside the block is a ``ConnectionFailed``, too.
        """
        seconds = self.timeout if timeout is None else timeout
        sent = dict(headers or {})
        token = self._sign(sent)
        for refused in ("", token):
            if refused:
                self._sign(sent, refused)
            try:
                with self._http().stream(
                    "GET",
                    self.address.prefix + path,
                    params=params,
                    headers=sent,
                    timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
                ) as response:
                    if response.status_code == 401 and token and not refused:
                        continue
                    if response.status_code >= 300:
                        response.read()
                        raise error_of(response, self.address)
                    yield response
                    return
            except httpx.HTTPError as error:
                raise _connection_failed(error, "GET", path, self.address, seconds) from error

    def close(self) -> None:
        if self._client is not None and self._pid == os.getpid():
            self._client.close()
        self._client = None

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection to {self.address} ({self.address.how})>"

    def _http(self) -> httpx.Client:
        # A forked child must not talk over its parent's sockets.
        if self._client is None or self._pid != os.getpid():
            self._client, self._pid = open_client(self.address), os.getpid()
            # Nobody closes a client by hand in a notebook: the garbage collector does.
            weakref.finalize(self, self._client.close).atexit = False
        return self._client


def open_client(address: ServerAddress) -> httpx.Client:
    headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
    if address.token and address.login is None:
        headers["Authorization"] = f"Bearer {address.token}"
    elif address.login is None:
        # A server without authentication still wants its cross-site token; any value will do as
        # long as header and cookie agree, which is just what a foreign web page cannot do.
        value = secrets.token_hex(16)
        headers.update({"X-XSRFToken": value, "Cookie": f"_xsrf={value}"})
    verify: bool | ssl.SSLContext
    if not address.url.startswith("https:"):
        verify = False  # no TLS at all: do not spend time on loading certificates
    elif isinstance(address.verify_tls, str):
        verify = ssl.create_default_context(cafile=address.verify_tls)
    else:
        verify = address.verify_tls
    limits = httpx.Limits(max_keepalive_connections=8, keepalive_expiry=30.0)
    transport = (
        httpx.HTTPTransport(uds=address.socket, verify=verify, limits=limits)
        if address.socket
        else None
    )
    return httpx.Client(
        headers=headers,
        verify=verify,
        limits=limits,
        transport=transport,
        follow_redirects=False,
        trust_env=not address.is_local,
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
    )


def error_of(response: httpx.Response, address: ServerAddress) -> MLServeError:
    """The exception for an answer that is not a success."""
    status = response.status_code
    if status < 400:
        target = response.headers.get("Location", "elsewhere")
        if "login" in target:
            return NotAuthenticated(
                f"{address} sends this request to its login page: the token is missing or wrong."
            )
        return ConnectionFailed(
            f"{response.url} redirects to {target}. Redirects are not followed, so that the token "
            "stays with the server it belongs to: give that address if it is the right one."
        )
    try:
        body = jsonlib.loads(response.content)
    except ValueError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("message"), str):
        said = _excerpt(response.text)
        said = "." if not said or said.startswith("<") else f": {said}"
        body = {"message": f"{response.url} answered with status {status}{said}"}
    if "Retry-After" in response.headers:
        details = body.get("details")
        body["details"] = {
            "retry_after": _seconds(response.headers["Retry-After"]),
            **(details if isinstance(details, dict) else {}),
        }
    return from_body(status, body)


def _connection_failed(
    error: httpx.HTTPError, method: str, path: str, address: ServerAddress, seconds: float
) -> ConnectionFailed:
    what = f"{method} {path}"
    if isinstance(error, httpx.ConnectTimeout):
        text = f"No answer from {address} within {CONNECT_SECONDS:g} s."
    elif isinstance(error, httpx.ConnectError):
        text = f"Nothing answers at {address} ({error}). Is the Jupyter server running?"
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            text = (
                f"The TLS certificate of {address} is not trusted ({error}). Give its file with "
                "verify_tls='/path/to/cert.pem', or verify_tls=False to go without the check "
                "(or set JUPYTER_MLSERVE_VERIFY_TLS to either)."
            )
    elif isinstance(error, httpx.TimeoutException):
        text = f"{address} did not answer {what} within {seconds:g} s."
    else:
        text = f"The connection to {address} broke during {what} ({error})."
        if method not in SAFE:
            text += " The server may have done it or not: look before you repeat it."
    return ConnectionFailed(text)


def _excerpt(text: str, limit: int = 160) -> str:
    words = " ".join(text.split())
    return words if len(words) <= limit else words[:limit] + "…"


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
