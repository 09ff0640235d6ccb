"""The working directory of a call: the version's files and nothing else, whatever the last did.

The directory is made once per worker. Its modification time is set to 0 and those of the files to
their own, so that "nothing was touched" is known from one ``stat`` of the directory and one of
each file: the clean path of a call costs a few microseconds, and only a dirty directory is wiped.
"""

from __future__ import annotations

import errno
import os
import stat

from .failures import LoadFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

    Mark = Tuple[int, int, int, int]

MAX_REPORTED = 1000  # changed files named in a reply
_MAX_MARKS = 20_000
CHUNK = 1024 * 1024


class WorkDir:
    """``path`` is made if need be; ``files`` are ``{"name", "path", "sha256"}`` of the version."""

    def __init__(self, path: str, files: Sequence[Mapping[str, Any]]) -> None:
        self.path = path
        self._sources: Dict[str, Mapping[str, Any]] = {str(item["name"]): item for item in files}
        self._marks: Dict[str, Mark] = {}
        self._fd = -1
        for name in self._sources:
            if not name or name in (".", "..") or "/" in name or os.sep in name or "\0" in name:
                raise LoadFailure(f"The file name {name!r} cannot be used: give a plain name.")
        self._make()
        for name in self._sources:
            self._place(name)
        self._settle()

    def _make(self) -> None:
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        self._inode = os.fstat(self._fd).st_ino
        os.fchdir(self._fd)

    def _place(self, name: str) -> None:
        """Copy one file of the version here, verified. A link would let a call change the store."""
        item = self._sources[name]
        target = os.path.join(self.path, name)
        copy_verified(str(item["path"]), target, str(item["sha256"]), f"the file {name!r}")
        self._marks[name] = _mark(os.stat(target))

    def _settle(self) -> None:
        os.utime(self._fd, ns=(0, 0))

    def clean(self) -> bool:
        """Whether everything is as it was; also goes back to the directory. A few microseconds."""
        os.fchdir(self._fd)
        try:
            found = os.lstat(self.path)  # by its path: it may have been moved or replaced
        except OSError:
            return False
        if found.st_mtime_ns or found.st_ino != self._inode:
            return False
        for name, mark in self._marks.items():
            try:
                if _mark(os.lstat(name)) != mark:
                    return False
            except OSError:
                return False
        return True

    def changed(self) -> List[str]:
        """Names of files that were made or changed, ``/`` between folders, sorted."""
        names: List[str] = []
        if not self._intact():
            return names
        for folder, folders, files in os.walk(self.path):
            folders[:] = [name for name in folders if name != "__pycache__"]
            prefix = os.path.relpath(folder, self.path)
            for name in files:
                full = name if prefix == "." else f"{prefix}/{name}".replace(os.sep, "/")
                if not self._is_original(full) and len(names) < MAX_REPORTED:
                    names.append(full.encode("utf-8", "replace").decode("utf-8"))
        return sorted(names)

    def _is_original(self, name: str) -> bool:
        mark = self._marks.get(name)
        try:
            return mark is not None and _mark(os.lstat(os.path.join(self.path, name))) == mark
        except OSError:
            return False

    def read(self, name: str, limit: int) -> Optional[bytes]:
        """Content of a file that the call wrote; None when it is not there.

        Raises ValueError when it is no regular file or larger than ``limit`` bytes.
        """
        path = os.path.join(self.path, name)
        try:
            # Opening a fifo would wait for its other end for ever.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise ValueError(f"the output file {name!r} cannot be read: {exc.strerror}") from None
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise ValueError(f"the output file {name!r} is not a regular file")
        with os.fdopen(fd, "rb") as file:
            if found.st_size > limit:
                raise ValueError(
                    f"the output file {name!r} has {found.st_size:,} bytes; "
                    f"the reply may have {limit:,}"
                )
            return file.read()

    def _intact(self) -> bool:
        try:
            return os.lstat(self.path).st_ino == self._inode
        except OSError:
            return False

    def wipe(self) -> None:
        """Make it as it was. Raises OSError when that is not possible; then the worker must go."""
        if not self._intact():
            _remove(self.path)
            self._marks.clear()
        self._make()
        for entry in list(os.scandir(self.path)):
            if not self._is_original(entry.name):
                _remove(entry.path)
                self._marks.pop(entry.name, None)
        for name in self._sources:
            if name not in self._marks or not self._is_original(name):
                self._place(name)
        self._settle()


def _mark(found: os.stat_result) -> Mark:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def marks_below(path: str) -> Dict[str, Mark]:
    """What tells of each file below whether it was changed, by its name, ``/`` between folders.

    At most 20,000 files are looked at; links are not followed.
    """
    found: Dict[str, Mark] = {}
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name != "__pycache__"]
        prefix = os.path.relpath(folder, path)
        for name in files:
            full = name if prefix == "." else f"{prefix}/{name}".replace(os.sep, "/")
            try:
                mark = _mark(os.lstat(os.path.join(folder, name)))
            except OSError:
                continue
            found[full.encode("utf-8", "replace").decode("utf-8")] = mark
        if len(found) > _MAX_MARKS:
            break
    return found


def _remove(path: str) -> None:
    """Remove a file or a tree, permissions of author code's making notwithstanding."""
    try:
        if not os.path.isdir(path) or os.path.islink(path):
            os.unlink(path)
            return
        import shutil

        shutil.rmtree(path, ignore_errors=True)
        if os.path.lexists(path):
            for folder, _, _ in os.walk(path):
                os.chmod(folder, 0o700)
            shutil.rmtree(path)
    except FileNotFoundError:
        pass


def copy_verified(source: str, target: str, sha256: str, what: str) -> None:
    """Copy a blob while hashing it. Raises LoadFailure ``BundleCorrupt`` that names it."""
    import hashlib  # loads OpenSSL: only where there are files

    digest = hashlib.sha256()
    with open_blob(source, what) as blob, open(target, "wb") as file:
        while True:
            chunk = blob.read(CHUNK)
            if not chunk:
                break
            digest.update(chunk)
            file.write(chunk)
    os.chmod(target, 0o600)
    if digest.hexdigest() != sha256:
        raise corrupt(what, "its content is not what was published")


def open_blob(path: str, what: str) -> Any:
    try:
        return open(path, "rb", buffering=0)
    except OSError as exc:
        raise corrupt(what, f"it cannot be read ({exc.strerror})") from None


def corrupt(what: str, why: str) -> LoadFailure:
    return LoadFailure(
        f"The store is damaged: {what} is not usable, {why}. "
        "Publish the version again from its notebook, or restore the store from a backup.",
        kind="BundleCorrupt",
    )
