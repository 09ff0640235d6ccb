"""One session as the node sees it: its interpreter, what waits for it, and how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..contract.errors import CallTimeout, Conflict, MLServeError, SessionLost
from ..worker.frames import dump_header
from .process import BUSY, IDLE, STARTING, Call, Stopped, Worker
from .protocol import Body
from .reaper import Exit
from .session_replies import (
    busy_too_long,
    closed,
    full,
    gone,
    not_started,
    session_error,
    stuck,
    too_long,
    unknown_session,
)

if TYPE_CHECKING:
    from .sessions import Sessions

__all__ = ["Session", "Task", "unknown_session"]

_OPEN = b'{"op":"session"}'
_CANCEL, _TIMEOUT = "cancel", "timeout"


class Task(Call):
    """A request for the interpreter; it may run for ``limit`` seconds, and wait as long."""

    __slots__ = ("limit", "name", "op")

    def __init__(
        self,
        number: int,
        body: Body,
        request: dict[str, Any],
        limit: float,
        answer: Callable[[Task, Any, Any, float], None],
    ) -> None:
        super().__init__(
            number,
            body,
            time.monotonic() + limit,
            lambda header, result, seconds: answer(self, header, result, seconds),
        )
        self.header = dump_header(request).encode()
        self.op = str(request["op"])
        self.name = str(request.get("name") or "")
        self.limit = limit


class Session:
    """Is told by its worker what happens (process.Owner); ``spec`` as of ComputeNode."""

    def __init__(self, sessions: Sessions, name: str, spec: dict[str, Any]) -> None:
        self.node = sessions.node
        self.name = name
        self.label = f"session {name}"
        self.spec = spec
        self.worker: Worker | None = None
        self.queue: deque[Task] = deque()
        self._sessions = sessions
        self._config = self.node.config
        self._opener: int | None = None  # the request that waits for it to be open
        self._python: str | None = None
        self._to_load: deque[dict[str, Any]] = deque(spec.get("workspace") or ())
        self._console = ""  # of the last execution
        self._lost: SessionLost | None = None
        # Why what runs is being interrupted ("": it is not), since when, and how often.
        self._why = ""
        self._since = 0.0
        self._interrupts = 0
        self._cancellers: list[int] = []
        self._closers: list[int] = []
        self._cleanup: asyncio.Future[None] | None = None
        self._start: asyncio.Task[None] | None = None

    # Opening

    def open(self, number: int) -> None:
        """Start the interpreter and load the objects; then answer the request."""
        self._opener = number
        quota = float(self.spec.get("quota") or "inf")
        self.worker = self.node.new_interpreter(self, str(self.spec["directory"]), quota)
        self._start = asyncio.ensure_future(self._start_worker(self.worker))

    async def _start_worker(self, worker: Worker) -> None:
        spec = {"directory": worker.directory, "limits": self._config.worker_limits}
        interpreter, limit = str(self.spec["interpreter"]), self._config.load_timeout
        try:
            await worker.start(interpreter, json.dumps(spec).encode(), limit, first=_OPEN)
        except Stopped:
            self._ended()
        except Exception as exc:
            self.log(logging.WARNING, f"{self.label} could not be started: {exc}")
            self._open_failed(not_started(interpreter, str(exc)))
            self._ended()

    def _load_next(self, worker: Worker) -> None:
        if self._to_load:
            item = self._to_load[0]
            request = {"op": "set", "name": str(item["name"]), "path": str(item["path"])}
            task = Task(0, b"", request, self._config.load_timeout, self._object_loaded)
            worker.begin(task, float("inf"))
            return
        number, self._opener = self._opener, None
        if number is not None:
            self.node.answer(number, {}, json.dumps({"python": self._python}).encode())
        self._feed()

    def _object_loaded(self, task: Task, header: Any, result: Any, seconds: float) -> None:
        if (exc := self._error_of(task, header, result)) is not None:
            self._open_failed(exc)
        else:
            self._to_load.popleft()

    def _open_failed(self, exc: MLServeError) -> None:
        """Nothing stays of a session that could not be opened."""
        number, self._opener = self._opener, None
        self._lose(SessionLost("The session could not be opened."))
        self._sessions.forget(self)
        if self.worker is not None:
            self.worker.stopped = True
            self.worker.kill()
        if number is not None:
            self.node.answer_error(number, exc)

    # Requests

    def submit(self, task: Task) -> None:
        """Take a request: it is begun at once, or it waits, or it is refused."""
        worker = self.worker
        if self._lost is not None or worker is None:
            task.answer(None, self._lost or unknown_session(), 0.0)
        elif worker.state == IDLE and self._opener is None and not self.queue:
            worker.begin(task, float("inf"))
        elif len(self.queue) >= self._config.session_queue:
            task.answer(None, full(len(self.queue)), 0.0)
        else:
            self.queue.append(task)

    def _feed(self) -> None:
        if self.queue and self.worker is not None and self.worker.state == IDLE:
            self.worker.begin(self.queue.popleft(), float("inf"))

    def drop(self, number: int) -> None:
        """Nobody waits for this request any more."""
        for task in self.queue:
            if task.number == number:
                self.queue.remove(task)
                return

    def answer(self, task: Task, header: Any, result: Any, seconds: float) -> None:
        """Tell the web node what became of the request."""
        if header is not None and "console" in header and task.op == "execute":
            self._console = str(header["console"])
        exc = self._error_of(task, header, result)
        if exc is not None:
            self.node.answer_error(task.number, exc, seconds)
            return
        more = {} if header is None else {"success": bool(header.get("success"))}
        self.node.answer(task.number, {"status": 200, "seconds": round(seconds, 6), **more}, result)

    def _error_of(self, task: Task, header: Any, result: Any) -> MLServeError | None:
        if isinstance(result, MLServeError):
            return result
        done = header is None or (header.get("status") == 200 and header.get("success", True))
        if self._why == _TIMEOUT and not done:
            return too_long(task.op, task.limit, task.name)
        if header is None or header.get("status") == 200:
            return None
        return session_error(header)

    def console_output(self, number: int) -> None:
        """What the execution that runs, or the last one, has written so far."""
        worker = self.worker
        if self._lost is not None or worker is None:
            self.node.answer_error(number, self._lost or unknown_session())
            return
        running = isinstance(worker.call, Task) and worker.call.op == "execute"
        text = worker.output() if running else self._console
        self.node.answer(number, {}, json.dumps({"consoleOutput": text}).encode())

    # Interrupting

    def cancel(self, number: int) -> None:
        """Interrupt what runs; answers when it has ended. Killed if it does not end in time."""
        worker = self.worker
        if self._lost is not None or worker is None:
            self.node.answer_error(number, self._lost or unknown_session())
        elif worker.state != BUSY or self._opener is not None:
            self.node.answer(number, {}, b'{"cancelled":false}')
        else:
            self._cancellers.append(number)
            if not self._why:
                self._interrupt(worker, _CANCEL)

    def _interrupt(self, worker: Worker, why: str) -> None:
        self._why, self._since, self._interrupts = why, time.monotonic(), 1
        worker.deadline = self._since + self._config.session_grace
        worker.interrupt()

    def _settle(self) -> None:
        """What was interrupted has ended."""
        self._why = ""
        cancellers, self._cancellers = self._cancellers, []
        for number in cancellers:
            if self._lost is not None:
                self.node.answer_error(number, self._lost)
            else:
                self.node.answer(number, {}, b'{"cancelled":true}')

    def check(self, now: float) -> None:
        """Look at everything that has a deadline."""
        worker = self.worker
        if worker is not None:
            if worker.state == BUSY and isinstance(worker.call, Task):
                if not self._why:
                    if now > worker.call.started + worker.call.limit:
                        self._interrupt(worker, _TIMEOUT)
                elif self._interrupts == 1 and now > self._since + self._config.session_grace / 2:
                    # The code may have swallowed the first one.
                    self._interrupts = 2
                    worker.interrupt()
            elif worker.state == IDLE:
                worker.trim()
            worker.check(now)
        for task in [task for task in self.queue if now > task.deadline]:
            self.queue.remove(task)
            task.answer(None, busy_too_long(task.limit), 0.0)

    # Ending

    def close(self, number: int, force: bool) -> None:
        """End the interpreter; answers when it and all it started are gone."""
        worker = self.worker
        if worker is None:
            self._closers.append(number)
            if self._cleanup is None or self._cleanup.done():
                self._closed()
            return
        if not force and (worker.state in (BUSY, STARTING) or self.queue):
            why = "The session is busy. Wait for it, cancel what it does, or close it by force."
            self.node.answer_error(number, Conflict(why))
            return
        self._closers.append(number)
        worker.stopped = True
        if worker.state == IDLE:
            self._lose(closed())
            worker.end()
            return
        call, worker.call = worker.call, None
        self._lose(closed())
        if call is not None:
            call.answer(None, closed(), time.monotonic() - call.started)
        worker.kill()

    def _lose(self, exc: SessionLost) -> None:
        """From here on the session has no interpreter to speak of."""
        if self._lost is None:
            self._lost = SessionLost(exc.message)
        waiting, self.queue = self.queue, deque()
        for task in waiting:
            task.answer(None, self._lost, 0.0)
        self._settle()

    def _ended(self) -> None:
        """The process is gone, or never was."""
        worker, self.worker = self.worker, None
        if self._opener is not None:
            self._open_failed(closed())
        if worker is not None and worker.cleanup is not None:
            self._cleanup = worker.cleanup
            worker.cleanup.add_done_callback(lambda _: self._closed())
        else:
            self._closed()

    def _closed(self) -> None:
        closers, self._closers = self._closers, []
        if closers:
            self._sessions.forget(self)
        for number in closers:
            self.node.answer(number, {}, b"{}")

    # What the worker tells

    def worker_loaded(self, worker: Worker, header: dict[str, Any]) -> None:
        self._python = header.get("python")
        self._load_next(worker)

    def worker_failed(self, worker: Worker, header: dict[str, Any]) -> None:
        self._open_failed(session_error(header))

    def worker_idle(self, worker: Worker, call: Call, seconds: float) -> None:
        self._settle()
        if self._opener is not None and worker.state == IDLE:
            self._load_next(worker)
        else:
            self._feed()

    def worker_gone(self, worker: Worker, call: Call | None, how: Exit, output: str) -> None:
        memory = self._config.worker_memory
        exc = gone(how, memory, output)
        if self._opener is not None:
            name = str(self._to_load[0]["name"]) if self._to_load and worker.loaded else ""
            self._open_failed(not_started(str(self.spec["interpreter"]), str(how), name))
        elif self._lost is None:
            last = f"; its last output:\n{output}" if output else ""
            self.log(logging.WARNING, f"{self.label}: worker {worker.pid} ended: {how}{last}")
            self._lose(exc)
        if call is not None and self._lost is not None and isinstance(call, Task) and call.number:
            call.answer(None, self._lost, time.monotonic() - call.started)
        self._ended()
        self.node.watch()

    def worker_stuck(self, worker: Worker, call: Call | None, place: str) -> None:
        if self._opener is not None:
            limit = self._config.load_timeout
            name = str(self._to_load[0]["name"]) if self._to_load and worker.loaded else ""
            self._open_failed(too_long("set" if name else "open", limit, name))
            return
        exc = stuck(self._why == _TIMEOUT, place)
        if isinstance(call, Task):
            error: MLServeError = exc
            if self._why == _TIMEOUT:
                error = CallTimeout(exc.message, limit=call.limit, traceback=place)
            call.answer(None, error, time.monotonic() - call.started)
        self._lose(exc)

    def worker_over(self, worker: Worker, call: Call, why: str) -> None:
        worker.call = None
        worker.stopped = True
        exc = SessionLost(f"The interpreter of the session was ended, because its code {why}.")
        call.answer(None, exc, time.monotonic() - call.started)
        self._lose(exc)

    def call_again(self, call: Call) -> None:
        """It died before it began this call."""
        assert isinstance(call, Task)
        self.submit(call)

    def log(self, level: int, message: str) -> None:
        self.node.log(level, message)
