"""Looking at batch executions: results in order, by pages and as files; whose they are."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from support.stored_batches import Stored, result

LINES, JSON = "application/x-ndjson", "application/json"


@pytest.fixture
def stored(node: Any) -> Any:
    """``stored(10)``: an execution of ten records, which the server's owner has started."""
    owner = node.kernel_token.principal.username

    def make(total: int, **more: Any) -> Stored:
        return Stored(node.core, more.pop("owner", owner), total, **more)

    return make


async def test_results_are_the_longest_answered_prefix(http: Any, stored: Any) -> None:
    batch = stored(10).begin()
    status = (await http("GET", batch.path)).json
    assert (status["state"], status["completedItemCount"], status["totalItemCount"]) == (
        "InProgress",
        0,
        10,
    )
    assert "batchExecutionResults" not in status
    batch.add(4, [result(4), result(5)])
    batch.add(0, [result(0), result(1)])
    for spelling in ("showPartialResults=true", "showPartialResult=True", "showPartialResult=1"):
        status = (await http("GET", f"{batch.path}?{spelling}")).json
        assert [each["outputParameters"]["y"] for each in status["batchExecutionResults"]] == [0, 1]
        assert status["completedItemCount"] == 2  # as many as there are results to read
    status = (await http("GET", f"{batch.path}?showPartialResults=false")).json
    assert "batchExecutionResults" not in status
    batch.add(2, [result(2), {"success": False, "errorMessage": "no"}], failed=1)
    status = (await http("GET", f"{batch.path}?showPartialResults=true")).json
    assert len(status["batchExecutionResults"]) == 6
    assert (status["failedItemCount"], status["errorMessage"]) == (1, "")
    batch.add(6, [result(n) for n in range(6, 10)])
    for query in ("", "?showPartialResult=false", "?results=true", "?showPartialResults=true"):
        status = (await http("GET", batch.path + query)).json
        assert status["state"] == "Complete"
        assert len(status["batchExecutionResults"]) == 10, query
    assert [status[key][-1] for key in ("createdAt", "startedAt", "finishedAt", "expiresAt")] == [
        "Z"
    ] * 4
    status = (await http("GET", f"{batch.path}?results=false")).json
    assert "batchExecutionResults" not in status


async def test_a_failed_execution_keeps_what_was_answered(http: Any, stored: Any) -> None:
    batch = stored(3).begin()
    batch.add(0, [result(0)])
    batch.fail("It was deleted.")
    status = (await http("GET", batch.path)).json
    assert (status["state"], status["errorMessage"]) == ("Failed", "It was deleted.")
    assert len(status["batchExecutionResults"]) == 1
    page = (await http("GET", f"{batch.path}/results")).json
    assert (page["count"], page["next"]) == (1, None)
    missing = await http("GET", f"{batch.path}/2/files")
    assert missing.status == 404
    assert "was not answered" in missing.json["message"]


async def test_pages_meet_without_gap_or_overlap(http: Any, stored: Any) -> None:
    batch = stored(2500).begin()
    for first in range(0, 2500, 7):
        batch.add(first, [result(n) for n in range(first, min(first + 7, 2500))])
    found: list[Any] = []
    asked, pages = 0, 0
    while asked is not None:
        page = (await http("GET", f"{batch.path}/results?offset={asked}")).json
        assert (page["offset"], page["count"]) == (asked, len(page["results"]))
        found += page["results"]
        asked, pages = page["next"], pages + 1
    assert pages == 3
    assert [each["outputParameters"]["y"] for each in found] == list(range(2500))
    for query, first, count, after in [
        ("offset=13&limit=3", 13, 3, 16),
        ("offset=2499", 2499, 1, None),
        ("offset=2500", 2500, 0, None),
        ("offset=999999999999999999999999", 10**18, 0, None),
        ("limit=100000", 0, 2500, None),
    ]:
        page = (await http("GET", f"{batch.path}/results?{query}")).json
        assert (page["offset"], page["count"], page["next"]) == (first, count, after), query
        values = [each["outputParameters"]["y"] for each in page["results"]]
        assert values == list(range(first, first + count)) if count else values == []
    text = await http("GET", f"{batch.path}/results?format=lines&offset=5&limit=2")
    assert text.headers["Content-Type"] == LINES
    assert text.headers["Content-Disposition"].startswith('attachment; filename="AddOne-1.0-')
    assert [json.loads(row)["outputParameters"]["y"] for row in text.content.splitlines()] == [5, 6]
    assert text.content.endswith(b"\n")
    whole = await http("GET", f"{batch.path}/results", headers={"Accept": LINES})
    assert whole.content.count(b"\n") == 2500


async def test_pages_of_a_running_execution_wait_for_the_gap(http: Any, stored: Any) -> None:
    batch = stored(6).begin()
    batch.add(4, [result(4), result(5)])
    page = (await http("GET", f"{batch.path}/results")).json
    assert (page["count"], page["next"], page["completedItemCount"]) == (0, None, 2)
    assert (await http("GET", f"{batch.path}/results?format=lines")).content == b""
    batch.add(0, [result(n) for n in range(4)])
    page = (await http("GET", f"{batch.path}/results?offset=2")).json
    assert (page["count"], page["next"]) == (4, None)


