"""The trial of an upload: in a process of its own, which may be killed, crash, hang or swell."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from support.realtime_models import (
    Json,
    constant,
    container_of,
    linear,
    model_of,
    node,
    slow,
    spec_of,
)

from jupyter_mlserve.compute.client import Reply
from jupyter_mlserve.compute.realtime.config import HEADROOM
from jupyter_mlserve.compute.realtime.trials import _parse
from jupyter_mlserve.notebook.compile import serialize_model

from ..conftest import alive, body_of
from .conftest import MakeRealtime, RealtimeDriver

MiB = 1024 * 1024


def long_trial() -> bytes:
    """A trial of many seconds."""
    return slow(2400, 700)


def outcome(reply: Reply) -> tuple[int, str]:
    return reply.status, body_of(reply).get("exceptionType", "")


def trial_pid(driver: RealtimeDriver) -> int:
    """The process of the trial that runs now."""
    pid = driver.node.pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"compute.realtime.trial" in command:
                return int(child)
    return 0


def during(driver: RealtimeDriver, container: bytes, action: Callable[[int], Any]) -> Reply:
    """The trial of ``container``, and ``action(pid of its process)`` when it is at work."""

    async def both() -> Reply:
        spec = spec_of(driver.folder, container)
        trial = asyncio.ensure_future(driver.node.trial("tried", spec))
        end = time.monotonic() + 10
        # At work: it has imported the runtime.
        while time.monotonic() < end:
            pid = trial_pid(driver) if driver.node.pid else 0
            if pid and "onnxruntime" in Path(f"/proc/{pid}/maps").read_text():
                break
            await asyncio.sleep(0.02)
        found = action(pid)
        if asyncio.iscoroutine(found):
            await found
        return await trial

    return driver.run(both())


def test_a_good_model_is_scored_on_its_example(realtime: RealtimeDriver) -> None:
    reply = realtime.try_out(linear(3.0))
    assert reply.status == 200
    assert body_of(reply)["outputParameters"] == {"outputData": {"Pred": [7.0]}}
    assert 0 < reply.header["load_seconds"] < 20
    assert 0 < reply.header["call_seconds"] < 5
    assert 0 < reply.header["bytes"] < MiB
    # It has left nothing, and nothing of it is loaded.
    assert realtime.status()["sessions"] == 0
    (root,) = Path(realtime.node.config.work_dir).glob("jupyter*")
    assert not list(root.glob("trial-*"))


def mixed() -> bytes:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "n": rng.normal(size=60),
            "c": rng.choice(["u", "v"], 60),
            "t": rng.choice(["red fox", "blue dog", "the fox"], 60),
        }
    )
    columns = ColumnTransformer(
        [("o", OneHotEncoder(), ["c"]), ("t", TfidfVectorizer(), "t")], remainder="passthrough"
    )
    fitted = make_pipeline(columns, LogisticRegression()).fit(frame, frame.n > 0)
    return serialize_model(fitted, frame)


def forest() -> bytes:
    x = np.random.default_rng(0).normal(size=(200, 4))
    return serialize_model(RandomForestRegressor(10, random_state=0).fit(x, x[:, 0]), x)


@pytest.mark.parametrize("make", [mixed, forest])
def test_what_the_kernel_compiles_passes_and_is_served(
    realtime: RealtimeDriver, make: Callable[[], bytes]
) -> None:
    container = make()
    tried = realtime.try_out(container)
    assert tried.status == 200, tried
    realtime.publish(container)
    from jupyter_mlserve.contract.realtime import unpack

    example = unpack(container).header["example"]
    assert body_of(realtime.call(**example)) == body_of(tried)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_trial_that_crashes_is_an_answer(realtime: RealtimeDriver, number: int) -> None:
    realtime.publish(linear())
    realtime.values()
    pid = realtime.node.pid
    reply = during(realtime, long_trial(), lambda trial: os.kill(trial, number))
    assert outcome(reply) == (400, "TrialFailed")
    assert f"({signal.Signals(number).name})" in body_of(reply)["message"]
    assert realtime.values() == [5.0]
    assert realtime.node.pid == pid


def test_a_trial_without_end_is_ended(make_realtime: MakeRealtime) -> None:
    node = make_realtime(trial_timeout=1.5)
    pids: list[int] = []
    start = time.monotonic()
    reply = during(node, long_trial(), pids.append)
    assert time.monotonic() - start < 15
    assert outcome(reply) == (400, "TrialFailed")
    assert "1.5 seconds (trial_timeout)" in body_of(reply)["message"]
    assert pids[0]
    assert not alive(pids[0])


def test_a_trial_that_needs_too_much_memory(make_realtime: MakeRealtime) -> None:
    node_ = make_realtime(trial_memory=HEADROOM)
    wide = 900_000
    nodes = [
        node("MatMul", ["numbers", "wide"], ["w"]),
        node("ReduceSum", ["w", "axis"], ["value"], keepdims=1),
    ]
    constants = [
        constant("wide", np.ones((2, wide))),
        constant("axis", np.array([1], np.int64)),
    ]
    reply = node_.try_out(container_of(model_of(nodes, constants)))
    assert outcome(reply) == (400, "TrialFailed")
    assert "memory" in body_of(reply)["message"]
    assert node_.try_out(linear()).status == 200


def test_a_model_over_the_budget_is_not_published(make_realtime: MakeRealtime) -> None:
    reply = make_realtime(model_memory=4 * MiB).try_out(
        container_of(
            model_of(
                [
                    node("MatMul", ["numbers", "wide"], ["w"]),
                    node("ReduceSum", ["w", "axis"], ["value"], keepdims=1),
                ],
                [constant("wide", np.ones((2, 500_000))), constant("axis", np.array([1]))],
            )
        )
    )
    assert outcome(reply) == (400, "TrialFailed")
    assert "4 MiB (model_memory)" in body_of(reply)["message"]


def test_a_model_over_the_size_is_a_413(make_realtime: MakeRealtime) -> None:
    reply = make_realtime(max_model_size=1000).try_out(linear(size=4000))
    assert outcome(reply) == (413, "TooLarge")


def test_a_model_that_fails_on_its_own_example(realtime: RealtimeDriver) -> None:
    nodes = [
        node("Gather", ["w", "far"], ["x"], axis=0),
        node("MatMul", ["numbers", "x"], ["value"]),
    ]
    far = constant("far", np.array([0, 7], np.int64))
    reply = realtime.try_out(container_of(model_of(nodes, [constant("w", [[1.0], [2.0]]), far])))
    assert outcome(reply)[0] == 400
    assert body_of(reply)["success"] is False


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_blob_that_is_not_what_was_stored(realtime: RealtimeDriver, damage: str) -> None:
    spec = spec_of(realtime.folder, linear())
    path = Path(spec["model"]["path"])
    data = path.read_bytes()
    path.unlink()
    if damage == "changed":
        path.write_bytes(data + b"x")
    assert outcome(realtime.run(realtime.node.trial("t", spec))) == (500, "BundleCorrupt")


def test_a_container_that_is_none(realtime: RealtimeDriver) -> None:
    for data in (b"", b"blob", b"blobMLS1" + bytes(100), linear()[:-1], b"x" * 100_000):
        reply = realtime.try_out(data)
        assert outcome(reply) == (400, "InvalidDefinition")
        assert body_of(reply)["fields"] in ("model", "header")


def test_calls_go_on_while_a_model_is_tried(realtime: RealtimeDriver) -> None:
    realtime.publish(linear())
    realtime.values()

    async def calls(trial: int) -> None:
        start = time.monotonic()
        for _ in range(20):
            assert (await realtime.ask()).status == 200
        assert time.monotonic() - start < 10
        assert (await realtime.node.status())["trials"] == 1
        os.kill(trial, signal.SIGKILL)

    assert outcome(during(realtime, long_trial(), calls)) == (400, "TrialFailed")


def test_trials_wait_for_one_another(make_realtime: MakeRealtime) -> None:
    node = make_realtime(trials=1)

    async def work() -> list[Reply]:
        specs = [spec_of(node.folder, linear(float(n))) for n in range(3)]
        return list(await asyncio.gather(*[node.node.trial("t", spec) for spec in specs]))

    results = [body_of(reply)["outputParameters"]["outputData"] for reply in node.run(work())]
    assert results == [{"Pred": [4.0]}, {"Pred": [5.0]}, {"Pred": [6.0]}]


def test_a_trial_cannot_wait_for_ever(make_realtime: MakeRealtime) -> None:
    node = make_realtime(trials=1, trial_timeout=1.0)

    async def work() -> list[Reply]:
        spec = spec_of(node.folder, long_trial())
        return list(await asyncio.gather(*[node.node.trial("t", spec) for _ in range(3)]))

    assert sorted(outcome(reply) for reply in node.run(work()))[-1] == (429, "TooBusy")


def test_the_trial_is_confined(make_realtime: MakeRealtime) -> None:
    node = make_realtime(trial_timeout=20)
    seen: Json = {}

    def look(pid: int) -> None:
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
        seen.update({line[:26].strip(): line[26:].split()[0] for line in lines})
        seen["cwd"] = os.readlink(f"/proc/{pid}/cwd")
        seen["files"] = os.listdir(seen["cwd"])
        os.kill(pid, signal.SIGKILL)

    during(node, long_trial(), look)
    config: Any = node.node.config
    assert seen["Max core file size"] == "0"
    assert int(seen["Max data size"]) == config.trial_memory
    assert int(seen["Max address space"]) == config.trial_memory + 4 * HEADROOM
    assert seen["Max cpu time"] == "20"
    assert int(seen["Max open files"]) <= 64
    assert int(seen["Max file size"]) <= MiB
    assert Path(seen["cwd"]).name.startswith("trial-")
    assert seen["files"] == ["output"]


@pytest.mark.parametrize(
    "answer",
    [b"", b"\n", b"{}\n", b"[1]\n", b'{"status":200,"length":5}\nfour', b"x" * 1000, b"\xff\n"],
)
def test_an_answer_that_is_not_ours_is_none(answer: bytes) -> None:
    assert _parse(answer) is None


def test_an_answer_of_ours() -> None:
    whole = json.dumps({"status": 200, "length": 4}).encode() + b"\nfo\nr"
    assert _parse(whole) == ({"status": 200}, b"fo\nr")
