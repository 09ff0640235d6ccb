"""Records of a service that takes a frame of any number of rows, put together into one call.

The frame must be what its parts would be: the same columns of the same types, row below row. The
answer must have as many rows, which then go back to the records. Whatever is not so (a record that
is not valid, a function that raises, another number of rows) is narrowed down by halves to
the records it concerns, which are called one by one: their results are those of single calls.
"""

from __future__ import annotations

import json
import time
from itertools import chain

from .alike import alike, settle
from .blocks import next_line
from .inputs import INT_MAX, INT_MIN, parse_json
from .outputs import dump_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence

    from .blocks import Results
    from .program import Program
    from .serve import Worker

_FIRST = 128  # records of the first call; what it takes says how many the next one may have
_GROWTH = 8
_FEW = 3  # records that are not worth a call together
_MOST = 65_536  # records, and rows, of one call


class Part:
    """A record on its way: its line, its cells by column if they are a frame, and its result."""

    __slots__ = ("cells", "line", "result", "rows")

    def __init__(self, line: bytes) -> None:
        self.line = line
        self.cells: Optional[Sequence[List[Any]]] = None
        self.rows = 0
        self.result: Optional[bytes] = None


class Rows:
    """``possible`` says whether the declared inputs and outputs allow it at all."""

    def __init__(self, worker: Worker, program: Program) -> None:
        self._worker = worker
        self._program = program
        inputs: List[Any] = list(program.spec.get("inputs") or ())
        outputs: List[Any] = list(program.spec.get("outputs") or ())
        self.possible = (
            len(inputs) == len(outputs) == 1
            and inputs[0]["type"] == "data.frame"
            and outputs[0]["type"] in ("data.frame", "vector")
            and not program.spec.get("files_out")
        )
        if self.possible:
            self._name = str(inputs[0]["name"])
            columns = inputs[0].get("columns")
            self._columns = None if columns is None else [str(c["name"]) for c in columns]
            self._output = str(outputs[0]["name"])
        self._seconds = 0.0  # of a record, at the last call

    def score(self, results: Results, body: bytes) -> None:
        """Work on the lines of ``body``; the results are in order and have no gap."""
        start, size = 0, _FIRST
        while start < len(body) and not (results.lines and results.over):
            begun = time.perf_counter()
            parts: List[Part] = []
            rows = 0
            if self._seconds:
                size = min(size, int(max(results.left, 0.0) / self._seconds) + 1)
            while start < len(body) and len(parts) < size and rows < _MOST:
                start, line = next_line(body, start)
                part = Part(line)
                self._read(part)
                rows += part.rows
                parts.append(part)
            self._solve(results, parts)
            for part in parts:
                if part.result is None:
                    return  # time is up; those after it are called again
                results.add(part.result)
            self._seconds = (time.perf_counter() - begun) / len(parts)
            size = min(size * _GROWTH, _MOST)

    def _read(self, part: Part) -> None:
        """Find the columns of a record; one that is not plainly a frame is left for later."""
        try:
            data = parse_json(part.line)
        except Exception:  # told by the call that this record gets for itself
            return
        frame = data.get(self._name) if type(data) is dict and len(data) == 1 else None
        if type(frame) is list:
            frame = _by_column(frame)
        if type(frame) is not dict or not frame:
            return
        if self._columns is not None and list(frame) != self._columns:
            return
        cells = list(frame.values())
        if set(map(type, cells)) != {list}:
            return
        sizes = set(map(len, cells))
        if len(sizes) != 1 or 0 in sizes:
            return
        if self._columns is None:
            cells.append(list(frame))  # its columns' names, to be compared
        part.rows = sizes.pop()
        part.cells = cells

    def _solve(self, results: Results, parts: List[Part]) -> None:
        """Give every part its result, from the first one on, as far as time allows."""

        def over() -> bool:
            return results.over and bool(results.lines or parts[0].result)

        for part in parts:
            if part.cells is None:
                if over():
                    return
                part.result = results.one(part.line)
        waiting = [[part for part in parts if part.cells is not None]]
        while waiting and not over():
            group = waiting.pop()
            if len(group) <= _FEW or self._program.apart:
                for part in group:
                    if over():
                        return
                    part.result = results.one(part.line)
            elif not self._together(results, group):
                half = len(group) // 2
                waiting += [group[half:], group[:half]]

    def _together(self, results: Results, group: List[Part]) -> bool:
        """One call for all of them; False when it did not give an answer for each."""
        try:
            values = self._merged(group)
        except Exception:
            return False
        if values is None:
            return False
        results.note(self._worker.stray())
        error, retire, outputs, _, changed, text = self._worker.execute(self._program.run, values)
        if retire:
            results.retire = True
        if error is not None:
            return False
        try:
            lines = self._split(group, outputs[self._output])
        except (ValueError, RecursionError):
            return False
        if lines is None or max(map(len, lines)) > self._worker.result_limit:
            return False
        if self._program.prove:
            results.note(settle(self._program, self._alone(results, group[0].line, lines[0])))
            if self._program.apart:
                return False
        if text or changed:
            # It was printed once for all of them; the first one carries it.
            whole = json.loads(lines[0])
            whole.update(consoleOutput=text, changedFiles=changed)
            lines[0] = dump_json(whole).encode()
        for part, line in zip(group, lines):  # noqa: B905 (Python 3.8)
            part.result = line
        return True

    def _alone(self, results: Results, record: bytes, together: bytes) -> bool:
        """Whether a record is answered alone as it was together with others."""
        failed = results.failed
        alone = json.loads(results.one(record))
        results.failed = failed  # this was not its answer
        return alike(alone["outputParameters"], json.loads(together)["outputParameters"])

    def _merged(self, group: List[Part]) -> Optional[Dict[str, Any]]:
        """The inputs of the call, or None when the parts are not frames of one kind."""
        tables = [part.cells for part in group if part.cells is not None]
        names = self._columns
        if names is None:
            found = tables[0][-1]
            if any(table[-1] != found for table in tables):
                return None
            names = [str(name) for name in found]
        columns = {
            name: list(chain.from_iterable([table[place] for table in tables]))
            for place, name in enumerate(names)
        }
        if self._columns is None and not all(map(_same_alone, columns.values())):
            return None
        merged: Dict[str, Any] = self._program.decode_parsed({self._name: columns})
        return merged

    def _split(self, group: List[Part], output: Any) -> Optional[List[bytes]]:
        """The encoded answer by record; None when its rows are not those that were asked."""
        from .serve import PLAIN

        columns = output if type(output) is dict else {"": output}
        rows = sum(part.rows for part in group)
        if not columns or any(type(c) is not list or len(c) != rows for c in columns.values()):
            return None
        texts = [_cell_texts(cells) for cells in columns.values()]
        if type(output) is dict:
            inner = ",".join(f"{_quoted(name)}:[%s]" for name in columns)
            shape = f"{{{_quoted(self._output)}:{{{inner}}}}}}}"
        else:
            shape = f"{{{_quoted(self._output)}:[%s]}}}}"
        shape = PLAIN.decode() + shape
        if rows == len(group):  # a row each
            return [(shape % row).encode() for row in zip(*texts)]  # noqa: B905 (Python 3.8)
        lines = []
        start = 0
        for part in group:
            end = start + part.rows
            lines.append((shape % tuple(",".join(t[start:end]) for t in texts)).encode())
            start = end
        return lines


def _quoted(name: str) -> str:
    return dump_json(name).replace("%", "%%")


def _cell_texts(cells: List[Any]) -> List[str]:
    """The JSON text of every cell; those of numbers have no comma in them."""
    if set(map(type, cells)) <= {int, float, bool, type(None)}:
        return dump_json(cells)[1:-1].split(",")
    return list(map(dump_json, cells))


def _by_column(records: List[Any]) -> Optional[Dict[str, Any]]:
    """A frame that came as records, by column; None when they differ."""
    if not records or set(map(type, records)) != {dict}:
        return None
    names = list(records[0])
    if any(list(record) != names for record in records):
        return None
    return {name: [record[name] for record in records] for name in names}


def _same_alone(cells: List[Any]) -> bool:
    """Without a declared type: whether each part of the column would have the type of the whole."""
    kinds = set(map(type, cells))
    if kinds == {int}:
        return bool(min(cells) >= INT_MIN and max(cells) <= INT_MAX)
    return kinds in ({float}, {str}, {bool})
