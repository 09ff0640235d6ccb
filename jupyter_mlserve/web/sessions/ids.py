"""Ids of sessions: GUIDs that show, long after, that they were given out here, and to whom.

The second half of an id is a keyed digest of the first half and of the session's owner. So a
session that has ended can be told from one that never was, without a list of all there were, and
after a restart as well; and its id tells nothing to anybody else.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from contextlib import suppress
from pathlib import Path

from ...store.files import disk_errors, private_folder

_KEY_BYTES = 32


def load_key(path: Path) -> bytes:
    """The key in that file, which is made if it is not there; only its user can read it."""
    with disk_errors(path):
        private_folder(path.parent)
        with suppress(FileNotFoundError):
            return path.read_bytes()
        # Written aside, so that another process finds all of it, or makes none of its own.
        aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, secrets.token_bytes(_KEY_BYTES))
            os.fsync(handle)
            with suppress(FileExistsError):
                os.link(aside, path)
        finally:
            os.close(handle)
            os.unlink(aside)
        return path.read_bytes()


def new_id(key: bytes, owner: str) -> str:
    """An id for a session of ``owner``."""
    first = uuid.UUID(bytes=secrets.token_bytes(8) + bytes(8), version=4).bytes[:8]
    return str(uuid.UUID(bytes=first + _digest(key, first, owner), version=4))


def is_ours(key: bytes, owner: str, id: str) -> bool:
    """Whether :func:`new_id` once gave this id to ``owner``."""
    try:
        first = uuid.UUID(id).bytes[:8]
    except ValueError:
        return False
    expected = str(uuid.UUID(bytes=first + _digest(key, first, owner), version=4))
    return hmac.compare_digest(expected.encode(), id.encode("utf-8", "replace"))


def _digest(key: bytes, first: bytes, owner: str) -> bytes:
    text = first + owner.encode("utf-8", "surrogatepass")
    return hmac.new(key, text, hashlib.sha256).digest()[:8]
