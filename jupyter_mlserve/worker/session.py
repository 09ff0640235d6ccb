"""The interpreter of a session: one lasting ``__main__`` in which code runs as in a console.

Node to worker: ``{"op": "session"}`` first (body: JSON of ``directory`` and ``limits``), then
``{"op": "execute"}`` (body: the published ExecuteRequest), ``{"op": "objects"}``, ``{"op": "set",
"name", "path"}``, ``{"op": "get", "name", "path"}``, ``{"op": "delete", "name"}``,
``{"op": "save", "folder"}``. One at a time. SIGINT interrupts what runs, and nothing else.
"""

from __future__ import annotations

import os
import signal
import sys

from .console import Console
from .describe import InputError
from .execution import Code, Request
from .failures import message_of, traceback_of
from .frames import FrameError, pack, parse_header
from .limits import limit_resources
from .outputs import dump_json
from .program import input_failure
from .workdir import MAX_REPORTED, marks_below
from .workspace import ObjectFailure, Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from types import ModuleType
    from typing import Any, Callable, Dict, List, Optional, Tuple

    from .frames import Reader

    # Header and body.
    Answer = Tuple[Dict[str, Any], bytes]

_OK: Dict[str, Any] = {"status": 200}


class Session:
    """Speaks frames on ``sock``, of which ``reader`` has read the first one."""

    def __init__(self, sock: socket.socket, reader: Reader, main: ModuleType) -> None:
        self._sock = sock
        self._reader = reader
        self._pid = os.getpid()
        self._code = Code(main.__dict__)
        self._workspace = Workspace(main.__dict__)
        self._directory = ""
        self._result_limit = 0
        self._running = False
        self._stdin: Any = None

    def run(self, body: bytes) -> None:
        """Serve until the node closes the connection; ``body`` is that of the first frame."""
        self._repair()
        answer = self._open(parse_header(body))
        while True:
            try:
                for buffer in pack(*answer):
                    self._sock.sendall(buffer)
                frame = self._reader.read()
            except (OSError, FrameError):
                return
            if frame is None:
                return
            answer = self._answer(parse_header(frame[0]), frame[1])

    def _open(self, spec: Dict[str, Any]) -> Answer:
        limits = spec["limits"]
        self._console = Console(int(limits["console"]))
        self._result_limit = int(limits["result"])
        self._directory = str(spec["directory"])
        try:
            os.chdir(self._directory)
        except OSError as exc:
            why = f"The working directory of the session cannot be used: {exc.strerror}."
            return {"status": 400, "kind": "SessionFailed", "message": why}, b""
        limit_resources(int(limits["memory"]), int(limits["file"]))
        sys.path.insert(0, "")  # as in a console: modules in the working directory are found
        sys.argv = [""]
        return dict(_OK, python=".".join(map(str, sys.version_info[:3]))), b""

    def _repair(self) -> None:
        """Code may have set a handler of its own, and ``exit()`` closes the standard input."""
        signal.signal(signal.SIGINT, self._interrupted)
        if sys.stdin is not self._stdin or self._stdin.closed:
            self._stdin = sys.stdin = open(0, closefd=False)  # noqa: SIM115

    # Interrupts

    def _interrupted(self, signum: int, frame: Any) -> None:
        if self._running:
            raise KeyboardInterrupt

    def _interruptibly(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """The caller catches BaseException: the interrupt may come at the very end."""
        try:
            self._running = True
            return work(*arguments)
        finally:
            self._running = False

    # What can be asked

    def _answer(self, request: Dict[str, Any], body: bytes) -> Answer:
        try:
            if request["op"] == "execute":
                return self._execute(Request(body))
            return _OK, self._interruptibly(self._on_objects, request["op"], request)
        except ObjectFailure as exc:
            return exc.header, b""
        except InputError as exc:
            return input_failure(exc), b""
        except BaseException as exc:
            self._running = False
            what = "It was cancelled." if isinstance(exc, KeyboardInterrupt) else message_of(exc)
            return {"status": 400, "kind": "SessionFailed", "message": what}, b""

    def _on_objects(self, op: str, request: Dict[str, Any]) -> bytes:
        workspace = self._workspace
        found: Any = {}
        if op == "objects":
            found = workspace.names()
        elif op == "set":
            workspace.load(request["name"], request["path"])
        elif op == "get":
            workspace.store(request["name"], request["path"])
        elif op == "delete":
            workspace.delete(request["name"])
        elif op == "save":
            found = {"objects": workspace.save(request["folder"])}
        else:
            raise ValueError(f"unknown operation {op!r}")
        return dump_json(found).encode()

    def _run(self, request: Request) -> List[Dict[str, Any]]:
        self._code.run(request)
        return self._code.outputs(request.outputs)

    def _execute(self, request: Request) -> Answer:
        before = marks_below(self._directory)
        error, said, outputs = "", "", []
        try:
            outputs = self._interruptibly(self._run, request)
        except BaseException as exc:
            self._running = False
            _forget_handler(exc)
            error, said = _one_line(message_of(exc)), traceback_of(exc)
        if os.getpid() != self._pid:
            os._exit(0)  # a child that the code forked, and that came back from it
        self._repair()
        after = marks_below(self._directory)
        changed = sorted(name for name, mark in after.items() if before.get(name) != mark)
        text = self._console.take()
        if said:
            text = f"{text}\n{said}" if text and not text.endswith("\n") else text + said
        result = {
            "success": not error,
            "errorMessage": error,
            "outputParameters": outputs,
            "consoleOutput": text,
            "changedFiles": changed[:MAX_REPORTED],
        }
        data = dump_json(result).encode()
        if len(data) > self._result_limit:
            error = (
                f"the outputs have {len(data):,} bytes as JSON; at most {self._result_limit:,} "
                "are allowed (result_limit). Ask for less, or write a file."
            )
            result.update(success=False, errorMessage=error, outputParameters=[])
            data = dump_json(result).encode()
        return dict(_OK, success=not error, console=text), data


def _forget_handler(exc: BaseException) -> None:
    """Let the tracebacks of interrupts end where the code was."""
    link: Optional[BaseException] = exc
    for _ in range(20):
        if link is None:
            return
        tb = link.__traceback__ if isinstance(link, KeyboardInterrupt) else None
        while tb is not None and tb.tb_next is not None:
            if tb.tb_next.tb_frame.f_code is Session._interrupted.__code__:
                tb.tb_next = None
            tb = tb.tb_next
        link = link.__cause__ or link.__context__


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())
