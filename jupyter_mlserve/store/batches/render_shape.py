"""Which columns a table of results has, and of which kinds.

One frame as the only output: its columns, and a row of the table for each of its rows. Otherwise
an output is a column of its name, the columns of a frame are ``output.column``, and there are as
many rows as the longest frame of the record has (one without frames; what is shorter ends in
nulls, what is no frame is repeated). Values that are lists or objects become JSON text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from ...contract.batch import ERROR, RECORD
from ...contract.errors import TooLarge
from ...contract.limits import MAX_COLUMNS
from .models import ROWS
from .plan import OutPlan
from .render import Spans

# Kinds of JSON values by how they begin; numbers need a second look.
STARTS = {
    ord('"'): "text",
    ord("t"): "logical",
    ord("f"): "logical",
    ord("n"): "null",
    ord("["): "nested",
    ord("{"): "nested",
}


_ISO = re.compile(
    rb'"([0-9]{4})-[0-9]{2}-[0-9]{2}'
    rb"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,]([0-9]{1,9}))?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
    rb'"'
)


class Result(msgspec.Struct):
    """What a table takes from a result."""

    success: bool = False
    errorMessage: str = ""
    outputParameters: dict[str, msgspec.Raw] = {}


read_result_line = msgspec.json.Decoder(Result).decode
read_frame = msgspec.json.Decoder(dict[str, list[msgspec.Raw]] | None).decode
read_list = msgspec.json.Decoder(list[msgspec.Raw] | None).decode


@dataclass(frozen=True)
class Column:
    """A column of the table: its name, the declared type (None: learnt), and where it is from."""

    name: str
    kind: str | None
    output: str
    column: str | None  # of the output, if that is a frame


@dataclass
class Learnt:
    """What the results say of themselves: columns of frames, and kinds of values."""

    columns: dict[str, dict[str, None]] = field(default_factory=dict)
    kinds: dict[tuple[str, str | None], set[str]] = field(default_factory=dict)
    dates: dict[tuple[str, str | None], set[str]] = field(default_factory=dict)

    def name(self, output: str, names: Iterable[str]) -> None:
        known = self.columns.setdefault(output, {})
        known.update(dict.fromkeys(names))
        if len(known) > MAX_COLUMNS:
            raise TooLarge(
                f"The frames of the output {output!r} have more than {MAX_COLUMNS:,} different "
                "columns in all, which is no table. Take the results as JSON lines.",
                limit=MAX_COLUMNS,
            )

    def value(self, output: str, column: str | None, cell: bytes) -> None:
        kind = STARTS.get(cell[0])
        if kind is None:
            whole = not (b"." in cell or b"e" in cell or b"E" in cell)
            kind = "integer" if whole and len(cell) < 19 else "numeric"
        self.kinds.setdefault((output, column), set()).add(kind)
        if kind == "text":
            self.dates.setdefault((output, column), set()).add(_date(cell))


class Shape:
    """The columns between ``record`` and ``error``, and how to find their cells in results."""

    def __init__(self, outputs: OutPlan, learnt: Learnt) -> None:
        self.outputs = outputs.outputs
        # The answer of a batchable service for one record: a vector of one value is that value.
        self.unwrap = {
            output["name"]
            for output in outputs.outputs
            if outputs.rows and output["type"] == "vector"
        }
        self.frames = {o["name"] for o in outputs.outputs if o["type"] == "data.frame"}
        self.only_frame = len(outputs.outputs) == 1 and bool(self.frames)
        self.columns: list[Column] = []
        used = {RECORD, ERROR}
        for output in outputs.outputs:
            name, type_ = output["name"], output["type"]
            if name not in self.frames:
                kind = None if name in self.unwrap else type_
                self.columns.append(Column(_free(name, name, used), kind, name, None))
                continue
            kinds = {column["name"]: column["type"] for column in output.get("columns") or ()}
            names = kinds if kinds else learnt.columns.get(name, {})
            for column in names:
                wish = column if self.only_frame else f"{name}.{column}"
                called = _free(wish, name, used)
                self.columns.append(Column(called, kinds.get(column), name, column))

    @property
    def names(self) -> list[str]:
        return [RECORD, *(column.name for column in self.columns), ERROR]


def must_learn(outputs: OutPlan, types: bool) -> bool:
    """Whether the results must be gone through before a table can begin; ``types``: typed ones."""
    for output in outputs.outputs:
        if output["type"] == "data.frame":
            columns = output.get("columns")
            if not columns:
                return True
            if types and any(column["type"] == "datetime" for column in columns):
                return True
        elif types and (output["type"] == "datetime" or outputs.rows):
            return True
    return False


def learn(spans: Spans, outputs: OutPlan, types: bool) -> Learnt:
    """Go through the results once."""
    learnt = Learnt()
    unwrap = {o["name"] for o in outputs.outputs if outputs.rows and o["type"] == "vector"}
    frames = {output["name"] for output in outputs.outputs if output["type"] == "data.frame"}
    for _, format, data, chunk, start, end in spans.parts():
        if format != ROWS:
            from .render_rows import learn_arrow

            learn_arrow(data, outputs, learnt)
            continue
        for line in spans.lines(data, chunk, start, end):
            result = read_result_line(line)
            if not result.success:
                continue
            for name, raw in result.outputParameters.items():
                if name in frames:
                    table = read_frame(raw) or {}
                    learnt.name(name, table)
                    if types:
                        for column, cells in table.items():
                            for cell in cells:
                                learnt.value(name, column, bytes(cell))
                elif types:
                    for value in unwrapped(raw) if name in unwrap else (bytes(raw),):
                        learnt.value(name, None, value)
    return learnt


def unwrapped(raw: msgspec.Raw) -> Iterator[bytes]:
    """The value of a vector of one; else the vector as it is."""
    cells = read_list(raw)
    yield bytes(cells[0]) if cells is not None and len(cells) == 1 else bytes(raw)


def _free(wish: str, output: str, used: set[str]) -> str:
    """A name that no other column has."""
    name = wish
    if name in used:
        name = f"{output}.{wish}"
    while name in used:
        name += "_"
    used.add(name)
    return name


def _date(cell: bytes) -> str:
    """Whether an ISO text has a zone, and more than six digits of a second; or odd."""
    found = _ISO.fullmatch(cell)
    if found is None:
        return "odd"
    year, fraction, zone = int(found[1]), found[2] or b"", found[3]
    word = "zone" if zone else "plain"
    if len(fraction) <= 6:
        return word
    # What 64 bits of nanoseconds can say.
    return f"{word}-ns" if 1678 <= year <= 2261 else "odd"
