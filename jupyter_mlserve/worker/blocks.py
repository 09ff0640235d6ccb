"""Many records in one frame: JSON lines of inputs to JSON lines of results.

Each record is a call of its own, with all that belongs to one, and fails alone. With ``rows``
records are first tried together, as one frame (:mod:`.rows`).
"""

from __future__ import annotations

import time

from .outputs import dump_json, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from .program import Program
    from .rows import Rows
    from .serve import Worker

# Bytes of results after which a block ends early: nobody between here and the store should have
# to hold more than this and one result.
ENOUGH = 8 * 1024 * 1024
_MAX_STRAY = 64 * 1024  # characters


class Results:
    """Lines of results, in the order of the records, until time or room is up."""

    def __init__(self, worker: Worker, program: Program, owner: bool, budget: float) -> None:
        self._worker = worker
        self._program = program
        self._owner = owner
        self._end = time.perf_counter() + budget
        self._room = min(worker.result_limit, ENOUGH)
        self._stray: List[str] = []
        self.lines: List[bytes] = []
        self.failed = 0
        self.retire = False

    @property
    def over(self) -> bool:
        """No further record may be begun, unless it is the first one."""
        return self.retire or self._room <= 0 or time.perf_counter() >= self._end

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self._end - time.perf_counter()

    def one(self, record: bytes) -> bytes:
        """The result of a record that is called by itself."""
        header, result = self._worker.record(record)
        return result if header is None else self._special(header, result)

    def _special(self, header: Dict[str, Any], result: bytes) -> bytes:
        if header.pop("retire", False):
            self.retire = True
        self.note(header.pop("stray", ""))
        if header["status"] == 200:
            return result
        self.failed += 1
        return error_line(header, self._program, self._owner)

    def note(self, stray: str) -> None:
        """What was printed when no record was being worked on; it goes into the server's log."""
        if stray and sum(map(len, self._stray)) < _MAX_STRAY:
            self._stray.append(stray)

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self._room -= len(line)

    def reply(self) -> Tuple[Dict[str, Any], bytes]:
        header: Dict[str, Any] = {"status": 200, "done": len(self.lines), "failed": self.failed}
        if self.retire:
            header["retire"] = True
        if self._stray:
            header["stray"] = "".join(self._stray)
        self.lines.append(b"")
        return header, b"\n".join(self.lines)


class Records:
    """What works on the blocks of a version."""

    def __init__(self, worker: Worker, program: Program) -> None:
        self._worker = worker
        self._program = program
        self._rows: Optional[Rows] = None

    def score(self, request: Dict[str, Any], body: bytes) -> Tuple[Dict[str, Any], bytes]:
        """Header and body of the reply: a line for each of the first ``done`` records."""
        owner, budget = bool(request.get("owner")), float(request.get("budget") or 0.0)
        results = Results(self._worker, self._program, owner, budget)
        if request.get("rows") and self._may_group():
            assert self._rows is not None
            self._rows.score(results, body)
        else:
            one, add = results.one, results.add
            start = 0
            while start < len(body):
                start, record = next_line(body, start)
                add(one(record))
                if results.over:
                    break
        return results.reply()

    def _may_group(self) -> bool:
        if self._rows is None:
            from .rows import Rows

            self._rows = Rows(self._worker, self._program)
        return self._rows.possible and not self._program.apart


def next_line(body: bytes, start: int) -> Tuple[int, bytes]:
    """Where the line after this one starts, and this one without its end."""
    end = body.find(b"\n", start)
    if end < 0:
        end = len(body)
    return end + 1, body[start:end]


def error_line(header: Dict[str, Any], program: Program, owner: bool) -> bytes:
    """The result of a record that failed: the body that a single call would be answered with."""
    kind, message = str(header.get("kind")), str(header.get("message") or "")
    details: Dict[str, Any] = {}
    code, field = 400, ""
    if kind == "InvalidInput":
        details = {key: str(header.get(key) or "") for key in ("field", "expected", "got")}
        field = details["field"]
    else:
        if owner and header.get("traceback"):
            details["traceback"] = header["traceback"]
        if kind == "OutOfMemory":
            code, kind = 500, "WorkerLost"
            message = str(program.spec.get("out_of_memory") or f"{program.label}: out of memory.")
        elif kind != "ServiceFailed":
            code, kind = 500, "WorkerLost"
            message = f"{program.label}: the worker failed ({message}). Try again."
    message = text_of(message)
    whole: Dict[str, Any] = {
        "code": code,
        "message": message,
        "exceptionType": kind,
        "fields": text_of(field),
        "link": "",
    }
    if details:
        whole["details"] = {key: text_of(value) for key, value in details.items()}
    whole.update(
        success=False,
        errorMessage=message,
        consoleOutput=str(header.get("console") or ""),
        changedFiles=[],
        outputFiles={},
        outputParameters={},
    )
    return dump_json(whole).encode()
