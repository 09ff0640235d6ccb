"""Results as an Arrow stream or a Parquet file. For child processes.

Declared types: numeric is double, integer int64, logical bool, character string, datetime a
timestamp (in UTC where the texts have a zone; string where some have and some have not). A column
without a declared type is what all its values are; mixed ones are text. NaN and infinite numbers
are null. list, dict, vector and matrix are JSON text, bytes base64 text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ...contract.batch import ERROR, RECORD
from ...contract.errors import BundleCorrupt
from .arrow_files import arrow_module
from .models import ROWS
from .plan import OutPlan
from .render import Spans
from .render_rows import arrow_columns, arrow_rows, line_rows
from .render_shape import Column, Learnt, Shape, learn, must_learn

_AT_ONCE = 8192
# Of a Parquet row group.
_GROUP_ROWS = 131_072
_GROUP_BYTES = 32 << 20
_PYTHON: dict[str, Any] = {
    "float64": list[float | None],
    "int64": list[int | None],
    "bool": list[bool | None],
}


class _Parts:
    """A file for pyarrow to write to: it keeps what is written until it is taken."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def write(self, part: Any) -> None:
        self.parts.append(bytes(part))
        self.size += len(part)

    def take(self) -> bytes:
        found = b"".join(self.parts)
        self.parts.clear()
        return found

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def arrow_pieces(spans: Spans, outputs: OutPlan, parquet: bool) -> Iterator[bytes]:
    """The pieces of the file."""
    pa = arrow_module()
    learnt = learn(spans, outputs, True) if must_learn(outputs, True) else Learnt()
    shape = Shape(outputs, learnt)
    schema = pa.schema(
        [
            (RECORD, pa.int64()),
            *((column.name, _type(pa, column, learnt)) for column in shape.columns),
            (ERROR, pa.string()),
        ]
    )
    sink = _Parts()
    file = pa.PythonFile(sink, "w")
    if parquet:
        import pyarrow.parquet as pq

        writer: Any = pq.ParquetWriter(file, schema, compression="snappy")
    else:
        writer = pa.ipc.new_stream(file, schema)
    held: list[Any] = []
    rows = size = 0
    for batch in _batches(pa, spans, shape, schema):
        if not parquet:
            writer.write_batch(batch)
            yield sink.take()
            continue
        held.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            writer.write_table(pa.Table.from_batches(held), row_group_size=rows)
            held, rows, size = [], 0, 0
            yield sink.take()
    if held:
        writer.write_table(pa.Table.from_batches(held), row_group_size=rows)
    writer.close()
    yield sink.take()


def _batches(pa: Any, spans: Spans, shape: Shape, schema: Any) -> Iterator[Any]:
    types = [schema.field(number).type for number in range(1, len(schema) - 1)]
    for first, format, data, chunk, start, end in spans.parts():
        if format == ROWS:
            lines = spans.lines(data, chunk, start, end)
            for place in range(0, len(lines), _AT_ONCE):
                rows = line_rows(lines[place : place + _AT_ONCE], first + place, shape)
                columns = [
                    _array(pa, cells, type_, column.name)
                    for cells, type_, column in zip(rows.columns, types, shape.columns, strict=True)
                ]
                errors = pa.array(rows.errors, pa.string())
                yield pa.record_batch(
                    [pa.array(rows.records, pa.int64()), *columns, errors], schema=schema
                )
            continue
        for record, batch in arrow_rows(data, chunk, start, end, _AT_ONCE):
            count = batch.num_rows
            columns = [
                pa.nulls(count, type_) if array is None else _fitted(pa, array, type_, column.name)
                for array, type_, column in zip(
                    arrow_columns(batch, shape), types, shape.columns, strict=True
                )
            ]
            records = pa.array(range(record, record + count), pa.int64())
            yield pa.record_batch([records, *columns, pa.nulls(count, pa.string())], schema=schema)


def _type(pa: Any, column: Column, learnt: Learnt) -> Any:
    """The type of a column of the table."""
    key = (column.output, column.column)
    kind = column.kind
    if kind is None:
        kinds = learnt.kinds.get(key, set()) - {"null"}
        if kinds == {"integer", "numeric"}:
            kinds = {"numeric"}
        kind = kinds.pop() if len(kinds) == 1 else "text"
    if kind == "datetime":
        dates = learnt.dates.get(key, set())
        zones = {date.startswith("zone") for date in dates}
        if len(zones) > 1 or "odd" in dates:
            return pa.string()
        unit = "ns" if any(date.endswith("ns") for date in dates) else "us"
        return pa.timestamp(unit, "UTC" if True in zones else None)
    types = {"numeric": pa.float64(), "integer": pa.int64(), "logical": pa.bool_()}
    return types.get(kind, pa.string())


def _array(pa: Any, cells: list[bytes], type_: Any, name: str) -> Any:
    """Cells of JSON as an array."""
    joined = b"[" + b",".join(cells) + b"]"
    try:
        python = _PYTHON.get("float64" if type_ == pa.float64() else str(type_))
        if python is not None:
            return pa.array(msgspec.json.decode(joined, type=python), type_)
        if pa.types.is_timestamp(type_):
            texts = msgspec.json.decode(joined, type=list[str | None])
            plain = [text if text is None else text.replace(",", ".") for text in texts]
            return pa.array(plain, pa.string()).cast(type_)
        return pa.array([_text(cell) for cell in cells], pa.string())
    except (msgspec.DecodeError, pa.ArrowInvalid, OverflowError) as error:
        raise _misfit(name, type_, error) from None


def _text(cell: bytes) -> str | None:
    if cell[:1] == b'"':
        return msgspec.json.decode(cell, type=str)
    return None if cell == b"null" else cell.decode("utf-8")


def _fitted(pa: Any, array: Any, type_: Any, name: str) -> Any:
    """A stored array in the type of the table's column."""
    from .arrow_cells import cells_of

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        if pa.types.is_floating(array.type):
            # Infinite numbers minus themselves are NaN as well.
            finite = pa.compute.is_finite(array)
            array = pa.compute.if_else(finite, array, pa.scalar(None, array.type))
        if array.type == type_:
            return array
        if pa.types.is_string(type_):
            return _array(pa, cells_of(array, None, False), type_, name)
        return array.cast(type_)
    except pa.ArrowInvalid as error:
        raise _misfit(name, type_, error) from None


def _misfit(name: str, type_: Any, error: Exception) -> BundleCorrupt:
    return BundleCorrupt(
        f"The column {name!r} of the results cannot be written as {type_} ({str(error)[:200]}). "
        "Take the results as JSON lines or CSV.",
        field=name,
    )
