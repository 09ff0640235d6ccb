"""Sessions as a staging area: objects, snapshots, and publishing from them; nothing is run."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import pickle
import sys
import uuid
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.bodies import definition
from support.foreign_pickles import FOREIGN, minor

OCTETS = {"Content-Type": "application/octet-stream"}
NOBODYS = "00000000-0000-4000-8000-000000000000"
MODEL = pickle.dumps({"intercept": 10.0, "slope": 2.0}, 3)
CODE = "y = model['intercept'] + model['slope'] * x"


@pytest.fixture
def session(http: Any) -> Any:
    """``await session(model=b"..")``: the id of a new session with these objects."""

    async def create(**objects: bytes) -> str:
        reply = await http("POST", "sessions", {"runtimeType": "Python"})
        assert (reply.status, set(reply.json)) == (201, {"sessionId"})
        id = reply.json["sessionId"]
        for name, content in objects.items():
            path = f"sessions/{id}/workspace/{quote(name)}"
            stored = await http("POST", path, content, headers=OCTETS)
            assert stored.status == 200, stored.json
        return str(id)

    return create


@pytest.fixture
def snapshot(http: Any, session: Any) -> Any:
    """``await snapshot(model=b"..")``: the id of a snapshot with these objects."""

    async def take(**objects: bytes) -> str:
        id = await session(**objects)
        reply = await http("POST", f"sessions/{id}/snapshot", {"name": None})
        assert (reply.status, set(reply.json)) == (201, {"snapshotId"})
        assert (await http("DELETE", f"sessions/{id}")).json == "Session closed."
        return str(reply.json["snapshotId"])

    return take


async def test_a_program_of_the_published_contract(http: Any, session: Any, node: Any) -> None:
    """What its Python client sends, request by request (the client itself has tests elsewhere)."""
    id = await session(model=MODEL, threshold=pickle.dumps(5, 3))
    taken = await http("POST", f"sessions/{id}/snapshot", {"name": None})
    first = taken.json["snapshotId"]
    assert str(uuid.UUID(first)) == first
    assert node.core.compute.pid is None, "no process was started"
    body = {
        "snapshotId": first,
        **definition(CODE),
        "description": "My first model",
        "operationId": "score",
        "runtimeType": "Python",
        "initCode": "import math",
        "outputFileNames": ["answer.csv"],
    }
    made = await http("POST", "services/Tx/1.0", body)
    assert (made.status, made.json) == (201, "/services/Tx/1.0")
    assert (await http("DELETE", f"sessions/{id}")).status == 200
    assert (await http("DELETE", f"snapshots/{first}")).json == "Snapshot deleted."

    (service,) = (await http("GET", "services/Tx/1.0")).json
    assert (service["snapshotId"], service["runtimeType"]) == (first, "Python")
    assert [one["name"] for one in service["mlserve"]["objects"]] == ["model", "threshold"]
    assert service["mlserve"]["objects"][0]["sha256"] == hashlib.sha256(MODEL).hexdigest()
    reply = await http("POST", "api/Tx/1.0", {"x": 3})
    assert reply.json["outputParameters"] == {"y": 16.0}

    # The same again is a conflict for a client that cannot be told that it is the same.
    again = await http("POST", "services/Tx/1.0", {**body, "snapshotId": None})
    assert (again.status, again.json["exceptionType"]) == (409, "VersionExists")

    # Only the description: with a new, empty snapshot, as the client does it.
    id = await session()
    empty = (await http("POST", f"sessions/{id}/snapshot", {"name": None})).json["snapshotId"]
    patch = {"snapshotId": empty, "description": "updated", "runtimeType": "Python"}
    assert (await http("PATCH", "services/Tx/1.0", patch)).json == "/services/Tx/1.0"
    await http("DELETE", f"sessions/{id}")
    await http("DELETE", f"snapshots/{empty}")
    (updated,) = (await http("GET", "services/Tx/1.0")).json
    assert updated["description"] == "updated"
    for key in set(updated) - {"description", "mlserve"}:
        assert updated[key] == service[key], key
    assert updated["mlserve"]["objects"] == service["mlserve"]["objects"]
    assert (await http("POST", "api/Tx/1.0", {"x": 3})).json["outputParameters"] == {"y": 16.0}

    # What was read can be sent back, though its snapshot is gone; lists that are empty mean void.
    sent = {**updated, "outputFileNames": []}
    assert (await http("PATCH", "services/Tx/1.0", sent)).status == 200
    (last,) = (await http("GET", "services/Tx/1.0")).json
    assert (last["outputFileNames"], last["snapshotId"]) == ([], first)
    assert last["mlserve"]["objects"] == service["mlserve"]["objects"]


async def test_the_same_content_again(http: Any, snapshot: Any, publish: Any) -> None:
    """Idempotent for our clients, which say that they want to know; a 409 for others."""
    for sent in (definition(), definition(mlserve={"form": "script"})):
        name = f"Same{len(sent)}"
        assert (await http("POST", f"services/{name}/1", sent)).status == 201
        again = await http("POST", f"services/{name}/1", sent)
        assert (again.status, again.json["details"]["identical"]) == (409, True)
        assert "this very content" in again.json["message"]
        prefer = {"Prefer": "return=representation"}
        ours = await http("POST", f"services/{name}/1", sent, headers=prefer)
        assert (ours.status, ours.json["unchanged"]) == (200, True)


class Trap:
    """Whoever unpickles it says so."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


