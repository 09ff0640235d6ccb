"""Batches of real services: a fitted model as code, a compiled model, one that takes frames."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import attitude
from support.bodies import definition

from jupyter_mlserve.contract.batch import MEDIA

CARS = Path(__file__).parents[2] / "notebooks" / "mtcars.csv"
# What the product we follow answers for this model and these data; it prints six digits.
PRINTED = (0.592204, 0.469917, 0.68952, 0.306868, 0.376956)
PRINTED_END = (0.752739, 0.512737)
CODE = """\
new_car = pd.DataFrame({"hp": [hp], "wt": [wt]})
answer = pd.DataFrame({"am_Pred": cars_model.predict(new_car)})
answer.to_csv("answer.csv", index=False)
"""


async def finished(http: Any, path: str) -> Any:
    deadline = time.monotonic() + 60
    while (status := (await http("GET", f"{path}?results=false")).json)["state"] not in (
        "Complete",
        "Failed",
    ):
        assert time.monotonic() < deadline, status
        await asyncio.sleep(0.05)
    return status


@pytest.fixture
def run(http: Any) -> Any:
    """``await run("N/1", body, format)``: the path of the execution when it has ended."""

    async def execute(service: str, body: Any, format: str = "json", query: str = "") -> str:
        path = f"api/{service}/batch"
        headers = {"Content-Type": MEDIA[format]}
        reply = await http("POST", path + query, body, headers=headers)
        assert reply.status == 202, reply.json
        path = f"{path}/{reply.json['BatchExecutionId']}"
        status = await finished(http, path)
        assert status["state"] == "Complete", status
        assert status["completedItemCount"] == status["totalItemCount"]
        return path

    return execute


def as_arrow(table: pa.Table, rows: int | None = None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


def as_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def uploads(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """The same records in every format."""
    table = pa.Table.from_pylist(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return {
        "json": json.dumps(rows).encode(),
        "lines": b"".join(json.dumps(row).encode() + b"\n" for row in rows),
        "csv": text.getvalue().encode(),
        "arrow": as_arrow(table, 3),
        "parquet": as_parquet(table),
    }


async def downloads(http: Any, path: str, query: str = "") -> dict[str, list[dict[str, Any]]]:
    """The same results as rows, from every format of tables."""
    found = {}
    for format in ("csv", "arrow", "parquet"):
        reply = await http("GET", f"{path}/results?format={format}{query}")
        assert (reply.status, reply.headers["Content-Type"]) == (200, MEDIA[format]), reply.content
        assert reply.headers["Content-Disposition"].startswith("attachment")
        if format == "csv":
            accept = {"Accept": f"{MEDIA['json']};q=0.1, {MEDIA['csv']}"}
            by_header = await http("GET", f"{path}/results?{query}", headers=accept)
            assert by_header.content == reply.content
            rows: Any = list(csv.DictReader(io.StringIO(reply.content.decode())))
        elif format == "arrow":
            rows = pa.ipc.open_stream(reply.content).read_all().to_pylist()
        else:
            rows = pq.read_table(io.BytesIO(reply.content)).to_pylist()
        found[format] = rows
    return found


async def test_32_cars_are_answered_as_by_the_model_itself(http: Any, run: Any) -> None:
    import dill
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    cars = pd.read_csv(CARS)
    model = LinearRegression().fit(cars[["hp", "wt"]], cars["am"])
    expected = model.predict(cars[["hp", "wt"]]).tolist()
    data = dill.dumps(model)
    sha = hashlib.sha256(data).hexdigest()
    await http("PUT", f"blobs/{sha}", data)
    own = {
        "objects": [{"name": "cars_model", "sha256": sha, "size": len(data), "type": "model"}],
        "prelude": [{"source": "import pandas as pd\n", "names": ["pd"]}, {"object": "cars_model"}],
    }
    body = definition(
        CODE,
        inputs={"hp": "numeric", "wt": "numeric"},
        outputs={"answer": "data.frame"},
        outputFileNames=["answer.csv", "never.png"],
        mlserve=own,
    )
    assert (await http("POST", "services/TxService/1.0", body)).status == 201

    def predictions(status: Any) -> list[float]:
        results = status["batchExecutionResults"]
        assert all(result["success"] for result in results)
        return [result["outputParameters"]["answer"]["am_Pred"][0] for result in results]

    rows = [
        {"hp": float(hp), "wt": float(wt)} for hp, wt in zip(cars["hp"], cars["wt"], strict=True)
    ]
    path = await run("TxService/1.0", rows, query="?parallelCount=4")
    status = (await http("GET", f"{path}?showPartialResult=true")).json
    assert (status["completedItemCount"], status["totalItemCount"]) == (32, 32)
    found = predictions(status)
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[:5] == pytest.approx(PRINTED, abs=5e-7)
    assert found[-2:] == pytest.approx(PRINTED_END, abs=5e-7)
    for index, value in enumerate(found):
        assert (await http("GET", f"{path}/{index}/files")).json == ["answer.csv"]
        file = await http("GET", f"{path}/{index}/files/answer.csv")
        name, text = file.content.decode().split()
        assert (name, float(text)) == ("am_Pred", value)
    first = status["batchExecutionResults"][0]["outputFiles"]
    assert base64.b64decode(first["answer.csv"]).startswith(b"am_Pred\n")
    assert first["never.png"] is None
    # Columns in another order are the same inputs.
    turned = [{"wt": row["wt"], "hp": row["hp"]} for row in rows]
    for format, upload in uploads(turned).items():
        if format == "arrow":
            continue  # for a service without frames, it goes the way of Parquet
        path = await run("TxService/1.0", upload, format)
        assert predictions((await http("GET", path)).json) == found, format
    for format, table in (await downloads(http, path)).items():
        assert list(table[0]) == ["record", "am_Pred", "error"], format
        assert [float(row["am_Pred"]) for row in table] == found, format
        assert [int(row["record"]) for row in table] == list(range(32)), format
    part = await http("GET", f"{path}/results?format=arrow&offset=30&limit=9")
    assert pa.ipc.open_stream(part.content).read_all()["record"].to_pylist() == [30, 31]


async def test_a_compiled_model_takes_and_gives_every_format(
    http: Any, run: Any, deploy: Any, attitude_model: bytes
) -> None:
    await deploy("Attitude/1.0", model=attitude_model)
    rows = [dict(zip(attitude.NAMES, map(float, row), strict=True)) for row in attitude.ROWS]
    # The response among the columns is left out, whichever way they come.
    bare = [{name: row[name] for name in reversed(attitude.NAMES[1:])} for row in rows]
    found: dict[str, list[float]] = {}
    for kind, records in (("whole", rows), ("bare", bare)):
        for format, upload in uploads(records).items():
            if kind == "whole" and format in ("lines", "parquet"):
                continue
            path = await run("Attitude/1.0", upload, format)
            status = (await http("GET", path)).json
            outputs = [each["outputParameters"] for each in status["batchExecutionResults"]]
            found[f"{kind} {format}"] = [each["outputData"]["rating_Pred"][0] for each in outputs]
            if kind == "bare" and format == "parquet":
                for table in (await downloads(http, path)).values():
                    assert list(table[0]) == ["record", "rating_Pred", "error"]
                    values = [float(row["rating_Pred"]) for row in table]
                    assert values == pytest.approx(found[f"{kind} {format}"], rel=1e-12)
                text = (await http("GET", f"{path}/results?format=lines&offset=28")).content
                assert [
                    json.loads(line)["outputParameters"]["outputData"]["rating_Pred"][0]
                    for line in text.splitlines()
                ] == pytest.approx(found[f"{kind} {format}"][28:], rel=1e-12)
                assert (await http("GET", f"{path}/3/files")).json == []
    for name, values in found.items():
        assert values[0] == pytest.approx(51.110295255533131, rel=1e-12), name
        assert values == pytest.approx(found["whole json"], rel=1e-12), name
    # A row that the model does not take fails alone.
    wrong = [rows[0], {**rows[1], "raises": "high"}, {**rows[2], "more": 1.0}, rows[3]]
    path = await run("Attitude/1.0", wrong)
    status = (await http("GET", path)).json
    assert [each["success"] for each in status["batchExecutionResults"]] == [
        True,
        False,
        False,
        True,
    ]
    assert "raises" in status["batchExecutionResults"][1]["errorMessage"]
    table = pa.ipc.open_stream((await http("GET", f"{path}/results?format=arrow")).content)
    assert [cell is None for cell in table.read_all()["error"].to_pylist()] == [
        True,
        False,
        False,
        True,
    ]
    reply = await http(
        "POST",
        "api/Attitude/1.0/batch",
        as_arrow(pa.table({"raises": [1.0]})),
        headers={"Content-Type": MEDIA["arrow"]},
    )
    assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidInput")


async def test_a_service_that_takes_frames_gets_many_rows_at_a_time(http: Any, run: Any) -> None:
    body = definition("", inputs={"frame": "data.frame"}, outputs={"y": "data.frame"})
    body["code"] = "def double(frame):\n    return frame.assign(twice=frame['a'] * 2)[['twice']]\n"
    body["inputParameterDefinitions"][0]["columns"] = [{"name": "a", "type": "numeric"}]
    own = {"form": "function", "function": "double", "batchable": True}
    body["mlserve"] = {**own, "prelude": [{"source": "import pandas\n", "names": ["pandas"]}]}
    body["mlserve"]["sample"] = {"frame": {"a": [1.0, 2.0, 3.0]}}
    reply = await http("POST", "services/Double/1.0", body)
    assert reply.status == 201, reply.json
    rows = [{"a": float(n)} for n in range(20)]
    for format, upload in uploads(rows).items():
        path = await run("Double/1.0", upload, format)
        results = (await http("GET", path)).json["batchExecutionResults"]
        found = [each["outputParameters"]["y"]["twice"] for each in results]
        assert found == [[2.0 * n] for n in range(20)], format


async def test_an_execution_outlives_its_version(http: Any, publish: Any, run: Any) -> None:
    await publish()
    path = await run("AddOne/1.0", [{"x": n} for n in range(5)])
    await http(
        "PATCH", "services/AddOne/1.0", definition("z = 'other'", outputs={"z": "character"})
    )
    for deleted in (False, True):
        if deleted:
            await http("DELETE", "services/AddOne/1.0")
            assert (await http("POST", "api/AddOne/1.0/batch", [{"x": 1}])).status == 410
        assert len((await http("GET", path)).json["batchExecutionResults"]) == 5
        table = csv.DictReader(
            (await http("GET", f"{path}/results?format=csv")).content.decode().splitlines()
        )
        assert [float(row["y"]) for row in table] == [1, 2, 3, 4, 5]
        assert (await http("GET", f"{path}/0/files")).json == []
        assert (await http("GET", "api/AddOne/1.0/batch")).json == [path.rpartition("/")[2]]
    events = await http("GET", f"{path}/events")
    assert b'"state":"Complete"' in events.content
    assert (await http("DELETE", path)).status == 200
    assert (await http("GET", "api/AddOne/1.0/batch")).status == 410


async def test_deleting_stops_what_is_running(http: Any, publish: Any, node: Any) -> None:
    await publish(code="import time\ntime.sleep(x)\ny = x")
    reply = await http("POST", "api/AddOne/1.0/batch", [{"x": 30}] * 4)
    path = f"api/AddOne/1.0/batch/{reply.json['BatchExecutionId']}"
    while (await http("GET", path)).json["state"] != "InProgress":
        await asyncio.sleep(0.05)
    assert (await http("GET", "status")).json["components"]["batches"]["running"] == 1
    await asyncio.sleep(0.2)
    began = time.monotonic()
    assert (await http("DELETE", path)).status == 200
    assert time.monotonic() - began < 10
    assert (await http("GET", path)).status == 404
    # The workers are free again.
    assert (await http("POST", "api/AddOne/1.0", {"x": 0})).status == 200


async def test_a_service_without_inputs_answers_empty_records(
    http: Any, publish: Any, run: Any
) -> None:
    await publish("Now", code="y = 1", inputs={})
    path = await run("Now/1.0", [{}, {}, {"x": 1}])
    status = (await http("GET", path)).json
    assert [each["success"] for each in status["batchExecutionResults"]] == [True, True, False]
    path = await run("Now/1.0", b"{}\n{}\n", "lines")
    assert (await http("GET", path)).json["totalItemCount"] == 2


async def test_only_owners_of_the_code_see_where_it_failed(
    http: Any, publish: Any, run: Any
) -> None:
    await publish(code="print('before')\ny = 1 / x")
    path = await run("AddOne/1.0", [{"x": 0}, {"x": 2}])
    failed, fine = (await http("GET", path)).json["batchExecutionResults"]
    assert (fine["success"], fine["outputParameters"]) == (True, {"y": 0.5})
    assert failed["errorMessage"].startswith("ZeroDivisionError")
    assert failed["consoleOutput"] == "before\n"
    assert "y = 1 / x" in failed["details"]["traceback"]
