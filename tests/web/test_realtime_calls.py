"""Calling realtime services: JSON and Arrow, wrong input, updates and deaths meanwhile."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
from typing import Any

import pyarrow as pa
import pytest
from support import attitude

from jupyter_mlserve.contract.errors import UnsupportedMedia
from jupyter_mlserve.web.api import accepts_arrow, check_media_type

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
PREDICTORS = attitude.NAMES[1:]
FIVE = [list(map(float, row)) for row in attitude.ROWS[:5]]


def columns(rating: bool = False) -> dict[str, list[float]]:
    found = {name: [row[i] for row in FIVE] for i, name in enumerate(attitude.NAMES)}
    return found if rating else {name: found[name] for name in PREDICTORS}


def stream(data: dict[str, Any]) -> bytes:
    table = pa.table(data)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def predictions(reply: Any) -> list[float]:
    assert reply.status == 200, reply.content
    if reply.headers["Content-Type"] == ARROW:
        table = pa.ipc.open_stream(reply.content).read_all()
        assert table.column_names == ["rating_Pred"]
        return list(table["rating_Pred"].to_pylist())
    assert reply.headers["Content-Type"] == JSON
    (found,) = reply.json["outputParameters"]["outputData"].items()
    assert found[0] == "rating_Pred"
    return list(found[1])


async def test_the_attitude_data_are_rated_as_in_the_product_we_follow(
    http: Any, deploy: Any, attitude_model: bytes
) -> None:
    """As columns and as records; the response column is ignored, whatever it holds."""
    await deploy("Attitude/1.0", model=attitude_model)
    records = [dict(zip(attitude.NAMES, row, strict=True)) for row in FIVE]
    bare = [{name: row[name] for name in PREDICTORS} for row in records]
    strange = {**columns(True), "rating": ["x", None, 1, True, -0.5]}
    for data in (columns(), columns(True), records, bare, strange):
        found = predictions(await http("POST", "api/Attitude/1.0", {"inputData": data}))
        assert found[0] == pytest.approx(51.110295255533131, rel=1e-12)
        assert found == pytest.approx(attitude.FIRST_FIVE, abs=5e-7)
    whole = (await http("POST", "api/Attitude", {"inputData": columns()})).json
    assert whole.pop("outputParameters")
    assert whole == {
        "success": True,
        "errorMessage": "",
        "consoleOutput": "",
        "changedFiles": [],
        "outputFiles": {},
    }


async def test_arrow_both_ways(http: Any, deploy: Any, attitude_model: bytes) -> None:
    await deploy("Attitude/1.0", model=attitude_model)
    bodies = {
        JSON: b'{"inputData": %s}' % str(columns()).replace("'", '"').encode(),
        ARROW: stream(columns(True)),
    }
    for given, body in bodies.items():
        for wanted in (
            None,
            "*/*",
            JSON,
            ARROW,
            f"{ARROW};q=0",
            f"text/html, {ARROW.upper()};q=.5",
        ):
            headers = {"Content-Type": given, **({"Accept": wanted} if wanted else {})}
            for path in ("api/Attitude/1.0", "api/Attitude"):
                reply = await http("POST", path, body, headers=headers)
                expected = (
                    ARROW if wanted and "q=0" not in wanted and "arrow" in wanted.lower() else JSON
                )
                assert reply.headers["Content-Type"] == expected, (given, wanted)
                assert predictions(reply) == pytest.approx(attitude.FIRST_FIVE, abs=5e-7)
    many = {name: values * 20_000 for name, values in columns().items()}
    reply = await http(
        "POST", "api/Attitude/1.0", stream(many), headers={"Content-Type": ARROW, "Accept": ARROW}
    )
    assert predictions(reply)[-5:] == pytest.approx(attitude.FIRST_FIVE, abs=5e-7)
    # Errors are JSON whatever was asked for.
    for body in (stream({"a": [1.0]}), b"", b"no stream", bodies[ARROW][:-50]):
        reply = await http(
            "POST", "api/Attitude/1.0", body, headers={"Content-Type": ARROW, "Accept": ARROW}
        )
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidInput")
        assert reply.headers["Content-Type"] == JSON
    packed = {"Content-Type": ARROW, "Content-Encoding": "gzip"}
    assert (await http("POST", "api/Attitude/1.0", b"x", headers=packed)).status == 415


async def test_standard_services_read_no_arrow_and_write_none(
    http: Any, publish: Any, raw: Any, node: Any
) -> None:
    await publish()
    connection = await raw()
    for _ in range(2):
        lines = (f"Content-Type: {ARROW}", "Content-Length: 10000000", "Expect: 100-continue")
        await connection.send("POST", "api/AddOne/1.0", *lines)
        status, _, body = await connection.answer()
        assert (status, b"UnsupportedMedia" in body) == (415, True)
        assert b"standard service" in body
        assert b"application/json" in body
        connection = await raw()
    reply = await http("POST", "api/AddOne/1.0", {"x": 1}, headers={"Accept": ARROW})
    assert reply.json["outputParameters"] == {"y": 2.0}
    assert node.held == 0


@pytest.mark.parametrize(
    ("accept", "arrow"),
    [
        (ARROW, True),
        (f"{ARROW};q=0", False),
        (f"{ARROW}; q=0.0", False),
        (f"{JSON};q=0.5, {ARROW};q=0.9", True),
        (f"{JSON}, {ARROW};q=0.9", False),
        (f"{JSON}, {ARROW}", True),
        (f"{ARROW};q=high", True),
        ("*/*", False),
        ("application/*", False),
        ("", False),
        (",;q=;;,=", False),
        ("application/vnd.apache.arrow.file", False),
    ],
)
def test_which_reply_is_meant(accept: str, arrow: bool) -> None:
    assert accepts_arrow(accept) is arrow


def test_arrow_is_known_by_its_name() -> None:
    assert check_media_type({"Content-Type": f"{ARROW}; charset=utf-8"}) is True
    assert check_media_type({"Content-Type": ARROW.title()}) is True
    for other in ("application/vnd.apache.arrow.file", "application/arrow"):
        with pytest.raises(UnsupportedMedia):
            check_media_type({"Content-Type": other})


WRONG: list[tuple[Any, str]] = [
    ({}, "inputData"),
    ({"inputData": columns(), "x": 1}, "x"),
    ({"inputData": {**columns(), "raises": ["1"] * 5}}, "raises"),
    ({"inputData": {**columns(), "raises": [None] * 5}}, "raises"),
    ({"inputData": {**columns(), "raises": [1.0]}}, ""),
    ({"inputData": dict(reversed(columns().items()))}, "complaints"),
    (
        {"inputData": {name: values for name, values in columns().items() if name != "raises"}},
        "raises",
    ),
    ({"inputData": {**columns(), "more": [1.0] * 5}}, "more"),
    ({"inputData": 1}, "inputData"),
]


async def test_wrong_input_is_a_400_that_names_the_column(
    http: Any, deploy: Any, attitude_model: bytes
) -> None:
    await deploy("Attitude/1.0", model=attitude_model)
    for body, named in WRONG:
        reply = await http("POST", "api/Attitude/1.0", body)
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidInput"), body
        assert named in reply.json["message"], reply.json
        details = reply.json["details"]
        assert details["expected"]
        assert details["got"], body
        if named not in ("", "x", "inputData"):
            assert details["column"] == ("advance" if named == "complaints" else named)
    for raw_body in (b"", b"{", b"[]", b'{"inputData": NaN}', b"\xff"):
        reply = await http("POST", "api/Attitude/1.0", raw_body, headers={"Content-Type": JSON})
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidInput"), raw_body
    assert (await http("POST", "api/Attitude/2.0", {"inputData": columns()})).status == 404
    assert (await http("POST", "api/None/1.0", {"inputData": columns()})).status == 404
    assert predictions(await http("POST", "api/Attitude/1.0", {"inputData": columns()}))


async def test_no_call_is_lost_while_the_model_is_replaced(
    http: Any, deploy: Any, attitude_model: bytes, higher_model: bytes
) -> None:
    await deploy("Attitude/1.0", model=attitude_model)
    seen: list[float] = []
    ending = asyncio.Event()

    async def caller() -> None:
        while not ending.is_set():
            reply = await http("POST", "api/Attitude/1.0", {"inputData": columns()})
            seen.append(predictions(reply)[0])

    callers = [asyncio.ensure_future(caller()) for _ in range(4)]
    last = attitude.FIRST_FIVE[0] + 1000
    for model in (higher_model, attitude_model, higher_model):
        assert (await deploy("Attitude/1.0", "PATCH", model=model)).status == 200
        # Who has the answer to an update meets the new state.
        reply = await http("POST", "api/Attitude/1.0", {"inputData": columns()})
        expected = attitude.FIRST_FIVE[0] + (1000 if model is higher_model else 0)
        assert predictions(reply)[0] == pytest.approx(expected)
    assert (await http("POST", "services/Attitude/1.0/rollback", {})).status == 200
    assert (await http("POST", "services/Attitude/1.0/rollback", {})).status == 200
    ending.set()
    await asyncio.gather(*callers)
    assert len(seen) > 20
    assert {round(value) for value in seen} == {round(last), round(last - 1000)}


async def test_each_of_the_two_processes_dies_alone(
    http: Any, deploy: Any, publish: Any, node: Any, attitude_model: bytes
) -> None:
    await publish(code="import time\ntime.sleep(x)\ny = x")
    await deploy("Attitude/1.0", model=attitude_model)
    row = {"inputData": columns()}

    async def alive(path: str, body: Any) -> None:
        while True:
            reply = await http("POST", path, body)
            if reply.status == 200:
                return
            assert (reply.status, reply.json["exceptionType"]) == (503, "ComputeLost")
            assert reply.headers["Retry-After"]
            assert "Attitude" in reply.json["message"] or "AddOne" in reply.json["message"]

    await alive("api/AddOne/1.0", {"x": 0.0})
    slow = asyncio.ensure_future(http("POST", "api/AddOne/1.0", {"x": 1.0}))
    await asyncio.sleep(0.2)
    os.kill(node.core.realtime.pid, signal.SIGKILL)
    await alive("api/Attitude/1.0", row)
    assert (await slow).json["outputParameters"] == {"y": 1.0}
    os.kill(node.core.compute.pid, signal.SIGKILL)
    for _ in range(20):
        predictions(await http("POST", "api/Attitude/1.0", row))
    await alive("api/AddOne/1.0", {"x": 0.0})
    parts = (await http("GET", "status")).json["components"]
    assert (parts["realtime"]["restarts"], parts["compute"]["restarts"]) == (1, 1)
    assert parts["realtime"]["sessions"] == 1
    assert parts["realtime"]["bytes"] <= parts["realtime"]["budget"]


async def test_a_version_that_is_held_back_says_its_name_and_for_how_long(
    http: Any, deploy: Any, node: Any, attitude_model: bytes
) -> None:
    for name in ("Attitude", "Other"):
        await deploy(f"{name}/1.0", model=attitude_model)
    realtime = node.core.realtime
    # What is done after it stopped the process several times.
    realtime._held[node.core.routes.find("Attitude", "1.0").key] = time.monotonic() + 60
    reply = await http("POST", "api/Attitude/1.0", {"inputData": columns()})
    assert (reply.status, reply.json["exceptionType"]) == (503, "Unavailable")
    assert 0 < int(reply.headers["Retry-After"]) <= 60
    assert reply.json["message"].startswith("Attitude 1.0: ")
    assert predictions(await http("POST", "api/Other/1.0", {"inputData": columns()}))
    status = (await http("GET", "status")).json
    assert (status["statusCode"], status["components"]["realtime"]["held_back"]) == ("warn", 1)


async def test_calls_of_models_are_counted_as_all_are(
    http: Any, deploy: Any, jp_fetch: Any, attitude_model: bytes
) -> None:
    await deploy("Rated/1.0", model=attitude_model)
    row = {"inputData": columns()}
    await http("POST", "api/Rated/1.0", row)
    await http("POST", "api/Rated/1.0", row, headers={"Accept": ARROW})
    await http("POST", "api/Rated/1.0", {})
    text = (await jp_fetch("metrics")).body.decode()
    counts = 'jupyter_mlserve_calls_total{service="Rated",status="%d",version="1.0"} %s'
    assert counts % (200, "2.0") in text
    assert counts % (400, "1.0") in text
    await http("DELETE", "services/Rated/1.0")
    await http("POST", "api/Rated/1.0", row)
    assert "Rated" not in (await jp_fetch("metrics")).body.decode()


class TestLimits:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"max_rows": 5, "max_body_size": 5000}

    async def test_rows_and_bytes(self, http: Any, deploy: Any, attitude_model: bytes) -> None:
        assert (await deploy("Attitude/1.0", model=attitude_model)).status == 201
        six = {name: [*values, 1.0] for name, values in columns().items()}
        assert predictions(await http("POST", "api/Attitude/1.0", {"inputData": columns()}))
        for body, media in (
            (stream(six), ARROW),
            (b'{"inputData": %s}' % str(six).replace("'", '"').encode(), JSON),
        ):
            reply = await http("POST", "api/Attitude/1.0", body, headers={"Content-Type": media})
            assert reply.status in (400, 413), reply.json
            assert "5" in reply.json["message"]
            assert "rows" in reply.json["message"]
        reply = await http("POST", "api/Attitude/1.0", b"x" * 6000, headers={"Content-Type": ARROW})
        assert (reply.status, reply.json["exceptionType"]) == (413, "TooLarge")
