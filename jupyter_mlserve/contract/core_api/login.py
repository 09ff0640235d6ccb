"""Logging in; how the server is; where services run."""

from __future__ import annotations

from .. import errors
from .operation import LOGIN, NODES, STATUS, Operation, json_body, ref

_TOKENS = ref("AccessTokenResponse")
_ADMIN = (errors.BadRequest, errors.Conflict)

LOGINS = (
    Operation(
        "post",
        "/login",
        "login",
        LOGIN,
        "Exchange a name and password for a pair of tokens.",
        _TOKENS,
        body=json_body("loginRequest", "LoginRequest"),
        fails=(errors.BadRequest, errors.TooBusy),
        open=True,
    ),
    Operation(
        "post",
        "/login/refreshToken",
        "renewToken",
        LOGIN,
        "Exchange a refresh token for a new pair; the old pair is void then.",
        _TOKENS,
        body=json_body("renewTokenRequest", "RenewTokenRequest"),
        fails=(errors.BadRequest, errors.TooBusy),
        open=True,
    ),
    Operation(
        "delete",
        "/login/refreshToken",
        "revokeRefreshToken",
        LOGIN,
        "Make a refresh token void, and with it its access token.",
        _TOKENS,
        query=(("refreshToken", "The refresh token."),),
        fails=(errors.BadRequest, errors.TooBusy),
        open=True,
    ),
)

STATUSES = (
    Operation("get", "/status", "status", STATUS, "How every part is.", ref("StatusResponse")),
    Operation(
        "get",
        "/swagger.json",
        "getSwagger",
        STATUS,
        "This document as Swagger 2.0.",
        ref("SwaggerJsonResponse"),
    ),
    Operation(
        "get",
        "/openapi.json",
        "getOpenAPI",
        STATUS,
        "This document as OpenAPI 3.1.",
        ref("SwaggerJsonResponse"),
    ),
)

COMPUTE_NODES = (
    Operation(
        "get",
        "/computenodes",
        "getComputeNodes",
        NODES,
        "Addresses of the compute nodes.",
        ref("GetComputeNodesResponse"),
    ),
    *(
        Operation(
            verb,
            "/computenodes",
            operation_id,
            NODES,
            summary,
            ref("GetComputeNodesResponse"),
            body=json_body("entries", "UpdateComputeNodesRequest"),
            fails=_ADMIN,
        )
        for verb, operation_id, summary in (
            ("post", "setComputeNodes", "Set the whole list of compute nodes."),
            ("put", "addComputeNode", "Add compute nodes."),
            ("delete", "removeComputeNode", "Remove compute nodes."),
        )
    ),
)
