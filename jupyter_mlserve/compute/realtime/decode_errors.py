"""What a caller reads when the frame is not as the schema says: the words standard services use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...contract.errors import InvalidInput, TooLarge
from ...contract.realtime import EXACT_INTEGER
from ...contract.values import EXPECTED, describe
from .schema import FIELD, Column, Schema

ARRAY = "an array of values for the column"
ANY_VALUE = "a number, a string, true, false or null"
_MAX_FIELD = 300


def invalid(
    field: str,
    expected: str,
    got: str,
    message: str = "",
    *,
    column: str | None = None,
    row: int | None = None,
) -> InvalidInput:
    """The exception: ``field`` is the place as a path, ``row`` counts from 0.

    Without a ``message`` one is made of the others.
    """
    where: dict[str, Any] = {}
    if column is not None:
        where["column"] = _cut(column)
    if row is not None:
        where["row"] = row
    return InvalidInput(message, field=_cut(field), expected=expected, got=got, **where)


def at(column: str, row: int, expected: str, got: str) -> InvalidInput:
    """The exception for one cell."""
    # The row must survive the cut.
    return invalid(f"{FIELD}.{column[:250]}[{row}]", expected, got, column=column, row=row)


def wrong_type(column: Column, row: int, value: Any) -> InvalidInput:
    """The exception for a cell (a JSON value) that is not of its column's type."""
    expected = EXPECTED[column.kind]
    if type(value) in (int, float):  # a number, but one out of reach
        if column.kind == "integer" and (type(value) is int or value.is_integer()):
            expected = f"an integer of at most {EXACT_INTEGER} in size"
        elif column.kind == "numeric":
            expected = "a number that a double can hold"
    return at(column.name, row, expected + (" or null" if column.nullable else ""), show(value))


def not_known(column: Column, row: int, value: Any) -> InvalidInput:
    """The exception for a value that the model was not trained with, and refuses."""
    known = column.known or ()
    shown = ", ".join(repr(item)[:40] for item in known[:10])
    more = f", ... ({len(known)} in all)" if len(known) > 10 else ""
    return at(column.name, row, f"one of the values the model knows ({shown}{more})", show(value))


def out_of_range(column: Column, row: int, value: Any) -> InvalidInput:
    expected = f"{EXPECTED[column.kind]} from {column.low:g} to {column.high:g}"
    return at(column.name, row, expected, show(value))


def too_big(column: Column, row: int, value: Any) -> InvalidInput:
    expected = f"{EXPECTED[column.kind]} of at most {column.largest!r} in size"
    return at(column.name, row, expected, show(value))


def stands_for_null(column: str, row: int) -> InvalidInput:
    expected = "a string without the characters that stand for null (U+E000 and 'null')"
    return at(column, row, expected, "one with them; send null if it is missing")


def unusable(column: str, row: int, kind: str, why: str) -> InvalidInput:
    """The exception for a text that a step can make nothing of; ``kind`` is the input's."""
    expected = {
        "float": "an image as base64 text",
        "double": "a text whose sentiment can be taken",
    }.get(kind, "a text the model can read")
    return at(column, row, expected, f"one that cannot be used: {why}")


def wrong_columns(
    field: str, got: Sequence[str], schema: Schema, names: Sequence[str] | None = None
) -> InvalidInput:
    """Says which column is missing, extra or out of place; ``names`` are those expected."""
    if names is None:
        response = None if schema.position is None else schema.names_with_response[schema.position]
        names = schema.names_with_response if response in got else schema.names
    for column in names:
        if column not in got:
            extra = [quoted(other) for other in got if other not in names][:3]
            but = f" (but {', '.join(extra)}, which is not declared)" if extra else ""
            place = f"{field}.{column}"
            return invalid(place, "this column", "none of this name" + but, column=column)
    for column in got:
        if column not in names:
            known = f"the columns are {_listed(names)}"
            sentence = f"The column {quoted(column)} of {field} is not declared; {known}."
            expected = f"no such column ({known})"
            return invalid(f"{field}.{column}", expected, "one", sentence, column=column)
    first, found = next(pair for pair in zip(names, got, strict=True) if pair[0] != pair[1])
    return invalid(
        field,
        f"the columns in the order {_listed(names)}",
        f"{quoted(found)} in the place of {quoted(first)}",
        column=found,
    )


def too_many_rows(limit: int) -> TooLarge:
    return TooLarge(
        f"The frame has more than {limit:,} rows, the most that one call may have (max_rows). "
        "Send them in several calls.",
        limit=limit,
        field=FIELD,
    )


def show(value: Any) -> str:
    """A value in a few words, always of text that UTF-8 can carry."""
    return describe(value).encode("utf-8", "backslashreplace").decode()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(_cut(name, 50) for name in names[:20])
    return shown + (f", ... ({len(names)} in all)" if len(names) > 20 else "")


def quoted(name: str) -> str:
    """A name that a caller sent, in quotes and cut."""
    return repr(_cut(name, 50))


def _cut(text: str, longest: int = _MAX_FIELD) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
