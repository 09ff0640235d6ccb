"""Small checks of which the rules of a realtime service's header are made.

Each takes a value nobody vouches for and ``where`` it stands (``columns[0].name``), and gives the
value back normalised or raises InvalidDefinition with that place as its ``field``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from .errors import InvalidDefinition
from .names import check_column
from .values import SURROGATE

Json = dict[str, Any]

MAX_TEXT = 4096  # characters of a known value or label
EXACT_INTEGER = 2**53  # larger integers are not exact as doubles, and are refused
# What stands for null in a string tensor (ONNX strings know no null). From the private use area,
# so that no text means it; a frame that holds it is refused.
NULL_TEXT = "\ue000null"
_TENSOR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


def fail(field: str, problem: str) -> NoReturn:
    """Raise InvalidDefinition about the part ``field`` of a serialized model."""
    raise InvalidDefinition(f"The serialized model's {field} is not valid: {problem}.", field=field)


def keys(value: object, where: str, required: Sequence[str], optional: Sequence[str] = ()) -> Json:
    """An object with exactly these keys."""
    if not isinstance(value, Mapping):
        fail(where, f"expected an object, got {shown(value)}")
    missing = [key for key in required if key not in value]
    # Both may be thousands: an example has a key for each column.
    known = {*required, *optional}
    extra = [key for key in value if key not in known]
    if missing or extra:
        what = f"{missing[0]!r} is missing" if missing else f"{shown(extra[0])} is not known"
        fail(where, what)
    return dict(value)


def array(
    value: object, where: str, least: int, most: int, each: Callable[[object, str], Any]
) -> list[Any]:
    """A list of ``least`` to ``most`` items, each checked by ``each``."""
    if not isinstance(value, list | tuple):
        fail(where, f"expected a list, got {shown(value)}")
    if not least <= len(value) <= most:
        fail(where, f"expected {least} to {most} items, got {len(value)}")
    return [each(item, f"{where}[{position}]") for position, item in enumerate(value)]


def mapping(value: object, where: str, each: Callable[[object, str], Any]) -> Json:
    """An object of at most 100 keys of any name."""
    if not isinstance(value, Mapping) or len(value) > 100:
        fail(where, "expected an object of at most 100 keys")
    return {text(key, where, 200): each(item, f"{where}.{key}") for key, item in value.items()}


def cell(value: object, kind: str, where: str, longest: int = MAX_TEXT) -> Any:
    """A value of a column of type ``kind``, as JSON; never null."""
    if kind == "character":
        return text(value, where, longest)
    if kind == "logical":
        return flag(value, where)
    if kind == "integer":
        return integer(value, where, -(2**63), 2**63 - 1)
    if not is_number(value):
        fail(where, f"expected a finite number, got {shown(value)}")
    return value


def cells(value: object, kind: str, where: str, most: int) -> list[Any]:
    """A list of one to ``most`` values of type ``kind``, never null.

    Such lists are the bulk of a large header, so the usual case is looked at all at once.
    """
    if isinstance(value, list) and 1 <= len(value) <= most and kind in ("integer", "numeric"):
        allowed: set[type] = {int} if kind == "integer" else {int, float}
        if (
            allowed.issuperset(map(type, value))
            and -EXACT_INTEGER <= min(value) <= max(value) <= EXACT_INTEGER
            and all(map(math.isfinite, value))
        ):
            return list(value)
    return _one_by_one(value, kind, where, most)


def _one_by_one(value: object, kind: str, where: str, most: int) -> list[Any]:
    return array(value, where, 1, most, lambda item, place: cell(item, kind, place))


def places(value: object, where: str, most: int) -> list[int]:
    """A list of one to ``most`` positions, each from 0 to ``most``."""
    if (
        isinstance(value, list)
        and 1 <= len(value) <= most
        and set(map(type, value)) == {int}
        and 0 <= min(value) <= max(value) <= most
    ):
        return list(value)
    return array(value, where, 1, most, lambda item, place: integer(item, place, 0, most))


def is_number(value: object) -> bool:
    """Whether ``value`` is a number that a double can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 2**1023 if isinstance(value, int) else math.isfinite(value)


def number(value: object, where: str) -> float:
    """A finite number."""
    if not is_number(value):
        fail(where, f"expected a finite number, got {shown(value)}")
    assert isinstance(value, int | float)
    return value


def integer(value: object, where: str, least: int, most: int) -> int:
    """An integer from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        fail(where, f"expected an integer from {least} to {most}, got {shown(value)}")
    return value


def flag(value: object, where: str) -> bool:
    """True or false, and nothing that stands for them."""
    if not isinstance(value, bool):
        fail(where, f"expected true or false, got {shown(value)}")
    return value


def text(value: object, where: str, longest: int) -> str:
    """Text of at most ``longest`` characters that UTF-8 can carry."""
    if not isinstance(value, str) or len(value) > longest:
        fail(where, f"expected text of at most {longest} characters, got {shown(value)}")
    if SURROGATE.search(value):
        fail(where, "it holds half a surrogate pair, which UTF-8 cannot carry")
    return value


def column_name(value: object, where: str) -> str:
    """The name of a column of a frame."""
    name = text(value, where, MAX_TEXT)
    try:
        return check_column(name)
    except Exception as exc:
        fail(where, str(exc))


def tensor_name(value: object, where: str) -> str:
    """The name of an input or output of the compiled model."""
    if not isinstance(value, str) or not _TENSOR_NAME.match(value):
        fail(where, f"expected the name of a tensor, got {shown(value)}")
    return value


def one_of(value: object, words: Sequence[str], where: str) -> str:
    """One of the words."""
    if not isinstance(value, str) or value not in words:
        fail(where, f"expected {', '.join(words)}, got {shown(value)}")
    return value


def distinct(values: Sequence[Any], where: str) -> None:
    """No value twice."""
    if len(set(values)) != len(values):
        fail(where, "a name or position stands twice")


def shown(value: object) -> str:
    """A value for a message: its beginning."""
    found = repr(value)
    return found if len(found) <= 60 else found[:57] + "..."
