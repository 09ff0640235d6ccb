"""The frame of a realtime call: from what the caller has to columns as the service takes them.

A realtime service takes the columns of its training frame, by name, in their order, with their
types. Nothing is cast here either; what is said in another way is translated (numpy scalars,
categories, missing values, bytes of an image as base64). What does not fit is refused before
anything is sent, in the words of the server: the column, what was expected, what came.
"""

from __future__ import annotations

import base64
import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..contract.errors import InvalidInput

Json = dict[str, Any]

INPUT = "inputData"

_WORDS = {
    "numeric": "a number",
    "integer": "an integer",
    "logical": "true or false",
    "character": "a string",
}
_KINDS: dict[str, frozenset[type]] = {
    "numeric": frozenset({int, float}),
    "integer": frozenset({int}),
    "logical": frozenset({bool}),
}
_BYTES = (bytes, bytearray, memoryview)
_SHOWN = 20


@dataclass(frozen=True)
class Schema:
    """The columns of a realtime version, and the response that its training frame carried."""

    columns: tuple[Mapping[str, Any], ...]
    response: str | None = None
    position: int | None = None

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> Schema:
        """From the WebService object of the version."""
        (param,) = definition["inputParameterDefinitions"]
        response = (definition.get("mlserve") or {}).get("response") or {}
        position = response.get("position")
        return cls(
            tuple(param.get("columns") or ()),
            None if position is None else str(response["name"]),
            position,
        )

    @property
    def names(self) -> list[str]:
        return [str(column["name"]) for column in self.columns]

    @property
    def names_at_training(self) -> list[str]:
        """The names with the response in its place, if the training frame had it."""
        names = self.names
        if self.response is not None and self.position is not None:
            names.insert(self.position, self.response)
        return names


def columns_of(value: Any, schema: Schema) -> dict[str, Any]:
    """The predictors in ``value``, by name, each as the array or list that it was.

    ``value`` is a pandas or polars DataFrame, an Arrow table, a dict of columns, a list of
    records, one record (a dict of single values, a row of a DataFrame), or a 2-d array with as
    many columns. The response, where the training frame had it, is left out.

    Raises InvalidInput.
    """
    table = _table(value, schema)
    for name, cells in table.items():
        if isinstance(cells, Mapping):  # DataFrame.to_dict() has the rows by their labels
            table[name] = list(cells.values())
        elif _single(cells):
            refuse(name, "a list of values for the column", _value(cells))
    names = list(table)
    if names != schema.names:
        if names != schema.names_at_training:
            _wrong_names(names, schema)
        del table[str(schema.response)]
    lengths = {name: length(cells) for name, cells in table.items()}
    for name, found in lengths.items():
        first = next(iter(lengths.values()))
        if found != first:
            expected = f"{first:,} value{'' if first == 1 else 's'}, as in the columns before it"
            refuse(name, expected, f"{found:,}")
    return table


def json_columns(table: Mapping[str, Any], schema: Schema) -> dict[str, list[Any]]:
    """The columns as JSON values. Raises InvalidInput naming column and row."""
    found = {}
    for column in schema.columns:
        name = str(column["name"])
        make = _texts if column["type"] == "character" else _plain
        cells = make(table[name], column)
        if None in cells and not column.get("nullable", True):
            refuse(name, _expected(column), "a missing value", cells.index(None))
        found[name] = cells
    return found


def arrow_stream(table: Mapping[str, Any], schema: Schema) -> bytes | None:
    """The columns as an Arrow IPC stream; None if that cannot carry them as they are (JSON then
    says what is wrong, or finds a way)."""
    import pyarrow as pa

    try:
        arrays = [_arrow_array(pa, table[str(column["name"])], column) for column in schema.columns]
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    sink = pa.BufferOutputStream()
    whole = pa.table(arrays, names=schema.names)
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        writer.write_table(whole)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _expected(column: Mapping[str, Any]) -> str:
    return _WORDS[str(column["type"])] + (" or null" if column.get("nullable", True) else "")


def refuse(column: str, expected: str, got: str, row: int | None = None) -> NoReturn:
    """Raise InvalidInput, in the form of the server's; ``row`` counts from 0."""
    field = INPUT + (f".{column[:250]}" if column else "") + (f"[{row}]" if row is not None else "")
    details = {"column": column or None, "row": row}
    raise InvalidInput(
        field=field,
        expected=expected,
        got=got,
        **{key: item for key, item in details.items() if item is not None},
    )


# What the caller has ---------------------------------------------------------------------------


