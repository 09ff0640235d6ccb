"""The scorer: bytes of a call in, bytes of the reply out. It knows no transport.

JSON is what every client speaks; Arrow IPC streams are for bulk, either way. A call of one row
takes the shortest way there is; larger ones go through in pieces, which bounds their memory, lets
other threads have the interpreter in between, and lets a deadline end them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from ...contract.errors import CallTimeout, InternalError, InvalidDefinition
from .decode_json import JsonDecoder
from .decode_json_errors import Body
from .decode_tensors import Feeds, feed_piece, row_feeder, slice_columns
from .encode import JsonAnswer, check_tensors, row_encoder
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

    def score(self, body: Body, media: str = "", run_options: Any = None) -> bytes:
        """The reply to ``body``: a whole WebServiceResult as JSON, or an Arrow stream.

        ``media`` is one of :data:`MEDIA`: JSON both ways, Arrow in, Arrow out, both.
        ``run_options`` are ONNX Runtime's; setting their ``terminate`` ends the call soon.

        Raises InvalidInput (details ``field``, ``expected``, ``got``, and ``column`` and ``row``
        where there are such), TooLarge for too many rows, CallTimeout if it was ended,
        UnsupportedMedia for Arrow without pyarrow, BundleCorrupt or InternalError if the model
        is at fault, ServiceFailed for a reply over the limit, MemoryError if memory runs out.
        """
        if not media:
            row = self._one_row(body)
            if row is not None:
                alive = _watch(run_options) if self._steps else _nothing
                found = self._run(self._feed(row, alive), run_options)
                reply = self._encode(found)
                if len(reply) <= self._result_limit:
                    return reply
        return self._in_pieces(body, media, run_options)

    def _in_pieces(self, body: Body, media: str, run_options: Any) -> bytes:
        alive = _watch(run_options)
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
                    found = self._run(feeds, run_options)
                except MemoryError:
                    if count <= _LEAST_ROWS:
                        raise
                    # Some models make a table of these rows by those they were trained on.
                    step = max(_LEAST_ROWS, count // 8)
                    continue
                check_tensors(schema, found, count)
                answer.add(found)
                start += count
                alive()
        return answer.result()

    def _run(self, feeds: Feeds, run_options: Any) -> list[npt.NDArray[Any]]:
        try:
            found: list[npt.NDArray[Any]] = self._session.run(
                self.schema.tensors, feeds, run_options
            )
        except MemoryError:
            raise
        except Exception as exc:  # the runtime's own have no common class
            raise _failed(exc, run_options) from None
        return found


def _watch(run_options: Any) -> Callable[[], None]:
    """A function that raises once the call is to end."""

    def alive() -> None:
        if run_options is not None and run_options.terminate:
            raise _ended()

    return alive


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
