"""Stored results to rows of a table, some at a time, as cells of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...contract.errors import BundleCorrupt
from .models import Chunk
from .plan import OutPlan
from .render_shape import Learnt, Shape, read_frame, read_result_line, unwrapped

NULL = b"null"
_WORDS = {"text": "text", "logical": "logical", "null": "null", "nested": "nested"}


@dataclass
class Rows:
    """Rows of the table: numbers of the records, a list of JSON cells for each column, errors."""

    records: list[int]
    columns: list[list[bytes]]
    errors: list[str | None]


def line_rows(lines: list[bytes], first: int, shape: Shape) -> Rows:
    """The rows of results; ``first`` is the number of the first one's record."""
    rows = Rows([], [[] for _ in shape.columns], [])
    places = [(column.output, column.column) for column in shape.columns]
    for record, line in enumerate(lines, first):
        result = read_result_line(line)
        if not result.success:
            _append(rows, record, 1, result.errorMessage or "It failed, and did not say why.")
            for cells in rows.columns:
                cells.append(NULL)
            continue
        found = result.outputParameters
        tables: dict[str, dict[str, list[Any]]] = {}
        for name in shape.frames:
            if name in found:
                tables[name] = read_frame(found[name]) or {}
        count = 1
        if tables:
            lengths = [len(cells) for table in tables.values() for cells in table.values()]
            count = max(lengths, default=0)
            if not shape.only_frame:
                count = max(count, 1)
        _append(rows, record, count, None)
        for (output, column), cells in zip(places, rows.columns, strict=True):
            if column is not None:
                values = tables.get(output, {}).get(column, ())
                cells.extend(map(bytes, values))
                if len(values) < count:
                    cells.extend([NULL] * (count - len(values)))
            elif output not in found:
                cells.extend([NULL] * count)
            elif output in shape.unwrap:
                cells.extend([next(unwrapped(found[output]))] * count)
            else:
                cells.extend([bytes(found[output])] * count)
    return rows


def _append(rows: Rows, record: int, count: int, error: str | None) -> None:
    if count == 1:
        rows.records.append(record)
        rows.errors.append(error)
    else:
        rows.records.extend([record] * count)
        rows.errors.extend([error] * count)


def arrow_rows(
    data: bytes, chunk: Chunk, start: int, stop: int, at_once: int
) -> Iterator[tuple[int, Any]]:
    """First record and batch, of at most ``at_once`` rows, for the wanted rows of a chunk."""
    from .arrow_files import arrow_module

    pa = arrow_module()
    try:
        batches = pa.ipc.open_stream(pa.py_buffer(data)).read_all().to_batches()
        for batch in batches:
            batch.validate(full=True)
        if sum(batch.num_rows for batch in batches) != chunk.count:
            raise ValueError("it has another number of rows")
    except (ValueError, OSError, pa.ArrowException) as error:
        raise BundleCorrupt(
            f"The results of the records {chunk.first} to {chunk.stop - 1} cannot be read: "
            f"{str(error)[:200]}. Send these records again."
        ) from None
    row = 0
    for batch in batches:
        low, high = max(start - row, 0), min(stop - row, batch.num_rows)
        for place in range(low, high, at_once):
            count = min(at_once, high - place)
            yield chunk.first + row + place, batch.slice(place, count)
        row += batch.num_rows


def arrow_columns(batch: Any, shape: Shape) -> list[Any]:
    """The arrays of the table's columns; None for one that this batch does not have."""
    names = batch.schema.names
    found: list[Any] = []
    for column in shape.columns:
        if column.column is None:
            found.append(batch.column(0) if len(names) == 1 else None)
        elif column.column in names:
            found.append(batch.column(names.index(column.column)))
        else:
            found.append(None)
    return found


def learn_arrow(data: bytes, outputs: OutPlan, learnt: Learnt) -> None:
    """The names and types of an Arrow chunk."""
    from .arrow_cells import word_of
    from .arrow_files import arrow_module

    pa = arrow_module()
    schema = pa.ipc.open_stream(pa.py_buffer(data)).schema
    output = outputs.outputs[0]
    frame = output["type"] == "data.frame"
    if frame:
        learnt.name(output["name"], schema.names)
    for field in schema:
        key = (output["name"], field.name if frame else None)
        type_, word = field.type, word_of(pa, field.type)
        if word == "number":
            word = "integer" if pa.types.is_integer(type_) else "numeric"
        elif word == "time":
            word = "text"
            unit = "-ns" if getattr(type_, "unit", "") == "ns" else ""
            zone = "zone" if getattr(type_, "tz", None) else "plain"
            learnt.dates.setdefault(key, set()).add(zone + unit)
        else:
            word = _WORDS.get(word, "text")
        learnt.kinds.setdefault(key, set()).add(word)
