"""Columns of Arrow arrays to cells of JSON. For child processes: it imports numpy."""

from __future__ import annotations

import binascii
from typing import Any

import orjson

from .arrow_files import arrow_module
from .text_cells import JSON_TEXT, NULL, json_text

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_NESTED = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
# Not numbers that JSON has: they stay text, so that a record with them fails alone.
_INFINITE = {float("inf"): b'"Infinity"', float("-inf"): b'"-Infinity"'}


def cells_of(array: Any, kind: str | None = None, infinite: bool = True) -> list[bytes]:
    """The cells of one column as JSON; ``kind``: its declared type, if it has one.

    NaN and null are null; infinite numbers are text, or (``infinite`` False) null, as in results.
    Dates are ISO 8601 text, bytes base64 text. ``array`` has passed :func:`word_of`.
    """
    pa = arrow_module()
    types = pa.types
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    type_ = array.type
    if not len(array):
        return []
    if array.null_count == len(array):
        return [NULL] * len(array)
    if types.is_boolean(type_):
        words = {True: b"true", False: b"false", None: NULL}
        return [words[cell] for cell in array.to_pylist()]
    if types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_):
        return _numbers(pa, array, infinite)
    if is_text(pa, type_):
        if kind in JSON_TEXT:
            return [NULL if text is None else json_text(text) for text in array.to_pylist()]
        return list(map(orjson.dumps, array.to_pylist()))
    if types.is_temporal(type_):
        return list(map(orjson.dumps, iso_texts(pa, array).to_pylist()))
    if is_binary(pa, type_):
        return [
            NULL if cell is None else b'"' + binascii.b2a_base64(cell, newline=False) + b'"'
            for cell in array.to_pylist()
        ]
    return [
        orjson.dumps(cell, _nested, _NESTED) for cell in array.to_pylist(maps_as_pydicts="lossy")
    ]


def iso_texts(pa: Any, array: Any) -> Any:
    """Times and dates as ISO 8601 text; those with a zone in UTC."""
    types, type_ = pa.types, array.type
    if not types.is_timestamp(type_):
        return array.cast(pa.string())
    zone = "Z" if type_.tz is not None else ""
    plain = array.cast(pa.int64()).cast(pa.timestamp(type_.unit))
    text = pa.compute.replace_substring(plain.cast(pa.string()), " ", "T")
    # No more digits than are needed.
    text = pa.compute.replace_substring_regex(text, r"(\.[0-9]*[1-9])0+$", r"\1")
    text = pa.compute.replace_substring_regex(text, r"\.0+$", "")
    return pa.compute.binary_join_element_wise(text, zone, "") if zone else text


def word_of(pa: Any, type_: Any) -> str:
    """Which family a type is of: number, logical, text, time, binary, nested, null; or ``""``."""
    types = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        return word_of(pa, type_.storage_type)
    if types.is_dictionary(type_):
        word = word_of(pa, type_.value_type)
        return word if word not in ("nested", "null") else ""
    if types.is_null(type_):
        return "null"
    if types.is_boolean(type_):
        return "logical"
    if types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_):
        return "number"
    if is_text(pa, type_):
        return "text"
    if types.is_timestamp(type_) or types.is_date(type_) or types.is_time(type_):
        return "time"
    if is_binary(pa, type_):
        return "binary"
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return "nested" if word_of(pa, type_.value_type) else ""
    if types.is_map(type_):
        inner = (type_.key_type, type_.item_type)
        return "nested" if all(word_of(pa, item) for item in inner) else ""
    if types.is_struct(type_):
        inner = tuple(type_.field(n).type for n in range(type_.num_fields))
        return "nested" if all(word_of(pa, item) for item in inner) else ""
    return ""


def is_text(pa: Any, type_: Any) -> bool:
    types = pa.types
    view = getattr(types, "is_string_view", None)
    return bool(
        types.is_string(type_) or types.is_large_string(type_) or (view is not None and view(type_))
    )


def is_binary(pa: Any, type_: Any) -> bool:
    types = pa.types
    return bool(
        types.is_binary(type_) or types.is_large_binary(type_) or types.is_fixed_size_binary(type_)
    )


def _numbers(pa: Any, array: Any, infinite: bool) -> list[bytes]:
    import numpy as np

    types, type_ = pa.types, array.type
    nulls = None
    if types.is_integer(type_):
        if array.null_count:
            nulls = array.is_null().to_numpy(zero_copy_only=False)
            array = array.fill_null(0)
        values = array.to_numpy(zero_copy_only=False)
    else:
        if types.is_decimal(type_):
            array = array.cast(pa.float64())
        # Null is NaN then.
        values = array.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    text: bytes = orjson.dumps(np.ascontiguousarray(values), option=_NUMPY)
    cells = text[1:-1].split(b",")
    if nulls is not None:
        for place in np.flatnonzero(nulls).tolist():
            cells[place] = NULL
    elif infinite and values.dtype.kind == "f":
        for place in np.flatnonzero(np.isinf(values)).tolist():
            cells[place] = _INFINITE[float(values[place])]
    return cells


def _nested(value: Any) -> Any:
    """What orjson does not know, inside lists and structs."""
    if isinstance(value, bytes):
        return binascii.b2a_base64(value, newline=False).decode()
    number = getattr(value, "as_tuple", None)  # a Decimal
    return float(value) if number is not None else str(value)