def _table(value: Any, schema: Schema) -> dict[str, Any]:
    module, kind = type(value).__module__.partition(".")[0], type(value).__name__
    if isinstance(value, Mapping):
        table = {str(name): cells for name, cells in value.items()}
        if table and all(map(_single, table.values())):
            table = {name: [cell] for name, cell in table.items()}
        return table
    if module == "polars" and kind == "DataFrame":
        return {column.name: column.to_list() for column in value.get_columns()}
    if module == "pyarrow" and kind in ("Table", "RecordBatch"):
        return _named((str(name), value.column(i)) for i, name in enumerate(value.schema.names))
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        if len(value.columns) and list(value.columns) == list(range(len(value.columns))):
            return _positions(value.to_numpy(), schema)  # numbered, so it has no names either
        return _named((str(name), value.iloc[:, i]) for i, name in enumerate(value.columns))
    if hasattr(value, "iloc") and hasattr(value, "to_frame"):
        # A row of a frame, or the one column of a service that has one.
        if [str(label) for label in value.index] in (schema.names, schema.names_at_training):
            return {str(label): [cell] for label, cell in value.items()}
        return {str(value.name if value.name is not None else _only(schema)): value}
    if getattr(value, "ndim", 0) == 2 and hasattr(value, "shape"):
        return _positions(value, schema)
    if isinstance(value, list | tuple):
        if all(isinstance(record, Mapping) for record in value):
            return _transposed(value, schema)
        if len(schema.columns) == 1 and all(map(_single, value)):
            return {_only(schema): list(value)}
    names = ", ".join(schema.names[:_SHOWN])
    refuse("", f"a DataFrame, a dict of columns or a list of records with {names}", _kind(value))


def _named(columns: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, cells in columns:
        if name in table:
            refuse(name, "columns that differ in name", "two of this name")
        table[name] = cells
    return table


def _transposed(records: Sequence[Mapping[Any, Any]], schema: Schema) -> dict[str, Any]:
    if not records:
        return {name: [] for name in schema.names}
    names = [str(name) for name in records[0]]
    for number, record in enumerate(records):
        if [str(name) for name in record] != names:
            expected = f"the columns of the first record ({_listed(names)})"
            refuse("", expected, _listed([str(name) for name in record]), number)
    rows = [list(record.values()) for record in records]
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _positions(value: Any, schema: Schema) -> dict[str, Any]:
    """A 2-d array has no names: its columns are those of the service, if there are as many."""
    width = value.shape[1]
    if width != len(schema.columns):
        expected = f"{len(schema.columns)} columns ({_listed(schema.names)})"
        refuse("", expected, f"an array of {width}")
    return {name: value[:, i] for i, name in enumerate(schema.names)}


def _only(schema: Schema) -> str:
    return schema.names[0] if len(schema.columns) == 1 else "0"


def _single(value: Any) -> bool:
    """One value, not a column of them."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return True
    return not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0


def length(cells: Any) -> int:
    """Rows."""
    try:
        return len(cells)
    except TypeError:
        return 0


def _wrong_names(got: Sequence[str], schema: Schema) -> NoReturn:
    """Says which column is missing, one too many, or out of place."""
    names, allowed = schema.names, schema.names_at_training
    extra = [name for name in got if name not in allowed]
    for name in names:
        if name not in got:
            near = difflib.get_close_matches(name, extra, n=1) or extra[:3]
            but = f" (but {', '.join(map(repr, near))}, which is not declared)" if near else ""
            refuse(name, "this column", f"none of this name{but}")
    if extra:
        refuse(extra[0], f"no such column (the columns are {_listed(names)})", "one")
    # The response may be there or not; where it is, it has its place.
    wanted = allowed if schema.response in got else names
    right, found = next(pair for pair in zip(wanted, got, strict=True) if pair[0] != pair[1])
    raise InvalidInput(
        field=INPUT,
        expected=f"the columns in the order {_listed(wanted)}",
        got=f"{found[:50]!r} in the place of {right[:50]!r}",
        column=found,
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:50] for name in names[:_SHOWN])
    return shown + (f", … ({len(names)} in all)" if len(names) > _SHOWN else "") or "none"


# Cells -----------------------------------------------------------------------------------------


def _plain(cells: Any, column: Mapping[str, Any]) -> list[Any]:
    """Numbers and booleans, None where a value is missing."""
    from ..worker.values import InputError, encode_value

    name, kind = str(column["name"]), str(column["type"])
    expected = _expected(column)
    if str(getattr(getattr(cells, "dtype", None), "kind", "")) in ("M", "m"):
        refuse(name, expected, f"a column of {cells.dtype}")
    if hasattr(cells, "to_pylist"):
        cells = cells.to_pylist()
    try:
        encoded = encode_value({name: cells}, {"name": INPUT, "type": "data.frame"})
    except InputError as error:
        refuse(name, error.expected, error.got, _row(error.field))
    found: list[Any] = encoded[name]
    if kind == "integer" and any(type(cell) is float for cell in found):
        # With a missing value between them, pandas makes floats of integers.
        found = [int(cell) if type(cell) is float and cell.is_integer() else cell for cell in found]
    allowed = _KINDS[kind]
    for row, cell in enumerate(found):
        if cell is None:
            given = _at(cells, row)
            if _infinite(given):
                refuse(name, f"{_WORDS[kind]} that is finite", str(given), row)
        elif type(cell) not in allowed:
            refuse(name, expected, _value(_at(cells, row)), row)
    return found


def _texts(cells: Any, column: Mapping[str, Any]) -> list[str | None]:
    """Text, None where it is missing; bytes (an image) as base64."""
    name = str(column["name"])
    if str(getattr(getattr(cells, "dtype", None), "kind", "")) in ("M", "m"):
        refuse(name, _expected(column), f"a column of {cells.dtype}")
    take: Callable[[], list[Any]] | None = getattr(cells, "to_pylist", None)
    take = take or getattr(cells, "tolist", None)
    found: list[str | None] = []
    for row, cell in enumerate(take() if take is not None else cells):
        if isinstance(cell, str):
            found.append(str(cell))
        elif _missing(cell):
            found.append(None)
        elif isinstance(cell, _BYTES):
            found.append(base64.b64encode(cell).decode("ascii"))
        else:
            refuse(name, _expected(column), _value(cell), row)
    return found


def _at(cells: Any, row: int) -> Any:
    # A Series counts by its labels, which may be anything.
    return cells.iloc[row] if hasattr(cells, "iloc") else cells[row]


def _missing(cell: Any) -> bool:
    """None, NaN, and pandas' own words for it."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float) and math.isnan(cell)


def _infinite(cell: Any) -> bool:
    try:
        return math.isinf(cell)
    except (TypeError, ValueError, OverflowError):
        return False


def _row(field: str) -> int | None:
    """The number in ``inputData.hp[3]``."""
    number = field.rpartition("[")[2].rstrip("]")
    return int(number) if field.endswith("]") and number.isdecimal() else None


def _value(cell: Any) -> str:
    """A wrong cell in a few words."""
    plain = cell.item() if hasattr(cell, "item") and hasattr(cell, "dtype") else cell
    if isinstance(plain, str):
        return "the string " + repr(plain if len(plain) <= 40 else plain[:37] + "...")
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, int | float):
        return repr(plain)
    return _kind(plain)


