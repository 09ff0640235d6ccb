"""Processes die by SIGKILL at bad moments: nothing is lost, callers are told, work goes on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from support.running_server import RunningServer, start_server

from jupyter_mlserve import DeployClient
from jupyter_mlserve.contract.errors import MLServeError

SLOW = "import time\ntime.sleep(seconds)\ny = seconds\n"


def deploy(server: RunningServer, name: str, code: str, version: str = "1.0", **more: Any) -> Any:
    client = DeployClient(server.url, auth=server.token)
    more.setdefault("inputs", {"x": float})
    more.setdefault("outputs", {"y": float})
    return client.deploy_service(name, version=version, code_str=code, **more)


def call(server: RunningServer, service: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(
        f"{server.url.rstrip('/')}/mlserve/api/{service}",
        json=body,
        headers={"Authorization": f"token {server.token}"},
        timeout=60,
    )


def compute_status(server: RunningServer) -> dict[str, Any]:
    reply = httpx.get(
        f"{server.url.rstrip('/')}/mlserve/status",
        headers={"Authorization": f"token {server.token}"},
    )
    compute = reply.json()["components"]["compute"]
    assert isinstance(compute, dict)
    return compute


def test_killing_the_web_node_during_publish_leaves_a_version_whole_or_absent(
    tmp_path: Path,
) -> None:
    random.seed(20)
    published: set[str] = set()
    tried: list[str] = []
    for round_number in range(4):
        server = start_server(tmp_path)
        stop = threading.Event()

        def publish_many(server: RunningServer, round_number: int, stop: threading.Event) -> None:
            # The loop ends when the server dies under it: any connection error is expected.
            with contextlib.suppress(MLServeError, httpx.HTTPError):
                for number in range(1000):
                    if stop.is_set():
                        return
                    version = f"{round_number}.{number}"
                    tried.append(version)
                    deploy(
                        server,
                        "Adder",
                        "y = x + offset[0]",
                        version,
                        objects={"offset": [len(tried), random.random()]},
                    )
                    published.add(version)

        thread = threading.Thread(target=publish_many, args=(server, round_number, stop))
        thread.start()
        time.sleep(0.3 + random.random() * 1.2)
        server.kill()
        stop.set()
        thread.join(30)
        assert not thread.is_alive()

    server = start_server(tmp_path)
    try:
        client = DeployClient(server.url, auth=server.token)
        there = {service["version"] for service in client.list_services("Adder")}
        assert len(there) >= 4
        assert published <= there, "a version that was reported as published is gone"
        assert there <= set(tried)
        for version in sorted(there)[:12] + sorted(there - published):
            reply = call(server, f"Adder/{version}", {"x": 1.0})
            assert reply.status_code == 200, reply.text
            expected = 1.0 + tried.index(version) + 1
            assert reply.json()["outputParameters"]["y"] == expected
    finally:
        server.stop()


def test_killing_the_compute_node_during_calls_tells_the_callers_and_needs_no_republish(
    server: RunningServer,
) -> None:
    deploy(server, "Slow", SLOW, inputs={"seconds": float})
    assert call(server, "Slow/1.0", {"seconds": 0.0}).status_code == 200
    replies: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: replies.append(call(server, "Slow/1.0", {"seconds": 20.0})))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    os.kill(compute_status(server)["pid"], signal.SIGKILL)
    for thread in threads:
        thread.join(15)
    assert [reply.status_code for reply in replies] == [503, 503, 503]
    for reply in replies:
        assert reply.json()["success"] is False
        assert "Slow" in reply.json()["message"]
        assert int(reply.headers["Retry-After"]) >= 1
    after = call(server, "Slow/1.0", {"seconds": 0.0})
    assert after.status_code == 200, after.text


def test_killing_a_worker_during_a_call_costs_that_call_only(server: RunningServer) -> None:
    deploy(server, "Suicide", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\ny = x\n")
    deploy(server, "AddOne", "y = x + 1")
    broken = call(server, "Suicide/1.0", {"x": 1.0})
    assert broken.status_code == 500
    assert broken.json()["success"] is False
    assert "Suicide" in broken.json()["message"]
    assert call(server, "AddOne/1.0", {"x": 1.0}).json()["outputParameters"] == {"y": 2.0}
    again = call(server, "Suicide/1.0", {"x": 1.0})
    assert again.status_code == 500


def test_all_services_answer_after_the_server_was_killed_and_started_again(tmp_path: Path) -> None:
    first = start_server(tmp_path)
    for number in range(3):
        deploy(first, f"Service{number}", f"y = x + {number}")
    first.kill()
    second = start_server(tmp_path)
    try:
        for number in range(3):
            reply = call(second, f"Service{number}/1.0", {"x": 1.0})
            assert reply.json()["outputParameters"] == {"y": 1.0 + number}
    finally:
        second.stop()


def test_no_process_outlives_a_killed_server(tmp_path: Path) -> None:
    server = start_server(tmp_path)
    deploy(server, "Slow", SLOW, inputs={"seconds": float}, sample={"seconds": 0.0})
    caller = threading.Thread(target=call_quietly, args=(server, {"seconds": 30.0}))
    caller.start()
    time.sleep(0.5)
    status = compute_status(server)
    pids = [status["pid"], *[pid for pool in status["pools"] for pid in pool["pids"]]]
    assert len(pids) >= 2
    server.kill()
    caller.join(10)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(alive(pid) for pid in pids):
        time.sleep(0.05)
    assert [pid for pid in pids if alive(pid)] == []


def call_quietly(server: RunningServer, body: dict[str, Any]) -> None:
    with contextlib.suppress(httpx.HTTPError):
        call(server, "Slow/1.0", body)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
