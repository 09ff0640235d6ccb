"""How many records are given to a worker at a time."""

from __future__ import annotations

from ...store.batches.models import Execution

# Bytes of the records of one call.
MAX_BODY = 4 * 1024**2
# Records of one call, whatever they take.
MAX_RECORDS = 200_000
# A call for less work (seconds) than this costs more than it does.
LEAST_SECONDS = 0.02
# The next portion is at most so many times the last one: one record says little of the others.
GROWTH = 16


class Sizes:
    """Portions that take ``seconds``, by what those before took."""

    def __init__(self, execution: Execution, parallel: int, seconds: float) -> None:
        self._seconds = seconds
        self._parallel = parallel
        self._unit = execution.piece if execution.format == "arrow" else 1
        self._cost = 0.0  # seconds of a record
        self._seen = 0  # records of the largest portion that was measured
        total = max(1, execution.total)
        self._fit = max(1, int(MAX_BODY * total / max(1, execution.input_bytes)))

    def measured(self, records: int, seconds: float) -> None:
        """So many records took so long."""
        cost = max(seconds, 1e-7) / max(1, records)
        self._cost = cost if not self._cost else (self._cost + cost) / 2
        self._seen = max(self._seen, records)

    def next(self, left: int) -> int:
        """Records of the next portion, of so many that are left."""
        if not self._cost:
            return self._unit
        most = int(self._seconds / self._cost)
        # At the end all workers should end at about the same time.
        fair = max(left // (2 * self._parallel), int(LEAST_SECONDS / self._cost))
        return max(1, min(most, fair, self._fit, MAX_RECORDS, self._seen * GROWTH))
