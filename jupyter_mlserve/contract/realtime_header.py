"""The rules of a realtime service's header: :func:`check_header` believes nothing it is told."""

from __future__ import annotations

import re

from .header_checks import (
    EXACT_INTEGER,
    MAX_TEXT,
    NULL_TEXT,
    Json,
    array,
    cells,
    column_name,
    distinct,
    fail,
    flag,
    integer,
    is_number,
    keys,
    mapping,
    number,
    one_of,
    tensor_name,
    text,
)
from .limits import MAX_COLUMNS
from .realtime_example import example
from .realtime_inputs import image_columns, inputs

__all__ = [
    "EXACT_INTEGER",
    "KINDS",
    "MAX_COLUMNS",
    "MAX_KNOWN",
    "NULL_TEXT",
    "Json",
    "check_header",
    "fail",
    "proof",
    "response",
]

MAX_KNOWN = 100_000  # values of one column, labels of one output

KINDS = ("regression", "classification", "outlier", "clustering", "transform")
COLUMN_TYPES = ("logical", "integer", "numeric", "character")
TENSOR_TYPES = ("double", "int64", "string")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_KEYS = (
    "kind",
    "model",
    "response",
    "columns",
    "example",
    "largest",
    "inputs",
    "tensors",
    "outputs",
    "proof",
    "sha256",
)


def check_header(header: object) -> Json:
    """The header normalised (keys in one order, nothing unknown), or InvalidDefinition."""
    top = keys(header, "header", _KEYS)
    kind = one_of(top["kind"], KINDS, "kind")
    columns = array(top["columns"], "columns", 1, MAX_COLUMNS, _column)
    distinct([column["name"] for column in columns], "columns")
    largest = top["largest"]
    if largest is not None and not (is_number(largest) and largest > 0):
        fail("largest", "expected a positive number or null")
    found = inputs(top["inputs"], columns)
    tensors = array(top["tensors"], "tensors", 1, MAX_COLUMNS, _tensor)
    outputs = array(top["outputs"], "outputs", 1, MAX_COLUMNS, _output)
    distinct([item["name"] for item in found] + [item["name"] for item in tensors], "tensors")
    distinct([item["name"] for item in outputs], "outputs")
    _check_outputs(outputs, tensors)
    if not (isinstance(top["sha256"], str) and _SHA256.match(top["sha256"])):
        fail("sha256", "expected 64 hexadecimal digits")
    return {
        "kind": kind,
        "model": text(top["model"], "model", 2000),
        "response": response(top["response"], [column["name"] for column in columns]),
        "columns": columns,
        "example": example(top["example"], columns, image_columns(found), largest),
        "largest": largest,
        "inputs": found,
        "tensors": tensors,
        "outputs": outputs,
        "proof": proof(top["proof"]),
        "sha256": top["sha256"],
    }


def response(item: object, columns: list[str], where: str = "response") -> Json | None:
    """The predicted variable; ``columns`` are the names of the model's own columns."""
    if item is None:
        return None
    raw = keys(item, where, ("name", "type", "position"))
    name = column_name(raw["name"], f"{where}.name")
    kind, position = raw["type"], raw["position"]
    if kind is not None:
        one_of(kind, COLUMN_TYPES, f"{where}.type")
    if position is not None:
        integer(position, f"{where}.position", 0, len(columns))
        if name in columns:
            fail(f"{where}.name", f"{name!r} is also a column of the model")
    return {"name": name, "type": kind, "position": position}


def proof(item: object, where: str = "proof") -> Json:
    """What the author's kernel found when it compared the compiled model with the model itself."""
    raw = keys(
        item, where, ("rows", "largest_difference", "ties", "candidate", "probes", "libraries")
    )
    difference = number(raw["largest_difference"], f"{where}.largest_difference")
    if difference < 0:
        fail(f"{where}.largest_difference", "expected a number that is not negative")
    return {
        "rows": integer(raw["rows"], f"{where}.rows", 1, 10**9),
        "largest_difference": difference,
        "ties": integer(raw["ties"], f"{where}.ties", 0, 10**9),
        "candidate": text(raw["candidate"], f"{where}.candidate", 200),
        "probes": mapping(raw["probes"], f"{where}.probes", lambda x, w: integer(x, w, 0, 10**9)),
        "libraries": mapping(raw["libraries"], f"{where}.libraries", lambda x, w: text(x, w, 100)),
    }


def _column(item: object, where: str) -> Json:
    raw = keys(item, where, ("name", "type", "nullable"), ("known", "range"))
    name = column_name(raw["name"], f"{where}.name")
    kind = one_of(raw["type"], COLUMN_TYPES, f"{where}.type")
    column: Json = {"name": name, "type": kind, "nullable": flag(raw["nullable"], where)}
    if "known" in raw:
        column["known"] = cells(raw["known"], kind, f"{where}.known", MAX_KNOWN)
    if "range" in raw:
        low_high = array(raw["range"], f"{where}.range", 2, 2, number)
        if kind not in ("integer", "numeric") or not low_high[0] <= low_high[1]:
            fail(f"{where}.range", "expected two numbers, the lower first, of a numeric column")
        column["range"] = low_high
    return column


def _tensor(item: object, where: str) -> Json:
    raw = keys(item, where, ("name", "type", "width"))
    return {
        "name": tensor_name(raw["name"], where),
        "type": one_of(raw["type"], TENSOR_TYPES, f"{where}.type"),
        "width": integer(raw["width"], f"{where}.width", 1, MAX_COLUMNS),
    }


def _output(item: object, where: str) -> Json:
    raw = keys(item, where, ("name", "type", "tensor", "index"), ("labels",))
    name = text(raw["name"], f"{where}.name", MAX_TEXT + 64)
    if not name or not name.isprintable():
        fail(f"{where}.name", "expected printable text")
    kind = one_of(raw["type"], COLUMN_TYPES, f"{where}.type")
    output: Json = {
        "name": name,
        "type": kind,
        "tensor": tensor_name(raw["tensor"], where),
        "index": integer(raw["index"], f"{where}.index", 0, MAX_COLUMNS),
    }
    if "labels" in raw:
        output["labels"] = cells(raw["labels"], kind, f"{where}.labels", MAX_KNOWN)
    return output


def _check_outputs(outputs: list[Json], tensors: list[Json]) -> None:
    widths = {tensor["name"]: tensor for tensor in tensors}
    for position, item in enumerate(outputs):
        where = f"outputs[{position}]"
        tensor = widths.get(item["tensor"])
        if tensor is None:
            fail(f"{where}.tensor", "it is not among the tensors")
        if item["index"] >= tensor["width"]:
            fail(f"{where}.index", "the tensor is not that wide")
        if "labels" in item:
            fits = tensor["type"] == "int64"
        elif item["type"] == "character":
            fits = tensor["type"] == "string"
        elif item["type"] == "numeric":
            fits = tensor["type"] in ("double", "int64")
        else:
            fits = tensor["type"] == "int64"
        if not fits:
            fail(f"{where}.type", f"it does not fit a tensor of {tensor['type']}")
