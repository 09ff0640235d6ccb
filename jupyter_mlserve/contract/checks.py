"""Small checks of JSON from an untrusted source. Each names the part at fault in its error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from .errors import InvalidDefinition, InvalidName
from .values import SURROGATE, describe


def fail(field: str, problem: str) -> NoReturn:
    """Raise InvalidDefinition about ``field``."""
    raise InvalidDefinition(f"{_place(field)} is not valid: {problem}.", field=field)


def mapping(value: object, field: str, allowed: tuple[str, ...]) -> Mapping[str, Any]:
    """``value`` as a JSON object with no key but the allowed ones."""
    if not isinstance(value, Mapping):
        fail(field, f"expected an object, got {describe(value)}")
    for key in value:
        if key not in allowed:
            unknown_key(key, field, allowed)
    return value


def unknown_key(key: object, field: str, allowed: Iterable[str]) -> NoReturn:
    """Raise InvalidDefinition about a key of ``field``."""
    raise InvalidDefinition(
        f"{_place(field)} has the unknown key {str(key)[:80]!r}; known are {', '.join(allowed)}.",
        field=field,
    )


def _place(field: str) -> str:
    # The field "definition" is the whole of it.
    return "The definition" if field == "definition" else f"The definition's {field}"


def array(value: object, field: str, longest: int) -> list[Any]:
    """``value`` as a list; null and {} are empty (the published client sends {} for void)."""
    if value is None or (isinstance(value, Mapping) and not value):
        return []
    if not isinstance(value, list | tuple):
        fail(field, f"expected an array, got {describe(value)}")
    if len(value) > longest:
        fail(field, f"it has {len(value)} entries, more than {longest}")
    return list(value)


def text(value: object, field: str, longest: int) -> str:
    """``value`` as text that every store and encoder takes."""
    if not isinstance(value, str):
        fail(field, f"expected a string, got {describe(value)}")
    if len(value) > longest:
        fail(field, f"it has {len(value):,} characters, more than {longest:,}")
    if "\x00" in value or SURROGATE.search(value):
        fail(field, "it has a NUL character or a lone surrogate")
    return value


def optional_text(value: object, field: str, longest: int) -> str | None:
    """Like :func:`text`; null stays null."""
    return None if value is None else text(value, field, longest)


def whole(value: object, field: str, lowest: int, highest: int) -> int:
    """``value`` as an integer of a range."""
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        fail(field, f"expected an integer from {lowest} to {highest}, got {describe(value)}")
    return value


def one_of(value: object, allowed: tuple[str, ...], field: str) -> str:
    """``value`` if it is one of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        fail(field, f"expected one of {', '.join(allowed)}, got {describe(value)}")
    return value


def named(check: Callable[..., str], value: object, field: str) -> str:
    """Run a rule of :mod:`.names`, with the path of the part at fault in the error."""
    try:
        return check(value)
    except InvalidName as exc:
        raise InvalidDefinition(f"The definition's {field}: {exc.message}", field=field) from None


def unique(items: list[dict[str, Any]], field: str) -> None:
    """No two items of one name."""
    seen: set[str] = set()
    for number, item in enumerate(items):
        if item["name"] in seen:
            fail(f"{field}[{number}].name", f"{item['name']!r} is there twice")
        seen.add(item["name"])
