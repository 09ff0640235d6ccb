"""Processes die by SIGKILL while batches run: every record is answered once, in order, rightly."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from support import attitude
from support.batch_http import ARROW, FINAL, LINES, Batches, arrow, components, lines, worker_pids
from support.running_server import RunningServer, start_server

from jupyter_mlserve import DeployClient, serialize_model

SQUARE = """
import os, signal, time
time.sleep(0.01)
if x < 0:
    os.kill(os.getpid(), signal.SIGKILL)
y = x * x
"""


@functools.cache
def forest() -> Any:
    data = attitude.attitude()
    return RandomForestRegressor(100, random_state=0).fit(data.iloc[:, 1:], data["rating"])


def deploy(server: RunningServer) -> tuple[Batches, Batches, Batches]:
    """A standard, a batchable and a realtime service."""
    client = DeployClient(server.url, auth=server.token)
    client.deploy_service(
        "Square", version="1.0", code_str=SQUARE, inputs={"x": float}, outputs={"y": float}
    )
    client.deploy_service(
        "Rows",
        version="1.0",
        code_str="import time\ntime.sleep(len(df) / 50_000)\ny = df * 3",
        inputs={"df": "DataFrame[x: float]"},
        outputs={"y": "DataFrame"},
        batchable=True,
    )
    container = serialize_model(forest(), attitude.attitude(), "rating")
    client.deploy_realtime("Rating", version="1.0", serialized_model=container)
    return tuple(Batches(server, f"{name}/1.0") for name in ("Square", "Rows", "Rating"))


def departments(count: int) -> Any:
    """Rows like the data's, each another one."""
    data = attitude.attitude().drop(columns="rating")
    rows = data.sample(count, replace=True, random_state=0).reset_index(drop=True)
    return rows + np.arange(count)[:, None] * 1e-4


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def strike(victim: str, server: RunningServer, chance: random.Random) -> None:
    """SIGKILL a process below the server's."""
    if victim == "worker":
        pids = worker_pids(server)
        for pid in chance.sample(pids, min(2, len(pids))):
            kill(pid)
        return
    found = components(server)
    if found[victim].get("pid"):
        kill(found[victim]["pid"])


def test_every_record_is_answered_once_whatever_dies(tmp_path: Path) -> None:
    """Each round starts new executions and then kills something: there is always work to lose."""
    chance = random.Random(41)
    server = start_server(tmp_path)
    try:
        every = square, rows, rating = deploy(server)
        frame = departments(80_000)
        expected = forest().predict(frame)
        numbers = pd.DataFrame({"x": np.arange(60_000.0)})
        uploads: list[tuple[Batches, Any, str]] = [
            (square, [{"x": float(n)} for n in range(150)], ""),
            (rows, arrow(numbers), ARROW),
            (rating, arrow(frame), ARROW),
            (rating, lines(frame.iloc[:8_000].to_dict("records")), LINES),
        ]
        started: list[tuple[Batches, str, int]] = []
        struck = 0
        for victim in ("web", "worker", "compute", "realtime", "web"):
            order = list(enumerate(uploads))
            chance.shuffle(order)
            for number, (batches, records, media) in order:
                started.append((batches, batches.start(records, media, 2), number))
            time.sleep(chance.random() * 0.4)
            struck += sum(
                batches.status(id)["state"] not in FINAL for batches, id, _ in started[-4:]
            )
            if victim == "web":
                server.kill()
                server = start_server(tmp_path)
                for batches in every:
                    batches.server = server
            else:
                strike(victim, server, chance)
        assert struck >= 5  # executions that something was killed under, of 20
        right = {
            0: (np.arange(150.0) ** 2, "y"),
            1: (numbers["x"] * 3, "x"),
            2: (expected, "rating_Pred"),
            3: (expected[:8_000], "rating_Pred"),
        }
        for batches, id, number in started:
            status = batches.wait(id)
            assert status["state"] == "Complete", status
            table = read(batches, id)
            assert status["failedItemCount"] == 0, table["error"].dropna().tolist()[:3]
            values, column = right[number]
            assert table["record"].tolist() == list(range(len(values)))
            np.testing.assert_allclose(table[column], values, rtol=1e-9)
    finally:
        server.stop()


