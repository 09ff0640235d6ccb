"""Blocks of records: JSON lines in, one result a line out, each as its own call would give it.

Records are scored together, as many as one run of the session takes. Whatever goes wrong in such
a run, or is not plain in a record, is settled by scoring that record alone: so the error on a line
is that of a call by construction.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...contract.errors import InvalidInput, MLServeError, result_error_body
from .decode_json import JsonDecoder
from .decode_lines import Frame, LineDecoder
from .decode_tensors import feed_piece
from .encode import check_tensors, line_encoder
from .failures import call_failed
from .schema import Schema

if TYPE_CHECKING:
    from .scoring import Scorer

# Lines that are decoded, or results that are written, in one go, and bytes that are split into
# lines: the event loop has to wait for the interpreter that long.
_GROUP = 256
_PART = 256 * 1024
# Seconds that a piece should take: between two a block can end.
_PIECE = 0.05
# A block of unknown speed begins with one record; each piece has so many times more at most.
_GROWTH = 16
_MOST = 16_384
_LEAST_ROWS = 64  # that are worth another try with less memory


@dataclass(frozen=True)
class Lines:
    """The answer to a block: ``done`` lines, of which ``failed`` are errors.

    ``unexpected`` is an exception that should not have been, for the log.
    """

    body: bytes
    done: int
    failed: int
    unexpected: BaseException | None


@dataclass(frozen=True)
class Terms:
    """How a block is scored: it ends after the piece in which ``budget`` (seconds) ran out, or
    before which ``hurry()`` says that others wait. ``label`` is name and version. With ``owner``
    the errors carry what only owners may see."""

    budget: float
    label: str
    owner: bool = False
    hurry: Callable[[], bool] = bool


class LineScorer:
    """Scores blocks for the scorer of ``schema``. Safe for threads."""

    def __init__(self, schema: Schema, decoder: JsonDecoder, result_limit: int) -> None:
        self.schema = schema
        self.decoder = LineDecoder(schema, decoder)
        self.encode = line_encoder(schema)
        self.result_limit = result_limit
        # Seconds of a record in the last block; 0: not known.
        self._pace = 0.0

    def score(
        self, scorer: Scorer, body: bytes | bytearray, run_options: Any, terms: Terms
    ) -> Lines:
        """Results of the first records of ``body``, of at least one; each line is a record.

        It ends early as ``terms`` say, and when the results are as large as a reply may be.
        Raises CallTimeout if ``run_options`` were told to terminate before anything was done.
        """
        lines = _Source(body)
        block = _Block(self, scorer, run_options, terms)
        results: list[bytes] = []
        size = failed = count = 0
        pace = self._pace
        start = now = time.monotonic()
        while lines.more():
            left = terms.budget - (now - start)
            if results and (left <= 0 or terms.hurry()):
                break
            grown = min(_MOST, count * _GROWTH) or (1 if not pace else _MOST)
            fitting = int(min(_PIECE, max(left, 0.0)) / pace) if pace else grown
            count = max(1, min(grown, fitting))
            try:
                piece = block.score(lines.take(count))
            except MLServeError:
                if not results:
                    raise
                break
            count = len(piece)
            before, now = now, time.monotonic()
            pace = (now - before) / count
            whole = size + sum(map(len, piece)) + count
            if whole > self.result_limit:
                room = self.result_limit - size
                piece = _that_fit(piece, room) or piece[: not results]
            size = whole
            results += piece
            failed += sum(number < len(piece) for number in block.failed)
            if len(piece) < count:
                break
        self._pace = pace
        done = len(results)
        results.append(b"")
        return Lines(b"\n".join(results), done, failed, block.unexpected)


class _Source:
    """The lines of a body."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._body = body
        self._place = 0
        self._ready: list[bytes] = []

    def more(self) -> bool:
        """Whether there are any that were not taken."""
        return bool(self._ready) or self._place < len(self._body)

    def take(self, count: int) -> list[bytes]:
        """The next lines, as many as there are."""
        body, ready = self._body, self._ready
        while len(ready) < count and self._place < len(body):
            stop = body.find(b"\n", min(self._place + _PART, len(body) - 1)) + 1 or len(body)
            part = bytes(memoryview(body)[self._place : stop])
            ready += part.removesuffix(b"\n").split(b"\n")
            self._place = stop
        self._ready = ready[count:]
        return ready[:count]


