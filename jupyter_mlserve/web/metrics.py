"""What we add to Jupyter's own ``/metrics``. Declared once, at import; twice is an error."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from ..contract.batch import FINAL

if TYPE_CHECKING:
    from ..store.batches.models import Execution

CALLS = Counter(
    "jupyter_mlserve_calls",
    "Calls of published services, by HTTP status",
    ["service", "version", "status"],
)
SECONDS = Histogram(
    "jupyter_mlserve_call_seconds",
    "Seconds from the end of a call's body to the end of its answer",
    ["service", "version"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0),
)
RECORDS = Counter(
    "jupyter_mlserve_batch_records",
    "Records of batch executions whose results were stored, by outcome (answered, failed)",
    ["service", "version", "outcome"],
)
EXECUTIONS = Counter(
    "jupyter_mlserve_batch_executions",
    "Batch executions that ended, by their last state",
    ["service", "version", "state"],
)
RUNNING = Gauge("jupyter_mlserve_batch_running", "Batch executions that are being worked on")
QUEUED = Gauge("jupyter_mlserve_batch_queued", "Batch executions that wait for their turn")

OUTCOMES = ANSWERED, ERROR = "answered", "failed"


class CallMetrics:
    """The counters of one version. Looking labels up costs more than counting, so they are kept."""

    __slots__ = ("_name", "_seconds", "_status", "_version")

    def __init__(self, name: str, version: str) -> None:
        self._name, self._version = name, version
        self._seconds = SECONDS.labels(name, version)
        self._status: dict[int, Counter] = {}

    def record(self, status: int, seconds: float) -> None:
        counter = self._status.get(status)
        if counter is None:
            counter = self._status[status] = CALLS.labels(self._name, self._version, str(status))
        counter.inc()
        self._seconds.observe(seconds)

    def forget(self) -> None:
        """The version is gone: its series end, so that their number stays that of the versions."""
        with suppress(KeyError):
            SECONDS.remove(self._name, self._version)
        for status in self._status:
            with suppress(KeyError):
                CALLS.remove(self._name, self._version, str(status))
        forget_batches(self._name, self._version)


def count_batch(before: Execution, after: Execution) -> None:
    """What was added to an execution by its runner here."""
    name, version = after.name, after.version
    failed = after.failed - before.failed
    answered = after.completed - before.completed - failed
    if answered > 0:
        RECORDS.labels(name, version, ANSWERED).inc(answered)
    if failed > 0:
        RECORDS.labels(name, version, ERROR).inc(failed)
    if after.final and not before.final:
        EXECUTIONS.labels(name, version, after.state).inc()


def forget_batches(name: str, version: str) -> None:
    """The version is gone. (What still ends of it may begin them anew: say so again then.)"""
    for counter, values in ((RECORDS, OUTCOMES), (EXECUTIONS, FINAL)):
        for value in values:
            with suppress(KeyError):
                counter.remove(name, version, value)
