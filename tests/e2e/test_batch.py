"""Batch executions end to end: right answers, in order, in time; updates, deletes, bad bytes."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from sklearn.linear_model import LinearRegression
from support.batch_http import ARROW, LINES, Batches, arrow, lines
from support.running_server import RunningServer, start_server

from jupyter_mlserve import DeployClient

CARS = Path(__file__).parents[2] / "notebooks" / "mtcars.csv"
TX = """
import pandas as pd
answer = pd.DataFrame({"am_Pred": model.predict(pd.DataFrame({"hp": [hp], "wt": [wt]}))})
answer.to_csv("answer.csv", index=False)
"""
ADD = """
import pandas as pd
if (df["a"] == 77).any():
    raise ValueError("77 is not liked")
with open("LOG", "a") as log:
    log.write(f"{len(df)} ")
y = pd.DataFrame({"sum": df["a"] + df["b"]})
"""
SLEEP = "import time\ntime.sleep(seconds)\ny = seconds\n"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server of this module, with small limits; its folder holds the files of executions."""
    folder = tmp_path_factory.mktemp("batches")
    extra = [
        f"--MLServeApp.batch_dir={folder / 'batches'}",
        "--MLServeApp.batch_max_parallel=4",
        "--MLServeApp.batch_user_quota=3000000",
    ]
    running = start_server(folder, extra=extra)
    yield running, folder / "batches"
    running.stop()


def deploy(server: RunningServer, name: str, code: str, **more: Any) -> Batches:
    client = DeployClient(server.url, auth=server.token)
    more.setdefault("inputs", {"x": float})
    more.setdefault("outputs", {"y": float})
    client.deploy_service(name, version="1.0", code_str=code, **more)
    return Batches(server, f"{name}/1.0")


def test_the_cars_of_the_product_we_follow(server: RunningServer) -> None:
    cars = pd.read_csv(CARS)
    model = LinearRegression().fit(cars[["hp", "wt"]], cars["am"])

    batches = deploy(
        server,
        "TxBatch",
        TX,
        models={"model": model},
        inputs={"hp": float, "wt": float},
        outputs={"answer": "DataFrame"},
        artifacts=["answer.csv"],
    )
    expected = model.predict(cars[["hp", "wt"]])
    for columns in (["hp", "wt"], ["wt", "hp"]):
        id = batches.start(cars[columns].astype(float).to_dict("records"))
        assert batches.wait(id)["state"] == "Complete"
        whole = batches.ask("GET", f"/{id}").json()
        assert (whole["completedItemCount"], whole["totalItemCount"]) == (32, 32)
        found = [
            result["outputParameters"]["answer"]["am_Pred"][0]
            for result in whole["batchExecutionResults"]
        ]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            found[:5], [0.592204, 0.469917, 0.68952, 0.306868, 0.376956], atol=1e-6
        )
        np.testing.assert_allclose(found[-2:], [0.752739, 0.512737], atol=1e-6)
    assert batches.ask("GET", f"/{id}/1/files").json() == ["answer.csv"]
    raw = batches.ask("GET", f"/{id}/1/files/answer.csv").text
    assert raw.startswith("am_Pred\n0.4699")
    inline = whole["batchExecutionResults"][1]["outputFiles"]["answer.csv"]
    assert base64.b64decode(inline).decode() == raw
    # What the documents say of the replies is so: validators and generated clients take them.
    replies = {
        "BatchWebServiceResult": whole,
        "StartBatchExecutionResponse": batches.post([{"hp": 110.0, "wt": 2.6}]).json(),
    }
    for document, place in (("swagger", "definitions"), ("openapi", "components/schemas")):
        address = f"{server.prefix}api/TxBatch/1.0/{document}.json"
        described = httpx.get(address, headers=server.headers).json()
        for name, reply in replies.items():
            Draft202012Validator({"$ref": f"#/{place}/{name}", **described}).validate(reply)
    table = batches.ask("GET", f"/{id}/results", headers={"Accept": "text/csv"}).text
    assert table.splitlines()[0] == "record,am_Pred,error"
    assert len(table.splitlines()) == 33