def _kind(value: Any) -> str:
    name = type(value).__name__
    shape = getattr(value, "shape", None)
    article = "an" if name[:1].lower() in "aeiou" else "a"
    return f"{article} {name}" + (f" of shape {shape}" if isinstance(shape, tuple) else "")


def _arrow_array(pa: Any, cells: Any, column: Mapping[str, Any]) -> Any:
    """The column as an Arrow array of a type that says what is declared. Raises ValueError."""
    import pyarrow.compute as pc

    kind, types = str(column["type"]), pa.types
    own = isinstance(cells, (pa.Array, pa.ChunkedArray))
    array = cells if own else pa.array(cells, from_pandas=True)
    if types.is_dictionary(array.type) and not types.is_string(array.type.value_type):
        array = array.cast(array.type.value_type)
    found = array.type
    if types.is_null(found):
        names = {"numeric": pa.float64(), "integer": pa.int64(), "logical": pa.bool_()}
        array = array.cast(names.get(kind, pa.string()))
    elif kind == "character":
        text = types.is_string(found) or types.is_large_string(found) or types.is_dictionary(found)
        if not text:
            raise ValueError(f"{found} is no text")
    elif kind == "logical":
        if not types.is_boolean(found):
            raise ValueError(f"{found} is no boolean")
    elif types.is_floating(found):
        if pc.any(pc.is_inf(array)).as_py():
            raise ValueError("infinite")
        array = array.cast(pa.int64() if kind == "integer" else pa.float64())
    elif not types.is_integer(found):
        raise ValueError(f"{found} is no number")
    if array.null_count and not column.get("nullable", True):
        raise ValueError("missing values")
    if own and kind == "numeric" and types.is_floating(found):
        # In an Arrow table NaN is a value of its own.
        array = pc.if_else(pc.is_nan(array), None, array)
        if array.null_count and not column.get("nullable", True):
            raise ValueError("missing values")
    return array
