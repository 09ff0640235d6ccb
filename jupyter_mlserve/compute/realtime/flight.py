"""What the realtime process was doing when it ended: written while it lives, read afterwards.

Every thread that runs models has a slot in a small file that is mapped into memory; it holds the
state it scores or loads at the moment. A crash leaves the slots as they were, and Python's fault
handler adds which thread it was.
"""

from __future__ import annotations

import contextlib
import mmap
import re
import struct
import threading
from pathlib import Path

_SLOTS = "slots"
_CRASH = "crash"
_ENDED = "ended"
_SIZE = 512  # bytes of a slot: thread, length of the state's id, the id
_HEAD = struct.Struct("!QB")
# Behind the id of a state whose block of records is scored, rather than a call.
BLOCK = "\n"
_THREAD = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)


class Recorder:
    """The slots of ``count`` threads; ``folder`` is the process's own directory."""

    def __init__(self, folder: Path, count: int) -> None:
        import faulthandler

        self._folder = folder
        with (folder / _SLOTS).open("w+b") as file:
            file.truncate(_SIZE * count)
            self._memory = mmap.mmap(file.fileno(), _SIZE * count)
        # Kept open: the handler writes to it by its number. It names the thread only if it is to
        # show all.
        self._crash = (folder / _CRASH).open("wb")
        faulthandler.enable(self._crash, all_threads=True)

    def enter(self, slot: int) -> None:
        """The calling thread takes the slot, for good."""
        ident = threading.get_ident()
        self._memory[slot * _SIZE : slot * _SIZE + _HEAD.size] = _HEAD.pack(ident, 0)

    def begin(self, slot: int, record: bytes) -> None:
        """The slot's thread is about to do something with a state; ``record`` is of `record_of`."""
        start = slot * _SIZE + 8
        self._memory[start : start + len(record)] = record

    def end(self, slot: int) -> None:
        self._memory[slot * _SIZE + 8] = 0

    def blame(self, record: bytes) -> None:
        """The process is about to end itself, because of this state."""
        with contextlib.suppress(OSError):
            (self._folder / _ENDED).write_bytes(record)


def record_of(state_id: str, block: bool = False) -> bytes:
    """What :meth:`Recorder.begin` writes; empty for ids too long to be recorded."""
    data = (state_id + BLOCK if block else state_id).encode()
    return bytes([len(data)]) + data if len(data) < 256 else b"\0"


def crashed(folder: Path) -> tuple[list[str], bool]:
    """The states that the process in ``folder`` died of, as far as one can tell; is it certain?

    With :data:`BLOCK` behind those of which a block was scored.

    One, for certain, if it ended itself or the crash was in a thread that worked for one; else all
    that were being worked for.
    """
    ended = _read(folder / _ENDED)
    if ended:
        return _states([ended]), True
    slots = _read(folder / _SLOTS)
    working: dict[int, bytes] = {}
    for start in range(0, len(slots) - _SIZE + 1, _SIZE):
        ident, length = _HEAD.unpack_from(slots, start)
        if length:
            working[ident] = slots[start + 8 : start + _SIZE]
    match = _THREAD.search(_read(folder / _CRASH).decode("ascii", "replace"))
    if match is not None and int(match[1], 16) in working:
        return _states([working[int(match[1], 16)]]), True
    return _states(list(working.values())), False


def _states(records: list[bytes]) -> list[str]:
    return [record[1 : 1 + record[0]].decode("utf-8", "replace") for record in records]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1_000_000)
    except OSError:
        return b""
