"""From the JSON body of a call to checked columns, by decoders made of the schema.

Two ways. :meth:`JsonDecoder.one_row` reads a body of one row in one pass and knows only "all is
as it should be" or None. :meth:`JsonDecoder.pieces` reads any body, a piece at a time, and says
precisely what is wrong; it is asked whenever the first one is not sure.

Both enforce the order of the columns, which a msgspec struct would not: frames are decoded as
dicts, whose keys are compared. The types of the cells are checked by msgspec while it parses, so
that a body of something else is refused before it has become objects. A key that stands twice in
one object counts once, with its last value, as for every JSON reader of Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Union

import msgspec

from .decode_errors import invalid, too_many_rows, wrong_columns
from .decode_json_errors import Body, bad_body, bad_cells, bad_records
from .decode_row import row_check
from .decode_rules import from_cells, from_typed_cells
from .schema import FIELD, Column, Schema

Columns = list[Any]  # a float64 array, or a list of str and None, for each column of the schema

_PYTHON: dict[str, type] = {"numeric": float, "integer": float, "logical": bool, "character": str}
_SCALARS: tuple[Any, ...] = (float, bool, str, None)
_RECORDS_AT_ONCE = 2000
# From this size on a body's values are counted before they become objects.
_LARGE = 1 << 20
# Whatever msgspec raises for a body that is no JSON, or not what its type says.
FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    inputData: dict[str, msgspec.Raw] | list[msgspec.Raw]


_decode_body = msgspec.json.Decoder(_Body).decode


class JsonDecoder:
    """Decodes the bodies of one schema, each of at most ``max_rows``. Safe for threads."""

    def __init__(self, schema: Schema, max_rows: int) -> None:
        self.schema = schema
        self.max_rows = max_rows
        columns = schema.columns
        self._names, self._longer = schema.names, schema.names_with_response
        self._position = schema.position
        cell = cell_type(columns, schema.position is not None, float)
        one = dict[str, tuple[cell]] | tuple[dict[str, cell]]  # type: ignore[valid-type]
        body = msgspec.defstruct("Row", [(FIELD, one)], forbid_unknown_fields=True)
        self._one: Callable[[Body], Any] = msgspec.json.Decoder(body).decode
        same = len({(_PYTHON[column.kind], column.nullable) for column in columns}) == 1
        self._check_row = row_check(columns, same and schema.position is None)
        cells = [cell_type([column], False, int) for column in columns]
        self._lists = [_decoder(list[cell]) for cell in cells]  # type: ignore[valid-type]
        self._response = _decoder(list[cell_type([], True, int)])  # type: ignore[misc]
        cell = cell_type(columns, schema.position is not None, int)
        self._records = _decoder(list[dict[str, cell]])  # type: ignore[valid-type]
        # A body of so many commas has too many rows, unless they stand in texts.
        self._commas = (max_rows + 1) * (len(columns) + 1)
        self._countable = schema.position is None and not any(c.text for c in columns)

    def one_row(self, body: Body) -> Sequence[Any] | None:
        """The cells of the only row (float, bool, str, None); None if there may be any fault."""
        try:
            data = self._one(body).inputData
        except FAILURES:
            return None
        if type(data) is dict:
            row = [cells[0] for cells in data.values()]
        else:
            (data,) = data
            row = list(data.values())
        names = list(data)
        if names != self._names:
            if self._position is None or names != self._longer:
                return None
            del row[self._position]
        return row if self._check_row(row) else None

    def pieces(self, body: Body, alive: Callable[[], None]) -> Iterator[tuple[int, int, Columns]]:
        """Number of the first row, number of rows, columns: piece by piece, none for no rows.

        ``alive`` is called between pieces and may raise. Raises InvalidInput or TooLarge.
        """
        if self._countable and len(body) > _LARGE and bytes(body).count(b",") > self._commas:
            raise too_many_rows(self.max_rows)
        try:
            data = _decode_body(body).inputData
        except FAILURES as exc:
            raise bad_body(body, exc) from None
        alive()
        if isinstance(data, dict):
            rows, columns = self._columns(data, alive)
            if rows:
                yield 0, rows, columns
        else:
            yield from self._pieces_of_records(data, alive)

    def _columns(self, data: dict[str, Any], alive: Callable[[], None]) -> tuple[int, Columns]:
        schema, names = self.schema, list(data)
        if names != self._names and names != self._longer:
            raise wrong_columns(FIELD, names, schema)
        expected: list[tuple[str, Column | None, Any]] = [
            (column.name, column, decode)
            for column, decode in zip(schema.columns, self._lists, strict=True)
        ]
        if len(names) > len(expected):
            assert self._position is not None
            expected.insert(self._position, (names[self._position], None, self._response))
        rows: int | None = None
        columns = []
        for name, column, decode in expected:
            try:
                cells = decode(data[name])
            except FAILURES:
                raise bad_cells(name, column, data[name]) from None
            if rows is None:
                rows = len(cells)
                if rows > self.max_rows:
                    raise too_many_rows(self.max_rows)
            elif len(cells) != rows:
                wanted = f"{rows} values, as in the columns before it"
                raise invalid(f"{FIELD}.{name}", wanted, str(len(cells)), column=name)
            if column is not None:
                columns.append(from_typed_cells(column, cells, 0))
            alive()
        return rows or 0, columns

    def _pieces_of_records(
        self, raws: list[msgspec.Raw], alive: Callable[[], None]
    ) -> Iterator[tuple[int, int, Columns]]:
        if len(raws) > self.max_rows:
            raise too_many_rows(self.max_rows)
        names: list[str] | None = None
        for first in range(0, len(raws), _RECORDS_AT_ONCE):
            part = raws[first : first + _RECORDS_AT_ONCE]
            try:
                records = self._records(b"[" + b",".join(part) + b"]")
            except FAILURES:
                bad_records(part, first, self.schema, names or self._expected(part[0]))
            if names is None:
                names = self._longer if list(records[0]) == self._longer else self._names
                keys = {tuple(names)}
            if set(map(tuple, records)) != keys:
                bad_records(part, first, self.schema, names)
            cells: list[Any] = list(zip(*map(dict.values, records), strict=True))
            if len(names) > len(self._names):
                assert self._position is not None
                del cells[self._position]
            checked = zip(self.schema.columns, cells, strict=True)
            yield (
                first,
                len(part),
                [from_cells(column, values, first) for column, values in checked],
            )
            alive()

    def _expected(self, raw: msgspec.Raw) -> list[str]:
        """The names that records must have, as the first one has them with the response or not."""
        try:
            names = list(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]))
        except FAILURES:
            names = []
        return self._longer if names == self._longer else self._names


def cell_type(columns: Sequence[Column], response: bool, integer: type) -> Any:
    """The type of a cell of any of ``columns`` (and of the response); ints become ``integer``.

    Where a float is expected msgspec makes one of an integer. A column of integers needs both,
    to see that 3.5 is none and 2**53 + 1 too large.
    """
    kinds: list[Any] = [*_SCALARS] if response else []
    for column in columns:
        kinds.append(_PYTHON[column.kind])
        if column.kind == "integer":
            kinds.append(integer)
        if column.nullable:
            kinds.append(None)
    return Union[tuple(kinds)]  # noqa: UP007


def _decoder(kind: Any) -> Callable[[Any], Any]:
    return msgspec.json.Decoder(kind).decode
