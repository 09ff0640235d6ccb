"""Arrow and Parquet kept as Arrow: record batches of one size, in the declared types.

Without dictionaries and compression, so that every batch can be read by itself. Numbers become
double (64-bit integers stay integers, for doubles would round them), integers int64, texts
string, times timestamps (with a zone: in UTC).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...contract.arrow_messages import END
from .arrow_cells import is_text
from .arrow_files import NotArrow, Table, arrow_module
from .plan import Plan
from .split import Split, SplitLimits
from .split_rows import Layout
from .split_tables import size_of, table_layout
from .split_writer import InputWriter

_MOST_ROWS = 4096
_PIECE_BYTES = 1 << 20
# A piece whose rows are much larger than the first ones were.
_MOST_BYTES = 16 << 20
_SAMPLE_ROWS = 16_384


def split_pieces(upload: Path, format: str, folder: Path, plan: Plan, limits: SplitLimits) -> Split:
    """Write an Arrow stream of pieces. Raises NotArrow when a value does not fit its type."""
    pa = arrow_module()
    table = Table(upload, format, limits.records)
    layout = table_layout(table.schema, plan)
    schema = pa.schema(
        [
            (name, _target(pa, str(kind), table.schema.field(place).type))
            for name, kind, place in zip(layout.names, layout.kinds, layout.places, strict=True)
        ]
    )
    prefix = schema.serialize().to_pybytes()
    batches = table.batches()
    first = next(batches, None)
    piece = 1 if first is None else _piece_rows(pa, first, layout, schema)
    with InputWriter(folder, limits, prefix, END, piece) as writer:
        if first is not None:
            for batch in _pieces(pa, first, batches, layout, schema, piece):
                writer.batch(batch.serialize(), batch.num_rows)
    return writer.result()


def _target(pa: Any, kind: str, type_: Any) -> Any:
    """The type in which a column is kept."""
    types = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    if types.is_dictionary(type_):
        type_ = type_.value_type
    if kind == "numeric":
        return type_ if types.is_int64(type_) or types.is_uint64(type_) else pa.float64()
    if kind == "integer":
        return pa.int64()
    if kind == "logical":
        return pa.bool_()
    if kind == "character":
        return pa.string()
    if kind == "datetime" and types.is_timestamp(type_):
        return pa.timestamp(type_.unit, None if type_.tz is None else "UTC")
    if kind == "datetime" and types.is_date(type_):
        return pa.timestamp("s" if types.is_date32(type_) else "ms")
    raise NotArrow  # Dates as text: whoever decodes JSON knows how to read them.


def _piece_rows(pa: Any, batch: Any, layout: Layout, schema: Any) -> int:
    """How many rows a piece has, so that it takes about a mebibyte at most."""
    sample = batch.slice(0, _SAMPLE_ROWS)
    size = sum(size_of(pa, sample.column(place)) for place in layout.places)
    if size > _MOST_BYTES * 4:
        sample = sample.slice(0, max(1, sample.num_rows * _MOST_BYTES // size))
    kept = _kept(pa, sample, layout, schema)
    row = max(1, -(-kept.nbytes // kept.num_rows))
    return int(max(1, min(_MOST_ROWS, _PIECE_BYTES // row)))


def _pieces(
    pa: Any, first: Any, rest: Iterator[Any], layout: Layout, schema: Any, rows: int
) -> Iterator[Any]:
    """Batches of exactly ``rows`` rows, but for the last one."""
    held: list[Any] = []
    count = 0
    batch = first
    while batch is not None:
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, rows - count)
            start += part.num_rows
            held.append(_kept(pa, part, layout, schema))
            count += part.num_rows
            if count == rows:
                yield _joined(pa, held)
                held, count = [], 0
        batch = next(rest, None)
    if held:
        yield _joined(pa, held)


def _joined(pa: Any, parts: list[Any]) -> Any:
    if len(parts) == 1:
        found = parts[0]
    else:
        (found,) = pa.Table.from_batches(parts).combine_chunks().to_batches()
    if found.nbytes > _MOST_BYTES:
        raise NotArrow
    return found


def _kept(pa: Any, part: Any, layout: Layout, schema: Any) -> Any:
    """The used columns of a batch in the types they are kept in."""
    columns = []
    for place, field in zip(layout.places, schema, strict=True):
        column = part.column(place)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if column.type != field.type:
            if size_of(pa, column) > _MOST_BYTES * 4:
                raise NotArrow
            column = _cast(pa, column, field.type)
        columns.append(column)
    return pa.record_batch(columns, schema=schema)


def _cast(pa: Any, column: Any, type_: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.type == type_:
        return column
    if pa.types.is_integer(type_) and pa.types.is_floating(column.type):
        # A column of integers with nulls, as pandas has it.
        missing = pa.compute.is_nan(column)
        column = pa.compute.if_else(missing, pa.scalar(None, column.type), column)
    try:
        return column.cast(type_)
    except pa.ArrowInvalid as error:
        if is_text(pa, type_):
            raise
        raise NotArrow from error
