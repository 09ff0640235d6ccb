"""Which records of an execution are still to be worked on, and in what portions."""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ...store.batches.models import Chunk

# What a worker died of, or did not finish in time, is looked for in parts: of more records than
# this, first in so many parts; of fewer, one by one.
PARTS = 64


class Text:
    """Records as JSON lines in memory: those from ``first`` on."""

    __slots__ = ("__weakref__", "_data", "_ends", "first")

    def __init__(self, first: int, data: bytes) -> None:
        self.first = first
        self._data = data
        self._ends = array("Q", [0])
        find = data.find
        position = 0
        while (position := find(b"\n", position) + 1) > 0:
            self._ends.append(position)
        if self._ends[-1] < len(data):
            self._ends.append(len(data))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def lines(self, first: int, stop: int, most: int) -> tuple[bytes, int]:
        """The records from ``first`` on, to ``stop`` or as many as fit into ``most`` bytes (one
        at least), and where they end."""
        ends, base = self._ends, self.first
        begin = ends[first - base]
        while stop > first + 1 and ends[stop - base] - begin > most:
            stop = first + (stop - first) // 2
        return self._data[begin : ends[stop - base]], stop


@dataclass(order=True)
class Span:
    """The records [first, stop). ``arrow``: as one Arrow stream. ``most``: of them, in one call;
    0: any number. ``text``: where they are, if they are in memory. ``lost``: how often the
    process that had them was lost."""

    first: int
    stop: int
    arrow: bool = field(default=False, compare=False)
    most: int = field(default=0, compare=False)
    text: Text | None = field(default=None, compare=False)
    lost: int = field(default=0, compare=False)

    def __len__(self) -> int:
        return self.stop - self.first

    def part(self, first: int, stop: int) -> Span:
        """A part of it."""
        return replace(self, first=first, stop=stop)

    def suspects(self) -> Span:
        """The same records, to be tried in smaller portions."""
        count = len(self)
        return replace(self, most=-(-count // PARTS) if count > PARTS else 1, lost=0)


class Todo:
    """What is left. The first records come first: they are what is asked for first."""

    def __init__(self, total: int, done: Iterable[Chunk], piece: int = 0) -> None:
        """``done``: what is answered, by first record. ``piece``: records of a unit, if they are
        stored as Arrow streams; what does not begin and end with units is done as lines."""
        self.piece = piece
        self.left = 0
        self._total = total
        self._fresh: deque[Span] = deque()
        self._again: list[Span] = []
        position = 0
        for chunk in done:
            self._gap(position, chunk.first)
            position = chunk.stop
        self._gap(position, total)

    def __bool__(self) -> bool:
        return bool(self._fresh or self._again)

    def _gap(self, first: int, stop: int) -> None:
        piece = self.piece
        if first >= stop:
            return
        self.left += stop - first
        if not piece:
            self._fresh.append(Span(first, stop))
            return
        begin = min(-(-first // piece) * piece, stop)
        end = stop if stop == self._total else max(stop // piece * piece, begin)
        for span in (Span(first, begin), Span(begin, end, arrow=True), Span(end, stop)):
            if len(span):
                self._fresh.append(span)

    def back(self, span: Span) -> None:
        """These were not answered after all."""
        if len(span):
            heapq.heappush(self._again, span)
            self.left += len(span)

    @property
    def repeated(self) -> bool:
        """Whether there is something that was given back."""
        return bool(self._again)

    def take(self, count: int) -> Span | None:
        """The next records: ``count`` of them if they are not bound to come otherwise."""
        if self._again:
            span = heapq.heappop(self._again)
        elif self._fresh:
            span = self._fresh.popleft()
        else:
            return None
        if span.most:
            count = min(count, span.most)
        if span.arrow:
            count = max(count // self.piece, 1) * self.piece
        elif self.piece and span.text is None:
            # Lines have to be made of them, piece by piece.
            count = max(count, self.piece - span.first % self.piece)
        stop = min(span.stop, span.first + max(count, 1))
        if stop < span.stop:
            rest = span.part(stop, span.stop)
            if span.most or span.text is not None or span.lost or self._again:
                heapq.heappush(self._again, rest)
            else:
                self._fresh.appendleft(rest)
            span = span.part(span.first, stop)
        self.left -= len(span)
        return span
