"""Two authors publish, update and delete the same names while a consumer scores."""

from __future__ import annotations

import random
import threading
import time

import httpx
from support.running_server import RunningServer

from jupyter_mlserve import DeployClient
from jupyter_mlserve.contract.errors import Conflict, Gone, NotFound

SECONDS = 5.0


def test_no_half_state_and_no_wrong_version_is_ever_answered(server: RunningServer) -> None:
    """Every reply must carry the marker of a state that really was published for that version."""
    stop = time.monotonic() + SECONDS
    names = ["Alpha", "Beta"]
    versions = ["1.0", "2.0"]
    markers: set[str] = set()
    problems: list[str] = []
    done = {"publish": 0, "update": 0, "delete": 0, "score": 0, "refused": 0}

    def author(seed: int) -> None:
        choose = random.Random(seed)
        client = DeployClient(server.url, auth=server.token)
        number = 0
        while time.monotonic() < stop:
            name, version = choose.choice(names), choose.choice(versions)
            number += 1
            marker = f"{name}/{version}/{seed}/{number}"
            markers.add(marker)
            action = choose.choice(["publish", "publish", "update", "delete"])
            try:
                if action == "delete":
                    client.delete_service(name, version=version)
                else:
                    deploy = (
                        client.deploy_service if action == "publish" else client.redeploy_service
                    )
                    deploy(
                        name,
                        version=version,
                        code_str=f"y = {marker!r}\nz = x",
                        inputs={"x": int},
                        outputs={"y": str, "z": int},
                    )
                done[action] += 1
            except (Conflict, NotFound, Gone):
                done["refused"] += 1
            except Exception as error:
                problems.append(f"{action} {name}/{version}: {type(error).__name__}: {error}")

    def consumer() -> None:
        number = 0
        with httpx.Client(headers={"Authorization": f"token {server.token}"}) as http:
            while time.monotonic() < stop:
                number += 1
                name, version = names[number % 2], versions[number // 2 % 2]
                url = f"{server.url.rstrip('/')}/mlserve/api/{name}/{version}"
                reply = http.post(url, json={"x": number}, timeout=30)
                body = reply.json()
                if reply.status_code in (404, 410):
                    done["refused"] += 1
                    continue
                if reply.status_code != 200:
                    problems.append(f"{name}/{version}: {reply.status_code} {body}")
                    continue
                done["score"] += 1
                outputs = body["outputParameters"]
                if outputs["z"] != number:
                    problems.append(f"another caller's answer: {outputs} for {number}")
                if outputs["y"] not in markers or not outputs["y"].startswith(f"{name}/{version}/"):
                    problems.append(f"wrong version answered {name}/{version}: {outputs}")

    threads = [
        threading.Thread(target=author, args=(1,)),
        threading.Thread(target=author, args=(2,)),
        threading.Thread(target=consumer),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert min(done.values()) > 0, done


def test_concurrent_updates_of_different_parts_are_all_kept(server: RunningServer) -> None:
    client = DeployClient(server.url, auth=server.token)
    client.deploy_service(
        "Shared", version="1.0", code_str="y = x", inputs={"x": int}, outputs={"y": int}
    )
    failures: list[BaseException] = []

    def change(**parts: object) -> None:
        try:
            DeployClient(server.url, auth=server.token).redeploy_service(
                "Shared", version="1.0", **parts
            )
        except BaseException as error:
            failures.append(error)

    for number in range(5):
        threads = [
            threading.Thread(target=change, kwargs={"description": f"text {number}"}),
            threading.Thread(target=change, kwargs={"code_str": f"y = x + {number}"}),
            threading.Thread(target=change, kwargs={"alias": f"alias{number}"}),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        service = client.list_services("Shared", version="1.0")[0]
        assert service["description"] == f"text {number}"
        assert service["operationId"] == f"alias{number}"
        assert service["code"] == f"y = x + {number}"
