"""What the OpenAPI 3.1 document of a version says of its batch executions.

The paths, names and states of the published contract, and beyond it: uploads and downloads as
JSON lines, CSV, Arrow and Parquet, pages of results, events, and a key against starting twice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from . import errors, realtime_schemas
from .batch import CSV, DEFAULT_PARALLEL, JSON, LINES, MEDIA, PARQUET, STATES, frame_input
from .definition import Definition
from .http_status import status_of
from .realtime_schemas import ARROW

Json = dict[str, Any]
# Makes the answer to a failure; told when it happens, and whether trying again makes sense.
Failure = Callable[..., Json]

# Class of the failure, and when it happens.
_ALL: tuple[tuple[type[errors.MLServeError], str], ...] = (
    (errors.InvalidInput, "A parameter, or the upload, is not what is declared."),
    (errors.NotAuthenticated, "No valid token came with the request."),
    (errors.NotAllowed, "The token does not open this service."),
    (errors.NotFound, "There is no such service, version, execution, record or file."),
    (errors.WorkerLost, "The server failed."),
    (errors.Unavailable, "The server cannot do it now."),
)
_START: tuple[tuple[type[errors.MLServeError], str], ...] = (
    (errors.Conflict, "The Idempotency-Key was used before, with other records."),
    (errors.VersionDeleted, "The version was deleted."),
    (errors.TooLarge, "The upload is larger than the server accepts, or has too many records."),
    (errors.UnsupportedMedia, "The server does not read this media type."),
    (errors.TooBusy, "There are as many executions as one user may have."),
    (errors.OutOfSpace, "The disk is full, or what the user or the server may store is used up."),
)
_RETRY = (errors.TooBusy, errors.Unavailable)
_MANY = 200  # columns; a sentence does not name so many
_STRINGS: Json = {"type": "array", "items": {"type": "string"}}


def paths(definition: Definition, failure: Failure) -> Json:
    """The paths, to be merged with those of the call itself."""
    root = f"/api/{definition.name}/{definition.version}/batch"
    one, files = f"{root}/{{executionId}}", f"{root}/{{executionId}}/{{index}}/files"
    execution = _parameter("executionId", "path", "Id of the execution.", {"type": "string"})
    index = _parameter(
        "index", "path", "Position of the record, from 0.", {"type": "integer", "minimum": 0}
    )
    name = _parameter("fileName", "path", "Name of the file.", {"type": "string"})

    def operation(
        operation_id: str,
        summary: str,
        responses: Json,
        parameters: Sequence[Json] = (),
        more: tuple[tuple[type[errors.MLServeError], str], ...] = (),
    ) -> Json:
        known = {**dict(_ALL), **dict(more)}
        for cls in sorted(known, key=status_of):
            retry = cls in _RETRY
            responses[str(status_of(cls))] = failure(known[cls], retry=retry, schema="Error")
        responses["default"] = failure("The request failed.", schema="Error")
        return {
            "operationId": operation_id,
            "summary": summary,
            "tags": [definition.name],
            "parameters": copy.deepcopy(list(parameters)),
            "responses": responses,
        }

    start = operation(
        "StartBatchExecution",
        f"Have {definition.name} answer many records, in the background.",
        {"202": _started()},
        _start_parameters(),
        _START,
    )
    start["requestBody"] = {"required": True, "content": _uploads(definition)}
    return {
        root: {
            "post": start,
            "get": operation(
                "GetBatchExecutions",
                "Ids of your executions, the oldest first.",
                {"200": _json("The ids, or all about them.", _list_schema())},
                [_flag("details", "Answer what is known of each execution, not only its id.")],
            ),
        },
        one: {
            "get": operation(
                "GetBatchExecutionStatus",
                "State and results of an execution.",
                {"200": _json("Where it stands.", _ref("BatchWebServiceResult"))},
                [execution, *_status_parameters()],
            ),
            "delete": operation(
                "CancelAndDeleteBatchExecution",
                "Stop an execution, and delete it with its results.",
                {"200": _json("The ids of what was deleted.", _STRINGS)},
                [execution],
            ),
        },
        f"{one}/results": {
            "get": operation(
                "GetBatchExecutionResults",
                "A page of results as JSON, or all of them as a file.",
                {"200": _results()},
                [execution, *_results_parameters()],
            )
        },
        f"{one}/events": {
            "get": operation(
                "WatchBatchExecution",
                "Server-sent events: progress until the execution has ended.",
                {"200": _events()},
                [execution],
                ((errors.TooBusy, "There are as many streams as one user may have."),),
            )
        },
        files: {
            "get": operation(
                "GetBatchExecutionFiles",
                "Names of the files that one record wrote.",
                {"200": _json("The names.", _STRINGS)},
                [execution, index],
            )
        },
        f"{files}/{{fileName}}": {
            "get": operation(
                "GetBatchExecutionFile",
                "One file of one record.",
                {"200": {"description": "Its bytes.", "content": {"application/octet-stream": {}}}},
                [execution, index, name],
            )
        },
    }


def schemas() -> Json:
    """The named schemas that :func:`paths` needs."""
    count: Json = {"type": "integer", "minimum": 0}
    text, moment = {"type": "string"}, {"type": ["string", "null"], "format": "date-time"}
    results = {
        "type": "array",
        "items": _ref("BatchRecordResult"),
        "description": "One result for each record, in their order; the first ones while the"
        " execution is running.",
    }
    identity = {**text, "description": "Id of the execution."}
    rate: Json = {"type": ["number", "null"], "minimum": 0}
    status: Json = {
        "batchExecutionId": identity,
        "state": {
            "type": "string",
            "enum": list(STATES),
            "description": "Complete: every record has its result, be it a failure. Failed: it"
            " cannot go on, errorMessage says why.",
        },
        "totalItemCount": {**count, "description": "Records of the execution."},
        "completedItemCount": {**count, "description": "Records that have their result."},
        "failedItemCount": {**count, "description": "Those of them that failed."},
        "parallelCount": {**count, "description": "Records worked on at once, at most."},
        "errorMessage": {**text, "description": "Why it failed or waits, or empty."},
        "createdAt": moment,
        "startedAt": moment,
        "finishedAt": moment,
        "expiresAt": {**moment, "description": "When it is deleted, if nobody does so before."},
        "rate": {**rate, "description": "Records a second of late, while it is running."},
        "secondsLeft": {**rate, "description": "How long it may still take."},
    }
    needed = ["state", "totalItemCount", "completedItemCount"]
    return {
        "StartBatchExecutionResponse": {
            "type": "object",
            "properties": {
                "batchExecutionId": identity,
                "BatchExecutionId": {**text, "description": "The same; some clients read it."},
                "totalItemCount": status["totalItemCount"],
                "parallelCount": status["parallelCount"],
            },
            "required": ["batchExecutionId", "BatchExecutionId", "totalItemCount"],
        },
        "BatchRecordResult": {
            "oneOf": [_ref("WebServiceResult"), _ref("ErrorResult")],
            "description": "What one record gave: success tells which.",
        },
        "BatchWebServiceResult": {
            "type": "object",
            "properties": {**copy.deepcopy(status), "batchExecutionResults": results},
            "required": list(needed),
        },
        "BatchResultPage": {
            "type": "object",
            "properties": {
                "offset": {**count, "description": "Position of the first record."},
                "count": {**count, "description": "How many results these are."},
                "totalItemCount": dict(status["totalItemCount"]),
                "completedItemCount": dict(status["completedItemCount"]),
                "next": {
                    "type": ["integer", "null"],
                    "description": "The offset of the next page; null at the end.",
                },
                "results": {"type": "array", "items": _ref("BatchRecordResult")},
            },
            "required": [
                *("offset", "count", "totalItemCount", "completedItemCount", "next", "results"),
            ],
        },
    }


def _start_parameters() -> list[Json]:
    return [
        _parameter(
            "parallelCount",
            "query",
            "How many records may be worked on at once. A number above the server's own limit "
            "is lowered to it; the answer says so.",
            {"type": "integer", "minimum": 1, "default": DEFAULT_PARALLEL},
            required=False,
        ),
        _parameter(
            "Idempotency-Key",
            "header",
            "Any text of your own. The same key with the same records starts nothing anew: the "
            "answer names the execution that there is. So a request whose answer was lost can be "
            "sent again.",
            {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            required=False,
        ),
    ]


def _status_parameters() -> list[Json]:
    partial = "Answer the results there are while the execution is running."
    return [
        _flag("showPartialResults", partial),
        {**_flag("showPartialResult", "The same; some clients write it."), "deprecated": True},
        _flag("results", "false: without results, also when the execution has ended.", True),
    ]


def _results_parameters() -> list[Json]:
    formats = sorted(MEDIA)
    return [
        _parameter(
            "offset",
            "query",
            "Position of the first record.",
            {"type": "integer", "minimum": 0, "default": 0},
            required=False,
        ),
        _parameter(
            "limit",
            "query",
            "How many records at most. JSON comes in pages of 1,000 if none is named, and of "
            "10,000 at most; the other formats have everything if none is named.",
            {"type": "integer", "minimum": 1},
            required=False,
        ),
        _parameter(
            "format",
            "query",
            "The format, for those who cannot send the header Accept.",
            {"type": "string", "enum": formats},
            required=False,
        ),
    ]


def _started() -> Json:
    answer = _json("All records are stored.", _ref("StartBatchExecutionResponse"))
    text = {"type": "string"}
    answer["headers"] = {
        "Location": {"description": "Where the execution is.", "schema": text},
        "Idempotency-Replayed": {
            "description": "true: the Idempotency-Key had started this execution before.",
            "schema": dict(text),
        },
    }
    return answer


def _list_schema() -> Json:
    return {
        "anyOf": [
            copy.deepcopy(_STRINGS),
            {"type": "array", "items": _ref("BatchWebServiceResult")},
        ]
    }


def _uploads(definition: Definition) -> Json:
    """The formats in which records come."""
    frame = frame_input(definition.inputs)
    inputs = _ref("InputParameters")
    body: Json = {"schema": {"type": "array", "items": inputs}}
    example = _example(definition)
    if example is not None:
        body["examples"] = {"records": {"summary": "Two records.", "value": [example, example]}}
    row = "a row of the frame" if frame is not None else "its inputs"
    columns = _columns(definition, frame)
    flat = " or an object of the columns of one row" if frame is not None else ""
    table = f"Each row is one record: {row}. {columns}"
    return {
        JSON: body,
        LINES: _bytes(f"JSON Lines: a record a line, as InputParameters{flat}.", LINES),
        CSV: _bytes(f"UTF-8, with a header. {table} An empty cell is null.", CSV),
        ARROW: _bytes(f"An Arrow IPC stream. {table}", ARROW),
        PARQUET: _bytes(f"A Parquet file. {table}", PARQUET),
    }


def _example(definition: Definition) -> Json | None:
    if definition.realtime is not None:
        shown: Json = realtime_schemas.examples(definition)["columns"]["value"]
        return shown
    return copy.deepcopy(definition.sample) or None


def _columns(definition: Definition, frame: Any) -> str:
    """``The columns are hp, wt.``, if they are known and not very many."""
    found = definition.inputs if frame is None else frame.get("columns") or ()
    if not found or len(found) > _MANY:
        return ""
    return f"The columns are {', '.join(item['name'] for item in found)}."


def _results() -> Json:
    table = (
        "A table: the column record is the position of the record, then come the outputs (those "
        "of a frame as columns, a row for each of its rows), and error says why a record failed."
    )
    return {
        "description": "The results there are, in the order of the records.",
        "content": {
            JSON: {"schema": _ref("BatchResultPage")},
            LINES: _bytes("JSON Lines: a BatchRecordResult a line.", LINES),
            CSV: _bytes(table, CSV),
            ARROW: _bytes(table, ARROW),
            PARQUET: _bytes(table, PARQUET),
        },
    }


def _events() -> Json:
    # No schema: some tools hold it to be that of the whole text, some that of one event.
    return {
        "description": "Events of the type progress, whose data is a BatchWebServiceResult without "
        "results. The stream ends with the execution.",
        "content": {"text/event-stream": {}},
    }


def _bytes(description: str, media: str) -> Json:
    """A body that is not JSON: 3.1 says of it what it is, and words say what is in it."""
    return {
        "schema": {
            "type": "string",
            "contentMediaType": media,
            "description": description.strip(),
        }
    }


def _json(description: str, schema: Json) -> Json:
    return {
        "description": description,
        "content": {"application/json": {"schema": copy.deepcopy(schema)}},
    }


def _flag(name: str, description: str, default: bool = False) -> Json:
    schema = {"type": "boolean", "default": default}
    return _parameter(name, "query", description, schema, required=False)


def _parameter(
    name: str, place: str, description: str, schema: Json, *, required: bool = True
) -> Json:
    return {
        "name": name,
        "in": place,
        "description": description,
        "required": required,
        "schema": schema,
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
