"""``POST api/{name}/{version}/batch``: records straight to the disk, then an execution of them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable
from contextlib import suppress
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import TYPE_CHECKING

from jupyter_server.utils import url_path_join

from ...contract.definition import Definition
from ...contract.errors import (
    CallTimeout,
    Conflict,
    OutOfSpace,
    TooBusy,
    TooLarge,
    UnsupportedMedia,
)
from ...store.batches.models import Execution, Quota, new_id
from ...store.batches.plan import plan_of
from ...store.batches.split import Split, SplitLimits
from ..base import MLServeHandler
from ..errors import Answer, dump, size, too_large
from ..exchange import Exchange
from ..refusal import declared_length
from .asked import idempotency_key, parallel_count, upload_format
from .handlers import BatchesHandler
from .views import started_view

if TYPE_CHECKING:
    from ...store.batches.upload import Upload
    from ..routes import Route

# Written in pieces of this size, in a thread: a disk can be slow at any moment.
PIECE = 1024 * 1024
# An upload of which nothing comes for so many seconds is given up.
STALLED = 60.0
NEED_ARROW = frozenset({"arrow", "parquet"})


class BatchUpload(Exchange):
    """Starts an execution: 202 when all records are stored, durably.

    A request with an ``Idempotency-Key`` can be repeated: if its records have become an execution
    before, that one is answered, and nothing is stored.
    """

    handler_class: type[MLServeHandler] = BatchesHandler

    _upload: Upload | None = None
    _twin: Execution | None = None  # what a request with this key has started before
    _counted: int | None = None  # bytes that are counted as coming, while they are
    _timer: asyncio.TimerHandle | None = None
    _writing = False
    _deciding = False  # what is stored now will stay, whoever still listens

    # -- before the body ----------------------------------------------------------------------

    async def begin(self) -> None:
        assert self.identity is not None
        request, core, settings = self.request, self.node.core, self.node.settings
        name, version = self.path_args
        self._route: Route = core.routes.find(name, version)
        state = self._route.state
        who = self.identity.principal
        self.node.policy.require(who, "consume", state.author, self._route.name_owner)
        self._format = upload_format(request.headers)
        self._parallel = parallel_count(request.query_arguments, settings.batch.parallel_cap)
        self._key = idempotency_key(request.headers)
        if self._format in NEED_ARROW and find_spec("pyarrow") is None:
            raise UnsupportedMedia(
                "This server cannot read Arrow and Parquet. Its administrator can install "
                "jupyter_mlserve[arrow]; or send JSON lines or CSV."
            )
        most = settings.batch.max_upload_size
        if self._format == "json":
            most = min(most, settings.max_body_size)
        self.expect_body(most)
        self._pieces = bytearray()
        self._user, self._core = who.username, core
        core.desk.receive(self._user)
        self._counted = 0
        await asyncio.to_thread(self._open)
        if self.gone:
            self.abandon()
            return
        self._count(declared_length(request) or 0)
        self._heard = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(STALLED, self._look)

    def _open(self) -> None:
        """Room for what comes; no more of it than a quota has left."""
        core, settings = self._core, self.node.settings.batch
        state = self._route.state
        if self._key is not None:
            self._twin = core.executions.find_key(self._user, state.name, state.version, self._key)
            if self._twin is not None:
                self._digest = hashlib.sha256()
                return
        owned = len(core.executions.owned_by(self._user))
        if settings.max_executions and owned >= settings.max_executions:
            raise TooBusy(
                f"You have {owned} batch executions on this server, the most that it keeps for "
                "one user. Delete those that are not needed any more (DELETE …/batch/{id}), then "
                "send the records again.",
                limit=settings.max_executions,
            )
        room = 0
        length = declared_length(self.request) or 0
        for quota, user, whose in (
            (settings.user_quota, self._user, "your batch executions"),
            (settings.quota, None, "all batch executions on this server"),
        ):
            if not quota:
                continue
            left = quota - core.executions.usage(user) - core.desk.coming(user)
            if left <= 0 or length > left:
                raise OutOfSpace(
                    f"The records do not fit into the {quota:,} bytes for {whose}. Delete "
                    "executions that are not needed any more (DELETE …/batch/{id}), or have the "
                    "quota raised.",
                    limit=quota,
                )
            room = min(room or left, left)
        self._upload = core.batches.upload(new_id(), self.limit, room)

    def _count(self, size: int) -> None:
        if self._counted is not None:
            self._core.desk.count(self._user, size)
            self._counted += size

    def too_large(self) -> TooLarge:
        settings = self.node.settings
        if self._format != "json" or self.limit == settings.batch.max_upload_size:
            return too_large(self.limit, "upload", "batch_max_upload_size")
        return TooLarge(
            f"A JSON array of records can have {size(self.limit)} here. Send JSON lines instead, "
            "one record a line, with the header 'Content-Type: application/x-ndjson': they can "
            f"have {size(settings.batch.max_upload_size)}.",
            limit=self.limit,
        )

    # -- the body -----------------------------------------------------------------------------

    def receive(self, chunk: bytes) -> Awaitable[None] | None:
        self._heard = time.monotonic()
        self._pieces += chunk
        return self._write() if len(self._pieces) >= PIECE else None

    async def _write(self) -> None:
        pieces, self._pieces = self._pieces, bytearray()
        if declared_length(self.request) is None:
            self._count(len(pieces))
        self._writing = True
        try:
            await asyncio.to_thread(self._store, pieces)
        except Exception as exc:
            self.refuse(exc)
        finally:
            self._writing = False
            self._heard = time.monotonic()

    def _store(self, pieces: bytearray) -> None:
        upload = self._upload
        if upload is not None:
            upload.write(pieces)
        elif self._twin is not None:
            self._digest.update(pieces)

    def _look(self) -> None:
        """Whether something still comes."""
        self._timer = None
        quiet = time.monotonic() - self._heard
        if self.task is not None or self._counted is None:
            return
        if quiet >= STALLED and not self._writing:
            self.refuse(
                CallTimeout(
                    f"Nothing of the upload came for {STALLED:.0f} seconds, so it was given up. "
                    "Send it again.",
                    limit=STALLED,
                )
            )
            return
        self._timer = asyncio.get_running_loop().call_later(max(STALLED - quiet, 1.0), self._look)

    # -- the execution ------------------------------------------------------------------------

    async def respond(self) -> Answer:
        try:
            await asyncio.to_thread(self._store_rest)
            execution = await self._execution()
            return self._started(execution)
        finally:
            self._forget()
            upload, self._upload = self._upload, None
            if upload is not None:
                await asyncio.to_thread(upload.discard)  # nothing, if it was released

    def _store_rest(self) -> None:
        pieces, self._pieces = self._pieces, bytearray()
        self._store(pieces)
        if self._upload is not None:
            self._upload.finish()

    async def _execution(self) -> Execution:
        """The execution of these records: a new one, or that of an earlier, equal request."""
        if self._twin is not None:
            if self._twin.digest != self._tell(self._digest.hexdigest()):
                raise Conflict(
                    f"The Idempotency-Key {self._key!r} was used for other records of this "
                    f"version before (batch execution {self._twin.id}). Give each request a key "
                    "of its own.",
                    batchExecutionId=self._twin.id,
                )
            return self._twin
        upload, core = self._upload, self._core
        assert upload is not None
        plan = plan_of(Definition.from_json(self._route.state.definition))
        limits = SplitLimits(records=self.node.settings.batch.max_records)
        split = await core.children.split(
            upload.path, self._format, upload.folder, plan, limits, self._user
        )
        self._deciding = True
        self._upload = None
        execution = await asyncio.to_thread(self._admit, upload, split)
        if execution.id == upload.id:
            core.runner.submit(execution.id)
        else:
            self._twin = execution
        return execution

    def _tell(self, sha256: str) -> str:
        """What tells this upload from others."""
        return f"{self._format}:{sha256}"

    def _admit(self, upload: Upload, split: Split) -> Execution:
        """From now on it is durable, if it is at all."""
        state, settings = self._route.state, self.node.settings.batch
        with upload:
            stored = upload.seal()
            execution = Execution(
                id=upload.id,
                name=state.name,
                version=state.version,
                state_id=state.id,
                owner=self._user,
                created_at=datetime.now(timezone.utc),
                total=split.total,
                parallel=self._parallel,
                format=split.format,
                piece=split.piece,
                units=split.units,
                upload_bytes=upload.size,
                input_bytes=stored,
                key=self._key,
                digest=self._tell(upload.sha256),
            )
            quota = Quota(settings.quota, settings.user_quota, settings.max_executions)
            return self._core.executions.admit(upload, execution, quota=quota)

    def _started(self, execution: Execution) -> Answer:
        base = str(self.settings["base_url"])
        path = f"api/{execution.name}/{execution.version}/batch/{execution.id}"
        headers = [("Location", url_path_join(base, "mlserve", path))]
        if self._twin is not None:
            headers.append(("Idempotency-Replayed", "true"))
        else:
            self.node.log.info(
                "%s started the batch execution %s of %s version %s with %d records",
                self._user,
                execution.id,
                execution.name,
                execution.version,
                execution.total,
            )
        return Answer(202, dump(started_view(execution)), tuple(headers))

    # -- ends ---------------------------------------------------------------------------------

    def record(self, answer: Answer) -> None:
        super().record(answer)
        if self.identity is not None:
            self.settings["api_last_activity"] = datetime.now(timezone.utc)

    def left(self) -> None:
        # Nobody has the id, so nobody waits for it. With a key, the client will ask again.
        if self.task is not None and not self._deciding:
            self.task.cancel()

    def abandon(self) -> None:
        self._forget()
        self._pieces = bytearray()
        upload, self._upload = self._upload, None
        if upload is not None:
            self.node.track(self._discard(upload))

    async def _discard(self, upload: Upload) -> None:
        # In a thread: it waits for what is being written, and the file can be large.
        with suppress(Exception):
            await asyncio.to_thread(upload.discard)

    def _forget(self) -> None:
        """It is not in progress any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counted, self._counted = self._counted, None
        if counted is not None:
            self._core.desk.received(self._user, counted)
