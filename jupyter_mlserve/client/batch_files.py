"""Files that come from a server: written whole or not at all, and only where they were meant to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ..contract.errors import BadRequest


def save(folder: Path, name: str, data: bytes) -> Path:
    """Write a file under the name that a server gave it. Raises BadRequest if that is a path."""
    if name in ("", ".", "..") or name != os.path.basename(name) or "\\" in name or "\0" in name:
        raise BadRequest(f"The file {name!r} is not written: its name would lead out of {folder}.")
    return save_stream(folder / name, [data])


def save_stream(target: Path, pieces: Iterable[bytes]) -> Path:
    """Write the pieces to a file that appears when it is whole."""
    number, name = tempfile.mkstemp(prefix=f".{target.name[:50]}.", dir=target.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            for piece in pieces:
                stream.write(piece)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)  # as if it had been opened by name
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
    return target
