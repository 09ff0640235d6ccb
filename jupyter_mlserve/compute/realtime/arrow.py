"""Arrow IPC streams to checked columns. pyarrow is asked for when the first one comes.

The stream is a stranger's. Its schema is compared before any batch is looked at; compressed
buffers, deltas and streams without an end are refused; every batch is validated in full before a
value is read, so that no offset points outside. A column that is left out of the model (the
response) is not read at all. Nothing is converted: a column of numbers takes floating point and
integer types, as JSON does, and no others.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contract.arrow_messages import END, Refused, check_message
from ...contract.errors import MLServeError, TooLarge, UnsupportedMedia
from ...contract.realtime import EXACT_INTEGER
from ...contract.values import EXPECTED
from .decode_errors import invalid, too_many_rows, wrong_columns, wrong_type
from .decode_json_errors import Body
from .decode_rules import Numbers, check_numbers, check_texts
from .schema import FIELD, Column, Schema

# A dictionary may hold a long text that every row points to; this many bytes, rows counted.
MAX_TEXT = 256 * 1024 * 1024
_TYPES = {
    "numeric": "float64, float32 or an integer type",
    "integer": "one of int8 to uint64",
    "logical": "bool",
    "character": "string, large_string or a dictionary of strings",
}


def arrow_module() -> Any:
    """pyarrow, or UnsupportedMedia saying what to do."""
    try:
        import pyarrow
        import pyarrow.compute
    except ImportError as exc:
        raise UnsupportedMedia(
            "This server reads and writes no Arrow streams, because pyarrow is not installed "
            f"beside it ({exc}). Send and accept JSON, or ask the administrator to run: "
            'pip install "jupyter_mlserve[arrow]"'
        ) from None
    return pyarrow


def arrow_pieces(
    schema: Schema, body: Body, max_rows: int, alive: Callable[[], None]
) -> Iterator[tuple[int, int, list[Any]]]:
    """Number of the first row, number of rows, columns: for each piece of a batch.

    ``alive`` is called between batches and may raise. Raises InvalidInput, TooLarge or
    UnsupportedMedia; whatever the bytes are.
    """
    pa = arrow_module()
    stream = pa.py_buffer(body)
    check = _guarded(_check_stream, pa, stream, schema, max_rows, alive)
    fields: list[int] = check
    reader = _guarded(_open, pa, stream, fields)
    # Neighbours are joined where that costs a copy of numbers, and no more.
    most = 0 if any(column.text for column in schema.columns) else schema.rows_at_once
    first, room = 0, MAX_TEXT
    for batch in _batches(pa, reader, most, alive):
        for start in range(0, batch.num_rows, schema.rows_at_once):
            part = batch.slice(start, schema.rows_at_once)
            columns: list[Any] = []
            for column, array in zip(schema.columns, part.columns, strict=True):
                if column.text:
                    cells, size = _texts(pa, column, array, first + start, room)
                    room -= size
                    columns.append(cells)
                else:
                    columns.append(_numbers(column, array, first + start))
            yield first + start, part.num_rows, columns
            alive()
        first += batch.num_rows


def _guarded(step: Callable[..., Any], *arguments: Any) -> Any:
    """What ``step`` returns; whatever pyarrow raises for bad bytes as InvalidInput."""
    try:
        return step(*arguments)
    except (MLServeError, MemoryError):
        raise
    except Refused as exc:
        raise invalid(FIELD, exc.expected, exc.got) from None
    except (Exception, struct.error) as exc:
        why = " ".join(str(exc).split())[:200] or type(exc).__name__
        raise invalid(FIELD, "an Arrow IPC stream", f"bytes that are not ({why})") from None


def _check_stream(
    pa: Any, stream: Any, schema: Schema, max_rows: int, alive: Callable[[], None]
) -> list[int]:
    """Go through all messages; the places of the model's columns in the stream."""
    if stream.size < len(END) or stream[-len(END) :].to_pybytes() != END:
        raise Refused("an Arrow IPC stream with its end", "bytes that were cut off, or are none")
    source = pa.BufferReader(stream)
    reader = pa.ipc.MessageReader.open_stream(source)
    fields: list[int] | None = None
    rows = count = 0
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            break
        more = check_message(message.metadata.to_pybytes(), fields is None)
        if fields is None:
            fields = _check_schema(pa, pa.ipc.read_schema(message), schema)
        if more < 0:
            raise Refused("a number of rows", str(more))
        rows += more
        if rows > max_rows:
            raise too_many_rows(max_rows)
        count += 1
        if count % 64 == 0:
            alive()
    if fields is None:
        raise Refused("an Arrow IPC stream", "nothing")
    if source.tell() != stream.size:
        raise Refused("one Arrow IPC stream", "more bytes after its end")
    return fields


