"""Calls, and what is answered when they go wrong in the ordinary ways."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from pathlib import Path

import dill
import pytest
from support.worker_process import blob, params

from jupyter_mlserve.compute.client import ComputeConfig, ComputeNode
from jupyter_mlserve.contract.errors import BlobMissing

from .conftest import Driver, MakeNode, body_of

ERROR_KEYS = {"code", "message", "exceptionType", "fields", "link"}
RESULT_KEYS = {
    "success",
    "errorMessage",
    "consoleOutput",
    "changedFiles",
    "outputFiles",
    "outputParameters",
}


def test_a_call_answers_a_web_service_result(node: Driver) -> None:
    reply = node.call(x=1)
    assert reply.status == 200
    assert body_of(reply) == {
        "success": True,
        "errorMessage": "",
        "consoleOutput": "",
        "changedFiles": [],
        "outputFiles": {},
        "outputParameters": {"y": 2.0},
    }
    assert 0 < reply.header["seconds"] < 10


def test_nothing_runs_before_the_first_call_and_the_definition_is_asked_once(node: Driver) -> None:
    assert node.node.pid is None
    assert node.status()["running"] is False
    asked = []

    def spec() -> object:
        asked.append(1)
        return node.specs["s"]

    async def several() -> list[int]:
        replies = [await node.node.call("s", b'{"x":1}', spec) for _ in range(3)]  # type: ignore[arg-type]
        return [reply.status for reply in replies]

    assert node.run(several()) == [200, 200, 200]
    assert asked == [1]
    assert node.node.pid is not None


def test_the_definition_may_come_from_a_coroutine_and_its_error_comes_out(node: Driver) -> None:
    async def spec() -> dict[str, object]:
        await asyncio.sleep(0)
        return node.specs["s"]

    assert node.run(node.node.call("s", b'{"x":1}', spec)).status == 200

    def missing() -> dict[str, object]:
        raise BlobMissing("gone")

    with pytest.raises(BlobMissing):
        node.run(node.node.call("other", b"{}", missing))


def test_wrong_input_is_a_400_that_names_the_field(node: Driver) -> None:
    reply = node.call(x="1")
    body = body_of(reply)
    assert reply.status == body["code"] == 400
    assert set(body) == ERROR_KEYS | RESULT_KEYS | {"details"}
    assert (body["exceptionType"], body["fields"]) == ("InvalidInput", "x")
    assert body["details"] == {"field": "x", "expected": "a number", "got": "the string '1'"}
    assert (body["success"], body["outputParameters"], body["outputFiles"]) == (False, {}, {})
    assert body["errorMessage"] == body["message"]


def test_failing_code_is_a_400_whose_traceback_is_for_owners(node: Driver) -> None:
    node.spec("bad", "def f(x):\n    print('before')\n    return x / 0")
    reply = node.call("bad", x=1)
    body = body_of(reply)
    assert (reply.status, body["exceptionType"]) == (400, "ServiceFailed")
    assert body["message"] == body["errorMessage"] == "ZeroDivisionError: float division by zero"
    assert set(body) == ERROR_KEYS | RESULT_KEYS
    assert "Traceback" not in reply.body.decode()
    assert reply.header["error"] == "ServiceFailed"
    assert "line 3, in f" in reply.header["traceback"]
    assert reply.header["console"] == "before\n"
    assert node.pool("bad")["workers"] == 1


def test_large_bodies_go_both_ways(node: Driver) -> None:
    node.spec("echo", "def f(x): return x", "x: character", "y: character")
    text = "a" * 8_000_000
    assert node.output("echo", x=text) == text


def test_frames_come_and_go(node: Driver) -> None:
    node.spec("frame", "def f(x): return x + 1", "x: data.frame", "y: data.frame")
    assert node.output("frame", x={"a": [1, 2]}) == {"a": [2, 3]}
    assert node.output("frame", x=[{"a": 1}, {"a": 2}]) == {"a": [2, 3]}


def test_many_calls_at_once_are_each_answered_with_their_own(node: Driver) -> None:
    async def all_of_them() -> list[float]:
        replies = await asyncio.gather(*[node.ask(x=x) for x in range(100)])
        return [json.loads(reply.body)["outputParameters"]["y"] for reply in replies]

    assert node.run(all_of_them()) == [x + 1.0 for x in range(100)]
    assert node.pool()["calls"] == 100
    assert node.pool()["workers"] <= 2


def test_console_and_files_come_back(node: Driver) -> None:
    code = "def f(x):\n    print('hello')\n    open('a.txt', 'w').write('hi')\n    return x"
    node.spec("files", code, files_out=["a.txt"])
    body = body_of(node.call("files", x=1))
    assert body["consoleOutput"] == "hello\n"
    assert body["outputFiles"] == {"a.txt": "aGk="}
    assert body["changedFiles"] == ["a.txt"]


def test_a_result_over_the_limit(make_node: MakeNode) -> None:
    node = make_node(result_limit=1000)
    node.spec("s", "def f(x): return 'a' * int(x)", outputs="y: character")
    reply = node.call(x=5000)
    assert reply.status == 400
    assert "result_limit" in body_of(reply)["message"]


def test_the_environment_of_a_worker_has_no_secrets(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {"JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN", "JUPYTER_MLSERVE_TOKEN"}
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("FOR_AUTHORS", "kept")
    node = make_node()
    node.spec("s", "import os\ndef f(): return dict(os.environ)", "", "y: dict")
    found = node.output()
    assert found["FOR_AUTHORS"] == "kept"
    assert not secrets & set(found)


def test_a_worker_has_nothing_to_read_and_its_own_directory(node: Driver) -> None:
    code = (
        "import os, sys\ndef f(): return [sys.stdin.read(), os.listdir('.'), os.getcwd(), sys.argv]"
    )
    node.spec("s", code, "", "y: list")
    text, listing, folder, argv = node.output()
    assert (text, listing, argv) == ("", [], [""])
    assert str(node.node.config.work_dir) in folder


def test_the_same_state_again_after_it_was_retired(node: Driver) -> None:
    assert node.output(x=1) == 2
    node.run(node.node.retire("s"))
    node.run(node.node.retire("s"))
    node.until(lambda: node.status()["workers"] == 0)
    assert node.status()["pools"] == []
    assert node.output(x=1) == 2


def test_too_many_bytes_in_flight_are_refused(make_node: MakeNode) -> None:
    node = make_node(max_pending=1000)
    node.spec("s", "def f(x): return x", "x: character", "y: character")
    reply = node.call(x="a" * 2000)
    assert (reply.status, reply.header["retry_after"]) == (429, 1.0)
    assert node.output(x="a" * 100) == "a" * 100


def test_a_caller_that_goes_away_leaves_the_queue(make_node: MakeNode) -> None:
    node = make_node(pool_max=1)
    node.spec("s", "import time\nseen = []\ndef f(x):\n    time.sleep(x)\n    return len(seen)")
    node.output(x=0)

    async def one_gives_up() -> int:
        running = asyncio.ensure_future(node.ask(x=0.4))
        await asyncio.sleep(0.05)
        waiting = asyncio.ensure_future(node.ask(x=5))
        await asyncio.sleep(0.05)
        assert (await node.node.status())["queue"] == 1
        waiting.cancel()
        await asyncio.sleep(0.05)
        assert (await node.node.status())["queue"] == 0
        return (await running).status

    start = time.monotonic()
    assert node.run(one_gives_up()) == 200
    assert node.output(x=0) == 0
    assert time.monotonic() - start < 4


def test_output_while_loading_and_between_calls_goes_to_the_log(
    node: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    code = """
