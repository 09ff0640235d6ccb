"""Blobs in a folder of this machine: the default store, and the cache of a remote one.

``ROOT/ab/abcd…`` holds the blob with this digest. ``ROOT/incoming`` holds what is being written;
its writer keeps a lock on it, so what a killed process left behind is known and swept away.
``ROOT/damaged`` holds what was found to be changed on the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from ..contract.errors import BlobMissing, BundleCorrupt
from .files import disk_errors, locked, private_folder, sync_folder

_CHUNK = 1 << 20
# How long a new file in incoming/ may be unlocked: its writer locks it right after making it.
_YOUNG_SECONDS = 60.0
# Changes of a folder within one tick of the clock leave the same time stamp.
_TICK_NS = 2_000_000_000


class Folder:
    """Content-addressed files. All methods may raise OutOfSpace and InternalError."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))
        self._incoming = self.root / "incoming"
        self._damaged = self.root / "damaged"
        self._sizes: dict[str, tuple[int, int]] = {}
        with self.errors():
            for folder in (self.root, self._incoming, self._damaged):
                private_folder(folder)
        self.sweep(_YOUNG_SECONDS)

    def errors(self) -> AbstractContextManager[None]:
        return disk_errors(self.root)

    def path(self, sha: str) -> Path:
        return self.root / sha[:2] / sha

    def touch(self, shas: Iterable[str]) -> set[str]:
        """Those of ``shas`` that are here, each now safe from :meth:`remove` for its grace."""
        here = set()
        with self.errors(), self._lock(exclusive=False):
            for sha in shas:
                with suppress(FileNotFoundError):
                    os.utime(self.path(sha))
                    here.add(sha)
        return here

    def stage(self, sha: str) -> tuple[Path, int]:
        """A new file to write into, and its (locked) descriptor; for :meth:`adopt`."""
        with self.errors():
            path = self._incoming / f"{sha}.{secrets.token_hex(8)}"
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            handle = os.open(path, flags, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
        return path, handle

    def adopt(self, staged: Path, sha: str, quota: int = 0) -> bool:
        """Make a staged file, whose bytes are on the disk, the blob ``sha``; durable on return.

        It replaces what was there: the same bytes, or damaged ones. False, and nothing is done,
        when there would then be more than ``quota`` bytes (0: no limit).
        """
        target = self.path(sha)
        with self.errors():
            private_folder(target.parent)
            with self._lock(exclusive=True):
                if quota and not target.exists():
                    size = os.stat(staged).st_size
                    if self.used() + size > quota:
                        return False
                os.utime(staged)
                os.replace(staged, target)
            sync_folder(target.parent)
        return True

    def verify(self, sha: str) -> None:
        """Read the blob. Raises BlobMissing, or BundleCorrupt if its bytes are not those of
        ``sha`` any more; it is then set aside, so that it can be uploaded again."""
        with self.errors():
            try:
                with open(self.path(sha), "rb") as file:
                    digest = hashlib.sha256()
                    while chunk := file.read(_CHUNK):
                        digest.update(chunk)
                    if digest.hexdigest() == sha:
                        return
                    self._set_aside(sha, os.fstat(file.fileno()).st_ino)
            except FileNotFoundError:
                raise missing([sha]) from None
        raise BundleCorrupt(
            f"The stored blob {sha[:12]}… was changed on the disk, so it cannot be trusted and "
            "was set aside. Publish the version again to store it anew.",
            sha256=sha,
        )

    def entries(self) -> Iterator[tuple[str, int]]:
        """(digest, size in bytes) of all blobs."""
        for shard in self._shards():
            with os.scandir(shard) as files:
                for file in files:
                    with suppress(FileNotFoundError):
                        yield file.name, file.stat(follow_symlinks=False).st_size

    def used(self) -> int:
        """Bytes in all blobs. Reads only the folders that changed since it was last asked."""
        total = 0
        for shard in self._shards():
            # The clock first: what changes while we read has a later time stamp.
            now = time.time_ns()
            changed = shard.stat().st_mtime_ns
            known = self._sizes.get(shard.name)
            if known is None or known[0] != changed:
                with os.scandir(shard) as files:
                    known = (changed, sum(f.stat(follow_symlinks=False).st_size for f in files))
                if now - changed > _TICK_NS:
                    self._sizes[shard.name] = known
            total += known[1]
        return total

    def remove(self, sha: str, before: float) -> int | None:
        """Remove the blob if it was last touched before that time (seconds since 1970).

        Returns its size in bytes; None when it stays or is gone already.
        """
        path = self.path(sha)
        # Under the lock nobody can be told, between the look and the removal, that it is here.
        with self.errors(), self._lock(exclusive=True), suppress(FileNotFoundError):
            found = os.stat(path)
            if found.st_mtime < before:
                os.unlink(path)
                return found.st_size
        return None

    def sweep(self, seconds: float) -> None:
        """Remove what killed processes left in incoming/, and damaged blobs older than that."""
        now = time.time()
        with self.errors():
            for path in self._incoming.iterdir():
                with suppress(FileNotFoundError):
                    if now - path.stat().st_mtime > _YOUNG_SECONDS:
                        _remove_unlocked(path)
            for path in self._damaged.iterdir():
                with suppress(FileNotFoundError):
                    if now - path.stat().st_mtime > max(seconds, 86_400.0):
                        path.unlink()

    def _shards(self) -> Iterator[Path]:
        with os.scandir(self.root) as found:
            for entry in found:
                if len(entry.name) == 2:
                    yield Path(entry.path)

    def _set_aside(self, sha: str, inode: int) -> None:
        path = self.path(sha)
        with self._lock(exclusive=True):
            # Meanwhile somebody may have uploaded it anew: that one stays.
            if os.stat(path).st_ino == inode:
                os.utime(path)
                os.replace(path, self._damaged / f"{sha}.{secrets.token_hex(8)}")

    def _lock(self, exclusive: bool) -> AbstractContextManager[None]:
        return locked(self.root / "lock", exclusive)


def missing(shas: list[str]) -> BlobMissing:
    """The error for blobs that are not there."""
    which = ", ".join(f"{sha[:12]}…" for sha in shas)
    return BlobMissing(f"Not in the store: {which}. Upload it, then publish.", sha256=shas)


def _remove_unlocked(path: Path) -> None:
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # Its writer lives (or this file system knows no locks: leave it).
    else:
        path.unlink()
    finally:
        os.close(handle)
