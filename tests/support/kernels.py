"""Kernels of a running server, started and used as JupyterLab does it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from jupyter_client.blocking.client import BlockingKernelClient

from .running_server import RunningServer

START_SECONDS = 60


@contextmanager
def server_kernel(
    server: RunningServer, path: str = "notebook.ipynb"
) -> Iterator[BlockingKernelClient]:
    """A kernel in a session of the server: it has the environment that the server gives it."""
    with jupyter_api(server) as api:
        session = api.post(
            "api/sessions",
            json={"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}},
        )
        session.raise_for_status()
        runtime = Path(server.env["JUPYTER_RUNTIME_DIR"])
        file = runtime / f"kernel-{session.json()['kernel']['id']}.json"
        deadline = time.monotonic() + START_SECONDS
        while not file.exists():
            assert time.monotonic() < deadline, "the server started no kernel"
            time.sleep(0.02)
        client = BlockingKernelClient(connection_file=str(file))
        client.load_connection_file()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=START_SECONDS)
            yield client
        finally:
            client.stop_channels()
            api.delete(f"api/sessions/{session.json()['id']}")


def run_in_kernel(server: RunningServer, code: str, path: str = "notebook.ipynb") -> str:
    """What a cell prints in a fresh kernel of the server. AssertionError when it fails."""
    with server_kernel(server, path) as client:
        return run_cell(client, code)


def run_cell(client: BlockingKernelClient, code: str) -> str:
    """What a cell prints. AssertionError with its traceback when it fails."""
    printed: list[str] = []

    def hook(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, output_hook=hook, timeout=START_SECONDS)
    content = reply["content"]
    assert content["status"] == "ok", "\n".join(content["traceback"]) + "".join(printed)
    return "".join(printed)


@contextmanager
def jupyter_api(server: RunningServer) -> Iterator[httpx.Client]:
    """Jupyter's own API, as somebody who is logged in: by token, or by password."""
    with httpx.Client(base_url=server.url, verify=False, trust_env=False, timeout=60) as api:
        if server.token:
            api.headers["Authorization"] = f"token {server.token}"
        else:
            page = api.get("login")
            page.raise_for_status()
            form = {"_xsrf": api.cookies["_xsrf"], "password": "open sesame"}
            api.post("login", data=form)
            api.headers["X-XSRFToken"] = api.cookies["_xsrf"]
        yield api
