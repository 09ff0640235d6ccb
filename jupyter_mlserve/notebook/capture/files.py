"""Files that travel with a service: checked, hashed, and named by their last part."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from ...contract.errors import InvalidName
from ...contract.names import check_file_name
from .result import Blob, CaptureOptions, Item, human_size
from .spool import SPOOL_BYTES

_CHUNK = 1024 * 1024


class Files(NamedTuple):
    """``entries`` as the definition has them, blobs by digest, a report line for each path."""

    entries: list[dict[str, Any]]
    blobs: dict[str, Blob]
    items: list[Item]
    paths: list[Path]


def folder_of(options: CaptureOptions) -> Path:
    """The notebook's folder."""
    if options.folder is not None:
        return Path(options.folder).resolve()
    if options.notebook:
        return Path(options.notebook).resolve().parent
    return Path.cwd()


def gather_files(options: CaptureOptions) -> Files:
    """Read every path of ``options.files``. What cannot be sent is refused in the report."""
    found = Files([], {}, [], [])
    taken: dict[str, Path] = {}
    room = options.total_limit
    for given in options.files:
        path = Path(os.path.expanduser(given))
        path = path if path.is_absolute() else folder_of(options) / path
        problem = _problem(path, taken, min(options.file_limit, room))
        name = path.name or str(given)
        if problem is None:
            try:
                digest, size, blob = _read(path)
            except OSError as exc:
                problem = (f"it cannot be read ({exc.strerror})", "Check the path and its rights.")
        if problem is not None:
            reason, advice = problem
            found.items.append(Item(str(given), "file", "refused", None, reason, advice))
            continue
        taken[name] = path
        room -= size
        found.entries.append({"name": name, "sha256": digest, "size": size})
        found.blobs[digest] = blob
        found.items.append(Item(name, "file", "captured", size, "in every call's folder"))
        found.paths.append(Path(os.path.realpath(path)))
    return found


def _problem(path: Path, taken: dict[str, Path], limit: int) -> tuple[str, str] | None:
    """Why a file cannot travel, and what to do; None when it can."""
    try:
        info = path.stat()
    except OSError as exc:
        return f"there is no such file ({exc.strerror})", "Paths start at the notebook's folder."
    if stat.S_ISDIR(info.st_mode):
        return "it is a folder", "Name its files one by one, or send them as one zip file."
    if not stat.S_ISREG(info.st_mode):
        return "it is no regular file", "Copy its content into one."
    try:
        check_file_name(path.name)
    except InvalidName as exc:
        return exc.message.rstrip("."), "Rename the file."
    if path.name in taken:
        return (
            f"{taken[path.name]} has the same name",
            "All files of a service lie in one folder: rename one.",
        )
    if info.st_size > limit:
        return (
            f"it has {human_size(info.st_size)}, and {human_size(limit)} are allowed",
            "Send a smaller file, or put it in a place that the code can read.",
        )
    return None


def _read(path: Path) -> tuple[str, int, Blob]:
    """Digest, size, and content: the bytes of a small file, the path of a large one."""
    digest = hashlib.sha256()
    size = 0
    parts: list[bytes] = []
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if size <= SPOOL_BYTES:
                parts.append(chunk)
    blob: Blob = b"".join(parts) if size <= SPOOL_BYTES else path
    return digest.hexdigest(), size, blob
