"""What the model was proven with, held against whole columns at a time.

A column of numbers (integers and booleans too) is a float64 array with NaN for null; a column of
texts is a list of strings with None for null. JSON and Arrow come together here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contract.realtime import EXACT_INTEGER, NULL_TEXT
from .decode_errors import (
    not_known,
    out_of_range,
    stands_for_null,
    too_big,
    wrong_type,
)
from .schema import Column

Numbers = npt.NDArray[np.float64]
_NONE = type(None)
KINDS: dict[str, frozenset[type]] = {
    "numeric": frozenset([float, int]),
    "integer": frozenset([float, int]),  # 3.0 is an integer
    "logical": frozenset([bool]),
    "character": frozenset([str]),
}
KINDS_OR_NULL = {kind: types | {_NONE} for kind, types in KINDS.items()}


def from_cells(column: Column, cells: Sequence[Any], row: int) -> Any:
    """JSON cells as a checked column; ``row`` is the number of the first. Raises InvalidInput."""
    allowed = (KINDS_OR_NULL if column.nullable else KINDS)[column.kind]
    if not allowed.issuperset(map(type, cells)):
        number = next(i for i, cell in enumerate(cells) if type(cell) not in allowed)
        raise wrong_type(column, row + number, cells[number])
    return from_typed_cells(column, cells, row)


def from_typed_cells(column: Column, cells: Sequence[Any], row: int) -> Any:
    """As :func:`from_cells`, for cells that are known to be of the right types."""
    if column.text:
        check_texts(column, cells, row)
        return cells
    try:
        values = np.array(cells, np.float64)
    except OverflowError:  # of an integer with hundreds of digits
        number = next(i for i, cell in enumerate(cells) if _huge(cell))
        raise wrong_type(column, row + number, cells[number]) from None
    if column.kind == "integer":
        _check_integers(column, values, cells, row)
    check_numbers(column, values, row, cells.__getitem__)
    return values


def _huge(cell: Any) -> bool:
    try:
        float(cell or 0)
    except OverflowError:
        return True
    return False


def _check_integers(column: Column, values: Numbers, cells: Sequence[Any], row: int) -> None:
    """Whole, and exact as a double: 2**53 + 1 would already have been rounded in ``values``."""
    with np.errstate(invalid="ignore"):
        suspect = (values != np.rint(values)) | (np.abs(values) >= EXACT_INTEGER)
    for number in np.flatnonzero(suspect).tolist():
        cell = cells[number]
        if cell is None:
            continue
        if type(cell) is float and not cell.is_integer():
            raise wrong_type(column, row + number, cell)
        if abs(int(cell)) > EXACT_INTEGER:
            raise wrong_type(column, row + number, cell)


def check_numbers(column: Column, values: Numbers, row: int, shown: Callable[[int], Any]) -> None:
    """Known values, range and largest size; ``shown(i)`` is value ``i`` as it was sent."""
    if column.largest is not None:
        _refuse(np.abs(values) > column.largest, column, row, shown, too_big)
    if column.low is not None and column.high is not None:
        outside = (values < column.low) | (values > column.high)
        _refuse(outside, column, row, shown, out_of_range)
    if column.known is not None:
        known = np.array(sorted(float(item) for item in column.known))
        places = np.minimum(np.searchsorted(known, values), len(known) - 1)
        _refuse((known[places] != values) & ~np.isnan(values), column, row, shown, not_known)


def _refuse(
    bad: npt.NDArray[np.bool_],
    column: Column,
    row: int,
    shown: Callable[[int], Any],
    error: Callable[[Column, int, Any], Exception],
) -> None:
    if bad.any():
        number = int(bad.argmax())
        raise error(column, row + number, shown(number))


def check_texts(column: Column, cells: Sequence[Any], row: int) -> None:
    """Known values, and the text that stands for null."""
    if column.known is not None:
        if not column.known_set.issuperset(cells):
            for number, cell in enumerate(cells):
                if cell is not None and cell not in column.known_set:
                    raise not_known(column, row + number, cell)
        return
    for number, cell in enumerate(cells):
        if cell is not None and NULL_TEXT in cell:
            raise stands_for_null(column.name, row + number)
