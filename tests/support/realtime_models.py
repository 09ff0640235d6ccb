"""Models for the realtime process, made by hand: small, slow, hungry, stuck and deadly ones."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from jupyter_mlserve.contract.realtime import pack

Json = dict[str, Any]
D = TensorProto.DOUBLE

PROOF: Json = {
    "rows": 1,
    "largest_difference": 0.0,
    "ties": 0,
    "candidate": "double",
    "probes": {},
    "libraries": {},
}


def header_of(**changes: Any) -> Json:
    """Two numeric columns ``a`` and ``b`` in, one numeric column ``Pred`` out."""
    return {
        "kind": "regression",
        "model": "made by hand",
        "response": None,
        "columns": [
            {"name": "a", "type": "numeric", "nullable": False},
            {"name": "b", "type": "numeric", "nullable": False},
        ],
        "example": {"a": 1.0, "b": 2.0},
        "largest": None,
        "inputs": [{"name": "numbers", "type": "double", "columns": [0, 1]}],
        "tensors": [{"name": "value", "type": "double", "width": 1}],
        "outputs": [{"name": "Pred", "type": "numeric", "tensor": "value", "index": 0}],
        "proof": PROOF,
        **changes,
    }


def constant(name: str, value: Any) -> Any:
    return numpy_helper.from_array(np.asarray(value), name)


def node(op: str, inputs: list[str], outputs: list[str], domain: str = "", **more: Any) -> Any:
    return helper.make_node(op, inputs, outputs, domain=domain, **more)


def model_of(nodes: list[Any], constants: list[Any] | None = None, **more: Any) -> Any:
    """A ModelProto with the input and output of :func:`header_of` around ``nodes``."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("numbers", D, [None, 2])],
        [helper.make_tensor_value_info("value", D, [None, 1])],
        initializer=constants or [],
    )
    opsets = more.pop("opsets", {"": 22, "ai.onnx.ml": 5, "com.microsoft": 1})
    imports = [helper.make_opsetid(name, version) for name, version in opsets.items()]
    made = helper.make_model(graph, opset_imports=imports, **more)
    made.ir_version = 10
    return made


def container_of(model: Any, **changes: Any) -> bytes:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return pack(header_of(**changes), data)