async def test_objects_are_not_looked_into(http: Any, session: Any, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    id = await session(trap=trap)
    assert (await http("GET", f"sessions/{id}/workspace/trap")).content == trap
    kept = (await http("POST", f"sessions/{id}/snapshot", {})).json["snapshotId"]
    assert (await http("GET", f"snapshots/{kept}")).status == 200
    other = (await http("POST", "sessions", {"snapshotId": kept})).json["sessionId"]
    assert (await http("GET", f"sessions/{other}/workspace")).json == ["trap"]
    assert not sprung.exists()
    run = {"code": "x = 1"}
    assert (await http("POST", f"sessions/{other}/execute", run)).status == 200
    assert sprung.exists(), "in the interpreter of the session"


async def test_objects_of_a_session(http: Any, session: Any) -> None:
    id = await session(model=MODEL, é=b"\x80\x03K\x05.")
    path = f"sessions/{id}/workspace"
    assert (await http("GET", path)).json == ["model", "é"]
    found = await http("GET", f"{path}/model")
    assert (found.status, found.content) == (200, MODEL)
    assert found.headers["Content-Type"] == "application/octet-stream"
    assert found.headers["Content-Disposition"] == 'attachment; filename="model.dill"'
    other = await http("POST", f"{path}/model", b"other", headers=OCTETS)
    assert other.json == {"name": "model", "size": 5}
    assert (await http("GET", f"{path}/model")).content == b"other"
    assert (await http("DELETE", f"{path}/model")).status == 200
    for method in ("GET", "DELETE"):
        gone = await http(method, f"{path}/model")
        assert (gone.status, gone.json["fields"]) == (404, "objectName"), method
    assert (await http("GET", path)).json == ["é"]
    for name in ("no-name", "class", "__all__", "a.b", "x" * 129, "..%2f..%2fevil"):
        bad = await http("POST", f"{path}/{name}", MODEL, headers=OCTETS)
        assert (bad.status, bad.json["exceptionType"]) == (400, "InvalidName"), name
    empty = await http("POST", f"{path}/nothing", b"", headers=OCTETS)
    assert (empty.status, empty.json["exceptionType"]) == (400, "InvalidInput")
    assert (await http("GET", path)).json == ["é"]


async def test_sessions_of_a_user(http: Any, session: Any, node: Any) -> None:
    assert (await http("GET", "sessions")).json == []
    named = await http("POST", "sessions", {"name": "My session", "runtimeType": "Python"})
    other = await http("POST", "sessions", {})
    ids = [reply.json["sessionId"] for reply in (named, other)]
    owner = node.kernel_token.principal.username
    assert (await http("GET", "sessions")).json == [
        {"id": ids[0], "name": "My session", "owner": owner, "runtimeType": "Python"},
        {"id": ids[1], "name": "", "owner": owner, "runtimeType": "Python"},
    ]
    for body, field in (
        ({"runtimeType": "R"}, "runtimeType"),
        ({"runtimeType": 3}, "runtimeType"),
        ({"name": 3}, "name"),
        ({"name": "x" * 300}, "name"),
        ({"nickname": "x"}, "nickname"),
    ):
        bad = await http("POST", "sessions", body)
        assert (bad.status, bad.json["fields"]) == (400, field), body
    assert "no R" in (await http("POST", "sessions", {"runtimeType": "R"})).json["message"]
    assert (await http("POST", "sessions", {"snapshotId": NOBODYS})).status == 404

    folders = [one.folder for one in node.core.sessions.of(node.kernel_token.principal)]
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in folders)
    assert (await http("DELETE", f"sessions/{ids[0]}")).status == 200
    assert [folder.exists() for folder in folders] == [False, True]
    assert [one["id"] for one in (await http("GET", "sessions")).json] == ids[1:]
    # Gone is not the same as never there.
    for method, path in (
        ("DELETE", ""),
        ("GET", "/workspace"),
        ("POST", "/workspace/model"),
        ("POST", "/snapshot"),
    ):
        gone = await http(method, f"sessions/{ids[0]}{path}", b"{}" if method == "POST" else None)
        assert (gone.status, gone.json["exceptionType"]) == (410, "SessionEnded"), path
        for id in (NOBODYS, str(uuid.uuid4()), "no-guid", ids[0].upper()):
            never = await http(method, f"sessions/{id}{path}", b"{}" if method == "POST" else None)
            assert (never.status, never.json["fields"]) == (404, "id"), id


