"""From the body of a call to the author's values: strict, and by the declared types.

A decoder is made once per parameter and used in every call. It never guesses: a bool is no
number, ``"3"`` is no number, 3.0 is an integer and 3.5 is none. Whatever bytes come, the only
exception that leaves is :class:`InputError`, which names the field.
"""

from __future__ import annotations

import binascii
import json
import re
import sys

from . import dates
from .describe import EXPECTED, InputError, describe, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import (
        Any,
        Callable,
        Dict,
        List,
        Mapping,
        NoReturn,
        Optional,
        Sequence,
        Tuple,
        Union,
    )

    Param = Mapping[str, Any]
    Decode = Callable[[Any], Any]

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
# A recursion limit above this is the author's; the JSON scanner could then overflow the C stack.
_SAFE_RECURSION = 2000
_SURROGATE = re.compile("[\ud800-\udfff]")


def _no_constant(word: str) -> NoReturn:
    raise InputError("", "JSON (null stands for a missing number)", word)


def _bounded_int(digits: str) -> int:
    # Interpreters without this bound of their own take quadratic time for a million digits.
    if len(digits) > 400:
        raise InputError("", "integers of at most 64 bits", f"one of {len(digits)} digits")
    return int(digits)


if hasattr(sys, "set_int_max_str_digits"):
    _scan = json.JSONDecoder(parse_constant=_no_constant).decode
else:
    _scan = json.JSONDecoder(parse_constant=_no_constant, parse_int=_bounded_int).decode


def parse_json(body: Union[bytes, bytearray]) -> Any:
    """JSON as the wire allows it: UTF-8, no NaN, no lone surrogates. Raises InputError."""
    try:
        text = str(body, "utf-8")
    except UnicodeDecodeError as exc:
        raise InputError("", "JSON in UTF-8", f"the byte {body[exc.start]:#04x}") from None
    limit = sys.getrecursionlimit()
    try:
        if limit > _SAFE_RECURSION:
            sys.setrecursionlimit(_SAFE_RECURSION)
        try:
            data = _scan(text)
        finally:
            if limit > _SAFE_RECURSION:
                sys.setrecursionlimit(limit)
    except RecursionError:
        raise InputError("", "JSON of reasonable depth", "one nested too deeply") from None
    except InputError:
        raise
    except json.JSONDecodeError as exc:
        where = f"{exc.msg} at line {exc.lineno} column {exc.colno}"
        raise InputError("", "JSON", f"text that is not ({where})") from None
    except ValueError:  # the interpreter's own limit of digits
        raise InputError("", "integers of at most 64 bits", "a much longer one") from None
    if "\\u" in text:
        _refuse_surrogates(data)
    return data


def _refuse_surrogates(data: Any) -> None:
    """Escapes may have made lone surrogates, which no file, database or reply can take."""
    stack = [("", data)]
    while stack:
        field, item = stack.pop()
        if type(item) is str:
            if _SURROGATE.search(item):
                raise InputError(field, "text that is valid Unicode", f"{quote(item)}")
        elif type(item) is dict:
            for key, value in item.items():
                if _SURROGATE.search(key):
                    raise InputError(field, "names that are valid Unicode", f"{quote(key)}")
                stack.append((field or key, value))
        elif type(item) is list:
            stack.extend([(field, value) for value in item])


class Inputs:
    """The declared inputs of a service, ready to decode bodies."""

    def __init__(self, params: Sequence[Param]) -> None:
        # Name, decoder, optional?, has a default?, default as JSON.
        self._plan: List[Tuple[str, Decode, bool, bool, Any]] = [
            (
                str(param["name"]),
                decoder(param),
                bool(param.get("optional")),
                "default" in param,
                param.get("default"),
            )
            for param in params
        ]
        self._names = frozenset(name for name, *_ in self._plan)
        # Optional inputs without a default, which stay out of the result when they are not sent.
        self.absent_allowed = [p[0] for p in self._plan if p[2] and not p[3]]
        for name, decode, _, has_default, default in self._plan:
            if has_default and default is not None:
                try:
                    decode(default)
                except InputError as exc:
                    raise InputError(name, exc.expected, f"the default {exc.got}") from None

    def decode(self, body: Union[bytes, bytearray]) -> Dict[str, Any]:
        """Values by name, in declared order. Raises InputError."""
        if body:
            return self.decode_parsed(parse_json(body))
        needed = [name for name, _, optional, _, _ in self._plan if not optional]
        if needed:
            example = ", ".join(f'"{name}": ...' for name in needed[:5])
            more = ", ..." if len(needed) > 5 else ""
            sentence = f"The body is empty; send the inputs as a JSON object: {{{example}{more}}}."
            raise InputError("", "JSON", "an empty body", sentence)
        return self.decode_parsed({})

    def decode_parsed(self, data: Any) -> Dict[str, Any]:
        """The same, for JSON that was parsed already. Raises InputError."""
        if type(data) is not dict:
            raise InputError("", "an object of inputs by name", describe(data))
        values: Dict[str, Any] = {}
        found = 0
        for name, decode, optional, has_default, default in self._plan:
            if name in data:
                found += 1
                value = data[name]
                # The published contract: null is None for every type.
                values[name] = None if value is None else decode(value)
            elif not optional:
                raise InputError(name, self._expected(name), "nothing" + self._strangers(data))
            elif has_default:
                # Decoded for every call, so that a call cannot change the default of the next.
                values[name] = None if default is None else decode(default)
        if found != len(data):
            extra = next(name for name in data if name not in self._names)
            names = ", ".join(name for name, *_ in self._plan)
            expected = f"no such input (the inputs are {names})" if names else "no input"
            known = f"the inputs are {names}" if names else "the service has no inputs"
            sentence = f"The input {quote(extra)} is not declared; {known}."
            raise InputError(extra[:200], expected, "one", sentence)
        return values

    def _expected(self, name: str) -> str:
        decode = next(decode for found, decode, *_ in self._plan if found == name)
        return str(getattr(decode, "expected", "a value"))

    def _strangers(self, data: Dict[str, Any]) -> str:
        extra = [quote(name) for name in data if name not in self._names][:3]
        return f" (but {', '.join(extra)}, which is not declared)" if extra else ""