WRONG = [
    ("?showPartialResults=maybe", "showPartialResults"),
    ("?showPartialResult=", "showPartialResult"),
    ("?results=2", "results"),
    ("?results=true&results=false", "results"),
    ("/results?offset=-1", "offset"),
    ("/results?offset=1.0", "offset"),
    ("/results?offset=%D9%A3", "offset"),
    ("/results?offset=01", "offset"),
    ("/results?limit=0", "limit"),
    ("/results?limit=ten", "limit"),
    ("/results?format=xml", "format"),
    ("/results?format=JSON", "format"),
]
NOT_RECORDS = ["-1", "01", "3", "%D9%A1", "1.0", "0x1", "9" * 400, "%00", "+1", "1e0", "None"]
NOT_IDS = ["0" * 8, "..", "%2e%2e", "%2Fetc%2Fpasswd", "A" * 36, "'", "%00", "x" * 3000]


async def test_what_is_asked_for_wrongly(http: Any, stored: Any, jp_base_url: str) -> None:
    secret = base64.b64encode(b"\x00\xffraw").decode()
    files = {"answer.csv": secret, "r\u00e9sum\u00e9.txt": "", "never.png": None}
    batch = stored(3).begin()
    batch.add(0, [result(0, outputFiles=files), result(1)])
    for suffix, field in WRONG:
        reply = await http("GET", batch.path + suffix)
        assert (reply.status, reply.json["fields"]) == (400, field), suffix
    names = await http("GET", f"{batch.path}/0/files")
    assert names.json == ["answer.csv", "r\u00e9sum\u00e9.txt"]
    assert (await http("GET", f"{batch.path}/1/files")).json == []
    reply = await http("GET", f"{batch.path}/0/files/answer.csv")
    assert (reply.status, reply.content) == (200, b"\x00\xffraw")
    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.headers["Content-Disposition"] == 'attachment; filename="answer.csv"'
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    reply = await http("GET", f"{batch.path}/0/files/r%C3%A9sum%C3%A9.txt")
    assert (reply.status, reply.content) == (200, b"")
    assert "filename*=UTF-8''r%C3%A9sum%C3%A9.txt" in reply.headers["Content-Disposition"]
    for name in ["never.png", "..%2F..%2Finput", "%2Fetc%2Fpasswd", "input", "%00", "x" * 2000]:
        reply = await http("GET", f"{batch.path}/0/files/{name}")
        assert (reply.status, reply.json["exceptionType"]) == (404, "NotFound"), name
    for index in NOT_RECORDS:
        for path in (f"{batch.path}/{index}/files", f"{batch.path}/{index}/files/answer.csv"):
            reply = await http("GET", path)
            assert (reply.status, reply.json["exceptionType"]) == (404, "NotFound"), index
    later = await http("GET", f"{batch.path}/2/files")
    assert later.status == 404
    assert "not answered yet" in later.json["message"]
    for verb, suffix in [
        ("PUT", ""),
        ("POST", ""),
        ("HEAD", ""),
        ("PATCH", "/results"),
        ("DELETE", "/events"),
        ("POST", "/0/files"),
        ("DELETE", "/0/files/answer.csv"),
    ]:
        reply = await http(verb, batch.path + suffix, "{}" if verb in ("PUT", "POST") else None)
        assert reply.status == 405, (verb, suffix)
        assert "GET" in reply.headers["Allow"]
    reply = await http("PUT", "api/AddOne/1.0/batch", "{}")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, POST")


async def test_an_id_that_is_none_and_one_of_somebody_else_are_the_same(
    http: Any, stored: Any
) -> None:
    own, foreign = stored(1), stored(1, owner="somebody-else")
    unknown = own.id[:-1] + ("0" if own.id[-1] != "0" else "1")
    bodies = set()
    for id in (foreign.id, unknown, *NOT_IDS):
        for method, suffix in [
            ("GET", ""),
            ("DELETE", ""),
            ("GET", "/results"),
            ("GET", "/events"),
            ("GET", "/0/files"),
            ("GET", "/0/files/a"),
        ]:
            path = f"api/AddOne/1.0/batch/{id}{suffix}"
            reply = await http(method, path)
            assert (reply.status, reply.json["exceptionType"]) == (404, "NotFound"), path
            if id in (foreign.id, unknown):
                bodies.add(reply.content.replace(id.encode(), b"ID"))
    assert len(bodies) == 1
    # The right id below another service is wrong as well.
    assert (await http("GET", f"api/AddOne/2.0/batch/{own.id}")).status == 404
    assert (await http("GET", f"api/Other/1.0/batch/{own.id}")).status == 404
    assert (await http("GET", "api/AddOne/1.0/batch")).json == [own.id]
    details = (await http("GET", "api/AddOne/1.0/batch?details=true")).json
    assert [(each["batchExecutionId"], each["totalItemCount"]) for each in details] == [(own.id, 1)]
    assert (await http("GET", "api/Other/1.0/batch")).status == 404
    assert (await http("GET", "api/AddOne/1.0/batch?details=no")).status == 400


async def test_damaged_results_are_never_shown(http: Any, stored: Any, node: Any) -> None:
    batch = stored(4).begin()
    batch.add(0, [result(0)])
    batch.add(1, [result("x" * 400_000), result("y" * 400_000)])
    batch.add(3, [result(3)])
    (path,) = node.core.batches.folder(batch.id).glob("results/*1-2-*")
    data = path.read_bytes()
    path.write_bytes(data[:-20] + b"!" + data[-19:])
    for suffix in ("/results?offset=1", "/1/files", "/results?format=lines&offset=2"):
        reply = await http("GET", batch.path + suffix)
        assert (reply.status, reply.json["exceptionType"]) == (500, "BundleCorrupt"), suffix
    assert (await http("GET", f"{batch.path}/results?limit=1")).json["count"] == 1
    path.unlink()
    assert (await http("GET", f"{batch.path}/results?offset=1")).status == 500
