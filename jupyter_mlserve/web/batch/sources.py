"""The records of an execution, as they are sent to what answers them."""

from __future__ import annotations

import os
import weakref
from bisect import bisect_right
from collections.abc import Awaitable, Callable

from ...store.batches import BatchFiles, DamagedUnit, Execution
from ...store.batches.index import INDEX, Index
from ...store.batches.models import ARROW, ROWS
from .sizes import MAX_BODY
from .todo import Span, Text

Threaded = Callable[..., Awaitable[tuple[bytes, int]]]


class Source:
    """Reads what spans name. Rows that are wanted as lines are ``convert``-ed first."""

    def __init__(
        self,
        files: BatchFiles,
        execution: Execution,
        convert: Callable[[bytes], Awaitable[bytes]],
        threaded: Threaded,
    ) -> None:
        self._files = files
        self._id = execution.id
        self._format = execution.format
        self._piece = execution.piece if execution.format == ARROW else 1
        self._total = execution.total
        self._convert = convert
        self._threaded = threaded
        self._texts: weakref.WeakSet[Text] = weakref.WeakSet()

    @property
    def texts(self) -> int:
        """How many converted portions are held in memory."""
        return len(self._texts)

    async def read(self, span: Span) -> tuple[bytes, Span]:
        """The records of ``span``, or the first of them if all are too many bytes, and which
        these are. Raises DamagedUnit (``units`` are the positions of records), BundleCorrupt,
        NotFound, and what converting raises.
        """
        if span.text is None:
            first, stop = span.first // self._piece, -(-span.stop // self._piece)
            if self._format == ROWS or span.arrow:
                data, stop = await self._threaded(self._units, first, stop)
                return data, span.part(span.first, min(stop * self._piece, span.stop))
            stream, stop = await self._threaded(self._units, first, stop)
            span = span.part(span.first, min(stop * self._piece, span.stop))
            text = Text(first * self._piece, await self._convert(stream))
            if len(text) != min(stop * self._piece, self._total) - text.first:
                raise ValueError(f"{len(text)} lines were made of the units {first} to {stop}")
            self._texts.add(text)
            span.text = text
        data, end = span.text.lines(span.first, span.stop, MAX_BODY)
        return data, span.part(span.first, end)

    def _units(self, first: int, stop: int) -> tuple[bytes, int]:
        """Units from ``first`` on: to ``stop``, or what fits into a body; and where they end."""
        stop = self._fitting(first, stop)
        try:
            return self._files.read_units(self._id, self._format, first, stop), stop
        except DamagedUnit as exc:
            raise DamagedUnit(
                exc.message,
                units=[
                    record
                    for unit in exc.units
                    for record in range(
                        unit * self._piece, min((unit + 1) * self._piece, self._total)
                    )
                ],
            ) from exc

    def _fitting(self, first: int, stop: int) -> int:
        """Where to end, so that the units are at most ``MAX_BODY`` bytes, but one at least."""
        if stop <= first + 1:
            return stop
        try:
            handle = os.open(self._files.folder(self._id) / INDEX, os.O_RDONLY | os.O_CLOEXEC)
            try:
                offsets = Index(handle).offsets(first, stop)
            finally:
                os.close(handle)
        except (OSError, ValueError):
            return stop  # Reading them says what is wrong.
        return first + max(1, bisect_right(offsets, offsets[0] + MAX_BODY) - 1)
