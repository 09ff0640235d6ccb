"""Dedicated pools: the workers of a version that has them for itself.

They are started before anybody calls, and neither counted among those that ``max_workers`` limits
nor ended to make room for another version. In return the version never takes a worker of the common
ones: when all of its own are busy, its calls wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .process import ENDING

if TYPE_CHECKING:
    from .config import ComputeConfig
    from .pool import Pool
    from .process import Worker


def sizes(own: dict[str, Any] | None, config: ComputeConfig) -> tuple[int, int]:
    """Fewest and most workers of a version; ``own`` is what it has of its own, if anything."""
    initial = int((own or {}).get("initial") or 0)
    most = int((own or {}).get("max") or 0)
    return initial, most or max(config.default_pool_max, initial)


def dedicate(pool: Pool, own: dict[str, Any] | None) -> None:
    """Give the pool these sizes, or (None) let it share with the others again.

    No call is disturbed: workers that are too many go when they have nothing to do.
    """
    was, pool.dedicated = pool.dedicated, own is not None
    pool.minimum, pool.maximum = sizes(own, pool.config)
    if pool.dedicated:
        pool.node.forget(pool)
        free_slots(pool)
    elif was:
        _take_slots(pool)
    pool.shrinking = True
    for worker in list(pool.idle):
        if not shed(pool, worker):
            break
        pool.idle.remove(worker)
    pool.grow()


def free_slots(pool: Pool) -> None:
    """Workers of a dedicated pool are not counted among those that share; trials are."""
    for worker in pool.workers if pool.dedicated else ():
        if worker.slot and worker.trial is None:
            worker.slot = False
            pool.node.release_slot()


def _take_slots(pool: Pool) -> None:
    """It may be that there are too many workers then, until some have nothing to do."""
    for worker in pool.workers:
        if not worker.slot:
            worker.slot = True
            pool.node.used += 1


def shed(pool: Pool, worker: Worker) -> bool:
    """Whether this worker, which has nothing to do just now, was one too many, and is ended."""
    node = pool.node
    live = sum(other.state != ENDING for other in pool.workers)
    surplus = live - pool.maximum
    if not pool.dedicated:
        ending = sum(
            w.slot and w.state == ENDING for each in node.all_pools() for w in each.workers
        )
        surplus -= len(pool.blocks.running)
        surplus = max(surplus, node.used - ending - node.config.max_workers)
    pool.shrinking = surplus > 0
    if not pool.shrinking or (live == 1 and pool.wanted):
        return False
    worker.end()
    return True
