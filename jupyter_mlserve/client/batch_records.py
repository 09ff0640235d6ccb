"""The records of a batch: from what the caller has to columns or dicts that can be sent.

A record holds the inputs of one call. For a service whose only input is a frame, a record is one
row of it. What is wrong with every record (a column that is missing, unknown or of another kind)
is refused here, before anything is sent, with the line that puts it right. What is wrong with
some of them is sent as it is: those records fail, each with its own sentence, and the others do
not.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ..contract.batch import frame_input
from ..contract.errors import InvalidInput

Json = dict[str, Any]

_SHOWN = 12
_WORDS = {
    "numeric": "numbers",
    "integer": "integers",
    "logical": "booleans",
    "character": "text",
    "datetime": "dates",
}
# Declared type -> kinds of column that can hold it.
_KINDS = {
    "numeric": "number",
    "integer": "number",
    "logical": "bool",
    "character": "text",
    "datetime": "date",
}
_KIND_WORDS = {
    "number": "numbers",
    "bool": "booleans",
    "text": "text",
    "date": "dates",
    "duration": "durations",
}


@dataclass(frozen=True)
class Wanted:
    """What a record of a version is made of.

    ``params``: its inputs or, where rows are records, the columns of its frame (none: any);
    ``frame``: the name of that frame; ``ignored``: a column that may be there all the same.
    """

    service: str
    params: Mapping[str, Mapping[str, Any]]
    frame: str | None = None
    ignored: str | None = None
    rows: bool = False  # many rows can go into one call

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> Wanted:
        """From the WebService object of a version."""
        inputs = list(definition.get("inputParameterDefinitions") or ())
        own = definition.get("mlserve") or {}
        frame = frame_input(inputs)
        params = inputs if frame is None else frame.get("columns") or ()
        return cls(
            f"{definition['name']} {definition['version']}",
            {str(param["name"]): param for param in params},
            None if frame is None else str(frame["name"]),
            (own.get("response") or {}).get("name"),
            frame is not None
            and (definition.get("runtimeType") == "Realtime" or own.get("batchable") is True),
        )

    @property
    def open(self) -> bool:
        """Whether any column is taken."""
        return self.frame is not None and not self.params

    @property
    def listed(self) -> str:
        return _listed(list(self.params))


@dataclass(frozen=True)
class Table:
    """Records as columns, each as the array or list that it was, in the declared order."""

    columns: Mapping[str, Any]
    rows: int
    index: Any = field(default=None, compare=False)  # of the pandas DataFrame that it was


Records = Table | Sequence[Mapping[str, Any]]


def records_of(value: Any, wanted: Wanted, written: str = "df") -> Records:
    """Columns of a table, or records one by one. ``written``: how the caller writes ``value``.

    ``value`` is a pandas or polars DataFrame, an Arrow table, a 2-d array with as many columns as
    are declared, a dict of columns, one record (a dict of single values), or a list of records.
    Raises InvalidInput.
    """
    if isinstance(value, list | tuple):
        return _checked_records(value, wanted, written)
    if isinstance(value, Mapping):
        if wanted.frame in value and len(value) == 1 and _is_frame(value[wanted.frame]):
            value, written = value[wanted.frame], f"{written}[{wanted.frame!r}]"
        elif not value or not any(map(_is_column, value.values())):
            return _checked_records([value], wanted, written)
    table, index = _columns(value, wanted, written)
    named = hasattr(value, "columns") and hasattr(value, "iloc")
    _check_names(list(table), wanted, written, frame=named)
    table = {name: table[name] for name in wanted.params if name in table} or table
    rows = 0
    for number, (name, cells) in enumerate(table.items()):
        if not _is_column(cells):
            refuse(name, "a list with a value for each record", _kind_text(cells))
        if number and len(cells) != rows:
            refuse(name, f"{rows:,} values, as in the columns before it", f"{len(cells):,}")
        rows = len(cells)
        if name in wanted.params:
            _check_kind(name, cells, wanted.params[name], written, named)
    return Table(table, rows, index)


def refuse(name: str, expected: str, got: str, row: int | None = None, fix: str = "") -> NoReturn:
    """Raise InvalidInput for a column, or for a cell of it (``row`` counts from 0)."""
    where = name[:250] + (f"[{row}]" if row is not None else "")
    message = f"{where or 'The records'}: expected {expected}, got {got}." + (
        f" {fix}" if fix else ""
    )
    details = {"field": where, "expected": expected, "got": got, "column": name[:250]}
    raise InvalidInput(message, **details, **({} if row is None else {"row": row}))


# Columns ---------------------------------------------------------------------------------------


def _columns(value: Any, wanted: Wanted, written: str) -> tuple[dict[str, Any], Any]:
    """The columns by name, and the index of a pandas DataFrame."""
    module, kind = type(value).__module__.partition(".")[0], type(value).__name__
    if isinstance(value, Mapping):
        # DataFrame.to_dict() has the values of a column by their labels.
        return {
            str(name): list(cells.values()) if isinstance(cells, Mapping) else cells
            for name, cells in value.items()
        }, None
    if module == "polars" and kind == "DataFrame":
        return {column.name: column for column in value.get_columns()}, None
    if module == "pyarrow" and kind in ("Table", "RecordBatch"):
        names = [str(name) for name in value.schema.names]
        return _named(names, lambda i: value.column(i)), None
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        names = [str(name) for name in value.columns]
        if wanted.params and list(value.columns) == list(range(len(names))):
            names = _positions(len(names), wanted)  # numbered: it has no names
        return _named(names, lambda i: value.iloc[:, i]), value.index
    if hasattr(value, "iloc") and hasattr(value, "to_frame"):
        name = value.name if value.name is not None else next(iter(wanted.params), "0")
        return {str(name): value}, value.index
    if getattr(value, "ndim", 0) == 2 and hasattr(value, "shape"):
        if not wanted.params:
            refuse("", "records with names", f"an array of {value.shape[1]} columns")
        return _named(_positions(value.shape[1], wanted), lambda i: value[:, i]), None
    takes = f"with {wanted.listed}" if wanted.params else "(a list of {} for each call)"
    fix = ""
    if hasattr(value, "collect"):
        fix = f"Give {written}.collect()."
    elif getattr(value, "dtype", None) is not None and value.dtype.names:
        fix = f"Give pd.DataFrame({written})."
    elif hasattr(value, "__next__"):
        fix = f"Give list({written})."
    expected = f"a DataFrame, a dict of columns or a list of records {takes}"
    refuse("", f"{expected} for {wanted.service}", _kind_text(value), fix=fix)


def _named(names: Sequence[str], column: Callable[[int], Any]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for i, name in enumerate(names):
        if name in table:
            refuse(name, "columns that differ in name", "two of this name")
        table[name] = column(i)
    return table


def _positions(width: int, wanted: Wanted) -> list[str]:
    if width != len(wanted.params):
        refuse("", f"{len(wanted.params)} columns ({wanted.listed})", f"{width} without names")
    return list(wanted.params)


def _check_names(names: Sequence[str], wanted: Wanted, written: str, *, frame: bool) -> None:
    """Refuse columns that are missing or that the service does not take, with the way out."""
    if wanted.open:
        if not names:
            refuse("", "records with columns", "none")
        return
    extra = [name for name in names if name not in wanted.params and name != wanted.ignored]
    missing = [
        name
        for name, param in wanted.params.items()
        if name not in names and not param.get("optional")
    ]
    if missing:
        name = missing[0]
        near = [one for one in extra if one.lower().strip() == name.lower()]
        near = near or difflib.get_close_matches(name, extra, n=1)
        fix = ""
        if near and frame:
            fix = f"Rename it: {written}.rename(columns={{{near[0]!r}: {name!r}}})."
        elif near:
            fix = f"Is it the one called {near[0]!r}?"
        else:
            fix = f"Add {'them' if missing[1:] else 'it'} to {written}."
        others = f", and {_listed(missing[1:])}" if missing[1:] else ""
        refuse(
            name,
            f"a column of this name{others} ({wanted.service} takes {wanted.listed})",
            f"the columns {_listed(names)}" if names else "no columns",
            fix=fix,
        )
    if extra:
        if not wanted.params:
            refuse(extra[0], f"no inputs ({wanted.service} has none)", "a column", fix="Give"
                   " a list with an empty dict for each call: [{}] * 10.")  # fmt: skip
        kept = [name for name in wanted.params if name in names]
        fix = f"Give {written}[{_quoted(kept)}]." if frame else "Leave it out of the records."
        many = f"{len(extra)} more columns: {_listed(extra)}"
        refuse(
            extra[0],
            f"only {wanted.listed} ({wanted.service} takes nothing else)",
            many if len(extra) > 1 else "this column, too",
            fix=fix,
        )


def _check_kind(name: str, cells: Any, param: Mapping[str, Any], written: str, frame: bool) -> None:
    """Refuse a column none of whose values can be what is declared."""
    wanted = _KINDS.get(str(param["type"]))
    kind = kind_of(cells)
    if wanted is None or kind in ("", wanted) or not len(cells) or _all_missing(cells):
        return
    if (kind, wanted) in (("text", "date"), ("number", "bool")) and not frame:
        return
    if (kind, wanted) == ("text", "date"):  # ISO 8601
        return
    column = f"{written}[{name!r}]"
    fix = {
        ("text", "number"): f"{column} = pd.to_numeric({column})",
        ("bool", "number"): f"{column} = {column}.astype(int)",
        ("number", "text"): f"{column} = {column}.astype(str)",
        ("bool", "text"): f"{column} = {column}.astype(str)",
        ("date", "text"): f"{column} = {column}.astype(str)",
        ("duration", "number"): f"{column} = {column}.dt.total_seconds()",
        ("duration", "text"): f"{column} = {column}.astype(str)",
        ("number", "bool"): f"{column} = {column}.astype(bool)",
    }.get((kind, wanted), "")
    refuse(
        name,
        _WORDS[str(param["type"])],
        f"a column of {_KIND_WORDS[kind]}",
        fix=f"For example: {fix}" if fix and frame else "",
    )


def kind_of(cells: Any) -> str:
    """Kind of an array by its type: number, bool, text, date; "" where only its cells can tell."""
    if hasattr(cells, "to_pylist"):
        found = str(cells.type)
        starts = (("int", "number"), ("uint", "number"), ("float", "number"), ("double", "number"),
                  ("halffloat", "number"), ("bool", "bool"), ("string", "text"),
                  ("large_string", "text"), ("timestamp", "date"), ("date", "date"),
                  ("duration", "duration"))  # fmt: skip
        return next((kind for start, kind in starts if found.startswith(start)), "")
    dtype = getattr(cells, "dtype", None)
    if dtype is None:
        return ""
    if hasattr(dtype, "categories"):
        return kind_of(dtype.categories)
    letter = str(getattr(dtype, "kind", ""))
    if str(dtype) in ("str", "String") or str(dtype).startswith("string") or letter == "U":
        return "text"
    kinds = {"i": "number", "u": "number", "f": "number", "b": "bool", "M": "date", "m": "duration"}
    return kinds.get(letter, "")


def _all_missing(cells: Any) -> bool:
    if hasattr(cells, "null_count"):
        return bool(cells.null_count == len(cells))
    isna = getattr(cells, "isna", None)
    return isna is not None and bool(isna().all())


# Records ---------------------------------------------------------------------------------------


def _checked_records(
    records: Sequence[Any], wanted: Wanted, written: str
) -> Sequence[Mapping[str, Any]]:
    names: dict[str, int] = {}
    whole = 0
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            expected = "a dict" + (f" with {wanted.listed}" if wanted.params else "")
            raise InvalidInput(
                f"{written}[{number}]: expected {expected}, got {_kind_text(record)}. The records "
                "are a DataFrame, a dict of columns or a list of dicts.",
                row=number,
            )
        if wanted.frame in record and len(record) == 1:
            whole += 1  # the frame of the record itself
            continue
        for name in record:
            names[str(name)] = names.get(str(name), 0) + 1
    count = len(records) - whole
    if count:
        everywhere = [name for name, times in names.items() if times == count]
        missing = [name for name in wanted.params if name not in names]
        # Optional and sometimes missing ones are the server's business, record by record.
        sometimes = [name for name in wanted.params if name in names and name not in everywhere]
        if missing or len(everywhere) > len(wanted.params) - len(sometimes):
            _check_names([*everywhere, *sometimes], wanted, written, frame=False)
    return records


def _is_frame(value: Any) -> bool:
    return hasattr(value, "columns") and hasattr(value, "__len__")


def _is_column(value: Any) -> bool:
    if isinstance(value, str | bytes | bytearray | memoryview) or getattr(value, "ndim", 1) == 0:
        return False
    return hasattr(value, "__len__")


def _kind_text(value: Any) -> str:
    name = type(value).__name__
    shape = getattr(value, "shape", None)
    article = "an" if name[:1].lower() in "aeiou" else "a"
    return f"{article} {name}" + (f" of shape {shape}" if isinstance(shape, tuple) else "")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:50] for name in names[:_SHOWN])
    return shown + (f", … ({len(names)} in all)" if len(names) > _SHOWN else "") or "nothing"


def _quoted(names: Sequence[str]) -> str:
    """``["hp", "wt"]``, as people write it."""
    return "[" + ", ".join(f'"{name}"' if '"' not in name else repr(name) for name in names) + "]"
