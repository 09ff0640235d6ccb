"""The answer as an Arrow IPC stream: the table ``outputData`` alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contract.realtime import NULL_TEXT
from .arrow import arrow_module
from .encode import numbers_of, too_large
from .schema import Output, Schema


class _Parts:
    """A file for pyarrow to write to: it keeps the buffers, and they are copied once, when joined.

    A file in memory of pyarrow's own grows as it is written, and copies all of it each time.
    """

    closed = False

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.size = 0

    def write(self, part: Any) -> None:
        self.parts.append(part)
        self.size += len(part)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class ArrowAnswer:
    """Collects pieces of the answer as record batches. ``limit`` is the reply's, in bytes.

    numeric becomes float64, integer int64, logical bool, character string; labels that are text
    become a dictionary of strings, as writing 100,000 of them out takes a third of the time in
    which a linear model scores as many rows. NaN and infinite numbers are null, as in JSON.
    """

    def __init__(self, schema: Schema, limit: int) -> None:
        self._pa = pa = arrow_module()
        self._outputs = schema.outputs
        self._limit = limit
        types = {
            "numeric": pa.float64(),
            "integer": pa.int64(),
            "logical": pa.bool_(),
            "character": pa.string(),
        }
        coded = pa.dictionary(pa.int32(), pa.string())
        self._schema = pa.schema(
            [
                (item.name, coded if item.labels and item.kind == "character" else types[item.kind])
                for item in schema.outputs
            ]
        )
        self._labels = [
            None if item.labels is None else pa.array(item.labels, types[item.kind])
            for item in schema.outputs
        ]
        self._sink = _Parts()
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._sink, "w"), self._schema)

    def add(self, tensors: Sequence[npt.NDArray[Any]]) -> None:
        """The tensors of the next rows."""
        columns = [
            self._labelled(output, labels, numbers_of(output, tensors))
            if labels is not None
            else self._plain(output, numbers_of(output, tensors))
            for output, labels in zip(self._outputs, self._labels, strict=True)
        ]
        self._writer.write_batch(self._pa.record_batch(columns, schema=self._schema))
        if self._sink.size > self._limit:
            raise too_large(self._sink.size, self._limit)

    def result(self) -> bytes:
        self._writer.close()
        found = b"".join(self._sink.parts)
        if len(found) > self._limit:
            raise too_large(len(found), self._limit)
        return found

    def _labelled(self, output: Output, labels: Any, values: npt.NDArray[Any]) -> Any:
        pa = self._pa
        if output.kind == "character":
            return pa.DictionaryArray.from_arrays(values.astype(np.int32), labels, safe=False)
        return labels.take(pa.array(values))

    def _plain(self, output: Output, values: npt.NDArray[Any]) -> Any:
        pa = self._pa
        if output.kind == "character":
            texts = [None if text == NULL_TEXT else text for text in values.tolist()]
            return pa.array(texts, pa.string())
        if output.kind == "logical":
            return pa.array(values != 0)
        if output.kind == "integer":
            return pa.array(values, pa.int64())
        numbers = values.astype(np.float64, copy=False)
        finite = np.isfinite(numbers)
        return pa.array(numbers, mask=None if finite.all() else ~finite)
