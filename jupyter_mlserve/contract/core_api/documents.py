"""The documents of the core API, Swagger 2.0 and OpenAPI 3.1: pure functions of the base URL."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from ... import _version
from .. import errors
from ..http_status import status_of
from .login import COMPUTE_NODES, LOGINS, STATUSES
from .operation import BYTES, FILE, IN_PATHS, TAGS, TEXT, Body, Json, Operation
from .schemas import schemas
from .services import CONSUMPTION, MANAGEMENT
from .sessions import SESSION, SNAPSHOT

OPERATIONS = (
    *(*LOGINS, *MANAGEMENT, *CONSUMPTION, *SESSION, *SNAPSHOT, *STATUSES, *COMPUTE_NODES),
)

TITLE = "jupyter_mlserve"
DESCRIPTION = (
    "Functions and models as web services of a Jupyter server: publish, manage and watch them. "
    "Each service has a document of its own, which describes its call and its batch executions."
)

# Jupyter's authorizer may refuse everything.
_ALWAYS = (errors.NotAuthenticated, errors.NotAllowed, errors.InternalError, errors.Unavailable)
_WHEN: dict[type[errors.MLServeError], str] = {
    errors.BadRequest: "The request is not what this address takes; the message says why.",
    errors.NotAuthenticated: "No valid token, or a wrong name or password, came with the request.",
    errors.NotAllowed: "The token does not allow this.",
    errors.NotFound: "What is asked for does not exist.",
    errors.Conflict: "It contradicts what is there, or somebody else was faster.",
    errors.Gone: "What was here is gone.",
    errors.TooLarge: "The body is larger than the server accepts.",
    errors.UnsupportedMedia: "The server does not read this media type here.",
    errors.TooBusy: "There is as much of it as the server allows; try again later.",
    errors.InternalError: "The server failed.",
    errors.Unavailable: "The server cannot do it now.",
    errors.CallTimeout: "It took longer than the server allows.",
    errors.OutOfSpace: "The disk is full, or what may be stored is used up.",
}
_RETRY = (errors.TooBusy, errors.Unavailable)


def swagger(base_path: str = "/") -> Json:
    """Swagger 2.0. ``base_path`` is where the paths begin, such as ``/user/x/mlserve``."""
    path = "/" + base_path.strip("/")
    return {
        "swagger": "2.0",
        "info": _info(),
        **({"basePath": path} if path != "/" else {}),
        "schemes": ["http", "https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {
            "Bearer": {"type": "apiKey", "name": "Authorization", "in": "header"}
        },
        "tags": _tags(),
        "paths": _paths(_swagger_operation),
        "definitions": {name: old_schema(schema) for name, schema in schemas().items()},
    }


def openapi(url: str = "/") -> Json:
    """OpenAPI 3.1. ``url`` is where the paths begin: absolute, or the path alone."""
    return {
        "openapi": "3.1.0",
        "info": _info(),
        "servers": [{"url": url.rstrip("/") or "/"}],
        "security": [{"bearer": []}],
        "tags": _tags(),
        "paths": _paths(_openapi_operation),
        "components": {
            "schemas": {name: new_schema(schema) for name, schema in schemas().items()},
            "responses": {
                **{cls.__name__: _failure(cls) for cls in _WHEN},
                "Failure": _failure(errors.MLServeError),
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the server, sent as 'Authorization: Bearer TOKEN'.",
                }
            },
        },
    }


def _info() -> Json:
    return {"title": TITLE, "version": _version.__version__, "description": DESCRIPTION}


def _tags() -> list[Json]:
    return [{"name": name, "description": text} for name, text in TAGS.items()]


def _paths(render: Callable[[Operation], Json]) -> Json:
    found: Json = {}
    for operation in OPERATIONS:
        found.setdefault(operation.path, {})[operation.verb] = render(operation)
    return found


def _failures(operation: Operation) -> list[type[errors.MLServeError]]:
    found = {*operation.fails, *_ALWAYS}
    if operation.body is not None:
        found.add(errors.TooLarge)
    return sorted(found, key=status_of)


def _parameters(operation: Operation) -> list[tuple[str, str, str]]:
    """Name, place and description of those that are no body; all are texts, and required."""
    in_path = re.findall(r"\{(\w+)\}", operation.path)
    return [
        *((name, "path", IN_PATHS[name]) for name in in_path),
        *((name, "query", description) for name, description in operation.query),
    ]


# -- 3.1 -----------------------------------------------------------------------------------------


def _openapi_operation(operation: Operation) -> Json:
    found: Json = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            {"name": n, "in": place, "required": True, "description": text, "schema": dict(TEXT)}
            for n, place, text in _parameters(operation)
        ],
    }
    if operation.open:
        found["security"] = []
    if operation.body is not None:
        body = operation.body
        found["requestBody"] = {
            "required": body.required,
            "content": {body.media: {"schema": new_schema(body.schema)}},
        }
    answer: Json = {"description": operation.description}
    if operation.schema is not None:
        schema = {} if operation.schema is FILE else {"schema": new_schema(operation.schema)}
        answer["content"] = {operation.media: schema}
    responses: Json = {str(operation.status): answer}
    if operation.also is not None:
        responses[str(operation.also)] = {**answer, "description": "It was there already."}
    if operation.verb == "head":  # failures without a body
        for cls in _failures(operation):
            responses[str(status_of(cls))] = {"description": _WHEN[cls]}
    else:
        for cls in _failures(operation):
            responses[str(status_of(cls))] = {"$ref": f"#/components/responses/{cls.__name__}"}
        responses["default"] = {"$ref": "#/components/responses/Failure"}
    found["responses"] = dict(sorted(responses.items()))
    return found


def _failure(cls: type[errors.MLServeError]) -> Json:
    found: Json = {
        "description": _WHEN.get(cls, "The request failed."),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if cls in _RETRY:
        found["headers"] = {
            "Retry-After": {
                "description": "Seconds after which trying again makes sense.",
                "schema": {"type": "integer", "minimum": 0},
            }
        }
    return found


def new_schema(schema: Any) -> Any:
    """With references into ``components``; bytes as 3.1 has them."""
    if isinstance(schema, dict):
        if schema.get("format") == "binary":
            rest = {key: value for key, value in schema.items() if key not in ("type", "format")}
            return {**rest, "contentMediaType": BYTES}
        return {
            key: value.replace("#/", "#/components/schemas/")
            if key == "$ref"
            else new_schema(value)
            for key, value in schema.items()
        }
    return [new_schema(item) for item in schema] if isinstance(schema, list) else schema


# -- 2.0 -----------------------------------------------------------------------------------------


def _swagger_operation(operation: Operation) -> Json:
    found: Json = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            *(
                {"name": name, "in": place, "required": True, "description": text, **TEXT}
                for name, place, text in _parameters(operation)
            ),
            *(_old_body(operation.body) if operation.body is not None else ()),
        ],
    }
    if not operation.open:
        found["security"] = [{"Bearer": []}]
    if operation.body is not None and operation.body.media != "application/json":
        found["consumes"] = [operation.body.media]
    if operation.media != "application/json":
        # A failure of the same operation is JSON, like every failure.
        found["produces"] = [operation.media, "application/json"]
    answer: Json = {"description": operation.description}
    if operation.schema is FILE:
        answer["schema"] = {"type": "file"}
    elif operation.schema is not None:
        answer["schema"] = old_schema(operation.schema)
    responses: Json = {str(operation.status): answer}
    if operation.also is not None:
        responses[str(operation.also)] = {**answer, "description": "It was there already."}
    known = "; ".join(f"{status_of(c)} {_phrase(c)}" for c in _failures(operation))
    default: Json = {"description": f"A failure: {known}."}
    if operation.verb != "head":
        default["schema"] = {"$ref": "#/definitions/Error"}
    found["responses"] = {**dict(sorted(responses.items())), "default": default}
    return found


def _phrase(cls: type[errors.MLServeError]) -> str:
    return HTTPStatus(status_of(cls)).phrase.lower()


def _old_body(body: Body) -> list[Json]:
    """2.0 has the parts of a form as parameters."""
    if body.media != "multipart/form-data":
        schema = old_schema(body.schema)
        return [{"name": body.name, "in": "body", "required": body.required, "schema": schema}]
    needed = body.schema.get("required", ())
    return [
        {
            "name": name,
            "in": "formData",
            "required": name in needed,
            "type": "file" if part.get("format") == "binary" else "string",
            **({"description": part["description"]} if "description" in part else {}),
        }
        for name, part in body.schema["properties"].items()
    ]


def old_schema(schema: Any) -> Any:
    """2.0 has no null: a type that may be null is that type with the usual ``x-nullable``."""
    if isinstance(schema, list):
        return [old_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "$ref":
            found[key] = value.replace("#/", "#/definitions/")
        elif key == "type" and isinstance(value, list):
            found[key] = next(kind for kind in value if kind != "null")
            found["x-nullable"] = True
        elif key == "enum":
            found[key] = [item for item in value if item is not None]
        else:
            found[key] = old_schema(value)
    return found
