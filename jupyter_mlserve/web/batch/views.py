"""What the answers about batch executions look like."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from ...store.batches.models import Execution

if TYPE_CHECKING:
    from .progress import Progress

Json = dict[str, Any]


def started_view(execution: Execution) -> Json:
    """Answer to an upload. The published contract and its client spell the id differently."""
    return {
        "BatchExecutionId": execution.id,
        "batchExecutionId": execution.id,
        "totalItemCount": execution.total,
        "parallelCount": execution.parallel,
    }


def status_view(execution: Execution, retention: float, progress: Progress | None = None) -> Json:
    """Where it stands, without results.

    ``retention``: seconds for which it is kept after its end; 0: for ever. ``progress``: what the
    runner knows beyond the store: records a second, seconds left, and why it waits.
    """
    end = execution.finished_at
    expires = end + timedelta(seconds=retention) if end is not None and retention else None
    view = {
        "batchExecutionId": execution.id,
        "state": execution.state,
        "completedItemCount": execution.completed,
        "totalItemCount": execution.total,
        "failedItemCount": execution.failed,
        "parallelCount": execution.parallel,
        "errorMessage": execution.message,
        "createdAt": moment(execution.created_at),
        "startedAt": moment(execution.started_at),
        "finishedAt": moment(end),
        "expiresAt": moment(expires),
    }
    if progress is not None:
        view["errorMessage"] = execution.message or progress.message
        view["rate"] = _number(progress.rate)
        view["secondsLeft"] = _number(progress.seconds_left)
    return view


def event_view(execution: Execution, retention: float, progress: Progress) -> Json:
    """The same with the numbers of the runner, which are newer than those of the row."""
    return status_view(execution, retention, progress) | {
        "state": progress.state,
        "completedItemCount": progress.completed,
        "totalItemCount": progress.total,
        "failedItemCount": progress.failed,
        "errorMessage": progress.message,
    }


def moment(value: datetime | None) -> str | None:
    """A moment in UTC as RFC 3339 writes it."""
    if value is None:
        return None
    return value.astimezone(timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z"


def _number(value: float | None) -> float | None:
    return round(value, 3) if value is not None and math.isfinite(value) else None
