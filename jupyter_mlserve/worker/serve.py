"""The life of a worker: load one version, answer calls, end when the node goes away."""

from __future__ import annotations

import gc
import json
import sys
import time

from .console import Console
from .failures import LoadFailure, message_of, traceback_of
from .frames import FrameError, Reader, pack, pack_raw, parse_header
from .limits import limit_resources
from .outputs import base64_text, dump_json
from .program import Program, call_failure, input_failure, new_main
from .workdir import WorkDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from types import ModuleType
    from typing import Any, Callable, Dict, List, Optional, Tuple

    from .blocks import Records
    from .threads import Threads

    # Header (None: all is well, and the body is the result) and body.
    Answer = Tuple[Optional[Dict[str, Any]], bytes]
    Executed = Tuple[Optional[Dict[str, Any]], bool, Any, Dict[str, Any], List[str], str]

_CALL = b'{"op":"call"}'
_OK = b'{"status":200}'
# A result without console output and files, up to its outputs.
PLAIN = (
    b'{"success":true,"errorMessage":"","consoleOutput":"","changedFiles":[],"outputFiles":{},'
    b'"outputParameters":'
)


class Worker:
    """Speaks frames on ``sock`` (see :mod:`.frames`); descriptors 1 and 2 are the console."""

    def __init__(self, sock: socket.socket, main: Optional[ModuleType] = None) -> None:
        self._sock = sock
        self._reader = Reader(sock)
        self._main = new_main() if main is None else main
        self._console: Optional[Console] = None
        self._program: Optional[Program] = None
        self._workdir: Optional[WorkDir] = None
        self._records: Optional[Records] = None
        self._threads: Optional[Threads] = None
        self._files_out: List[str] = []
        self._file_limit = 0
        self.result_limit = 0

    def run(self) -> None:
        """Serve until the node closes the connection."""
        read, call = self._reader.read, self._call
        while True:
            try:
                frame = read()
            except (OSError, FrameError):
                return
            if frame is None:
                return
            header, body = frame
            if header == _CALL:
                buffers = call(body)
            else:
                request = parse_header(header)
                op = request.get("op")
                if op == "load":
                    buffers = self._load(body)
                elif op in ("block", "arrow") and self._program is not None:
                    buffers = self._block(op, request, body)
                elif op == "session":
                    from .session import Session

                    Session(self._sock, self._reader, self._main).run(body)
                    return
                else:
                    buffers = pack({"status": 400, "message": f"unknown operation {op!r}"})
            try:
                for buffer in buffers:
                    self._sock.sendall(buffer)
            except OSError:
                return

    # Loading

    def _load(self, body: bytes) -> List[Any]:
        start = time.perf_counter()
        spec = json.loads(str(body, "utf-8"))
        limits = spec["limits"]
        console = self._console = Console(int(limits["console"]))
        self._file_limit, self.result_limit = int(limits["file"]), int(limits["result"])
        reply: Dict[str, Any]
        try:
            _check_interpreter(spec)
            self._workdir = WorkDir(spec["directory"], spec.get("files") or ())
            limit_resources(int(limits["memory"]), self._file_limit)
            sys.path.insert(0, "")  # as in a notebook: modules beside the code are found
            sys.argv = [""]
            self._program = Program(spec, self._main)
            self._files_out = [str(name) for name in spec.get("files_out") or ()]
            if not self._workdir.clean():
                self._workdir.wipe()
            # The model is there to stay: the collector need not walk it in every call.
            gc.collect()
            gc.freeze()
        except LoadFailure as exc:
            reply = {"kind": exc.kind, "message": exc.message, "traceback": exc.traceback}
        except MemoryError as exc:
            reply = {"kind": "OutOfMemory", "message": "", "traceback": traceback_of(exc)}
        except Exception as exc:
            reply = {
                "kind": "TrialFailed",
                "message": f"The service could not be loaded: {message_of(exc)}",
                "traceback": traceback_of(exc),
            }
        else:
            reply = {"status": 200, "python": ".".join(map(str, sys.version_info[:3]))}
            reply["modules"] = _modules()
        reply.setdefault("status", 400)
        reply["console"] = console.take()
        reply["seconds"] = round(time.perf_counter() - start, 6)
        return pack(reply)

    # Calling

    def _call(self, body: bytes) -> List[Any]:
        header, result = self.record(body)
        return pack_raw(_OK, result) if header is None else pack(header, result)

    def record(self, body: bytes) -> Answer:
        """One record, from the JSON of its inputs to that of its result; header None says 200."""
        program, console = self._program, self._console
        if program is None or console is None:
            return {"status": 500, "kind": "WorkerLost", "message": "nothing is loaded"}, b""
        stray = console.take()  # what threads of the author wrote between calls
        try:
            values = program.decode(body)
        except Exception as exc:
            return input_failure(exc), b""
        error, retire, outputs, files, changed, text = self.execute(program.run, values)
        if error is None and not (text or stray or changed or files or retire):
            # The way of nearly all calls.
            try:
                result = PLAIN + dump_json(outputs).encode() + b"}"
            except (ValueError, RecursionError) as exc:
                error, retire = call_failure(exc)
            else:
                if len(result) <= self.result_limit:
                    return None, result
                error = too_large(len(result), self.result_limit)
        if error is None:
            error, result = self._full_result(outputs, files, changed, text)
        header = error or {"status": 200}
        if retire:
            header["retire"] = True
        if stray:
            header["stray"] = stray
        if error is not None:
            header["console"] = text
            return header, b""
        return header, result

    def execute(self, run: Callable[[Dict[str, Any]], Any], values: Dict[str, Any]) -> Executed:
        """Run the author's code and undo what it did to its surroundings.

        Gives the header of an error or None, whether the worker must go, what ``run`` returned,
        the declared files, the names of changed ones, and the console output.
        """
        program, console, workdir = self._program, self._console, self._workdir
        assert program is not None
        assert console is not None
        assert workdir is not None
        error = None
        retire = False
        outputs: Any = {}
        files: Dict[str, Any] = {}
        try:
            outputs = run(values)
            if self._files_out:
                files = self._read_files(workdir)
        except BaseException as exc:
            error, retire = call_failure(exc)
        values.clear()  # the author's results may be all that fits into memory
        changed: List[str] = []
        try:
            if not workdir.clean():
                changed = workdir.changed()
                workdir.wipe()
        except (OSError, LoadFailure):
            retire = True
        program.restore()
        return error, retire, outputs, files, changed, console.take()

    def stray(self) -> str:
        """What was written since the last call."""
        return self._console.take() if self._console is not None else ""

    def _block(self, op: str, request: Dict[str, Any], body: bytes) -> List[Any]:
        """Many records in one frame; the modules for it are imported by the first one."""
        assert self._program is not None
        if self._records is None or self._threads is None:
            from .blocks import Records
            from .threads import Threads

            self._records, self._threads = Records(self, self._program), Threads()
        try:
            with self._threads.at_most(int(request.get("threads") or 0)):
                if op == "arrow":
                    from .arrow import score

                    header, result = score(self, self._program, body)
                else:
                    header, result = self._records.score(request, body)
        except MemoryError as exc:
            return pack(dict(call_failure(exc)[0], retire=True))
        return pack(header, result)

    def _full_result(
        self, outputs: Dict[str, Any], files: Dict[str, Any], changed: List[str], text: str
    ) -> Tuple[Optional[Dict[str, Any]], bytes]:
        whole = {
            "success": True,
            "errorMessage": "",
            "consoleOutput": text,
            "changedFiles": changed,
            "outputFiles": files,
            "outputParameters": outputs,
        }
        try:
            result = dump_json(whole).encode()
        except (ValueError, RecursionError) as exc:
            return call_failure(exc)[0], b""
        if len(result) > self.result_limit:
            return too_large(len(result), self.result_limit), b""
        return None, result

    def _read_files(self, workdir: WorkDir) -> Dict[str, Any]:
        files: Dict[str, Any] = {}
        room = self.result_limit
        for name in self._files_out:
            data = workdir.read(name, room)
            room -= len(data or b"")
            files[name] = None if data is None else base64_text(data)
        return files


def too_large(size: int, limit: int) -> Dict[str, Any]:
    message = (
        f"the reply of the code has {size:,} bytes; at most {limit:,} are allowed "
        "(result_limit). Return less, or ask the administrator to raise the limit."
    )
    return {"status": 400, "kind": "ServiceFailed", "message": message, "traceback": ""}


def _check_interpreter(spec: Dict[str, Any]) -> None:
    """Code objects and pickles do not cross minor versions; an environment may be rebuilt."""
    recorded = str(spec.get("python") or "")
    own = "{}.{}".format(*sys.version_info[:2])
    if recorded and ".".join(recorded.split(".")[:2]) != own:
        raise LoadFailure(
            f"The service was published from Python {recorded}, and {sys.executable} is now "
            f"Python {own}. Objects do not cross versions: publish again from the environment "
            "as it is, or restore the old one."
        )


def _modules() -> List[str]:
    """What was imported, for the fork server to import beforehand next time."""
    return [name for name in sys.modules if not name.startswith("_")][:5000]