def _check_schema(pa: Any, found: Any, schema: Schema) -> list[int]:
    names = list(found.names)
    if names != schema.names and names != schema.names_with_response:
        raise wrong_columns(FIELD, names, schema)
    places = list(range(len(names)))
    if len(names) > len(schema.names):
        assert schema.position is not None
        del places[schema.position]
    for column, place in zip(schema.columns, places, strict=True):
        kind = found.field(place).type
        if not _fits(pa, column.kind, kind):
            raise invalid(
                f"{FIELD}.{column.name}",
                f"a column of {EXPECTED[column.kind]} ({_TYPES[column.kind]})",
                str(kind)[:100],
                column=column.name,
            )
    return places


def _fits(pa: Any, wanted: str, kind: Any) -> bool:
    types = pa.types
    if wanted == "logical":
        return bool(types.is_boolean(kind))
    if wanted == "character":
        if types.is_dictionary(kind):
            kind = kind.value_type
        return bool(types.is_string(kind) or types.is_large_string(kind))
    if types.is_integer(kind):
        return True
    return wanted == "numeric" and bool(types.is_float32(kind) or types.is_float64(kind))


def _open(pa: Any, stream: Any, fields: Sequence[int]) -> Any:
    # One thread is all that a call may take.
    options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=list(fields))
    return pa.ipc.open_stream(pa.BufferReader(stream), options=options)


def _batches(pa: Any, reader: Any, most: int, alive: Callable[[], None]) -> Iterator[Any]:
    """All that have rows. Small neighbours come as one of at most ``most`` rows: each that comes
    alone costs the model a run of its own, and every column a pass of its own."""
    held: list[Any] = []
    rows = 0
    while True:
        alive()
        batch = _guarded(_next_batch, reader)
        if held and (batch is None or rows + batch.num_rows > most):
            yield _joined(pa, held)
            held, rows = [], 0
        if batch is None:
            return
        if batch.num_rows:
            held.append(batch)
            rows += batch.num_rows


def _joined(pa: Any, batches: list[Any]) -> Any:
    if len(batches) == 1:
        return batches[0]
    (found,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return found


def _next_batch(reader: Any) -> Any:
    try:
        batch = reader.read_next_batch()
    except StopIteration:
        return None
    batch.validate(full=True)
    return batch


def _numbers(column: Column, array: Any, row: int) -> Numbers:
    """A column of numbers as float64, NaN for null."""
    nulls: npt.NDArray[np.bool_] | None = None
    if array.null_count:
        nulls = array.is_null().to_numpy(zero_copy_only=False)
        array = array.fill_null(False if column.kind == "logical" else 0)
    raw: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    if raw.dtype.kind in "iu" and raw.dtype.itemsize == 8 and len(raw):
        # Before they become doubles, which would round them.
        limit = EXACT_INTEGER
        low_limit = 0 if raw.dtype.kind == "u" else -limit
        bad = (raw > limit) | (raw < low_limit)
        if bad.any():
            number = int(bad.argmax())
            whole = Column(
                column.name, "integer", column.nullable, None, frozenset(), None, None, None
            )
            raise wrong_type(whole, row + number, int(raw[number]))
    values = raw.astype(np.float64, copy=nulls is not None)
    if nulls is not None:
        values[nulls] = np.nan
    finite = np.isfinite(values)
    if not finite.all():
        for number in np.flatnonzero(~finite).tolist():
            value = float(values[number])
            missing = value != value
            if not (missing and column.nullable):
                raise wrong_type(column, row + number, None if missing else value)
    check_numbers(column, values, row, lambda number: raw[number].item())
    return values


def _texts(
    pa: Any, column: Column, array: Any, row: int, room: int
) -> tuple[npt.NDArray[Any], int]:
    """A column of texts as objects, None for null, and how many bytes they are."""
    codes: npt.NDArray[Any] | None = None
    if pa.types.is_dictionary(array.type):
        indices = array.indices
        empty = indices.is_null().to_numpy(zero_copy_only=False)
        used, codes = np.unique(
            indices.fill_null(0).to_numpy(zero_copy_only=False), return_inverse=True
        )
        if empty.all():
            return _checked(column, np.full(len(array), None, object), row), 0
        if not len(array.dictionary):
            used = used[:0]
        texts = array.dictionary.take(pa.array(used))
        counts = np.bincount(codes, minlength=len(used))
    else:
        texts = array
    sizes = pa.compute.binary_length(texts).fill_null(0).to_numpy(zero_copy_only=False)
    size = int((sizes.astype(np.int64) * counts).sum() if codes is not None else sizes.sum())
    if size > room:
        raise TooLarge(
            f"The texts of the frame have more than {MAX_TEXT:,} bytes, all rows counted. "
            "Send them in several calls.",
            limit=MAX_TEXT,
            field=FIELD,
        )
    cells: npt.NDArray[Any] = texts.to_numpy(zero_copy_only=False)
    if codes is not None:
        cells = cells[codes]
        cells[empty] = None
    return _checked(column, cells, row), size


def _checked(column: Column, cells: npt.NDArray[Any], row: int) -> npt.NDArray[Any]:
    texts = cells.tolist()
    if not column.nullable and None in texts:
        raise wrong_type(column, row + texts.index(None), None)
    check_texts(column, texts, row)
    return cells
