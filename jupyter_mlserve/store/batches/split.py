"""Splitting an upload into records: ``input`` and ``index`` in the folder of an execution.

Two formats come out. ``lines``: one JSON object of inputs a line. ``arrow``: one Arrow stream of
record batches of ``piece`` rows, for Arrow and Parquet uploads where the plan wants it and every
value can be said in the declared types (else lines, so that a bad row fails alone).

Nothing is read whole but a JSON array, whose size the caller bounds. Uploads are strangers': what
is not small JSON belongs in a child process (child.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...contract.errors import InvalidInput
from ..files import disk_errors
from .index import INDEX, INPUT
from .plan import Plan

# JSON uploads up to this many bytes are split in the process that asks.
LIGHT_BYTES = 1 << 20


@dataclass(frozen=True)
class SplitLimits:
    """Most records; most bytes of one record as a line; most bytes of all, as they are stored."""

    records: int = 10_000_000
    line: int = 16 << 20
    output: int = 16 << 30

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Split:
    """What an upload became: format (lines, arrow), number of records, of units, records in a
    unit (the last may have fewer), bytes of ``input``."""

    format: str
    total: int
    units: int
    piece: int
    bytes: int

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Split:
        return cls(**body)


def is_light(format: str, size: int) -> bool:
    """Whether an upload of ``size`` bytes may be split without a child process."""
    return format in ("json", "lines") and size <= LIGHT_BYTES


def split(
    upload: Path, format: str, folder: Path, plan: Plan, limits: SplitLimits | None = None
) -> Split:
    """Write ``input`` and ``index`` into ``folder``; both are durable (but for their names).

    ``format``: json, lines, csv, arrow or parquet. Raises InvalidInput (field, expected, got and,
    where it is known, row, counted from 0), TooLarge, UnsupportedMedia (no pyarrow), OutOfSpace.
    Nothing is left behind then.
    """
    limits = limits or SplitLimits()
    try:
        with disk_errors(folder):
            found = _split(upload, format, folder, plan, limits)
        if not found.total:
            raise InvalidInput(
                "The upload has no records, so there is nothing to run. Send at least one.",
                field="body",
                expected="at least one record",
                got="none",
            )
        return found
    except BaseException:
        for name in (INPUT, INDEX):
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        raise


def _split(upload: Path, format: str, folder: Path, plan: Plan, limits: SplitLimits) -> Split:
    if format in ("json", "lines"):
        from .split_json import split_array, split_lines

        return (split_array if format == "json" else split_lines)(upload, folder, plan, limits)
    if format == "csv":
        from .split_csv import split_csv

        return split_csv(upload, folder, plan, limits)
    if format in ("arrow", "parquet"):
        from .split_tables import split_table

        return split_table(upload, format, folder, plan, limits)
    raise ValueError(f"there is no format {format!r}")
