"""Does a JSON value fit a declared type? Asked of defaults and samples before they are stored.

A worker decodes the same types strictly when it is called. It cannot import this module (it runs
in the author's environment), and this module builds no numpy or pandas values; so here stands
only the JSON side of the rules.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .limits import MAX_VALUE_BYTES, MAX_VALUE_DEPTH

# ISO 8601: a date, or a date and a time, with or without a zone.
_DATETIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]{1,9})?)?"
    r"(Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])?)?\Z"
)
_ZONE = re.compile(r"[T ].*[Z+-]")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}\Z")
_INT64 = range(-(2**63), 2**63)
# Half of a UTF-16 pair: JSON can spell it, UTF-8 cannot carry it.
SURROGATE = re.compile("[\ud800-\udfff]")

EXPECTED = {
    "logical": "true or false",
    "integer": "an integer",
    "numeric": "a number",
    "character": "a string",
    "datetime": "an ISO 8601 string such as 2024-05-31T12:00:00Z",
    "bytes": "a base64 string",
    "vector": "a flat array of numbers, strings or booleans",
    "matrix": "an array of rows of equal length",
    "list": "an array",
    "dict": "an object",
    "data.frame": "an object of columns, or an array of records",
}


def misfit(value: Any, param: Mapping[str, Any]) -> str | None:
    """Why ``value`` (parsed JSON) is no ``param["type"]``; None when it fits.

    ``null`` fits every type: it is None in the author's code (published contract, encodings).
    ``value`` must have passed :func:`json_problem`, which bounds its depth.
    """
    if value is None:
        return None
    if param["type"] == "data.frame":
        return _frame_misfit(value, param.get("columns"))
    if not _FITS[param["type"]](value):
        return f"expected {EXPECTED[param['type']]}, got {describe(value)}"
    return None


def json_problem(value: Any) -> str | None:
    """Why ``value`` is not JSON that every reader accepts and that we store; None when it is."""
    level: list[Any] = [value]
    depth = nodes = 0
    while level:  # level by level, so that no depth can exhaust the stack
        depth += 1
        nodes += len(level)
        if nodes > MAX_VALUE_BYTES:
            return f"it has more than {MAX_VALUE_BYTES:,} values"
        if depth > MAX_VALUE_DEPTH:
            return f"it is nested deeper than {MAX_VALUE_DEPTH} levels"
        below: list[Any] = []
        for item in level:
            problem = _leaf_problem(item, below)
            if problem:
                return problem
        level = below
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > MAX_VALUE_BYTES:
        return f"it takes {size:,} bytes as JSON, more than {MAX_VALUE_BYTES:,}"
    return None


def describe(value: Any) -> str:
    """A JSON value in a few words, for messages: ``'abc'`` (string), an array of 3."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = repr(value) if isinstance(value, float) or abs(value) < 10**20 else "a huge integer"
        return text
    if isinstance(value, str):
        return "the string " + (repr(value) if len(value) <= 40 else repr(value[:37]) + "...")
    if isinstance(value, Mapping):
        return f"an object of {len(value)}"
    if isinstance(value, list | tuple):
        return f"an array of {len(value)}"
    return f"a Python {type(value).__name__}"


def _leaf_problem(item: Any, below: list[Any]) -> str | None:
    """Check one node; append its children to ``below``."""
    if isinstance(item, dict):
        for key in item:
            if not isinstance(key, str):
                return f"the key {key!r} is no string"
        below.extend(item.keys())
        below.extend(item.values())
    elif isinstance(item, list):
        below.extend(item)
    elif isinstance(item, str):
        if SURROGATE.search(item):
            return "it has a string that is not valid Unicode (a lone surrogate)"
    elif isinstance(item, float):
        if not math.isfinite(item):
            return "it has a NaN or infinite number, which JSON does not know; use null"
    elif isinstance(item, int):  # bool too
        if abs(item) >= 10**400:
            return "it has an integer of more than 400 digits"
    elif item is not None:
        return f"it has a Python {type(item).__name__}, which is not JSON"
    return None


