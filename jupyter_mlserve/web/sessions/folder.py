"""The working directory of a session, into which its author's code writes whatever it likes.

Links are never followed, nothing but regular files is opened, and all is read in pieces. A name is
a path below the directory, with ``/`` between its parts.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...contract.errors import Conflict, NotFound, TooLarge
from ...store.files import disk_errors

MAX_ENTRIES = 10_000
MAX_DEPTH = 16
PIECE = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Opening a FIFO for reading would wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def files_in(root: Path) -> list[tuple[str, int]]:
    """(name, size in bytes) of all regular files, by name.

    Left out are names that JSON or a URL could not carry. Raises TooLarge when there are more
    than MAX_ENTRIES entries.
    """
    found: list[tuple[str, int]] = []
    left = MAX_ENTRIES

    def look(folder: int, prefix: str, depth: int) -> None:
        nonlocal left
        with os.scandir(folder) as entries:
            for entry in entries:
                left -= 1
                if left < 0:
                    raise TooLarge(
                        f"The working directory has more than {MAX_ENTRIES:,} files, so they are "
                        "not listed. Remove some, by code or with DELETE …/files/{fileName}.",
                        limit=MAX_ENTRIES,
                    )
                if not _speakable(entry.name):
                    continue
                with suppress(OSError):  # it may be gone, or closed to us
                    if entry.is_dir(follow_symlinks=False):
                        if depth < MAX_DEPTH:
                            below = os.open(entry.name, _FOLDER, dir_fd=folder)
                            try:
                                look(below, f"{prefix}{entry.name}/", depth + 1)
                            finally:
                                os.close(below)
                    elif entry.is_file(follow_symlinks=False):
                        size = entry.stat(follow_symlinks=False).st_size
                        found.append((prefix + entry.name, size))

    with disk_errors(root), _opened(root) as top:
        look(top, "", 1)
    return sorted(found)


@contextmanager
def open_file(root: Path, name: str) -> Iterator[tuple[int, int]]:
    """(descriptor, size in bytes) of a regular file. Raises NotFound."""
    with _parent(root, name) as (folder, last):
        try:
            handle = os.open(last, _FILE, dir_fd=folder)
        except OSError:
            raise no_file(name) from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise no_file(name)
        yield handle, found.st_size
    finally:
        os.close(handle)


def size_of(root: Path) -> int:
    """Bytes of all files."""
    return sum(size for _, size in files_in(root))


def read(root: Path, name: str) -> Generator[bytes, None, None]:
    """The bytes of a file, as many as it had at first. Raises NotFound, Conflict."""
    with open_file(root, name) as (handle, size):
        while size > 0:
            piece = os.read(handle, min(size, PIECE))
            if not piece:
                raise Conflict(f"The file {name!r} became shorter while it was read. Try again.")
            size -= len(piece)
            yield piece


def read_path(path: Path) -> Generator[bytes, None, None]:
    """The bytes of a file that no author's code made."""
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            yield piece


def remove(root: Path, name: str) -> None:
    """Remove a file. Raises NotFound."""
    with _parent(root, name) as (folder, last):
        try:
            os.unlink(last, dir_fd=folder)  # of a link, the link
        except OSError:
            raise no_file(name) from None


def place(root: Path, staged: Path, name: str) -> None:
    """Move a file in, in place of one of that name; folders above it are made.

    Raises Conflict if a folder is there, or a file where a folder should be.
    """
    *parts, last = name.split("/")
    with disk_errors(root), _opened(root) as top:
        folder = os.dup(top)
        try:
            for part in parts:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=folder)
                below = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = below
            os.rename(staged, last, dst_dir_fd=folder)  # in place of a link, not where it leads
        except OSError as exc:
            if exc.errno not in (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EEXIST):
                raise
            raise Conflict(
                f"The file {name!r} cannot be put into the working directory: of that name, or of "
                "a folder in it, there is something else."
            ) from None
        finally:
            os.close(folder)


def no_file(name: str) -> NotFound:
    return NotFound(
        f"There is no file {name[:200]!r} in the working directory of this session.",
        field="fileName",
    )


@contextmanager
def _opened(root: Path) -> Iterator[int]:
    try:
        handle = os.open(root, _FOLDER)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as exc:
        raise Conflict(
            "The working directory of the session cannot be used, because its code has removed, "
            f"moved or closed it ({exc.strerror}). Close the session, and create another one."
        ) from None
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _parent(root: Path, name: str) -> Iterator[tuple[int, str]]:
    """The folder of a file, and its name in there. Raises NotFound."""
    *parts, last = name.split("/")
    if len(parts) >= MAX_DEPTH or not all(_speakable(part) for part in (*parts, last)):
        raise no_file(name)
    handle = -1
    try:
        handle = os.open(root, _FOLDER)
        for part in parts:
            below = os.open(part, _FOLDER, dir_fd=handle)
            os.close(handle)
            handle = below
    except OSError:
        if handle >= 0:
            os.close(handle)
        raise no_file(name) from None
    try:
        yield handle, last
    finally:
        os.close(handle)


def _speakable(part: str) -> bool:
    """Whether a part of a name is one, and can travel."""
    if part in ("", ".", "..") or "/" in part:
        return False
    try:
        return part.isprintable() and len(part.encode("utf-8")) <= 255
    except UnicodeEncodeError:
        return False