async def test_snapshots_of_a_user(http: Any, session: Any, snapshot: Any, node: Any) -> None:
    id = await session(model=MODEL)
    files = node.core.sessions.of(node.kernel_token.principal)[0].files
    (files / "data.csv").write_text("a,b\n1,2\n")
    (files / "below").mkdir()
    (files / "below" / "more.txt").write_text("more")
    taken = await http("POST", f"sessions/{id}/snapshot", {"name": "Mine"})
    kept = taken.json["snapshotId"]
    (shown,) = (await http("GET", "snapshots")).json
    assert (shown["id"], shown["name"]) == (kept, "Mine")
    assert shown["contentSize"] == len(MODEL) + 12
    assert shown["creationTime"][-1] == "0"
    loaded = await http("GET", f"snapshots/{kept}")
    assert loaded.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(loaded.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "workspace/model.dill": MODEL,
            "files/data.csv": b"a,b\n1,2\n",
            "files/below/more.txt": b"more",
        }
    # A service has no folders: it says so, and what to do.
    odd = await http("POST", "services/Odd/1", {"snapshotId": kept, **definition()})
    assert (odd.status, odd.json["fields"]) == (400, "snapshotId")
    assert "'below/more.txt'" in odd.json["message"]
    (files / "below" / "more.txt").unlink()
    taken = await http("POST", f"sessions/{id}/snapshot")
    fine = taken.json["snapshotId"]
    code = {"code": "y = len(open('data.csv').read()) + model['slope']"}
    made = await http("POST", "services/Even/1", {"snapshotId": fine, **definition(), **code})
    assert made.status == 201, made.json
    assert (await http("POST", "api/Even/1", {"x": 1})).json["outputParameters"] == {"y": 10.0}

    stored = node.core.blobs.path(hashlib.sha256(b"more").hexdigest())
    os.utime(stored, (0, 0))
    assert (await http("DELETE", f"snapshots/{kept}")).status == 200
    while node.core._collecting:
        await asyncio.sleep(0.01)
    assert stored.exists(), "somebody may be publishing from it just now"
    for method in ("GET", "DELETE"):
        assert (await http(method, f"snapshots/{kept}")).status == 404
    unknown = await http("POST", "services/Tx/1", {"snapshotId": kept, **definition()})
    assert (unknown.status, unknown.json["fields"]) == (404, "snapshotId")
    for wrong in (3, ["x"], "no id"):
        bad = await http("POST", "services/Tx/1", {"snapshotId": wrong, **definition()})
        assert bad.status == 404, wrong


