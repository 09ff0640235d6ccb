"""``jupyter mlserve demo``: the quickstart notebook on a real server, then one call from outside.

A headless Jupyter server is started, the notebook runs in a kernel of that server as if an author
ran it, and the service it published is called over plain HTTP. Then the server keeps running.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..client.deploy import DeployClient
from ..client.http import Connection, path_of
from .headless import Headless, ServerFailed, is_free, stop_signals
from .notebook_run import CellFailed, Progress, colours, load, output_lines, run_cells

NOTEBOOK = "quickstart.ipynb"
CALL_SECONDS = 120
CELL_SECONDS = 300
SHORT_ANSWER = 400  # characters


class DemoFailed(Exception):
    """The demo cannot go on; the text is one line."""


@dataclass
class Place:
    """Where the demo works: the folder of the notebook, and the environment of the server."""

    folder: Path
    log: Path
    runtime: Path
    env: dict[str, str] = field(repr=False)
    temporary: bool


def demo(
    *,
    once: bool = False,
    temp: bool = False,
    port: int | None = None,
    notebook: Path | None = None,
) -> int:
    """Exit status: 0 if the notebook ran and the call was answered as it should."""
    source = notebook if notebook is not None else packaged_notebook()
    if not source.is_file():
        raise DemoFailed(f"there is no notebook {source}")
    if port is not None and not is_free(port):
        raise DemoFailed(f"port {port} is not free; choose another, or leave --port out")
    with stop_signals(), place(temp) as where:
        copied = copy_notebook(source, where.folder)
        say(f"Starting a Jupyter server in {where.folder}")
        server = Headless(where.folder, where.log, where.env, port)
        try:
            server.wait()
            say(f"It answers at {server.address.url}\n\nRunning {copied.name} in its kernel:")
            outputs = run_in_server(copied, server, where)
            call_service(server, outputs)
            if once:
                return 0
            show_places(server, where, copied)
            return serve(server)
        finally:
            server.stop()


def say(text: str) -> None:
    print(text, flush=True)


def packaged_notebook() -> Path:
    """In an installation beside the package's modules, in a checkout beside the package."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "notebooks" / NOTEBOOK
    return installed if installed.exists() else package.parent / "notebooks" / NOTEBOOK


@contextmanager
def place(temp: bool) -> Iterator[Place]:
    """The user's own Jupyter folders, or with ``temp`` ones that are removed at the end."""
    # A kernel "python3" of the user's, for another environment, must not take its place.
    env = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1"}
    if not temp:
        from jupyter_core.paths import jupyter_data_dir, jupyter_runtime_dir

        folder = Path(jupyter_data_dir()) / "mlserve-demo"
        folder.mkdir(parents=True, exist_ok=True)
        yield Place(folder, folder / "server.log", Path(jupyter_runtime_dir()), env, False)
        return
    with tempfile.TemporaryDirectory(prefix="mlserve-demo-", ignore_cleanup_errors=True) as name:
        root = Path(name)
        for kind in ("config", "data", "runtime"):
            (root / kind).mkdir(mode=0o700)
            env[f"JUPYTER_{kind.upper()}_DIR"] = str(root / kind)
        env["IPYTHONDIR"] = str(root / "ipython")
        (root / "work").mkdir()
        yield Place(root / "work", root / "server.log", root / "runtime", env, True)


def copy_notebook(source: Path, folder: Path) -> Path:
    """The notebook and the data files beside it."""
    for path in sorted(source.parent.iterdir()):
        if path.is_file() and (path == source or path.suffix in (".csv", ".json", ".txt")):
            shutil.copyfile(path, folder / path.name)
    return folder / source.name


def run_in_server(notebook: Path, server: Headless, where: Place) -> str:
    """Run the notebook in a kernel that the server starts, as the notebook's page would do.
    The text of all its outputs."""
    import nbformat
    from nbclient import NotebookClient

    nb = load(notebook)
    jupyter = Connection(server.address)
    try:
        session = start_session(jupyter, notebook.name, nb)
        kernel_id = session["kernel"]["id"]
        manager = attach(where.runtime / f"kernel-{kernel_id}.json", kernel_id, server)
        client = NotebookClient(nb, km=manager, timeout=CELL_SECONDS, startup_timeout=60)
        channels: Any = client.start_new_kernel_client()
        try:
            run_cells(nb, client, Progress(sys.stdout, True), lambda: nbformat.write(nb, notebook))
        finally:
            channels.stop_channels()
            jupyter.send("DELETE", f"/api/sessions/{session['id']}")
    finally:
        jupyter.close()
    return "\n".join(
        line for cell in nb.cells if cell.cell_type == "code" for line in output_lines(cell.outputs)
    )


