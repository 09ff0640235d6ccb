"""The blocks of one version: many records each, of low priority.

A block begins only when no single call of its version waits, or those have their workers, or it
has waited for long: calls that never end leave it a share, of which each of them waits for one
block at most. While another version waits for its
first worker, a worker that has finished a block is given up at once; while others merely want
more workers, after a while. Blocks wait without a deadline.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..worker.frames import dump_header
from .block import ARROW, PATIENCE, Block
from .config import available_cores
from .process import BUSY, Call, Worker

if TYPE_CHECKING:
    from .node import Waiting

MAX_BLOCKS = 512  # of one version that wait
SURPLUS = 2.0  # seconds after which an idle worker goes that only blocks made necessary
_SLICE = 1.5  # seconds a worker stays with blocks while another version wants more workers
CANCEL_GRACE = 1.0  # seconds a block may run on after its caller went away


def block_header(media: str, block: Block, threads: int) -> bytes:
    """The header of the block's frame to a worker."""
    header: dict[str, Any] = {"op": "arrow", "threads": threads}
    if media != ARROW:
        header.update(op="block", budget=block.budget, rows=block.rows, owner=block.owner)
    return dump_header(header).encode()


class BlockQueue:
    """What a pool knows of its blocks. ``requested``: slots asked of the node for them."""

    def __init__(self) -> None:
        self.waiting: deque[Call] = deque()
        self.requested = 0
        self.running: set[Worker] = set()
        self._begun = 0.0  # when one was, or when the first one came that waits
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

    def add(self, call: Call) -> None:
        if not self.waiting:
            self._begun = time.monotonic()
        self.waiting.append(call)

    @property
    def overdue(self) -> bool:
        """Those that wait have been passed over for long enough."""
        return time.monotonic() - self._begun > PATIENCE

    def begin(self, worker: Worker, call_timeout: float) -> None:
        threads = self._threads()
        call = self.waiting.popleft()
        assert call.block is not None
        self.running.add(worker)
        self._begun = time.monotonic()
        self._since.setdefault(worker, self._begun)
        call.header = block_header(call.media, call.block, threads)
        worker.begin(call, call_timeout + call.block.budget)

    def _threads(self) -> int:
        """For the libraries of a worker that begins, so that all together have one a core."""
        workers = min(self.target, len(self.running) + len(self.waiting))
        return max(1, available_cores() // workers)

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

    def wanted(self, free: int, room: int) -> int:
        """Workers to be started, when ``free`` are idle or starting.

        At most ``room`` and as many as blocks may have: what is started for blocks is not for the
        calls, however many of these wait.
        """
        target = self.target
        more = min(len(self.waiting), target - len(self.running))
        return min(more - free, room + target) - self.requested

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
