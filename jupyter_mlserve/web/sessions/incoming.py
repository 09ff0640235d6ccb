"""A file on its way into a session: written aside, and put in place when it is whole."""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path

from ...contract.errors import InternalError
from ...store.files import disk_errors


class Incoming:
    """Made in ``folder``, which no author's code writes into. One thread writes, any discards."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"incoming-{secrets.token_hex(8)}"
        self.size = 0
        self._lock = threading.Lock()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with disk_errors(folder):
            self._handle = os.open(self.path, flags, 0o600)

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises OutOfSpace."""
        with self._lock, disk_errors(self.path.parent):
            if self._handle < 0:
                raise InternalError("This file was discarded already.")
            view = memoryview(data)
            while view:
                view = view[os.write(self._handle, view) :]
        self.size += len(data)

    def close(self) -> None:
        """Nothing more is written. May be repeated."""
        with self._lock:
            handle, self._handle = self._handle, -1
            if handle >= 0:
                os.close(handle)

    def discard(self) -> None:
        """Remove it, unless it was moved away. May be repeated."""
        self.close()
        self.path.unlink(missing_ok=True)
