"""From the author's values to JSON, by the declared types: what JSON cannot say becomes null.

NaN, NaT, pandas.NA and infinities are null, dates are ISO 8601, categoricals are their values,
frames are columns (the index is dropped, the order of columns kept), bytes are base64. A value
that does not fit its declared type raises :class:`InputError`, whose ``got`` says what it was.
numpy and pandas are recognised by what their values are, so that nothing is imported here.
"""

from __future__ import annotations

import binascii
import datetime as dt
import json
import sys

from . import dates
from .describe import SPELLING, InputError, type_name
from .inputs import INT_MAX, INT_MIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

    Param = Mapping[str, Any]
    Encode = Callable[[Any], Any]

MAX_DEPTH = 200
# allow_nan=False: a number that slipped through would break every strict reader.
dump_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Outputs:
    """The declared outputs of a service, ready to encode what a call gave."""

    def __init__(self, params: Sequence[Param]) -> None:
        self._plan: List[Tuple[str, Encode, Param]] = [
            (str(param["name"]), encoder(param), param) for param in params
        ]
        self.names = [name for name, _, _ in self._plan]

    def encode(self, values: Mapping[str, Any]) -> Dict[str, Any]:
        """JSON values by name. Raises TypeError that names the output at fault (the author's)."""
        encoded: Dict[str, Any] = {}
        for name, encode, param in self._plan:
            value = values[name]
            try:
                encoded[name] = None if value is None else encode(value)
            except InputError as exc:
                raise TypeError(_author_message(name, exc, param)) from None
        return encoded


def _author_message(name: str, exc: InputError, param: Param) -> str:
    kind = str(param["type"])
    where = f" ({exc.field})" if exc.field != name else ""
    return (
        f"the output {name!r} is declared {SPELLING.get(kind, kind)}, but the code gave "
        f"{exc.got}{where}; expected {exc.expected}"
    )


def encoder(param: Param) -> Encode:
    """The encoder of one parameter: Python value (not None) to JSON value, or InputError."""
    kind, name = str(param["type"]), str(param["name"])
    if kind == "data.frame":
        from .columns import frame_encoder

        return frame_encoder(name, param.get("columns"))
    if kind not in _ENCODERS:
        raise ValueError(f"the output {name!r} has the type {kind!r}, which is not known here")
    make = _ENCODERS[kind]

    def encode(value: Any) -> Any:
        return make(value, name)

    return encode


def plain(value: Any) -> Any:
    """A numpy scalar, a 0-d array or a one-element missing value as a plain Python one."""
    cls = type(value)
    module = cls.__module__
    if module == "numpy" and getattr(value, "shape", None) == ():
        kind = value.dtype.kind
        if kind == "f":
            return float(value)  # item() keeps a longdouble
        return plain_time(value) if kind in "mM" else value.item()
    if module.startswith("pandas.") and is_missing(value):
        return None
    return value


def is_missing(value: Any) -> bool:
    """pandas.NA or pandas.NaT."""
    return type(value).__name__ in ("NAType", "NaTType")


def plain_time(value: Any) -> Any:
    """numpy.datetime64 as a datetime (None for NaT); its nanoseconds are cut."""
    text = str(value)
    if text == "NaT":
        return None
    return dates.parse(text) or text


def _numeric(value: Any, name: str) -> Optional[float]:
    if type(value) is not float:
        value = plain(value)
        if value is None:
            return None
    if type(value) is float:
        return value if value - value == 0.0 else None
    number: float
    if type(value) is int:
        number = value
        return number
    if isinstance(value, bool) or not hasattr(value, "__float__") or hasattr(value, "shape"):
        raise _misfit(name, "a number", value)
    try:
        number = float(value)  # Decimal, Fraction, and subclasses of float and int
    except (TypeError, ValueError, OverflowError):
        raise _misfit(name, "a number", value) from None
    return number if number - number == 0.0 else None


def _integer(value: Any, name: str) -> Optional[int]:
    if type(value) is not int:
        value = plain(value)
        if value is None:
            return None
        if type(value) is float:
            if value - value != 0.0:
                return None
            if not value.is_integer():
                raise InputError(name, "an integer", f"the number {value!r}")
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _misfit(name, "an integer", value)
    if not INT_MIN <= value <= INT_MAX:
        raise InputError(name, "an integer of at most 64 bits", "a larger one")
    return int(value)


def _logical(value: Any, name: str) -> Optional[bool]:
    value = plain(value)
    if value is None or type(value) is bool:
        return value
    raise _misfit(name, "True or False", value)


