"""Frames to JSON columns: pandas, polars, arrow tables, or a dict of columns."""

from __future__ import annotations

from .describe import InputError, type_name, with_article
from .outputs import _cell, _loose, _misfit, array_cells, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

_NONE = type(None)
_KINDS = {
    "numeric": frozenset([int, float]),
    "integer": frozenset([int]),
    "logical": frozenset([bool]),
    "character": frozenset([str]),
    "datetime": frozenset([str]),
}
_WORDS = {
    "numeric": "numbers",
    "integer": "integers",
    "logical": "booleans",
    "character": "text",
    "datetime": "dates",
}


def frame_encoder(
    name: str, columns: Optional[Sequence[Mapping[str, Any]]]
) -> Callable[[Any], Dict[str, List[Any]]]:
    """Encoder of a frame to ``{column: [values]}``; a schema is checked on the way out too."""

    def encode(value: Any) -> Dict[str, List[Any]]:
        table = table_of(name, value)
        encoded = {column: cells_of(f"{name}.{column}", cells) for column, cells in table.items()}
        if len(set(map(len, encoded.values()))) > 1:
            raise InputError(name, "columns of equal length", "different lengths")
        if columns is not None:
            _check(name, encoded, columns)
        return encoded

    return encode


def table_of(name: str, value: Any) -> Dict[str, Any]:
    """The columns of a frame, by name, still as its own kind of array."""
    module, cls = type(value).__module__.split(".", 1)[0], type(value).__name__
    if isinstance(value, dict) or (hasattr(value, "iloc") and hasattr(value, "columns")):
        pairs = list(value.items())
    elif hasattr(value, "iloc") and hasattr(value, "to_frame"):  # a Series
        pairs = [("0" if value.name is None else value.name, value)]
    elif module == "polars" and cls == "DataFrame":
        pairs = [(column.name, column.to_list()) for column in value.get_columns()]
    elif module == "pyarrow" and cls == "Table":
        pairs = list(value.to_pydict().items())
    else:
        raise _misfit(name, "a pandas DataFrame, or a dict of columns", value)
    table: Dict[str, Any] = {}
    for column, cells in pairs:
        key = text_of(str(column))
        if key in table:
            raise InputError(name, "columns that differ in name", f"two named {key!r}")
        table[key] = cells
    return table


def cells_of(field: str, column: Any) -> List[Any]:
    cells = array_cells(column)
    if cells is None:
        if not isinstance(column, (list, tuple)):
            raise _misfit(field, "a list of values for the column", column)
        cells = list(column)
    if getattr(column, "ndim", 1) != 1:
        raise _misfit(field, "one value for each row", column)
    if _loose(cells):
        if _is_text(cells):
            return [text_of(cell) if type(cell) is str else None for cell in cells]
        return [_cell(cell, f"{field}[{i}]") for i, cell in enumerate(cells)]
    return cells


def _is_text(cells: List[Any]) -> bool:
    """Text, with None or NaN where it is missing."""
    kinds = set(map(type, cells))
    return kinds <= {str, float, _NONE} and all(
        cell != cell for cell in cells if type(cell) is float
    )


def _check(name: str, table: Dict[str, List[Any]], columns: Sequence[Mapping[str, Any]]) -> None:
    names = [str(column["name"]) for column in columns]
    if list(table) != names:
        got = ", ".join(table) or "none"
        raise InputError(name, f"the columns {', '.join(names)} in this order", got)
    for column in columns:
        kind, cells = str(column["type"]), table[str(column["name"])]
        kinds = set(map(type, cells)) - {_NONE}
        if kind == "integer" and float in kinds:
            table[str(column["name"])] = cells = [_to_int(cell) for cell in cells]
            kinds = set(map(type, cells)) - {_NONE}
        if not kinds <= _KINDS[kind]:
            bad = next(c for c in cells if c is not None and type(c) not in _KINDS[kind])
            field = f"{name}.{column['name']}"
            raise InputError(field, f"{_WORDS[kind]} in the column", with_article(type_name(bad)))


def _to_int(cell: Any) -> Any:
    return int(cell) if type(cell) is float and cell.is_integer() else cell
