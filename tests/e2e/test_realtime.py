"""Realtime services end to end: published, scored, killed, started again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from support import attitude
from support.running_server import RunningServer, start_server

from jupyter_mlserve import DeployClient, serialize_model
from jupyter_mlserve.contract.errors import MLServeError

VERSIONS = 10


@pytest.fixture(scope="module")
def container() -> bytes:
    return serialize_model(attitude.model(), attitude.attitude(), "rating")


def deploy(server: RunningServer, name: str, container: bytes, version: str = "1.0") -> Any:
    client = DeployClient(server.url, auth=server.token)
    return client.deploy_realtime(name, version=version, serialized_model=container)


def rows(count: int, *, rating: bool = False) -> dict[str, Any]:
    data = attitude.attitude().iloc[:count]
    return {"inputData": (data if rating else data.drop(columns="rating")).to_dict("list")}


def call(server: RunningServer, service: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(
        f"{server.prefix}api/{service}", json=body, headers=server.headers, timeout=60
    )


def components(server: RunningServer) -> dict[str, Any]:
    reply = httpx.get(f"{server.prefix}status", headers=server.headers)
    found = reply.json()["components"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("rating", [False, True])
def test_the_attitude_data_are_rated_as_in_the_product_we_follow(
    server: RunningServer, container: bytes, rating: bool
) -> None:
    deploy(server, "Attitude", container)
    reply = call(server, "Attitude/1.0", rows(5, rating=rating))
    assert reply.status_code == 200, reply.text
    (column,) = reply.json()["outputParameters"]["outputData"].items()
    assert column[0] == "rating_Pred"
    assert column[1][0] == pytest.approx(attitude.FIRST_FIVE[0], rel=1e-12)
    np.testing.assert_allclose(column[1], attitude.FIRST_FIVE, atol=5e-7)


def test_consuming_starts_no_interpreter_of_an_author(tmp_path: Path, container: bytes) -> None:
    server = start_server(tmp_path)
    try:
        deploy(server, "Attitude", container)
        assert call(server, "Attitude/1.0", rows(1)).status_code == 200
        about = components(server)
        assert about["realtime"]["running"] is True
        assert about["compute"]["running"] is False
        assert about["compute"]["workers"] == 0
    finally:
        server.stop()


def test_killing_the_realtime_process_loses_no_service_and_no_worker(
    server: RunningServer, container: bytes
) -> None:
    deploy(server, "Attitude", container)
    DeployClient(server.url, auth=server.token).deploy_service(
        "Sleeper",
        version="1.0",
        code_str="import time\ntime.sleep(seconds)\ny = seconds",
        inputs={"seconds": float},
        outputs={"y": float},
    )
    standard: list[httpx.Response] = []
    waiting = threading.Thread(
        target=lambda: standard.append(call(server, "Sleeper/1.0", {"seconds": 2.0}))
    )
    waiting.start()
    time.sleep(0.3)
    os.kill(components(server)["realtime"]["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while call(server, "Attitude/1.0", rows(1)).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    waiting.join(30)
    assert standard[0].status_code == 200, standard[0].text
    assert httpx.get(f"{server.url}api/status", headers=server.headers).status_code == 200


def test_killing_the_web_node_during_publish_leaves_a_version_whole_or_absent(
    tmp_path: Path, container: bytes
) -> None:
    random.seed(21)
    published: set[str] = set()
    for round_number in range(2):
        server = start_server(tmp_path)

        def publish_many(server: RunningServer, round_number: int) -> None:
            # Ends when the server dies under it: any connection error is expected.
            with contextlib.suppress(MLServeError, httpx.HTTPError):
                for number in range(1000):
                    version = f"{round_number}.{number}"
                    deploy(server, "Attitude", container, version)
                    published.add(version)

        thread = threading.Thread(target=publish_many, args=(server, round_number))
        thread.start()
        deadline = time.monotonic() + 30
        while not any(name.startswith(f"{round_number}.") for name in published):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(random.random())
        server.kill()
        thread.join(30)
        assert not thread.is_alive()

    server = start_server(tmp_path)
    try:
        client = DeployClient(server.url, auth=server.token)
        there = {service["version"] for service in client.list_services("Attitude")}
        assert published <= there, "a version that was reported as published is gone"
        for version in there:
            reply = call(server, f"Attitude/{version}", rows(1))
            assert reply.status_code == 200, reply.text
    finally:
        server.stop()


def test_calls_during_updates_are_all_answered_by_one_state_or_the_other(
    server: RunningServer, container: bytes
) -> None:
    data = attitude.attitude()
    other = attitude.model()
    other.intercept_ += 1000.0
    doubled = serialize_model(other, data, "rating")
    deploy(server, "Updated", container)
    low = attitude.FIRST_FIVE[0]
    seen: list[float] = []
    wrong: list[str] = []
    stop = threading.Event()

    def caller() -> None:
        with httpx.Client(headers=server.headers, timeout=60) as client:
            while not stop.is_set():
                reply = client.post(f"{server.prefix}api/Updated/1.0", json=rows(1))
                if reply.status_code == 200:
                    data = reply.json()["outputParameters"]["outputData"]
                    seen.append(data["rating_Pred"][0])
                else:
                    wrong.append(reply.text)

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for thread in threads:
        thread.start()
    client = DeployClient(server.url, auth=server.token)
    for model in (doubled, container, doubled):
        client.redeploy_realtime("Updated", version="1.0", serialized_model=model)
        time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert {round(value) for value in seen} == {round(low), round(low + 1000)}
    assert round(seen[-1]) == round(low + 1000)


def test_a_corrupt_model_fails_alone_and_says_so(tmp_path: Path, container: bytes) -> None:
    first = start_server(tmp_path)
    deploy(first, "Broken", container)
    deploy(first, "Whole", tweaked(container, 1))
    first.stop()
    (blob,) = [
        path
        for path in (tmp_path / "data").rglob("*")
        if path.is_file() and path.read_bytes() == container
    ]
    blob.chmod(0o600)
    damaged = bytearray(container)
    damaged[-10] ^= 255
    blob.write_bytes(damaged)
    second = start_server(tmp_path)
    try:
        reply = call(second, "Broken/1.0", rows(1))
        assert reply.status_code == 500
        assert "Broken" in reply.json()["message"]
        assert reply.json()["exceptionType"] == "BundleCorrupt"
        assert call(second, "Whole/1.0", rows(1)).status_code == 200
    finally:
        second.stop()


def test_many_versions_hold_only_the_sessions_of_the_budget(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestRegressor

    data = attitude.attitude()
    forest = RandomForestRegressor(50, random_state=0).fit(
        data.drop(columns="rating"), data["rating"]
    )
    container = serialize_model(forest, data, "rating")
    budget = 1024**2
    extra = [f"--MLServeApp.model_memory={budget}"]
    server = start_server(tmp_path, extra=extra)
    try:
        for number in range(VERSIONS):
            deploy(
                server,
                "Forest",
                container if number == 0 else tweaked(container, number),
                str(number),
            )
        for number in range(VERSIONS):
            assert call(server, f"Forest/{number}", rows(1)).status_code == 200
        about = components(server)["realtime"]
        assert about["bytes"] <= budget
        assert 1 <= about["sessions"] < VERSIONS
    finally:
        server.stop()


def tweaked(container: bytes, number: int) -> bytes:
    """The same model with another description of itself: other bytes, another blob."""
    from jupyter_mlserve.contract.realtime import pack, unpack

    found = unpack(container)
    header = {key: value for key, value in found.header.items() if key != "sha256"}
    header["model"] = f"forest number {number}"
    return pack(json.loads(json.dumps(header)), found.model)
