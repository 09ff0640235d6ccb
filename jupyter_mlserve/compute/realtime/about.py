"""What the realtime process says of itself."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from ..process import resident_memory

if TYPE_CHECKING:
    from .node import Node


def describe(node: Node) -> dict[str, Any]:
    """Its status, as JSON values: ``RealtimeNode.status`` explains them."""
    shown = [v for v in node.versions.values() if v.scorer is not None or v.wanted or v.loading]
    return {
        "pid": os.getpid(),
        "uptime": round(time.monotonic() - node.born, 3),
        "rss": resident_memory(os.getpid()),
        "sessions": len(node.cache.loaded),
        "bytes": node.cache.bytes,
        "budget": node.cache.budget,
        "evictions": node.cache.evictions,
        "calls": node.total,
        "busy": sum(version.busy for version in shown),
        "queue": sum(len(version.queue) for version in shown),
        "blocks": sum(version.blocks_running + len(version.blocks) for version in shown),
        "trials": node.trials.running,
        "versions": [version.describe() for version in shown],
    }
