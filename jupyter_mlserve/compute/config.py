"""Limits of the compute node. Everything that waits or grows has one (DESIGN, promise 7)."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from typing import Any

MiB = 1024 * 1024
GiB = 1024 * MiB


def available_cores() -> int:
    """Cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


@dataclass(frozen=True)
class ComputeConfig:
    """Times are in seconds, sizes in bytes.

    call_timeout: a call that runs longer is killed with its worker (504).
    load_timeout: the same for loading a version into a worker.
    pool_initial: workers started when a version is called for the first time.
    pool_max: workers of one version at most; 0 means one per core, and at least 2.
    idle_timeout: a worker that was not called for so long is stopped.
    max_workers: workers of all versions together; the least recently used idle one makes room.
    max_dedicated_workers: workers that dedicated pools, which are not counted there, may have
        together; 0 means four per core, and at least 16.
    max_queue: calls of one version that wait for a worker; more are refused (429).
    max_pending: bytes of request bodies held at a time; more are refused (429).
    worker_memory: private memory of one worker; 0 means no limit.
    worker_max_calls: a worker is replaced after so many calls; 0 means never.
    console_limit: console output kept of one call.
    file_limit: size of one file, and of all files together, that a call may write. It also bounds
        what child processes can print before the node trims it.
    result_limit: size of one reply.
    fork_server: start workers from a process that has the libraries imported, where that is safe.
    max_sessions: sessions that have an interpreter at a time; more are refused (429).
    session_timeout: one execution in a session that runs longer is interrupted (504).
    session_grace: an interpreter that does not react to an interrupt for so long is killed.
    session_queue: requests that wait for the interpreter of one session; more are refused (429).
    work_dir: where working directories are made; "" means the system's temporary directory.
    """

    call_timeout: float = 60.0
    load_timeout: float = 120.0
    pool_initial: int = 1
    pool_max: int = 0
    idle_timeout: float = 600.0
    max_workers: int = 16
    max_dedicated_workers: int = 0
    max_queue: int = 128
    max_pending: int = 512 * MiB
    worker_memory: int = 4 * GiB
    worker_max_calls: int = 100_000
    console_limit: int = 64 * 1024
    file_limit: int = 256 * MiB
    result_limit: int = 64 * MiB
    fork_server: bool = True
    max_sessions: int = 8
    session_timeout: float = 3600.0
    session_grace: float = 5.0
    session_queue: int = 16
    work_dir: str = ""

    def __post_init__(self) -> None:
        for name in (
            "call_timeout",
            "load_timeout",
            "idle_timeout",
            "session_timeout",
            "session_grace",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0 seconds, not {getattr(self, name)}")
        for name in ("max_workers", "file_limit", "result_limit", "max_pending"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in (
            "pool_initial",
            "pool_max",
            "max_dedicated_workers",
            "max_queue",
            "worker_memory",
            "worker_max_calls",
            "console_limit",
            "max_sessions",
            "session_queue",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}")

    @property
    def default_pool_max(self) -> int:
        """Workers of a version that says nothing itself."""
        return self.pool_max or max(2, available_cores())

    @property
    def most_dedicated(self) -> int:
        """Workers that all dedicated pools may have together."""
        return self.max_dedicated_workers or max(16, 4 * available_cores())

    @property
    def worker_limits(self) -> dict[str, int]:
        """What a worker holds itself to, as its load spec names them."""
        return {
            "console": self.console_limit,
            "memory": self.worker_memory,
            "file": self.file_limit,
            "result": self.result_limit,
        }

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ComputeConfig:
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})
