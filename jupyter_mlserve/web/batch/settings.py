"""Limits of batch executions, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...compute.config import available_cores

MiB = 1024**2
GiB = 1024**3


@dataclass(frozen=True)
class BatchSettings:
    """Sizes in bytes, times in seconds. The traits of the same names, with ``batch_`` in front.

    dir: where records and results are stored; "" is a folder in data_dir.
    max_upload_size: of one upload.
    max_records: of one execution.
    max_parallel: calls that one execution may have in progress; 0: one from the cores.
    max_running: executions that are worked on at a time; the others wait.
    chunk_seconds: for how long one call of a batch should hold a worker.
    retention: for how long an execution is kept after its end; 0: for ever.
    quota, user_quota: of all executions together, and of one user's; 0: none.
    max_executions: that are kept for one user; 0: no limit.
    """

    dir: str = ""
    max_upload_size: int = 4 * GiB
    max_records: int = 10_000_000
    max_parallel: int = 0
    max_running: int = 4
    chunk_seconds: float = 0.5
    retention: float = 7 * 86_400.0
    quota: int = 20 * GiB
    user_quota: int = 10 * GiB
    max_executions: int = 100

    @property
    def parallel_cap(self) -> int:
        """The most that ``parallelCount`` can be; what asks for more gets this."""
        return self.max_parallel or max(4, 2 * available_cores())

    def folder(self, data_dir: Path) -> Path:
        """Where the folders of the executions are."""
        return Path(self.dir) if self.dir else data_dir / "batches"
