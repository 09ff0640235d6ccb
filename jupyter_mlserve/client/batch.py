"""A batch: many records consumed by a service in the background, on the server.

``service.batch(records).start()`` sends them; the server stores them before it answers, works on
them in parallel, and keeps the results. Whoever has the ``execution_id`` can look at them again,
from another process, too: ``service.get_batch(execution_id)``.
"""

from __future__ import annotations

import io
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract.batch import COMPLETE, FAILED, FINAL, FORMATS, MEDIA
from ..contract.errors import (
    ConnectionFailed,
    MLServeError,
    NotFound,
    Unavailable,
    UnsupportedMedia,
)
from ..contract.realtime_schemas import ARROW
from .batch_artifacts import Artifacts
from .batch_files import save_stream
from .batch_frame import Pieces, fits_arrow, frame_of_arrow, frame_of_results, with_index
from .batch_records import Wanted
from .batch_response import BatchResponse, RecordResponse, State
from .batch_upload import ARROW_ROWS, SUFFIXES, Upload, rows_text
from .batch_waiting import Interrupted, Line
from .events import LOST, Progress, Watch
from .http import path_of
from .misuse import BatchFailed, StillRunning, WrongCall
from .response import html_table

if TYPE_CHECKING:
    from .service import Service

# The server splits the upload into records before it answers (seconds).
START_SECONDS = 1800.0
# Waits before an upload whose connection broke is sent again (seconds).
AGAIN = (0.5, 1.0, 2.0, 4.0, 8.0)

Told = Callable[[Progress], object]


