"""What live Python values say about types: the schema of a frame, JSON of a default or sample.

Values of numpy and pandas are recognised by what they offer, not by importing the libraries.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import InvalidDefinition
from .limits import MAX_COLUMNS
from .names import check_column

if TYPE_CHECKING:
    from .types import Column, Param


def columns_of(frame: Any) -> list[Column]:
    """The column schema of a pandas DataFrame, in its order.

    numpy kinds b, i/u, f, M become logical, integer, numeric, datetime; text becomes character;
    a categorical is what its categories are. A column of objects is what all its values are.
    ``nullable`` is set where missing values occur in, or can be held by, an integer or logical
    column. Raises InvalidDefinition naming a column that has no JSON type.
    """
    names = list(frame.columns)
    if not names:
        raise InvalidDefinition("The frame has no columns to learn a schema from.", field="columns")
    if len(names) > MAX_COLUMNS:
        raise InvalidDefinition(
            f"The frame has {len(names)} columns; a declared schema holds {MAX_COLUMNS}. "
            "Declare it as plain DataFrame, without a schema.",
            field="columns",
        )
    columns: list[Column] = []
    for position, name in enumerate(names):
        if not isinstance(name, str):
            raise InvalidDefinition(
                f"The frame's column {name!r} is named by a {type(name).__name__}. JSON names "
                "columns by text: rename it, for example frame.columns = map(str, frame.columns).",
                field="columns",
            )
        check_column(name)
        if name in names[:position]:
            raise InvalidDefinition(
                f"The frame has two columns {name!r}. Rename one.", field="columns"
            )
        kind, nullable = _kind(name, frame.iloc[:, position])
        column: Column = {"name": name, "type": kind}
        if nullable and kind in ("integer", "logical"):
            column["nullable"] = True
        columns.append(column)
    return columns


def param_of_value(name: str, value: object) -> Param:
    """The parameter that would take ``value``: its type, and for a DataFrame its columns."""
    from .types import make_param

    if value is None:
        raise InvalidDefinition(
            f"The type of {name!r} cannot be learnt from None. Declare it.", field=name
        )
    cls = type(value)
    if cls.__name__ == "ndarray" and getattr(value, "ndim", 1) == 2:
        return make_param(name, "matrix")
    is_frame = cls.__name__ == "DataFrame"
    return make_param(name, value if is_frame else cls)


def to_json(value: Any) -> Any:
    """A Python value in the JSON encoding of the contract, as far as it has one.

    None, booleans, numbers and text stay; datetimes become ISO 8601, bytes base64, arrays nested
    lists, a DataFrame its columns, pandas' missing values null. What is left over is returned as
    it is; :func:`.values.json_problem` then says what is wrong with it.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if _is_missing(value):
        return None
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if type(value).__name__ == "DataFrame" and hasattr(value, "columns"):
        return {
            name: [_cell(cell) for cell in value.iloc[:, position].tolist()]
            for position, name in enumerate(value.columns)
        }
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # numpy array or scalar
        if getattr(value.dtype, "kind", "") == "M":
            return to_json(value.astype("datetime64[us]").tolist())
        found = value.tolist()
        return (
            to_json(found) if isinstance(found, list) or type(found) is not type(value) else value
        )
    if isinstance(value, str):
        return str(value)
    return value


def _cell(value: Any) -> Any:
    """A cell of a frame: like :func:`to_json`, but a NaN is a missing value."""
    found = to_json(value)
    return None if isinstance(found, float) and math.isnan(found) else found


def _is_missing(value: Any) -> bool:
    """pandas.NA and pandas.NaT, by their class names."""
    return type(value).__name__ in ("NAType", "NaTType")


def _kind(name: str, column: Any) -> tuple[str, bool]:
    dtype = column.dtype
    if hasattr(dtype, "categories"):
        categories = dtype.categories
        return _kind(name, categories)[0], bool(column.isna().any())
    kind = str(getattr(dtype, "kind", "O"))
    # Masked and Arrow columns ("Int64", "boolean", "int64[pyarrow]") can hold missing values.
    extension = type(dtype).__module__.partition(".")[0] != "numpy"
    if kind == "b":
        return "logical", extension
    if kind in "iu":
        return "integer", extension
    if kind == "f":
        return "numeric", False
    if kind == "M":
        return "datetime", False
    if kind in "US" or str(dtype).startswith(("str", "string", "large_string")):
        return "character", False
    if kind == "O":
        found = _kind_of_values(column)
        if found is not None:
            return found
    raise InvalidDefinition(
        f"The column {name!r} holds {dtype} values, which have no single JSON type. Convert it "
        "to numbers, text, booleans or dates, or declare the frame without a schema.",
        field=name,
    )


def _kind_of_values(column: Iterable[Any]) -> tuple[str, bool] | None:
    """The one type of the values of an object column; None when there is none."""
    kinds: set[str] = set()
    missing = False
    for value in column:
        if value is None or _is_missing(value) or (isinstance(value, float) and value != value):
            missing = True
        elif isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
            kinds.add("logical")
        elif isinstance(value, int):
            kinds.add("integer")
        elif isinstance(value, float):
            kinds.add("numeric")
        elif isinstance(value, str):
            kinds.add("character")
        elif isinstance(value, dt.date):
            kinds.add("datetime")
        else:
            return None
    if kinds == {"integer", "numeric"}:
        kinds = {"numeric"}
    return (kinds.pop(), missing) if len(kinds) == 1 else None
