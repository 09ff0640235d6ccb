"""JSON columns or records to a pandas DataFrame. Imported only where a frame is declared.

With a schema every column has the declared type and place, and nothing else is accepted; without
one a column is what its values are. null is NaN in numbers and NaT in dates. Text is what this
pandas itself makes of strings and None: its ``str`` type with NaN since pandas 3, before that
objects with None; a model then meets the kind of column it was trained on.
"""

from __future__ import annotations

import pandas as pd

from . import dates
from .arrays import floats, integers, objects
from .describe import EXPECTED, InputError, describe, quote
from .inputs import INT_MAX, INT_MIN, integer, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

_PANDAS = int(pd.__version__.split(".", 1)[0])
_NONE = type(None)
_SCALARS = frozenset([bool, int, float, str, _NONE])


def frame_decoder(
    name: str, columns: Optional[Sequence[Mapping[str, Any]]]
) -> Callable[[Any], Any]:
    """Decoder of a frame, with its column schema or (None) without one."""
    if columns is None:

        def decode_any(value: Any) -> Any:
            table = _columns_of(name, value, None)
            data = {column: _guess(f"{name}.{column}", cells) for column, cells in table.items()}
            return pd.DataFrame(data, copy=False)

        return decode_any
    names = [str(column["name"]) for column in columns]
    kinds = [(str(column["type"]), bool(column.get("nullable"))) for column in columns]

    def decode(value: Any) -> Any:
        table = _columns_of(name, value, names)
        data = {
            column: column_of(f"{name}.{column}", table[column], kind, nullable)
            for column, (kind, nullable) in zip(names, kinds)  # noqa: B905
        }
        return pd.DataFrame(data, copy=False)

    return decode


def _columns_of(name: str, value: Any, names: Optional[List[str]]) -> Dict[str, List[Any]]:
    """Cells by column, of equal length; with ``names`` exactly these in this order."""
    if type(value) is dict:
        table = value
        if names is not None and list(table) != names:
            raise _wrong_columns(name, list(table), names)
        length = None
        for column, cells in table.items():
            if type(cells) is not list:
                field = f"{name}.{column}"
                raise InputError(field, "an array of values for the column", describe(cells))
            if length is None:
                length = len(cells)
            elif len(cells) != length:
                expected = f"{length} values, as in the columns before it"
                raise InputError(f"{name}.{column}", expected, str(len(cells)))
        return table
    if type(value) is list and set(map(type, value)) <= {dict}:
        return _transpose(name, value, names)
    if type(value) is list:
        number = next(i for i, record in enumerate(value) if type(record) is not dict)
        raise InputError(f"{name}[{number}]", "a record (an object)", describe(value[number]))
    raise wrong(name, "data.frame", value)


def _transpose(
    name: str, records: List[Dict[str, Any]], names: Optional[List[str]]
) -> Dict[str, List[Any]]:
    if not records:
        return {column: [] for column in names or ()}
    wanted = list(records[0]) if names is None else names
    for number, record in enumerate(records):
        if list(record) != wanted:
            # Without a schema the order inside a record says nothing.
            if names is None and record.keys() == records[0].keys():
                continue
            raise _wrong_columns(f"{name}[{number}]", list(record), wanted)
    return {column: [record[column] for record in records] for column in wanted}


def _wrong_columns(field: str, got: List[str], names: List[str]) -> InputError:
    """Says which column is missing, extra or out of place."""
    for column in names:
        if column not in got:
            extra = [quote(other) for other in got if other not in names][:3]
            but = f" (but {', '.join(extra)}, which is not declared)" if extra else ""
            return InputError(f"{field}.{column}", "this column", "none of this name" + but)
    for column in got:
        if column not in names:
            known = f"the columns are {_listed(names)}"
            sentence = f"The column {quote(column)} of {field} is not declared; {known}."
            return InputError(
                f"{field}.{column[:200]}", f"no such column ({known})", "one", sentence
            )
    return InputError(field, f"the columns in the order {_listed(names)}", _listed(got))


def _listed(names: List[str]) -> str:
    shown = ", ".join(n if len(n) <= 50 else n[:47] + "..." for n in names[:20])
    return shown + (f", ... ({len(names)} in all)" if len(names) > 20 else "") if names else "none"


