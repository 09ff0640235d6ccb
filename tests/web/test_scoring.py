"""Calling services: what goes in, what comes out, and what is refused on the way."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from datetime import datetime, timezone
from typing import Any

import pytest
from support.bodies import definition

JSON_TYPE = "application/json"


async def test_the_first_call_and_the_next_have_the_same_shape(http: Any, publish: Any) -> None:
    """The first goes through Jupyter's checks, the second is remembered."""
    await publish()
    first = await http("POST", "api/AddOne/1.0", {"x": 1})
    second = await http("POST", "api/AddOne/1.0", {"x": 1})
    assert first.content == second.content
    differing = {"Date"}
    assert {k: v for k, v in first.headers.items() if k not in differing} == {
        k: v for k, v in second.headers.items() if k not in differing
    }
    assert second.headers["Content-Type"] == JSON_TYPE
    assert second.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in second.headers["Content-Security-Policy"]
    assert "Set-Cookie" not in second.headers
    sent = datetime.strptime(second.headers["Date"], "%a, %d %b %Y %H:%M:%S GMT")
    assert abs((datetime.now(timezone.utc).replace(tzinfo=None) - sent).total_seconds()) < 5


MEDIA_TYPES = [
    None,
    JSON_TYPE,
    'application/json; odata=minimal; charset="UTF-8"',
    "application/vnd.api+json",
    "application/x-www-form-urlencoded",
    "text/plain;charset=UTF-8",
]
NOT_JSON = [
    {"Content-Type": "text/xml"},
    {"Content-Type": "multipart/form-data; boundary=x"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": JSON_TYPE, "Content-Encoding": "gzip"},
]


async def test_json_is_taken_as_json_whatever_clients_call_it(
    raw: Any, http: Any, publish: Any
) -> None:
    await publish()
    for media_type in MEDIA_TYPES:
        connection = await raw()
        lines = ["Content-Length: 7"] + ([f"Content-Type: {media_type}"] if media_type else [])
        await connection.send("POST", "api/AddOne/1.0", *lines)
        connection.write(b'{"x":1}')
        status, _, body = await connection.answer()
        assert (status, json.loads(body)["outputParameters"]) == (200, {"y": 2.0}), media_type
    for headers in NOT_JSON:
        reply = await http("POST", "api/AddOne/1.0", '{"x": 1}', headers=headers)
        assert (reply.status, reply.json["exceptionType"]) == (415, "UnsupportedMedia"), headers
        assert "application/json" in reply.json["message"]


WRONG_INPUT = [
    ("", ""),
    ("[]", ""),
    ("{", ""),
    ('{"x": NaN}', ""),
    ("{}", "x"),
    ('{"x": "1"}', "x"),
    ('{"x": 1, "z": 2}', "z"),
    ('{"x": ' + "[" * 100_000, ""),
    ("\udcff{}".encode("utf-8", "surrogateescape"), ""),
]


async def test_wrong_input_is_a_400_that_names_the_field(http: Any, publish: Any) -> None:
    await publish()
    for body, field in WRONG_INPUT:
        reply = await http("POST", "api/AddOne/1.0", body, headers={"Content-Type": JSON_TYPE})
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidInput"), body
        assert reply.json["fields"] == field, body
        assert (await http("POST", "api/AddOne/1.0", {"x": 1})).status == 200


async def test_failing_code_is_the_authors_to_see(http: Any, publish: Any, raw: Any) -> None:
    await publish(code="print('before')\ny = 1 / x")
    reply = await http("POST", "api/AddOne/1.0", {"x": 0})
    assert (reply.status, reply.json["exceptionType"]) == (400, "ServiceFailed")
    assert reply.json["message"].startswith("ZeroDivisionError: ")
    assert reply.json["consoleOutput"] == "before\n"
    assert "y = 1 / x" in reply.json["details"]["traceback"]


async def test_names_and_versions_that_are_not_there(http: Any, publish: Any) -> None:
    await publish()
    for path in ["api/None/1.0", "api/AddOne/1.1", "api/None", "api/addone/1.0"]:
        reply = await http("POST", path, {"x": 1})
        assert (reply.status, reply.json["exceptionType"]) == (404, "ServiceNotFound"), path


async def test_console_files_and_output_of_a_call(http: Any, publish: Any) -> None:
    code = (
        "print('hello')\nopen('answer.txt', 'w').write('text')\n"
        "open('other.txt', 'w').close()\ny = x"
    )
    await publish(code=code, outputFileNames=["answer.txt", "missing.png"])
    result = (await http("POST", "api/AddOne/1.0", {"x": 1})).json
    assert result["consoleOutput"] == "hello\n"
    assert result["outputFiles"] == {"answer.txt": "dGV4dA==", "missing.png": None}
    assert sorted(result["changedFiles"]) == ["answer.txt", "other.txt"]


async def test_large_bodies_and_replies_pass(http: Any, publish: Any) -> None:
    await publish(code="y = x", inputs={"x": "list"}, outputs={"y": "list"})
    value = ["ä" * 1000] * 3000
    reply = await http("POST", "api/AddOne/1.0", {"x": value})
    assert reply.status == 200
    assert reply.json["outputParameters"]["y"] == value


async def test_many_calls_over_one_connection_and_many_connections(raw: Any, publish: Any) -> None:
    await publish()

    async def client(number: int) -> list[float]:
        connection = await raw()
        found = []
        for step in range(20):
            body = json.dumps({"x": number * 100 + step}).encode()
            await connection.send("POST", "api/AddOne/1.0", f"Content-Length: {len(body)}")
            connection.write(body)
            status, _, answer = await connection.answer()
            assert status == 200
            found.append(json.loads(answer)["outputParameters"]["y"])
        return found

    for number, found in enumerate(await asyncio.gather(*[client(n) for n in range(8)])):
        assert found == [number * 100 + step + 1 for step in range(20)]


async def test_a_client_that_goes_away_harms_nobody(raw: Any, http: Any, publish: Any) -> None:
    await publish(code="import time\ntime.sleep(x)\ny = x")
    for length, sent in [(100, b'{"x"'), (12, b'{"x": 0.3   ')]:
        connection = await raw()
        await connection.send("POST", "api/AddOne/1.0", f"Content-Length: {length}")
        connection.write(sent)
        await asyncio.sleep(0.1)
        connection.writer.transport.abort()
    reply = await http("POST", "api/AddOne/1.0", {"x": 0})
    assert reply.status == 200


class TestSmallLimits:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"max_body_size": 300_000, "max_definition_size": 2000}

    @pytest.mark.parametrize("path", ["api/AddOne/1.0", "services/AddOne/1.0", "blobs/missing"])
    async def test_a_gigabyte_is_refused_before_it_comes(self, raw: Any, path: str) -> None:
        connection = await raw()
        await connection.send("POST", path, f"Content-Length: {2**30}")
        status, headers, body = await connection.answer()
        assert (status, json.loads(body)["exceptionType"]) == (413, "TooLarge")
        assert headers["connection"] == "close"
        assert json.loads(body)["details"]["limit"] in (300_000, 2000)

    @pytest.mark.parametrize("path", ["api/AddOne/1.0", "services/AddOne/1.0"])
    async def test_who_asks_before_sending_is_told_at_once(self, raw: Any, path: str) -> None:
        connection = await raw()
        await connection.send("POST", path, f"Content-Length: {2**30}", "Expect: 100-continue")
        status, _, _ = await connection.answer()
        assert status == 413
        assert await connection.ended()

    @pytest.mark.parametrize("path", ["api/AddOne/1.0", "services/AddOne/1.0"])
    async def test_an_endless_body_is_cut_and_the_answer_arrives(self, raw: Any, path: str) -> None:
        connection = await raw()
        await connection.send("POST", path, "Transfer-Encoding: chunked")
        for _ in range(100):
            connection.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        status, _, body = await connection.answer()
        assert (status, json.loads(body)["exceptionType"]) == (413, "TooLarge")

        async def send_on() -> None:
            while not connection.reader.at_eof():
                connection.write(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
                await connection.writer.drain()

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(send_on(), 20)

    async def test_an_unknown_client_cannot_send_much(self, raw: Any) -> None:
        connection = await raw()
        await connection.send("POST", "api/A/1", "Content-Length: 299999", token="wrong")
        status, _, _ = await connection.answer()  # no byte of the body was sent
        assert status == 401

    async def test_the_limit_itself_is_allowed(self, http: Any, publish: Any) -> None:
        await publish()
        body = '{"x": 1}'.ljust(300_000)
        assert (await http("POST", "api/AddOne/1.0", body)).status == 200
        assert (await http("POST", "api/AddOne/1.0", body + " ")).status == 413
        small = json.dumps(definition()).ljust(2000)
        assert (await http("POST", "services/AddOne/2.0", small)).status == 201
        assert (await http("POST", "services/AddOne/3.0", small + " ")).status == 413


class TestHeldMemory:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"max_pending": 600_000}

    async def test_bodies_on_their_way_are_counted(
        self, raw: Any, http: Any, publish: Any, node: Any
    ) -> None:
        await publish()
        body = b'{"x": 1}'.ljust(400_000)
        slow, chunked = await raw(), await raw()
        await slow.send("POST", "api/AddOne/1.0", "Content-Length: 400000")
        for _ in range(2):
            refused = await http("POST", "api/AddOne/1.0", body)
            assert (refused.status, refused.json["exceptionType"]) == (429, "TooBusy")
            assert refused.headers["Retry-After"] == "1"
        await chunked.send("POST", "api/AddOne/1.0", "Transfer-Encoding: chunked")
        chunked.write(b"%x\r\n" % len(body) + body)
        status, _, _ = await chunked.answer()
        assert status == 429
        assert (await http("POST", "api/AddOne/1.0", {"x": 1})).status == 200
        slow.write(body)
        status, _, _ = await slow.answer()
        assert status == 200
        assert (await http("POST", "api/AddOne/1.0", body)).status == 200
        leaving = await raw()
        await leaving.send("POST", "api/AddOne/1.0", "Content-Length: 400000")
        leaving.writer.transport.abort()
        while node.held:
            await asyncio.sleep(0.01)


