"""Where a batch execution stands, as it goes: the server's events, or polling where they fail.

Whoever watches is told of every change without asking. A connection that breaks, a server that
is started anew, a proxy that lets no event through: the watch goes on by itself.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..contract.batch import FINAL, IN_PROGRESS
from ..contract.errors import ConnectionFailed, MLServeError, Unavailable
from .http import Connection

# The server sends a sign of life at least this often (seconds), else it is taken for gone.
SILENCE = 45.0
# How long a server that does not answer is waited for (seconds): time to start it anew.
LOST = 300.0
# Between two questions where there are no events, and between two attempts to reconnect (seconds).
SOONEST, LATEST = 0.25, 3.0
_WINDOW = 20.0  # seconds over which a rate is measured here


@dataclass(frozen=True)
class Progress:
    """Where a batch execution stands.

    ``total``, ``completed`` and ``failed`` count records (the failed ones are completed, too);
    ``rate`` is records a second and ``seconds_left`` what the rest will take, as far as known;
    ``message`` says why it failed, or why it waits. ``connected`` is False while the server does
    not answer: the numbers are then those last heard.
    """

    execution_id: str
    state: str
    total: int
    completed: int
    failed: int = 0
    rate: float | None = None
    seconds_left: float | None = None
    message: str = ""
    connected: bool = True

    @property
    def finished(self) -> bool:
        return self.state in FINAL

    @property
    def fraction(self) -> float:
        """Of the records, those that have their result: 0 to 1."""
        return self.completed / self.total if self.total else float(self.finished)

    @classmethod
    def of(cls, execution_id: str, status: Mapping[str, Any]) -> Progress:
        """From the server's status object or event."""
        return cls(
            execution_id,
            str(status["state"]),
            int(status["totalItemCount"]),
            int(status["completedItemCount"]),
            int(status.get("failedItemCount") or 0),
            status.get("rate"),
            status.get("secondsLeft"),
            str(status.get("errorMessage") or ""),
        )

    def __str__(self) -> str:
        """``InProgress: 12 of 32 records, 1 failed, 20 records/s, 1 s left``."""
        words = [f"{self.completed:,} of {self.total:,} records"]
        if self.failed:
            words.append(f"{self.failed:,} failed")
        going = self.connected and not self.finished
        if going and self.rate:
            words.append(f"{rate_text(self.rate)} records/s")
        if going and self.seconds_left is not None:
            words.append(f"{duration_text(self.seconds_left)} left")
        if not self.connected:
            words.append("waiting for the server to answer")
        return f"{self.state}: {', '.join(words)}"


def rate_text(rate: float) -> str:
    """
    >>> rate_text(1234.5), rate_text(21.6), rate_text(0.254)
    ('1,230', '22', '0.25')
    """
    if rate >= 1000:
        digits = 10 ** (len(str(int(rate))) - 3)
        return f"{round(rate / digits) * digits:,}"
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def duration_text(seconds: float) -> str:
    """
    >>> duration_text(0.4), duration_text(75.4), duration_text(7300)
    ('1 s', '1 min 15 s', '2 h 2 min')
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def parse(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name and data of each event of a ``text/event-stream`` (HTML standard, 9.2)."""
    name, data = "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield name or "message", "\n".join(data)
            name, data = "", []
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            name = value
        elif key == "data":
            data.append(value)


class Watch:
    """Follows one execution; iterate it. The last Progress is a final one.

    Raises NotFound when the execution is gone (it was cancelled), and ConnectionFailed when the
    server has not answered for ``lost`` seconds.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        execution_id: str,
        status: Callable[[], Mapping[str, Any]],
        *,
        lost: float,
        last: Progress | None = None,
    ) -> None:
        """``path``: of the execution below ``mlserve/``; ``status`` asks where it stands;
        ``last``: where it stood before."""
        self._connection = connection
        self._path = path
        self._id = execution_id
        self._status = status
        self._lost = lost
        self._seen: deque[tuple[float, int]] = deque()
        self._events = True
        self._last = last

    def __iter__(self) -> Iterator[Progress]:
        wait, silent_since = SOONEST, 0.0
        while True:
            streaming, heard = self._events, False
            try:
                for progress in self._stream() if streaming else self._poll():
                    heard, silent_since = True, 0.0
                    wait = SOONEST if streaming else wait
                    yield progress
                    if progress.finished:
                        return
                # A stream that ends before the execution: look again; one that was none: ask.
                self._events = streaming and heard
            except (ConnectionFailed, Unavailable) as error:
                now = time.monotonic()
                silent_since = silent_since or now
                if now - silent_since > self._lost:
                    raise ConnectionFailed(
                        f"{error.message} The server has not answered for "
                        f"{duration_text(self._lost)}; the batch {self._id} is stored there and "
                        "goes on when the server runs again."
                    ) from error
                # Events and questions by turns: a proxy may let only the questions through.
                self._events = heard or not streaming
                if self._last is not None and not heard:
                    self._last = replace(self._last, connected=False)
                    yield self._last
            except MLServeError:
                if not streaming:
                    raise
                # Too many watch, there is no such address, or the execution is gone: asking tells.
                self._events = False
                continue
            time.sleep(wait)
            wait = min(1.5 * wait, LATEST)

    def _stream(self) -> Iterator[Progress]:
        with self._connection.stream(
            self._path + "/events", headers={"Accept": "text/event-stream"}, timeout=SILENCE
        ) as response:
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                return
            for name, data in parse(response.iter_lines()):
                if name == "progress":
                    yield self._measured(json.loads(data))

    def _poll(self) -> Iterator[Progress]:
        yield self._measured(self._status())

    def _measured(self, status: Mapping[str, Any]) -> Progress:
        """With a rate of our own where the server tells none."""
        found = Progress.of(self._id, status)
        now = time.monotonic()
        self._seen.append((now, found.completed))
        while now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        since, before = self._seen[0]
        if found.rate is None and found.state == IN_PROGRESS and found.completed > before:
            rate = (found.completed - before) / max(now - since, 1e-3)
            left = (found.total - found.completed) / rate
            found = replace(found, rate=rate, seconds_left=left)
        self._last = found
        return found