def column_of(field: str, cells: List[Any], kind: str, nullable: bool) -> Any:
    """The cells of one column as an array of its declared type. Raises InputError."""
    kinds = set(map(type, cells))
    if kind == "numeric":
        if kinds <= {float, int, _NONE}:
            return floats(field, cells)
    elif kind == "character":
        if kinds <= {str, _NONE}:
            return text_column(cells)
    elif kind == "datetime":
        if kinds <= {str, _NONE}:
            return _dates(field, cells)
    elif kind == "integer":
        if kinds <= {int} and not nullable:
            return integers(field, cells)
        if kinds <= {int, float} or (nullable and kinds <= {int, float, _NONE}):
            return _whole(field, cells, nullable)
    elif kind == "logical":
        if nullable and kinds <= {bool, _NONE}:
            return pd.array(cells, dtype="boolean")
        if kinds <= {bool}:
            return pd.array(cells, dtype=bool).to_numpy()
    else:
        raise ValueError(f"the column {field} has the type {kind!r}, which is not known")
    number = next(i for i, cell in enumerate(cells) if not _fits(cell, kind, nullable))
    raise InputError(
        f"{field}[{number}]",
        EXPECTED[kind] + (" or null" if nullable else ""),
        describe(cells[number]),
    )


def text_column(cells: List[Any]) -> Any:
    return pd.array(cells, dtype="str") if _PANDAS >= 3 else objects(cells)


def _fits(cell: Any, kind: str, nullable: bool) -> bool:
    if cell is None:
        return nullable or kind not in ("integer", "logical")
    allowed = {
        "numeric": (int, float),
        "integer": (int, float),
        "logical": (bool,),
    }.get(kind, (str,))
    return type(cell) in allowed


def _whole(field: str, cells: List[Any], nullable: bool) -> Any:
    """Integers of which some came as 3.0, or as null."""
    whole: List[Any] = [None if cell is None else integer(cell) for cell in cells]
    for number, cell in enumerate(cells):
        if cell is not None and whole[number] is None:
            raise wrong(f"{field}[{number}]", "integer", cell)
    return pd.array(whole, dtype="Int64") if nullable else integers(field, whole)


def _dates(field: str, cells: List[Any]) -> Any:
    zones = set()
    for number, cell in enumerate(cells):
        found = None if cell is None else dates.match(cell)
        if cell is not None and (found is None or dates.parse(cell) is None):
            raise wrong(f"{field}[{number}]", "datetime", cell)
        if found is not None:
            zones.add(bool(found.group(8)))
    if len(zones) > 1:
        raise InputError(field, "dates all with, or all without, a time zone", "both")
    options: Dict[str, Any] = {"utc": True} if True in zones else {}
    if _PANDAS >= 2:
        options["format"] = "ISO8601"
    try:
        # pandas reads a comma before the fraction only as a point.
        texts: List[Any] = [cell if cell is None else cell.replace(",", ".") for cell in cells]
        return pd.to_datetime(texts, **options)
    except (ValueError, OverflowError):
        raise InputError(field, "dates that pandas can hold", "one out of its range") from None


def _guess(field: str, cells: List[Any]) -> Any:
    """A column without a declared type: what its values have in common."""
    kinds = set(map(type, cells))
    if kinds == {int}:
        # Beyond 64 bits they are numbers all the same.
        fits = min(cells) >= INT_MIN and max(cells) <= INT_MAX
        return integers(field, cells) if fits else floats(field, cells)
    if (float in kinds and kinds <= {float, int, _NONE}) or kinds == {int, _NONE}:
        return floats(field, cells)
    if kinds == {bool}:
        return pd.array(cells, dtype=bool).to_numpy()
    if str in kinds and kinds <= {str, _NONE}:
        return text_column(cells)
    if not kinds <= _SCALARS:
        number = next(i for i, cell in enumerate(cells) if type(cell) not in _SCALARS)
        expected = "a number, string, boolean or null"
        raise InputError(f"{field}[{number}]", expected, describe(cells[number]))
    if float in kinds or int in kinds:  # mixed with text or booleans: still no 1e999
        floats(field, [cell if type(cell) in (int, float) else None for cell in cells])
    return objects(cells)
