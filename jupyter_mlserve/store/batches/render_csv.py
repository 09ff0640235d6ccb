"""Results as CSV: a header line, commas, CRLF, UTF-8 (RFC 4180).

Null is an empty cell, and an empty text is ``""``. Spreadsheets run texts that begin like a
formula (``=``, ``+``, ``-``, ``@``, a tab or a line break); what a service answers may come from
anywhere, so such a text gets an apostrophe before it, which spreadsheets take as "this is text".
Numbers stay numbers, and so does a text that is one. The other formats change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from .models import ROWS
from .plan import OutPlan
from .render import Spans
from .render_rows import arrow_columns, arrow_rows, line_rows
from .render_shape import STARTS, Learnt, Shape, learn, must_learn

_AT_ONCE = 4096
_FORMULA = tuple("=+-@\t\r\n")
_QUOTED = re.compile('[",\r\n]')
_NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?")
_text = msgspec.json.Decoder(str).decode


def csv_pieces(spans: Spans, outputs: OutPlan) -> Iterator[bytes]:
    """The pieces of the file."""
    learnt = learn(spans, outputs, False) if must_learn(outputs, False) else Learnt()
    shape = Shape(outputs, learnt)
    yield b",".join(csv_text(name) for name in shape.names) + b"\r\n"
    for first, format, data, chunk, start, end in spans.parts():
        if format == ROWS:
            lines = spans.lines(data, chunk, start, end)
            for place in range(0, len(lines), _AT_ONCE):
                rows = line_rows(lines[place : place + _AT_ONCE], first + place, shape)
                cells = [list(map(_cell, column)) for column in rows.columns]
                errors = [b"" if error is None else csv_text(error) for error in rows.errors]
                yield _lines(rows.records, cells, errors)
        else:
            from .arrow_cells import cells_of

            for record, batch in arrow_rows(data, chunk, start, end, _AT_ONCE):
                count = batch.num_rows
                cells = []
                for array in arrow_columns(batch, shape):
                    if array is None:
                        cells.append([b""] * count)
                        continue
                    found = cells_of(array, None, False)
                    plain = _is_number(array) and b"null" not in found
                    cells.append(found if plain else list(map(_cell, found)))
                yield _lines(range(record, record + count), cells, [b""] * count)


def csv_text(text: str) -> bytes:
    """A text as a cell."""
    if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        text = "'" + text
    if not text or _QUOTED.search(text) or text[0] == " " or text[-1] == " ":
        text = '"' + text.replace('"', '""') + '"'
    return text.encode("utf-8", "replace")


def _cell(cell: bytes) -> bytes:
    """A cell of JSON as one of CSV."""
    kind = STARTS.get(cell[0])
    if kind is None or kind == "logical":
        return cell
    if kind == "null":
        return b""
    if kind == "text":
        return csv_text(_text(cell))
    return b'"' + cell.replace(b'"', b'""') + b'"'


def _is_number(array: object) -> bool:
    from .arrow_cells import word_of
    from .arrow_files import arrow_module

    return word_of(arrow_module(), getattr(array, "type", None)) == "number"


def _lines(records: Sequence[int], columns: list[list[bytes]], errors: list[bytes]) -> bytes:
    numbers = [b"%d" % record for record in records]
    rows = zip(numbers, *columns, errors, strict=True)
    lines = list(map(b",".join, rows))
    return b"\r\n".join(lines) + b"\r\n" if lines else b""
