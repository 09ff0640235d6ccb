"""The blocks of one version: many records each, of low priority.

A block begins only when no single call of its version waits. While another version waits for its
first worker, a worker that has finished a block is given up at once; while others merely want
more workers, after a while. Blocks wait without a deadline.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..worker.frames import dump_header
from .block import ARROW, Block
from .process import BUSY, Call, Worker

if TYPE_CHECKING:
    from .node import Waiting

MAX_BLOCKS = 512  # of one version that wait
SURPLUS = 2.0  # seconds after which an idle worker goes that only blocks made necessary
_SLICE = 1.5  # seconds a worker stays with blocks while another version wants more workers
CANCEL_GRACE = 1.0  # seconds a block may run on after its caller went away


def block_header(media: str, block: Block) -> bytes:
    """The header of the block's frame to a worker."""
    if media == ARROW:
        return b'{"op":"arrow"}'
    return dump_header(
        {"op": "block", "budget": block.budget, "rows": block.rows, "owner": block.owner}
    ).encode()


class BlockQueue:
    """What a pool knows of its blocks. ``requested``: slots asked of the node for them."""

    def __init__(self) -> None:
        self.waiting: deque[Call] = deque()
        self.requested = 0
        self.running: set[Worker] = set()
        # Since when a worker has had nothing but blocks.
        self._since: dict[Worker, float] = {}

    @property
    def target(self) -> int:
        """Workers that may be busy with blocks at a time."""
        blocks = [call.block.parallel for call in self.waiting if call.block is not None]
        for worker in self.running:
            if worker.call is not None and worker.call.block is not None:
                blocks.append(worker.call.block.parallel)
        return max(blocks, default=0)

    @property
    def may_begin(self) -> bool:
        return bool(self.waiting) and len(self.running) < self.target

    def begin(self, worker: Worker, call_timeout: float) -> None:
        call = self.waiting.popleft()
        assert call.block is not None
        self.running.add(worker)
        self._since.setdefault(worker, time.monotonic())
        worker.begin(call, call_timeout + call.block.budget)

    def ended(self, worker: Worker) -> None:
        """The worker has answered."""
        self.running.discard(worker)

    def interrupted(self, worker: Worker) -> None:
        """The worker does something else, or nothing."""
        self._since.pop(worker, None)

    def gone(self, worker: Worker) -> None:
        """The worker has ended."""
        self.ended(worker)
        self.interrupted(worker)

    def wanted(self, free: int) -> int:
        """Workers to be started, when ``free`` are idle or starting."""
        more = min(len(self.waiting), self.target - len(self.running))
        return more - free - self.requested

    def must_yield(self, worker: Worker, others: Iterable[Waiting]) -> bool:
        """Whether the slot of the worker should go to one of ``others``, who wait for one."""
        since = self._since.get(worker)
        if since is None:
            return False  # it was not started for nothing
        late = time.monotonic() - since > _SLICE
        return any(
            (entry.starving or late) if not entry.low else (entry.starving and late)
            for entry in others
        )

    def remove(self, number: int) -> bool:
        """The caller of this block is gone: drop it, or let its worker come to an end."""
        for call in self.waiting:
            if call.number == number:
                self.waiting.remove(call)
                return True
        for worker in self.running:
            if worker.state == BUSY and worker.call is not None and worker.call.number == number:
                worker.abandon(CANCEL_GRACE)
                return True
        return False
