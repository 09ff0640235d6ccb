"""Memory of versions nobody calls, and of a worker beyond its interpreter's own imports."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

import httpx
from support.running_server import RunningServer, start_server

IMPORTS = "import dill, pandas, sklearn.linear_model"
VERSIONS = 100


def unique_kib(pid: int) -> int:
    """Private memory of one process: what ending it would give back."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def status(server: RunningServer) -> dict[str, Any]:
    reply = httpx.get(
        f"{server.url.rstrip('/')}/mlserve/status",
        headers={"Authorization": f"token {server.token}"},
    )
    components = reply.json()["components"]
    assert isinstance(components, dict)
    return components


def main() -> None:
    from jupyter_mlserve import DeployClient

    with tempfile.TemporaryDirectory() as name:
        server = start_server(Path(name), extra=["--MLServeApp.idle_timeout=2"])
        try:
            client = DeployClient(server.url, auth=server.token)
            arguments: dict[str, Any] = {
                "inputs": {"x": float},
                "outputs": {"y": float},
                "init_str": IMPORTS,
                "code_str": "y = x + 1",
            }
            client.deploy_service("Idle", version="0", **arguments)
            time.sleep(5)
            before = status(server)
            base = {key: unique_kib(before[key]["pid"]) for key in ("web", "compute")}
            for number in range(1, VERSIONS + 1):
                client.deploy_service("Idle", version=str(number), **arguments)
            time.sleep(6)
            after = status(server)
            workers = [pid for pool in after["compute"]["pools"] for pid in pool["pids"]]
            print(f"{VERSIONS} idle versions: {len(workers)} worker processes")
            for key, kib in base.items():
                grown = (unique_kib(after[key]["pid"]) - kib) / VERSIONS
                print(f"{VERSIONS} idle versions: {grown:.1f} KiB each in the {key} node")
            client.get_service("Idle", version="1").consume(x=1.0)
            pools = status(server)["compute"]["pools"]
            worker = next(pid for pool in pools for pid in pool["pids"])
            bare = subprocess.Popen(
                [sys.executable, "-c", f"{IMPORTS}\nprint(1, flush=True)\ninput()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert bare.stdout is not None
            bare.stdout.readline()
            used, plain = unique_kib(worker) / 1024, unique_kib(bare.pid) / 1024
            print(f"a worker: {used:.1f} MiB of its own memory")
            print(f"an interpreter with the same imports: {plain:.1f} MiB")
            bare.kill()
            bare.wait()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
