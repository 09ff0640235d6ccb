"""Where blobs are written: in memory while they are small, in a temporary folder when they grow."""

from __future__ import annotations

import hashlib
import os
import tempfile
import weakref
from pathlib import Path
from typing import Any, NamedTuple

from .refusal import CannotTravel, Refusal
from .result import MIB, Blob, human_size, remove_folder

SPOOL_BYTES = 32 * MIB


class Pickled(NamedTuple):
    sha256: str
    size: int
    blob: Blob


class Spool:
    """A temporary folder for large blobs, made when the first one comes."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self._finalizer: Any = None

    def open(self) -> Any:
        if self.folder is None:
            self.folder = tempfile.mkdtemp(prefix="mlserve-")
            self._finalizer = weakref.finalize(self, remove_folder, self.folder)
        return tempfile.NamedTemporaryFile(dir=self.folder, delete=False)

    def close(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self.folder = None


class BlobWriter:
    """A file that pickles write to: hashes, counts, and moves to disk when it grows."""

    def __init__(self, spool: Spool, limit: int) -> None:
        self.spool, self.limit = spool, limit
        self.size = 0
        self.hash = hashlib.sha256()
        self.parts: list[bytes] = []
        self.file: Any = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.size += view.nbytes
        if self.size > self.limit:
            raise CannotTravel(
                Refusal(
                    f"all that travels would be larger than {human_size(self.limit)}",
                    "Send less, or put it in a place that the code can read.",
                )
            )
        self.hash.update(view)
        if self.file is None and self.size > SPOOL_BYTES:
            self.file = self.spool.open()
            for part in self.parts:
                self.file.write(part)
            self.parts.clear()
        if self.file is not None:
            self.file.write(view)
        else:
            self.parts.append(bytes(view))
        return view.nbytes

    def done(self) -> Pickled:
        blob: Blob
        if self.file is not None:
            self.file.close()
            blob = Path(self.file.name)
        else:
            blob = b"".join(self.parts)
        return Pickled(self.hash.hexdigest(), self.size, blob)

    def discard(self) -> None:
        if self.file is not None:
            self.file.close()
            os.unlink(self.file.name)
