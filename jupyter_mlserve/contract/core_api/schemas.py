"""The named schemas of the core API (JSON Schema 2020-12; ``documents`` turns them to 2.0).

Names and properties of the published contract, and what this server adds.
"""

from __future__ import annotations

import copy

from ..limits import MAX_FILE_NAME, MAX_NAME
from ..spelling import PYTHON
from .operation import NAMES, TEXT, Json, many, ref

_MAYBE: Json = {"type": ["string", "null"]}
_COUNT: Json = {"type": "integer", "minimum": 0}
_OPEN: Json = {"type": "object"}


def _text(description: str) -> Json:
    return {**TEXT, "description": description}


def _maybe(description: str) -> Json:
    return {**_MAYBE, "description": description}


def _object(*required: str, **properties: Json) -> Json:
    found: Json = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(required)
    return found


def schemas() -> Json:
    """Name -> schema, made anew; references are ``#/NAME``."""
    return copy.deepcopy(
        {
            **_shared(),
            **_login(),
            **_services(),
            **_consume(),
            **_sessions(),
            **_status(),
        }
    )


def _shared() -> Json:
    return {
        "Error": _object(
            *("code", "message", "exceptionType", "fields", "link"),
            code={"type": "integer", "description": "The HTTP status."},
            message=_text("What happened, and what to do."),
            exceptionType=_text("The kind of failure, for programs."),
            fields=_text("The input or key at fault, or empty."),
            link=_text("Where to read more, or empty."),
            details={**_OPEN, "description": "Facts for programs."},
        )
    }


def _login() -> Json:
    return {
        "LoginRequest": _object(
            *("username", "password"),
            username=_text("Name of the account."),
            password=_text("Its password."),
        ),
        "RenewTokenRequest": _object(
            "refreshToken", refreshToken=_text("A refresh token that is still valid.")
        ),
        "AccessTokenResponse": _object(
            token_type=_text("Bearer."),
            access_token=_text("Sent as 'Authorization: Bearer TOKEN'."),
            expires_in={**_COUNT, "description": "Seconds for which the access token is valid."},
            expires_on=_text("When it expires: seconds since 1970, as text."),
            refresh_token=_text("Buys the next pair, once."),
        ),
    }


def _services() -> Json:
    own = {**_OPEN, "description": "What this server knows beyond the published contract."}
    parameters = many(ref("ParameterDefinition"))
    pool = {**TEXT, "enum": ["Success", "Pending", "NotFound"]}
    code: Json = {
        "description": _maybe("Of the version."),
        "operationId": _maybe("Alias: name of the call in clients."),
        "inputParameterDefinitions": parameters,
        "outputParameterDefinitions": parameters,
        "outputFileNames": {**NAMES, "description": "Files that come with every answer."},
    }
    return {
        "ParameterDefinition": _object(
            *("name", "type"),
            name={**TEXT, "maxLength": MAX_NAME},
            type={**TEXT, "enum": list(PYTHON)},
        ),
        "PublishWebServiceRequest": _object(
            snapshotId=_maybe("A snapshot whose objects and files the version takes."),
            code=_maybe("What a call runs: inputs are its variables, and so are outputs."),
            initCode=_maybe("What runs once in each worker, before its first call."),
            runtimeType={**_MAYBE, "enum": ["Python", None]},
            **code,
            mlserve=own,
        ),
        "WebService": _object(
            *("name", "version"),
            name=TEXT,
            version=TEXT,
            versionPublishedBy=TEXT,
            creationTime=_text("UTC, with seven digits after the second and no zone."),
            snapshotId=_MAYBE,
            runtimeType={**TEXT, "enum": ["Python", "Realtime"]},
            initCode=_maybe("For those who may change the version."),
            code=_maybe("For those who may change the version."),
            **code,
            myPermissionOnService={**TEXT, "enum": ["read/write", "read only"]},
            mlserve=own,
        ),
        "CreateOrUpdateServicePoolRequest": _object(
            InitialPoolSize={
                **_COUNT,
                "description": "Workers that are always there. Left out: as it was, or 0.",
            },
            MaxPoolSize={
                **_COUNT,
                "description": "At least InitialPoolSize. Left out: as it was, or 0.",
            },
        ),
        "ServicePoolStatusResponse": _object(
            *("computeNodeEndpoint", "status", "ComputeNodeEndpoint", "Status"),
            computeNodeEndpoint=_text("Address of the compute node."),
            status=pool,
            ComputeNodeEndpoint=_text("The same; some clients read it."),
            Status=pool,
        ),
        "History": _object("history", history=many(ref("HistoryEvent"))),
        "HistoryEvent": _object(
            *("at", "who", "action", "name", "version", "state"),
            at=TEXT,
            who=TEXT,
            action=TEXT,
            name=TEXT,
            version=TEXT,
            state=_object(id=_MAYBE, number={"type": ["integer", "null"]}),
        ),
        "RollbackRequest": _object(
            state={"type": ["integer", "null"], "description": "Its number; null: the one before."}
        ),
        "MissingBlobsRequest": _object("sha256", sha256=NAMES),
        "MissingBlobs": _object("missing", missing=NAMES),
        "Blob": _object("sha256", "size", sha256=TEXT, size=_COUNT),
    }


