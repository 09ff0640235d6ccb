"""The rules of the schema for one row, told by plain comparisons: numpy would cost more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...contract.realtime import EXACT_INTEGER, NULL_TEXT
from .schema import Column

Test = Callable[[Any], bool]
_TYPES = {"numeric": float, "integer": float, "logical": bool, "character": str}
_MOST_REMEMBERED = 1024


def row_check(columns: Sequence[Column], one_type: bool) -> Callable[[Sequence[Any]], bool]:
    """A function that says whether a row keeps every rule of ``columns``.

    Its cells are float (for integers too), bool, str or None. With ``one_type`` the parser has
    made sure of their types. False may also mean "not sure": the slow way then decides.
    """
    wanted = tuple((_TYPES[c.kind], c.nullable) for c in columns)
    # The combinations of types that were found right before; nulls make several.
    accepted = {tuple(kind for kind, _ in wanted)}
    tests = [(place, test) for place, column in enumerate(columns) for test in _tests(column)]
    largest = columns[0].largest if one_type and not any(c.nullable for c in columns) else None
    if largest is not None:
        tests = [(p, t) for p, t in tests if t.__name__ != "small"]

    def check(row: Sequence[Any]) -> bool:
        if not one_type:
            kinds = tuple(map(type, row))
            if kinds not in accepted:
                for kind, (right, nullable) in zip(kinds, wanted, strict=True):
                    if kind is not right and not (nullable and kind is type(None)):
                        return False
                if len(accepted) < _MOST_REMEMBERED:
                    accepted.add(kinds)
        if largest is not None and not (-largest <= min(row) and max(row) <= largest):
            return False
        for place, test in tests:
            cell = row[place]
            if cell is not None and not test(cell):
                return False
        return True

    return check


def _tests(column: Column) -> list[Test]:
    found: list[Test] = []
    if column.kind == "integer":
        # An integer of this size or more may have been rounded: the slow way looks at its digits.
        found.append(lambda v: -EXACT_INTEGER < v < EXACT_INTEGER and v.is_integer())
    if column.largest is not None:
        limit = column.largest

        def small(value: float) -> bool:
            return -limit <= value <= limit

        found.append(small)
    if column.low is not None and column.high is not None:
        low, high = column.low, column.high
        found.append(lambda v: low <= v <= high)
    if column.known is not None:
        found.append(column.known_set.__contains__)
    elif column.text:
        found.append(lambda v: NULL_TEXT not in v)
    return found