def test_the_requests_of_the_product_s_own_client(server: RunningServer) -> None:
    """azureml-model-management-sdk 1.0.1b6: its spellings, its headers on every request (also
    where no JSON comes back), its token, and what it reads of the replies."""
    code = "open('answer.csv', 'w').write(f'y\\n{x}\\n')\ny = x"
    deploy(server, "Sdk", code, artifacts=["answer.csv", "never.png"])
    headers = {
        "User-Agent": "azureml-model-management-sdk/1.0.1b6.post1/python",
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {server.token}",
    }
    with httpx.Client(headers=headers, timeout=30) as client:
        url = f"{server.prefix}api/Sdk/1.0/batch"
        started = client.post(f"{url}?parallelCount=10", content=b'[{"x": 1.5}, {"x": 2.0}]')
        assert started.status_code == 202
        id = started.json()["BatchExecutionId"]
        while (found := client.get(f"{url}/{id}?showPartialResult=true").raise_for_status().json())[
            "state"
        ] != "Complete":
            assert found["state"] in ("Ready", "InProgress")
            assert len(found["batchExecutionResults"]) == found["completedItemCount"]
            time.sleep(0.05)
        assert client.get(f"{url}/{id}?showPartialResult=false").json() == found
        assert (found["completedItemCount"], found["totalItemCount"]) == (2, 2)
        assert found["batchExecutionResults"][1] == {
            "success": True,
            "errorMessage": "",
            "consoleOutput": "",
            "changedFiles": ["answer.csv"],
            "outputFiles": {
                "answer.csv": base64.b64encode(b"y\n2.0\n").decode(),
                "never.png": None,
            },
            "outputParameters": {"y": 2.0},
        }
        assert client.get(url).json() == [id]
        assert client.get(f"{url}/{id}/1/files").json() == ["answer.csv"]
        assert client.get(f"{url}/{id}/1/files/answer.csv").content == b"y\n2.0\n"
        assert client.request("DELETE", f"{url}/{id}", content=b"").json() == [id]
        assert client.get(url).json() == []


def test_records_are_worked_on_in_parallel(own: Any) -> None:
    server, _ = own
    batches = deploy(server, "Sleeper", SLEEP, inputs={"seconds": float})
    warm = batches.start([{"seconds": 0.0}], parallel=1)
    assert batches.wait(warm)["failedItemCount"] == 0
    began = time.monotonic()
    id = batches.start([{"seconds": 0.5}] * 8, parallel=4)
    status = batches.wait(id)
    took = time.monotonic() - began
    assert (status["state"], status["failedItemCount"]) == ("Complete", 0)
    assert 0.9 < took < 2.5, took  # about 1 s, not 4


def test_records_fail_by_themselves(server: RunningServer) -> None:
    code = "import os, time\nif x < 0:\n    raise ValueError(f'no {x}')\ny = x * 2\n"
    batches = deploy(server, "Picky", code)
    records: list[Any] = [{"x": 1.0}, {"x": -1.0}, {"x": "text"}, {}, {"x": 3}, {"x": 1, "z": 2}]
    id = batches.start(lines(records) + b"\n{not json\n\n" + lines([{"x": 4.5}]), LINES)
    status = batches.wait(id)
    assert (status["totalItemCount"], status["failedItemCount"]) == (8, 5)
    found = batches.results(id)
    assert [result["success"] for result in found] == [
        *[True, False, False, False, True, False, False, True],
    ]
    assert found[0]["outputParameters"] == {"y": 2.0}
    assert found[7]["outputParameters"] == {"y": 9.0}
    assert found[1]["errorMessage"] == "ValueError: no -1.0"
    # Word for word what a call by itself says.
    single = httpx.post(
        f"{server.prefix}api/Picky/1.0", json={"x": "text"}, headers=server.headers
    ).json()
    assert found[2]["errorMessage"] == single["errorMessage"]
    assert found[2]["exceptionType"] == "InvalidInput"