import threading, time
def speak():
    time.sleep(0.05)
    print("from a thread")
def f(x):
    threading.Thread(target=speak).start()
    return x
"""
    node.spec("loud", code, initCode="print('while loading')")
    with caplog.at_level(logging.INFO, "test.compute"):
        node.call("loud", x=1)
        node.run(asyncio.sleep(0.2))
        assert body_of(node.call("loud", x=1))["consoleOutput"] == ""
    assert "while loading" in caplog.text
    assert "from a thread" in caplog.text


def test_status_tells_of_every_pool(node: Driver) -> None:
    node.call(x=1)
    status = node.status()
    assert status["running"]
    assert status["pid"] == node.node.pid
    (pool,) = status["pools"]
    assert pool["rss"] > 1_000_000
    expected = {"state": "s", "name": "Svc", "version": "1.0", "workers": 1, "busy": 0, "idle": 1}
    assert {key: pool[key] for key in expected} == expected


def test_a_service_of_another_interpreter(node: Driver, tmp_path: Path) -> None:
    """The interpreter of the definition is used; here a virtual environment's own name for ours."""
    import venv

    venv.create(tmp_path / "env", with_pip=False)
    python = str(tmp_path / "env" / "bin" / "python")
    node.spec(
        "other", "import sys\ndef f(): return sys.prefix", "", "y: character", interpreter=python
    )
    assert node.output("other") == str(tmp_path / "env")
    node.spec("same", "import sys\ndef f(): return sys.prefix", "", "y: character")
    assert node.output("same") == sys.prefix


