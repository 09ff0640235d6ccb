"""Cells of text, as CSV has them, to cells of JSON by the declared type.

A cell that is not of its type stays text: its record then fails alone, and the error names it.

* numeric, integer: a number, with a sign, a point or an exponent; empty, ``NA`` and ``NaN`` are
  null, and ``null`` is, too.
* logical: true or false in any case; empty, ``NA`` and ``null`` are null.
* character, datetime, bytes: the text; empty is null.
* list, dict, vector, matrix, data.frame: JSON text; empty is null.
* None (no declared type): a number or boolean as JSON (or True, TRUE) has it, else the text; empty,
  ``NA`` and ``NaN`` are null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec
import orjson

NULL = b"null"
JSON_TEXT = frozenset({"list", "dict", "vector", "matrix", "data.frame"})
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eE][+-]?[0-9]+)?")
_MISSING = frozenset({"", "NA", "NaN", "nan", "null"})
_NO_TRUTH = frozenset({"", "NA", "null"})
_floats = msgspec.json.Decoder(list[float]).decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode


def json_cells(cells: Sequence[str], kind: str | None) -> list[bytes]:
    """A column of texts as JSON cells, by its declared type."""
    if kind in ("numeric", "integer", None):
        # All are numbers: the usual case, checked at once. Each cell holds at least one value or
        # breaks the array, so as many values as cells are one in each.
        joined = ",".join(cells).encode()
        try:
            # A line break beside a number would be one in the record.
            if len(_floats(b"[" + joined + b"]")) == len(cells) and b"\n" not in joined:
                return joined.split(b",")
        except (msgspec.DecodeError, RecursionError):
            pass
    return list(map(_CELL.get(kind or "", _guess), cells))


def json_text(text: str) -> bytes:
    """JSON that stands in a text, in one line; what is none becomes a JSON string."""
    try:
        _raw(text)
    except (msgspec.DecodeError, RecursionError):
        return orjson.dumps(text)
    return text.strip().replace("\n", " ").encode()


def _number(cell: str) -> bytes:
    text = cell.strip()
    if _JSON_NUMBER.fullmatch(text):
        return text.encode()
    if text in _MISSING:
        return NULL
    found = _NUMBER.fullmatch(text)
    if found is None or not (found[2] or found[3]):
        return orjson.dumps(cell)
    sign, whole, fraction, exponent = found.groups()
    number = ("-" if sign == "-" else "") + (whole.lstrip("0") or "0")
    return (number + (f".{fraction}" if fraction else "") + (exponent or "")).encode()


def _truth(cell: str) -> bytes:
    text = cell.strip()
    word = text.lower()
    if word in ("true", "false"):
        return word.encode()
    return NULL if text in _NO_TRUTH else orjson.dumps(cell)


def _text(cell: str) -> bytes:
    return orjson.dumps(cell) if cell else NULL


def _json(cell: str) -> bytes:
    return json_text(cell) if cell.strip() else NULL


def _guess(cell: str) -> bytes:
    text = cell.strip()
    if _JSON_NUMBER.fullmatch(text):
        return text.encode()
    if text in _MISSING:
        return NULL
    if cell in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return cell.lower().encode()
    return orjson.dumps(cell)


_CELL: dict[str, Callable[[str], bytes]] = {
    "numeric": _number,
    "integer": _number,
    "logical": _truth,
    "character": _text,
    "datetime": _text,
    "bytes": _text,
    **dict.fromkeys(JSON_TEXT, _json),
}