def test_a_batchable_service_answers_in_every_format(server: RunningServer, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(10_000.0), "b": np.arange(10_000) % 7})

    batches = deploy(
        server,
        "Adder",
        ADD.replace("LOG", str(tmp_path / "log")),
        inputs={"df": "DataFrame[a: float, b: int]"},
        outputs={"y": "DataFrame"},
        batchable=True,
    )
    flat = lines(frame.to_dict("records"))
    grouped = {}
    for media, body in ((ARROW, arrow(frame)), (LINES, flat)):
        id = batches.start(body, media, parallel=4)
        status = batches.wait(id)
        assert (status["state"], status["failedItemCount"]) == ("Complete", 1), media
        found = batches.results(id)
        assert len(found) == len(frame)
        assert not found[77]["success"]
        assert "77 is not liked" in found[77]["errorMessage"]
        values = [r["outputParameters"]["y"] for n, r in enumerate(found) if n != 77]
        expected = (frame["a"] + frame["b"]).drop(77)
        assert [value["sum"] for value in values] == [[number] for number in expected]
        grouped[media] = max(map(int, (tmp_path / "log").read_text().split()))
        (tmp_path / "log").unlink()
        page = batches.ask("GET", f"/{id}/results", params={"offset": 76, "limit": 2}).json()
        assert [result["success"] for result in page["results"]] == [True, False]
        assert page["next"] == 78
    assert min(grouped.values()) > 50  # records of a call


def test_an_update_and_a_delete_in_the_middle(server: RunningServer) -> None:
    code = "import time\ntime.sleep(0.02)\ny = x + {}\n"
    batches = deploy(server, "Moving", code.format(1))
    client = DeployClient(server.url, auth=server.token)
    id = batches.start([{"x": float(n)} for n in range(150)], parallel=2)
    batches.wait(id, until=lambda status: status["completedItemCount"] > 5)
    client.update("Moving", "1.0", code_str=code.format(1000))
    late = batches.start([{"x": 1.0}])
    assert batches.wait(id)["failedItemCount"] == 0
    answers = [result["outputParameters"]["y"] for result in batches.results(id)]
    assert answers == [n + 1.0 for n in range(150)]  # all by the state it was started with
    assert batches.wait(late)["completedItemCount"] == 1
    assert batches.results(late)[0]["outputParameters"] == {"y": 1001.0}

    id = batches.start([{"x": float(n)} for n in range(500)], parallel=2)
    batches.wait(id, until=lambda status: status["completedItemCount"] > 5)
    client.delete_service("Moving", "1.0")
    status = batches.wait(id)
    assert status["state"] == "Failed"
    assert "was deleted" in status["errorMessage"]
    kept = batches.results(id)
    assert 5 < len(kept) < 500
    assert [result["outputParameters"]["y"] for result in kept] == [
        n + 1000.0 for n in range(len(kept))
    ]
    assert batches.post([{"x": 1.0}]).status_code == 410
    assert batches.ask("DELETE", f"/{id}").json() == [id]
    assert batches.ask("GET", f"/{id}").status_code == 404


