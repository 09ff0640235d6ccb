"""One session: whose it is, what is staged in it, and when it was last used."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ...contract.errors import NotFound, OutOfSpace, SessionEnded
from ...contract.limits import MAX_OBJECTS
from ...store.snapshot_models import Item

PYTHON = "Python"


# Of what was run, this much is remembered.
MAX_HISTORY, MAX_HISTORY_TEXT = 1_000, 16 * 1024**2


class History:
    """The code that was run, oldest first; when it is too much, only the last of it."""

    def __init__(self) -> None:
        self.entries: deque[str] = deque()
        self._length = 0

    def add(self, code: str) -> None:
        self.entries.append(code)
        self._length += len(code)
        while len(self.entries) > MAX_HISTORY or self._length > MAX_HISTORY_TEXT:
            self._length -= len(self.entries.popleft())


@dataclass
class Session:
    """Used from the event loop only. ``lock`` is held while what is staged changes, while the
    interpreter is started, and while a snapshot is taken or loaded."""

    id: str
    name: str | None
    owner: str
    folder: Path
    quota: int  # bytes
    staged: dict[str, Item] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    ended: str = ""  # why, once it has
    started: bool = False  # it has, or had, or may be about to have an interpreter
    live: bool = False  # it has an interpreter, which then has its objects
    coming: int = 0  # bytes of uploads in progress
    history: History = field(default_factory=lambda: History())
    _using: int = 0
    _used: float = field(default_factory=time.monotonic)

    @property
    def files(self) -> Path:
        """Its working directory."""
        return self.folder / "files"

    # -- use ----------------------------------------------------------------------------------

    @property
    def idle(self) -> float:
        """Seconds since it was last used; 0 while it is."""
        return 0.0 if self._using else time.monotonic() - self._used

    def touch(self) -> None:
        """It is being used."""
        self._used = time.monotonic()

    @contextmanager
    def using(self) -> Iterator[Session]:
        """It is used while the block runs. Raises SessionEnded."""
        self.alive()
        self._using += 1
        try:
            yield self
        finally:
            self._using -= 1
            self.touch()

    def alive(self) -> None:
        """Raise SessionEnded if it has ended."""
        if self.ended:
            raise SessionEnded(f"This session has ended: {self.ended}. Create another one.")

    # -- what is staged -----------------------------------------------------------------------

    def room(self, name: str) -> int:
        """Bytes that an object of that name may have. Raises OutOfSpace."""
        if name not in self.staged and len(self.staged) >= MAX_OBJECTS:
            raise OutOfSpace(
                f"The session has {MAX_OBJECTS:,} objects, the most that one may have.",
                limit=MAX_OBJECTS,
            )
        others = sum(item.size for key, item in self.staged.items() if key != name)
        return max(0, self.quota - others)

    def no_room(self) -> OutOfSpace:
        return OutOfSpace(
            f"What is in the session would have more than the {self.quota:,} bytes that one may "
            "have (session_quota). Delete objects or files that are not needed, or ask the "
            "administrator to raise the limit.",
            limit=self.quota,
        )

    def staged_item(self, name: str) -> Item:
        """Raises NotFound."""
        if name not in self.staged:
            raise no_object(name)
        return self.staged[name]


def no_object(name: str) -> NotFound:
    return NotFound(
        f"There is no object {name[:128]!r} in the workspace of this session.", field="objectName"
    )
