"""Sending blobs and the publish request; the protocol's corners by a server that misbehaves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.small_server import recorder, reply

from jupyter_mlserve import DeployClient
from jupyter_mlserve.client.address import ServerAddress
from jupyter_mlserve.client.http import Connection
from jupyter_mlserve.client.publishing import Package, publish, send_blobs
from jupyter_mlserve.contract.errors import (
    BlobMissing,
    InvalidInput,
    ServiceNotFound,
    TrialFailed,
    VersionExists,
)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def adder(amount: int, **more: Any) -> Package:
    return Package(
        {
            "code": f"y = x + {amount}",
            "inputParameterDefinitions": [{"name": "x", "type": "integer"}],
            "outputParameterDefinitions": [{"name": "y", "type": "integer"}],
            **more,
        }
    )


def test_blobs_are_sent_once_and_files_are_streamed(client: DeployClient, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    content = bytes(range(256)) * 12_000
    big.write_bytes(content)
    small = b"a small blob of this test"
    blobs = {sha(content): big, sha(small): small}
    told: list[tuple[str, int, int]] = []
    total = len(content) + len(small)
    assert send_blobs(client.connection, blobs, lambda *step: told.append(step)) == total
    assert told[-1] == ("upload", total, total)
    assert [step[1] for step in told] == sorted(step[1] for step in told)
    assert len(told) > 3
    assert send_blobs(client.connection, blobs) == 0
    for name in blobs:
        found = client.connection.send("HEAD", f"blobs/{name}")
        assert found.status_code == 200


def test_a_file_that_changed_since_it_was_captured_is_refused(
    client: DeployClient, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"after")
    with pytest.raises(InvalidInput):
        send_blobs(client.connection, {sha(b"before"): path})


def test_what_a_publish_tells(client: DeployClient) -> None:
    stages: list[str] = []
    made = publish(
        client.connection,
        "PubTells",
        "1.0",
        adder(1, mlserve={"sample": {"x": 1}}),
        progress=lambda stage, done, total: stages.append(stage),
    )
    assert (made.action, made.name, made.version, made.unchanged) == (
        "published",
        "PubTells",
        "1.0",
        False,
    )
    assert made.url == client.connection.url("api", "PubTells", "1.0")
    assert made.urls["swagger"] == made.url + "/swagger.json"
    assert made.trial is not None
    assert made.trial["result"]["outputParameters"] == {"y": 2}
    assert made.timings["total"] >= made.timings["publish"] > 0
    assert made.service["inputParameterDefinitions"] == [{"name": "x", "type": "integer"}]
    assert stages == ["publish"]
    answer = client.connection.request("POST", "api/PubTells/1.0", json={"x": 41})
    assert answer["outputParameters"] == {"y": 42}


def test_again_unchanged_then_conflict_then_update(client: DeployClient) -> None:
    def send(amount: int, update: bool = False) -> str:
        return publish(client.connection, "PubAgain", "1", adder(amount), update).action

    assert send(1) == "published"
    assert send(1) == "unchanged"
    with pytest.raises(VersionExists) as caught:
        send(2)
    assert "--update" in caught.value.message
    assert "another version" in caught.value.message
    assert send(2, update=True) == "updated"
    assert send(2, update=True) == "unchanged"


def test_update_publishes_what_is_not_there_unless_it_must_be(client: DeployClient) -> None:
    made = publish(client.connection, "PubUpsert", "1", adder(1), update=True)
    assert made.action == "published"
    with pytest.raises(ServiceNotFound):
        publish(client.connection, "PubUpsert", "2", adder(1), update=True, must_exist=True)
    with pytest.raises(VersionExists, match="needs the version"):
        publish(client.connection, "PubUpsert", None, adder(1), update=True)


def test_update_publishes_again_what_was_deleted(client: DeployClient) -> None:
    publish(client.connection, "PubGone", "1", adder(1))
    client.delete_service("PubGone", "1")
    made = publish(client.connection, "PubGone", "1", adder(2), update=True)
    assert made.action == "published"


def test_without_a_version_the_server_names_it(client: DeployClient) -> None:
    first = publish(client.connection, "PubGuid", None, adder(1))
    second = publish(client.connection, "PubGuid", None, adder(1))
    assert first.version != second.version
    assert len(first.version) == 36


def test_code_that_does_not_run_is_not_published_and_says_where(client: DeployClient) -> None:
    broken = adder(1, code="z = 1\ny = x / 0\n", mlserve={"sample": {"x": 1}})
    with pytest.raises(TrialFailed) as caught:
        publish(client.connection, "PubBroken", "1", broken)
    assert "ZeroDivisionError" in caught.value.message
    assert "y = x / 0" in caught.value.traceback
    assert client.list_services("PubBroken") == []


def test_every_publish_is_reported_where_the_environment_says(
    client: DeployClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.jsonl"
    monkeypatch.setenv("JUPYTER_MLSERVE_REPORT", str(path))
    publish(client.connection, "PubReport", "1", adder(1))
    publish(client.connection, "PubReport", "1", adder(1))
    with pytest.raises(VersionExists):
        publish(client.connection, "PubReport", "1", adder(2))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["action"] for line in lines] == ["published", "unchanged", "failed"]
    assert lines[0]["url"] == client.connection.url("api", "PubReport", "1")
    assert lines[2]["error"].startswith("VersionExists: ")
    assert all(line["service"] == "PubReport" and line["version"] == "1" for line in lines)
    monkeypatch.setenv("JUPYTER_MLSERVE_REPORT", str(tmp_path / "gone" / "report.jsonl"))
    assert publish(client.connection, "PubReport", "1", adder(1)).unchanged


ANSWER = {"service": {"name": "N", "version": "1"}, "urls": {"api": "/mlserve/api/N/1"}}
MISSING = {"exceptionType": "BlobMissing", "message": "gone", "code": 404}
BLOB = b"blob"


def protocol(missing: int) -> Any:
    """A server that says ``missing`` times that the blob it got is not there."""
    state = {"left": missing}

    def script(number: int, request: bytes) -> bytes:
        if b"blobs/missing" in request.split(b"\r\n")[0]:
            return reply("200 OK", json.dumps({"missing": [sha(BLOB)]}).encode())
        if request.startswith(b"PUT "):
            return reply("201 Created", b"{}")
        if state["left"]:
            state["left"] -= 1
            return reply("404 Not Found", json.dumps(MISSING).encode())
        return reply("201 Created", json.dumps(ANSWER).encode())

    return script


@pytest.mark.parametrize("update", [False, True])
def test_a_blob_that_vanished_in_between_is_sent_again_once(update: bool) -> None:
    package = Package({"code": ""}, {sha(BLOB): BLOB})
    with recorder(protocol(1)) as there, Connection(ServerAddress(there.url, "t")) as connection:
        made = publish(connection, "N", "1", package, update)
        assert made.url == there.url + "mlserve/api/N/1"
        verbs = [request.split(b" ")[0] for request in there.requests]
    last = b"PATCH" if update else b"POST"
    assert verbs == [b"POST", b"PUT", last, b"POST", b"PUT", last]
    assert b"\r\nPrefer: return=representation\r\n" in there.requests[-1]
    with (
        recorder(protocol(2)) as there,
        Connection(ServerAddress(there.url, "t")) as connection,
        pytest.raises(BlobMissing),
    ):
        publish(connection, "N", "1", package, update)
