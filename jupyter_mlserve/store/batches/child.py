"""Splitting and rendering for a server: in child processes, so that no hostile file meets it.

Small JSON is split, and stored JSON is passed on, in a thread of this process: that looks at bytes
and lines, and takes milliseconds. All else is the child's: ``python -m
jupyter_mlserve.store.batches``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from . import render as rendering
from . import split as splitting
from .child_process import Child
from .index import INDEX, INPUT
from .messages import DONE
from .models import Chunk
from .plan import OutPlan, Plan
from .readers import Turns
from .split import Split, SplitLimits

_T = TypeVar("_T")
# A slow reader is looked at after each of these.
_PIECE = 1 << 16
# Beside what is split: its index, and what is buffered.
_FILE_ROOM = 1 << 20


class Children:
    """Runs the work of batches on files; one for a server. Every method is for its event loop.

    Errors are those of split and render, and TooBusy (no turn in time), InternalError (the child
    crashed or took too long: the file could not be read).
    """

    def __init__(
        self,
        most: int = 2,
        memory: int = 2 << 30,
        seconds: float = 900.0,
        wait: float = 60.0,
        idle: float = 20.0,
    ) -> None:
        """Each child has so much ``memory`` (bytes, 0: any).

        ``most``: children of a kind at a time that convert, that split or render for one user;
        for all users one more, or twice as many that render: these mostly wait for who reads.
        ``seconds``: most time for a split, for a conversion, and between two pieces of a
        rendering. ``wait``: how long (seconds) work waits for its turn. ``idle``: how long a child
        that converts is kept for the next conversion.
        """
        self._most, self._memory, self._seconds = most, memory, seconds
        self._idle_seconds = idle
        self._converting = Turns(most, most, wait)
        self._splitting = Turns(most + 1, most, wait)
        self._rendering = Turns(2 * most, most, wait)
        # A thread for each child, and for what is light.
        self._threads = ThreadPoolExecutor(4 * most + 3, "mlserve-batch-files")
        self._children: set[Child] = set()
        self._idle: list[tuple[Child, asyncio.TimerHandle]] = []

    async def split(
        self,
        upload: Path,
        format: str,
        folder: Path,
        plan: Plan,
        limits: SplitLimits | None = None,
        user: str = "",
    ) -> Split:
        """As split.split; ``user``: who waits for it."""
        limits = limits or SplitLimits()
        size = (await self._thread(upload.stat)).st_size
        if splitting.is_light(format, size):
            return await self._thread(splitting.split, upload, format, folder, plan, limits)
        header = {
            "op": "split",
            "upload": str(upload),
            "format": format,
            "folder": str(folder),
            "plan": plan.to_json(),
            "limits": limits.to_json(),
            # The offsets are 12 bytes a record.
            "file_size": max(limits.output, 12 * limits.records) + _FILE_ROOM,
        }
        async with self._splitting.turn(user), self._child() as child:
            try:
                _, found = await self._answer(child, header, "The upload")
            except BaseException:
                await self._after(child, lambda: _remove_split(folder))
                raise
        return Split.from_json(found)

    async def convert(self, stream: bytes, plan: Plan) -> bytes:
        """The rows of a stored Arrow stream as lines, one record each."""
        async with self._converting.turn(""):
            child = self._take_idle() or self._start()
            whole = False
            try:
                header = {"op": "convert", "plan": plan.to_json()}
                lines, _ = await self._answer(child, header, "The stored records", stream)
                whole = True
            finally:
                if whole:
                    self._keep_idle(child)
                else:
                    await self._end(child)
        return lines

    async def render(
        self,
        folder: Path,
        chunks: Sequence[Chunk],
        outputs: OutPlan,
        format: str,
        offset: int = 0,
        limit: int | None = None,
        user: str = "",
    ) -> AsyncIterator[bytes]:
        """The results as pieces of a file in ``format`` (json: one array of results).

        ``offset`` and ``limit`` count records. It ends with TooBusy if the pieces are taken slowly
        while others than this ``user`` wait; the caller must end it when none is taken at all.
        Use it with contextlib.aclosing: closing it, or cancelling, ends the child.
        """
        if rendering.is_light(format, chunks):
            found = rendering.render(folder, chunks, outputs, format, offset, limit)
            while (piece := await self._thread(next, found, None)) is not None:
                for start in range(0, len(piece), _PIECE):
                    yield piece[start : start + _PIECE]
            return
        header = {
            "op": "render",
            "folder": str(folder),
            "chunks": [asdict(chunk) for chunk in chunks],
            "outputs": outputs.to_json(),
            "format": format,
            "offset": offset,
            "limit": limit,
        }
        what = "The results"
        async with self._rendering.turn(user) as turn, self._child() as child:
            await self._timed(child, what, child.send, self._bounded(header))
            while True:
                kind, data = await self._timed(child, what, child.receive, what)
                if kind == DONE:
                    return
                for start in range(0, len(data), _PIECE):
                    yield turn.give(data[start : start + _PIECE])
                    turn.taken()
                    self._rendering.make_room(turn)

    async def close(self) -> None:
        """End all children. What is under way fails."""
        for _, timer in self._idle:
            timer.cancel()
        self._idle.clear()
        for child in list(self._children):
            await self._end(child)
        self._threads.shutdown(wait=False, cancel_futures=True)

    # Children

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[Child]:
        child = self._start()
        try:
            yield child
        finally:
            await self._end(child)

    def _start(self) -> Child:
        # Here and not in a thread: the child ends with the thread that started it.
        child = Child()
        self._children.add(child)
        return child

    async def _end(self, child: Child) -> None:
        self._children.discard(child)
        child.kill()
        await self._after(child, child.close)

    async def _after(self, child: Child, step: Callable[[], None]) -> None:
        """Do ``step`` in a thread when the child has ended, also if this is cancelled meanwhile."""
        child.kill()

        def run() -> None:
            child.wait()
            step()

        with suppress(RuntimeError):  # The threads were shut down: the server is ending.
            await asyncio.shield(self._thread(run))

    def _take_idle(self) -> Child | None:
        while self._idle:
            child, timer = self._idle.pop()
            timer.cancel()
            if child.alive:
                return child
            self._discard(child)
        return None

    def _keep_idle(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        self._idle.append((child, loop.call_later(self._idle_seconds, self._forget, child)))

    def _forget(self, child: Child) -> None:
        self._idle = [item for item in self._idle if item[0] is not child]
        self._discard(child)

    def _discard(self, child: Child) -> None:
        self._children.discard(child)
        child.kill()
        with suppress(RuntimeError):
            self._threads.submit(child.close)

    # Talking

    def _bounded(self, header: dict[str, Any]) -> dict[str, Any]:
        return {**header, "memory": self._memory}

    async def _answer(
        self, child: Child, header: dict[str, Any], what: str, body: bytes = b""
    ) -> tuple[bytes, dict[str, Any]]:
        """The pieces and the end of an answer."""
        return await self._timed(child, what, child.ask, self._bounded(header), what, body)

    async def _timed(self, child: Child, what: str, step: Callable[..., _T], *arguments: Any) -> _T:
        """What a blocking step returns; the child is killed when it takes too long."""
        task = asyncio.ensure_future(self._thread(step, *arguments))
        try:
            return await asyncio.wait_for(asyncio.shield(task), self._seconds)
        except asyncio.TimeoutError:
            child.late = True
            child.kill()
            return await task  # It raises now: the child has gone.
        except asyncio.CancelledError:
            child.kill()
            task.add_done_callback(_seen)
            raise

    async def _thread(self, step: Callable[..., _T], *arguments: Any) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, step, *arguments)


def _seen(task: asyncio.Future[Any]) -> None:
    """Nobody waits for this any more, so its failure is no news."""
    if not task.cancelled():
        task.exception()


def _remove_split(folder: Path) -> None:
    for path in (folder / INPUT, *folder.glob(f"{INDEX}*")):
        with suppress(OSError):
            path.unlink(missing_ok=True)
