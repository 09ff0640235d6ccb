"""A headless Jupyter server with the extension, as a child process that leaves nothing behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..client.address import ServerAddress
from ..client.discovery import why_not

START_SECONDS = 90.0
STOP_SECONDS = 15.0
LOG_LINES = 15

# What would lead the server or its kernels to another server than this one.
FOREIGN = ("JUPYTER_MLSERVE_", "JUPYTERHUB_", "JPY_", "JUPYTER_SERVER_", "JUPYTER_TOKEN")


class ServerFailed(Exception):
    """The server did not start, or ended by itself."""


class Headless:
    """The child process. ``address`` is where it answers once ``wait`` has returned."""

    def __init__(self, folder: Path, log: Path, env: Mapping[str, str], port: int | None) -> None:
        self.token = secrets.token_hex(24)
        self.port = port if port is not None else free_port()
        self.log = log
        self.address = ServerAddress(f"http://127.0.0.1:{self.port}/", self.token, "this command")
        command = [sys.executable, "-m", "jupyter_server", "--no-browser"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")
        command += [
            # The user's own configuration counts, but not for where and how this one listens.
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            "--ServerApp.sock=",
            "--ServerApp.base_url=/",
            "--ServerApp.certfile=",
            "--ServerApp.keyfile=",
            "--ServerApp.identity_provider_class=jupyter_server.auth.PasswordIdentityProvider",
            f"--ServerApp.root_dir={folder}",
            "--ServerApp.jpserver_extensions={'jupyter_mlserve': True}",
        ]
        environment = {k: v for k, v in env.items() if not k.startswith(FOREIGN)}
        environment["JUPYTER_TOKEN"] = self.token  # not in the process list, as an argument is
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for this command, which then stops the server in an orderly way.
                start_new_session=True,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )

    def wait(self) -> None:
        """Until the extension answers. Raises ServerFailed with the end of the log."""
        deadline = time.monotonic() + START_SECONDS
        reason = "it did not answer"
        while time.monotonic() < deadline:
            self.check()
            reason = why_not(self.address) or ""
            if not reason:
                return
            time.sleep(0.1)
        raise ServerFailed(
            f"the Jupyter server is not ready after {START_SECONDS:g} s: {reason}\n{self.tail()}"
        )

    def check(self) -> None:
        if self.process.poll() is not None:
            raise ServerFailed(
                f"the Jupyter server ended by itself (status {self.process.returncode}); "
                f"the end of its log, {self.log}:\n{self.tail()}"
            )

    def tail(self) -> str:
        try:
            lines = self.log.read_text("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])

    def stop(self) -> None:
        """Its kernels and its compute node stop with it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def end_with_parent() -> None:
    """In the child: SIGTERM when this command is killed, even by SIGKILL (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # 1 = PR_SET_PDEATHSIG


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
        return True


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the command like Ctrl-C does: with everything tidied up."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {kind: signal.signal(kind, stop) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
