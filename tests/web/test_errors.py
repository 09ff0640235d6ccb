"""Failures: one JSON shape everywhere (the fixtures check it), the right status, a way on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.bodies import definition
from tornado.web import HTTPError

from jupyter_mlserve.contract.errors import InternalError, NotAllowed, TooBusy
from jupyter_mlserve.web.errors import answer_error, as_error, retry_after, size

HOSTILE = [
    "..%2f..%2fetc",
    "%2e%2e",
    "..",
    "a%00b",
    "a%0d%0aX-Evil:%201",
    "n" * 10_000,
    "N%C3%A4me",
    "%ff%fe",
    "%F0%9F%92%A9",
    "-name",
    "a%2fb",
    "%25",
    "a%20b",
    "{name}",
]


def tricky(name: str) -> list[tuple[str, str]]:
    return [
        ("POST", f"services/{name}/1.0"),
        ("POST", f"services/{name}"),
        ("POST", f"services/Name/{name}"),
        ("PATCH", f"services/{name}/1.0"),
        ("POST", f"api/{name}/1.0"),
        ("POST", f"api/Name/{name}"),
        ("GET", f"services/{name}"),
        ("GET", f"services/Name/{name}"),
        ("GET", f"api/{name}/1.0/swagger.json"),
        ("GET", f"services/{name}/history"),
        ("DELETE", f"services/Name/{name}"),
        ("PUT", f"blobs/{name}"),
        ("POST", f"api/{name}/1.0/batch"),
        ("GET", f"api/Name/{name}/batch"),
        ("GET", f"api/Name/1.0/batch/{name}"),
        ("DELETE", f"api/Name/1.0/batch/{name}"),
        ("GET", f"api/Name/1.0/batch/{name}/0/files/{name}"),
    ]


async def test_tricks_in_names_and_versions_are_refused(raw: Any) -> None:
    body = json.dumps(definition()).encode()
    connection = await raw()
    for method, path in [pair for name in HOSTILE for pair in tricky(name)]:
        length = len(body) if method in ("POST", "PATCH", "PUT") else 0
        await connection.send(method, path, f"Content-Length: {length}")
        connection.write(body[:length])
        status, headers, content = await connection.answer()
        assert status in (400, 404), (method, path, status, content)
        error = json.loads(content)
        assert error["code"] == status
        assert len(error["message"]) < 1000
        assert "x-evil" not in headers
        assert headers["content-type"] == "application/json"


async def test_unknown_addresses_and_wrong_methods(http: Any) -> None:
    for path in ["", "no", "no/such/thing", "services/a/b/c/d", "api", "api/", "blobs", "status/x"]:
        for method in ("GET", "POST", "DELETE"):
            reply = await http(method, path, "" if method == "POST" else None)
            assert (reply.status, reply.json["exceptionType"]) == (404, "NotFound"), path
    for method, path, allowed in [
        ("GET", "api/AddOne/1.0", "POST"),
        ("DELETE", "api/AddOne", "POST"),
        ("PUT", "services/AddOne/1.0", "GET, POST, PATCH, DELETE"),
        ("DELETE", "services", "GET"),
        ("POST", "status", "GET"),
        ("GET", "blobs/" + "0" * 64, "HEAD, PUT"),
        ("GET", "services/AddOne/1.0/rollback", "POST"),
        ("POST", "api/AddOne/1.0/swagger.json", "GET"),
        ("DELETE", "api/AddOne/1.0/batch", "GET, POST"),
        ("POST", f"api/AddOne/1.0/batch/{'0' * 36}", "GET, DELETE"),
        ("PUT", f"api/AddOne/1.0/batch/{'0' * 36}/0/files/a", "GET"),
    ]:
        reply = await http(method, path, "" if method in ("PUT", "POST") else None)
        assert (reply.status, reply.headers["Allow"]) == (405, allowed), path
        assert allowed in reply.json["message"]


async def test_a_method_nobody_knows(raw: Any) -> None:
    connection = await raw()
    await connection.send("BREW", "services")
    status, _, body = await connection.answer()
    assert (status, json.loads(body)["exceptionType"]) == (405, "MethodNotAllowed")


async def test_bodies_that_are_no_json_object(http: Any) -> None:
    wrong = ["{", "[]", "null", '"text"', "\x00", '{"a": NaN}', "[" * 100_000, b"\xff\xfe{}"]
    for body in wrong:
        for method, path in [("POST", "services/A/1.0"), ("PATCH", "services/A/1.0")]:
            reply = await http(method, path, body)
            assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidInput"), body


async def test_percent_signs_survive(http: Any) -> None:
    """Tornado would double them, or take them for a format."""
    body = definition(operationId="100%s bad %d")
    reply = await http("POST", "services/A/1.0", body)
    assert "'100%s bad %d'" in reply.json["message"]


async def test_what_nobody_foresaw_is_logged_and_not_told(
    http: Any, publish: Any, node: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    await publish()

    def broken(*args: Any) -> Any:
        raise KeyError("secret-of-the-server")

    monkeypatch.setattr(node.core.routes, "find", broken)
    monkeypatch.setattr(node.core.catalog, "list_all", broken)
    for method, path, body in [("POST", "api/AddOne/1.0", {"x": 1}), ("GET", "services", None)]:
        caplog.clear()
        reply = await http(method, path, body)
        assert (reply.status, reply.json["exceptionType"]) == (500, "InternalError")
        assert "secret" not in reply.content.decode()
        assert any(record.exc_info for record in caplog.records), path


def test_every_kind_of_error_becomes_one_of_ours() -> None:
    assert as_error(HTTPError(400, "100% bad")).message == "100% bad"
    assert as_error(HTTPError(400, "%s is bad", "x")).message == "x is bad"
    assert as_error(HTTPError(400, "%d is bad", "x")).message == "%d is bad"
    assert type(as_error(HTTPError(403))) is NotAllowed
    assert as_error(HTTPError(403)).message == "Forbidden"
    assert type(as_error(ZeroDivisionError())) is InternalError
    answer = answer_error(TooBusy("Full.", retry_after=0.2), result=True)
    assert (answer.status, answer.headers) == (429, (("Retry-After", "1"),))
    assert json.loads(answer.body)["success"] is False
    assert [retry_after(s) for s in (0, 1, 1.01, 30)] == ["1", "1", "2", "30"]
    assert [size(n) for n in (1, 2048, 64 * 2**20, 2**30)] == [
        "1 bytes",
        "2 KiB",
        "64 MiB",
        "1 GiB",
    ]
