"""The results of a batch as one DataFrame: a row for each record, or for each row of its answer."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..contract.batch import ERROR, RECORD
from .response import decode_output

Json = Mapping[str, Any]
Params = Sequence[Json]
# Types that a column of a table says by itself.
_SIMPLE = frozenset({"numeric", "integer", "logical", "character"})


def frame_of_results(
    replies: Iterable[tuple[int, Json]], outputs: Params, *, rows: bool = False
) -> Any:
    """The frame, and the positions of its rows' records.

    ``replies``: position and WebServiceResult; ``rows``: each record was one row of many.
    """
    import pandas as pd

    columns = Columns(outputs, rows)
    for position, body in replies:
        columns.add(position, body)
    made = {name: columns.series(name) for name in columns.cells}
    made[ERROR] = pd.Series(columns.errors, dtype=object)
    return pd.DataFrame(made), columns.records


class Columns:
    """Collects results; the names are those of the server's own tables.

    One frame as the only output gives its columns. Several outputs give ``name.column`` for
    frames, and ``name`` for the others, repeated over the rows of a frame.
    """

    def __init__(self, outputs: Params, rows: bool = False) -> None:
        self._declared = {str(param["name"]): param for param in outputs}
        # A vector of one value for one row is that value.
        self._unwrapped = {str(one["name"]) for one in outputs if rows and one["type"] == "vector"}
        (only,) = self._declared.values() if len(self._declared) == 1 else (None,)
        self._bare = only is not None and only["type"] == "data.frame"
        self.cells: dict[str, list[Any]] = {}
        self._params: dict[str, Json | None] = {}
        self.records: list[int] = []
        self.errors: list[str | None] = []
        for param in outputs:  # also where no record succeeds
            self._declare(param)

    def _declare(self, param: Json) -> None:
        name = str(param["name"])
        if param["type"] != "data.frame":
            kind = None if name in self._unwrapped else param
            self._column(self._single(name), kind)
        for column in param.get("columns") or ():
            self._column(self._named(name, str(column["name"])), column)

    def _named(self, output: str, column: str) -> str:
        return column if self._bare and column not in (RECORD, ERROR) else f"{output}.{column}"

    @staticmethod
    def _single(output: str) -> str:
        return f"{output}.{output}" if output in (RECORD, ERROR) else output

    def _column(self, name: str, param: Json | None = None) -> list[Any]:
        if name not in self.cells:
            self.cells[name] = [None] * len(self.records)
            self._params[name] = param
        return self.cells[name]

    def add(self, position: int, body: Json) -> None:
        found: dict[str, Sequence[Any]] = {}
        if not body.get("success"):
            rows = 1
            error = str(body.get("errorMessage") or body.get("message") or "failed")
        else:
            rows, found = self._rows(body.get("outputParameters") or {})
            error = None
        before = len(self.records)
        for name in found:
            self._column(name)
        for name, cells in self.cells.items():
            cells.extend(found.get(name, (None,) * rows))
            if len(cells) < before + rows:
                cells.extend([None] * (before + rows - len(cells)))
        self.records += [position] * rows
        self.errors += [error] * rows

    def _rows(self, outputs: Json) -> tuple[int, dict[str, Sequence[Any]]]:
        found: dict[str, Sequence[Any]] = {}
        single: dict[str, Any] = {}
        for name, value in outputs.items():
            param = self._declared.get(name)
            if param is not None and param["type"] == "data.frame":
                for column, cells in (value or {}).items():
                    found[self._named(name, column)] = cells
                continue
            if name in self._unwrapped and isinstance(value, list) and len(value) == 1:
                value = value[0]
            single[self._single(name)] = value
        rows = max(map(len, found.values()), default=0)
        rows = rows if self._bare else max(rows, 1)
        found.update({name: [value] * rows for name, value in single.items()})
        return rows, found

    def series(self, name: str) -> Any:
        """The column as a pandas Series of the type that is declared, or that its cells have."""
        import pandas as pd

        cells, param = self.cells[name], self._params[name]
        kind = str(param["type"]) if param is not None else ""
        if kind == "datetime":
            return pd.to_datetime(pd.Series(cells, dtype=object), format="ISO8601")
        if kind and kind not in _SIMPLE:
            return pd.Series([decode_output(cell, param) for cell in cells], dtype=object)
        kinds = set(map(type, cells))
        missing = type(None) in kinds
        kinds.discard(type(None))
        if kinds == {bool}:
            return pd.Series(cells, dtype="boolean" if missing else bool)
        if kinds == {int} and kind != "numeric":
            return pd.Series(cells, dtype="Int64" if missing else "int64")
        if (kinds and kinds <= {int, float}) or (not kinds and kind in ("numeric", "integer")):
            return pd.Series(cells, dtype=float)
        return pd.Series(cells, dtype="str" if kinds == {str} else object)


def fits_arrow(outputs: Params, *, rows: bool = False) -> bool:
    """Whether an Arrow table says all that the outputs say."""
    kinds = {
        str(one["type"])
        for param in outputs
        for one in (param.get("columns") or [{"type": "numeric"}])
        if param["type"] == "data.frame"
    } | {str(param["type"]) for param in outputs if param["type"] != "data.frame"}
    return bool(kinds) and kinds - ({"vector"} if rows else set()) <= _SIMPLE


def frame_of_arrow(pieces: Iterator[bytes]) -> Any:
    """From the pieces of an Arrow stream of the server's table."""
    import pyarrow as pa

    from .realtime_service import frame_of

    stream = io.BufferedReader(Pieces(pieces), 1 << 20)  # reads as much as is asked for
    with pa.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    records = table.column(RECORD).to_numpy()
    errors = table.column(ERROR)
    table = table.drop_columns([RECORD, ERROR])
    frame = frame_of(table) if table.num_columns else _empty(len(records))
    frame[ERROR] = errors.to_pandas().astype(object).where(lambda cells: cells.notna(), None)
    return frame, records


def _empty(rows: int) -> Any:
    import pandas as pd

    return pd.DataFrame(index=pd.RangeIndex(rows))


def with_index(frame: Any, records: Any, index: Any) -> Any:
    """The frame with the index of the records' own frame; without one, their positions."""
    import numpy as np
    import pandas as pd

    positions = np.asarray(records, dtype=np.int64)
    if index is not None:
        index = index.index if hasattr(index, "columns") else index  # the records themselves
        index = index if isinstance(index, pd.Index) else pd.Index(index)
        frame.index = index.take(positions)
    elif not np.array_equal(positions, np.arange(len(positions))):
        frame.index = pd.Index(positions, name=RECORD)
    return frame


class Pieces(io.RawIOBase):
    """An iterator of bytes as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
