"""Arrow and Parquet to records: rows as lines, or batches as they are. For child processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .arrow_cells import cells_of, word_of
from .arrow_files import NotArrow, Table, arrow_module, guarded
from .plan import Plan
from .split import Split, SplitLimits
from .split_rows import Layout, wrong_column
from .split_writer import InputWriter, too_long

_ROWS_AT_ONCE = 4096
# Most bytes of the cells that are turned into lines at a time.
_BYTES_AT_ONCE = 16 << 20
_WORDS = {
    "numeric": ("number", "null"),
    "integer": ("number", "null"),
    "logical": ("logical", "null"),
    "character": ("text", "null"),
    "datetime": ("time", "text", "null"),
    "bytes": ("binary", "text", "null"),
    "list": ("nested", "text", "null"),
    "dict": ("nested", "text", "null"),
    "vector": ("nested", "text", "null"),
    "matrix": ("nested", "text", "null"),
    "data.frame": ("nested", "text", "null"),
}
_EXPECTED = {
    "numeric": "a column of numbers (floating point, integer or decimal)",
    "integer": "a column of integers",
    "logical": "a column of booleans",
    "character": "a column of texts (string, or a dictionary of strings)",
    "datetime": "a column of timestamps, dates, or ISO 8601 texts",
    "bytes": "a column of binary values, or base64 texts",
}
_NESTED = "a column of lists or structs, or JSON texts"


def split_table(upload: Path, format: str, folder: Path, plan: Plan, limits: SplitLimits) -> Split:
    """One record a row."""

    def run() -> Split:
        if plan.arrow:
            from .split_pieces import split_pieces

            try:
                return split_pieces(upload, format, folder, plan, limits)
            except NotArrow:
                pass
        return _as_lines(upload, format, folder, plan, limits)

    return guarded("a table of valid values", run)


def _as_lines(upload: Path, format: str, folder: Path, plan: Plan, limits: SplitLimits) -> Split:
    table = Table(upload, format, limits.records)
    layout = table_layout(table.schema, plan)
    with InputWriter(folder, limits) as writer:
        for batch in table.batches():
            for lines in lines_of(batch, layout, writer.total, limits.line):
                writer.lines(lines)
    return writer.result()


def convert(stream: bytes, plan: Plan) -> Iterator[bytes]:
    """The rows of a stored Arrow stream as lines, one record each; some lines at a time."""
    pa = arrow_module()
    reader = guarded("an Arrow IPC stream", lambda: pa.ipc.open_stream(pa.py_buffer(stream)))
    layout = table_layout(reader.schema, plan)
    for batch in reader:
        for lines in lines_of(batch, layout):
            yield b"\n".join(lines) + b"\n"


def table_layout(schema: Any, plan: Plan) -> Layout:
    """Which columns of a table are used. Raises InvalidInput naming a wrong one."""
    pa = arrow_module()
    names = list(schema.names)
    declared = {column["name"] for column in plan.columns or plan.inputs}
    # What pandas makes of an index without a name is no column.
    hidden = [n for n in names if n.startswith("__index_level_") and n not in declared]
    layout = Layout(plan, [name for name in names if name not in hidden])
    layout.places = [schema.get_field_index(name) for name in layout.names]
    for name, field, place, kind in zip(
        layout.names, layout.fields, layout.places, layout.kinds, strict=True
    ):
        type_ = schema.field(place).type
        word = word_of(pa, type_)
        if not word:
            expected = "a column of numbers, texts, booleans, times, lists or structs"
        elif kind is not None and word not in _WORDS[kind]:
            expected = _EXPECTED.get(kind, _NESTED)
        else:
            continue
        error = wrong_column(field, expected, f"one of {str(type_)[:100]}")
        error.details["column"] = name
        raise error
    return layout


def lines_of(batch: Any, layout: Layout, first: int = 0, longest: int = 0) -> Iterator[list[bytes]]:
    """The rows of a batch as lines, some at a time; ``first``: the number of its first row.

    Raises InvalidInput for a row of more than ``longest`` bytes (0: any).
    """
    pa = arrow_module()
    start = 0
    rows = _ROWS_AT_ONCE
    while start < batch.num_rows:
        part = batch.slice(start, rows)
        columns = [part.column(place) for place in layout.places]
        size = sum(size_of(pa, column) for column in columns)
        if size > _BYTES_AT_ONCE and part.num_rows > 1:
            rows = max(1, part.num_rows // 2)
            continue
        if longest and size > longest and part.num_rows == 1:
            raise too_long(first + start, longest)
        start += part.num_rows
        if size < _BYTES_AT_ONCE // 4:
            rows = min(_ROWS_AT_ONCE, rows * 2)
        yield layout.lines(
            cells_of(column, kind) for column, kind in zip(columns, layout.kinds, strict=True)
        )


def size_of(pa: Any, column: Any) -> int:
    """Bytes of the cells, also of those that a dictionary holds only once."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        words = column.dictionary
        if not len(words):
            return 0
        try:
            lengths = pa.compute.binary_length(words)
        except pa.ArrowNotImplementedError:  # of values of one width
            return int(column.indices.nbytes) * 4
        used = lengths.take(column.indices)
        return int(pa.compute.sum(used).as_py() or 0) + int(column.indices.nbytes)
    return int(column.nbytes)
