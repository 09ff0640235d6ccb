"""What a batch sends: records as JSON lines or as an Arrow stream, or a file, piece by piece.

The body is never whole in memory; it can be made again, byte for byte, when a connection breaks.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..contract.batch import CSV, JSON, LINES, PARQUET
from ..contract.errors import InvalidInput
from ..contract.realtime_schemas import ARROW
from .batch_records import Records, Table, Wanted, records_of, refuse
from .misuse import SendingStopped, WrongCall

# Suffix of a file -> how it is announced.
SUFFIXES = {
    ".csv": CSV,
    ".json": JSON,
    ".jsonl": LINES,
    ".ndjson": LINES,
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".arrow": ARROW,
    ".arrows": ARROW,
}
# Below this number of rows JSON lines are as fast.
ARROW_ROWS = 10_000
_LINES_ROWS = 2_048  # records in a piece
_ARROW_PIECE = 65_536
_FILE_PIECE = 1 << 20


@dataclass
class Upload:
    """A body that can be sent, and sent again.

    ``rows``: how many records, if that is known; ``index``: of the DataFrame that they were;
    ``otherwise``: another form of it, for a server that does not read this one. ``sent`` is the
    part of it that has left, 0 to 1.
    """

    media: str
    pieces: Callable[[], Iterator[tuple[bytes, float]]]
    rows: int | None = None
    index: Any = None
    otherwise: Upload | None = None
    sent: float = field(default=0.0, compare=False)
    stopped: bool = field(default=False, compare=False)

    def content(self) -> Iterator[bytes]:
        """The body. Ends with an error once ``stopped`` is set: what is cut off is not started."""
        self.sent = 0.0
        for piece, sent in self.pieces():
            if self.stopped:
                raise SendingStopped("The records are not sent any further.")
            self.sent = sent
            yield piece


def upload_of(records: Any, wanted: Wanted, written: str = "df") -> Upload:
    """The upload for records, or for a file of them (a path). Raises InvalidInput, WrongCall."""
    if isinstance(records, str | os.PathLike):
        return file_upload(Path(records).expanduser())
    found = records_of(records, wanted, written)
    rows = found.rows if isinstance(found, Table) else len(found)
    if not rows:
        raise InvalidInput(f"{written} has no records: there is nothing to do.", field=written)
    index = found.index if isinstance(found, Table) else None
    lines = Upload(LINES, lambda: _lines(found, wanted), rows, index)
    if isinstance(found, Table) and wanted.rows and wanted.params and rows >= ARROW_ROWS:
        schema = _arrow_schema(found, wanted) if find_spec("pyarrow") else None
        if schema is not None:
            return Upload(ARROW, lambda: _arrow(found, schema), rows, index, lines)
    return lines


def file_upload(path: Path) -> Upload:
    media = SUFFIXES.get(path.suffix.lower())
    if media is None:
        raise WrongCall(
            f"{str(path)!r} is taken for a file of records, whose name must end in "
            f"{', '.join(SUFFIXES)}, according to what it holds."
        )
    if not path.is_file():
        raise WrongCall(f"There is no file {str(path)!r} here ({Path.cwd()}).")
    return Upload(media, lambda: _file(path))


def _file(path: Path) -> Iterator[tuple[bytes, float]]:
    size, done = max(path.stat().st_size, 1), 0
    with path.open("rb") as stream:
        while piece := stream.read(_FILE_PIECE):
            done += len(piece)
            yield piece, done / size


# JSON lines ------------------------------------------------------------------------------------


def _lines(records: Records, wanted: Wanted) -> Iterator[tuple[bytes, float]]:
    write = line_writer()
    if isinstance(records, Table):
        names = list(records.columns)
        for first in range(0, records.rows, _LINES_ROWS):
            stop = min(first + _LINES_ROWS, records.rows)
            columns = [
                cells_json(_cut(cells, first, stop), wanted.params.get(name), name, first)
                for name, cells in records.columns.items()
            ]
            rows = zip(*columns, strict=True)
            yield (
                b"".join(write(dict(zip(names, row, strict=True))) for row in rows),
                (stop / records.rows),
            )
        return
    for first in range(0, len(records), _LINES_ROWS):
        part = records[first : first + _LINES_ROWS]
        made = [_record_json(record, wanted, first + i) for i, record in enumerate(part)]
        yield b"".join(map(write, made)), (first + len(part)) / len(records)


def line_writer() -> Callable[[Any], bytes]:
    """JSON value to a line of UTF-8."""
    try:
        from orjson import OPT_APPEND_NEWLINE, dumps
    except ImportError:  # as fast as the standard library is
        encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
        return lambda value: encode(value).encode() + b"\n"
    return lambda value: dumps(value, option=OPT_APPEND_NEWLINE)


def _cut(cells: Any, first: int, stop: int) -> Any:
    if hasattr(cells, "iloc"):  # a Series counts by its labels, which may be anything
        return cells.iloc[first:stop]
    if hasattr(cells, "to_pylist"):
        return cells.slice(first, stop - first)
    return cells[first:stop]


_BY_CELL = ("vector", "matrix", "data.frame", "list", "dict")


def cells_json(cells: Any, param: Mapping[str, Any] | None, name: str, first: int = 0) -> list[Any]:
    """A piece of a column as JSON values; missing values are null.

    A value that is not what is declared stays what it is, and its record fails alone. Raises
    InvalidInput for one that JSON cannot say; ``first`` is the position of the piece.
    """
    from ..worker.values import InputError, encode_value

    kind = str(param["type"]) if param is not None else ""
    if kind in _BY_CELL:
        return [_cell_json(cell, param, name, first + i) for i, cell in enumerate(cells)]
    if hasattr(cells, "to_pylist"):
        cells = cells.to_pylist()
    _check_finite(cells, name, first)
    try:
        found: list[Any] = encode_value({"": cells}, {"name": "", "type": "data.frame"})[""]
    except InputError:  # in an undeclared column or of an odd kind: cell by cell, then
        return [_cell_json(cell, param, name, first + i) for i, cell in enumerate(cells)]
    if kind == "integer" and any(type(cell) is float for cell in found):
        # With a missing value between them, pandas makes floats of integers.
        found = [int(cell) if type(cell) is float and cell.is_integer() else cell for cell in found]
    return found


def _check_finite(cells: Any, name: str, first: int) -> None:
    dtype = getattr(cells, "dtype", None)
    if dtype is not None and str(getattr(dtype, "kind", "")) not in "fO":
        return
    values = cells.tolist() if hasattr(cells, "tolist") else cells
    for row, cell in enumerate(values):
        if isinstance(cell, float) and math.isinf(cell):
            refuse(name, "finite numbers", str(cell), first + row)


def _record_json(record: Mapping[str, Any], wanted: Wanted, row: int) -> dict[str, Any]:
    params = wanted.params
    if wanted.frame in record and len(record) == 1 and wanted.frame is not None:
        frame = {"type": "data.frame", "name": wanted.frame}
        params = {wanted.frame: frame}
    return {
        str(name): _cell_json(value, params.get(str(name)), str(name), row)
        for name, value in record.items()
    }


def _cell_json(value: Any, param: Mapping[str, Any] | None, name: str, row: int) -> Any:
    """One value as JSON: as it is declared if it can be that, else as what it is."""
    from ..worker.values import InputError, encode_value

    if isinstance(value, float) and math.isinf(value):
        refuse(name, "finite numbers", str(value), row)
    if param is not None and str(param["type"]) in _BY_CELL and not _missing(value):
        try:
            return encode_value(value, {**param, "columns": None})
        except InputError:
            pass
    try:
        (made,) = encode_value([value], {"name": name, "type": "list"})
    except InputError as error:
        refuse(name, error.expected, error.got, row)
    return made


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


# Arrow -----------------------------------------------------------------------------------------


def _arrow_schema(table: Table, wanted: Wanted) -> Any:
    """The schema for the columns, all of which can be said so; None if JSON must carry them."""
    import pyarrow as pa

    types = {
        "numeric": pa.float64(),
        "integer": pa.int64(),
        "logical": pa.bool_(),
        "character": pa.string(),
    }
    if {str(param["type"]) for param in wanted.params.values()} - {*types, "datetime"}:
        return None
    fields = []
    for name, cells in table.columns.items():
        declared = str(wanted.params[name]["type"])
        try:
            # Dates are as fine as the caller has them.
            kind = types[declared] if declared in types else _date_type(cells)
            fields.append(pa.field(name, kind))
            _arrow_array(cells, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return None
    return pa.schema(fields)


def _date_type(cells: Any) -> Any:
    import pyarrow as pa

    kind = pa.array(_cut(cells, 0, 1), from_pandas=True).type
    if not pa.types.is_timestamp(kind):
        raise ValueError(f"{kind} is no date")
    return kind


def _arrow_array(cells: Any, kind: Any) -> Any:
    """The cells as an array of this type. Raises where it would not be the same."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    own = isinstance(cells, (pa.Array, pa.ChunkedArray))
    array = cells if own else pa.array(cells, from_pandas=True)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    found = array.type
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    if types.is_floating(found):
        if pc.any(pc.is_inf(array)).as_py():
            raise ValueError("infinite")
        if own:  # in an Arrow table NaN is a value of its own
            array = pc.if_else(pc.is_nan(array), None, array)
    numbers = types.is_floating(kind) or types.is_integer(kind)
    fits = (
        types.is_null(found)
        or (numbers and (types.is_floating(found) or types.is_integer(found)))
        or (types.is_boolean(kind) and types.is_boolean(found))
        or (types.is_string(kind) and any(is_text(found) for is_text in texts))
        or (types.is_timestamp(kind) and found == kind)
    )
    if not fits:
        raise ValueError(f"{found} is not {kind}")
    return array.cast(kind)


def _arrow(table: Table, schema: Any) -> Iterator[tuple[bytes, float]]:
    import pyarrow as pa

    sink = io.BytesIO()

    def taken() -> bytes:
        piece = sink.getvalue()
        sink.seek(0)
        sink.truncate()
        return piece

    with pa.ipc.new_stream(sink, schema) as writer:
        for first in range(0, table.rows, _ARROW_PIECE):
            stop = min(first + _ARROW_PIECE, table.rows)
            arrays = [
                _arrow_array(_cut(cells, first, stop), one.type)
                for one, cells in zip(schema, table.columns.values(), strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            yield taken(), stop / table.rows
    yield taken(), 1.0


def rows_text(rows: int | None) -> str:
    return "the file" if rows is None else f"{rows:,} record{'' if rows == 1 else 's'}"


__all__: Sequence[str] = ("ARROW_ROWS", "SUFFIXES", "Upload", "rows_text", "upload_of")
