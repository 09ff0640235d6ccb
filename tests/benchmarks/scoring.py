"""Calls per second of a standard service and of a constant `APIHandler`, on one server."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from support.running_server import start_server

SECONDS = 6
ROUNDS = 3


def load(url: str, token: str, connections: int, folder: Path) -> tuple[float, float, float]:
    """One `wrk` run: calls per second, p50 and p99 in milliseconds."""
    script = folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\nwrk.body = \'{"x": 1}\'\n'
        'wrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "token {token}"\n'
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", script, url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out:
        raise SystemExit(f"some calls failed:\n{out}")

    def milliseconds(label: str) -> float:
        found = re.search(rf"{label}%\s+([\d.]+)(us|ms|s)", out)
        assert found, out
        return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]

    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    assert rate, out
    return float(rate[1]), milliseconds("50"), milliseconds("99")


def main() -> None:
    if not shutil.which("wrk"):
        raise SystemExit("This benchmark needs wrk (Debian: apt-get install wrk).")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PYTHONPATH"] = str(HERE)
        server = start_server(
            folder, extra=["--ServerApp.jpserver_extensions={'constant_reply': True}"]
        )
        try:
            from jupyter_mlserve import DeployClient

            client = DeployClient(server.url, auth=server.token)
            client.deploy_service(
                "AddOne",
                version="1.0",
                code_str="y = x + 1",
                inputs={"x": float},
                outputs={"y": float},
                sample={"x": 1.0},
            )
            targets = {
                "constant APIHandler": f"{server.url.rstrip('/')}/constant",
                "standard service": f"{server.url.rstrip('/')}/mlserve/api/AddOne/1.0",
            }
            for url in targets.values():
                load(url, server.token, 4, folder)
            print(f"{'':22}{'connections':>12}{'calls/s':>10}{'p50 ms':>9}{'p99 ms':>9}")
            for connections in (1, 32):
                rates: dict[str, list[tuple[float, float, float]]] = {t: [] for t in targets}
                for _ in range(ROUNDS):
                    for target, url in targets.items():
                        rates[target].append(load(url, server.token, connections, folder))
                medians = {}
                for target, runs in rates.items():
                    rate, p50, p99 = (
                        statistics.median(column) for column in zip(*runs, strict=True)
                    )
                    medians[target] = rate
                    print(f"{target:22}{connections:>12}{rate:>10.0f}{p50:>9.2f}{p99:>9.2f}")
                ratio = medians["standard service"] / medians["constant APIHandler"]
                print(f"{'ratio':22}{connections:>12}{ratio:>10.2f}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
