"""What the answers to publishers and readers of services look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_server.utils import url_path_join
from tornado.httputil import HTTPServerRequest

from ..access.principal import Principal
from ..contract.definition import Definition

if TYPE_CHECKING:
    from ..store.models import State
    from .node import WebNode
    from .publishing import Outcome

Json = dict[str, Any]


def service_view(node: WebNode, who: Principal, state: State, name_owner: str | None) -> Json:
    """The contract's WebService, with what this reader may see."""
    sees = node.policy.may(who, "see_code", state.author, name_owner).allowed
    writes = node.policy.may(who, "update", state.author, name_owner).allowed
    definition = Definition.from_json(state.definition)
    return definition.web_service(
        state, may_see_code=sees, permission="read/write" if writes else "read only"
    )


def outcome_view(
    node: WebNode,
    who: Principal,
    request: HTTPServerRequest,
    base_url: str,
    outcome: Outcome,
    created: bool,
) -> tuple[Any, dict[str, str]]:
    """Answer to a change, as JSON value and headers.

    The contract's JSON string, or everything if ``Prefer: return=representation`` came.
    """
    state = outcome.state
    path = f"/services/{state.name}/{state.version}"
    headers = {"Location": url_path_join(base_url, "mlserve", path)} if created else {}
    if not wants_representation(request):
        return path, headers
    name_owner = node.core.catalog.name_owner(state.name)
    body = {
        "service": service_view(node, who, state, name_owner),
        "urls": _urls(request, base_url, state.name, state.version),
        "unchanged": outcome.unchanged,
        "trial": outcome.trial.to_json() if outcome.trial else None,
    }
    return body, {**headers, "Preference-Applied": "return=representation"}


def note(node: WebNode, who: Principal, done: str, state: State) -> None:
    """One line in the server's log for every change: who did what."""
    node.log.info(
        "%s %s %s version %s (state %d)",
        who.username,
        done,
        state.name,
        state.version,
        state.number,
    )


def wants_representation(request: HTTPServerRequest) -> bool:
    """Whether the client asks for more than the contract's answer.

    Only such an answer can say that a version was there already with the very content that is
    published, so only who asks for it can publish the same again.
    """
    preferences = ",".join(request.headers.get_list("Prefer"))
    return any(part.strip().lower() == "return=representation" for part in preferences.split(","))


def _urls(request: HTTPServerRequest, base_url: str, name: str, version: str) -> Json:
    """Absolute addresses, as this client reached the server."""
    root = f"{request.protocol}://{request.host}" + url_path_join(base_url, "mlserve")
    api = f"{root}/api/{name}/{version}"
    return {
        "api": api,
        "newest": f"{root}/api/{name}",
        "swagger": f"{api}/swagger.json",
        "openapi": f"{api}/openapi.json",
        "service": f"{root}/services/{name}/{version}",
    }
