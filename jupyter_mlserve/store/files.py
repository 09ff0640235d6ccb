"""Files as the store needs them: private to their user, and on the disk when we say so."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..contract.errors import InternalError, OutOfSpace

# EFBIG: the limit of a process on the size of its files, which is a lack of space as well.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def private_folder(path: Path) -> Path:
    """Make the folder (and those above it) for its user only. One that exists stays as it is."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        if path.parent == path:
            break
        path = path.parent
    for folder in reversed(missing):
        # The mode of os.makedirs would hold for the last folder only.
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            if not folder.is_dir():
                raise
        else:
            sync_folder(folder.parent)
    return missing[0] if missing else path


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: what was created, renamed or removed there."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # One may create in a folder and yet not read it.
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # File systems that have no such.
            raise
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, exclusive: bool) -> Iterator[None]:
    """Hold a lock file, against threads and processes alike. The kernel frees it if we die."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


@contextmanager
def disk_errors(root: object) -> Iterator[None]:
    """Turn what the system says about a disk into OutOfSpace or InternalError, with advice."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutOfSpace(
                f"There is no space left for {root} ({error.strerror}), so nothing was stored. "
                "Free some space, then try again."
            ) from error
        raise InternalError(
            f"The store {root} cannot be used: {error}. Check that it exists and that the "
            "server may write there."
        ) from error
