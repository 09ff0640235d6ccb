"""From the tensors a model gave to the answer: JSON bytes, or columns for Arrow.

What comes out of a model is not believed: every shape and every label number is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ...contract.errors import BundleCorrupt, InternalError, ServiceFailed, empty_result
from ...contract.realtime import NULL_TEXT
from .schema import RESULT, Output, Schema

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_MARK = "\ue000"
_FRAME = {"outputParameters": {RESULT: _MARK}}
# A WebServiceResult around the frame.
_BEFORE, _AFTER = (
    orjson.dumps({**empty_result(""), "success": True, **_FRAME})
    .decode()
    .encode()
    .split(orjson.dumps(_MARK))
)
_DTYPES = {"double": np.dtype(np.float64), "int64": np.dtype(np.int64), "string": np.dtype(object)}


def row_encoder(schema: Schema) -> Callable[[Sequence[npt.NDArray[Any]]], bytes]:
    """A function from the tensors of one row to the bytes of the whole result."""
    outputs, dumps = schema.outputs, orjson.dumps
    shapes = [(1, width) for width in schema.widths]
    names = [output.name for output in outputs]
    starts = np.concatenate([[0], np.cumsum(schema.widths)]).tolist()
    places = [starts[output.tensor] + output.index for output in outputs]
    # The whole of the tensors in their order is the usual case.
    direct = places == list(range(starts[-1]))
    special = [
        (number, _of_value(output, schema.tensor_types[output.tensor]))
        for number, output in enumerate(outputs)
        if output.labels is not None or output.kind in ("logical", "character")
    ]

    def encode(tensors: Sequence[npt.NDArray[Any]]) -> bytes:
        flat: list[Any] = []
        for tensor, shape in zip(tensors, shapes):  # noqa: B905
            if tensor.shape != shape:
                raise bad_answer(f"a tensor of shape {tensor.shape}, not {shape}")
            flat += tensor.tolist()[0]
        values = flat if direct else [flat[place] for place in places]
        for number, change in special:
            values[number] = change(values[number])
        # zip makes the columns of one cell. NaN and infinite numbers become null.
        return _BEFORE + dumps(dict(zip(names, zip(values)))) + _AFTER  # noqa: B905

    return encode


def _of_value(output: Output, tensor_type: str) -> Callable[[Any], Any]:
    if output.labels is not None:
        labels = output.labels

        def label(number: int) -> Any:
            if not 0 <= number < len(labels):
                raise bad_answer(f"label number {number}, of {len(labels)}")
            return labels[number]

        return label
    if output.kind == "logical":
        return bool
    return lambda text: None if text == NULL_TEXT else text


def line_encoder(
    schema: Schema,
) -> Callable[[Sequence[npt.NDArray[Any]], Sequence[int]], list[bytes]]:
    """A function from the tensors of many records to the bytes of their whole results.

    Its second argument says how many rows belong to each record; all are at least 1. The bytes are
    those that :class:`JsonAnswer` makes of the record alone.
    """
    names = [orjson.dumps(output.name).replace(b"%", b"%%") + b":[%b]" for output in schema.outputs]
    before, after = (part.replace(b"%", b"%%") for part in (_BEFORE, _AFTER))
    fill = b"".join([before, b"{", b",".join(names), b"}", after]).__mod__
    labels = [
        None if output.labels is None else [orjson.dumps(item) for item in output.labels]
        for output in schema.outputs
    ]

    def encode(tensors: Sequence[npt.NDArray[Any]], counts: Sequence[int]) -> list[bytes]:
        cells = [
            _cells(output, texts, numbers_of(output, tensors))
            for output, texts in zip(schema.outputs, labels, strict=True)
        ]
        if len(cells[0]) > len(counts):
            cells = [_joined(column, counts) for column in cells]
        return list(map(fill, zip(*cells, strict=True)))

    return encode


def _cells(output: Output, labels: list[bytes] | None, values: npt.NDArray[Any]) -> list[bytes]:
    """JSON of each value."""
    if labels is not None:
        return [labels[number] for number in values.tolist()]
    if output.kind == "character":
        return [b"null" if text == NULL_TEXT else orjson.dumps(text) for text in values.tolist()]
    if output.kind == "logical":
        values = values != 0
    # No number has a comma.
    return orjson.dumps(values, option=_NUMPY)[1:-1].split(b",")


def _joined(column: list[bytes], counts: Sequence[int]) -> list[bytes]:
    rows = iter(column)
    return [b",".join(islice(rows, count)) for count in counts]


def check_tensors(schema: Schema, tensors: Sequence[npt.NDArray[Any]], rows: int) -> None:
    """Raise if the model gave other tensors than its schema says."""
    for tensor, width, kind in zip(tensors, schema.widths, schema.tensor_types, strict=True):
        if tensor.shape != (rows, width):
            raise bad_answer(f"a tensor of shape {tensor.shape}, not {(rows, width)}")
        if tensor.dtype != _DTYPES[kind]:
            raise bad_answer(f"a tensor of {tensor.dtype}, not of {kind}")


def numbers_of(output: Output, tensors: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The column of ``output`` in its tensor, contiguous; label numbers are checked."""
    values: npt.NDArray[Any] = np.ascontiguousarray(tensors[output.tensor][:, output.index])
    if output.labels is not None and len(values):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= len(output.labels):
            wrong = low if low < 0 else high
            raise bad_answer(f"label number {wrong}, of {len(output.labels)}")
    return values


class JsonAnswer:
    """Collects pieces of the answer, and becomes the bytes of the whole result.

    ``limit`` is the size of the result in bytes.
    """

    def __init__(self, schema: Schema, limit: int) -> None:
        self._schema = schema
        self._limit = limit
        self._size = 0
        self._pieces: list[list[bytes]] = [[] for _ in schema.outputs]
        self._labels = [
            None if output.labels is None else [orjson.dumps(item) for item in output.labels]
            for output in schema.outputs
        ]

    def add(self, tensors: Sequence[npt.NDArray[Any]]) -> None:
        """The tensors of the next rows, at least one."""
        for output, pieces, labels in zip(
            self._schema.outputs, self._pieces, self._labels, strict=True
        ):
            values = numbers_of(output, tensors)
            if labels is not None:
                piece = b",".join([labels[number] for number in values.tolist()])
            elif output.kind == "character":
                texts = [None if text == NULL_TEXT else text for text in values.tolist()]
                piece = orjson.dumps(texts)[1:-1]
            elif output.kind == "logical":
                piece = orjson.dumps(values != 0, option=_NUMPY)[1:-1]
            else:
                piece = orjson.dumps(values, option=_NUMPY)[1:-1]
            pieces.append(piece)
            self._size += len(piece)
        if self._size > self._limit:
            raise too_large(self._size, self._limit)

    def result(self) -> bytes:
        columns = b",".join(
            orjson.dumps(output.name) + b":[" + b",".join(pieces) + b"]"
            for output, pieces in zip(self._schema.outputs, self._pieces, strict=True)
        )
        found = b"".join([_BEFORE, b"{", columns, b"}", _AFTER])
        if len(found) > self._limit:
            raise too_large(len(found), self._limit)
        return found


def bad_answer(what: str) -> InternalError:
    return BundleCorrupt(
        "The compiled model does not answer as its schema says. Its owner should publish it "
        "again, made by serialize_model.",
        traceback=f"The model gave {what}.",
    )


def too_large(size: int, limit: int) -> ServiceFailed:
    return ServiceFailed(
        f"The answer has at least {size:,} bytes; at most {limit:,} are allowed (result_limit). "
        "Send fewer rows, or ask the administrator to raise the limit."
    )
