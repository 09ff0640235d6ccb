"""Writing one blob."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from ..contract.errors import InternalError, InvalidInput, OutOfSpace, TooLarge
from .folder import Folder

Buffer = bytes | bytearray | memoryview


class BlobWriter:
    """Takes a blob in chunks, counts and hashes them, and keeps it only if all is as announced.

    A context manager: leaving the block stores the blob, leaving it by an exception stores
    nothing. Or call :meth:`commit` or :meth:`abort`. After any error nothing is left behind.
    One thread may abort while another writes.
    """

    def __init__(
        self,
        folder: Folder,
        sha: str | None,
        keep: Callable[[Path, str], None],
        size_limit: int | None = None,
        room: int | None = None,
        expected_size: int | None = None,
    ) -> None:
        """``keep`` is given the staged file and its digest when its bytes are on the disk.

        ``sha``: what the bytes must have; None takes what they have (``sha`` then, after the
        commit).
        ``size_limit``, ``room`` (left in the quota) and ``expected_size`` are in bytes.
        """
        self.sha = sha or ""
        self.size = 0
        self._folder = folder
        self._keep = keep
        self._limit = size_limit
        self._room = room
        self._digest = hashlib.sha256()
        self._handle = -1
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._check(expected_size or 0)
        self._path, self._handle = folder.stage(sha or "new")

    def write(self, chunk: Buffer) -> int:
        """Append; returns the number of bytes. Raises TooLarge, OutOfSpace."""
        with self._using(), memoryview(chunk).cast("B") as view:
            self._check(self.size + len(view))
            with self._folder.errors():
                written = 0
                while written < len(view):
                    with view[written:] as rest:
                        written += os.write(self._handle, rest)
            self._digest.update(view)
            self.size += written
        return written

    def commit(self) -> None:
        """Verify and store; durable on return. Raises InvalidInput (wrong digest), OutOfSpace."""
        with self._using():
            found = self._digest.hexdigest()
            self.sha = self.sha or found
            if found != self.sha:
                raise InvalidInput(
                    f"The bytes that came have the SHA-256 {found}, but {self.sha} was "
                    "announced, so they were not stored. Upload again.",
                    field="sha256",
                    expected=self.sha,
                    got=found,
                )
            with self._folder.errors():
                os.fsync(self._handle)
            self._keep(self._path, found)
            self._closing.set()

    def abort(self) -> None:
        """Forget what was written. Nothing happens after a commit, or another abort.

        Never waits: if another thread is writing just now, that thread does it when it is done.
        """
        self._closing.set()
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.abort()
        elif not self._closing.is_set():
            self.commit()

    def __del__(self) -> None:
        self._close()

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Keep the descriptor open meanwhile, and close it after an error or an abort.

        A descriptor closed under a running write could already be that of another file.
        """
        with self._lock:
            if self._closing.is_set():
                raise InternalError("This blob was committed or aborted already.")
            try:
                yield
            except BaseException:
                self._closing.set()
                raise
            finally:
                if self._closing.is_set():
                    self._close()
        if self._closing.is_set():
            self.abort()  # It came after our last look, and did not wait.

    def _close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            self._path.unlink(missing_ok=True)
            os.close(handle)

    def _check(self, size: int) -> None:
        if self._limit is not None and size > self._limit:
            raise TooLarge(
                f"The blob is larger than the {self._limit:,} bytes that this server accepts "
                "for one. Publish a smaller object or file, or have the limit raised.",
                limit=self._limit,
            )
        if self._room is not None and size > self._room:
            raise no_room()


def no_room() -> OutOfSpace:
    """The error for a blob that would exceed the quota of the store."""
    return OutOfSpace(
        "The store of published objects has reached its quota, so nothing was stored. Delete "
        "versions that are not needed any more, or have the quota raised."
    )
