"""The scorer: bytes of a call in, bytes of the reply out. It knows no transport.

JSON is what every client speaks; Arrow IPC streams are for bulk, either way. A call of one row
takes the shortest way there is; larger ones go through in pieces, which bounds their memory, lets
other threads have the interpreter in between, and lets a deadline end them. Blocks of many records
are scored in :mod:`.lines`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...contract.errors import CallTimeout, InternalError, InvalidDefinition, ServiceFailed
from .decode_json import JsonDecoder
from .decode_json_errors import Body
from .decode_tensors import Feeds, feed_piece, row_feeder, slice_columns
from .encode import JsonAnswer, check_tensors, row_encoder
from .lines import Lines, LineScorer, Terms
from .schema import Schema
from .sessions import is_memory_error

# What a media code says: the request's body, then the reply's.
ARROW_IN, ARROW_OUT = ("aj", "aa"), ("ja", "aa")
MEDIA = ("", "aj", "ja", "aa")
MAX_ROWS = 1_000_000
RESULT_LIMIT = 64 * 1024 * 1024

_ONNX_TYPES = {"double": "tensor(double)", "float": "tensor(float)"}
_ONNX_TYPES |= {"int64": "tensor(int64)", "string": "tensor(string)"}
_LEAST_ROWS = 64  # that are worth another try with less memory


class Answer(Protocol):
    """Where the tensors of one piece after the other go."""

    def add(self, tensors: Sequence[npt.NDArray[Any]]) -> None: ...

    def result(self) -> bytes: ...


class Scorer:
    """Scores the calls of one realtime version. Safe for threads.

    ``header`` has passed ``check_header``, and ``session`` is an ONNX Runtime session of its
    model. ``max_rows`` bounds one call, ``result_limit`` (bytes) one reply. Raises
    InvalidDefinition if header and session do not belong together.
    """

    def __init__(
        self,
        header: Mapping[str, Any],
        session: Any,
        *,
        max_rows: int = MAX_ROWS,
        result_limit: int = RESULT_LIMIT,
    ) -> None:
        self.schema = Schema(header)
        _check_session(self.schema, session)
        self._session = session
        self._max_rows, self._result_limit = max_rows, result_limit
        decoder = JsonDecoder(self.schema, max_rows)
        self._one_row, self._pieces = decoder.one_row, decoder.pieces
        self._feed = row_feeder(self.schema)
        self._steps = any(item.change is not None for item in self.schema.inputs)
        self._encode = row_encoder(self.schema)
        self._lines = LineScorer(self.schema, decoder, result_limit)

    def score(
        self, body: Body, media: str = "", run_options: Any = None, by_row: bool = False
    ) -> bytes:
        """The reply to ``body``: a whole WebServiceResult as JSON, or an Arrow stream.

        ``media`` is one of :data:`MEDIA`: JSON both ways, Arrow in, Arrow out, both.
        ``run_options`` are ONNX Runtime's; setting their ``terminate`` ends the call soon.
        With ``by_row`` a model whose answer for a row depends on the others is refused.

        Raises InvalidInput (details ``field``, ``expected``, ``got``, and ``column`` and ``row``
        where there are such), TooLarge for too many rows, CallTimeout if it was ended,
        UnsupportedMedia for Arrow without pyarrow, BundleCorrupt or InternalError if the model
        is at fault, ServiceFailed for a reply over the limit, MemoryError if memory runs out.
        """
        if not media:
            row = self._one_row(body)
            if row is not None:
                alive = self.watch(run_options) if self._steps else _nothing
                found = self.run(self._feed(row, alive), run_options)
                reply = self._encode(found)
                if len(reply) <= self._result_limit:
                    return reply
        return self._in_pieces(body, media, run_options, by_row)

    def score_lines(self, body: bytes | bytearray, run_options: Any, terms: Terms) -> Lines:
        """The results of a block of records, as :meth:`LineScorer.score`."""
        return self._lines.score(self, body, run_options, terms)

    def _in_pieces(self, body: Body, media: str, run_options: Any, by_row: bool) -> bytes:
        alive = self.watch(run_options)
        pieces: Iterator[tuple[int, int, Any]]
        answer: Answer
        if media in ARROW_IN:
            from .arrow import arrow_pieces

            pieces = arrow_pieces(self.schema, body, self._max_rows, alive)
        else:
            pieces = self._pieces(body, alive)
        if media in ARROW_OUT:
            from .arrow_answer import ArrowAnswer

            answer = ArrowAnswer(self.schema, self._result_limit)
        else:
            answer = JsonAnswer(self.schema, self._result_limit)
        schema, step = self.schema, self.schema.rows_at_once
        for first, rows, columns in pieces:
            start = 0
            while start < rows:
                count = min(step, rows - start)
                part = slice_columns(columns, start, start + count) if rows > count else columns
                feeds = feed_piece(schema, part, first + start, count, alive)
                try:
                    found = self.run(feeds, run_options)
                except MemoryError:
                    if count <= _LEAST_ROWS:
                        raise
                    # Some models make a table of these rows by those they were trained on.
                    step = max(_LEAST_ROWS, count // 8)
                    continue
                check_tensors(schema, found, count)
                if by_row and count > 1:
                    by_row = False
                    if not self.goes_by_row(feeds, found, run_options):
                        raise _together()
                answer.add(found)
                start += count
                alive()
        return answer.result()

    def goes_by_row(
        self, feeds: Feeds, found: Sequence[npt.NDArray[Any]], run_options: Any
    ) -> bool:
        """Whether the first and the last row alone have the answer ``found`` with the others.

        Compiled models do; one that was made by hand may look at all rows it is given.
        """
        for row in (0, len(found[0]) - 1):
            one = {name: values[row : row + 1] for name, values in feeds.items()}
            try:
                alone = self.run(one, run_options)
            except InternalError:
                return False
            if not all(_close(a[row], b) for a, b in zip(found, alone, strict=True)):
                return False
        return True

    @staticmethod
    def watch(run_options: Any) -> Callable[[], None]:
        """A function that raises CallTimeout once the call is to end."""

        def alive() -> None:
            if run_options is not None and run_options.terminate:
                raise _ended()

        return alive

    def run(self, feeds: Feeds, run_options: Any) -> list[npt.NDArray[Any]]:
        """The tensors of the model for ``feeds``. Raises as :meth:`score`."""
        try:
            found: list[npt.NDArray[Any]] = self._session.run(
                self.schema.tensors, feeds, run_options
            )
        except MemoryError:
            raise
        except Exception as exc:  # the runtime's own have no common class
            raise _failed(exc, run_options) from None
        return found


def _close(row: npt.NDArray[Any], alone: npt.NDArray[Any]) -> bool:
    if alone.shape != (1, *row.shape) or alone.dtype != row.dtype:
        return False
    if row.dtype.kind != "f":
        return bool((row == alone[0]).all())
    sizes = np.abs(row[np.isfinite(row)])
    # A matrix product may add in another order for one row than for many.
    near = 1e-5 * float(sizes.max()) if len(sizes) else 0.0
    return np.allclose(row, alone[0], rtol=1e-4, atol=near, equal_nan=True)


def _together() -> ServiceFailed:
    return ServiceFailed(
        "The model's answer for a row depends on the rows beside it: it cannot be given many "
        "records at a time."
    )


def _nothing() -> None:
    """A row without steps is over before anybody could end it."""


def _ended() -> CallTimeout:
    return CallTimeout(
        "The call took longer than the server allows and was ended. Send fewer rows, or ask the "
        "administrator to allow more time (call_timeout)."
    )


def _failed(exc: Exception, run_options: Any) -> Exception:
    if run_options is not None and run_options.terminate:
        return _ended()
    text = " ".join(str(exc).split())[:500]
    if is_memory_error(exc):
        return MemoryError(text)
    return InternalError(
        "The compiled model failed on these rows. Its owner can see why; a standard service "
        "(%%publish_service) serves models that have no compiled form.",
        traceback=text,
    )


def _check_session(schema: Schema, session: Any) -> None:
    wanted = [(item.name, _ONNX_TYPES[item.kind]) for item in schema.inputs]
    found = [(item.name, item.type) for item in session.get_inputs()]
    outputs = {item.name: item.type for item in session.get_outputs()}
    for name, kind in zip(schema.tensors, schema.tensor_types, strict=True):
        if outputs.get(name) != _ONNX_TYPES[kind]:
            found.append((name, str(outputs.get(name))))
    if sorted(found) != sorted(wanted):
        raise InvalidDefinition(
            "The compiled model does not fit its schema. Make both with serialize_model.",
            field="model",
        )