def test_damaged_bytes_are_an_error_and_never_an_answer(own: Any) -> None:
    server, folder = own
    batches = deploy(server, "Same", "import time\ntime.sleep(0.08)\ny = x\n")
    id = batches.start([{"x": float(n)} for n in range(20)], parallel=1)
    batches.wait(id, until=lambda status: status["completedItemCount"] >= 1)
    input_file = folder / id / "input"
    data = bytearray(input_file.read_bytes())
    place = data.index(b"18.0")
    data[place : place + 4] = b"99.0"
    input_file.write_bytes(bytes(data))
    status = batches.wait(id)
    assert (status["state"], status["failedItemCount"]) == ("Complete", 1)
    found = batches.results(id)
    assert [n for n, result in enumerate(found) if not result["success"]] == [18]
    assert "damaged" in found[18]["errorMessage"]
    assert found[19]["outputParameters"] == {"y": 19.0}

    results = sorted((folder / id / "results").iterdir())
    first = results[0]
    good = first.read_bytes()
    assert b'"y":0.0' in good.replace(b" ", b"")
    first.write_bytes(good.replace(b"0.0", b"7.0"))
    reply = batches.ask("GET", f"/{id}/results", params={"limit": 1})
    assert reply.status_code == 500, reply.text
    assert reply.json()["exceptionType"] == "BundleCorrupt"
    first.write_bytes(good)
    assert batches.ask("GET", f"/{id}/results", params={"limit": 1}).status_code == 200


def test_the_quota_is_a_clear_refusal(own: Any) -> None:
    server, folder = own
    batches = deploy(server, "Big", "y = x", inputs={"x": str}, outputs={"y": str})
    before = {path.name for path in folder.iterdir()}
    refused = batches.post(lines([{"x": "a" * 1000}] * 4000), LINES)
    assert refused.status_code == 507
    assert refused.json()["exceptionType"] == "OutOfSpace"
    assert "3,000,000 bytes for your batch executions" in refused.text
    time.sleep(0.2)
    assert {path.name for path in folder.iterdir()} - before <= {"trash"}
    # Results that outgrow it: the execution ends with a sentence, and keeps what it has.
    wordy = deploy(server, "Wordy", "y = 'a' * 300_000", inputs={"x": float}, outputs={"y": str})
    id = wordy.start([{"x": 1.0}] * 40, parallel=1)
    status = wordy.wait(id)
    assert status["state"] == "Failed"
    assert "3,000,000 bytes for your batch executions" in status["errorMessage"]
    assert 0 < len(wordy.results(id)) < 40
    assert wordy.ask("DELETE", f"/{id}").status_code == 200
    assert wordy.wait(wordy.start([{"x": 1.0}]))["state"] == "Complete"


def test_cancelling_ends_what_runs(own: Any) -> None:
    server, folder = own
    batches = deploy(server, "Endless", SLEEP, inputs={"seconds": float})
    id = batches.start([{"seconds": 50.0}] * 4, parallel=2)
    time.sleep(1)
    began = time.monotonic()
    assert batches.ask("DELETE", f"/{id}").status_code == 200
    assert time.monotonic() - began < 10
    assert batches.ask("GET", f"/{id}").status_code == 404
    assert not (folder / id).exists()
    next_one = batches.start([{"seconds": 0.0}])
    assert batches.wait(next_one, 15)["state"] == "Complete"


def test_the_same_key_starts_one_execution(server: RunningServer) -> None:
    batches = deploy(server, "Once", "y = x")
    first = batches.post([{"x": 1.0}], Idempotency_Key="k1")
    again = batches.post([{"x": 1.0}], Idempotency_Key="k1")
    other = batches.post([{"x": 2.0}], Idempotency_Key="k1")
    assert first.json()["batchExecutionId"] == again.json()["batchExecutionId"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (other.status_code, other.json()["exceptionType"]) == (409, "Conflict")
    assert len(batches.ask("GET").json()) == 1


def test_events_tell_of_progress_until_the_end(server: RunningServer) -> None:
    batches = deploy(server, "Watched", "import time\ntime.sleep(0.05)\ny = x")
    id = batches.start([{"x": 1.0}] * 30, parallel=1)
    seen = []
    with httpx.stream("GET", f"{batches.url}/{id}/events", headers=server.headers) as reply:
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        for line in reply.iter_lines():
            if line.startswith("data:"):
                seen.append(json.loads(line[5:]))
    assert seen[-1]["state"] == "Complete"
    counts = [status["completedItemCount"] for status in seen]
    assert counts == sorted(counts)
    assert counts[-1] == 30
    assert len(seen) >= 3