def decoder(param: Param) -> Decode:
    """The decoder of one parameter: JSON value (not null) to Python value, or InputError.

    Raises ImportError when the type needs numpy or pandas and this interpreter has none.
    """
    kind, name = str(param["type"]), str(param["name"])
    if kind in ("vector", "matrix", "data.frame"):
        from . import arrays, tables

        if kind == "data.frame":
            decode = tables.frame_decoder(name, param.get("columns"))
        else:
            make = arrays.vector_decoder if kind == "vector" else arrays.matrix_decoder
            decode = make(name)
    elif kind in _SCALARS:
        decode = _SCALARS[kind](name)
    else:
        raise ValueError(f"the input {name!r} has the type {kind!r}, which is not known here")
    decode.expected = EXPECTED[kind]  # type: ignore[attr-defined]
    return decode


def integer(value: Any) -> Optional[int]:
    """``value`` as a 64-bit integer (3.0 is one); None when it is none."""
    kind = type(value)
    if kind is float and value.is_integer():
        value = int(value)
    elif kind is not int:
        return None
    return value if INT_MIN <= value <= INT_MAX else None


def wrong(field: str, kind: str, value: Any) -> InputError:
    """The error for ``value`` where a ``kind`` was declared, precise about numbers."""
    expected = EXPECTED[kind]
    if kind == "integer" and type(value) in (int, float) and value == value:
        if type(value) is int or value.is_integer():
            expected = "an integer of at most 64 bits"
    elif kind == "numeric" and type(value) in (int, float):
        expected = "a number that a double can hold"
    return InputError(field, expected, describe(value))


def finite(value: Any) -> Optional[float]:
    """``value`` as a finite float; None when it is no number or too large for one."""
    kind = type(value)
    if kind is int:
        try:
            return float(value)
        except OverflowError:
            return None
    # inf - inf is not 0
    return value if kind is float and value - value == 0.0 else None


def _numeric(name: str) -> Decode:
    def decode(value: Any) -> float:
        if type(value) is float and value - value == 0.0:
            return value
        number = finite(value)
        if number is None:
            raise wrong(name, "numeric", value)
        return number

    return decode


def _integer(name: str) -> Decode:
    def decode(value: Any) -> int:
        number = integer(value)
        if number is None:
            raise wrong(name, "integer", value)
        return number

    return decode


def _logical(name: str) -> Decode:
    def decode(value: Any) -> bool:
        if type(value) is not bool:
            raise wrong(name, "logical", value)
        return value

    return decode


def _character(name: str) -> Decode:
    def decode(value: Any) -> str:
        if type(value) is not str:
            raise wrong(name, "character", value)
        return value

    return decode


def _datetime(name: str) -> Decode:
    def decode(value: Any) -> Any:
        found = dates.parse(value) if type(value) is str else None
        if found is None:
            raise wrong(name, "datetime", value)
        return found

    return decode


def _bytes(name: str) -> Decode:
    def decode(value: Any) -> bytes:
        # a2b_base64 alone skips what is not base64.
        if type(value) is str and _BASE64.fullmatch(value) and len(value) % 4 == 0:
            try:
                return binascii.a2b_base64(value)
            except ValueError:
                pass
        raise wrong(name, "bytes", value)

    return decode


_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def _json_of(kind: type, word: str) -> Callable[[str], Decode]:
    def make(name: str) -> Decode:
        def decode(value: Any) -> Any:
            if type(value) is not kind:
                raise wrong(name, word, value)
            _check_numbers(name, value)
            return value

        return decode

    return make


def _check_numbers(field: str, value: Any) -> None:
    """Numbers inside JSON that no double or 64-bit integer can hold."""
    stack = [value]
    while stack:
        item = stack.pop()
        for inner in item.values() if type(item) is dict else item:
            kind = type(inner)
            if kind is dict or kind is list:
                stack.append(inner)
            elif kind is float:
                if inner - inner != 0.0:
                    raise wrong(field, "numeric", inner)
            elif kind is int and not INT_MIN <= inner <= INT_MAX:
                raise wrong(field, "integer", inner)


_SCALARS: Dict[str, Callable[[str], Decode]] = {
    "logical": _logical,
    "integer": _integer,
    "numeric": _numeric,
    "character": _character,
    "datetime": _datetime,
    "bytes": _bytes,
    "list": _json_of(list, "list"),
    "dict": _json_of(dict, "dict"),
}
