"""One session: whose it is, what is staged in it, and when it was last used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ...contract.errors import NotFound, OutOfSpace, SessionEnded
from ...contract.limits import MAX_OBJECTS
from ...store.snapshots import Item

PYTHON = "Python"


@dataclass
class Session:
    """Used from the event loop only. ``lock`` is held while its workspace changes, and while a
    snapshot is taken."""

    id: str
    name: str | None
    owner: str
    folder: Path
    quota: int  # bytes
    staged: dict[str, Item] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    ended: str = ""  # why, once it has
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