def linear(weight: float = 1.0, size: int = 0) -> bytes:
    """``Pred = weight * a + 2 * b``; ``size`` more bytes of constants, that are loaded too."""
    nodes = [node("MatMul", ["numbers", "w"], ["value" if not size else "v"])]
    constants = [constant("w", [[weight], [2.0]])]
    if size:
        # Gathered from at a computed place, so that nothing can be folded away.
        nodes += [
            node("Shape", ["numbers"], ["s"]),
            node("Gather", ["s", "zero"], ["rows"], axis=0),
            node("Gather", ["ballast", "rows"], ["picked"], axis=0),
            node("Mul", ["picked", "nought"], ["nothing"]),
            node("Add", ["v", "nothing"], ["value"]),
        ]
        constants += [
            constant("zero", np.array(0, np.int64)),
            constant("ballast", np.random.default_rng(0).random(size // 8)),
            constant("nought", 0.0),
        ]
    return container_of(model_of(nodes, constants))


def endless() -> bytes:
    """A loop that never ends if ``a`` of the first row is above 0; it looks at ``terminate``."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["more"]), node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", D, None),
        ],
        [
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", D, None),
        ],
    )
    nodes = [
        node("Gather", ["numbers", "zero"], ["row"], axis=0),
        node("Gather", ["row", "zero"], ["a"], axis=0),
        node("Greater", ["a", "nought"], ["above"]),
        node("Loop", ["", "above", "numbers"], ["last"], body=body),
        node("MatMul", ["last", "w"], ["value"]),
    ]
    constants = [
        constant("zero", np.array(0, np.int64)),
        constant("nought", 0.0),
        constant("w", [[1.0], [2.0]]),
    ]
    return container_of(model_of(nodes, constants))


def slow_to_load(side: int = 6000) -> bytes:
    """Two constants that ONNX Runtime multiplies while it loads; nothing stops it meanwhile."""
    nodes = [
        node("ConstantOfShape", ["shape"], ["c"], value=constant("v", np.array([1e-3]))),
        node("MatMul", ["c", "c"], ["product"]),
        node("ReduceSum", ["product"], ["sum"], keepdims=0),
        node("MatMul", ["numbers", "w"], ["v"]),
        node("Add", ["v", "sum"], ["value"]),
    ]
    shape = constant("shape", np.array([side, side], np.int64))
    return container_of(model_of(nodes, [shape, constant("w", [[1.0], [2.0]])]))


def many_nodes(count: int = 30_000) -> bytes:
    """Takes seconds to load, node by node."""
    nodes = [node("MatMul", ["numbers", "w"], ["v0"])]
    nodes += [node("Sigmoid", [f"v{n}"], [f"v{n + 1}"]) for n in range(count)]
    nodes.append(node("Neg", [f"v{count}"], ["value"]))
    return container_of(model_of(nodes, [constant("w", [[1.0], [2.0]])]))


def nested(depth: int = 40) -> bytes:
    """Functions that call one another twice: small, and endless when they are written out."""
    functions = []
    for number in range(depth):
        inner = "Abs" if not number else f"f{number - 1}"
        domain = "" if not number else "own"
        functions.append(
            helper.make_function(
                "own",
                f"f{number}",
                ["x"],
                ["y"],
                [node(inner, ["x"], ["m"], domain), node(inner, ["m"], ["y"], domain)],
                [helper.make_opsetid("", 22), helper.make_opsetid("own", 1)],
            )
        )
    nodes = [
        node(f"f{depth - 1}", ["numbers"], ["n"], "own"),
        node("MatMul", ["n", "w"], ["value"]),
    ]
    weights = [constant("w", [[1.0], [2.0]])]
    return container_of(model_of(nodes, weights, opsets={"": 22, "own": 1}, functions=functions))


def slow(layers: int = 40, width: int = 400) -> bytes:
    """Nodes that each take a while: it ends in time, or between two of them."""
    nodes = [node("MatMul", ["numbers", "w"], ["v0"])]
    for number in range(layers):
        nodes.append(node("MatMul", [f"v{number}", "square"], [f"m{number}"]))
        nodes.append(node("Tanh", [f"m{number}"], [f"v{number + 1}"]))
    nodes.append(node("ReduceSum", [f"v{layers}", "axis"], ["value"], keepdims=1))
    rng = np.random.default_rng(0)
    constants = [
        constant("w", rng.normal(size=(2, width))),
        constant("square", rng.normal(size=(width, width)) / width**0.5),
        constant("axis", np.array([1], np.int64)),
    ]
    return container_of(model_of(nodes, constants))


def _square(*more: Any) -> bytes:
    """A square matrix of side ``a`` of the first row, to which ``more`` is done to give "big"."""
    nodes = [
        node("Gather", ["numbers", "zero"], ["row"], axis=0),
        node("Gather", ["row", "zero"], ["a"], axis=0),
        node("Cast", ["a"], ["n"], to=TensorProto.INT64),
        node("Reshape", ["n", "one"], ["n1"]),
        node("Concat", ["n1", "n1"], ["shape"], axis=0),
        node("ConstantOfShape", ["shape"], ["square"], value=constant("v", np.array([0.5]))),
        *more,
        node("ReduceSum", ["big"], ["sum"], keepdims=0),
        node("MatMul", ["numbers", "w"], ["v"]),
        node("Mul", ["sum", "nought"], ["nothing"]),
        node("Add", ["v", "nothing"], ["value"]),
    ]
    constants = [
        constant("zero", np.array(0, np.int64)),
        constant("one", np.array([1], np.int64)),
        constant("w", [[1.0], [2.0]]),
        constant("nought", 0.0),
    ]
    return container_of(model_of(nodes, constants))


def stuck() -> bytes:
    """Multiplies a matrix of side ``a``: one node, that hears nothing until it has finished."""
    return _square(node("MatMul", ["square", "square"], ["big"]))


def hungry() -> bytes:
    """Takes 8 bytes times the square of ``a``."""
    return _square(node("Identity", ["square"], ["big"]))


def deadly() -> bytes:
    """A missing input where one must be: ONNX Runtime 1.32 reads through a null pointer."""
    nodes = [
        node("Sum", ["numbers", ""], ["v"]),
        node("MatMul", ["v", "w"], ["value"]),
    ]
    return container_of(model_of(nodes, [constant("w", [[1.0], [2.0]])]))


def spec_of(folder: Path, container: bytes, name: str = "svc", version: str = "1") -> Json:
    """The load spec of a container, which is stored in ``folder`` by its digest."""
    sha256 = hashlib.sha256(container).hexdigest()
    path = folder / sha256
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(container)
    return {
        "runtimeType": "Realtime",
        "name": name,
        "version": version,
        "model": {"path": str(path), "sha256": sha256},
    }
