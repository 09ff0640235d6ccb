"""The key that signs access tokens: a line of hexadecimal digits in a file of its owner only."""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from ..contract.errors import InternalError
from .files import disk_errors, locked, private_folder, sync_folder

KEY_BYTES = 32
_KEY = re.compile(rb"\s*([0-9a-fA-F]{2}){%d,}\s*" % KEY_BYTES)
_LONGEST = 4096


def read_key(path: Path) -> bytes | None:
    """The key; None when there is no such file.

    Raises InternalError when it is no key, or when others than its owner may read it.
    """
    with disk_errors(path):
        try:
            # Not blocking: it may be a pipe, whose writer never comes.
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise _refused(path, "is not a file")
            if found.st_uid not in (os.geteuid(), 0):
                raise _refused(path, "belongs to another user")
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise _refused(
                    path,
                    "may be read or written by others than its owner, so anybody may have it",
                    "If nobody can have read it, set its mode to 0600",
                )
            content = os.read(handle, _LONGEST + 1)
        finally:
            os.close(handle)
    if len(content) > _LONGEST or not _KEY.fullmatch(content):
        raise _refused(path, f"is not a line of at least {2 * KEY_BYTES} hexadecimal digits")
    return bytes.fromhex(content.decode("ascii"))


def ensure_key(path: Path) -> bytes:
    """The key; it is made if it is not there. Of several processes that do so, one makes it.

    A process that is killed meanwhile leaves no key or a whole one. Raises what ``read_key`` does,
    and OutOfSpace.
    """
    key = read_key(path)
    if key is not None:
        return key
    with disk_errors(path):
        private_folder(path.parent)
        with locked(path.with_name(path.name + ".lock"), exclusive=True):
            key = read_key(path)
            return _make(path) if key is None else key


def _make(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    draft = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        draft.unlink()  # of one who was killed; we hold the lock
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(key.hex().encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(draft, path)
    except BaseException:
        with suppress(FileNotFoundError):
            draft.unlink()
        raise
    sync_folder(path.parent)
    return key


def _refused(path: Path, problem: str, advice: str = "Restore it from a backup") -> InternalError:
    return InternalError(
        f"The key of the access tokens, {path}, {problem}. {advice}; or remove it, and the server "
        "makes another one (then everybody must log in again)."
    )
