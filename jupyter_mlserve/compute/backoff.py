"""What a pool knows of the loads of its version that failed."""

from __future__ import annotations

import time

from ..contract.errors import MLServeError
from .replies import cannot_load

_WAITS = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds after the nth failed load in a row


class Backoff:
    """After a failed load no other is begun for a while, which grows.

    Meanwhile calls are told why, unless the version has workers that loaded it before.
    """

    def __init__(self) -> None:
        self._error: MLServeError | None = None
        self._failures = 0
        self._until = 0.0

    @property
    def waits(self) -> bool:
        """No worker is to be started now."""
        return time.monotonic() < self._until

    def failed(self) -> float:
        """Another load failed; seconds to wait before the next."""
        wait = _WAITS[min(self._failures, len(_WAITS) - 1)]
        self._failures += 1
        self._until = time.monotonic() + wait
        return wait

    def refuse(self, exc: MLServeError) -> None:
        """Nobody can serve the calls that come."""
        self._error = exc

    def loaded(self) -> None:
        self._error, self._failures, self._until = None, 0, 0.0

    def refusal(self, label: str, now: float) -> MLServeError | None:
        """What a call that comes now is told."""
        if self._error is None or now >= self._until:
            return None
        return cannot_load(label, self._error, round(self._until - now, 1))