def _number(value: Any) -> bool:
    """A number that a double can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _integer(value: Any) -> bool:
    """A number without a fraction that 64 bits can hold; 3.0 is one."""
    return _number(value) and value == int(value) and int(value) in _INT64


def _datetime(value: Any) -> bool:
    found = _DATETIME.match(value) if isinstance(value, str) else None
    if found is None:
        return False
    try:
        return bool(dt.date(*map(int, found.groups()[:3])))
    except ValueError:  # no day of the calendar
        return False


def _bytes(value: Any) -> bool:
    if not (isinstance(value, str) and _BASE64.match(value) and len(value) % 4 == 0):
        return False
    try:
        return base64.b64decode(value, validate=True) is not None
    except (binascii.Error, ValueError):
        return False


def _json(value: Any) -> bool:
    """Lists and objects whose numbers fit 64 bits."""
    if isinstance(value, dict):
        return all(map(_json, value.values()))
    if isinstance(value, list):
        return all(map(_json, value))
    return not isinstance(value, int | float) or (
        _number(value) if isinstance(value, float) else value in _INT64
    )


def _scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | str) or _number(value)


def _alike(cells: list[Any]) -> bool:
    """Cells of one array: all numbers, all strings or all booleans, with null between them."""
    kinds = {type(cell) for cell in cells}
    if kinds == {int}:
        return all(cell in _INT64 for cell in cells)
    kinds.discard(type(None))
    if kinds <= {int, float}:
        return all(cell is None or _number(cell) for cell in cells)
    return kinds == {str} or kinds == {bool}


def _vector(value: Any) -> bool:
    return isinstance(value, list) and _alike(value)


def _matrix(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(row, list) for row in value)
        and len({len(row) for row in value}) <= 1
        and _alike([cell for row in value for cell in row])
    )


_FITS: dict[str, Callable[[Any], bool]] = {
    "logical": lambda value: isinstance(value, bool),
    "integer": _integer,
    "numeric": _number,
    "character": lambda value: isinstance(value, str),
    "datetime": _datetime,
    "bytes": _bytes,
    "vector": _vector,
    "matrix": _matrix,
    "list": lambda value: isinstance(value, list) and _json(value),
    "dict": lambda value: isinstance(value, dict) and _json(value),
}


def _frame_misfit(value: Any, columns: Sequence[Mapping[str, Any]] | None) -> str | None:
    if isinstance(value, dict):
        if not all(isinstance(cells, list) for cells in value.values()):
            return "expected an array of values for every column"
        if len({len(cells) for cells in value.values()}) > 1:
            return "expected columns of equal length"
        table = value
    elif isinstance(value, list) and all(isinstance(record, dict) for record in value):
        if not value:
            return None
        names = list(value[0])
        for number, record in enumerate(value):
            # Without a schema the order inside a record says nothing.
            if record.keys() != value[0].keys() or (columns is not None and list(record) != names):
                return f"expected the same columns in every record, record {number} differs"
        table = {name: [record[name] for record in value] for name in names}
    else:
        return f"expected {EXPECTED['data.frame']}, got {describe(value)}"
    if columns is not None and list(table) != [column["name"] for column in columns]:
        return (
            f"expected the columns {', '.join(c['name'] for c in columns)} in this order, "
            f"got {', '.join(map(str, table)) or 'none'}"
        )
    by_name = {column["name"]: column for column in columns or ()}
    for name, cells in table.items():
        problem = _column_misfit(cells, by_name.get(name))
        if problem:
            return f"column {name}: {problem}"
    return None


def _column_misfit(cells: list[Any], column: Mapping[str, Any] | None) -> str | None:
    if column is None:
        if not all(map(_scalar, cells)):
            return "expected numbers, strings, booleans or null"
        return None
    # numeric, character and datetime have a value for "missing"; the others only if nullable.
    null = column["type"] not in ("integer", "logical") or bool(column.get("nullable"))
    for cell in cells:
        if not (null if cell is None else _FITS[column["type"]](cell)):
            return f"expected {EXPECTED[column['type']]}, got {describe(cell)}"
    if column["type"] == "datetime" and len({bool(_ZONE.search(c)) for c in cells if c}) > 1:
        return "expected dates all with, or all without, a time zone"
    return None
