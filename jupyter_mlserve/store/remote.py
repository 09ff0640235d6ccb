"""Blobs in an object store or any other file system that fsspec knows (``s3://``, ``gs://``…).

Most of these can neither lock nor change the time stamp of a file. So ``touched/SHA``, an empty
object, carries the time when a blob was last asked for, and garbage collection goes by the later
of both times. A blob asked for within the milliseconds between the last look of a collection and
its removal would be lost: let one process collect, and keep the grace long.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timezone
from pathlib import Path
from typing import Any

from ..contract.errors import InternalError, MLServeError, Unavailable
from .writer import BlobWriter

_CHUNK = 8 << 20
# How long a listing counts for the quota, in seconds: it may take many requests.
_LISTING_SECONDS = 60.0


class Remote:
    """Content-addressed objects. All methods may raise Unavailable and InternalError."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        import fsspec.core  # 70 ms, which a server with a local folder need not pay

        self._url = url
        with self._errors():
            self._fs, root = fsspec.core.url_to_fs(url, **options)
            self._root = str(root).rstrip("/")
            self._fs.makedirs(f"{self._root}/touched", exist_ok=True)
        self._lock = threading.Lock()
        self._used = 0
        self._listed = -_LISTING_SECONDS

    def touch(self, shas: Iterable[str]) -> set[str]:
        """Those of ``shas`` that are there, each now safe from :meth:`remove` for its grace."""
        here = set()
        with self._errors():
            for sha in shas:
                if self._fs.exists(self._key(sha)):
                    with self._lock:
                        self._fs.pipe_file(self._marker(sha), b"")
                        # Once more, now that a collection would see the mark.
                        self._fs.invalidate_cache()
                        if self._fs.exists(self._key(sha)):
                            here.add(sha)
        return here

    def put(self, file: Path, sha: str) -> None:
        """Upload a file as the blob ``sha``: it appears there as a whole, or not at all."""
        with self._errors():
            self._fs.pipe_file(self._marker(sha), b"")
            key = self._key(sha)
            self._fs.makedirs(key.rsplit("/", 1)[0], exist_ok=True)
            with open(file, "rb") as source:
                target = self._fs.open(key, "wb", autocommit=False)
                try:
                    shutil.copyfileobj(source, target, _CHUNK)
                    target.close()
                    target.commit()
                except BaseException:
                    target.discard()
                    raise
            size = file.stat().st_size
            self._fs.invalidate_cache()
            if self._fs.size(key) != size:
                raise InternalError(f"The upload to {self._url} is not complete. Try again.")
            self._used += size

    def fetch(self, sha: str, into: BlobWriter) -> bool:
        """Download the blob into a writer; False when it is not there."""
        with self._errors():
            try:
                with self._fs.open(self._key(sha), "rb") as source:
                    shutil.copyfileobj(source, into, _CHUNK)
            except FileNotFoundError:
                return False
        return True

    def entries(self) -> Iterator[tuple[str, int]]:
        """(digest, size in bytes) of all blobs."""
        with self._errors():
            self._fs.invalidate_cache()
            found = self._fs.find(f"{self._root}/blobs", detail=True)
        for key, info in found.items():
            yield key.rsplit("/", 1)[1], int(info["size"] or 0)

    def used(self) -> int:
        """Bytes in all blobs: by a listing of the last minute and what was uploaded from here."""
        if time.monotonic() - self._listed > _LISTING_SECONDS:
            self._used = sum(size for _, size in self.entries())
            self._listed = time.monotonic()
        return self._used

    def remove(self, sha: str, before: float) -> int | None:
        """Remove the blob if it was last touched before that time (seconds since 1970).

        Returns its size in bytes; None when it stays or is gone already.
        """
        with self._errors(), self._lock:
            self._fs.invalidate_cache()
            if max(self._time(self._key(sha)), self._time(self._marker(sha))) >= before:
                return None
            try:
                size = int(self._fs.size(self._key(sha)) or 0)
                self._fs.rm_file(self._key(sha))
            except FileNotFoundError:
                return None
            if self._fs.exists(self._marker(sha)):
                self._fs.rm_file(self._marker(sha))
            self._used -= size
        return size

    def _time(self, key: str) -> float:
        try:
            moment = self._fs.modified(key)
        except FileNotFoundError:
            return 0.0
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return float(moment.timestamp())

    def _key(self, sha: str) -> str:
        return f"{self._root}/blobs/{sha[:2]}/{sha}"

    def _marker(self, sha: str) -> str:
        return f"{self._root}/touched/{sha}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except MLServeError:
            raise
        except (ImportError, ValueError, FileNotFoundError) as error:
            raise InternalError(f"The blob store {self._url} cannot be used: {error}") from error
        except Exception as error:  # Each file system of fsspec has exceptions of its own.
            raise Unavailable(
                f"The blob store {self._url} does not answer as it should: "
                f"{type(error).__name__}: {error}. Try again; if it stays so, tell the "
                "administrator of the server.",
                retry_after=5.0,
            ) from error
