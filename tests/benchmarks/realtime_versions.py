"""200 realtime versions: memory of those nobody calls, of those called, and the time to start."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import httpx
from memory import status, unique_kib
from support import attitude
from support.running_server import RunningServer, start_server

VERSIONS = 200
BODY = {"inputData": attitude.attitude().iloc[:1].to_dict("list")}


def call(server: RunningServer, version: int) -> None:
    url = f"{server.prefix}api/Forest/{version}"
    httpx.post(url, json=BODY, headers=server.headers, timeout=60).raise_for_status()


def start(folder: Path, version: int) -> tuple[RunningServer, float, float]:
    """The server, the seconds until it answers, and those of its first realtime reply."""
    began = time.perf_counter()
    server = start_server(folder)
    up = time.perf_counter()
    call(server, version)
    return server, up - began, time.perf_counter() - up


def main() -> None:
    from sklearn.ensemble import RandomForestRegressor

    from jupyter_mlserve import DeployClient, serialize_model

    data = attitude.attitude()
    predictors = data.drop(columns="rating")

    def container(seed: int) -> bytes:
        forest = RandomForestRegressor(20, random_state=seed).fit(predictors, data["rating"])
        return serialize_model(forest, data, "rating")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = start_server(folder)

        def deploy(number: int) -> None:
            client: Any = DeployClient(server.url, auth=server.token)
            client.deploy_realtime(
                "Forest", version=str(number), serialized_model=container(number)
            )

        deploy(0)
        call(server, 0)
        server.stop()
        server, up, first = start(folder, 0)
        print(f"1 version: server up in {up:.2f} s, first reply after {first:.2f} s")
        keys = ("web", "realtime")
        before = {key: unique_kib(status(server)[key]["pid"]) for key in keys}
        for number in range(1, VERSIONS):
            deploy(number)
        for key in keys:
            grown = unique_kib(status(server)[key]["pid"]) - before[key]
            print(f"{VERSIONS} versions published: {grown / VERSIONS:.1f} KiB each in {key}")
        server.stop()
        server, up, first = start(folder, 0)
        print(f"{VERSIONS} versions: server up in {up:.2f} s, first reply after {first:.2f} s")
        before = {key: unique_kib(status(server)[key]["pid"]) for key in keys}
        for number in range(VERSIONS):
            call(server, number)
        after = status(server)
        grown = unique_kib(after["realtime"]["pid"]) - before["realtime"]
        held = after["realtime"]
        print(
            f"all called: {held['sessions']} sessions, {held['bytes'] / 2**20:.1f} MiB counted, "
            f"{grown / 1024:.1f} MiB really"
        )
        server.stop()


if __name__ == "__main__":
    main()