class TestComputeLimits:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"call_timeout": 0.5, "pool_max": 1, "max_queue": 1}

    async def test_stuck_calls_full_queues_and_dead_workers(self, http: Any, publish: Any) -> None:
        code = "import os, time\nif x < 0: os._exit(3)\ntime.sleep(x)\ny = x"
        await publish(code=code)
        stuck = await http("POST", "api/AddOne/1.0", {"x": 100})
        assert (stuck.status, stuck.json["exceptionType"]) == (504, "CallTimeout")
        dead = await http("POST", "api/AddOne/1.0", {"x": -1})
        assert (dead.status, dead.json["exceptionType"]) == (500, "WorkerLost")
        for reply in (stuck, dead):
            assert "AddOne" in reply.json["message"]
        assert (await http("POST", "api/AddOne/1.0", {"x": 0})).status == 200
        calls = [http("POST", "api/AddOne/1.0", {"x": 0.2}) for _ in range(4)]
        replies = await asyncio.gather(*calls)
        assert sorted(reply.status for reply in replies) == [200, 200, 429, 429]
        for reply in replies:
            if reply.status == 429:
                assert reply.json["exceptionType"] == "TooBusy"
                assert int(reply.headers["Retry-After"]) >= 1

    async def test_a_lost_compute_node_is_said_and_replaced(
        self, http: Any, publish: Any, node: Any
    ) -> None:
        await publish(code="import time\ntime.sleep(x)\ny = x")
        call = asyncio.ensure_future(http("POST", "api/AddOne/1.0", {"x": 0.4}))
        await asyncio.sleep(0.2)
        os.kill(node.core.compute.pid, signal.SIGKILL)
        reply = await call
        assert (reply.status, reply.json["exceptionType"]) == (503, "ComputeLost")
        assert "AddOne" in reply.json["message"]
        assert int(reply.headers["Retry-After"]) >= 1
        assert (await http("POST", "api/AddOne/1.0", {"x": 0})).status == 200


