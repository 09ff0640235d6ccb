"""JSON Schemas (2020-12, as OpenAPI 3.1 uses it) of declared inputs and outputs.

They say what a worker accepts and what it answers. Three rules have no words in JSON Schema and
stand in descriptions: columns of a frame come in the declared order, columns of a frame and rows
of a matrix have equal length, and a date and time may lack its zone.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .spelling import PYTHON

Schema = dict[str, Any]

# What "format: date-time" means (RFC 3339). We accept more (a date, no zone), so a default of
# ours may break the format; it is then told in words only.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")

_KINDS = ["number", "string", "boolean"]  # an array that comes in holds one of them
_SCALARS = [*_KINDS, "null"]
_PLAIN: dict[str, Schema] = {
    "logical": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int64"},
    "numeric": {"type": "number"},
    "character": {"type": "string"},
    "datetime": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "vector": {"type": "array", "items": {"type": _SCALARS}},
    "matrix": {"type": "array", "items": {"type": "array", "items": {"type": _SCALARS}}},
    "list": {"type": "array"},
    "dict": {"type": "object"},
}
_NOTES = {
    "matrix": "Rows of equal length.",
    "datetime": "ISO 8601.",
    "bytes": "Base64.",
}


def inputs_schema(params: Sequence[Mapping[str, Any]]) -> Schema:
    """The body of a call: an object of the inputs, strict about names."""
    schema: Schema = {
        "type": "object",
        "properties": {param["name"]: input_schema(param) for param in params},
        "additionalProperties": False,
    }
    required = [param["name"] for param in params if not param.get("optional")]
    if required:
        schema["required"] = required
    return schema


def outputs_schema(params: Sequence[Mapping[str, Any]]) -> Schema:
    """``outputParameters`` of a successful answer: every declared output is there."""
    schema: Schema = {
        "type": "object",
        "properties": {param["name"]: output_schema(param) for param in params},
        "additionalProperties": False,
    }
    if params:
        schema["required"] = [param["name"] for param in params]
    return schema


def input_schema(param: Mapping[str, Any]) -> Schema:
    """One input. null is always accepted and is None in the code (published contract)."""
    if param["type"] == "data.frame":
        columns = param.get("columns")
        schema: Schema = {
            "oneOf": [
                _columns_form(columns, strict=True),
                _records_form(columns),
                {"type": "null"},
            ]
        }
    elif param["type"] in ("vector", "matrix"):
        arrays = [{"type": "array", "items": {"type": [kind, "null"]}} for kind in _KINDS]
        if param["type"] == "matrix":
            arrays = [{"type": "array", "items": rows} for rows in arrays]
        schema = {"anyOf": [*arrays, {"type": "null"}]}
    else:
        schema = _nullable(_PLAIN[param["type"]])
    schema["description"] = _description(param)
    if param.get("optional") and default_fits_format(param):
        schema["default"] = copy.deepcopy(param.get("default"))
    return schema


def output_schema(param: Mapping[str, Any]) -> Schema:
    """One output. null stands for None, NaN, infinity and missing dates."""
    if param["type"] == "data.frame":
        schema = _nullable(_columns_form(param.get("columns"), strict=False))
    else:
        schema = _nullable(_PLAIN[param["type"]])
    schema["description"] = _description(param)
    return schema


def _columns_form(columns: Sequence[Mapping[str, Any]] | None, *, strict: bool) -> Schema:
    """``{"hp": [120, 110], "wt": [2.8, 2.6]}``. Inputs are strict about null, answers are not."""
    if columns is None:
        return {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": _SCALARS}},
        }
    return {
        "type": "object",
        "properties": {
            column["name"]: {"type": "array", "items": _cell(column, strict=strict)}
            for column in columns
        },
        "required": [column["name"] for column in columns],
        "additionalProperties": False,
    }


def _records_form(columns: Sequence[Mapping[str, Any]] | None) -> Schema:
    """``[{"hp": 120, "wt": 2.8}, {"hp": 110, "wt": 2.6}]``."""
    if columns is None:
        return {
            "type": "array",
            "items": {"type": "object", "additionalProperties": {"type": _SCALARS}},
        }
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {column["name"]: _cell(column, strict=True) for column in columns},
            "required": [column["name"] for column in columns],
            "additionalProperties": False,
        },
    }


def _cell(column: Mapping[str, Any], *, strict: bool) -> Schema:
    plain = _PLAIN[column["type"]]
    if strict and column["type"] in ("integer", "logical") and not column.get("nullable"):
        return copy.deepcopy(plain)
    return _nullable(plain)


def _nullable(schema: Schema) -> Schema:
    return {**copy.deepcopy(schema), "type": [schema["type"], "null"]}


def _description(param: Mapping[str, Any]) -> str:
    """``numeric (float).``, the rules a schema cannot say, and the default as JSON."""
    text = f"{param['type']} ({PYTHON[param['type']]})."
    note = _NOTES.get(param["type"])
    if param["type"] == "data.frame":
        note = "An object of columns of equal length."
        if param.get("columns") is not None:
            note += " The columns come in the order given here."
    if note:
        text += f" {note}"
    if param.get("optional"):
        default = param.get("default")
        text += " Optional." if default is None else f" Optional, default {json.dumps(default)}."
    return text


def default_fits_format(param: Mapping[str, Any]) -> bool:
    """Whether the default keeps the ``format`` that a document gives the type."""
    default = param.get("default")
    if param["type"] == "datetime":
        return _is_rfc3339(default)
    dates = [c["name"] for c in param.get("columns") or () if c["type"] == "datetime"]
    if isinstance(default, dict):
        return all(_is_rfc3339(cell) for name in dates for cell in default[name])
    if isinstance(default, list):
        return all(_is_rfc3339(record[name]) for record in default for name in dates)
    return True


def _is_rfc3339(value: Any) -> bool:
    return value is None or _RFC3339.match(value) is not None
