"""Words of batch executions that server, store and clients share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .checks import fail
from .realtime_schemas import ARROW
from .values import describe

# States, as they stand on the wire (Machine Learning Server's documentation and its replies).
PENDING = "Pending"  # records are being received
READY = "Ready"  # all records are stored; it waits for its turn
IN_PROGRESS = "InProgress"
COMPLETE = "Complete"  # every record has its result, be it a failure
FAILED = "Failed"  # it cannot go on; records that were answered stay so
STATES = (PENDING, READY, IN_PROGRESS, COMPLETE, FAILED)
FINAL = frozenset({COMPLETE, FAILED})

# The parallelCount of a request that names none, by the published contract.
DEFAULT_PARALLEL = 10

JSON, LINES, CSV, PARQUET = (
    "application/json",
    "application/x-ndjson",
    "text/csv",
    "application/vnd.apache.parquet",
)
# Media type -> format, of uploads and of downloads.
FORMATS = {
    JSON: "json",
    LINES: "lines",
    "application/jsonl": "lines",
    "application/jsonlines": "lines",
    CSV: "csv",
    ARROW: "arrow",
    PARQUET: "parquet",
    "application/x-parquet": "parquet",
}
# Format -> the media type that a reply names.
MEDIA = {"json": JSON, "lines": LINES, "csv": CSV, "arrow": ARROW, "parquet": PARQUET}
# Columns of a downloaded table beside the outputs: position of the record, and why it failed.
RECORD, ERROR = "record", "error"


def frame_input(inputs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The one declared input, if it is a frame: then a plain row of a table is a whole record."""
    return inputs[0] if len(inputs) == 1 and inputs[0]["type"] == "data.frame" else None


def batchable(
    value: object,
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    files: Sequence[str],
) -> bool:
    """``mlserve.batchable``: the frame may have any number of rows, and each is answered by itself.

    Batches then hand the rows of many records to one call. That needs one frame to take them, one
    output with a row or value for each, and no files, of which nobody could tell whose they are.
    Raises InvalidDefinition for a service that is not so.
    """
    if value is None or value is False:
        return False
    field = "mlserve.batchable"
    if value is not True:
        fail(field, f"expected true or false, got {describe(value)}")
    if frame_input(inputs) is None:
        _refuse(field, f"it needs one input, a data.frame, not {_signature(inputs)}")
    if len(outputs) != 1 or outputs[0]["type"] not in ("data.frame", "vector"):
        _refuse(
            field,
            "it needs one output, a data.frame or a vector with a value for each row that came "
            f"in, not {_signature(outputs)}",
        )
    if files:
        _refuse(field, f"nobody could tell which row a file ({', '.join(files)}) belongs to")
    return True


def _refuse(field: str, problem: str) -> NoReturn:
    way_out = "(--no-batchable, batchable=False) batches call it once for every record"
    fail(field, f"{problem}; without it {way_out}")


def _signature(params: Sequence[Mapping[str, Any]]) -> str:
    shown = [f"{param['name']}: {param['type']}" for param in params[:6]]
    return ", ".join([*shown, "..."] if len(params) > len(shown) else shown) or "none"
