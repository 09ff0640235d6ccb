"""What we add to Jupyter's own ``/metrics``. Declared once, at import; twice is an error."""

from __future__ import annotations

from contextlib import suppress

from prometheus_client import Counter, Histogram

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