async def test_explicit_objects_win_over_those_of_a_snapshot(
    http: Any, snapshot: Any, node: Any
) -> None:
    id = await snapshot(model=MODEL, other=pickle.dumps(1))
    mine = pickle.dumps({"intercept": 100.0, "slope": 0.0})
    sha = hashlib.sha256(mine).hexdigest()
    assert (await http("PUT", f"blobs/{sha}", mine)).status == 201
    own = {"objects": [{"name": "model", "sha256": sha, "size": len(mine), "type": "dict"}]}
    sent = {"snapshotId": id, **definition(CODE, mlserve=own)}
    assert (await http("POST", "services/Tx/1", sent)).status == 201
    assert (await http("POST", "api/Tx/1", {"x": 3})).json["outputParameters"] == {"y": 100.0}
    (service,) = (await http("GET", "services/Tx/1")).json
    assert [one["name"] for one in service["mlserve"]["objects"]] == ["other", "model"]
    # An update from a snapshot that is not empty replaces the objects.
    newer = await snapshot(model=MODEL)
    assert (await http("PATCH", "services/Tx/1", {"snapshotId": newer})).status == 200
    (service,) = (await http("GET", "services/Tx/1")).json
    assert [one["name"] for one in service["mlserve"]["objects"]] == ["model"]
    assert service["snapshotId"] == newer
    assert (await http("POST", "api/Tx/1", {"x": 3})).json["outputParameters"] == {"y": 16.0}
    realtime = await http("PATCH", "services/Tx/1", {"snapshotId": newer, "runtimeType": "R"})
    assert (realtime.status, realtime.json["fields"]) == (400, "runtimeType")


class TestCollection:
    @pytest.fixture
    def mlserve_config(self) -> Any:
        return {"blob_grace": 0.0}

    async def test_nothing_that_is_needed_is_collected(
        self, http: Any, session: Any, node: Any
    ) -> None:
        async def collected() -> set[str]:
            node.core.collect_soon()
            while node.core._collecting:
                await asyncio.sleep(0.01)
            return {sha for sha, _ in node.core.blobs._store.entries()}

        sha = hashlib.sha256(MODEL).hexdigest()
        id = await session(model=MODEL)
        assert await collected() == {sha}, "it waits in a session"
        kept = (await http("POST", f"sessions/{id}/snapshot", {})).json["snapshotId"]
        assert (await http("GET", f"sessions/{id}/workspace")).json == ["model"]
        await http("DELETE", f"sessions/{id}")
        assert await collected() == {sha}, "it is in a snapshot"
        sent = {"snapshotId": kept, **definition(CODE)}
        assert (await http("POST", "services/Tx/1", sent)).status == 201
        await http("DELETE", f"snapshots/{kept}")
        assert await collected() == {sha}, "it is in a version"
        await http("DELETE", "services/Tx/1")
        assert await collected() == set()


