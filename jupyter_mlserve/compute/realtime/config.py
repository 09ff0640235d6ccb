"""Limits of the realtime process. Everything that waits or grows has one (DESIGN, promise 7).

Imports nothing heavy: the web node reads these.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from ..config import GiB, MiB, available_cores

# What the process and its libraries take before any model, and room for requests and replies.
HEADROOM = 512 * MiB
_SECONDS = ("call_timeout", "load_timeout", "stuck_grace", "trial_timeout")
_POSITIVE = (
    "model_memory",
    "trial_memory",
    "trials",
    "max_model_size",
    "max_queue",
    "max_pending",
    "max_rows",
    "result_limit",
)


@dataclass(frozen=True)
class RealtimeConfig:
    """Times are in seconds, sizes in bytes.

    call_timeout: a call that takes longer, waiting included, is ended (504).
    load_timeout: the same for loading a model.
    stuck_grace: a call or load that does not end within so much more time cannot be ended; the
        process is then replaced, and everything else in flight answers 503.
    model_memory: loaded models may take so much together; the least recently used make room.
    runtime_memory: private memory of the whole process, models included; 0 means no limit.
    threads: large or slow calls that run at a time; 0 means one per core, and at least 2. While
        all are taken, one more call may run, of a version of which none does.
    max_queue: calls of one version that wait for a thread or for its model; more are refused (429).
    max_pending: bytes of request bodies held at a time; more are refused (429).
    max_rows: rows of one request.
    result_limit: size of one reply.
    max_model_size: size of a compiled model that may be published.
    trials: models that are tried at a time; others wait.
    trial_timeout: time for the trial of a model before it is published, in real and in CPU seconds.
    trial_memory: private memory of the process that tries it.
    work_dir: where working directories are made; "" means the system's temporary directory.
    """

    call_timeout: float = 30.0
    load_timeout: float = 60.0
    stuck_grace: float = 5.0
    model_memory: int = 1 * GiB
    runtime_memory: int = 4 * GiB
    threads: int = 0
    max_queue: int = 128
    max_pending: int = 512 * MiB
    max_rows: int = 1_000_000
    result_limit: int = 64 * MiB
    max_model_size: int = 64 * MiB
    trials: int = 2
    trial_timeout: float = 60.0
    trial_memory: int = 2 * GiB
    work_dir: str = ""

    def __post_init__(self) -> None:
        for name in _SECONDS:
            if not 0 < getattr(self, name) < 1e6:
                raise ValueError(f"{name} must be more than 0 seconds, not {getattr(self, name)}")
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("threads", "runtime_memory"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}")
        least = self.model_memory + HEADROOM
        if self.runtime_memory and self.runtime_memory < least:
            raise ValueError(
                f"runtime_memory must be 0 or at least {least}: model_memory "
                f"({self.model_memory}) and {HEADROOM} for the process itself and its calls"
            )
        if self.trial_memory < HEADROOM:
            raise ValueError(f"trial_memory must be at least {HEADROOM}, not {self.trial_memory}")

    @property
    def thread_count(self) -> int:
        """Threads that run calls."""
        return self.threads or max(2, available_cores())

    @property
    def run_memory(self) -> int:
        """What calls may take together for their intermediate results; 0 means no limit."""
        return self.runtime_memory and self.runtime_memory - self.model_memory - HEADROOM // 2

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RealtimeConfig:
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})
