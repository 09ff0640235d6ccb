"""The life of a worker: load one version, answer calls, end when the node goes away."""

from __future__ import annotations

import gc
import json
import sys
import time

from .console import Console
from .describe import InputError
from .failures import LoadFailure, message_of, traceback_of
from .frames import FrameError, Reader, pack, pack_raw, parse_header
from .limits import limit_resources
from .outputs import base64_text, dump_json
from .program import Program, call_failure, new_main
from .workdir import WorkDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from types import ModuleType
    from typing import Any, Dict, List, Optional, Tuple

_CALL = b'{"op":"call"}'
_OK = b'{"status":200}'
# A result without console output and files, up to its outputs.
_PLAIN = (
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
        self._files_out: List[str] = []
        self._file_limit = 0
        self._result_limit = 0

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
                op = parse_header(header).get("op")
                if op != "load":
                    buffers = pack({"status": 400, "message": f"unknown operation {op!r}"})
                else:
                    buffers = self._load(body)
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
        self._file_limit, self._result_limit = int(limits["file"]), int(limits["result"])
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
        program, console, workdir = self._program, self._console, self._workdir
        if program is None or console is None or workdir is None:
            return pack({"status": 500, "kind": "WorkerLost", "message": "nothing is loaded"})
        stray = console.take()  # what threads of the author wrote between calls
        try:
            values = program.decode(body)
        except InputError as exc:
            header: Dict[str, Any] = {
                "status": 400,
                "kind": "InvalidInput",
                "message": str(exc),
                "field": exc.field,
                "expected": exc.expected,
                "got": exc.got,
            }
            return pack(header)
        except MemoryError as exc:
            header, _ = call_failure(exc)
            return pack(dict(header, retire=True))
        except Exception as exc:  # a library's own error about a value we let through
            text = message_of(exc)
            return pack(
                {
                    "status": 400,
                    "kind": "InvalidInput",
                    "message": text,
                    "field": "",
                    "expected": "values that the declared types can hold",
                    "got": text,
                }
            )
        error = None
        retire = False
        outputs: Dict[str, Any] = {}
        files: Dict[str, Any] = {}
        try:
            outputs = program.run(values)
            if self._files_out:
                files = self._read_files(workdir)
        except BaseException as exc:
            error, retire = call_failure(exc)
        values = {}
        changed: List[str] = []
        try:
            if not workdir.clean():
                changed = workdir.changed()
                workdir.wipe()
        except (OSError, LoadFailure):
            retire = True
        program.restore()
        text = console.take()
        if error is None and not (text or stray or changed or files or retire):
            # The way of nearly all calls.
            try:
                result = _PLAIN + dump_json(outputs).encode() + b"}"
            except (ValueError, RecursionError) as exc:
                error, retire = call_failure(exc)
            else:
                if len(result) <= self._result_limit:
                    return pack_raw(_OK, result)
                error = _too_large(len(result), self._result_limit)
        if error is None:
            error, result = self._full_result(outputs, files, changed, text)
        header = error or {"status": 200}
        if retire:
            header["retire"] = True
        if stray:
            header["stray"] = stray
        if error is not None:
            header["console"] = text
            return pack(header)
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
        if len(result) > self._result_limit:
            return _too_large(len(result), self._result_limit), b""
        return None, result

    def _read_files(self, workdir: WorkDir) -> Dict[str, Any]:
        files: Dict[str, Any] = {}
        room = self._result_limit
        for name in self._files_out:
            data = workdir.read(name, room)
            room -= len(data or b"")
            files[name] = None if data is None else base64_text(data)
        return files


def _too_large(size: int, limit: int) -> Dict[str, Any]:
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