class Batch(Artifacts):
    """A batch execution of a service, before its start or after it.

    Made by ``Service.batch`` (then ``start()`` sends the records) and ``Service.get_batch``.
    """

    def __init__(
        self,
        service: Service,
        upload: Upload | None = None,
        parallel_count: int | None = None,
        *,
        execution_id: str | None = None,
    ) -> None:
        self._service = service
        self._connection = service._connection
        self._upload = upload
        self._index = upload.index if upload is not None else None
        self._key = uuid.uuid4().hex
        self._last: Progress | None = None
        self.parallel_count = parallel_count
        self.execution_id = execution_id

    @property
    def service(self) -> Service:
        return self._service

    @property
    def url(self) -> str:
        """The address of the execution: GET tells where it stands, DELETE cancels it."""
        return f"{self._service.url}/batch/{self._id}"

    @property
    def upload(self) -> Upload | None:
        """What ``start()`` sends, and how much of it has left; None after the start."""
        return self._upload

    @property
    def last(self) -> Progress | None:
        """Where it stood when the server was last heard of."""
        return self._last

    @property
    def _id(self) -> str:
        if self.execution_id is None:
            raise WrongCall("This batch has not been started: call its start() first.")
        return self.execution_id

    def _path(self, *parts: str) -> str:
        return path_of("api", self._service.name, self._service.version, "batch", *parts)

    # Starting -------------------------------------------------------------------------------

    def start(self) -> Batch:
        """Send the records and start; returns the batch itself, which has its ``execution_id``.

        When this returns, the records are stored on the server. A connection that breaks on the
        way is not a danger: the same records are sent again under the same key, and the server
        starts them once. Starting what is started changes nothing.
        """
        upload = self._upload
        if self.execution_id is not None or upload is None:
            return self
        try:
            answer = self._send(upload)
        except UnsupportedMedia:  # a server without pyarrow
            if upload.otherwise is None:
                raise
            answer = self._send(upload.otherwise)
        self.execution_id = str(answer["batchExecutionId"])
        self.parallel_count = int(answer.get("parallelCount") or 0) or self.parallel_count
        total = int(answer.get("totalItemCount") or 0)
        self._last = Progress(self.execution_id, "Ready", total, 0)
        self._upload = None
        return self

    def _send(self, upload: Upload) -> Any:
        waits = iter(AGAIN)
        params = {} if self.parallel_count is None else {"parallelCount": str(self.parallel_count)}
        while True:
            try:
                return self._connection.request(
                    "POST",
                    self._path(),
                    content=upload.content,
                    params=params,
                    headers={"Content-Type": upload.media, "Idempotency-Key": self._key},
                    timeout=START_SECONDS,
                )
            except (ConnectionFailed, Unavailable) as error:
                wait = next(waits, None)
                if wait is None:
                    raise type(error)(
                        f"{error.message} The records were sent {len(AGAIN) + 1} times. Calling "
                        "start() once more is safe: they are not started twice.",
                        **error.details,
                    ) from error
                time.sleep(max(wait, min(error.retry_after or 0.0, 10.0)))

    # Watching -------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """``Pending``, ``Ready``, ``InProgress``, ``Complete`` or ``Failed``, as of now."""
        return State(self.status()["state"])

    def status(self) -> dict[str, Any]:
        """All that the server says of the execution, without results."""
        found: dict[str, Any] = self._ask(params={"results": "false"})
        self._last = Progress.of(self._id, found)
        return found

    def progress(self) -> Iterator[Progress]:
        """Where the batch stands, at every change, until it is finished."""
        path = self._path(self._id)
        watch = Watch(self._connection, path, self._id, self.status, lost=LOST, last=self._last)
        for found in watch:
            self._last = found
            yield found

    def wait(self, timeout: float | None = None, progress: bool | Told | None = None) -> Batch:
        """Wait until the batch is finished (Complete or Failed); returns the batch itself.

        ``timeout``: seconds, after which StillRunning (a TimeoutError) is raised.
        ``progress=True`` shows a line of text; a function is called with every Progress.
        Ctrl-C ends the wait and not the batch.
        """
        if timeout is not None and (isinstance(timeout, bool | str) or not timeout >= 0):
            raise WrongCall(f"timeout={timeout!r}: it is a number of seconds, or None to wait.")
        line = Line() if progress is True else None
        told: Told | None = line.show if line else progress if callable(progress) else None
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            for found in self._watched(deadline):
                if told is not None:
                    told(found)
        except KeyboardInterrupt:
            raise Interrupted(self._going_on()) from None
        finally:
            if line:
                line.end()
        return self

    def _watched(self, deadline: float | None) -> Iterator[Progress]:
        """``progress()``, or questions where the time is limited: an event may not come in time."""
        if deadline is None:
            yield from self.progress()
            return
        pause = 0.05
        while True:
            found = Progress.of(self._id, self.status())
            yield found
            left = deadline - time.monotonic()
            if found.finished:
                return
            if left <= 0:
                raise StillRunning(f"{found}. {self._going_on()}")
            time.sleep(min(pause, left))
            pause = min(1.5 * pause, 1.0)

    def _going_on(self) -> str:
        return (
            f"The batch {self.execution_id} goes on, on the server: wait() again, or, from "
            f"anywhere, get_batch({self.execution_id!r}). results() shows what is there; cancel() "
            "ends it."
        )

    # Results --------------------------------------------------------------------------------

    def results(self, show_partial_results: bool = True) -> BatchResponse:
        """State and replies, as of now.

        ``show_partial_results=False``: replies only when the batch is complete. Before, those of
        the first records are there, as far as all before them are.
        """
        now = Progress.of(self._id, self.status())
        answered: int | None = None
        if now.state == COMPLETE:
            answered = now.total
        elif not now.completed or not (show_partial_results or now.state in FINAL):
            answered = 0
        return BatchResponse(now, answered, self._fetch, self._reply, shown=show_partial_results)

    def execution(self, index: int) -> RecordResponse:
        """The reply to one record (from 0). Raises NotInReply if it has none yet."""
        return self.results().execution(index)

    def _fetch(self, offset: int, limit: int) -> list[dict[str, Any]]:
        params = {"offset": str(offset), "limit": str(limit), "format": "json"}
        found: list[dict[str, Any]] = self._ask("results", params=params)["results"]
        return found

    def _reply(self, index: int, body: Mapping[str, Any]) -> RecordResponse:
        service = self._service
        return RecordResponse(index, service.api, body, service.outputs, service._outputs_now)

    @property
    def frame(self) -> Any:
        """``to_frame()``."""
        return self.to_frame()

    def to_frame(self, *, partial: bool = False, index: Any = None) -> Any:
        """The results as a pandas DataFrame; waits until the batch is finished.

        A row for each record (or, where the answer is a frame, for each of its rows), with the
        outputs as columns; the index is that of the DataFrame that was given (``index`` names
        another one, after ``get_batch``). A record that failed has its sentence in the column
        ``error``, which is None for the others.

        ``partial=True`` does not wait: the rows that are there. Raises BatchFailed if the batch
        as a whole has failed, unless ``partial``.
        """
        if not partial:
            self.wait()
            last = self._last
            if last is not None and last.state == FAILED:
                raise BatchFailed(
                    f"The batch {self._id} has failed: {last.message or 'no reason was given.'} "
                    f"{last.completed:,} of its {last.total:,} records were answered: "
                    "to_frame(partial=True) has them."
                )
        index = self._index if index is None else index
        total = self._last.total if self._last is not None else 0
        if index is not None and total and len(index) != total:
            raise WrongCall(
                f"The index has {len(index):,} values, and the batch {self._id} {total:,} records."
            )
        frame, records = self._table(total)
        return with_index(frame, records, index)

    def _table(self, total: int) -> Any:
        outputs = self._service.outputs
        rows = Wanted.of(self._service.definition).rows
        if total >= ARROW_ROWS and fits_arrow(outputs, rows=rows) and find_spec("pyarrow"):
            try:
                with self._stream("arrow", headers={"Accept": ARROW}) as response:
                    return frame_of_arrow(response.iter_bytes())
            except UnsupportedMedia:
                pass  # a server without pyarrow
        return frame_of_results(self._replies(), outputs, rows=rows)

    def _replies(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        with self._stream("lines") as response:
            for position, line in enumerate(io.BufferedReader(Pieces(response.iter_bytes()))):
                yield position, json.loads(line)

    def _stream(self, format: str, headers: Mapping[str, str] | None = None) -> Any:
        params = {"format": format}
        path = self._path(self._id, "results")
        if format == "json":  # results in JSON come in pages; the execution's own address has all
            params, path = {"showPartialResults": "true"}, self._path(self._id)
        return self._connection.stream(path, params=params, headers=headers, timeout=600)

    def download_results(self, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write all results to a file and return where it is.

        The format is that of the suffix (.csv, .jsonl, .json, .arrow, .parquet) or ``format``
        (csv, lines, json, arrow, parquet). The file appears when it is whole. A batch that is
        running gives what is there.
        """
        target = Path(path).expanduser()
        known = FORMATS.get(SUFFIXES.get(target.suffix.lower(), "")) if format is None else format
        if known not in MEDIA:
            raise WrongCall(
                f"{format or target.name!r} names no format: give a path that ends in "
                f"{', '.join(SUFFIXES)}, or format= one of {', '.join(MEDIA)}."
            )
        if target.is_dir():
            raise WrongCall(f"{str(target)!r} is a folder: give the path of the file to write.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._stream(known) as response:
            return save_stream(target, response.iter_bytes())

    # Ending ---------------------------------------------------------------------------------

    def cancel(self) -> Batch:
        """Stop the batch, and delete it with its results; returns the batch itself."""
        try:
            self._connection.request("DELETE", self._path(self._id))
        except NotFound as error:
            raise self._missing(error) from None
        return self

    def _ask(self, *parts: str, params: Mapping[str, str] | None = None) -> Any:
        try:
            return self._connection.request("GET", self._path(self._id, *parts), params=params)
        except NotFound as error:
            raise self._missing(error) from None

    def _missing(self, error: MLServeError) -> MLServeError:
        """A server's word about what is not there, with what to do."""
        if type(error) is not NotFound or f"batch execution {self._id!r}" not in error.message:
            return error
        return NotFound(
            f"{error.message} list_batch_executions() names those that are there.", **error.details
        )

    def __repr__(self) -> str:
        service = f"{self._service.name} {self._service.version}"
        if self.execution_id is None:
            upload = self._upload
            what = rows_text(upload.rows if upload is not None else None)
            return f"<Batch of {service}> not started: {what}; start() sends them"
        where = f" {self._last}" if self._last is not None else ""
        return f"<Batch {self.execution_id} of {service}>{where}"

    def _repr_html_(self) -> str:
        if self.execution_id is None:
            return f"<pre>{escape(repr(self))}</pre>"
        rows = [("batch", f"<code>{escape(self.execution_id)}</code>")]
        if self._last is not None:
            rows.append(("state", escape(str(self._last))))
        rows.append(("next", "<code>.wait(progress=True)</code> <code>.to_frame()</code> "
                     "<code>.results()</code> <code>.cancel()</code>"))  # fmt: skip
        return html_table(f"{escape(self._service.name)} {escape(self._service.version)}", rows)