def start_session(jupyter: Connection, path: str, nb: Any) -> dict[str, Any]:
    """What JupyterLab does when a notebook is opened. The kernel is this environment's."""
    answer = jupyter.request(
        "POST",
        "/api/sessions",
        json={"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}},
    )
    assert isinstance(answer, dict)
    return answer


def attach(connection_file: Path, kernel_id: str, server: Headless) -> Any:
    """A kernel manager for a kernel that belongs to the server: it never starts or stops one."""
    from jupyter_client.manager import AsyncKernelManager

    class ServerKernel(AsyncKernelManager):
        has_kernel = True  # else nbclient quietly starts a kernel of its own

        async def is_alive(self) -> bool:  # type: ignore[override]
            return server.process.poll() is None

        async def shutdown_kernel(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
            return None

    manager = ServerKernel(owns_kernel=False, kernel_id=kernel_id)
    deadline = time.monotonic() + 30
    while not connection_file.exists():
        if time.monotonic() > deadline:
            raise DemoFailed(f"the server started no kernel (no file {connection_file})")
        time.sleep(0.05)
    manager.load_connection_file(str(connection_file))
    return manager


def call_service(server: Headless, outputs: str) -> None:
    """Call what the notebook published with the line its card shows: no notebook, no Python."""
    from ..notebook.snippets import TOKEN_VARIABLE, curl, example_inputs

    service = published_service(server, outputs)
    url = server.address.prefix + path_of("api", service["name"], service["version"])
    params = service["inputParameterDefinitions"]
    inputs = example_inputs(params, (service.get("mlserve") or {}).get("sample"))
    line = curl(url, inputs)
    say(f"\nCalling {service['name']} {service['version']} from outside, over plain HTTP:\n")
    say(f"  export {TOKEN_VARIABLE}={server.token}\n  {line}\n")
    if shutil.which("curl") and shutil.which("sh"):
        found = subprocess.run(
            ["sh", "-c", line],
            env={**os.environ, TOKEN_VARIABLE: server.token, "NO_PROXY": "*", "no_proxy": "*"},
            capture_output=True,
            text=True,
            timeout=CALL_SECONDS,
            check=False,
        )
        if found.returncode:
            raise DemoFailed(f"curl failed: {found.stderr.strip()}")
        text = found.stdout
    else:
        text = call_without_curl(server, service, inputs)
    say("\n".join(f"  {part}" for part in pretty(text).splitlines()))
    reply = json.loads(text)
    if reply.get("success") is not True:
        raise DemoFailed(f"the service did not answer: {reply.get('message') or text}")


def published_service(server: Headless, outputs: str) -> dict[str, Any]:
    """The first service that the notebook's outputs give an address of and that is there."""
    addresses = re.findall(r"/mlserve/api/([\w.-]+)/([\w.-]+)", outputs)
    with DeployClient(server.address.url, auth=server.token) as client:
        live = {(s["name"], s["version"]): s for s in client.list_services()}
    for address in addresses:
        if address in live:
            return live[address]
    raise DemoFailed("the notebook ran, but none of the services it shows is there")


def call_without_curl(server: Headless, service: dict[str, Any], inputs: dict[str, Any]) -> str:
    with Connection(server.address) as connection:
        path = path_of("api", service["name"], service["version"])
        return connection.send("POST", path, json=inputs, timeout=CALL_SECONDS).text


def pretty(text: str) -> str:
    """A short answer as it came, a long one in lines."""
    try:
        found = json.loads(text)
    except ValueError:
        raise DemoFailed(f"the answer is not JSON: {text[:200]}") from None
    short = len(text) <= SHORT_ANSWER
    return text.strip() if short else json.dumps(found, indent=2, ensure_ascii=False)


def show_places(server: Headless, where: Place, notebook: Path) -> None:
    root, token = server.address.url, server.token
    rows = [("services", f"{root}mlserve/services?token={token}")]
    if find_spec("jupyterlab"):
        rows.insert(0, ("JupyterLab", f"{root}lab/tree/{notebook.name}?token={token}"))
    rows += [("notebook", str(notebook)), ("log", str(where.log)), ("token", token)]
    width = max(len(label) for label, _ in rows)
    say("\nThe server keeps running:")
    for label, text in rows:
        say(f"  {label.ljust(width)}  {text}")
    if where.temporary:
        say("\nEverything is removed when it stops. Press Ctrl-C to stop it.")
    else:
        app = "lab" if find_spec("jupyterlab") else "server"
        as_root = ["--allow-root"] if os.geteuid() == 0 else []
        command = shlex.join(["jupyter", app, *as_root, str(where.folder)])
        say(f"\nPress Ctrl-C to stop it. What was published stays: `{command}` has it again.")


def serve(server: Headless) -> int:
    """Until Ctrl-C."""
    try:
        while True:
            server.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        say("\nStopping.")
        return 0


__all__ = ["CellFailed", "DemoFailed", "ServerFailed", "colours", "demo"]
