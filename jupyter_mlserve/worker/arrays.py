"""JSON arrays to numpy: vectors and matrices. Imported only where one is declared."""

from __future__ import annotations

import numpy as np

from .describe import InputError, describe
from .inputs import INT_MAX, INT_MIN, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List

# numpy stores text as wide as the longest one; a single long string would multiply.
MAX_TEXT_BYTES = 256 * 1024 * 1024
_NUMBERS = frozenset([int, float, type(None)])
_TEXTS = frozenset([str, type(None)])


def vector_decoder(name: str) -> Callable[[Any], Any]:
    """JSON array of numbers, strings or booleans to a 1-d array; null in it is NaN (None in text).

    Integers give int64, numbers float64, booleans bool, strings a text array.
    """

    def decode(value: Any) -> Any:
        if type(value) is not list:
            raise wrong(name, "vector", value)
        return homogeneous(name, value)

    return decode


def matrix_decoder(name: str) -> Callable[[Any], Any]:
    """JSON array of rows to a 2-d array, with the element types of :func:`vector_decoder`."""

    def decode(value: Any) -> Any:
        if type(value) is not list:
            raise wrong(name, "matrix", value)
        if not value:
            return np.empty((0, 0))
        for number, row in enumerate(value):
            if type(row) is not list:
                raise InputError(f"{name}[{number}]", "a row (an array)", describe(row))
            if len(row) != len(value[0]):
                raise InputError(
                    f"{name}[{number}]", f"a row of {len(value[0])}", f"one of {len(row)}"
                )
        flat = [cell for row in value for cell in row]
        return homogeneous(name, flat).reshape(len(value), len(value[0]))

    return decode


def homogeneous(field: str, cells: List[Any]) -> Any:
    """A 1-d array of cells that are all numbers, all strings or all booleans (null besides)."""
    kinds = set(map(type, cells))
    if kinds <= _NUMBERS:
        return integers(field, cells) if kinds == {int} else floats(field, cells)
    if kinds == {bool}:
        return np.array(cells, dtype=bool)
    if kinds <= _TEXTS:
        if None in kinds or type(None) in kinds:
            return objects(cells)
        if len(cells) * max(map(len, cells)) * 4 > MAX_TEXT_BYTES:
            raise InputError(field, "strings that fit an array", "very many or very long ones")
        return np.array(cells)
    first = kind_word(cells[0])
    for number, cell in enumerate(cells):
        if type(cell) in (list, dict):
            raise InputError(f"{field}[{number}]", "a number, string or boolean", describe(cell))
        if kind_word(cell) != first and cell is not None:
            if first == "null":
                first = kind_word(cell)
                continue
            expected = f"a {first} like the values before it"
            raise InputError(f"{field}[{number}]", expected, describe(cell))
    # Booleans with null between them: there is no such array, but there are such objects.
    return objects(cells)


def kind_word(value: Any) -> str:
    if value is None:
        return "null"
    kind = type(value)
    return "boolean" if kind is bool else "string" if kind is str else "number"


def integers(field: str, cells: List[int]) -> Any:
    try:
        return np.array(cells, dtype=np.int64)
    except OverflowError:
        number = next(i for i, cell in enumerate(cells) if not INT_MIN <= cell <= INT_MAX)
        raise wrong(f"{field}[{number}]", "integer", cells[number]) from None


def floats(field: str, cells: List[Any]) -> Any:
    """float64 of numbers and null (NaN); an infinite one (1e999) is an error."""
    try:
        array = np.array(cells, dtype=np.float64)
        if not np.isinf(array).any():
            return array
    except OverflowError:
        pass
    for number, cell in enumerate(cells):
        try:
            if cell is None or abs(float(cell)) != float("inf"):
                continue
        except OverflowError:
            pass
        raise wrong(f"{field}[{number}]", "numeric", cell) from None
    raise wrong(field, "numeric", None)


def objects(cells: List[Any]) -> Any:
    """A 1-d object array that keeps every cell as it is."""
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array
