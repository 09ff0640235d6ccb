"""A worker process spoken to directly, as the compute node does, and load specs for it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupyter_mlserve
from jupyter_mlserve.worker.frames import Reader, send_frame

MAIN = Path(jupyter_mlserve.__file__).parent / "worker" / "__main__.py"
LIMITS = {
    "console": 64 * 1024,
    "memory": 4 * 1024**3,
    "file": 256 * 1024**2,
    "result": 64 * 1024**2,
}
Json = dict[str, Any]


def params(text: str) -> list[Json]:
    """``"x: numeric, y: list"`` in the wire's words."""
    pairs = [piece.split(":") for piece in text.split(",") if piece.strip()]
    return [{"name": name.strip(), "type": kind.strip()} for name, kind in pairs]


def load_spec(
    code: str,
    inputs: str | list[Json] = "x: numeric",
    outputs: str | list[Json] = "y: numeric",
    function: str | None = "f",
    **more: Any,
) -> Json:
    return {
        "name": "Svc",
        "version": "1.0",
        "runtimeType": "Python",
        "code": code,
        "initCode": None,
        "function": function,
        "prelude": [],
        "inputs": params(inputs) if isinstance(inputs, str) else inputs,
        "outputs": params(outputs) if isinstance(outputs, str) else outputs,
        "files_out": [],
        "objects": [],
        "files": [],
        "interpreter": sys.executable,
        **more,
    }


def blob(folder: Path, name: str, content: bytes) -> Json:
    """A stored object or file, as a load spec names it."""
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / sha256
    path.write_bytes(content)
    return {"name": name, "path": str(path), "sha256": sha256}


def dill_only(folder: Path) -> str:
    """A folder for PYTHONPATH that has dill and nothing else; dill is pure Python."""
    import dill

    target = folder / "dill_only"
    shutil.copytree(Path(dill.__file__).parent, target / "dill", dirs_exist_ok=True)
    return str(target)


class RunningWorker:
    """``loaded`` is the header of the reply to the load; console output goes to ``console``."""

    def __init__(
        self,
        spec: Json,
        folder: Path,
        interpreter: str = sys.executable,
        env: dict[str, str] | None = None,
        op: str = "load",
        **limits: int,
    ) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(60)
        self.sock = ours
        self.console = os.memfd_create("console")
        self.directory = folder / "call"
        number = str(int(signal.SIGRTMIN) + 3)
        self.process = subprocess.Popen(
            [interpreter, str(MAIN), str(theirs.fileno()), str(os.getpid()), number],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self.console,
            stderr=self.console,
            cwd=folder,
            env=env,
        )
        theirs.close()
        self._reader = Reader(ours)
        more = {"directory": str(self.directory), "limits": {**LIMITS, **limits}}
        send_frame(ours, {"op": op}, json.dumps({**spec, **more}).encode())
        frame = self._reader.read()
        assert frame is not None, self.said()
        self.loaded: Json = json.loads(frame[0])

    def said(self) -> str:
        """What it wrote to descriptors 1 and 2 and did not report."""
        self.process.wait(10)
        return os.pread(self.console, 100_000, 0).decode("utf-8", "replace")

    def send(self, body: bytes | Json) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        send_frame(self.sock, {"op": "call"}, data)

    def call(self, body: bytes | Json) -> tuple[Json, Json]:
        """Header and result of a call."""
        self.send(body)
        frame = self._reader.read()
        assert frame is not None, self.said()
        return json.loads(frame[0]), json.loads(frame[1] or b"{}")

    def ask(self, header: Json, body: bytes) -> tuple[Json, bytes]:
        """Header and body of the reply to any frame."""
        send_frame(self.sock, header, body)
        frame = self._reader.read()
        assert frame is not None, self.said()
        return json.loads(frame[0]), bytes(frame[1])

    def block(self, lines: list[Any], **header: Any) -> tuple[Json, list[Json]]:
        """Header and results of a block of records; bytes among them are sent as they are."""
        body = b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines)
        found, results = self.ask({"op": "block", "budget": 60.0, **header}, body)
        return found, [json.loads(line) for line in results.splitlines()]

    def output(self, body: bytes | Json) -> Any:
        """The only output of a call that must succeed."""
        header, result = self.call(body)
        assert header["status"] == 200, header
        (value,) = result["outputParameters"].values()
        return value

    def close(self) -> None:
        self.sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.console)
