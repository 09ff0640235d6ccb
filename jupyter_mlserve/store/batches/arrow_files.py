"""Arrow and Parquet files of strangers to checked record batches. pyarrow is asked for here only.

For child processes, whose memory is bounded: buffers may be compressed, and a batch may be as
large as it likes (it is mapped, not read, unless it is compressed). Streams without an end, deltas
of dictionaries and bytes after the end are refused; every batch is validated in full before a
value is read. Parquet is decoded some rows at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ...contract.arrow_messages import END, Refused, check_message
from ...contract.errors import MLServeError, TooLarge, UnsupportedMedia
from .split_writer import too_many, wrong_upload

_T = TypeVar("_T")
_FILE_MAGIC = b"ARROW1"
_PARQUET_MAGIC = b"PAR1"
# Parquet: rows decoded at a time, and about how many bytes of them.
_ROWS_AT_ONCE = 65_536
_BYTES_AT_ONCE = 16 << 20
_MAX_METADATA = 64 << 20


class NotArrow(Exception):
    """A value that the declared types cannot say in Arrow: as lines, only its record fails."""


def arrow_module() -> Any:
    """pyarrow, or UnsupportedMedia saying what to do."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.ipc
    except ImportError as error:
        raise UnsupportedMedia(
            "This server reads and writes no Arrow and no Parquet, because pyarrow is not "
            f"installed beside it ({error}). Use JSON lines or CSV, or ask the administrator to "
            'run: pip install "jupyter_mlserve[arrow]"'
        ) from None
    return pyarrow


class Table:
    """An uploaded table: ``schema`` (of pyarrow) and its ``batches``, to be read once."""

    def __init__(self, path: Path, format: str, records: int) -> None:
        """``records``: most rows. Raises InvalidInput, TooLarge, UnsupportedMedia."""
        pa = arrow_module()
        self._what = "a Parquet file" if format == "parquet" else "an Arrow IPC stream"
        self._records = records
        self._batches: Iterator[Any]
        with open(path, "rb") as file:
            start = file.read(len(_FILE_MAGIC))
            file.seek(0, os.SEEK_END)
            file.seek(-min(len(END), file.tell()), os.SEEK_END)
            end = file.read()
        if format == "parquet":
            if not (start.startswith(_PARQUET_MAGIC) and end.endswith(_PARQUET_MAGIC)):
                raise wrong_upload(self._what, "bytes that are none, or were cut off")
            self.schema, self._batches = self._guard(lambda: self._parquet(path))
            return
        source = self._guard(lambda: pa.memory_map(str(path)) if start else pa.BufferReader(b""))
        if start == _FILE_MAGIC:
            reader = self._guard(lambda: pa.ipc.open_file(source, options=_options(pa)))
            numbers = range(reader.num_record_batches)
            self._batches = (reader.get_batch(number) for number in numbers)
        else:
            self._guard(lambda: self._check(pa, source, end))
            source.seek(0)
            reader = self._guard(lambda: pa.ipc.open_stream(source, options=_options(pa)))
            self._batches = iter(reader)
        self.schema = reader.schema

    @property
    def names(self) -> list[str]:
        return list(self.schema.names)

    def batches(self) -> Iterator[Any]:
        """Batches that have rows, each valid in itself. Raises InvalidInput, TooLarge."""
        rows = 0
        while True:
            batch = self._guard(lambda: next(self._batches, None))
            if batch is None:
                return
            rows += batch.num_rows
            if rows > self._records:
                raise too_many(self._records)
            if batch.num_rows:
                self._guard(partial(batch.validate, full=True))
                yield batch

    def _guard(self, step: Callable[[], _T]) -> _T:
        return guarded(self._what, step)

    def _check(self, pa: Any, source: Any, end: bytes) -> None:
        """Go through all messages of a stream."""
        if end != END:
            raise Refused("an Arrow IPC stream with its end", "bytes that were cut off, or none")
        reader = pa.ipc.MessageReader.open_stream(source)
        first = True
        rows = 0
        while True:
            try:
                message = reader.read_next_message()
            except StopIteration:
                break
            more = check_message(message.metadata.to_pybytes(), first, compressed=True)
            if more < 0:
                raise Refused("a number of rows", str(more))
            rows += more
            if rows > self._records:
                raise too_many(self._records)
            first = False
        if first:
            raise Refused("an Arrow IPC stream", "nothing")
        if source.tell() != source.size():
            raise Refused("one Arrow IPC stream", "more bytes after its end")

    def _parquet(self, path: Path) -> tuple[Any, Iterator[Any]]:
        import pyarrow.parquet as pq

        file = pq.ParquetFile(
            path,
            memory_map=True,
            pre_buffer=False,
            thrift_string_size_limit=_MAX_METADATA,
            thrift_container_size_limit=1_000_000,
        )
        meta = file.metadata
        if meta.num_rows > self._records:
            raise too_many(self._records)
        size = sum(meta.row_group(n).total_byte_size for n in range(meta.num_row_groups))
        row = max(1, size // max(1, meta.num_rows))
        at_once = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // row))
        batches = file.iter_batches(batch_size=at_once, use_threads=False)
        return file.schema_arrow, batches


def guarded(what: str, step: Callable[[], _T]) -> _T:
    """What ``step`` returns; whatever pyarrow raises for bad bytes as InvalidInput.

    It raises much: also for names and time zones that are no text, when one first looks at them.
    """
    try:
        return step()
    except (MLServeError, NotArrow):
        raise
    except MemoryError:
        raise TooLarge(
            f"The upload needs more memory than this server gives for reading {what}. Write it "
            "with smaller batches (row groups), or without compression, or send several batches.",
        ) from None
    except Refused as error:
        raise wrong_upload(error.expected, error.got) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The disk's and not the file's.
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise wrong_upload(what, f"bytes that are not ({why})") from None


def _options(pa: Any) -> Any:
    return pa.ipc.IpcReadOptions(use_threads=False)
