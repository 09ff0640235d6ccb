"""The rules of a header's ``example``: one typical row that the service itself accepts."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .header_checks import EXACT_INTEGER, NULL_TEXT, Json, cell, fail, keys
from .limits import MAX_VALUE_BYTES

MAX_EXAMPLE_TEXT = 64 * 1024  # characters; an image is a text


def example(
    value: object,
    columns: Sequence[Json],
    images: set[int],
    largest: float | None,
    field: str = "example",
) -> Json:
    """The example in the order of ``columns``, or InvalidDefinition. ``images``: their places."""
    raw = keys(value, field, [column["name"] for column in columns])
    made = {}
    for position, column in enumerate(columns):
        where = f"{field}.{column['name']}"
        made[column["name"]] = found = _cell(raw[column["name"]], column, where, largest)
        if position in images:
            _image(found, where)
    if len(json.dumps(made, ensure_ascii=False).encode()) > MAX_VALUE_BYTES:
        fail(field, f"it has more than {MAX_VALUE_BYTES:,} bytes")
    return made


def _cell(value: object, column: Mapping[str, Any], where: str, largest: float | None) -> Any:
    """A cell as the service takes it: of its type, among the known values, within the range."""
    if value is None:
        if not column["nullable"]:
            fail(where, "it is null, and the column may not be")
        return None
    kind = column["type"]
    found = cell(value, kind, where, MAX_EXAMPLE_TEXT)
    if "known" in column and found not in column["known"]:
        fail(where, "it is not among the known values")
    if kind == "character" and NULL_TEXT in found:
        fail(where, "it holds the text that stands for null")
    if kind in ("integer", "numeric"):
        low, high = column.get("range", (found, found))
        if not low <= found <= high:
            fail(where, f"it is not from {low} to {high}")
        if isinstance(found, int) and abs(found) > EXACT_INTEGER:
            fail(where, "no double is that integer")
        if largest is not None and abs(found) > largest:
            fail(where, f"it is larger than {largest}")
    return found


def _image(value: str, where: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        fail(where, "it is not base64 text, as an image is")
