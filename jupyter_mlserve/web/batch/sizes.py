"""How many records are given to a worker at a time."""

from __future__ import annotations

from ...store.batches.models import ARROW, Execution

# Bytes of the records of one call.
MAX_BODY = 4 * 1024**2
# Records of one call, whatever they take.
MAX_RECORDS = 200_000
# The same for realtime services, as lines and as rows: measured, more gains nothing there.
MAX_LINES, MAX_ROWS = 4_096, 65_536
# A call for less work (seconds) than this is not worth what it costs; and, for rows of realtime
# services, a call of fewer pieces.
LEAST_SECONDS, LEAST_PIECES = 0.1, 4
# The next portion is at most so many times the last one: one record says little of the others.
GROWTH = 16


class Sizes:
    """Portions that take ``seconds``, by what those before took."""

    def __init__(
        self, execution: Execution, parallel: int, seconds: float, realtime: bool = False
    ) -> None:
        self._seconds = seconds
        self._parallel = parallel
        self._cost = 0.0  # seconds of a record
        self._least, self._most = 1, MAX_RECORDS
        arrow = execution.format == ARROW
        if realtime:
            self._most = MAX_ROWS if arrow else MAX_LINES
        if arrow:
            self._least = execution.piece * (LEAST_PIECES if realtime else 1)
        # The realtime process feels its way itself, so that its first portion may be large.
        self._first = MAX_LINES if realtime and not arrow else self._least
        self._seen = self._first  # records of the largest portion that was measured
        total = max(1, execution.total)
        self._fit = max(1, int(MAX_BODY * total / max(1, execution.input_bytes)))

    def measured(self, records: int, seconds: float) -> None:
        """So many records took so long."""
        cost = max(seconds, 1e-7) / max(1, records)
        self._cost = cost if not self._cost else (self._cost + cost) / 2
        self._seen = max(self._seen, records)

    def next(self, left: int) -> int:
        """Records of the next portion, of so many that are left."""
        fair = left // (2 * self._parallel)
        if not self._cost:
            return max(1, self._least, min(self._first, fair, self._fit))
        most = int(self._seconds / self._cost)
        # At the end all workers should end at about the same time.
        fair = max(fair, int(LEAST_SECONDS / self._cost), self._least)
        return max(1, min(most, fair, self._fit, self._most, self._seen * GROWTH))
