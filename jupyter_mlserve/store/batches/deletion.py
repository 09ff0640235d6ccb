"""Deleting executions from the database without keeping others waiting.

There may be millions of chunks, and who deletes them in one transaction stops every other writer
for seconds (SQLite has one at a time). So an execution is first hidden, in one short transaction:
from then on no question finds it. Then its chunks are deleted by slices. If the process is killed
meanwhile, the next deletion, of whatever execution, goes on; so does the next look for old ones.
"""

from __future__ import annotations

import time
from contextlib import suppress

from sqlalchemy import Connection

from ...contract.errors import Unavailable
from ..database import Database
from . import statements as sql

# Chunks in a transaction: about 10 ms.
SLICE = 10_000
# Seconds between two of them, in which others come in. (Who waits for SQLite's lock asks for it
# from time to time: there must be moments in which it is free.)
PAUSE = 0.02
pause = time.sleep


def delete(database: Database, id: str) -> bool:
    """Hide an execution, then delete it; False: it was not there."""
    with database.write() as connection:
        there = connection.execute(sql.HIDE, {"of": id}).rowcount > 0
        if there:
            _slice(connection, id)
    with suppress(Unavailable):  # It is gone for everyone; the next deletion goes on.
        finish(database)
    return there


def finish(database: Database) -> None:
    """Delete what is hidden, also by others who did not come to the end of it."""
    with database.read() as connection:
        hidden = list(connection.scalars(sql.HIDDEN))
    for id in hidden:
        whole = False
        while not whole:
            pause(PAUSE)
            with database.write() as connection:
                whole = _slice(connection, id)


def _slice(connection: Connection, id: str) -> bool:
    """Delete the last chunks of a hidden execution; True: all of them, and itself."""
    first = connection.scalar(sql.CHUNK_FROM_END, {"of": id, "skip": SLICE})
    if first is not None:
        connection.execute(sql.REMOVE_CHUNKS_AFTER, {"of": id, "start": first})
        return False
    connection.execute(sql.REMOVE_CHUNKS, {"of": id})
    connection.execute(sql.REMOVE, {"of": id})
    return True
