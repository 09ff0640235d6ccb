"""The folders of the sessions of one run of the server; what an earlier run left is removed."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from ...store.files import disk_errors, locked, private_folder


class Room:
    """``ROOT/RUN/SESSION``. Servers can share a root: each holds a lock on its own run."""

    def __init__(self, root: Path) -> None:
        with disk_errors(root):
            private_folder(root)
            with locked(root / "lock", exclusive=True):
                _sweep(root)
                self.folder = root / secrets.token_hex(8)
                self._lock_path = self.folder.with_suffix(".lock")
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._handle = os.open(self._lock_path, flags, 0o600)
                fcntl.flock(self._handle, fcntl.LOCK_EX)
                os.mkdir(self.folder, 0o700)

    def make(self, id: str) -> Path:
        """The folder of a new session, with the folder ``files`` in it."""
        folder = self.folder / id
        with disk_errors(folder):
            os.mkdir(folder, 0o700)
            os.mkdir(folder / "files", 0o700)
        return folder

    def remove(self, id: str) -> None:
        """The folder of a session that has ended."""
        remove_tree(self.folder / id)

    def close(self) -> None:
        """Remove what is left of all. May be repeated."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            remove_tree(self.folder)
            self._lock_path.unlink(missing_ok=True)
            os.close(handle)


def _sweep(root: Path) -> None:
    """Remove the runs whose server does not live any more."""
    for path in root.glob("*.lock"):
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            remove_tree(path.with_suffix(""))
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def remove_tree(path: Path) -> None:
    """Remove a folder that code of authors wrote into. What cannot be removed stays."""
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        for folder, _, _ in os.walk(path):
            with suppress(OSError):
                os.chmod(folder, 0o700)  # it may have taken its own permissions away
        shutil.rmtree(path, ignore_errors=True)
