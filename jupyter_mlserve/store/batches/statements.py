"""The statements of batch executions, built once. Each finds its rows through an index."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, ColumnElement, bindparam, case, func, literal, select

from ...contract.batch import COMPLETE, FAILED, FINAL, IN_PROGRESS, READY
from ..schema import UTCDateTime, batch, batch_chunk, revision

_id: BindParameter[str] = bindparam("of")
_holder: BindParameter[str] = bindparam("by")
_now: BindParameter[Any] = bindparam("now", type_=UTCDateTime())
_owner: BindParameter[str] = bindparam("user")
_going = batch.c.state.in_((READY, IN_PROGRESS))
_held = (batch.c.id == _id, batch.c.holder == _holder)
# The state of an execution that is being deleted (deletion.py): no question finds it.
REMOVED = "Removed"
_there = batch.c.state != REMOVED

# What becomes a models.Execution.
_COLUMNS: tuple[Any, ...] = (
    *(c for c in batch.c if c.name not in ("request_key", "holder", "held_until")),
    batch.c.request_key.label("key"),
)
_BYTES: ColumnElement[int] = func.coalesce(func.sum(batch.c.input_bytes + batch.c.result_bytes), 0)

# Who makes an execution waits here for others who do: quotas and keys are looked at before.
# (SQLite has one writer anyway, and no FOR UPDATE.)
LOCK = select(revision.c.value).where(revision.c.id == 1).with_for_update()
ADD = batch.insert()
BY_KEY = select(*_COLUMNS).where(
    batch.c.owner == _owner,
    batch.c.name == bindparam("service"),
    batch.c.version == bindparam("number"),
    batch.c.request_key == bindparam("request"),
    _there,
)
USED = select(_BYTES, func.count()).where(_there)
USED_BY = USED.where(batch.c.owner == _owner)

GET = select(*_COLUMNS).where(batch.c.id == _id, _there)
OWNED = (
    select(*_COLUMNS)
    .where(batch.c.owner == _owner, _there)
    .order_by(batch.c.created_at, batch.c.id)
)
OWNED_OF = OWNED.where(batch.c.name == bindparam("service"), batch.c.version == bindparam("number"))
KNOWN = select(batch.c.id).where(batch.c.id.in_(bindparam("ids", expanding=True)), _there)
SUMMARY = select(batch.c.state, func.count(), _BYTES).where(_there).group_by(batch.c.state)
EXPIRED = (
    select(batch.c.id)
    .where(batch.c.state.in_(sorted(FINAL)), batch.c.finished_at < bindparam("before"))
    .limit(bindparam("count"))
)
# Few at any time, so that sorting them costs nothing.
GOING = (
    select(*_COLUMNS, batch.c.holder, batch.c.held_until)
    .where(_going)
    .order_by(batch.c.created_at, batch.c.id)
)

# Leases
LEASE_OF = (
    select(batch.c.state, batch.c.holder, batch.c.held_until)
    .where(batch.c.id == _id, _there)
    .with_for_update()
)
_until = bindparam("until", type_=UTCDateTime())
LEASE = batch.update().where(batch.c.id == _id).values(holder=_holder, held_until=_until)
RENEW = (
    batch.update()
    .where(batch.c.id.in_(bindparam("ids", expanding=True)), batch.c.holder == _holder, _going)
    .values(held_until=_until)
)
STILL_HELD = select(batch.c.id).where(
    batch.c.id.in_(bindparam("ids", expanding=True)), batch.c.holder == _holder
)
RELEASE = batch.update().where(*_held).values(holder=None, held_until=None)
BEGIN = (
    batch.update()
    .where(*_held, _going)
    .values(state=IN_PROGRESS, started_at=func.coalesce(batch.c.started_at, _now))
)
NOTE = batch.update().where(*_held, _going).values(message=bindparam("said"))

# Ends of records, of the execution, of everything
_all = batch.c.completed + bindparam("records", type_=batch.c.completed.type) >= batch.c.total
COUNT = (
    batch.update()
    .where(*_held, batch.c.state == IN_PROGRESS)
    .values(
        completed=batch.c.completed + bindparam("records", type_=batch.c.completed.type),
        failed=batch.c.failed + bindparam("bad", type_=batch.c.failed.type),
        result_bytes=batch.c.result_bytes + bindparam("size", type_=batch.c.result_bytes.type),
        state=case((_all, literal(COMPLETE)), else_=batch.c.state),
        finished_at=case((_all, _now), else_=batch.c.finished_at),
        message=case((_all, literal("")), else_=batch.c.message),
        holder=case((_all, None), else_=batch.c.holder),
        held_until=case((_all, None), else_=batch.c.held_until),
    )
)
_END = {
    "state": FAILED,
    "finished_at": _now,
    "message": bindparam("said"),
    "holder": None,
    "held_until": None,
}
FAIL = batch.update().where(batch.c.id == _id, _going).values(_END)
FAIL_HELD = batch.update().where(*_held, _going).values(_END)
# Also frees its key, for another request.
HIDE = (
    batch.update()
    .where(batch.c.id == _id, _there)
    .values(state=REMOVED, request_key=None, holder=None, held_until=None)
)
HIDDEN = select(batch.c.id).where(batch.c.state == REMOVED)
# So many chunks, and this one, are the last ones.
CHUNK_FROM_END = (
    select(batch_chunk.c.first)
    .where(batch_chunk.c.batch_id == _id)
    .order_by(batch_chunk.c.first.desc())
    .limit(1)
    .offset(bindparam("skip"))
)
REMOVE_CHUNKS = batch_chunk.delete().where(batch_chunk.c.batch_id == _id)
REMOVE_CHUNKS_AFTER = REMOVE_CHUNKS.where(batch_chunk.c.first > bindparam("start"))
REMOVE = batch.delete().where(batch.c.id == _id)

# What becomes a models.Chunk.
_CHUNK = select(*(c for c in batch_chunk.c if c.name != "batch_id")).where(
    batch_chunk.c.batch_id == _id
)
ADD_CHUNK = batch_chunk.insert()
# The last one that begins before "stop": it overlaps what ends there, or nothing does.
CHUNK_BEFORE = (
    _CHUNK.where(batch_chunk.c.first < bindparam("stop"))
    .order_by(batch_chunk.c.first.desc())
    .limit(1)
)
CHUNKS_BETWEEN = (
    _CHUNK.where(batch_chunk.c.first >= bindparam("start"), batch_chunk.c.first < bindparam("stop"))
    .order_by(batch_chunk.c.first)
    .limit(bindparam("count"))
)
