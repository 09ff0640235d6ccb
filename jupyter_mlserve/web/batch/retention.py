"""Batch executions that have been kept long enough, and files that belong to none."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from logging import Logger

from ...contract.errors import MLServeError, NotFound
from ...store.batches import BatchFiles, Executions
from ...store.batches.files import YOUNG_SECONDS

# Seconds between two looks.
EVERY = 600.0
# How old (seconds) what is left of an upload must be to be removed: at the start of a server, when
# it is most likely that of the one before, and later.
YOUNG_AT_START = 1.0
# Removed in one go; more follow in the next.
PORTION = 100


def sweep(
    executions: Executions, files: BatchFiles, retention: float, young: float = YOUNG_SECONDS
) -> tuple[int, int]:
    """Remove what ended more than ``retention`` seconds ago (0: nothing), and files that are left
    of uploads and deletions which a kill ended. Blocks. Returns how many there were of each."""
    executions.finish_deletions()
    expired = 0
    if retention:
        before = datetime.now(timezone.utc) - timedelta(seconds=retention)
        for id in executions.expired(before, PORTION):
            if executions.delete(id):
                expired += 1
            with suppress(NotFound):
                files.remove(id)
    return expired, len(files.sweep(executions.known, young))


async def sweeping(
    executions: Executions, files: BatchFiles, retention: float, log: Logger
) -> None:
    """Do it again and again."""
    young = YOUNG_AT_START
    while True:
        try:
            expired, left = await asyncio.to_thread(sweep, executions, files, retention, young)
        except MLServeError as exc:
            log.warning("could not remove old batch executions: %s", exc)
            expired = left = 0
        except Exception:
            log.exception("could not remove old batch executions")
            expired = left = 0
        if expired or left:
            log.info(
                "removed %d batch executions that were kept long enough, and what was left of %d "
                "that never came to be",
                expired,
                left,
            )
        # A short retention deserves more frequent looks.
        await asyncio.sleep(1.0 if expired >= PORTION else min(EVERY, max(retention or EVERY, 1.0)))
        young = YOUNG_SECONDS