def _consume() -> Json:
    return {
        "Inputs": {**_OPEN, "description": "The inputs by name, as the service declares them."},
        "WebServiceResult": _object(
            *("success", "errorMessage", "consoleOutput", "changedFiles"),
            *("outputFiles", "outputParameters"),
            success={"type": "boolean"},
            errorMessage=TEXT,
            consoleOutput=TEXT,
            changedFiles=NAMES,
            outputFiles={"type": "object", "additionalProperties": _MAYBE},
            outputParameters=_OPEN,
        ),
        "SwaggerJsonResponse": {**_OPEN, "description": "The document."},
    }


def _sessions() -> Json:
    value: Json = {"description": "Any JSON value."}
    runtime: Json = {**TEXT, "enum": ["Python"]}
    file_name: Json = {**TEXT, "maxLength": MAX_FILE_NAME}
    return {
        "Session": _object(id=TEXT, name=_MAYBE, owner=TEXT, runtimeType=runtime),
        "CreateSessionRequest": _object(
            name=_maybe("Of the session, for people."),
            snapshotId=_maybe("A snapshot to begin with."),
            runtimeType=runtime,
        ),
        "Stored": _object("name", "size", name=TEXT, size={**_COUNT, "description": "Bytes."}),
        "CreateSessionResponse": _object("sessionId", sessionId=TEXT),
        "WorkspaceObject": _object("name", name=TEXT, value=value),
        "ExecuteRequest": _object(
            "code",
            code=_text("What to run."),
            inputParameters=many(ref("WorkspaceObject")),
            outputParameters={**NAMES, "description": "Variables to send back."},
        ),
        "ExecuteResponse": _object(
            *("success", "errorMessage", "outputParameters", "consoleOutput", "changedFiles"),
            success={"type": "boolean"},
            errorMessage=TEXT,
            outputParameters=many(ref("WorkspaceObject")),
            consoleOutput=TEXT,
            changedFiles=many(file_name),
        ),
        "ConsoleOutputResponse": _object("consoleOutput", consoleOutput=TEXT),
        "CreateSnapshotRequest": _object(name=_maybe("Of the snapshot, for people.")),
        "CreateSnapshotResponse": _object("snapshotId", snapshotId=TEXT),
        "Snapshot": _object(
            id=TEXT,
            name=_MAYBE,
            owner=TEXT,
            creationTime=TEXT,
            contentSize={**_COUNT, "description": "Bytes."},
        ),
    }


def _status() -> Json:
    code = {**TEXT, "enum": ["pass", "warn", "fail"]}
    return {
        "StatusResponse": _object(
            "statusCode",
            statusCode={**code, "description": "The worst of the components'."},
            components={
                "type": ["object", "null"],
                "additionalProperties": ref("StatusResponse"),
            },
            details={"type": ["object", "null"]},
        ),
        "GetComputeNodesResponse": _object("computeNodes", computeNodes=NAMES),
        "UpdateComputeNodesRequest": _object(
            "entries", entries={**NAMES, "description": "Addresses, or ranges of addresses."}
        ),
    }
