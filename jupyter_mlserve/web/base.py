"""What our handlers share: Jupyter's own checks, our tokens beside them, JSON errors only.

Rules for a handler class here (they have tests):

- it names every verb itself and decorates it with ``@allowed(action, resource)``. It never
  inherits a verb: one function is one permission, of one class;
- it raises errors of ``contract.errors`` and nothing else on purpose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from http.client import responses
from logging import Logger
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from jupyter_server import CallContext
from jupyter_server.auth.decorator import authorized
from jupyter_server.auth.identity import User
from jupyter_server.base.handlers import APIHandler
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, authenticated

from ..access.principal import Principal, from_jupyter
from ..access.tokens import looks_signed
from ..contract.errors import InvalidInput, MethodNotAllowed, MLServeError, NotAllowed
from .errors import answer_error, dump, not_authenticated
from .identity import Identity

if TYPE_CHECKING:
    from .logins import Access
    from .node import WebNode

# What Jupyter's authorizer is asked about: (user, action, resource).
SERVICES = "jupyter_mlserve:services"
API = "jupyter_mlserve:api"
BLOBS = "jupyter_mlserve:blobs"
SESSIONS = "jupyter_mlserve:sessions"
STATUS = "jupyter_mlserve:status"

SETTING = "jupyter_mlserve_node"
Verb = Callable[..., Awaitable[None]]
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_SECRET = re.compile("token|password", re.IGNORECASE)


def allowed(action: str, resource: str) -> Callable[[Verb], Verb]:
    """Decorates a verb: somebody must be known, and Jupyter's authorizer must let them.

    Action and resource are always said. Left out, Jupyter's ``@authorized`` would keep those of
    the first subclass that is asked, for all of them.
    """

    def decorate(verb: Verb) -> Verb:
        asked: Verb = authorized(action=action, resource=resource)(verb)
        return cast(Verb, authenticated(asked))

    return decorate


class MLServeHandler(APIHandler):
    """Base of every handler of ours."""

    _own: Principal | None = None
    _access: Access | None = None

    def initialize(self, **kwargs: Any) -> None:
        super().initialize(**kwargs)
        hide_secrets(self.request)

    @property
    def node(self) -> WebNode:
        return cast("WebNode", self.settings[SETTING])

    @property
    def principal(self) -> Principal:
        """Who is asking, in our words (DESIGN: all anonymous users are one owner)."""
        if self._own is not None:
            return self._own
        return from_jupyter(self.current_user, self.node.anonymous, self.node.hub_user)

    def identity(self) -> Identity:
        """The outcome of the checks, for who continues the request elsewhere."""
        holds = self._access.holds if self._access is not None else None
        return Identity(self.current_user, self.principal, tuple(self._default.items()), holds)

    # -- who is asking ------------------------------------------------------------------------

    async def prepare(self) -> None:  # type: ignore[override]
        """Jupyter's own checks; or the token of a kernel, or of who logged in to an account."""
        authorization = self.request.headers.get("Authorization")
        self._own = self.node.kernel_token.authenticate(authorization)
        token = signed_token(authorization) if self._own is None else None
        if token is not None:
            self.current_user = self._jupyter_current_user = None
            self._access = await self.node.core.logins.access(token)
            self._own = self._access.principal if self._access is not None else None
        if self._own is None:
            await super().prepare()
            return
        CallContext.set(CallContext.JUPYTER_HANDLER, self)
        self.current_user = self._jupyter_current_user = None
        self.check_host()
        self.current_user = self._jupyter_current_user = User(
            self._own.username, self._own.display_name, self._own.display_name
        )
        self.set_cors_headers()

    @property
    def token_authenticated(self) -> bool:
        return self._own is not None or super().token_authenticated

    def skip_check_origin(self) -> bool:
        return self._own is not None or super().skip_check_origin()

    def get_login_url(self) -> str:
        # Asked for by @web.authenticated when there is no user: never redirect a program.
        raise not_authenticated()

    def check_host(self) -> bool:
        if not super().check_host():
            self.current_user = self._jupyter_current_user = None
            raise NotAllowed(
                "This server answers only under a local host name. Its administrator can set "
                "ServerApp.allow_remote_access or ServerApp.local_hostnames."
            )
        return True

    def check_origin(self, origin_to_satisfy_tornado: str = "") -> bool:
        if not super().check_origin(origin_to_satisfy_tornado):
            raise NotAllowed(
                "A page of another origin may not do this. Send a token, or have the administrator "
                "set ServerApp.allow_origin."
            )
        return True

    def check_xsrf_cookie(self) -> None:
        """Jupyter's check, after the question that it leaves for later: is there a user at all?"""
        if not hasattr(self, "_jupyter_current_user"):
            return
        if self.current_user is None:
            raise not_authenticated()
        try:
            super().check_xsrf_cookie()
        except HTTPError as exc:
            raise NotAllowed(
                "A request with a login cookie needs the cross-site token as well: send the value "
                "of the cookie '_xsrf' as the header 'X-XSRFToken', or send a token as "
                "'Authorization: Bearer TOKEN' instead."
            ) from exc

    # -- answers ------------------------------------------------------------------------------

    def set_default_headers(self) -> None:
        self._default: dict[str, str] = {}
        super().set_default_headers()

    def set_header(self, name: str, value: Any) -> None:
        super().set_header(name, value)
        if value and name != "Content-Type":
            self._default[name] = str(value)

    def reply(
        self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with ``value`` as JSON."""
        self.set_status(status)
        for name, text in (headers or {}).items():
            self.set_header(name, text)
        self.finish(dump(value))

    def json_body(self) -> dict[str, Any]:
        """The body, which must be a JSON object (no body: an empty one)."""
        if not self.request.body:
            return {}
        try:
            value = json.loads(self.request.body, parse_constant=_no_constant)
        except RecursionError:
            raise InvalidInput("The body is nested too deeply.") from None
        except ValueError as exc:
            raise InvalidInput(f"The body is not valid JSON: {exc}.") from None
        if not isinstance(value, dict):
            raise InvalidInput(expected="a JSON object", got=f"a JSON {_kind(value)}")
        return value

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        exc = (kwargs.get("exc_info") or (None, None, None))[1]
        if exc is None:
            exc = HTTPError(status_code)
        if isinstance(exc, HTTPError) and exc.status_code == 405:
            exc = MethodNotAllowed(
                f"This address does not answer {self.request.method}; it answers "
                f"{', '.join(self.allowed_verbs()) or 'nothing'}.",
                allow=self.allowed_verbs(),
            )
        answer = answer_error(exc, owner=self.sees_traceback(exc))
        self.set_status(answer.status, responses.get(answer.status, "Unknown"))
        for name, value in answer.headers:
            self.set_header(name, value)
        self.finish(answer.body)

    def sees_traceback(self, exc: BaseException) -> bool:
        """Whether the reader may see an author's traceback; only scoring ever says yes."""
        return False

    def allowed_verbs(self) -> list[str]:
        missing = MLServeHandler._unimplemented_method
        return [verb for verb in VERBS if getattr(type(self), verb.lower()) is not missing]

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        # An error that we raised on purpose has its line in Jupyter's request log.
        if not isinstance(value, (MLServeError, HTTPError)):
            super().log_exception(typ, value, tb)

    @property
    def log(self) -> Logger:
        return self.node.log


def hide_secrets(request: HTTPServerRequest) -> None:
    """Keep tokens out of every log: Jupyter's own leaves out ``token``, not ``refreshToken``."""
    if request.query and any(map(_SECRET.search, request.query_arguments)):
        request.uri = f"{request.path}?[secret]"


def signed_token(authorization: str | None) -> str | None:
    """The token of an ``Authorization: Bearer X`` (or ``token X``) header, if it may be of ours."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() in ("bearer", "token") and looks_signed(token):
        return token
    return None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return kinds.get(type(value), "value")
