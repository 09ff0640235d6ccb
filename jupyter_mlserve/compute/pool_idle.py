"""When the workers of a pool go that have nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .block_queue import SURPLUS
from .process import IDLE

if TYPE_CHECKING:
    from .pool import Pool


def end_idle(pool: Pool, now: float) -> None:
    _end_surplus(pool, now)
    spare = len(pool.workers) - (0 if pool.retired else pool.minimum)
    for worker in list(pool.idle):
        if spare <= 0:
            break
        if worker.state != IDLE:
            pool.idle.remove(worker)
        elif pool.retired or now - worker.last_used > pool.config.idle_timeout:
            pool.idle.remove(worker)
            worker.end()
            spare -= 1


def _end_surplus(pool: Pool, now: float) -> None:
    """Workers beyond the maximum were for blocks, and go soon after the last one."""
    others = len(pool.workers) - (0 if pool.dedicated else len(pool.blocks.running))
    surplus = others - max(pool.maximum, pool.minimum)
    for worker in list(pool.idle) if surplus > 0 else ():
        if surplus > 0 and worker.state == IDLE and now - worker.last_used > SURPLUS:
            pool.idle.remove(worker)
            worker.end()
            surplus -= 1
