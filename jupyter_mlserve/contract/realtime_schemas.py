"""What the documents of a realtime version say of its frames.

They say what the runtime accepts: the columns by name, no null but where the model was proven with
it, and the response column where the training frame carried it. The order of columns, their equal
length, and the values a model knows have no words in JSON Schema or are the model's own, so they
stand in descriptions or in the error that a call gets.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .header_checks import EXACT_INTEGER
from .realtime_words import LABEL, about_output, few, listed

if TYPE_CHECKING:
    from .definition import Definition

Schema = dict[str, Any]

ARROW = "application/vnd.apache.arrow.stream"

_PLAIN: dict[str, Schema] = {
    "logical": {"type": "boolean"},
    "integer": {
        "type": "integer",
        "format": "int64",
        # Models compute with doubles: larger integers would not be exact.
        "minimum": -EXACT_INTEGER,
        "maximum": EXACT_INTEGER,
    },
    "numeric": {"type": "number"},
    "character": {"type": "string"},
}
_ANYTHING = {"type": ["number", "string", "boolean", "null"]}
_ARROW_TYPES = {
    "logical": "bool",
    "integer": "an integer type",
    "numeric": "float64, float32 or an integer type",
    "character": "string, large_string or a dictionary of strings",
}
_ARROW_ANSWERS = {
    "logical": "bool",
    "integer": "int64",
    "numeric": "float64",
    "character": "string",
}
# Answers that null may stand for. Labels and flags are always there.
_MAY_MISS = ("numeric", "character")
_MANY = 200  # columns; a sentence does not name so many


def inputs_schema(definition: Definition) -> Schema:
    """The body of a call, for OpenAPI 3.1: ``inputData`` as columns or as records."""
    known = _known(definition)
    cells = {name: _cell(column, known.get(name)) for name, column in _columns(definition)}
    lists = {name: {"type": "array", "items": cell} for name, cell in cells.items()}
    required = [column["name"] for column in definition.inputs[0]["columns"]]
    text = (
        "data.frame (pandas.DataFrame). An object of columns of equal length, or a list of "
        "records. The columns come in the order given here."
    )
    response = _response(definition)
    if response:
        text += f" {response!r}, the response, may be left out, and is ignored."

    def closed(properties: Schema) -> Schema:
        return {
            "type": "object",
            "properties": properties,
            "required": list(required),
            "additionalProperties": False,
        }

    frame = {
        "oneOf": [closed(lists), {"type": "array", "items": closed(copy.deepcopy(cells))}],
        "description": text,
    }
    return {
        "type": "object",
        "properties": {"inputData": frame},
        "required": ["inputData"],
        "additionalProperties": False,
    }


def outputs_schema(definition: Definition) -> Schema:
    """``outputParameters`` of a successful answer, for OpenAPI 3.1."""
    columns = {}
    for column in definition.outputs[0]["columns"]:
        columns[column["name"]] = made = {"type": "array", "items": _answer(definition, column)}
        about = _about(definition, column["name"])
        if about:
            made["description"] = about
    frame = {
        "type": "object",
        "properties": columns,
        "required": list(columns),
        "additionalProperties": False,
        "description": "data.frame (pandas.DataFrame). A value for each row of the input.",
    }
    return {
        "type": "object",
        "properties": {"outputData": frame},
        "required": ["outputData"],
        "additionalProperties": False,
    }


def arrow_input(definition: Definition) -> Schema:
    """The body of a call as an Arrow IPC stream: bytes, whose columns only words can tell."""
    columns = [
        f"{name} ({_ARROW_TYPES[column['type']]}{', may be null' if column['nullable'] else ''})"
        if column is not None
        else f"{name} (may be left out)"
        for name, column in _columns(definition)
    ]
    return _stream("The rows of inputData, of any number", columns)


def arrow_output(definition: Definition) -> Schema:
    """The answer as an Arrow IPC stream: outputData alone."""
    columns = [
        f"{item['name']} ({_ARROW_ANSWERS[item['type']]})"
        for item in definition.outputs[0]["columns"]
    ]
    return _stream("outputData alone, a value for each row", columns)


def examples(definition: Definition) -> Schema:
    """The example row in both forms, each as the body of a call."""
    row = _example(definition)
    columns = {name: [value] for name, value in row.items()}
    return {
        "columns": {"summary": "One typical row.", "value": {"inputData": columns}},
        "records": {
            "summary": "The same as a list of records.",
            "value": {"inputData": [copy.deepcopy(row)]},
        },
    }


def swagger_inputs(definition: Definition) -> Schema:
    """``InputParameters`` for Swagger 2.0, which knows neither null nor a choice of forms."""
    properties: Schema = {}
    known = _known(definition)
    for name, column in _columns(definition):
        if column is None:
            properties[name] = {
                "type": "array",
                "items": {},
                "description": "The response. It may be left out, and is ignored.",
            }
            continue
        items = _swagger_cell(column["type"])
        if column["nullable"]:
            items["x-nullable"] = True
        text = str(column["type"])
        if name in known:
            text += f". {_among(known[name])}"
        properties[name] = {"type": "array", "items": items, "description": text}
    row = _example(definition)
    example = {"inputData": {name: [value] for name, value in row.items()}}
    return {**_swagger_frame("inputData", properties), "example": example}


def swagger_outputs(definition: Definition) -> Schema:
    """``OutputParameters`` for Swagger 2.0."""
    properties = {
        column["name"]: {
            "type": "array",
            "items": _swagger_answer(column["type"]),
            "description": ". ".join(
                filter(None, (column["type"], _about(definition, column["name"])))
            ),
        }
        for column in definition.outputs[0]["columns"]
    }
    return _swagger_frame("outputData", properties)


def _swagger_frame(name: str, properties: Schema) -> Schema:
    frame = {"type": "object", "description": "data.frame", "properties": properties}
    return {"type": "object", "properties": {name: frame}}


def _swagger_cell(kind: str) -> Schema:
    return {"type": _PLAIN[kind]["type"]}


def _columns(definition: Definition) -> list[tuple[str, Mapping[str, Any] | None]]:
    """Names and columns of the input in their order; None for the response among them."""
    found: list[tuple[str, Mapping[str, Any] | None]] = [
        (column["name"], column) for column in definition.inputs[0]["columns"]
    ]
    response = _response(definition)
    if response:
        assert definition.realtime is not None
        assert definition.realtime.response is not None
        found.insert(definition.realtime.response["position"], (response, None))
    return found


def _response(definition: Definition) -> str | None:
    """The name of the response if the frame may carry it."""
    response = (definition.realtime and definition.realtime.response) or {"position": None}
    return None if response["position"] is None else str(response["name"])


def _example(definition: Definition) -> Schema:
    assert definition.realtime is not None
    return copy.deepcopy(definition.realtime.example)


def _known(definition: Definition) -> Mapping[str, list[Any]]:
    return definition.realtime.known if definition.realtime is not None else {}


def _among(values: list[Any]) -> str:
    return f"One of the values the model knows: {listed(values)}."


def _about(definition: Definition, name: str) -> str:
    return about_output(name, definition.realtime.to_json()) if definition.realtime else ""


def _cell(column: Mapping[str, Any] | None, known: list[Any] | None) -> Schema:
    if column is None:
        return copy.deepcopy(_ANYTHING)
    made = copy.deepcopy(_PLAIN[column["type"]])
    nullable = column["nullable"]
    if nullable:
        made["type"] = [made["type"], "null"]
    if known is not None:
        made["enum"] = [*known, *([None] if nullable else [])]
        made["description"] = _among(known)
    return made


def _answer(definition: Definition, column: Mapping[str, Any]) -> Schema:
    """A cell that comes out. Labels are there always, numbers and texts may be missing."""
    kind = column["type"]
    plain = _swagger_cell(kind)
    classes = definition.realtime.classes if definition.realtime else None
    if classes and column["name"] == LABEL and few(classes):
        return {**plain, "enum": list(classes)}
    return {"type": [plain["type"], "null"]} if kind in _MAY_MISS else plain


def _swagger_answer(kind: str) -> Schema:
    """The same for 2.0, which has no null."""
    plain = _swagger_cell(kind)
    return {**plain, "x-nullable": True} if kind in _MAY_MISS else plain


def _stream(what: str, columns: list[str]) -> Schema:
    text = f"An Arrow IPC stream. {what}"
    text += f", with the columns {', '.join(columns)}." if len(columns) <= _MANY else "."
    return {"type": "string", "contentMediaType": ARROW, "description": text}
