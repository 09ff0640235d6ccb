"""A pool, for the status page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .process import BUSY, IDLE, STARTING, resident_memory

if TYPE_CHECKING:
    from .pool import Pool


def describe(pool: Pool) -> dict[str, Any]:
    """``rss`` is in bytes; ``blocks`` are workers that are busy with blocks, ``ready`` those that
    have loaded the version."""
    states = [worker.state for worker in pool.workers]
    pids = sorted(worker.pid for worker in pool.workers if worker.pid)
    return {
        "state": pool.state_id,
        "name": pool.spec.get("name"),
        "version": pool.spec.get("version"),
        "workers": len(pool.workers),
        "busy": states.count(BUSY),
        "idle": states.count(IDLE),
        "starting": states.count(STARTING),
        "queue": len(pool.queue),
        "calls": pool.calls,
        "blocks": len(pool.blocks.running),
        "blocks_waiting": len(pool.blocks.waiting),
        "ready": pool.ready,
        "dedicated": pool.dedicated,
        "initial": pool.minimum,
        "max": pool.maximum,
        "retired": pool.retired,
        "pids": pids,
        "rss": sum(map(resident_memory, pids)),
    }
