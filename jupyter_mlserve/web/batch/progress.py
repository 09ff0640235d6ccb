"""How far an execution is, how fast it goes, and who watches it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace

from ...contract.batch import FINAL
from ...store.batches.models import Execution

# The rate is that of the last so many seconds.
WINDOW = 20.0


@dataclass(frozen=True)
class Progress:
    """Where an execution stands.

    total, completed, failed: numbers of records. rate: records a second over the last 20 seconds
    or so, seconds_left: what that means for the rest; None where nothing can be said. message:
    why it failed, or why it waits; "".
    """

    state: str
    total: int
    completed: int
    failed: int
    rate: float | None = None
    seconds_left: float | None = None
    message: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in FINAL

    def saying(self, message: str) -> Progress:
        """The same with another message."""
        return replace(self, message=message)


class Rate:
    """Records a second, from the counts of the last seconds."""

    def __init__(self, completed: int) -> None:
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), completed)])

    def count(self, completed: int) -> None:
        """So many are completed now."""
        now = time.monotonic()
        seen = self._seen
        # A point a second is enough; the last one always holds the present.
        if len(seen) > 1 and now - seen[-2][0] < 1.0:
            seen.pop()
        seen.append((now, completed))
        while len(seen) > 2 and now - seen[1][0] > WINDOW:
            seen.popleft()

    def rate(self) -> float | None:
        """None before anything was completed."""
        (began, first), (_, last) = self._seen[0], self._seen[-1]
        seconds = time.monotonic() - began
        if last == first or seconds < 1e-3:
            return 0.0 if seconds > WINDOW else None
        return (last - first) / seconds


def progress_of(execution: Execution, rate: float | None = None) -> Progress:
    """What a row says, with what its runner knows of its speed."""
    if execution.final:
        rate = None
    left = (execution.total - execution.completed) / rate if rate else None
    return Progress(
        execution.state,
        execution.total,
        execution.completed,
        execution.failed,
        rate,
        left,
        execution.message,
    )