def text_of(value: str) -> str:
    """The text as UTF-8 can carry it: lone surrogates become question marks."""
    if value.isascii():
        return str(value)
    return value.encode("utf-8", "replace").decode("utf-8")


def _character(value: Any, name: str) -> Optional[str]:
    if not isinstance(value, str):
        value = plain(value)
        if value is None or (type(value) is float and value != value):
            return None
        if not isinstance(value, str):
            raise _misfit(name, "a str", value)
    return text_of(value)


def _datetime(value: Any, name: str) -> Optional[str]:
    value = plain(value)
    if value is None:
        return None
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    if isinstance(value, str) and dates.parse(value) is not None:
        return value
    raise _misfit(name, "a datetime", value)


def _bytes(value: Any, name: str) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64_text(value)
    getvalue = getattr(value, "getvalue", None)
    if getvalue is not None and type(value).__name__ == "BytesIO":
        return base64_text(getvalue())
    raise _misfit(name, "bytes", value)


def base64_text(data: Any) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _vector(value: Any, name: str) -> List[Any]:
    cells = array_cells(value)
    if cells is None:
        if isinstance(value, (set, frozenset, range)):
            cells = list(value)
        elif not isinstance(value, (list, tuple)):
            raise _misfit(name, "a 1-d numpy array or a list", value)
        else:
            cells = list(value)
    if getattr(value, "ndim", 1) != 1:
        raise _misfit(name, "a 1-d numpy array or a list", value)
    return [_cell(item, f"{name}[{i}]") for i, item in enumerate(cells)] if _loose(cells) else cells


def _matrix(value: Any, name: str) -> List[List[Any]]:
    to_numpy = getattr(value, "to_numpy", None)
    if to_numpy is not None and getattr(value, "ndim", 0) == 2:  # a DataFrame
        value = to_numpy()
    rows = array_cells(value)
    if rows is None and isinstance(value, (list, tuple)):
        rows = [array_cells(row) or list(row) if _is_row(row) else row for row in value]
    if rows is None or getattr(value, "ndim", 2) != 2:
        raise _misfit(name, "a 2-d numpy array or a list of rows", value)
    for number, row in enumerate(rows):
        if type(row) is not list:
            raise _misfit(f"{name}[{number}]", "a row", row)
        if len(row) != len(rows[0]):
            got = f"one of {len(row)}"
            raise InputError(f"{name}[{number}]", f"a row of {len(rows[0])}", got)
        if _loose(row):
            rows[number] = [_cell(item, f"{name}[{number}][{i}]") for i, item in enumerate(row)]
    return rows


def _is_row(row: Any) -> bool:
    return isinstance(row, (list, tuple)) or getattr(row, "ndim", 0) == 1


def array_cells(value: Any) -> Optional[List[Any]]:
    """The cells of a numpy array or pandas Series as JSON values; None when it is neither.

    Whole arrays are converted at once, by their kind; nested lists for two dimensions.
    """
    dtype = getattr(value, "dtype", None)
    if dtype is None or not hasattr(value, "tolist") or getattr(value, "shape", None) == ():
        return None
    if type(dtype).__module__.split(".", 1)[0] != "numpy":
        return _extension_cells(value, str(getattr(dtype, "kind", "O")))
    if hasattr(value, "to_numpy"):  # Series, Index
        value = value.to_numpy()
    kind = dtype.kind
    if kind == "f":
        cells: List[Any] = value.tolist()
        np = sys.modules["numpy"]
        if np.isfinite(value).all():
            return cells
        return _nulls(cells)
    if kind in "iub":
        if kind == "u" and dtype.itemsize == 8 and value.size and int(value.max()) > INT_MAX:
            return list(map(float, value.tolist()))
        return list(value.tolist())
    if kind == "M":
        return date_cells(value)
    return list(value.tolist())


def _extension_cells(value: Any, kind: str) -> List[Any]:
    """Cells of a Series with a dtype of pandas' own: nullable, categorical, text, zoned dates."""
    if kind == "f":  # Float64 of pandas
        return _nulls([None if is_missing(cell) else float(cell) for cell in value.tolist()])
    return list(value.tolist())


def _nulls(cells: List[Any]) -> List[Any]:
    """The same (nested) list with None for every float that is not finite."""
    return [
        _nulls(cell)
        if type(cell) is list
        else (cell if cell is not None and cell - cell == 0.0 else None)
        for cell in cells
    ]


def date_cells(value: Any) -> List[Any]:
    """datetime64 array as ISO 8601 text, to the second, or as finely as any of them needs."""
    np = sys.modules["numpy"]
    present = value[~np.isnat(value)]
    unit = "ns"
    for coarse in ("s", "ms", "us"):
        if (present == present.astype(f"datetime64[{coarse}]")).all():
            unit = coarse
            break
    text = np.datetime_as_string(value, unit=unit)
    return [None if cell == "NaT" else cell for cell in text.tolist()]


