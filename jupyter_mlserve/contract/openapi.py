"""The OpenAPI 3.1 document of one version: a pure function of its definition and the base URL."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from . import errors, openapi_batch, realtime_schemas
from .definition import Definition
from .http_status import status_of
from .schemas import inputs_schema, outputs_schema

Json = dict[str, Any]

# Class of the failure, and when it happens. The statuses come from the one table.
_FAILURES: tuple[tuple[type[errors.MLServeError], str], ...] = (
    (errors.InvalidInput, "The input is not what is declared, or the service's code failed."),
    (errors.NotAuthenticated, "No valid token came with the request."),
    (errors.NotAllowed, "The token does not open this service."),
    (errors.ServiceNotFound, "There is no such service or version."),
    (errors.VersionDeleted, "The version was deleted."),
    (errors.TooLarge, "The body is larger than the server accepts."),
    (errors.TooBusy, "The queue of the service is full."),
    (errors.WorkerLost, "The server failed, or its worker died during the call."),
    (errors.Unavailable, "The server cannot serve the call now."),
    (errors.CallTimeout, "The call took longer than the server allows."),
)
_RETRY = (errors.TooBusy, errors.Unavailable)
# Where a realtime version, which has neither code nor workers, fails otherwise.
_REALTIME: dict[type[errors.MLServeError], str] = {
    errors.InvalidInput: "The rows are not what the model takes: columns, types, values or nulls.",
    errors.UnsupportedMedia: "The body is neither JSON nor an Arrow stream.",
    errors.WorkerLost: "The server failed.",
    errors.TooBusy: "The server has too many calls waiting.",
}


def openapi(
    definition: Definition, url: str = "/", features: Collection[str] = frozenset()
) -> Json:
    """The document, as JSON.

    ``url`` is where the contract's ``/api/...`` begins: ``https://host/user/x/mlserve``, or the
    path alone, which clients resolve against the document's own address. ``features``: with
    ``"batch"`` the document has batch executions; others that swagger knows change nothing.
    """
    name, version = definition.name, definition.version
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": version,
            "description": definition.description or f"Version {version} of {name}.",
        },
        "servers": [{"url": url.rstrip("/") or "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": definition.description or name}],
        "paths": {f"/api/{name}/{version}": {"post": _operation(definition)}},
        "components": {
            "schemas": {
                **_frames(definition),
                "WebServiceResult": _result(definition),
                "Error": _error(),
                "ErrorResult": _error_result(),
            },
            "responses": {"Failure": _failure("The call failed.")},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the server, sent as 'Authorization: Bearer TOKEN'.",
                }
            },
        },
    }
    if "batch" in features:
        document["paths"].update(openapi_batch.paths(definition, _failure))
        document["components"]["schemas"].update(openapi_batch.schemas())
    return document


def _frames(definition: Definition) -> Json:
    if definition.realtime is not None:
        return {
            "InputParameters": realtime_schemas.inputs_schema(definition),
            "OutputParameters": realtime_schemas.outputs_schema(definition),
        }
    return {
        "InputParameters": inputs_schema(definition.inputs),
        "OutputParameters": outputs_schema(definition.outputs),
    }


def _operation(definition: Definition) -> Json:
    realtime = definition.realtime is not None
    body: Json = {"schema": _ref("InputParameters")}
    if realtime:
        body["examples"] = realtime_schemas.examples(definition)
    elif definition.sample is not None:
        body["examples"] = {
            "sample": {
                "summary": "The author's own sample.",
                "value": copy.deepcopy(definition.sample),
            }
        }
    request: Json = {"application/json": body}
    answer: Json = {"application/json": {"schema": _ref("WebServiceResult")}}
    if realtime:
        request[realtime_schemas.ARROW] = {"schema": realtime_schemas.arrow_input(definition)}
        answer[realtime_schemas.ARROW] = {"schema": realtime_schemas.arrow_output(definition)}
    responses: Json = {"200": {"description": "The call succeeded.", "content": answer}}
    failures = {**dict(_FAILURES), **(_REALTIME if realtime else {})}
    for cls in sorted(failures, key=status_of):
        responses[str(status_of(cls))] = _failure(failures[cls], retry=cls in _RETRY)
    responses["default"] = {"$ref": "#/components/responses/Failure"}
    return {
        "operationId": definition.documented_operation,
        "summary": f"Call {definition.name} {definition.version}.",
        "description": definition.description or "",
        "tags": [definition.name],
        "requestBody": {"required": True, "content": request},
        "responses": responses,
    }


def _failure(when: str, *, retry: bool = False, schema: str = "ErrorResult") -> Json:
    response: Json = {
        "description": when,
        "content": {"application/json": {"schema": _ref(schema)}},
    }
    if retry:
        response["headers"] = {
            "Retry-After": {
                "description": "Seconds after which trying again makes sense.",
                "schema": {"type": "integer", "minimum": 0},
            }
        }
    return response


def _result(definition: Definition) -> Json:
    files: Json = {
        "type": "object",
        "description": "The declared files the call wrote, as base64; null for one it did not.",
        "properties": {
            name: {"type": ["string", "null"], "contentEncoding": "base64"}
            for name in definition.output_files
        },
        "additionalProperties": False,
    }
    if definition.output_files:
        files["required"] = list(definition.output_files)
    properties: Json = {
        "success": {"type": "boolean", "const": True},
        "errorMessage": {"type": "string", "description": "Empty."},
        **_console(),
        "outputFiles": files,
        "outputParameters": _ref("OutputParameters"),
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _console() -> Json:
    return {
        "consoleOutput": {
            "type": "string",
            "description": "What the code printed, cut at the server's limit.",
        },
        "changedFiles": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Names of the files the code made or changed.",
        },
    }


def _error() -> Json:
    properties: Json = {
        "code": {"type": "integer", "description": "The HTTP status."},
        "message": {"type": "string", "description": "What happened, and what to do."},
        "exceptionType": {
            "type": "string",
            "description": "The kind of failure, for programs.",
            "examples": ["InvalidInput", "ServiceFailed", "TooBusy"],
        },
        "fields": {"type": "string", "description": "The input at fault, or empty."},
        "link": {"type": "string", "description": "Where to read more, or empty."},
    }
    required = list(properties)
    properties["details"] = {
        "type": "object",
        "description": "Facts for programs, such as field, expected and got.",
        "additionalProperties": True,
    }
    return {"type": "object", "properties": properties, "required": required}


def _error_result() -> Json:
    """An error with the keys of a result, for clients that look at nothing else."""
    properties: Json = {
        "success": {"type": "boolean", "const": False},
        "errorMessage": {"type": "string", "description": "The same text as message."},
        **_console(),
        "outputFiles": {"type": "object"},
        "outputParameters": {"type": "object"},
    }
    result = {"type": "object", "properties": properties, "required": list(properties)}
    return {"allOf": [_ref("Error"), result]}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