def read(batches: Batches, id: str) -> Any:
    """The results as a frame, from the Arrow download."""
    import pyarrow as pa

    reply = batches.ask("GET", f"/{id}/results", params={"format": "arrow"})
    assert reply.status_code == 200, reply.text
    return pa.ipc.open_stream(reply.content).read_all().to_pandas()


def test_a_record_that_kills_its_worker_fails_alone(server: RunningServer) -> None:
    square, _, _ = deploy(server)
    records = [{"x": float(n)} for n in range(60)]
    records[17]["x"] = -1.0
    records[40]["x"] = -2.0
    id = square.start(records, parallel=2)
    status = square.wait(id)
    assert (status["state"], status["failedItemCount"]) == ("Complete", 2)
    found = square.results(id)
    for n, result in enumerate(found):
        if n in (17, 40):
            assert not result["success"]
            assert result["exceptionType"] == "WorkerLost"
            assert "three times" in result["errorMessage"]
        else:
            assert result["outputParameters"] == {"y": float(n) ** 2}, n


def test_what_was_answered_with_202_is_there_after_a_kill(tmp_path: Path) -> None:
    """Uploads that are cut by the kill leave nothing; those that were answered are worked on."""
    server = start_server(tmp_path)
    started: list[str] = []
    try:
        square, _, _ = deploy(server)

        def upload() -> None:
            with contextlib.suppress(httpx.HTTPError):
                for n in range(1000):
                    reply = square.post(lines([{"x": float(n)}, {"x": 2.0}]), LINES)
                    assert reply.status_code == 202, reply.text
                    started.append(reply.json()["batchExecutionId"])

        thread = threading.Thread(target=upload)
        thread.start()
        time.sleep(0.4)
        server.kill()
        thread.join(30)
        assert started
        server = start_server(tmp_path)
        square.server = server
        listed = square.ask("GET").json()
        assert set(started) <= set(listed)
        assert len(listed) <= len(started) + 1  # the one whose answer was on its way
        for n, id in enumerate(started):
            assert square.wait(id)["state"] == "Complete"
            assert [r["outputParameters"]["y"] for r in square.results(id)] == [float(n) ** 2, 4.0]
        folders = {path.name for path in (batch_folder(tmp_path)).iterdir() if path.is_dir()}
        assert folders & set(listed) == set(listed)
        assert len(folders - set(listed)) <= 1  # no half uploads stay
    finally:
        server.stop()


def batch_folder(folder: Path) -> Path:
    (found,) = (folder / "data").rglob("batches")
    return found


def test_two_servers_over_one_folder_share_the_work(tmp_path: Path) -> None:
    """Each record is answered by one of them; when one is killed the other goes on."""
    first = start_server(tmp_path)
    second = None
    try:
        square, _, _ = deploy(first)
        second = start_server(tmp_path)
        id = square.start([{"x": float(n)} for n in range(300)], parallel=2)
        square.wait(id, until=lambda status: status["completedItemCount"] > 20)
        beside = Batches(second, square.service)
        assert beside.status(id)["state"] == "InProgress"
        first.kill()
        # It looks by itself, every few seconds, for what others left behind.
        killed = time.monotonic()
        after = beside.status(id)["completedItemCount"]
        beside.wait(id, until=lambda status: status["completedItemCount"] > after)
        assert time.monotonic() - killed < 12
        status = beside.wait(id, 45)
        assert (status["state"], status["failedItemCount"]) == ("Complete", 0)
        answers = [result["outputParameters"]["y"] for result in beside.results(id)]
        assert answers == [float(n) ** 2 for n in range(300)]
    finally:
        first.process.kill()
        if second is not None:
            second.stop()
