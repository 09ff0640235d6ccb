"""Uploading what services are made of."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from support.bodies import definition


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_object(data: bytes, **more: Any) -> dict[str, Any]:
    entry = {"name": "offset", "sha256": sha(data), "size": len(data), "type": "int"}
    return definition("y = x + offset", mlserve={"objects": [entry], **more})


async def test_an_object_is_uploaded_once_and_travels_into_the_service(http: Any) -> None:
    data = pickle.dumps(41)
    digest = sha(data)
    assert (await http("HEAD", f"blobs/{digest}")).status == 404
    assert (await http("POST", "blobs/missing", {"sha256": [digest]})).json == {"missing": [digest]}

    early = await http("POST", "services/A/1.0", with_object(data))
    assert (early.status, early.json["exceptionType"]) == (404, "BlobMissing")
    assert early.json["details"]["sha256"] == [digest]
    assert "'offset'" in early.json["message"]

    first = await http("PUT", f"blobs/{digest}", data)
    assert (first.status, first.json) == (201, {"sha256": digest, "size": len(data)})
    assert (await http("PUT", f"blobs/{digest}", data)).status == 200
    assert (await http("HEAD", f"blobs/{digest}")).status == 200
    assert (await http("POST", "blobs/missing", {"sha256": [digest]})).json == {"missing": []}
    assert (await http("GET", f"blobs/{digest}")).status == 405

    assert (await http("POST", "services/A/1.0", with_object(data))).status == 201
    assert (await http("POST", "api/A/1.0", {"x": 1})).json["outputParameters"] == {"y": 42.0}


async def test_files_are_in_the_working_directory_of_a_call(http: Any) -> None:
    data = b"7\n"
    await http("PUT", f"blobs/{sha(data)}", data)
    files = [{"name": "offset.txt", "sha256": sha(data), "size": 2}]
    code = "y = x + int(open('offset.txt').read())"
    reply = await http("POST", "services/A/1.0", definition(code, mlserve={"files": files}))
    assert reply.status == 201
    assert (await http("POST", "api/A/1.0", {"x": 1})).json["outputParameters"] == {"y": 8.0}


async def test_large_blobs_go_to_the_disk(http: Any, raw: Any, node: Any) -> None:
    data = bytes(range(256)) * 20_000
    assert (await http("PUT", f"blobs/{sha(data)}", data)).status == 201
    other = data[1:]
    connection = await raw()
    await connection.send("PUT", f"blobs/{sha(other)}", "Transfer-Encoding: chunked")
    for start in range(0, len(other), 300_000):
        piece = other[start : start + 300_000]
        connection.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
    connection.write(b"0\r\n\r\n")
    status, _, body = await connection.answer()
    assert (status, json.loads(body)["size"]) == (201, len(other))
    for content in (data, other):
        assert node.core.blobs.path(sha(content)).read_bytes() == content


async def test_content_that_is_not_what_its_name_says(http: Any, node: Any) -> None:
    digest = sha(b"right")
    for wrong in (b"wrong", b""):
        reply = await http("PUT", f"blobs/{digest}", wrong)
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidInput")
    assert node.core.blobs.missing([digest]) == [digest]
    assert left_over(node) == []


async def test_an_upload_that_breaks_off_leaves_nothing(raw: Any, http: Any, node: Any) -> None:
    connection = await raw()
    await connection.send("PUT", f"blobs/{sha(b'x')}", "Content-Length: 3000000")
    connection.write(b"x" * 2_000_000)
    await connection.writer.drain()
    await http("GET", "status")
    connection.writer.transport.abort()
    for _ in range(100):
        await http("GET", "status")
        if not left_over(node):
            break
    assert left_over(node) == []


def left_over(node: Any) -> list[Path]:
    return list((node.settings.data_dir / "blobs" / "incoming").iterdir())


async def test_questions_that_make_no_sense(http: Any) -> None:
    for body in ({}, {"sha256": "x"}, {"sha256": [1]}, {"sha256": ["../x"]}):
        reply = await http("POST", "blobs/missing", body)
        assert (reply.status, reply.json["exceptionType"]) == (400, "InvalidInput"), body


class TestLimits:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"max_upload_size": 400_000, "storage_quota": 500_000}

    async def test_size_and_quota(self, http: Any, raw: Any, node: Any) -> None:
        large = b"x" * 400_001
        reply = await http("PUT", f"blobs/{sha(large)}", large)
        assert (reply.status, reply.json["exceptionType"]) == (413, "TooLarge")
        assert "max_upload_size" in reply.json["message"]
        connection = await raw()
        await connection.send("PUT", f"blobs/{sha(large)}", f"Content-Length: {2**40}")
        status, _, _ = await connection.answer()
        assert status == 413
        first, second = b"1" * 300_000, b"2" * 300_000
        assert (await http("PUT", f"blobs/{sha(first)}", first)).status == 201
        reply = await http("PUT", f"blobs/{sha(second)}", second)
        assert (reply.status, reply.json["exceptionType"]) == (507, "OutOfSpace")
        blobs = (await http("GET", "status")).json["components"]["blobs"]
        assert blobs == {"statusCode": "pass", "used": 300_000, "quota": 500_000}
        assert left_over(node) == []


class TestCollection:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"blob_grace": 0.0}

    async def test_what_no_service_needs_is_removed_after_a_delete(
        self, http: Any, node: Any
    ) -> None:
        own, shared, unused = pickle.dumps(1), pickle.dumps(2), pickle.dumps(3)
        for data in (own, shared, unused):
            await http("PUT", f"blobs/{sha(data)}", data)
        for name, data in [("A", own), ("B", shared), ("C", shared)]:
            assert (await http("POST", f"services/{name}/1", with_object(data))).status == 201
        for name in ("A", "B"):
            assert (await http("DELETE", f"services/{name}/1")).status == 200
            while node.running:
                await http("GET", "services/C/1")
        wanted = [sha(data) for data in (own, shared, unused)]
        assert node.core.blobs.missing(wanted) == [sha(own), sha(unused)]
        assert (await http("POST", "api/C/1", {"x": 1})).json["outputParameters"] == {"y": 3.0}