def _that_fit(piece: list[bytes], room: int) -> list[bytes]:
    for number, answer in enumerate(piece):
        room -= len(answer) + 1
        if room < 0:
            return piece[:number]
    return piece


class _Block:
    """One block on its way; ``failed`` are the failed records of the last piece, by number."""

    def __init__(self, ours: LineScorer, scorer: Scorer, run_options: Any, terms: Terms) -> None:
        self.failed: list[int] = []
        self.unexpected: BaseException | None = None
        self._ours, self._scorer = ours, scorer
        self._options = run_options
        self._terms = terms
        self._most = ours.schema.rows_at_once
        # Whether the answer of a record was compared, and does not depend on the others.
        self._by_row: bool | None = None
        self._alive = scorer.watch(run_options)
        self._lines: list[bytes] = []
        self._answers: list[bytes] = []

    def score(self, lines: list[bytes]) -> list[bytes]:
        """The results of one piece. Raises CallTimeout if the block is to end."""
        self._lines = lines
        self._answers = [b""] * len(lines)
        self.failed = []
        group, frame = min(_GROUP, self._most), Frame()
        for first in range(0, len(lines), group):
            self._alive()
            part = lines[first : first + group]
            for number in self._ours.decoder.add(frame, part, first, self._most, self._alive):
                self._score_alone(number)
            if frame.rows + group > self._most:
                self._score_frame(frame)
                frame = Frame()
        self._score_frame(frame)
        return self._answers

    def _score_frame(self, frame: Frame) -> None:
        """Fill in the answers of a frame; in parts, if it is too large or anything goes wrong."""
        count = len(frame.records)
        ours = self._ours
        if not count or self._by_row is False:
            for number in frame.records:
                self._score_alone(number)
            return
        if frame.rows > self._most and count > 1:
            self._score_halves(frame)
            return
        try:
            feeds = feed_piece(ours.schema, frame.columns(), 0, frame.rows, self._alive)
            found = self._scorer.run(feeds, self._options)
            check_tensors(ours.schema, found, frame.rows)
            if self._by_row is None and count > 1:
                self._by_row = self._scorer.goes_by_row(feeds, found, self._options)
                if not self._by_row:
                    self._score_frame(frame)
                    return
            answers = self._encoded(found, frame.counts)
        except Exception as exc:
            self._alive()
            if isinstance(exc, MemoryError) and frame.rows > _LEAST_ROWS:
                # Some models make a table of these rows by those they were trained on.
                self._most = max(_LEAST_ROWS, frame.rows // 8)
            # A text or an image that a step can make nothing of: too costly to be tried often.
            if count == 1 or isinstance(exc, InvalidInput):
                for number in frame.records:
                    self._score_alone(number)
            else:
                self._score_halves(frame)
            return
        place, limit = self._answers, ours.result_limit
        for number, answer in zip(frame.records, answers, strict=True):
            if len(answer) > limit:
                self._score_alone(number)
            else:
                place[number] = answer
        self._alive()

    def _encoded(self, tensors: list[Any], counts: list[int]) -> list[bytes]:
        answers: list[bytes] = []
        row = 0
        for first in range(0, len(counts), _GROUP):
            part = counts[first : first + _GROUP]
            rows = sum(part)
            answers += self._ours.encode([t[row : row + rows] for t in tensors], part)
            row += rows
        return answers

    def _score_halves(self, frame: Frame) -> None:
        middle = (len(frame.records) + 1) // 2
        self._score_frame(frame.part(0, middle))
        self._score_frame(frame.part(middle, len(frame.records)))

    def _score_alone(self, number: int) -> None:
        """Exactly what a call gives."""
        try:
            answer = self._scorer.score(self._lines[number], "", self._options)
        except Exception as exc:
            self._alive()
            if not isinstance(exc, MLServeError | MemoryError) and self.unexpected is None:
                self.unexpected = exc.with_traceback(None)
            error = call_failed(self._terms.label, exc)
            answer = json.dumps(result_error_body(error, owner=self._terms.owner)).encode()
            self.failed.append(number)
        self._answers[number] = answer