def test_objects_are_loaded_by_every_worker(node: Driver, tmp_path: Path) -> None:
    objects = [blob(tmp_path, "k", dill.dumps(41))]
    node.spec("objects", "def f(x): return x + k", objects=objects)
    assert node.output("objects", x=1) == 42


def test_a_stored_object_that_was_damaged_is_a_500_that_names_it(
    node: Driver, tmp_path: Path
) -> None:
    item = blob(tmp_path, "model", dill.dumps(41))
    Path(item["path"]).write_bytes(b"damaged")
    node.spec("damaged", "def f(x): return x", objects=[item])
    for _ in range(2):
        reply = node.call("damaged", x=1)
        assert (reply.status, body_of(reply)["exceptionType"]) == (500, "BundleCorrupt")
        assert "the object 'model'" in body_of(reply)["message"]
        node.until(lambda: node.status()["workers"] == 0)


def test_inputs_with_defaults(node: Driver) -> None:
    inputs = params("x: numeric, k: numeric")
    inputs[1].update(optional=True, default=10)
    node.spec("opt", "def f(x, k): return x + k", inputs)
    assert node.output("opt", x=1) == 11
    assert node.output("opt", x=1, k=1) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"call_timeout": 0},
        {"idle_timeout": -1},
        {"max_workers": 0},
        {"worker_memory": -1},
        {"max_queue": -5},
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ComputeConfig(**wrong)  # type: ignore[arg-type]


def test_the_limits_survive_the_way_to_the_node() -> None:
    config = ComputeConfig(call_timeout=3.5, work_dir="/x")
    assert ComputeConfig.from_dict({**config.to_dict(), "unknown": 1}) == config
    assert ComputeConfig(pool_max=0).default_pool_max >= 2


def test_a_node_that_was_stopped_stays_stopped(node: Driver) -> None:
    assert node.output(x=1) == 2
    node.run(node.node.stop())
    reply = node.call(x=1)
    assert (reply.status, body_of(reply)["exceptionType"]) == (503, "ComputeLost")
    node.run(node.node.start())
    assert node.output(x=1) == 2


def test_a_node_that_cannot_be_started_says_why(make_node: MakeNode, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    driver = make_node()
    driver.node = ComputeNode(ComputeConfig(work_dir=str(tmp_path / "file")), driver.node.log)
    driver.spec("s", "def f(x): return x")
    reply = driver.call(x=1)
    assert reply.status == 503
    assert "no working directory" in body_of(reply)["message"]
