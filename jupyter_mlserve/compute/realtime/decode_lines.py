"""From lines, each the JSON body of a call, to columns that many of them share.

Three ways, each for what the one before is not sure of. A group of lines of one row each is
decoded line by line, but checked column by column, which is what takes the time. If that finds
any fault, each line is looked at alone, in the way of a call of one row. And what that is not sure
of either (several rows, or a fault) goes the way that says precisely what is wrong.

Lines are never joined and parsed as one text: one could end what another has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from ...contract.errors import MLServeError
from .decode_json import FAILURES, Columns, JsonDecoder, cell_type
from .decode_rules import from_cells
from .schema import FIELD, Schema

_rows_of = attrgetter(FIELD)


@dataclass
class Frame:
    """Rows of several records: ``counts[i]`` of them belong to record ``records[i]``."""

    records: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    rows: int = 0
    parts: list[Columns] = field(default_factory=list)

    def add(self, records: Sequence[int], counts: list[int], columns: Columns) -> None:
        self.records += records
        self.counts += counts
        self.rows += sum(counts)
        self.parts.append(columns)

    def columns(self) -> Columns:
        """The columns of all rows."""
        if len(self.parts) == 1:
            return self.parts[0]
        joined: Columns = []
        for pieces in zip(*self.parts, strict=True):
            if isinstance(pieces[0], np.ndarray):
                joined.append(np.concatenate(pieces))
            else:
                joined.append([cell for piece in pieces for cell in piece])
        self.parts = [joined]
        return joined

    def part(self, start: int, stop: int) -> Frame:
        """Records ``start`` to ``stop``, not included."""
        first, rows = sum(self.counts[:start]), sum(self.counts[start:stop])
        cut = [column[first : first + rows] for column in self.columns()]
        return Frame(self.records[start:stop], self.counts[start:stop], rows, [cut])


class LineDecoder:
    """Decodes the lines of one schema. Safe for threads."""

    def __init__(self, schema: Schema, decoder: JsonDecoder) -> None:
        self._columns = schema.columns
        self._names, self._longer = tuple(schema.names), tuple(schema.names_with_response)
        self._position = schema.position
        self._one_row, self._pieces = decoder.one_row, decoder.pieces
        cell = cell_type(schema.columns, schema.position is not None, int)
        one = dict[str, tuple[cell]] | tuple[dict[str, cell]]  # type: ignore[valid-type]
        body = msgspec.defstruct("Line", [(FIELD, one)], forbid_unknown_fields=True)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(body).decode

    def add(
        self, frame: Frame, lines: Sequence[bytes], first: int, most: int, alive: Callable[[], None]
    ) -> list[int]:
        """Add the rows of ``lines`` to ``frame``; the first line is record number ``first``.

        Returns the numbers of those that must be scored alone: they have faults, or more than
        ``most`` rows. ``alive`` is called now and then, and may raise.
        """
        columns = self._of_single_rows(lines)
        if columns is not None:
            count = len(lines)
            frame.add(range(first, first + count), [1] * count, columns)
            return []
        rest = []
        rows: list[Sequence[Any]] = []
        places: list[int] = []

        def add_rows() -> None:
            if rows:
                cells = zip(self._columns, zip(*rows, strict=True), strict=True)
                found = [from_cells(column, values, 0) for column, values in cells]
                frame.add(places, [1] * len(rows), found)
                rows.clear()
                places.clear()

        for number, line in enumerate(lines, first):
            row = self._one_row(line)
            if row is not None:
                rows.append(row)
                places.append(number)
                continue
            alive()
            piece = self._of_many_rows(line, most, alive)
            if piece is None:
                rest.append(number)
                continue
            add_rows()
            frame.add([number], [piece[0]], piece[1])
        add_rows()
        return rest

    def _of_single_rows(self, lines: Sequence[bytes]) -> Columns | None:
        """The columns, if there is no fault in any line and each is of one row."""
        try:
            rows: list[Any] = list(map(_rows_of, map(self._decode, lines)))
        except FAILURES:
            return None
        kinds = set(map(type, rows))
        if len(kinds) != 1:
            return None
        as_records = kinds == {tuple}
        if as_records:
            rows = [row for (row,) in rows]
        orders = set(map(tuple, rows))
        longer = orders == {self._longer}
        if not longer and orders != {self._names}:
            return None
        cells: list[Any] = list(zip(*map(dict.values, rows), strict=True))
        if longer and self._position is not None:
            del cells[self._position]
        if not as_records:
            cells = [[value for (value,) in column] for column in cells]
        try:
            checked = zip(self._columns, cells, strict=True)
            return [from_cells(column, values, 0) for column, values in checked]
        except MLServeError:
            return None

    def _of_many_rows(
        self, line: bytes, most: int, alive: Callable[[], None]
    ) -> tuple[int, Columns] | None:
        """Number of rows and columns, if there is no fault and they are one piece."""
        found: tuple[int, Columns] | None = None
        try:
            for _, rows, columns in self._pieces(line, alive):
                if found is not None or rows > most:
                    return None
                found = rows, columns
        except MLServeError:
            # Whoever scores it alone finds it again, and says it.
            return None
        return found
