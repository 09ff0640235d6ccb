"""Start a real Jupyter server with the extension, as a user would, in folders of its own.

Used by every test that needs a server process (a kernel that finds its server, a kill -9, the
client): ``server = start_server(tmp_path)``; ``server.stop()`` at the end. Starting again with
the same folder gives the same catalog back.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request

START_SECONDS = 60.0
STOP_SECONDS = 20.0

# They come with Jupyter, are of no use here, and cost every start some tenths of a second.
OTHER_EXTENSIONS = ("jupyterlab", "jupyter_lsp", "notebook_shim", "jupyter_server_terminals")

# What would lead a kernel or a client to another server than the one under test.
FOREIGN = ("JUPYTER_MLSERVE_", "JUPYTERHUB_", "JPY_", "JUPYTER_SERVER_", "JUPYTER_TOKEN")


@dataclass
class RunningServer:
    """A Jupyter server process. ``url`` ends with a slash; ``info`` is Jupyter's own info file."""

    url: str
    token: str
    pid: int
    info: dict[str, Any]
    env: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def prefix(self) -> str:
        """Where the extension's own URLs begin, with a slash at the end."""
        return self.url + "mlserve/"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"}

    def read_log(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def stop(self) -> None:
        """Stop as `systemd` or Ctrl-C would; SIGKILL only if that does not end it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the server did not stop:\n{self.read_log()}") from None

    def kill(self) -> None:
        """SIGKILL: nothing of the server gets a chance to tidy up."""
        self.process.kill()
        self.process.wait()


def start_server(
    folder: Path,
    *,
    base_url: str = "/",
    token: str = "a-token-for-tests",
    password: str | None = None,
    extra: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    sock: Path | None = None,
    scheme: str = "http",
) -> RunningServer:
    """Start ``jupyter server`` on a free port and wait until it answers.

    ``folder`` holds the Jupyter folders (config, data, runtime), the root folder ``work`` and
    the log. ``token=""`` with a ``password`` is a password-only server. ``sock`` makes it listen
    on a unix socket instead of a port. ``extra`` are further command line arguments; with a
    certificate among them ``scheme`` is "https".
    """
    port = free_port()
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.base_url={base_url}"]
    if sock is None:
        command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
        command += ["--ServerApp.port_retries=0"]
    else:
        command += [f"--ServerApp.sock={sock}"]
    if password is not None:
        from jupyter_server.auth import passwd

        hashed = passwd(password, "sha1")  # the default hash takes long on purpose
        command.append(f"--PasswordIdentityProvider.hashed_password={hashed}")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    for name in ("config", "data", "runtime"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        environment[f"JUPYTER_{name.upper()}_DIR"] = str(folder / name)
    extensions = {"jpserver_extensions": dict.fromkeys(OTHER_EXTENSIONS, False)}
    (folder / "config" / "jupyter_server_config.d").mkdir(exist_ok=True)
    disabled = folder / "config" / "jupyter_server_config.d" / "other_extensions.json"
    disabled.write_text(json.dumps({"ServerApp": extensions}))
    environment["IPYTHONDIR"] = str(folder / "ipython")
    environment.update(env or {})
    (folder / "work").mkdir(exist_ok=True)
    log = folder / "server.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [*command, *extra],
            cwd=folder / "work",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C at the test run must not reach it twice
        )
    base = urllib.parse.quote("/" + base_url.strip("/"), safe="/%@")
    url = f"{scheme}://127.0.0.1:{port}{base.rstrip('/')}/"
    try:
        probe = None if sock else Request(url + "mlserve/status")
        if probe is not None and token:
            probe.add_header("Authorization", f"token {token}")
        info = wait_for_server(process, folder / "runtime", probe, log)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if sock is not None:
        url = info["url"]
    return RunningServer(url, token, process.pid, info, environment, log, process)


def wait_for_server(
    process: subprocess.Popen[bytes], runtime: Path, probe: Request | None, log: Path
) -> dict[str, Any]:
    """Jupyter's info file of the process, once the server answers the probe (however it does)."""
    path = runtime / f"jpserver-{process.pid}.json"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the server ended by itself:\n{log.read_text()}")
        with contextlib.suppress(OSError, ValueError):
            info: dict[str, Any] = json.loads(path.read_text())
            if probe is None or answers(probe):
                return info
        time.sleep(0.05)
    raise AssertionError(f"the server did not start within {START_SECONDS} s:\n{log.read_text()}")


def answers(request: Request) -> bool:
    unchecked = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), unchecked)
    try:
        with opener.open(request, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
