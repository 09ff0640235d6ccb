"""The folders of batch executions: stored records, and the results of each chunk of them.

``ROOT/<id>/input``, ``index``: the records (see index.py). ``ROOT/<id>/results/…``: one file a
chunk (see Chunk.name). ``ROOT/<id>/lock``: locked while the execution is being made.
``ROOT/removed``: what is being removed. Results count only when the database knows their chunk:
files without one are left from killed processes, and ignored.

Light: no database, no library; the child processes of batches import it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
import zlib
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...contract.errors import BundleCorrupt
from ..files import disk_errors, private_folder, sync_folder
from .index import INDEX, INPUT, Buffer, Index, damaged, misplaced, read_exactly
from .models import ARROW, Chunk, DamagedUnit, checked_id, is_id, no_execution, result_name
from .upload import LOCK, RESULTS, Upload

# What ends an Arrow stream.
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
# How long a new folder may be unlocked: its maker locks it right after making it.
YOUNG_SECONDS = 60.0
# Files of results that are being written begin with this.
_PARTIAL = "new-"


class BatchFiles:
    """A folder with a folder for each execution; private to the user, made if it is not there.

    All methods block, and may be called from any thread and from several processes at once. They
    may raise NotFound (no such execution, or its folder is gone), OutOfSpace and InternalError.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(os.path.abspath(root))
        self._removed = self.root / "removed"
        with disk_errors(self.root):
            private_folder(self.root)
            private_folder(self._removed)

    def folder(self, id: str) -> Path:
        """The folder of an execution, there or not. Raises NotFound for what is no id."""
        return self.root / checked_id(id)

    def upload(self, id: str, limit: int = 0, room: int = 0) -> Upload:
        """Begin the folder of a new execution (see Upload).

        ``limit``: most bytes of what is sent (else TooLarge), ``room``: what is left in a quota
        (else OutOfSpace); 0: no limit.
        """
        return Upload(self, id, limit, room)

    # Records

    def read_units(self, id: str, format: str, first: int, stop: int) -> bytes:
        """The stored units [first, stop): lines, or a whole Arrow stream of these batches.

        Raises DamagedUnit (its ``units`` are the damaged ones; the others can be read), or
        BundleCorrupt when nothing of the execution can be read.
        """
        folder = self.folder(id)
        prefix = tail = data = b""
        with self._records(id), _opened(folder / INDEX) as numbers:
            index = Index(numbers)
            index.check(first, stop)
            offsets, crcs = index.offsets(first, stop), index.crcs(first, stop)
            with _opened(folder / INPUT) as records:
                if format == ARROW:
                    prefix, tail = _prefix(index, records), END_OF_STREAM
                if first < stop:
                    if bad := misplaced(offsets, os.fstat(records).st_size, first):
                        raise _damaged(id, bad)
                    data = read_exactly(records, offsets[0], offsets[-1] - offsets[0])
        if bad := damaged(memoryview(data), offsets, crcs, first):
            raise _damaged(id, bad)
        return b"".join((prefix, data, tail)) if format == ARROW else data

    def fitting(self, id: str, first: int, stop: int, limit: int) -> int:
        """Where to stop, at most at ``stop``, so that the units from ``first`` take at most
        ``limit`` bytes; but there is always one. Raises BundleCorrupt."""
        with self._records(id), _opened(self.folder(id) / INDEX) as numbers:
            index = Index(numbers)
            index.check(first, stop)
            offsets = index.offsets(first, stop)
        return max(first + 1, first + bisect_right(offsets, offsets[0] + limit) - 1)

    # Results

    def write_result(
        self, id: str, first: int, count: int, data: Buffer | Iterable[Buffer]
    ) -> tuple[int, int]:
        """Store the results of the records [first, first + count); durable on return.

        Returns their (bytes, crc), for the Chunk to commit: only then they count. NotFound means
        that the execution was removed meanwhile.
        """
        results = self.folder(id) / RESULTS
        partial = results / f"{_PARTIAL}{secrets.token_hex(8)}"
        parts = (data,) if isinstance(data, bytes | bytearray | memoryview) else data
        try:
            with disk_errors(self.root):
                try:
                    handle = _create(partial)
                    try:
                        size, crc = _write(handle, parts)
                        os.fsync(handle)
                    finally:
                        os.close(handle)
                    os.rename(partial, results / result_name(first, count, crc))
                    sync_folder(results)
                except FileNotFoundError:
                    if self.root.is_dir() and not results.is_dir():
                        raise no_execution(id) from None
                    raise
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        return size, crc

    def read_result(self, id: str, chunk: Chunk) -> bytes:
        """The stored results of a chunk. Raises BundleCorrupt if they are not what was written."""
        with disk_errors(self.root):
            return read_result(self.folder(id), chunk)

    def forget_result(self, id: str, first: int, count: int, crc: int) -> None:
        """Remove results that were not committed, and will not be."""
        with disk_errors(self.root), suppress(FileNotFoundError):
            os.unlink(self.folder(id) / RESULTS / result_name(first, count, crc))

    def tidy(self, id: str, chunks: Iterable[Chunk]) -> int:
        """Remove files of results that belong to none of ``chunks``; returns how many.

        For who has just leased the execution, and read its chunks after that.
        """
        keep = {chunk.name for chunk in chunks}
        gone = 0
        with disk_errors(self.root), suppress(FileNotFoundError):
            for entry in list(os.scandir(self.folder(id) / RESULTS)):
                if entry.name not in keep:
                    with suppress(FileNotFoundError):
                        os.unlink(entry.path)
                        gone += 1
        return gone

    # Ends

    def remove(self, id: str) -> None:
        """Remove all of an execution. It is gone at once, also if this process is killed while
        its files are being deleted. May be repeated. First delete it from the database."""
        with disk_errors(self.root):
            target = self._removed / f"{checked_id(id)}.{secrets.token_hex(8)}"
            with suppress(FileNotFoundError):
                os.rename(self.folder(id), target)
                shutil.rmtree(target, ignore_errors=True)

    def orphans(
        self, known: Callable[[list[str]], Collection[str]], young: float = YOUNG_SECONDS
    ) -> list[str]:
        """Ids of folders that are no execution's, nor being made into one's by a living process.

        ``known`` tells which of the ids it is given are executions (Executions.known). It is
        asked after the look at the locks: who makes an execution first tells the database, then
        unlocks the folder. Folders younger than ``young`` seconds are left alone.
        """
        found = []
        now = time.time()
        with disk_errors(self.root):
            for entry in list(os.scandir(self.root)):
                if is_id(entry.name) and entry.is_dir(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        old = now - entry.stat(follow_symlinks=False).st_mtime >= young
                        if old and not _is_locked(Path(entry.path) / LOCK):
                            found.append(entry.name)
        there = set(known(found)) if found else set()
        return [id for id in found if id not in there]

    def sweep(
        self, known: Callable[[list[str]], Collection[str]], young: float = YOUNG_SECONDS
    ) -> list[str]:
        """Remove the orphans and what was not removed to its end; returns the ids of orphans."""
        gone = self.orphans(known, young)
        for id in gone:
            self.remove(id)
        with disk_errors(self.root):
            for entry in list(os.scandir(self._removed)):
                shutil.rmtree(entry.path, ignore_errors=True)
        return gone

    @contextmanager
    def _records(self, id: str) -> Iterator[None]:
        """Say it of the execution when its records as a whole cannot be read."""
        with disk_errors(self.root):
            try:
                yield
            except FileNotFoundError as error:
                if not self.root.is_dir():
                    raise
                name = os.path.basename(str(error.filename))
                raise _unreadable(id, f"there is no file {name} any more") from error
            except ValueError as error:
                raise _unreadable(id, str(error)) from error


def read_result(folder: Path, chunk: Chunk) -> bytes:
    """The results of a chunk, from the folder of its execution. Raises BundleCorrupt, OSError."""
    said = "is not there"
    with suppress(FileNotFoundError), open(folder / RESULTS / chunk.name, "rb") as file:
        data = file.read(chunk.bytes + 1)
        if len(data) == chunk.bytes and zlib.crc32(data) == chunk.crc:
            return data
        said = "is not what was written"
    raise BundleCorrupt(
        f"The results of the records {chunk.first} to {chunk.stop - 1} of the batch execution "
        f"{folder.name} cannot be read: their file {chunk.name} {said}. Send these records again, "
        "or restore the folder of the batches from a backup.",
        first=chunk.first,
        count=chunk.count,
    )


def _prefix(index: Index, records: int) -> bytes:
    length, crc = index.prefix()
    data = read_exactly(records, 0, min(length, os.fstat(records).st_size))
    if len(data) != length or zlib.crc32(data) != crc:
        raise ValueError("their schema is not what was written")
    return data


def _unreadable(id: str, why: str) -> BundleCorrupt:
    return BundleCorrupt(
        f"The stored records of the batch execution {id} cannot be read: {why}. Send them again."
    )


def _damaged(id: str, units: list[int]) -> DamagedUnit:
    return DamagedUnit(
        f"Stored records of the batch execution {id} were damaged on the disk. Send them again.",
        units=units,
    )


def _write(handle: int, parts: Iterable[Buffer]) -> tuple[int, int]:
    size = crc = 0
    for part in parts:
        with memoryview(part).cast("B") as view:
            written = 0
            while written < len(view):
                written += os.write(handle, view[written:])
            crc = zlib.crc32(view, crc)
            size += written
    return size, crc


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False  # Its maker died before it came to that; it is old.
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True  # Its maker lives (or this file system knows no locks: leave it).
    finally:
        os.close(handle)
    return False
