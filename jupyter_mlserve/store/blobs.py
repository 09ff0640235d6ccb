"""The store of what services are made of: pickled objects and files, by their SHA-256."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..contract.errors import BundleCorrupt, InvalidInput
from .folder import Folder, missing
from .remote import Remote
from .writer import BlobWriter, no_room

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Collected:
    """What a garbage collection removed: how many blobs, how many bytes."""

    blobs: int
    bytes: int


class Blobs:
    """Content-addressed, immutable blobs. A blob is there as a whole, durably, or not at all.

    ``url``: a folder of this machine (a path or ``file://``; made with mode 0700 if missing), or
    any URL of fsspec, with ``storage_options`` for it; that needs ``cache_dir``, a local folder
    in which what is used is kept. ``quota``: most bytes in all blobs; 0 means no limit. (Not
    exact for a remote store that several servers fill.)

    Digests are 64 lower-case hex digits, else InvalidInput. All methods block; they may be called
    from any thread, and several processes may share a store. All may raise OutOfSpace,
    InternalError (the folder cannot be used) and Unavailable (a remote store does not answer).
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        quota: int = 0,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        text = os.fspath(url)
        self.quota = quota
        self._remote: Remote | None = None
        if text.startswith("file:"):
            text = unquote(urlsplit(text).path)
        if "://" in text:
            if cache_dir is None:
                raise ValueError(f"Blobs at {text} need a cache_dir, a folder of this machine.")
            self._remote = Remote(text, storage_options or {})
            text = os.fspath(cache_dir)
        self._folder = Folder(Path(text))
        self._store: Folder | Remote = self._remote or self._folder

    def has(self, sha: str) -> bool:
        """Whether the blob is there. If so, no collection removes it within its grace."""
        return not self.missing([sha])

    def missing(self, shas: Iterable[str]) -> list[str]:
        """Those of ``shas`` that are not there, in their order, each once.

        The others are safe from collection for its grace from now on, so ask again right before
        the catalog is changed if an upload took long.
        """
        wanted = list(dict.fromkeys(_checked(sha) for sha in shas))
        here = self._store.touch(wanted)
        return [sha for sha in wanted if sha not in here]

    def require(self, shas: Iterable[str]) -> None:
        """Raise BlobMissing (details: ``sha256``, a list) unless all of ``shas`` are there."""
        if gone := self.missing(shas):
            raise missing(gone)

    def writer(
        self, sha: str, size_limit: int | None = None, expected_size: int | None = None
    ) -> BlobWriter:
        """Write a blob in chunks: ``with blobs.writer(sha) as w: w.write(chunk)``.

        ``size_limit``, in bytes: one more raises TooLarge (details: ``limit``).
        ``expected_size``, if it is known, refuses what would not fit before anything is written.
        Raises OutOfSpace when the quota or the disk has no room.
        """
        room = self._room() if self.quota and not self.has(sha) else None
        return BlobWriter(self._folder, _checked(sha), self._keep, size_limit, room, expected_size)

    def new_writer(
        self, size_limit: int | None = None, expected_size: int | None = None
    ) -> BlobWriter:
        """As :meth:`writer`, of a digest that is not known before: ``w.sha`` after the commit."""
        room = self._room() if self.quota else None
        return BlobWriter(self._folder, None, self._keep, size_limit, room, expected_size)

    def path(self, sha: str, verify: bool = False) -> Path:
        """A local file with the blob's bytes; never change it. Raises BlobMissing.

        ``verify``: read it first, and raise BundleCorrupt if its bytes have changed on the disk.
        What comes from a remote store is always verified when it is fetched.
        """
        path = self._folder.path(_checked(sha))
        if verify and path.exists():
            try:
                self._folder.verify(sha)
            except BundleCorrupt:
                if self._remote is None:
                    raise
        if not path.exists():
            if self._remote is None:
                raise missing([sha])
            self._fetch(sha, self._remote)
        return path

    def used(self) -> int:
        """Bytes in all blobs."""
        with self._folder.errors():
            return self._store.used()

    def collect(self, referenced: Collection[str], grace_seconds: float = 86_400.0) -> Collected:
        """Remove the blobs that are not in ``referenced`` and were not touched for the grace.

        A blob is touched when it is written and when :meth:`has` or :meth:`missing` finds it; so
        what a publish in progress relies on stays, provided that it takes less than the grace.
        Also sweeps up what killed processes left behind.
        """
        before = time.time() - grace_seconds
        blobs = freed = 0
        for sha, _ in list(self._store.entries()):
            if sha in referenced:
                continue
            size = self._store.remove(sha, before)
            if size is not None:
                blobs, freed = blobs + 1, freed + size
        if self._remote is not None:
            for sha, _ in list(self._folder.entries()):
                if sha not in referenced:
                    self._folder.remove(sha, before)
        self._folder.sweep(grace_seconds)
        return Collected(blobs, freed)

    def _room(self) -> int:
        return max(0, self.quota - self.used())

    def _keep(self, staged: Path, sha: str) -> None:
        if self._remote is not None:
            self._remote.put(staged, sha)
            self._folder.adopt(staged, sha)
        elif not self._folder.adopt(staged, sha, self.quota):
            raise no_room()

    def _fetch(self, sha: str, remote: Remote) -> None:
        def keep(staged: Path, sha: str) -> None:
            self._folder.adopt(staged, sha)

        try:
            with BlobWriter(self._folder, sha, keep) as writer:
                if not remote.fetch(sha, writer):
                    raise missing([sha])
        except InvalidInput:
            raise BundleCorrupt(
                f"The blob {sha[:12]}… was changed in the remote store, so it cannot be "
                "trusted. Remove it there, then publish the version again.",
                sha256=sha,
            ) from None


def _checked(sha: str) -> str:
    """A digest also becomes a file name, so nothing else may pass."""
    if not isinstance(sha, str) or not _SHA256.match(sha):
        raise InvalidInput(
            field="sha256", expected="64 lower-case hexadecimal digits", got=repr(sha)[:100]
        )
    return sha
