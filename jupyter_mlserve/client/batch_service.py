"""What a service object offers for batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..contract.errors import NotFound
from .http import path_of
from .misuse import WrongCall

if TYPE_CHECKING:
    from .batch import Batch
    from .http import Connection
    from .service import Service


class Batches:
    """The batch methods of ``Service``."""

    _connection: Connection
    _definition: dict[str, Any]

    def batch(
        self,
        records: Any,
        parallel_count: int | None = None,
        *,
        parallelCount: int | None = None,
        written: str = "df",
    ) -> Batch:
        """Many records, to be consumed in the background: ``.batch(df, parallel_count=10).start()``

        ``records``: a DataFrame, a dict of lists or a list of dicts, with the inputs as columns
        (for a service that takes one frame: its columns, each row being a record); or the path of
        a file of them: .csv, .jsonl, .json, .parquet, .arrow. ``parallel_count``: how many may be
        worked on at a time (default 10); the server may lower it.

        Columns that are missing, unknown or of another kind are refused here, by name. A value
        that is wrong in one record makes that record fail, and no other. ``written`` is how
        messages call the records.

        Nothing is sent before ``start()``. ``parallelCount`` is another spelling.
        """
        from .batch import Batch
        from .batch_records import Wanted
        from .batch_upload import upload_of

        count = parallel_count if parallelCount is None else parallelCount
        if parallel_count is not None and parallelCount is not None:
            raise WrongCall("parallel_count and parallelCount are the same: give one of them.")
        if count is not None and (isinstance(count, bool) or not _whole(count) or count < 1):
            raise WrongCall(f"parallel_count={count!r}: it is a number of records, from 1 on.")
        upload = upload_of(records, Wanted.of(self._definition), written)
        return Batch(cast("Service", self), upload, None if count is None else int(count))

    def get_batch(self, execution_id: str) -> Batch:
        """A batch execution that was started before, here or elsewhere.

        The first letters of the id are enough. Raises NotFound if it is not there (any more).
        """
        from .batch import Batch

        if not isinstance(execution_id, str) or not execution_id.strip():
            raise WrongCall("get_batch takes the execution_id of a batch, a str.")
        wanted = execution_id.strip()
        if len(wanted) < 32:
            wanted = self._completed_id(wanted)
        found = Batch(cast("Service", self), execution_id=wanted)
        found.status()
        return found

    def _completed_id(self, begin: str) -> str:
        known = self.list_batch_executions()
        found = [one for one in known if one.startswith(begin)]
        if len(found) == 1 or begin in known:
            return begin if begin in known else found[0]
        name = f"{self._definition['name']} {self._definition['version']}"
        if found:
            raise NotFound(f"{len(found)} batches of {name} begin with {begin!r}: give more of it.")
        there = ", ".join(known[-5:]) or "none at all"
        raise NotFound(
            f"No batch of {name} that you started begins with {begin!r}. There are: {there}."
        )

    def list_batch_executions(self) -> list[str]:
        """Ids of your batches of this version that are there, the oldest first."""
        return list(self._batches())

    def _batches(self, *, details: bool = False) -> list[Any]:
        path = path_of("api", self._definition["name"], self._definition["version"], "batch")
        params = {"details": "true"} if details else None
        found: list[Any] = self._connection.request("GET", path, params=params)
        return found

    # As the published client's documentation and its capabilities() spelled it.
    get_batch_executions = list_batch_executions
    list_batch_execution = list_batch_executions


def _whole(count: Any) -> bool:
    try:
        return bool(int(count) == count)
    except (TypeError, ValueError, OverflowError):
        return False
