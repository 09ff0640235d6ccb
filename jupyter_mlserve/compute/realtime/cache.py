"""Loaded models: within a budget of memory, the least recently used make room."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...contract.errors import MLServeError, OutOfSpace
from ...contract.realtime import unpack
from ..replies import size_text
from . import sessions
from .blobs import read_blob
from .config import RealtimeConfig
from .flight import record_of

if TYPE_CHECKING:
    from .lines import Lines, Terms
    from .queues import Call

Json = dict[str, Any]

SMALL_BODY = 16 * 1024  # bytes; larger calls never run in the event loop
_QUICK = 0.001  # seconds that a call may hold the event loop
_RETRY = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before a load that failed is tried again
_OVERHEAD = 256 * 1024  # bytes of a session without a model
_GROWTH = 5  # a loaded model over its bytes; measured 5 for forests


class Scoring(Protocol):
    """A model ready to be called: :class:`.scoring.Scorer`."""

    def score(
        self, body: Any, media: str = "", run_options: Any = None, by_row: bool = False
    ) -> bytes: ...

    def score_lines(self, body: Any, run_options: Any, terms: Terms) -> Lines: ...


class Version:
    """A state that was defined; ``scorer`` is there while its model is loaded."""

    def __init__(self, state_id: str, spec: Json) -> None:
        self.state_id = state_id
        self.spec = spec
        self.label = f"{spec['name']} {spec['version']}"
        self.record = record_of(state_id)
        self.block_record = record_of(state_id, block=True)
        self.scorer: Scoring | None = None
        self.size = 0  # bytes
        self.loading = False
        self.retired = False
        # Among those that wait for a thread.
        self.listed = False
        self.blocks_listed = False
        self.last_used = 0.0
        self.calls = 0
        self.running = 0  # calls in threads, but no blocks
        self.blocks_running = 0
        self.loads = 0
        self.queue: deque[Call] = deque()
        self.blocks: deque[Call] = deque()
        self.failures = 0
        self.failure: MLServeError | None = None
        self.retry_at = 0.0
        # Seconds of a call by media and by power of two of its body's size; 0: not known.
        self._times: dict[str, list[float]] = {}

    @property
    def wanted(self) -> int:
        """2: calls wait for it; 1: only blocks; 0: nothing does."""
        return 2 if self.queue else int(bool(self.blocks))

    @property
    def busy(self) -> int:
        """What of it runs in threads."""
        return self.running + self.blocks_running

    def quick(self, media: str, size: int) -> bool:
        """Whether a call with a body of ``size`` bytes may run in the event loop."""
        times = self._times.get(media)
        return times is not None and 0.0 < times[size.bit_length()] < _QUICK

    def took(self, media: str, size: int, seconds: float) -> None:
        """Learn from a call; one that was held up by others must not count for much."""
        times = self._times.get(media)
        if times is None:
            times = self._times[media] = [0.0] * (SMALL_BODY.bit_length() + 1)
        place = size.bit_length()
        known = times[place]
        times[place] = known + 0.1 * (min(seconds, 0.02) - known) if known else seconds

    def slow(self, media: str, size: int) -> None:
        """It has held the event loop for too long."""
        if media in self._times:
            self._times[media][size.bit_length()] = 1.0

    def failed(self, exc: MLServeError) -> None:
        """Its model could not be loaded: a flood of calls must not try that in a row."""
        self.failures += 1
        self.retry_at = time.monotonic() + _RETRY[min(self.failures, len(_RETRY)) - 1]
        self.failure = exc

    def describe(self) -> Json:
        return {
            "state": self.state_id,
            "name": self.spec["name"],
            "version": self.spec["version"],
            "loaded": self.scorer is not None,
            "bytes": self.size,
            "calls": self.calls,
            "busy": self.busy,
            "queue": len(self.queue),
            "blocks": self.blocks_running + len(self.blocks),
            "loads": self.loads,
        }


class Cache:
    """Counts what loaded versions take; used in the event loop only."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.loaded: dict[str, Version] = {}
        self.bytes = 0
        self.evictions = 0
        # What was unloaded: for a thread to drop, because freeing a large model takes time.
        self.dropped: list[Scoring] = []

    def add(self, version: Version, scorer: Scoring, size: int) -> None:
        """A model is loaded. Raises OutOfSpace when it alone is over the budget."""
        if size > self.budget:
            self.dropped.append(scorer)
            raise OutOfSpace(
                f"{version.label}: its model takes {size_text(size)}, more than all loaded models "
                f"may take, {size_text(self.budget)} (model_memory). Publish a smaller one, or ask "
                "the administrator to raise the limit."
            )
        self.make_room(size)
        version.scorer, version.size = scorer, size
        version.last_used = time.monotonic()
        version.failures, version.failure = 0, None
        version.loads += 1
        self.loaded[version.state_id] = version
        self.bytes += size

    def make_room(self, size: int) -> None:
        """Unload what was not called for longest, until ``size`` bytes fit, or nothing is left.

        What calls wait for goes last: it would only be loaded again.
        """
        while self.loaded and self.bytes + size > self.budget:
            oldest = min(self.loaded.values(), key=lambda v: (v.wanted, v.last_used))
            self.drop(oldest)
            self.evictions += 1

    def drop(self, version: Version) -> None:
        """Unload; calls that run have the model in their hands until they end."""
        if self.loaded.pop(version.state_id, None) is None:
            return
        assert version.scorer is not None
        self.dropped.append(version.scorer)
        self.bytes -= version.size
        version.scorer, version.size = None, 0


def expected_size(path: str) -> int:
    """Bytes that a container will take when loaded, roughly: to make room before it is."""
    try:
        return Path(path).stat().st_size * _GROWTH + _OVERHEAD
    except OSError:
        return 0


def load(spec: Json, config: RealtimeConfig, options: Any, alone: bool) -> tuple[Scoring, int]:
    """The scorer of a version, and the bytes it takes.

    What is loaded has passed its trial when it was published. So its digest is compared and its
    header checked again, and the model itself is not looked into. ``options`` are the session's;
    ``alone`` says that nothing else is loaded meanwhile, so that memory can be measured. Raises
    BundleCorrupt.
    """
    from .scoring import Scorer

    before = sessions.allocated() if alone else None
    data = read_blob(spec)
    size = len(data)
    container = unpack(data)
    del data
    header = size - len(container.model)
    session = sessions.open_session(container.model, options)
    scorer = Scorer(
        container.header, session, max_rows=config.max_rows, result_limit=config.result_limit
    )
    del container
    after = sessions.allocated()
    # Small Python objects are not among what is measured: the header's texts, say.
    least, most = size + 4 * header, 4 * _GROWTH * size + 4 * _OVERHEAD
    if before is None or after is None:
        return scorer, _GROWTH * size + _OVERHEAD
    # Calls that begin or end meanwhile are measured too, so it is believed within bounds.
    return scorer, min(max(after - before + 4 * header, least), most)
