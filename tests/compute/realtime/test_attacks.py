"""Hostile uploads through the real trial: refused or harmless, and the process goes on.

Every attack that was measured against ONNX Runtime itself, built by hand and packed with a header
that fits, and mutated models by the thousand.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from support.realtime_models import (
    D,
    constant,
    container_of,
    deadly,
    endless,
    hungry,
    linear,
    many_nodes,
    model_of,
    nested,
    node,
    slow_to_load,
    spec_of,
    stuck,
)

from jupyter_mlserve.compute.client import Reply
from jupyter_mlserve.compute.realtime.client import RealtimeConfig, RealtimeNode

from ..conftest import body_of
from .conftest import MakeRealtime

SECRET = "the server's own secret, in a file"
W = constant("w", [[1.0], [2.0]])
MUL = node("MatMul", ["numbers", "w"], ["value"])


def external(location: str) -> bytes:
    tensor = TensorProto(name="w", data_type=D, dims=[2, 1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value="16")
    return container_of(model_of([MUL], [tensor]))


def one(op: str, inputs: list[str], domain: str = "", **attributes: Any) -> bytes:
    return container_of(model_of([node(op, inputs, ["value"], domain, **attributes)], [W]))


def constant_bomb() -> bytes:
    nodes = [
        node("ConstantOfShape", ["shape"], ["c"]),
        node("ReduceSum", ["c"], ["sum"], keepdims=0),
        node("Cast", ["sum"], ["s"], to=D),
        node("MatMul", ["numbers", "w"], ["v"]),
        node("Add", ["v", "s"], ["value"]),
    ]
    shape = constant("shape", np.array([2**16, 2**15], np.int64))
    return container_of(model_of(nodes, [W, shape]))


def random_bomb() -> bytes:
    nodes = [
        node("RandomNormal", [], ["r"], shape=[2**15, 2**15]),
        node("ReduceSum", ["r"], ["sum"], keepdims=0),
        node("Cast", ["sum"], ["s"], to=D),
        node("Add", ["numbers", "s"], ["v"]),
        node("MatMul", ["v", "w"], ["value"]),
    ]
    return container_of(model_of(nodes, [W]))


def recursive_function() -> bytes:
    imports = [helper.make_opsetid("", 22), helper.make_opsetid("own", 1)]
    again = helper.make_function(
        "own", "f", ["x"], ["y"], [node("f", ["x"], ["y"], "own")], imports
    )
    nodes = [node("f", ["numbers"], ["n"], "own"), node("MatMul", ["n", "w"], ["value"])]
    return container_of(model_of(nodes, [W], opsets={"": 22, "own": 1}, functions=[again]))


def deep_ifs(depth: int) -> bytes:
    inner = helper.make_graph(
        [node("MatMul", ["numbers", "w"], ["out"])],
        "b",
        [],
        [helper.make_tensor_value_info("out", D, None)],
    )
    for _ in range(depth):
        branch = node("If", ["yes"], ["out"], then_branch=inner, else_branch=inner)
        if branch.ByteSize() > 2_000_000:
            break
        outer = helper.make_tensor_value_info("out", D, None)
        inner = helper.make_graph([branch], "b", [], [outer])
    top = node("If", ["yes"], ["value"], then_branch=inner, else_branch=inner)
    return container_of(model_of([top], [W, constant("yes", np.array(True))]))


def short_data() -> bytes:
    tensor = TensorProto(name="w", data_type=D, dims=[2, 1], raw_data=b"12345678")
    return container_of(model_of([MUL], [tensor]))


def sparse() -> bytes:
    made = model_of([MUL])
    bomb = made.graph.sparse_initializer.add()
    bomb.values.CopyFrom(constant("w", np.ones(1)))
    bomb.indices.CopyFrom(constant("i", np.array([2**40], np.int64)))
    bomb.dims.extend([2**40, 2**20])
    return container_of(made)


def tree(old: bool, **changes: Any) -> bytes:
    """Two leaves below one node; ``old``: the operator of version 3, else that of version 5."""
    if old:
        attributes: dict[str, Any] = {
            "nodes_treeids": [0, 0, 0],
            "nodes_nodeids": [0, 1, 2],
            "nodes_featureids": [0, 0, 0],
            "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
            "nodes_values": [0.5, 0.0, 0.0],
            "nodes_truenodeids": [1, 0, 0],
            "nodes_falsenodeids": [2, 0, 0],
            "target_treeids": [0, 0],
            "target_nodeids": [1, 2],
            "target_ids": [0, 0],
            "target_weights": [1.0, 2.0],
            "n_targets": 1,
        }
        attributes.update(changes)
        trees = node("TreeEnsembleRegressor", ["numbers"], ["f"], "ai.onnx.ml", **attributes)
        nodes = [trees, node("Cast", ["f"], ["value"], to=D)]
        return container_of(model_of(nodes, opsets={"": 22, "ai.onnx.ml": 3}))
    attributes = {
        "aggregate_function": 1,
        "post_transform": 0,
        "n_targets": 1,
        "nodes_featureids": [0],
        "nodes_modes": constant("m", np.array([0], np.uint8)),
        "nodes_splits": constant("s", np.array([0.5])),
        "nodes_truenodeids": [0],
        "nodes_falsenodeids": [1],
        "nodes_trueleafs": [1],
        "nodes_falseleafs": [1],
        "leaf_targetids": [0, 0],
        "leaf_weights": constant("l", np.array([1.0, 2.0])),
        "tree_roots": [0],
    }
    attributes.update(changes)
    return one("TreeEnsemble", ["numbers"], "ai.onnx.ml", **attributes)


def far_gather(op: str, domain: str = "") -> bytes:
    nodes = [node(op, ["numbers", "far"], ["x"], domain, **({} if domain else {"axis": 1}))]
    nodes.append(node("MatMul", ["x", "one"], ["value"]))
    far = constant("far", np.array([2**31], np.int64))
    return container_of(model_of(nodes, [far, constant("one", [[1.0]])]))


def wrong_digest() -> bytes:
    return linear()[:-1] + b"x"


REFUSED: dict[str, Callable[[], bytes]] = {
    "external data, absolute": lambda: external("/etc/hostname"),
    "external data, upwards": lambda: external("../token"),
    "external data, relative": lambda: external("token"),
    "operator of an unknown domain": lambda: one("Evil", ["numbers"], "evil"),
    "endless loop": endless,
    "constant of 8 GB": constant_bomb,
    "random numbers of 4 GB": random_bomb,
    "as many as the data say": hungry,
    "multiplication as large as the data say": stuck,
    "nested functions": nested,
    "recursive function": recursive_function,
    "constants multiplied while loading": lambda: slow_to_load(12_000),
    "short data": short_data,
    "deep nesting": lambda: deep_ifs(45),
    "sparse bomb": sparse,
    "old trees in a cycle": lambda: tree(True, nodes_truenodeids=[0, 0, 0]),
    "old trees with a bad node": lambda: tree(True, nodes_truenodeids=[77, 0, 0]),
    "old trees with a bad target": lambda: tree(True, target_ids=[0, 9]),
    "old trees with a negative feature": lambda: tree(True, nodes_featureids=[-3, 0, 0]),
    "trees in a cycle": lambda: tree(False, nodes_trueleafs=[0]),
    "trees with a far feature": lambda: tree(False, nodes_featureids=[2**40]),
    "trees with a negative feature": lambda: tree(False, nodes_featureids=[-1]),
    "trees with a far leaf": lambda: tree(False, nodes_falsenodeids=[2**31]),
    "trees with a far root": lambda: tree(False, tree_roots=[99]),
    "trees with a far target": lambda: tree(False, leaf_targetids=[0, 2**33]),
    "places far outside": lambda: far_gather("Gather"),
    "features far outside": lambda: far_gather("ArrayFeatureExtractor", "ai.onnx.ml"),
    "bad coefficients": lambda: one(
        "LinearRegressor", ["numbers"], "ai.onnx.ml", coefficients=[1.0], targets=5
    ),
    "bad scaler": lambda: one("Scaler", ["numbers"], "ai.onnx.ml", offset=[0.0] * 7, scale=[1.0]),
    "bad support vectors": lambda: one(
        "SVMRegressor", ["numbers"], "ai.onnx.ml", coefficients=[1.0], n_supports=1_000_000
    ),
    "50,000 nodes": lambda: many_nodes(50_000),
    "a sum of nothing": deadly,
    "a decoder of images": lambda: one("ImageDecoder", ["numbers"]),
    "a file instead of a model": lambda: container_of(b"\x7fELF" + bytes(5000)),
    "another model than the header's": wrong_digest,
}

# ONNX Runtime itself looks whether a place is inside; nobody can know before.
AT_THE_CALL = ("places far outside", "features far outside")


@pytest.fixture(scope="module")
def replies(
    loop: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Reply]:
    """All of them at once, two at a time, in one realtime process that must live through it."""
    folder = tmp_path_factory.mktemp("attacks")
    config = RealtimeConfig(work_dir=str(folder / "work"), trial_timeout=20.0)
    realtime = RealtimeNode(config, logging.getLogger("test.attacks"))
    good = spec_of(folder, linear())

    async def work() -> dict[str, Reply]:
        await realtime.start()
        pid = realtime.pid
        (root,) = (folder / "work").glob("jupyter*")
        (root / "token").write_text(SECRET)
        specs = {name: spec_of(folder, make()) for name, make in REFUSED.items()}
        trials = [asyncio.ensure_future(realtime.trial(n, spec)) for n, spec in specs.items()]
        body = b'{"inputData": {"a": [1.0], "b": [2.0]}}'
        while not all(trial.done() for trial in trials):
            # Calls go on meanwhile.
            assert (await realtime.call("good", body, lambda: good)).status == 200
            await asyncio.sleep(0.05)
        found = dict(zip(specs, await asyncio.gather(*trials), strict=True))
        assert (realtime.pid, realtime.restarts) == (pid, 0)
        assert (await realtime.trial("good", good)).status == 200
        return found

    try:
        return loop.run_until_complete(asyncio.wait_for(work(), 150))
    finally:
        loop.run_until_complete(realtime.stop())


@pytest.mark.parametrize("name", REFUSED)
def test_an_attack_is_refused(replies: dict[str, Reply], name: str) -> None:
    reply = replies[name]
    body = body_of(reply)
    assert reply.status in (400, 413), reply
    if name in AT_THE_CALL:
        assert body["exceptionType"] == "TrialFailed", reply
    else:
        # By a rule, before any runtime has seen it.
        assert body["exceptionType"] in ("InvalidDefinition", "TooLarge"), reply
        assert body["fields"] in ("model", "sha256")
    assert body["success"] is False
    assert SECRET not in reply.body.decode()


# Without the rules; those whose effect is time or a crash are in test_faults.
UNCHECKED = (
    "external data, relative",
    "operator of an unknown domain",
    "constant of 8 GB",
    "random numbers of 4 GB",
    "old trees in a cycle",
    "trees with a far leaf",
    "places far outside",
    "short data",
    "sparse bomb",
    "a file instead of a model",
)


@pytest.mark.parametrize("name", UNCHECKED)
def test_what_the_rules_hold_back_would_harm_no_other_version(
    make_realtime: MakeRealtime, name: str
) -> None:
    """Loaded and called by the realtime process itself, as if there had been no trial."""
    realtime = make_realtime(call_timeout=3.0, load_timeout=3.0, stuck_grace=2.0)
    realtime.publish(REFUSED[name](), "attack")
    realtime.publish(linear())
    assert realtime.values() == [5.0]
    (root,) = Path(realtime.node.config.work_dir).glob("jupyter*")
    (root / "token").write_text(SECRET)
    reply = realtime.call("attack")
    assert reply.status >= 400 or SECRET not in reply.body.decode()
    assert realtime.until(lambda: realtime.call().status == 200)


def test_mutated_models_are_refused_or_harmless(tmp_path: Path) -> None:
    """JUPYTER_MLSERVE_FUZZ_SECONDS and JUPYTER_MLSERVE_FUZZ_SEED make it longer, or another."""
    seconds = float(os.environ.get("JUPYTER_MLSERVE_FUZZ_SECONDS", "6"))
    seed = os.environ.get("JUPYTER_MLSERVE_FUZZ_SEED", "1")
    script = Path(__file__).parents[2] / "support" / "realtime_fuzz.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), seed, str(seconds)],
        capture_output=True,
        text=True,
        timeout=seconds + 100,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    counts = dict(line.split(": ") for line in done.stdout.splitlines() if ": " in line)
    tried = {key: int(value) for key, value in counts.items()}
    assert tried["crashed"] == 0, done.stdout
    assert tried["hung"] == 0, done.stdout
    assert tried["refused"] > 20 * seconds
    assert tried["worked"] > 0
