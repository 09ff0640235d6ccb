"""Starting batch executions: what may be sent, what is refused, and what a refusal leaves."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

import pytest

from jupyter_mlserve.web.batch import uploads

LINES = "application/x-ndjson"
PATH = "api/AddOne/1.0/batch"


def left_over(node: Any) -> list[str]:
    """Folders in the store that belong to no execution."""
    core = node.core
    there = [entry for entry in os.listdir(core.batches.root) if entry != "removed"]
    return sorted(set(there) - core.executions.known(there))


async def settled(node: Any) -> None:
    """Nothing is on its way any more, and nothing was left behind."""
    deadline = time.monotonic() + 10
    removed = node.core.batches.root / "removed"
    while left_over(node) or os.listdir(removed) or node.core.desk.busy["uploads"]:
        assert time.monotonic() < deadline, left_over(node)
        await asyncio.sleep(0.02)
    assert node.core.desk.coming() == 0


async def done(http: Any, reply: Any) -> Any:
    """The status of a started execution, once it is complete."""
    assert reply.status == 202, reply.content
    path = reply.headers["Location"].partition("mlserve/")[2]
    deadline = time.monotonic() + 30
    while (status := (await http("GET", path)).json)["state"] not in ("Complete", "Failed"):
        assert time.monotonic() < deadline, status
        await asyncio.sleep(0.05)
    return status


def values(status: Any) -> list[Any]:
    return [each["outputParameters"].get("y") for each in status["batchExecutionResults"]]


@pytest.fixture
def start(http: Any) -> Any:
    async def run(body: Any, media: str | None = None, query: str = "", **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if media is not None:
            named["Content-Type"] = media
        return await http("POST", PATH + query, body, headers=named)

    return run


async def test_records_become_results_in_their_order(
    http: Any, publish: Any, start: Any, node: Any
) -> None:
    await publish()
    reply = await start([{"x": n} for n in range(50)], query="?parallelCount=2")
    started = reply.json
    id = started["batchExecutionId"]
    assert started == {
        "BatchExecutionId": id,
        "batchExecutionId": id,
        "totalItemCount": 50,
        "parallelCount": 2,
    }
    assert reply.headers["Location"] == f"/a%40b/mlserve/{PATH}/{id}"
    status = await done(http, reply)
    assert (status["state"], status["completedItemCount"]) == ("Complete", 50)
    assert values(status) == [n + 1 for n in range(50)]
    text = b"\xef\xbb\xbf" + b"".join(b'{"x": %d}\r\n\r\n' % n for n in range(5)) + b'{"x": 5}'
    again = await start(text, LINES)
    assert values(await done(http, again)) == [1, 2, 3, 4, 5, 6]
    table = await start("x\n1\n2.5\nhello\n\n", "text/csv; charset=utf-8")
    status = await done(http, table)
    assert values(status) == [2, 3.5, None]
    assert status["failedItemCount"] == 1
    wrong = status["batchExecutionResults"][2]
    assert (wrong["success"], wrong["exceptionType"]) == (False, "InvalidInput")
    assert wrong["fields"] == "x"
    assert "traceback" not in json.dumps(wrong.get("details", {}))
    ids = (await http("GET", PATH)).json
    assert ids == [id, again.json["BatchExecutionId"], table.json["BatchExecutionId"]]
    components = (await http("GET", "status")).json["components"]["batches"]
    assert (components["statusCode"], components["executions"]) == ("pass", 3)
    assert components["bytes"] > 0
    assert components["uploads"] == components["streams"] == 0
    for each in ids:
        assert (await http("DELETE", f"{PATH}/{each}")).json == [each]
        assert (await http("DELETE", f"{PATH}/{each}")).status == 404
    assert (await http("GET", PATH)).json == []
    await settled(node)
    assert os.listdir(node.core.batches.root) == ["removed"]


@pytest.mark.parametrize(
    "media", [None, "", "application/json", "application/x-www-form-urlencoded"]
)
async def test_what_clients_call_json(http: Any, publish: Any, start: Any, media: Any) -> None:
    await publish()
    reply = await http(
        "POST", PATH, '[{"x": 1}]', headers={} if media is None else {"Content-Type": media}
    )
    assert (reply.status, reply.json["totalItemCount"]) == (202, 1)


WRONG_HEADERS = [
    ("", {"Content-Type": "text/xml"}, 415),
    ("", {"Content-Type": "application/octet-stream"}, 415),
    ("", {"Content-Type": "text/plain"}, 415),
    ("", {"Content-Type": "multipart/form-data; boundary=b"}, 415),
    ("", {"Content-Type": "application/vnd.apache.arrow.file"}, 415),
    ("", {"Content-Type": "text/csv; charset=latin-1"}, 415),
    ("", {"Content-Type": LINES, "Content-Encoding": "gzip"}, 415),
    ("?parallelCount=0", {}, 400),
    ("?parallelCount=-1", {}, 400),
    ("?parallelCount=2.0", {}, 400),
    ("?parallelCount=", {}, 400),
    ("?parallelCount=%D9%A3", {}, 400),
    ("?parallelCount=1e3", {}, 400),
    ("?parallelCount=2&parallelCount=3", {}, 400),
    ("?parallelCount=010", {}, 400),
    ("", {"Idempotency-Key": "x" * 256}, 400),
    ("", {"Idempotency-Key": "two words"}, 400),
    ("", {"Idempotency-Key": ""}, 400),
    ("", {"Idempotency-Key": "\u00e9"}, 400),
]
WRONG_BODIES = [
    ("application/json", b"", "body"),
    ("application/json", b"[]", "body"),
    ("application/json", b"{}", ""),
    ("application/json", b"[1,", ""),
    ("application/json", b'[{"x": 1}]]', ""),
    ("application/json", b"[" * 100_000, ""),
    ("application/json", b"null", ""),
    ("application/json", b"\xff\xfe[\x00]\x00", ""),
    (LINES, b"", "body"),
    (LINES, b"\n \n\r\n", "body"),
    (LINES, b'[{"x": 1}]', ""),
    ("text/csv", b"", ""),
    ("text/csv", b"x\n", "body"),
    ("text/csv", b"z\n1\n", "x"),
    ("text/csv", b"x,x\n1,2\n", "x"),
    ("text/csv", b"x,z\n1,2\n", "z"),
    ("text/csv", b"\x00\xff\xfe", ""),
    ("application/vnd.apache.arrow.stream", b"no stream", ""),
    ("application/vnd.apache.parquet", b"PAR1" + b"\x00" * 100, ""),
    ("application/vnd.apache.parquet", b"", ""),
]


async def test_what_is_refused_leaves_nothing(
    http: Any, publish: Any, start: Any, node: Any, raw: Any
) -> None:
    await publish()
    for query, headers, status in WRONG_HEADERS:
        reply = await http("POST", PATH + query, b'[{"x": 1}]', headers=headers)
        assert reply.status == status, (query, headers, reply.content)
        # And before the body has come.
        connection = await raw()
        lines = [f"{name}: {value}" for name, value in headers.items() if value.isascii()]
        if lines or query:
            await connection.send("POST", PATH + query, *lines, f"Content-Length: {2**28}")
            assert (await connection.answer())[0] == status
    for media, body, field in WRONG_BODIES:
        reply = await start(body, media)
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidInput"), (media, body)
        if field:
            assert reply.json["fields"] == field, (media, body)
    for path, status in [
        ("api/None/1.0/batch", 404),
        ("api/AddOne/9/batch", 404),
        ("api/%2e%2e/1/batch", 400),
        ("api/AddOne/%00/batch", 400),
    ]:
        assert (await http("POST", path, b"[]")).status == status, path
    assert (await http("GET", PATH)).json == []
    await settled(node)


async def test_malformed_records_fail_alone(http: Any, publish: Any, start: Any) -> None:
    await publish()
    rows = [
        b'{"x": 1}',
        b'{"x": ',
        b"null",
        b'{"x": "1"}',
        b'{"z": 1}',
        b'{"x": 1e999}',
        b'{"x": 6}',
    ]
    status = await done(http, await start(b"\n".join(rows), LINES))
    assert values(status) == [2, None, None, None, None, None, 7]
    assert (status["state"], status["failedItemCount"]) == ("Complete", 5)
    for wrong in status["batchExecutionResults"][1:6]:
        assert wrong["exceptionType"] == "InvalidInput"
        assert wrong["errorMessage"]
        assert wrong["outputParameters"] == {}
    assert status["batchExecutionResults"][4]["fields"] in ("x", "z")
    status = await done(http, await start([{"x": 1}, [], {"x": None}, 3, {"x": 2}]))
    assert values(status)[::4] == [2, 3]
    assert status["failedItemCount"] == 3 or values(status)[2] is None


async def test_parallel_counts_are_lowered_to_the_limit(
    publish: Any, start: Any, node: Any
) -> None:
    await publish()
    cap = node.settings.batch.parallel_cap
    for asked in (str(cap), str(cap + 1), "9" * 400):
        assert (await start([{"x": 1}], query=f"?parallelCount={asked}")).json[
            "parallelCount"
        ] == cap
    assert (await start([{"x": 1}])).json["parallelCount"] == min(10, cap)


async def test_a_key_starts_one_execution(http: Any, publish: Any, start: Any, node: Any) -> None:
    await publish()
    body = [{"x": n} for n in range(3)]
    key = {"Idempotency_Key": "!key~"}
    first = await start(body, query="?parallelCount=2", **key)
    assert "Idempotency-Replayed" not in first.headers
    again = await start(body, query="?parallelCount=3", **key)
    assert (again.status, again.json) == (202, first.json)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    for other in (
        await start([{"x": 9}], **key),
        await start(json.dumps(body), "application/x-ndjson", **key),
        await start(b"", **key),
    ):
        assert (other.status, other.json["exceptionType"]) == (409, "Conflict")
    await publish(version="2.0")
    elsewhere = await http(
        "POST", "api/AddOne/2.0/batch", body, headers={"Idempotency-Key": "!key~"}
    )
    assert (elsewhere.status, "Idempotency-Replayed" in elsewhere.headers) == (202, False)
    # Twins that come at the same time make one, and different ones of which one is refused.
    twins = await asyncio.gather(*[start(body, Idempotency_Key="twins") for _ in range(8)])
    assert {reply.status for reply in twins} == {202}
    assert len({reply.json["BatchExecutionId"] for reply in twins}) == 1
    assert sum("Idempotency-Replayed" in reply.headers for reply in twins) == 7
    rivals = await asyncio.gather(*[start([{"x": n}], Idempotency_Key="rivals") for n in range(4)])
    assert sorted(reply.status for reply in rivals) == [202, 409, 409, 409]
    assert len((await http("GET", PATH)).json) == 3
    await settled(node)
    # When it was deleted, the key is free again.
    id = first.json["BatchExecutionId"]
    await http("DELETE", f"{PATH}/{id}")
    fresh = await start(body, **key)
    assert (fresh.status, "Idempotency-Replayed" in fresh.headers) == (202, False)


async def test_large_uploads_go_to_the_disk_as_they_come(
    http: Any, publish: Any, raw: Any, node: Any
) -> None:
    await publish(code="y = len(x)", inputs={"x": "character"})
    rows = [json.dumps({"x": "a" * (n * 83 % 50_000)}).encode() for n in range(600)]
    body = b"\n".join(rows)
    assert len(body) > 12_000_000
    connection = await raw()
    await connection.send(
        "POST", PATH, f"Content-Type: {LINES}", "Transfer-Encoding: chunked", "Expect: 100-continue"
    )
    assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    for start in range(0, len(body), 700_001):
        piece = body[start : start + 700_001]
        connection.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
        await connection.writer.drain()
        await asyncio.sleep(0)
    (folder,) = left_over(node)
    assert (node.core.batches.root / folder / "upload").stat().st_size > 8_000_000
    assert node.core.desk.coming() > 8_000_000
    connection.write(b"0\r\n\r\n")
    status, headers, answer = await connection.answer()
    assert (status, json.loads(answer)["totalItemCount"]) == (202, 600)
    assert left_over(node) == []
    assert not (node.core.batches.root / folder / "upload").exists()
    path = headers["location"].partition("mlserve/")[2]
    while (found := (await http("GET", path)).json)["state"] != "Complete":
        await asyncio.sleep(0.1)
    assert values(found) == [n * 83 % 50_000 for n in range(600)]


async def test_cut_connections_and_uploads_that_stand_still(
    publish: Any, raw: Any, http: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish()
    for lines, sent in [
        (["Content-Length: 5000000"], b'{"x": 1}\n' * 200_000),
        (["Content-Length: 5000000"], b""),
        (["Transfer-Encoding: chunked"], b"200000\r\n" + b" " * 0x200000),
        (["Transfer-Encoding: chunked"], b"zz\r\n"),
    ]:
        connection = await raw()
        await connection.send("POST", PATH, f"Content-Type: {LINES}", *lines, pause=0.05)
        connection.write(sent)
        await asyncio.sleep(0.1)
        connection.writer.transport.abort()
        await settled(node)
    monkeypatch.setattr(uploads, "STALLED", 0.2)
    connection = await raw()
    await connection.send("POST", PATH, f"Content-Type: {LINES}", "Content-Length: 5000000")
    connection.write(b'{"x": 1}\n' * 10_000)
    status, _, body = await connection.answer()
    assert (status, json.loads(body)["exceptionType"]) == (504, "CallTimeout")
    await settled(node)
    assert (await http("GET", PATH)).json == []


class TestLimits:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {
            "max_body_size": 10_000,
            "batch_max_upload_size": 2_000_000,
            "batch_max_records": 1_000,
            "batch_user_quota": 3_000_000,
            "batch_quota": 4_000_000,
            "batch_max_executions": 3,
            "batch_max_parallel": 2,
        }

    async def test_sizes_quotas_and_numbers(
        self, http: Any, publish: Any, start: Any, raw: Any, node: Any
    ) -> None:
        await publish(code="y = 1", inputs={"x": "character"})
        assert (await start([{"x": ""}], query="?parallelCount=9")).json["parallelCount"] == 2
        large = json.dumps([{"x": "a" * 20_000}])
        reply = await start(large)
        assert (reply.status, reply.json["exceptionType"]) == (413, "TooLarge")
        assert "application/x-ndjson" in reply.json["message"]
        assert (await start(large[1:-1], LINES)).status == 202
        reply = await start(b'{"x": ""}\n' * 1_001, LINES)
        assert (reply.status, reply.json["exceptionType"]) == (413, "TooLarge")
        for lines in (["Content-Length: 2000001"], ["Transfer-Encoding: chunked"]):
            connection = await raw()
            await connection.send("POST", PATH, f"Content-Type: {LINES}", *lines)
            if "chunked" in lines[0]:
                connection.write(b"200000\r\n" + b" " * 0x200000)
            status, _, body = await connection.answer()
            assert (status, "batch_max_upload_size" in json.loads(body)["message"]) == (413, True)
        row = json.dumps({"x": "a" * 1_000}).encode() + b"\n"
        assert (await start(row * 999, LINES)).status == 202
        reply = await start(row, LINES)
        assert (reply.status, reply.json["exceptionType"]) == (429, "TooBusy")
        assert "DELETE" in reply.json["message"]
        for id in (await http("GET", PATH)).json[:2]:
            await http("DELETE", f"{PATH}/{id}")
        assert (await start(row * 990, LINES)).status == 202
        connection = await raw()
        await connection.send("POST", PATH, f"Content-Type: {LINES}", "Content-Length: 1900000")
        status, _, body = await connection.answer()
        assert (status, json.loads(body)["exceptionType"]) == (507, "OutOfSpace")
        assert "your batch executions" in json.loads(body)["message"]
        reply = await start(row * 999, LINES)
        assert reply.status in (202, 507)
        await settled(node)

    async def test_uploads_at_a_time(
        self, publish: Any, start: Any, raw: Any, node: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await publish()
        monkeypatch.setattr("jupyter_mlserve.web.batch.desk.USER_UPLOADS", 1)
        connection = await raw()
        await connection.send(
            "POST", PATH, f"Content-Type: {LINES}", "Content-Length: 1000000", pause=0.1
        )
        reply = await start([{"x": 1}])
        assert (reply.status, reply.json["exceptionType"]) == (429, "TooBusy")
        assert int(reply.headers["Retry-After"]) >= 1
        connection.writer.transport.abort()
        await settled(node)
        assert (await start([{"x": 1}])).status == 202
