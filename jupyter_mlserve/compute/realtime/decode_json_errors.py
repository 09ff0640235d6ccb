"""Why a JSON body was refused: found by looking again, in pieces and without much memory."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from ...contract.errors import InvalidInput
from ...contract.values import EXPECTED
from .decode_errors import (
    ANY_VALUE,
    ARRAY,
    at,
    invalid,
    quoted,
    show,
    wrong_columns,
    wrong_type,
)
from .decode_rules import KINDS, KINDS_OR_NULL
from .schema import FIELD, Column, Schema

Body = bytes | bytearray | memoryview
# Larger ones are not parsed only to say what they are.
_SMALL = 1 << 20
_WHOLE = f'{{"{FIELD}": {{...}}}}'
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_STARTS = {b"[": "an array", b"{": "an object", b'"': "a string", b"n": "null"}

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def bad_body(body: Body, exc: Exception) -> InvalidInput:
    """The error for a body that is not ``{"inputData": columns or records}``."""
    if not body:
        return invalid("", "JSON", "an empty body", f"The body is empty; send {_WHOLE}.")
    if isinstance(exc, RecursionError):
        return invalid("", "JSON of reasonable depth", "one nested too deeply")
    try:
        data = _object(body)
    except msgspec.ValidationError:
        return invalid("", "an object of inputs by name", _got(body))
    except Exception as again:  # no JSON at all
        return _not_json(body, again)
    if FIELD not in data:
        extra = ", ".join(quoted(name) for name in list(data)[:3])
        more = ", ..." if len(data) > 3 else ""
        but = f" (but {extra}{more}; send {_WHOLE})" if extra else f"; send {_WHOLE}"
        return invalid(FIELD, EXPECTED["data.frame"], "nothing" + but)
    for name in data:
        if name != FIELD:
            expected = f"no such input (the only one is {FIELD})"
            sentence = f"The input {quoted(name)} is not declared; the only one is {FIELD}."
            return invalid(name[:200], expected, "one", sentence)
    return invalid(FIELD, EXPECTED["data.frame"], _got(data[FIELD]))


def bad_cells(column: str, schema: Column | None, raw: Any) -> InvalidInput:
    """The error for a column (``schema`` None: the response) that is no array of its type."""
    try:
        cells = _array(raw)
    except msgspec.ValidationError:
        return invalid(f"{FIELD}.{column}", ARRAY, _got(raw), column=column)
    except Exception as again:
        return _not_json(raw, again)
    for row, cell in enumerate(cells):
        problem = _bad_cell(column, schema, row, cell)
        if problem is not None:
            return problem
    return invalid(f"{FIELD}.{column}", ARRAY, "something else", column=column)


def bad_records(raws: Sequence[Any], first: int, schema: Schema, names: list[str]) -> NoReturn:
    """Raise the error for records, of which ``names`` are expected; ``first`` is their number."""
    by_name: Mapping[str, Column] = {column.name: column for column in schema.columns}
    for row, raw in enumerate(raws, first):
        field = f"{FIELD}[{row}]"
        try:
            record = _object(raw)
        except msgspec.ValidationError:
            raise invalid(field, "a record (an object)", _got(raw), row=row) from None
        except Exception as again:
            raise _not_json(raw, again) from None
        if list(record) != names:
            # The first record says whether the response is among them.
            expected = None if row == 0 else names
            error = wrong_columns(field, list(record), schema, expected)
            error.details["row"] = row
            raise error
        for name, cell in record.items():
            problem = _bad_cell(name, by_name.get(name), row, cell)
            if problem is not None:
                raise problem
    raise invalid(FIELD, EXPECTED["data.frame"], "something else")


def _bad_cell(name: str, column: Column | None, row: int, raw: Any) -> InvalidInput | None:
    """What is wrong with one cell; None if nothing is."""
    data = bytes(raw)
    kind = EXPECTED[column.kind] if column else ANY_VALUE
    expected = kind + (" or null" if column and column.nullable else "")
    if len(data) > _SMALL:
        if data[:1] == b'"' and (column is None or column.text) and _is_text(data):
            return None
        return at(name, row, expected, _got(raw))
    try:
        value = json.loads(data)
    except RecursionError:
        return at(name, row, expected, _got(raw))
    except ValueError as exc:
        if isinstance(exc, UnicodeDecodeError):
            return at(name, row, "text in UTF-8", "bytes that are not")
        return at(name, row, "an integer of at most 64 bits", "a much longer one")
    if type(value) is str and not _is_text(data):
        return at(name, row, "text that is valid Unicode", show(value))
    if column is None:
        return at(name, row, expected, show(value)) if type(value) in (list, dict) else None
    allowed = (KINDS_OR_NULL if column.nullable else KINDS)[column.kind]
    if type(value) not in allowed or (type(value) is float and value - value != 0.0):
        return wrong_type(column, row, value)
    if type(value) is int:
        try:
            float(value)
        except OverflowError:
            return wrong_type(column, row, value)
    return None


def _is_text(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=str)
    except Exception:  # of any kind: then it is none
        return False
    return True


def _got(raw: Any) -> str:
    """JSON in a few words."""
    data = bytes(raw)
    if len(data) <= _SMALL:
        try:
            return show(json.loads(data))
        except (ValueError, RecursionError):
            pass
    return _STARTS.get(data.lstrip()[:1], "something else")


def _not_json(body: Any, exc: Exception) -> InvalidInput:
    if isinstance(exc, RecursionError):
        return invalid("", "JSON of reasonable depth", "one nested too deeply")
    data = bytes(body)
    why = str(exc)
    if len(data) <= _SMALL:
        try:
            json.loads(data.decode("utf-8"), parse_constant=_no_constant)
        except InvalidInput as found:
            return found
        except UnicodeDecodeError as found:
            return invalid("", "JSON in UTF-8", f"the byte {data[found.start]:#04x}")
        except json.JSONDecodeError as found:
            why = f"{found.msg} at line {found.lineno} column {found.colno}"
        except (ValueError, RecursionError):
            pass
        else:
            if _SURROGATE.search(data):
                return invalid("", "text that is valid Unicode", "half of a surrogate pair")
    return invalid("", "JSON", f"text that is not ({why})")


def _no_constant(word: str) -> NoReturn:
    raise invalid("", "JSON (null stands for a missing number)", word)
