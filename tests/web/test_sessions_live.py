"""Sessions with an interpreter: code, variables, files; how they end, wanted and unwanted."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import time
from typing import Any

import pytest
from support.bodies import definition
from support.forms import multipart

OCTETS = {"Content-Type": "application/octet-stream"}


class Client:
    """One session."""

    def __init__(self, http: Any, id: str, **who: Any) -> None:
        self.http, self.id, self.who = http, id, who

    async def ask(self, method: str, path: str = "", body: Any = None, **more: Any) -> Any:
        return await self.http(method, f"sessions/{self.id}{path}", body, **more, **self.who)

    async def run(self, code: str, *outputs: str, **inputs: Any) -> Any:
        given = [{"name": name, "value": value} for name, value in inputs.items()]
        body = {"code": code, "inputParameters": given, "outputParameters": list(outputs)}
        return await self.ask("POST", "/execute", body)

    async def send(self, name: str, content: bytes) -> Any:
        body, headers = multipart(file=content)
        body = body.replace(b'name="file"', b'name="file"; filename="' + name.encode() + b'"')
        return await self.ask("POST", "/files", body, headers=headers)

    async def running(self) -> None:
        """Wait until its code has printed something."""
        for _ in range(200):
            if (await self.ask("GET", "/console-output")).json["consoleOutput"]:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("nothing was printed")


@pytest.fixture
def session(http: Any) -> Any:
    async def create(token: str = "", **body: Any) -> Client:
        who = {"token": token} if token else {}
        reply = await http("POST", "sessions", body, **who)
        assert reply.status == 201, reply.json
        return Client(http, reply.json["sessionId"], **who)

    return create


async def test_code_variables_and_what_is_seen_of_them(http: Any, session: Any, node: Any) -> None:
    one = await session()
    staged = await one.ask("POST", "/workspace/model", pickle.dumps({"slope": 2}), headers=OCTETS)
    assert staged.status == 200
    assert (await one.ask("GET", "/console-output")).json == {"consoleOutput": ""}
    assert (await one.ask("POST", "/cancel")).json == "Nothing was running."
    assert node.core.compute.pid is None, "no interpreter yet"

    reply = await one.run("y = x * model['slope']\nprint('hi')", "y", "x", x=3)
    assert (reply.status, reply.json) == (
        200,
        {
            "success": True,
            "errorMessage": "",
            "outputParameters": [{"name": "y", "value": 6}, {"name": "x", "value": 3}],
            "consoleOutput": "hi\n",
            "changedFiles": [],
        },
    )
    kept = await one.run("open('made.csv', 'w').write('1,2\\n'); y += 1", "y")
    assert kept.json["outputParameters"] == [{"name": "y", "value": 7}]
    assert kept.json["changedFiles"] == ["made.csv"]
    failed = await one.run("print('so far')\n1 / 0", "y")
    assert (failed.status, failed.json["exceptionType"]) == (400, "ServiceFailed")
    assert "ZeroDivisionError" in failed.json["errorMessage"]
    assert failed.json["consoleOutput"].startswith("so far\n")
    assert "Traceback" in failed.json["consoleOutput"]
    assert (await one.ask("GET", "/console-output")).json["consoleOutput"].startswith("so far")
    history = (await one.ask("GET", "/history")).json
    assert [len(entry.splitlines()) for entry in history] == [2, 1, 2]

    # The workspace is that of the interpreter now, both ways.
    assert {"model", "x", "y"} <= set((await one.ask("GET", "/workspace")).json)
    assert pickle.loads((await one.ask("GET", "/workspace/y")).content) == 7
    put = await one.ask("POST", "/workspace/z", pickle.dumps([1, 2]), headers=OCTETS)
    assert put.status == 200
    assert (await one.run("z.append(3)", "z")).json["outputParameters"][0]["value"] == [1, 2, 3]
    assert (await one.ask("DELETE", "/workspace/z")).status == 200
    for method in ("GET", "DELETE"):
        assert (await one.ask(method, "/workspace/z")).status == 404
    broken = await one.ask("POST", "/workspace/z", b"no pickle", headers=OCTETS)
    assert broken.status == 400
    assert list(node.core.sessions._room.folder.glob("*/object-*")) == []
    for body in (b"", b"[]", b'{"code": 3}', b'{"code": "y", "inputParameters": 3}', b"[" * 10**5):
        bad = await one.ask("POST", "/execute", body)
        assert (bad.status, bad.json["exceptionType"]) == (400, "InvalidInput"), body[:40]
    ran = (await one.ask("GET", "/history")).json
    assert ran == [*history, "z.append(3)"], "what was refused did not run"

    # A snapshot of it, and a service, and another session, from that.
    taken = await one.ask("POST", "/snapshot", {"name": "all"})
    assert taken.status == 201, taken.json
    id = taken.json["snapshotId"]
    service = definition("y = x * model['slope'] + len(open('made.csv').read())")
    assert (await http("POST", "services/Tx/1", {"snapshotId": id, **service})).status == 201
    assert (await http("POST", "api/Tx/1", {"x": 5})).json["outputParameters"] == {"y": 14.0}
    other = await session(snapshotId=id)
    assert (await other.ask("GET", "/files")).json == ["made.csv"]
    assert (await other.run("y += 1", "y")).json["outputParameters"] == [{"name": "y", "value": 8}]
    loaded = await other.ask("POST", f"/loadsnapshot/{id}")
    assert (loaded.status, loaded.json) == (200, "Snapshot loaded.")
    assert (await other.run("y += 1", "y")).json["outputParameters"] == [{"name": "y", "value": 8}]
    await one.run("stream = (x for x in [1])")
    refused = await one.ask("POST", "/snapshot", {})
    assert (refused.status, refused.json["fields"]) == (400, "stream")
    assert list(node.core.sessions._room.folder.glob("*/saved-*")) == []


async def test_an_object_that_cannot_be_loaded_is_named(session: Any, node: Any) -> None:
    one = await session()
    await one.ask("POST", "/workspace/good", pickle.dumps(1), headers=OCTETS)
    await one.ask("POST", "/workspace/bad", b"no pickle", headers=OCTETS)
    for _ in range(2):
        reply = await one.run("x = good", "x")
        assert (reply.status, reply.json["fields"]) == (400, "bad")
    assert (await one.ask("DELETE", "/workspace/bad")).status == 200, "it stays as it was"
    assert (await one.run("x = good", "x")).json["outputParameters"][0]["value"] == 1


async def test_files_up_and_down(session: Any, node: Any) -> None:
    one = await session()
    data = os.urandom(3 * 1024**2)
    made = await one.send("data.bin", data)
    assert (made.status, made.json) == (201, {"name": "data.bin", "size": len(data)})
    assert (await one.send("data.bin", b"shorter")).status == 201, "replaced"
    assert (await one.send("a b.csv", b"")).status == 201
    assert (await one.ask("GET", "/files")).json == ["a b.csv", "data.bin"]
    found = await one.ask("GET", "/files/data.bin")
    assert (found.status, found.content) == (200, b"shorter")
    assert found.headers["Content-Type"] == "application/octet-stream"
    assert found.headers["Content-Disposition"] == 'attachment; filename="data.bin"'
    assert (await one.ask("GET", "/files/a%20b.csv")).content == b""
    for name in ("../evil", "..", "sub/x", ".hidden", "", "x" * 201, "é"):
        bad = await one.send(name, b"x")
        assert bad.status == 400, name
    for body, headers in (
        multipart(model=b"x"),
        (b"x", {"Content-Type": "text/plain"}),
        (multipart(file=b"x")[0][:-10], multipart(file=b"x")[1]),
        (b"", {"Content-Type": "multipart/form-data; boundary=b"}),
        (b"junk" * 100, {"Content-Type": "multipart/form-data; boundary=b"}),
    ):
        bad = await one.ask("POST", "/files", body, headers=headers)
        assert (bad.status, bad.json["exceptionType"]) == (400, "InvalidInput"), body
    two = multipart(file=b"x", description="y")
    body = two[0].replace(b'name="file"', b'name="file"; filename="two.txt"')
    assert (await one.ask("POST", "/files", body, headers=two[1])).status == 400
    folder = node.core.sessions.of(node.kernel_token.principal)[0].folder
    for _ in range(100):
        if [path.name for path in folder.iterdir()] == ["files"]:
            break
        await asyncio.sleep(0.02)
    assert [path.name for path in folder.iterdir()] == ["files"], "nothing else is left"
    assert (await one.ask("DELETE", "/files/a%20b.csv")).status == 200
    for method in ("GET", "DELETE"):
        gone = await one.ask(method, "/files/a%20b.csv")
        assert (gone.status, gone.json["fields"]) == (404, "fileName")


class TestSizes:
    @pytest.fixture
    def mlserve_config(self) -> Any:
        return {"session_quota": 3_000, "max_upload_size": 2_000}

    async def test_files_have_limits(self, session: Any) -> None:
        one = await session()
        large = await one.send("a", b"a" * 2_001)
        assert (large.status, large.json["exceptionType"]) == (413, "TooLarge")
        assert "max_upload_size" in large.json["message"]
        huge = await one.send("a", b"a" * 100_000)
        assert huge.status == 413
        assert (await one.send("a", b"a" * 2_000)).status == 201
        full = await one.send("b", b"a" * 1_001)
        assert (full.status, full.json["exceptionType"]) == (507, "OutOfSpace")
        assert "session_quota" in full.json["message"]
        # Two that would fit, but not together.
        both = await asyncio.gather(one.send("c", b"a" * 800), one.send("d", b"a" * 800))
        assert sorted(reply.status for reply in both) == [201, 507]
        assert (await one.ask("DELETE", "/files/a")).status == 200
        assert (await one.send("b", b"a" * 1_001)).status == 201


async def test_what_code_left_in_the_directory_is_not_followed(
    session: Any, node: Any, tmp_path: Any
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").write_text("secret")
    one = await session()
    files = node.core.sessions.of(node.kernel_token.principal)[0].files
    (files / "link").symlink_to(secret)
    (files / "folder").symlink_to(tmp_path / "folder")
    os.mkfifo(files / "fifo")
    (files / "device").symlink_to("/dev/zero")
    handle = os.open(files, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{handle}/socket")  # its own path is too long for one
    os.close(handle)
    (files / "bad\udcff").write_text("no text")
    (files / "new\nline").write_text("no text")
    (files / "sub").mkdir()
    (files / "sub" / "é.txt").write_text("fine")
    assert (await one.ask("GET", "/files")).json == ["sub/é.txt"]
    assert (await one.ask("GET", "/files/sub/%C3%A9.txt")).content == b"fine"
    assert (await one.ask("GET", "/files/sub%2F%C3%A9.txt")).content == b"fine"
    for name in (
        *("link", "folder/inside", "fifo", "device", "socket", "sub", "sub/", "none"),
        *("sub/../sub/%C3%A9.txt", "..%2f..%2flock", "%2e%2e/x", "%00", "%FF", "a/" * 40 + "b"),
    ):
        reply = await asyncio.wait_for(one.ask("GET", f"/files/{name}"), 5)
        assert reply.status in (400, 404), (name, reply.status)
        assert b"secret" not in reply.content
    # An upload takes the place of a link, and does not go where it leads.
    assert (await one.send("link", b"mine")).status == 201
    assert (secret.read_text(), (files / "link").read_text()) == ("secret", "mine")
    assert (await one.send("sub", b"x")).status == 409
    assert (await one.ask("DELETE", "/files/folder")).status == 200, "the link"
    assert (tmp_path / "folder" / "inside").read_text() == "secret"
    taken = await one.ask("POST", "/snapshot", {})
    assert taken.status == 201
    (shown,) = (await one.http("GET", "snapshots")).json
    assert shown["contentSize"] == len("mine") + len("fine")
    # Folders that cannot be read are passed over, and go with the session.
    closed = files / "closed"
    closed.mkdir()
    (closed / "x").write_text("x")
    closed.chmod(0)
    assert (await one.ask("GET", "/files")).status == 200
    # Nor is the directory itself, when code has put something else in its place.
    files.rename(files.with_name("moved"))
    for put in (lambda: None, lambda: files.symlink_to(tmp_path), lambda: os.mkfifo(files)):
        files.unlink(missing_ok=True)
        put()
        for method, path, body in (("GET", "/files", None), ("POST", "/snapshot", {})):
            gone = await asyncio.wait_for(one.ask(method, path, body), 5)
            assert (gone.status, gone.json["exceptionType"]) == (409, "Conflict"), path
        assert (await one.send("secret", b"x")).status == 409
        for method in ("GET", "DELETE"):
            assert (await one.ask(method, "/files/secret")).status == 404
    assert (await one.ask("DELETE")).status == 200
    assert not files.parent.exists()
    assert secret.read_text() == "secret"


class TestEnds:
    @pytest.fixture
    def mlserve_config(self) -> Any:
        return {
            "session_grace": 2.0,
            "session_timeout": 1.0,
            "max_sessions": 2,
            "session_quota": 2 * 1024**2,
        }

    async def test_wanted(self, session: Any, node: Any) -> None:
        one = await session()
        long = "import time\nx = 1\nprint('begun', flush=True)\ntime.sleep(60)"
        running = asyncio.ensure_future(one.run(long))
        await one.running()
        busy = await one.ask("DELETE")
        assert (busy.status, busy.json["exceptionType"]) == (409, "Conflict")
        assert (await one.ask("POST", "/cancel")).json == "Execution cancelled."
        cancelled = await running
        assert (cancelled.status, cancelled.json["exceptionType"]) == (400, "ServiceFailed")
        assert "KeyboardInterrupt" in cancelled.json["errorMessage"]
        assert (await one.run("x += 1", "x")).json["outputParameters"][0]["value"] == 2

        late = await one.run(long)
        assert (late.status, late.json["exceptionType"]) == (504, "CallTimeout")
        assert "session_timeout" in late.json["message"]
        assert (await one.run("x += 1", "x")).json["outputParameters"][0]["value"] == 2

        running = asyncio.ensure_future(one.run(long))
        await one.running()
        (about,) = (await node.core.compute.status())["sessions"]
        assert (await one.ask("DELETE", "/force")).json == "Session closed."
        ended = await running
        assert ended.status == 410
        with pytest.raises(ProcessLookupError):
            os.kill(about["pid"], 0)
        assert (await one.ask("GET", "/history")).status == 410
        two = await session()
        assert (await two.run("x = 1")).status == 200
        assert (await two.ask("DELETE")).json == "Session closed."
        assert (await node.core.compute.status())["sessions"] == []
        assert list(node.core.sessions._room.folder.iterdir()) == []

    async def test_unwanted(self, session: Any, node: Any) -> None:
        one, two, three = [await session() for _ in range(3)]
        for each in (one, two):
            assert (await each.run("x = 1")).status == 200
        full = await three.run("x = 1")
        assert (full.status, full.json["exceptionType"]) == (429, "TooBusy")
        assert "max_sessions" in full.json["message"]
        assert int(full.headers["Retry-After"]) > 0
        died = await one.run("import os; os._exit(3)")
        assert (died.status, died.json["exceptionType"]) == (410, "SessionLost")
        assert "exited with status 3" in died.json["message"]
        assert died.json["message"].endswith(" gone. Create another one (POST sessions).")
        for method, path in (("GET", "/workspace"), ("DELETE", "")):
            gone = await one.ask(method, path)
            assert (gone.status, gone.json["exceptionType"]) == (410, "SessionEnded"), path
            assert "or its interpreter ended, or" in gone.json["message"]
        assert (await three.run("x = 1")).status == 200, "there is room now"

        greedy = await three.run(
            "for n in range(1000):\n    open(f'{n}', 'wb').write(bytes(10**5))\n"
            "import time; time.sleep(30)"
        )
        assert (greedy.status, greedy.json["exceptionType"]) == (410, "SessionLost")
        assert "session_quota" in greedy.json["message"]
        three = await session()
        assert (await three.run("x = 1")).status == 200

        # Killed from outside, while nobody asks for anything.
        for each in list((await node.core.compute.status())["sessions"]):
            if each["session"] == two.id:
                os.kill(each["pid"], signal.SIGKILL)
        for _ in range(100):
            if len((await node.core.compute.status())["sessions"]) == 1:
                break
            await asyncio.sleep(0.02)
        lost = await two.ask("GET", "/workspace")
        assert (lost.status, lost.json["exceptionType"]) == (410, "SessionLost")

        # The compute node, while code runs.
        running = asyncio.ensure_future(three.run("print('begun', flush=True)\nwhile True: pass"))
        await three.running()
        os.kill(node.core.compute.pid, signal.SIGKILL)
        lost = await asyncio.wait_for(running, 20)
        assert (lost.status, lost.json["exceptionType"]) == (410, "SessionLost")
        four = await session()
        assert (await four.run("x = 1")).status == 200
        assert [path.name for path in node.core.sessions._room.folder.iterdir()] == [four.id]


class TestIdle:
    @pytest.fixture
    def mlserve_config(self) -> Any:
        return {"session_idle_timeout": 0.6}

    async def test_an_interpreter_that_nobody_uses_is_ended(self, session: Any, node: Any) -> None:
        one = await session()
        began = time.monotonic()
        reply = await one.run("import time\ntime.sleep(1.2)\nx = 1", "x")
        assert (reply.status, reply.json["outputParameters"][0]["value"]) == (200, 1)
        assert time.monotonic() - began > 1.2, "longer than it may be idle"
        folder = node.core.sessions._room.folder
        for _ in range(200):
            if not list(folder.iterdir()):
                break
            await asyncio.sleep(0.05)
        assert list(folder.iterdir()) == []
        assert (await node.core.compute.status())["sessions"] == []
        assert (await one.run("x")).json["exceptionType"] == "SessionEnded"
