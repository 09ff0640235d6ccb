"""The traits about batch executions, mixed into the extension's application."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from jupyter_server.transutils import _i18n
from traitlets import Float, HasTraits, Int, TraitError, Unicode, validate

from .settings import BatchSettings

_batch = BatchSettings()


class BatchTraits(HasTraits):
    """Each field of BatchSettings, with ``batch_`` in front of its name."""

    batch_dir = Unicode(
        _batch.dir,
        config=True,
        help=_i18n(
            """Folder for the records and results of batch executions. Default: batches in
            data_dir. Servers that share a db_url must share this folder too, or each works only
            on what was sent to itself."""
        ),
    )
    batch_max_upload_size = Int(
        _batch.max_upload_size,
        min=1,
        config=True,
        help=_i18n(
            """Most bytes in one upload of records for a batch execution (413). JSON arrays are
            read whole and so have the limit max_body_size too."""
        ),
    )
    batch_max_records = Int(
        _batch.max_records,
        min=1,
        config=True,
        help=_i18n("Most records in one batch execution (413)."),
    )
    batch_max_parallel = Int(
        _batch.max_parallel,
        min=0,
        config=True,
        help=_i18n(
            """Most calls that one batch execution has in progress at a time; a larger
            parallelCount is lowered to it. 0: two per core, and at least 4."""
        ),
    )
    batch_max_running = Int(
        _batch.max_running,
        min=1,
        config=True,
        help=_i18n(
            """Most batch executions that are worked on at a time. Others wait; users take turns,
            and so do the executions of one user."""
        ),
    )
    batch_chunk_seconds = Float(
        _batch.chunk_seconds,
        config=True,
        help=_i18n(
            """Seconds of work that a batch execution gives to a worker at a time. About so long a
            single call may have to wait for a large batch."""
        ),
    )
    batch_retention = Float(
        _batch.retention,
        min=0.0,
        config=True,
        help=_i18n(
            """Seconds for which a batch execution is kept after its end, with its records and
            results; 0: until it is deleted."""
        ),
    )
    batch_quota = Int(
        _batch.quota,
        min=0,
        config=True,
        help=_i18n(
            """Most bytes of records and results of all batch executions together; 0: no limit
            (507)."""
        ),
    )
    batch_user_quota = Int(
        _batch.user_quota,
        min=0,
        config=True,
        help=_i18n(
            """Most bytes of records and results of the batch executions of one user; 0: no limit
            (507)."""
        ),
    )
    batch_max_executions = Int(
        _batch.max_executions,
        min=0,
        config=True,
        help=_i18n(
            """Most batch executions that are kept for one user, ended ones included; 0: no limit
            (429)."""
        ),
    )

    @validate("batch_dir")
    def _absolute_batch_dir(self, proposal: Any) -> str:
        given = proposal["value"]
        return str(Path(given).expanduser().absolute()) if given else ""

    @validate("batch_chunk_seconds")
    def _some_time(self, proposal: Any) -> float:
        if not 0 < proposal["value"] < float("inf"):
            raise TraitError("MLServeApp.batch_chunk_seconds must be more than 0 seconds.")
        return float(proposal["value"])

    def batch_settings(self) -> BatchSettings:
        """The traits as plain values."""
        return BatchSettings(
            **{field.name: getattr(self, f"batch_{field.name}") for field in fields(BatchSettings)}
        )
