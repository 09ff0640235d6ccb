"""Calls per second of a standard service and of a constant `APIHandler`, on one server."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from load import load, need_wrk
from support.running_server import start_server

ROUNDS = 3
BODY = '{"x": 1}'


def main() -> None:
    need_wrk()
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
                load(url, server.token, BODY, 4, folder)
            print(f"{'':22}{'connections':>12}{'calls/s':>10}{'p50 ms':>9}{'p99 ms':>9}")
            for connections in (1, 32):
                rates: dict[str, list[tuple[float, float, float]]] = {t: [] for t in targets}
                for _ in range(ROUNDS):
                    for target, url in targets.items():
                        rates[target].append(load(url, server.token, BODY, connections, folder))
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
