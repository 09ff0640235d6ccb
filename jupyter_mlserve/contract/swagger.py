"""The Swagger 2.0 document of one version, in the shape of the published contract.

A pure function of the definition and the base path. Generated clients of that contract rely on
the shape: names of paths, operations, parameters and definitions are facts of it. The sentences
are ours. ``basePath`` is our addition, because this server may live below a prefix.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .batch import STATES
from .definition import Definition
from .realtime_schemas import swagger_inputs, swagger_outputs
from .schemas import default_fits_format

Json = dict[str, Any]

FEATURES = frozenset({"login", "batch"})

_SECURITY: list[Json] = [{"Bearer": []}]
_JSON = ["application/json"]

# "type" as the published contract has it (numeric, data.frame), and likewise for the rest.
_PLAIN: dict[str, Json] = {
    "logical": {"type": "boolean"},
    "integer": {"type": "integer"},
    "numeric": {"type": "number"},
    "character": {"type": "string"},
    "datetime": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "format": "byte"},
    "vector": {"type": "array", "items": {}},
    "matrix": {"type": "array", "items": {"type": "array", "items": {}}},
    "list": {"type": "array", "items": {}},
    "dict": {"type": "object"},
    "data.frame": {"type": "object"},
}
# null is None, NaN, a missing date, or a declared file that was not written. 2.0 has no word for
# it; generated clients that validate what comes know this one.
_NULLABLE: Json = {"x-nullable": True}
_SCALARS = ("logical", "integer", "numeric", "character", "datetime")


def swagger(
    definition: Definition, base_path: str = "/", features: Collection[str] = frozenset()
) -> Json:
    """The document, as JSON.

    ``base_path`` is the path under which the contract's ``/api/...`` begins, such as
    ``/user/x/mlserve``. ``features`` are those of ``"login"`` and ``"batch"`` that the server
    answers: a document must not promise what would be 404. Raises ValueError for another feature.
    """
    unknown = set(features) - FEATURES
    if unknown:
        raise ValueError(f"Unknown features {sorted(unknown)}; known are {sorted(FEATURES)}.")
    name, version = definition.name, definition.version
    description = definition.description or ""
    document: Json = {
        "swagger": "2.0",
        "info": {"description": description, "title": name, "version": version},
        "schemes": ["http", "https"],
        "securityDefinitions": {
            "Bearer": {"type": "apiKey", "name": "Authorization", "in": "header"}
        },
        "tags": [{"name": name, "description": description}],
        "consumes": list(_JSON),
        "produces": list(_JSON),
        "paths": {},
        "definitions": {},
    }
    path = "/" + base_path.strip("/")
    if path != "/":
        document["basePath"] = path
    paths, definitions = document["paths"], document["definitions"]
    if "login" in features:
        paths.update(_login_paths())
    paths[f"/api/{name}/{version}"] = {"post": _consume(definition)}
    if "batch" in features:
        paths.update(_batch_paths(name, f"/api/{name}/{version}/batch"))
    if definition.realtime is None:
        definitions["InputParameters"] = _inputs(definition)
        definitions["OutputParameters"] = _parameters(definition.outputs)
    else:
        definitions["InputParameters"] = swagger_inputs(definition)
        definitions["OutputParameters"] = swagger_outputs(definition)
    definitions["Error"] = _object(
        code={"type": "integer", "format": "int32"},
        message={"type": "string"},
        fields={"type": "string"},
    )
    definitions["WebServiceResult"] = _result()
    if "batch" in features:
        definitions.update(_batch_definitions())
    if "login" in features:
        definitions.update(_login_definitions())
    return document


def _inputs(definition: Definition) -> Json:
    schema = _parameters(definition.inputs)
    if definition.sample is not None:
        schema["example"] = copy.deepcopy(definition.sample)
    return schema


def _parameters(params: Iterable[Mapping[str, Any]]) -> Json:
    return {"type": "object", "properties": {param["name"]: _property(param) for param in params}}


def _property(param: Mapping[str, Any]) -> Json:
    """``{"type": "number", "description": "numeric"}``; what we know more is added."""
    kind = param["type"]
    schema = {**copy.deepcopy(_PLAIN[kind]), "description": kind, **_NULLABLE}
    if param.get("columns") is not None:
        schema["properties"] = {
            column["name"]: {
                "type": "array",
                "items": {**copy.deepcopy(_PLAIN[column["type"]]), **_NULLABLE},
                "description": column["type"],
            }
            for column in param["columns"]
        }
    default = param.get("default")
    # 2.0 knows no null, and no second form of a frame: only plain defaults can be said in it.
    if default is not None and kind in _SCALARS and default_fits_format(param):
        schema["default"] = int(default) if kind == "integer" else default
    return schema


def _result() -> Json:
    return _object(
        success={"type": "boolean", "description": "Whether the call succeeded."},
        errorMessage={"type": "string", "description": "What went wrong, or empty."},
        consoleOutput={"type": "string", "description": "What the code printed."},
        changedFiles={
            "type": "array",
            "items": {"type": "string", "description": "Name of one file."},
            "description": "Names of the files the code made or changed.",
        },
        outputFiles={
            "type": "object",
            "additionalProperties": {"type": "string", "format": "byte", **_NULLABLE},
        },
        outputParameters=_ref("OutputParameters"),
    )


def _consume(definition: Definition) -> Json:
    return {
        "security": copy.deepcopy(_SECURITY),
        "tags": [definition.name],
        "description": f"Call {definition.name}.",
        "operationId": definition.documented_operation,
        "parameters": [
            _body("WebServiceParameters", _ref("InputParameters"), "The inputs, by name.")
        ],
        "responses": {
            "200": {"description": "The call succeeded.", "schema": _ref("WebServiceResult")},
            **_failures(),
        },
    }


def _failures() -> Json:
    return {
        "400": {"description": "The input is not valid, or the code failed."},
        "500": {"description": "The server failed."},
        **_default("Any other failure."),
    }


def _default(description: str) -> Json:
    return {"default": {"description": description, "schema": _ref("Error")}}


def _batch_paths(name: str, path: str) -> Json:
    execution = _parameter("executionId", "path", "Id of the batch execution.", type="string")
    index = _parameter(
        "index", "path", "Position of the record in the batch, from 0.", type="integer"
    )
    file_name = _parameter("fileName", "path", "Name of the file.", type="string")
    start: Json = {
        "security": copy.deepcopy(_SECURITY),
        "tags": [name],
        "description": f"Start a batch execution of {name}: one call for every record.",
        "operationId": "StartBatchExecution",
        "parameters": [
            _body(
                "BatchWebServiceParameters",
                {"type": "array", "items": _ref("InputParameters")},
                "The inputs of every record.",
            ),
            _parameter(
                "parallelCount",
                "query",
                "How many records may be worked on at once, 10 if omitted.",
                required=False,
                type="integer",
                format="int32",
            ),
        ],
        "responses": {
            "202": {"description": "Started.", "schema": _ref("StartBatchExecutionResponse")},
            **_failures(),
        },
    }
    partial = _parameter(
        "showPartialResults",
        "query",
        "Whether to answer results while the batch is running.",
        required=False,
        type="boolean",
    )
    strings = {"type": "array", "items": {"type": "string"}}
    missing = "A failure: 400 bad request, 404 no such service, execution or file."

    def operation(operation_id: str, summary: str, result: Json, *parameters: Json) -> Json:
        found: Json = {
            "security": copy.deepcopy(_SECURITY),
            "tags": [name],
            "summary": summary,
            "operationId": operation_id,
            "consumes": list(_JSON),
            "produces": list(_JSON),
        }
        if parameters:
            found["parameters"] = copy.deepcopy(list(parameters))
        found["responses"] = {
            "200": {"description": "Done.", "schema": copy.deepcopy(result)},
            **_default(missing),
        }
        return found

    one, files = f"{path}/{{executionId}}", f"{path}/{{executionId}}/{{index}}/files"
    return {
        path: {
            "post": start,
            "get": operation("GetBatchExecutions", "Ids of the batch executions.", strings),
        },
        one: {
            "get": operation(
                "GetBatchExecutionStatus",
                "State and results of a batch execution.",
                _ref("BatchWebServiceResult"),
                execution,
                partial,
            ),
            "delete": operation(
                "CancelAndDeleteBatchExecution",
                "Stop a batch execution and delete its results.",
                strings,
                execution,
            ),
        },
        files: {
            "get": operation(
                "GetBatchExecutionFiles", "Files one record wrote.", strings, execution, index
            )
        },
        f"{files}/{{fileName}}": {
            "get": operation(
                "GetBatchExecutionFile",
                "One file of one record.",
                {"type": "file"},
                execution,
                index,
                file_name,
            )
        },
    }


def _batch_definitions() -> Json:
    count = {"type": "integer", "format": "int32"}
    return {
        "StartBatchExecutionResponse": _object(
            batchExecutionId={"type": "string", "description": "Id of the batch execution."}
        ),
        "BatchWebServiceResult": _object(
            state={
                "type": "string",
                # A real document has them in lower case, while its server answered "Complete":
                # generated clients that check the words refuse such answers. So: what we answer.
                "enum": list(STATES),
                "description": "Where the batch execution stands.",
            },
            completedItemCount={**count, "description": "Records that are done."},
            totalItemCount={**count, "description": "Records of the batch."},
            batchExecutionResults={
                "type": "array",
                "items": _ref("WebServiceResult"),
                "description": "One result for every record, in order.",
            },
        ),
    }


def _login_paths() -> Json:
    tokens = _ref("AccessTokenResponse")

    def operation(operation_id: str, summary: str, parameter: Json, done: str, failed: str) -> Json:
        return {
            "operationId": operation_id,
            "summary": summary,
            "parameters": [parameter],
            "tags": ["User"],
            "responses": {
                "200": {"description": done, "schema": dict(tokens)},
                **_default(failed),
            },
        }

    refused = "A failure: 401 the refresh token is not valid."
    return {
        "/login": {
            "post": operation(
                "login",
                "Exchange a name and password for tokens.",
                _body("loginRequest", _ref("LoginRequest")),
                "The tokens.",
                "A failure: 401 wrong name or password.",
            )
        },
        "/login/refreshToken": {
            "post": operation(
                "renewToken",
                "Exchange a refresh token for new tokens.",
                _body("renewTokenRequest", _ref("RenewTokenRequest")),
                "The new tokens.",
                refused,
            ),
            "delete": operation(
                "revokeRefreshToken",
                "Make a refresh token invalid.",
                _parameter("refreshToken", "query", "The refresh token.", type="string"),
                "The token is invalid now.",
                refused,
            ),
        },
    }


def _login_definitions() -> Json:
    text: Json = {"type": "string"}
    return {
        "LoginRequest": _object(
            username={**text, "description": "Name of the account."},
            password={**text, "description": "Its password."},
        ),
        "RenewTokenRequest": _object(
            refreshToken={**text, "description": "A refresh token that is still valid."}
        ),
        "AccessTokenResponse": _object(
            token_type=dict(text),
            access_token=dict(text),
            expires_on=dict(text),
            refresh_token=dict(text),
        ),
    }


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties}


def _body(name: str, schema: Json, description: str | None = None) -> Json:
    found: Json = {"name": name, "in": "body", "required": True}
    if description is not None:
        found["description"] = description
    found["schema"] = schema
    return found


def _parameter(
    name: str, place: str, description: str, *, required: bool = True, **kind: str
) -> Json:
    return {"name": name, "in": place, "description": description, "required": required, **kind}


def _ref(name: str) -> Json:
    return {"$ref": f"#/definitions/{name}"}
