"""The stored results of an execution as one file: json, lines, csv, arrow or parquet.

Pieces of the file come one after the other, and no more than a chunk of results is held (for
Parquet a row group, too). json is one array of results, lines one result a line; the others are
tables: a column ``record`` (its number), the outputs, a column ``error`` (text, or null).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from ...contract.errors import BundleCorrupt, empty_result
from .files import read_result
from .models import ARROW, ROWS, Chunk
from .plan import OutPlan
from .split_rows import template

# Results that are turned into a piece at a time.
_AT_ONCE = 4096
_MARK = "\ue000"
_BEFORE, _AFTER = (
    orjson.dumps({**empty_result(""), "success": True, "outputParameters": _MARK})
    .decode()
    .encode()
    .split(orjson.dumps(_MARK))
)


def is_light(format: str, chunks: Sequence[Chunk]) -> bool:
    """Whether a rendering only copies JSON, so that it needs no child process."""
    return format in ("json", "lines") and all(chunk.format == ROWS for chunk in chunks)


def render(
    folder: Path,
    chunks: Sequence[Chunk],
    outputs: OutPlan,
    format: str,
    offset: int = 0,
    limit: int | None = None,
) -> Iterator[bytes]:
    """The results of the records [offset, offset + limit), as far as ``chunks`` hold them.

    ``folder``: the execution's. Raises BundleCorrupt (a file is not what was written),
    UnsupportedMedia (no pyarrow), TooLarge (a table of too many columns); also between pieces.
    """
    spans = Spans(folder, chunks, offset, limit)
    if format in ("json", "lines"):
        return _json(spans, outputs, format == "json")
    if format == "csv":
        from .render_csv import csv_pieces

        return csv_pieces(spans, outputs)
    if format in ("arrow", "parquet"):
        from .render_arrow import arrow_pieces

        return arrow_pieces(spans, outputs, format == "parquet")
    raise ValueError(f"there is no format {format!r}")


class Spans:
    """The wanted parts of stored results, chunk by chunk, in the order of the records."""

    def __init__(
        self, folder: Path, chunks: Sequence[Chunk], offset: int, limit: int | None
    ) -> None:
        self._folder = folder
        stop = None if limit is None else offset + limit
        self._spans = []
        for chunk in sorted(chunks, key=lambda chunk: chunk.first):
            start = max(0, offset - chunk.first)
            end = chunk.count if stop is None else min(chunk.count, stop - chunk.first)
            if start < end:
                self._spans.append((chunk, start, end))

    @property
    def arrow(self) -> bool:
        """Whether there are chunks that only pyarrow can read."""
        return any(chunk.format == ARROW for chunk, _, _ in self._spans)

    def parts(self) -> Iterator[tuple[int, str, bytes, Chunk, int, int]]:
        """First record, format, data, chunk, and which of its records, [start, end)."""
        for chunk, start, end in self._spans:
            data = read_result(self._folder, chunk)
            yield chunk.first + start, chunk.format, data, chunk, start, end

    def lines(self, data: bytes, chunk: Chunk, start: int, end: int) -> list[bytes]:
        """The wanted results of a chunk of JSON lines."""
        found = data.split(b"\n")
        if found and not found[-1]:
            found.pop()
        if len(found) != chunk.count:
            raise BundleCorrupt(
                f"The results of the records {chunk.first} to {chunk.stop - 1} cannot be read: "
                f"their file has {len(found)} of {chunk.count} lines. Send these records again."
            )
        return found[start:end]


def _json(spans: Spans, outputs: OutPlan, array: bool) -> Iterator[bytes]:
    end = b"" if array else b"\n"
    between = b"," if array else b"\n"
    if array:
        yield b"["
    first = True
    for _, format, data, chunk, start, stop in spans.parts():
        if format == ROWS and not array and start == 0 and stop == chunk.count:
            yield data if data.endswith(b"\n") else data + b"\n"
            continue
        blocks: Iterator[list[bytes]]
        if format == ROWS:
            blocks = iter([spans.lines(data, chunk, start, stop)])
        else:
            blocks = _results_of_arrow(data, chunk, start, stop, outputs)
        for lines in blocks:
            piece = between.join(lines) + end
            yield piece if first or not array else b"," + piece
            first = False
    if array:
        yield b"]"


def _results_of_arrow(
    data: bytes, chunk: Chunk, start: int, stop: int, outputs: OutPlan
) -> Iterator[list[bytes]]:
    """The rows of an Arrow chunk as results, each of one record."""
    from .arrow_cells import cells_of
    from .render_rows import arrow_rows

    output = outputs.outputs[0]
    for _, batch in arrow_rows(data, chunk, start, stop, _AT_ONCE):
        if output["type"] == "data.frame":
            shape = template(output["name"], batch.schema.names)
        else:
            shape = template(None, [output["name"]]).replace(b"%b", b"[%b]")
        shape = _BEFORE.replace(b"%", b"%%") + shape + _AFTER.replace(b"%", b"%%")
        columns = [cells_of(column, None, False) for column in batch.columns]
        yield [shape % row for row in zip(*columns, strict=True)]