async def test_calls_are_counted(http: Any, publish: Any, jp_fetch: Any) -> None:
    await publish(name="Counted")
    for value in (1, 2, "three"):
        await http("POST", "api/Counted/1.0", {"x": value})
    await http("POST", "api/Nowhere/1.0", {"x": 1})
    text = (await jp_fetch("metrics")).body.decode()
    counts = 'jupyter_mlserve_calls_total{service="Counted",status="%d",version="1.0"} %s'
    assert counts % (200, "2.0") in text
    assert counts % (400, "1.0") in text
    assert 'jupyter_mlserve_call_seconds_count{service="Counted",version="1.0"} 3.0' in text
    assert "Nowhere" not in text
    own = 'handler="jupyter_mlserve.web.api.ScoringCall",method="POST",status_code="200"'
    assert own in text
    await http("DELETE", "services/Counted/1.0")
    await http("POST", "api/Counted/1.0", {"x": 1})
    assert "Counted" not in (await jp_fetch("metrics")).body.decode()


async def test_scoring_is_activity(http: Any, publish: Any, jp_serverapp: Any) -> None:
    await publish()
    settings = jp_serverapp.web_app.settings
    assert "jupyter_mlserve_last_activity" not in settings
    before = settings["api_last_activity"]
    await http("POST", "api/AddOne/1.0", {"x": 1})
    assert settings["jupyter_mlserve_last_activity"] > before
    assert jp_serverapp.web_app.last_activity() == settings["jupyter_mlserve_last_activity"]
    app = jp_serverapp.extension_manager.extension_apps["jupyter_mlserve"].pop()
    assert not app.current_activity()


