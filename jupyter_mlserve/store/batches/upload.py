"""The folder of an execution while it is being made: what is sent arrives here, and is split."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ...contract.errors import InternalError, OutOfSpace, TooLarge
from ..files import disk_errors, sync_folder
from .index import INDEX, INPUT

if TYPE_CHECKING:
    from .files import BatchFiles

UPLOAD, LOCK, RESULTS = "upload", "lock", "results"


class Upload:
    """Takes an upload in chunks; then its folder becomes that of an execution, or goes away.

    1. :meth:`write`, as often as needed, and :meth:`finish`; then ``size`` and ``sha256`` count.
    2. The file ``path`` is split into ``input`` and ``index`` in ``folder``.
    3. :meth:`seal` makes these durable and forgets the upload itself.
    4. The execution is made in the database, then :meth:`release`. Or :meth:`discard`.

    Executions.admit does 4. A context manager: leaving it before the release discards what was
    not sealed, and leaves what was: the database may know it (a sweep looks). Until then a lock
    says to sweeps, in all processes, that it is being made. Methods block, and are safe to call
    from several threads; they raise OutOfSpace, TooLarge and InternalError.
    """

    def __init__(self, files: BatchFiles, id: str, limit: int = 0, room: int = 0) -> None:
        """``limit``: most bytes of an upload; ``room``: what is left in a quota; 0: no limit."""
        self.id = id
        self.size = 0
        self.folder = files.folder(id)
        self.path = self.folder / UPLOAD
        self._files = files
        self._limit = limit
        self._room = room
        self._digest = hashlib.sha256()
        self._mutex = threading.RLock()
        self._sealed = False
        self._file = self._lock = -1
        self._open = False
        with disk_errors(files.root):
            os.mkdir(self.folder, 0o700)
            self._open = True
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._lock = os.open(self.folder / LOCK, flags, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                os.mkdir(self.folder / RESULTS, 0o700)
                self._file = os.open(self.path, flags, 0o600)
            except BaseException:
                self.discard()
                raise

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append; returns the number of bytes. Raises TooLarge, OutOfSpace."""
        with self._mutex, memoryview(data).cast("B") as view:
            if self._file < 0:
                raise InternalError("This upload is over.")
            size = self.size + len(view)
            if self._limit and size > self._limit:
                raise TooLarge(
                    f"The records are more than the {self._limit:,} bytes that this server takes "
                    "for one batch. Send them as several batches, or have the limit raised.",
                    limit=self._limit,
                )
            if self._room and size > self._room:
                raise OutOfSpace(
                    "The records do not fit into what is left of the quotas for batch executions "
                    "(batch_user_quota, batch_quota). Delete finished executions that are not "
                    "needed any more (DELETE …/batch/{id}), or ask the administrator to raise the "
                    "quotas."
                )
            with disk_errors(self._files.root):
                written = 0
                while written < len(view):
                    with view[written:] as rest:
                        written += os.write(self._file, rest)
            self._digest.update(view)
            self.size = size
            return len(view)

    def finish(self) -> None:
        """All was written. It needs not be durable: what is made of it will be."""
        with self._mutex:
            handle, self._file = self._file, -1
            if handle >= 0:
                with disk_errors(self._files.root):
                    os.close(handle)

    def seal(self) -> int:
        """Make ``input`` and ``index`` durable, remove the upload; returns their size in bytes."""
        with self._mutex:
            self.finish()
            with disk_errors(self._files.root):
                size = 0
                for name in (INPUT, INDEX):
                    size += _sync(self.folder / name)
                self.path.unlink(missing_ok=True)
                sync_folder(self.folder)
                sync_folder(self._files.root)
            self._sealed = True
        return size

    def release(self) -> None:
        """The database knows the execution (or will say that it does not): the folder stays."""
        with self._mutex:
            self._open = False
            self.finish()
            handle, self._lock = self._lock, -1
            if handle >= 0:
                os.close(handle)

    def discard(self) -> None:
        """Remove everything. Nothing happens after a release. May be repeated."""
        with self._mutex:
            try:
                if self._open:
                    self._files.remove(self.id)
            finally:
                self.release()

    def __enter__(self) -> Upload:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._sealed:
            self.release()
        else:
            self.discard()

    def __del__(self) -> None:
        for handle in (getattr(self, "_file", -1), getattr(self, "_lock", -1)):
            if handle >= 0:
                os.close(handle)


def _sync(path: Path) -> int:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
        return os.fstat(handle).st_size
    finally:
        os.close(handle)