class TestLimits:
    @pytest.fixture
    def mlserve_config(self) -> Any:
        return {
            "session_user_limit": 2,
            "session_quota": 3_000,
            "max_upload_size": 2_000,
            "snapshot_max": 2,
            "snapshot_user_quota": 2_500,
            "session_idle_timeout": 1.0,
        }

    async def test_each_has_its_answer(self, http: Any, session: Any, raw: Any, node: Any) -> None:
        id = await session(a=b"a" * 1_500)
        path = f"sessions/{id}/workspace"

        def too_much(reply: Any, status: int, said: str) -> None:
            assert reply.status == status, reply.content
            assert said in reply.json["message"]

        large = await http("POST", f"{path}/b", b"b" * 2_001, headers=OCTETS)
        too_much(large, 413, "max_upload_size")
        full = await http("POST", f"{path}/b", b"b" * 1_501, headers=OCTETS)
        too_much(full, 507, "session_quota")
        # The same when its size was not announced.
        connection = await raw()
        await connection.send("POST", f"{path}/b", "Transfer-Encoding: chunked")
        connection.write(b"5dd\r\n" + b"b" * 1_501 + b"\r\n0\r\n\r\n")
        status, _, body = await connection.answer()
        assert (status, json.loads(body)["exceptionType"]) == (507, "OutOfSpace")
        same = await http("POST", f"{path}/a", b"b" * 1_999, headers=OCTETS)
        assert same.status == 200, "in place of another, which then does not count"
        assert (await http("GET", path)).json == ["a"]

        assert (await http("POST", f"sessions/{id}/snapshot", {})).status == 201
        more = await http("POST", f"sessions/{id}/snapshot", {})
        too_much(more, 507, "snapshot_user_quota")
        await http("DELETE", f"{path}/a")
        assert (await http("POST", f"sessions/{id}/snapshot", {})).status == 201
        more = await http("POST", f"sessions/{id}/snapshot", {})
        too_much(more, 429, "snapshot_max")

        other = await session()
        third = await http("POST", "sessions", {})
        too_much(third, 429, "session_user_limit")
        # Unused for a while, they end by themselves: the one is used, the other is not.
        for _ in range(40):
            await asyncio.sleep(0.05)
            assert (await http("GET", path)).status == 200
        gone = await http("GET", f"sessions/{other}/workspace")
        assert (gone.status, gone.json["exceptionType"]) == (410, "SessionEnded")
        assert (await http("POST", "sessions", {})).status == 201

    async def test_an_upload_that_stops_leaves_nothing(
        self, session: Any, raw: Any, node: Any, http: Any
    ) -> None:
        id = await session()
        path = f"sessions/{id}/workspace/a"
        incoming = Path(node.settings.blobs) / "incoming"
        for _ in range(3):
            connection = await raw()
            await connection.send("POST", path, "Content-Length: 1500")
            connection.write(b"a" * 700)
            await asyncio.sleep(0.05)
            connection.writer.close()
        # One that is in progress when its session ends is told so.
        connection = await raw()
        await connection.send("POST", path, "Content-Length: 1500")
        connection.write(b"a" * 700)
        await asyncio.sleep(0.05)
        assert (await http("DELETE", f"sessions/{id}")).status == 200
        connection.write(b"a" * 800)
        status, _, body = await connection.answer()
        assert (status, json.loads(body)["exceptionType"]) == (410, "SessionEnded")
        for _ in range(100):
            if not list(incoming.iterdir()):
                break
            await asyncio.sleep(0.02)
        assert list(incoming.iterdir()) == []
        assert list(node.core.blobs._store.entries()) == []


async def test_objects_packed_under_another_python_are_refused(
    http: Any, session: Any, node: Any, tmp_path: Path
) -> None:
    """Called, they would end the interpreter; the worker that read them is thrown away."""
    origin = next(o for o in ("3.13/0.4.1", "3.11/0.4.1") if minor(o) != sys.version_info[:2])
    id = await session(model=FOREIGN[origin]["model"])
    taken = (await http("POST", f"sessions/{id}/snapshot", {"name": None})).json["snapshotId"]
    body = {
        **definition("y = model.predict([x])"),
        "snapshotId": taken,
        "operationId": "score",
        "runtimeType": "Python",
    }
    refused = await http("POST", "services/Other/1.0", body)
    assert (refused.status, refused.json["exceptionType"]) == (400, "TrialFailed")
    message = refused.json["message"]
    assert "so nothing was published. The object 'model' was packed under " in message
    assert f"Python {origin.split('/')[0]}, and is to run under Python " in message
    assert "under Python {}.{} (".format(*sys.version_info) in message
    assert (await http("GET", "services/Other/1.0")).status == 404
    children = Path(f"/proc/{node.core.compute.pid}/task/{node.core.compute.pid}/children")
    for _ in range(500):
        if not children.read_text():
            break
        await asyncio.sleep(0.02)
    assert not children.read_text()
    status = await node.core.compute.status()
    assert (status["workers"], status["pools"]) == (0, [])
    # The server goes on: the same objects, packed here, are published.
    id = await session(model=MODEL)
    taken = (await http("POST", f"sessions/{id}/snapshot", {"name": None})).json["snapshotId"]
    made = await http(
        "POST", "services/Other/1.0", {**body, **definition(CODE), "snapshotId": taken}
    )
    assert made.status == 201, made.json