class TestQuiet:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"scoring_counts_as_activity": False}

    async def test_scoring_need_not_be_activity(
        self, http: Any, publish: Any, jp_serverapp: Any
    ) -> None:
        await publish()
        await http("POST", "api/AddOne/1.0", {"x": 1})
        assert "jupyter_mlserve_last_activity" not in jp_serverapp.web_app.settings


async def test_good_calls_write_no_log(http: Any, publish: Any, caplog: Any) -> None:
    await publish()
    await http("POST", "api/AddOne/1.0", {"x": 1})
    caplog.clear()
    for _ in range(3):
        await http("POST", "api/AddOne/1.0", {"x": 1})
    lines = [record.getMessage() for record in caplog.records if record.name != "asyncio"]
    assert lines == []
    await http("POST", "api/AddOne/1.0", {"x": "wrong"})
    assert any(
        record.levelname == "WARNING" and "400 POST" in record.getMessage()
        for record in caplog.records
    )


async def test_calls_in_flight_are_answered_when_the_server_stops(
    http: Any, publish: Any, jp_serverapp: Any
) -> None:
    await publish(code="import time\ntime.sleep(x)\ny = x")
    call = asyncio.ensure_future(http("POST", "api/AddOne/1.0", {"x": 30}))
    await asyncio.sleep(0.3)
    await jp_serverapp.cleanup_extensions()
    reply = await asyncio.wait_for(call, 5)
    assert (reply.status, reply.json["exceptionType"]) == (503, "ComputeLost")


async def test_an_object_that_is_gone_from_the_store_is_said(http: Any, node: Any) -> None:
    data = b"7"
    digest = hashlib.sha256(data).hexdigest()
    await http("PUT", f"blobs/{digest}", data)
    files = [{"name": "n.txt", "sha256": digest, "size": 1}]
    code = "y = float(open('n.txt').read())"
    assert (
        await http("POST", "services/A/1", definition(code, mlserve={"files": files}))
    ).status == 201
    assert (await http("POST", "api/A/1", {"x": 1})).status == 200
    node.core.blobs.path(digest).unlink()
    os.kill(node.core.compute.pid, signal.SIGKILL)
    reply = await http("POST", "api/A/1", {"x": 1})
    while reply.status == 503:
        reply = await http("POST", "api/A/1", {"x": 1})
    assert (reply.status, reply.json["exceptionType"]) == (500, "BundleCorrupt")
    assert "'A'" in reply.json["message"]
    assert "publish it again" in reply.json["message"]