# What needs no look at every cell: these are JSON, and finite by the conversion above.
_EXACT = frozenset([int, bool, type(None)])


def _loose(cells: List[Any]) -> bool:
    """Whether the cells need to be encoded one by one."""
    kinds = set(map(type, cells))
    if kinds <= _EXACT:
        return int in kinds and not all(
            cell is None or INT_MIN <= cell <= INT_MAX for cell in cells
        )
    if kinds <= {float, type(None)}:
        return not all(cell is None or cell - cell == 0.0 for cell in cells)
    return True


def _cell(value: Any, field: str) -> Any:
    """One cell of a vector, matrix or frame: a number, text, boolean, date or null."""
    if isinstance(value, (list, tuple, dict, set)) or getattr(value, "ndim", None):
        raise _misfit(field, "a number, text, boolean or date", value)
    return jsonable(value, field, 0)


def jsonable(value: Any, field: str, depth: int = 0) -> Any:
    """Any value that has an obvious JSON form, in it. Raises InputError naming what has none."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is float:
        return value if value - value == 0.0 else None
    if isinstance(value, str):
        return text_of(value)
    if kind is int:
        if INT_MIN <= value <= INT_MAX:
            return value
        raise InputError(field, "integers of at most 64 bits", "a larger one")
    if depth > MAX_DEPTH:
        raise InputError(field[:200], f"at most {MAX_DEPTH} levels of nesting", "more")
    if isinstance(value, dict):
        return _object(value, field, depth)
    if isinstance(value, (list, tuple, set, frozenset)):
        cells = list(value)
        if not _loose(cells) or all(type(cell) is str and cell.isascii() for cell in cells):
            return cells
        return [jsonable(item, f"{field}[{i}]", depth + 1) for i, item in enumerate(cells)]
    return _special(value, field, depth)


def _object(value: Dict[Any, Any], field: str, depth: int) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for key, item in value.items():
        key = plain(key)
        if not isinstance(key, (str, int, float)) or isinstance(key, bool):
            raise _misfit(field, "keys that are text or numbers", key)
        name = text_of(str(key))
        if name in found:
            raise InputError(field, "keys that differ as text", f"{name!r} twice")
        found[name] = jsonable(item, f"{field}.{name}", depth + 1)
    return found


def _special(value: Any, field: str, depth: int) -> Any:
    """numpy, pandas, dates, bytes, decimals, enumerations; whatever else is an error."""
    simple = plain(value)
    if simple is not value:
        return jsonable(simple, field, depth + 1)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64_text(value)
    cells = array_cells(value)
    if cells is not None:
        return jsonable(cells, field, depth)
    name, module = type(value).__name__, type(value).__module__.split(".", 1)[0]
    if name == "DataFrame" and module in ("pandas", "polars"):
        from .columns import frame_encoder

        return frame_encoder(field, None)(value)
    if isinstance(value, (int, float)) or name in ("Decimal", "Fraction"):
        return _numeric(value, field)
    if name == "UUID" or hasattr(value, "__fspath__"):
        return text_of(str(value))
    if hasattr(type(value), "__members__"):  # enum.Enum
        return jsonable(value.value, field, depth + 1)
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    raise _misfit(field, "something that JSON can say", value)


def _list(value: Any, name: str) -> Any:
    if isinstance(value, (list, tuple, set, frozenset, range)) or array_cells(value) is not None:
        return jsonable(list(value) if isinstance(value, range) else value, name)
    raise _misfit(name, "a list", value)


def _dict(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return jsonable(value, name)
    as_dict = getattr(value, "_asdict", None) or (
        getattr(value, "to_dict", None) if type(value).__name__ == "Series" else None
    )
    if as_dict is not None:  # namedtuple, Series
        return jsonable(as_dict(), name)
    raise _misfit(name, "a dict", value)


def _misfit(field: str, expected: str, value: Any) -> InputError:
    name = type_name(value)
    article = "an" if name[:1] in "aeiou" else "a"
    return InputError(field, expected, f"{article} {name}")


_ENCODERS: Dict[str, Callable[[Any, str], Any]] = {
    "logical": _logical,
    "integer": _integer,
    "numeric": _numeric,
    "character": _character,
    "datetime": _datetime,
    "bytes": _bytes,
    "vector": _vector,
    "matrix": _matrix,
    "list": _list,
    "dict": _dict,
}
