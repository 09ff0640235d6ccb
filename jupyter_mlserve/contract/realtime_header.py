"""The rules of a realtime service's header: :func:`check_header` believes nothing it is told."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from .errors import InvalidDefinition
from .names import check_column
from .text_steps import MAX_DROP, STEPS

Json = dict[str, Any]

MAX_COLUMNS = 4096
MAX_KNOWN = 100_000  # values of one column, labels of one output
MAX_TEXT = 4096  # characters of a known value or label
EXACT_INTEGER = 2**53  # larger integers are not exact as doubles, and are refused

KINDS = ("regression", "classification", "outlier", "clustering", "transform")
COLUMN_TYPES = ("logical", "integer", "numeric", "character")
TENSOR_TYPES = ("double", "int64", "string")
# What stands for null in a string tensor (ONNX strings know no null). From the private use area,
# so that no text means it; a frame that holds it is refused.
NULL_TEXT = "\ue000null"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TENSOR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_KEYS = (
    "kind",
    "model",
    "response",
    "columns",
    "largest",
    "inputs",
    "tensors",
    "outputs",
    "proof",
    "sha256",
)


def check_header(header: object) -> Json:
    """The header normalised (keys in one order, nothing unknown), or InvalidDefinition."""
    top = _object(header, "header", _KEYS)
    kind = _one_of(top["kind"], KINDS, "kind")
    columns = _list(top["columns"], "columns", 1, MAX_COLUMNS, _column)
    _distinct([column["name"] for column in columns], "columns")
    response = None if top["response"] is None else _response(top["response"], columns)
    largest = top["largest"]
    if largest is not None and not (_number(largest) and largest > 0):
        fail("largest", "expected a positive number or null")
    inputs = _list(top["inputs"], "inputs", 1, MAX_COLUMNS + 2, _input)
    tensors = _list(top["tensors"], "tensors", 1, MAX_COLUMNS, _tensor)
    outputs = _list(top["outputs"], "outputs", 1, MAX_COLUMNS, _output)
    _distinct([item["name"] for item in inputs] + [item["name"] for item in tensors], "tensors")
    _distinct([item["name"] for item in outputs], "outputs")
    _check_inputs(inputs, columns)
    _check_outputs(outputs, tensors)
    if not (isinstance(top["sha256"], str) and _SHA256.match(top["sha256"])):
        fail("sha256", "expected 64 hexadecimal digits")
    return {
        "kind": kind,
        "model": _text(top["model"], "model", 2000),
        "response": response,
        "columns": columns,
        "largest": largest,
        "inputs": inputs,
        "tensors": tensors,
        "outputs": outputs,
        "proof": _proof(top["proof"]),
        "sha256": top["sha256"],
    }


def _column(item: object, where: str) -> Json:
    raw = _object(item, where, ("name", "type", "nullable"), ("known", "range"))
    name = _text(raw["name"], f"{where}.name", MAX_TEXT)
    try:
        check_column(name)
    except Exception as exc:
        fail(f"{where}.name", str(exc))
    kind = _one_of(raw["type"], COLUMN_TYPES, f"{where}.type")
    column: Json = {"name": name, "type": kind, "nullable": _flag(raw["nullable"], where)}
    if "known" in raw:
        column["known"] = _list(
            raw["known"], f"{where}.known", 1, MAX_KNOWN, lambda x, w: _value(x, kind, w)
        )
    if "range" in raw:
        low_high = _list(raw["range"], f"{where}.range", 2, 2, lambda x, w: _value(x, "numeric", w))
        if kind not in ("integer", "numeric") or not low_high[0] <= low_high[1]:
            fail(f"{where}.range", "expected two numbers, the lower first, of a numeric column")
        column["range"] = low_high
    return column


def _response(item: object, columns: list[Json]) -> Json:
    raw = _object(item, "response", ("name", "type", "position"))
    name = _text(raw["name"], "response.name", MAX_TEXT)
    try:
        check_column(name)
    except Exception as exc:
        fail("response.name", str(exc))
    kind, position = raw["type"], raw["position"]
    if kind is not None:
        _one_of(kind, COLUMN_TYPES, "response.type")
    if position is not None:
        _integer(position, "response.position", 0, len(columns))
        if name in [column["name"] for column in columns]:
            fail("response.name", f"{name!r} is also a column of the model")
    return {"name": name, "type": kind, "position": position}


def _input(item: object, where: str) -> Json:
    raw = _object(item, where, ("name", "type", "columns"), ("steps",))
    kind = _one_of(raw["type"], ("double", "string"), f"{where}.type")
    columns = _list(
        raw["columns"],
        f"{where}.columns",
        1,
        MAX_COLUMNS,
        lambda x, w: _integer(x, w, 0, MAX_COLUMNS),
    )
    found: Json = {"name": _name(raw["name"], where), "type": kind, "columns": columns}
    if "steps" in raw:
        found["steps"] = _list(raw["steps"], f"{where}.steps", 1, 4, _step)
        if kind != "string":
            fail(f"{where}.steps", "only a string input has text steps")
    return found


def _step(item: object, where: str) -> Json:
    raw = _object(item, where, ("step",), ("least", "drop"))
    step = _one_of(raw["step"], STEPS, f"{where}.step")
    if step != "words":
        _object(item, where, ("step",))
        return {"step": step}
    raw = _object(item, where, ("step", "least", "drop"))
    drop = _list(raw["drop"], f"{where}.drop", 0, MAX_DROP, lambda x, w: _text(x, w, MAX_TEXT))
    return {"step": step, "least": _integer(raw["least"], where, 1, 2), "drop": drop}


def _tensor(item: object, where: str) -> Json:
    raw = _object(item, where, ("name", "type", "width"))
    return {
        "name": _name(raw["name"], where),
        "type": _one_of(raw["type"], TENSOR_TYPES, f"{where}.type"),
        "width": _integer(raw["width"], f"{where}.width", 1, MAX_COLUMNS),
    }


def _output(item: object, where: str) -> Json:
    raw = _object(item, where, ("name", "type", "tensor", "index"), ("labels",))
    name = _text(raw["name"], f"{where}.name", MAX_TEXT + 64)
    if not name or not name.isprintable():
        fail(f"{where}.name", "expected printable text")
    kind = _one_of(raw["type"], COLUMN_TYPES, f"{where}.type")
    output: Json = {
        "name": name,
        "type": kind,
        "tensor": _name(raw["tensor"], where),
        "index": _integer(raw["index"], f"{where}.index", 0, MAX_COLUMNS),
    }
    if "labels" in raw:
        output["labels"] = _list(
            raw["labels"], f"{where}.labels", 1, MAX_KNOWN, lambda x, w: _value(x, kind, w)
        )
    return output


def _check_inputs(inputs: list[Json], columns: list[Json]) -> None:
    for position, item in enumerate(inputs):
        where = f"inputs[{position}].columns"
        _distinct(item["columns"], where)
        for index in item["columns"]:
            if index >= len(columns):
                fail(where, f"there is no column {index}")
            if (columns[index]["type"] == "character") != (item["type"] == "string"):
                fail(where, f"column {index} is not of the input's type")


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


def _proof(item: object) -> Json:
    raw = _object(
        item, "proof", ("rows", "largest_difference", "ties", "candidate", "probes", "libraries")
    )
    difference = raw["largest_difference"]
    if not (_number(difference) and difference >= 0):
        fail("proof.largest_difference", "expected a number that is not negative")
    return {
        "rows": _integer(raw["rows"], "proof.rows", 1, 10**9),
        "largest_difference": difference,
        "ties": _integer(raw["ties"], "proof.ties", 0, 10**9),
        "candidate": _text(raw["candidate"], "proof.candidate", 200),
        "probes": _map(raw["probes"], "proof.probes", lambda x, w: _integer(x, w, 0, 10**9)),
        "libraries": _map(raw["libraries"], "proof.libraries", lambda x, w: _text(x, w, 100)),
    }


def _object(
    value: object, where: str, required: Sequence[str], optional: Sequence[str] = ()
) -> Json:
    if not isinstance(value, Mapping):
        fail(where, f"expected an object, got {_shown(value)}")
    missing = [key for key in required if key not in value]
    extra = [key for key in value if key not in required and key not in optional]
    if missing or extra:
        what = f"{missing[0]!r} is missing" if missing else f"{_shown(extra[0])} is not known"
        fail(where, what)
    return dict(value)


def _list(
    value: object, where: str, least: int, most: int, each: Callable[[object, str], Any]
) -> list[Any]:
    if not isinstance(value, list | tuple):
        fail(where, f"expected a list, got {_shown(value)}")
    if not least <= len(value) <= most:
        fail(where, f"expected {least} to {most} items, got {len(value)}")
    return [each(item, f"{where}[{position}]") for position, item in enumerate(value)]


def _map(value: object, where: str, each: Callable[[object, str], Any]) -> Json:
    if not isinstance(value, Mapping) or len(value) > 100:
        fail(where, "expected an object of at most 100 keys")
    return {_text(key, where, 200): each(item, f"{where}.{key}") for key, item in value.items()}


def _value(value: object, kind: str, where: str) -> Any:
    """A known value or label of type ``kind``, as JSON."""
    if kind == "character":
        return _text(value, where, MAX_TEXT)
    if kind == "logical":
        return _flag(value, where)
    if kind == "integer":
        return _integer(value, where, -(2**63), 2**63 - 1)
    if not _number(value):
        fail(where, f"expected a finite number, got {_shown(value)}")
    return value


def _number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 2**1023 if isinstance(value, int) else math.isfinite(value)


def _integer(value: object, where: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        fail(where, f"expected an integer from {least} to {most}, got {_shown(value)}")
    return value


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        fail(where, f"expected true or false, got {_shown(value)}")
    return value


def _text(value: object, where: str, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest:
        fail(where, f"expected text of at most {longest} characters, got {_shown(value)}")
    if any("\ud800" <= char <= "\udfff" for char in value):
        fail(where, "it holds half a surrogate pair, which UTF-8 cannot carry")
    return value


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not _TENSOR_NAME.match(value):
        fail(where, f"expected the name of a tensor, got {_shown(value)}")
    return value


def _one_of(value: object, words: Sequence[str], where: str) -> str:
    if not isinstance(value, str) or value not in words:
        fail(where, f"expected {', '.join(words)}, got {_shown(value)}")
    return value


def _distinct(values: Sequence[Any], where: str) -> None:
    if len(set(values)) != len(values):
        fail(where, "a name or position stands twice")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def fail(field: str, problem: str) -> NoReturn:
    raise InvalidDefinition(f"The serialized model's {field} is not valid: {problem}.", field=field)
