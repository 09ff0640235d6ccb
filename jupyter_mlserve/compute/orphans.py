"""Processes that must not outlive their node: found by a mark in their environment (Linux).

A worker dies with its node by itself, but not what author code started in it. Everything below a
node carries the node's mark in its environment, so it can be found and killed from outside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

NODE_MARK = "JUPYTER_MLSERVE_NODE"
WORKER_MARK = "JUPYTER_MLSERVE_WORKER"
# What a node, its workers and what they start have no business to know.
SECRETS = (
    "JUPYTER_TOKEN",
    "JUPYTERHUB_API_TOKEN",
    "JPY_API_TOKEN",
    "JUPYTER_MLSERVE_TOKEN",
    "JUPYTER_MLSERVE_SERVER_INFO",
)


def marked(mark: str, value: str) -> Iterator[int]:
    """Ids of this user's processes that have ``mark=value`` in their environment."""
    if not sys.platform.startswith("linux"):
        return
    wanted = f"{mark}={value}".encode()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and _has(entry.name, wanted):
            yield int(entry.name)


def _has(pid: str, wanted: bytes) -> bool:
    try:
        return wanted in Path("/proc", pid, "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # gone, or not ours


def kill_marked(mark: str, value: str) -> int:
    """Kill them, and what they start meanwhile; returns how many were killed."""
    count = 0
    for _ in range(5):
        found = [pid for pid in marked(mark, value) if pid != os.getpid()]
        if not found:
            break
        for pid in found:
            count += 1
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    return count
