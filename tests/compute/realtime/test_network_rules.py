"""Networks in uploads: the usual ones pass, those that cost too much or lie do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.networks import channels_last, mobile, residual, squeezing

from jupyter_mlserve.compute.realtime.validate import validate_model
from jupyter_mlserve.contract.errors import InvalidDefinition, MLServeError
from jupyter_mlserve.notebook.compile.image_network import prepare


def header(width: int, features: int) -> dict[str, Any]:
    """The part of a header that the check of a model looks at."""
    return {
        "inputs": [{"name": "pixels", "type": "float", "columns": [0], "width": width}],
        "tensors": [{"name": "answer", "type": "double", "width": features}],
    }


def finished(data: bytes) -> tuple[Any, dict[str, Any]]:
    """A prepared network with its features as doubles, as a compiled model ends."""
    made = prepare(data)
    model = onnx.load_from_string(made.model)
    model.graph.node.append(helper.make_node("Cast", ["features"], ["answer"], to=11))
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("answer", TensorProto.DOUBLE, [None, made.features])
    )
    return model, header(made.channels * made.height * made.width, made.features)


@pytest.mark.parametrize("network", [residual, squeezing, mobile, channels_last])
def test_usual_networks_pass(network: Callable[[], bytes]) -> None:
    model, head = finished(network())
    validate_model(model.SerializeToString(), head)


def node_of(model: Any, operator: str) -> Any:
    return next(node for node in model.graph.node if node.op_type == operator)


def set_ints(operator: str, name: str, values: list[int]) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        held = next(a for a in node_of(model, operator).attribute if a.name == name)
        held.ints[:] = values

    return change


def set_int(operator: str, name: str, value: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        next(a for a in node_of(model, operator).attribute if a.name == name).i = value

    return change


def without(operator: str, name: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        node = node_of(model, operator)
        for attribute in list(node.attribute):
            if attribute.name == name:
                node.attribute.remove(attribute)

    return change


def computed_weights(model: Any) -> None:
    node = node_of(model, "Conv")
    model.graph.node.insert(0, helper.make_node("Relu", [node.input[1]], ["computed"]))
    node.input[1] = "computed"


def two_outputs(model: Any) -> None:
    node_of(model, "MaxPool").output.append("indices")


@pytest.mark.parametrize(
    "change",
    [
        set_ints("Conv", "strides", [0, 0]),
        set_ints("Conv", "strides", [2**62, 1]),
        set_ints("Conv", "dilations", [0, 1]),
        set_ints("Conv", "dilations", [10**6, 10**6]),
        set_ints("Conv", "pads", [-1, 0, 0, 0]),
        set_ints("Conv", "pads", [2**31, 0, 0, 0]),
        set_ints("Conv", "pads", [3, 3, 3, 3]),
        set_ints("Conv", "kernel_shape", [2, 2]),
        set_ints("Conv", "kernel_shape", [3]),
        set_int("Conv", "group", 0),
        set_int("Conv", "group", -1),
        set_int("Conv", "group", 3),
        set_int("Conv", "group", 2**62),
        without("Conv", "strides"),
        without("Conv", "pads"),
        without("MaxPool", "kernel_shape"),
        set_ints("MaxPool", "kernel_shape", [0, 0]),
        set_ints("MaxPool", "kernel_shape", [1000, 1000]),
        set_ints("MaxPool", "pads", [3, 3, 3, 3]),
        set_ints("MaxPool", "strides", [0, 1]),
        computed_weights,
        two_outputs,
    ],
)
def test_windows_that_make_no_sense_are_refused(change: Callable[[Any], None]) -> None:
    model, head = finished(residual())
    change(model)
    with pytest.raises(InvalidDefinition):
        validate_model(model.SerializeToString(), head)


def built(
    width: int, steps: list[tuple[str, list[Any], dict[str, Any]]], features: int
) -> tuple[bytes, dict[str, Any]]:
    """A model of nodes in a row; the first input of each is what the one before gives."""
    value, nodes, weights = "pixels", [], []
    for number, (operator, constants, attributes) in enumerate(steps):
        names = []
        for constant in constants:
            if isinstance(constant, str):
                names.append(constant)
                continue
            names.append(f"w{len(weights)}")
            weights.append(numpy_helper.from_array(np.asarray(constant), names[-1]))
        nodes.append(helper.make_node(operator, [value, *names], [f"v{number}"], **attributes))
        value = nodes[-1].output[0]
    nodes.append(helper.make_node("Cast", [value], ["answer"], to=11))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("answer", TensorProto.DOUBLE, [None, features])],
        initializer=weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return model.SerializeToString(), header(width, features)


WINDOW = {"kernel_shape": [1, 1], "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0]}
IMAGE = ("Reshape", [np.array([-1, 3, 224, 224])], {})
ROWS = ("Reshape", [np.array([-1, 1])], {})
ENDS: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("GlobalAveragePool", [], {}),
    ("Flatten", [], {"axis": 1}),
]


def wide(channels: int, size: int = 1, before: int = 3) -> Any:
    kernel = np.zeros((channels, before, size, size), np.float32)
    pads = [size // 2] * 4
    return "Conv", [kernel], {**WINDOW, "group": 1, "kernel_shape": [size, size], "pads": pads}


@pytest.mark.parametrize(
    ("steps", "features", "why"),
    [
        # 1,000 channels of 224 x 224: 50 million numbers from 12 kB of weights.
        ([IMAGE, wide(1000), *ENDS], 1000, "numbers for a row"),
        # Each of moderate size, and many of them.
        ([IMAGE, wide(64), *[("Relu", [], {})] * 60, *ENDS], 64, "one too many"),
        # Few numbers, much work.
        ([IMAGE, wide(64), *[wide(64, 15, 64)] * 4, *ENDS], 64, "multiplications"),
        # Pixels made rows, then each a wide one.
        ([ROWS, ("Mul", [np.zeros((1, 4000), np.float32)], {})], 4000, "numbers for a row"),
        ([ROWS, ("MatMul", [np.zeros((1, 4000), np.float32)], {})], 4000, "numbers for a row"),
        ([("Pad", [np.array([0, 0, 0, 10**9])], {})], 4000, "pads"),
        ([("Pad", [np.array([5, 0, 0, 0])], {})], 4000, "pads"),
        ([IMAGE, ("LRN", [], {"size": 10**6}), *ENDS], 3, "size"),
        ([IMAGE, ("LRN", [], {"size": 2}), *ENDS], 3, "size"),
    ],
)
def test_what_costs_too_much_is_refused(steps: Any, features: int, why: str) -> None:
    model, head = built(3 * 224 * 224, steps, features)
    with pytest.raises(MLServeError, match=why):
        validate_model(model, head)


def test_a_moderate_network_of_the_same_kind_passes() -> None:
    steps = [IMAGE, wide(32), ("Relu", [], {}), wide(16, 3, 32), ("LRN", [], {"size": 5}), *ENDS]
    model, head = built(3 * 224 * 224, steps, 16)
    validate_model(model, head)


def test_images_of_unknown_size_are_refused() -> None:
    model, head = built(12, [("Reshape", ["shape"], {}), wide(4), *ENDS], 4)
    parsed = onnx.load_from_string(model)
    parsed.graph.node.insert(0, helper.make_node("Shape", ["pixels"], ["shape2"]))
    more = numpy_helper.from_array(np.array([2, 2]), "more")
    parsed.graph.initializer.append(more)
    parsed.graph.node.insert(1, helper.make_node("Concat", ["shape2", "more"], ["shape"], axis=0))
    with pytest.raises(InvalidDefinition):
        validate_model(parsed.SerializeToString(), head)


def test_mutated_networks_are_refused_or_harmless() -> None:
    """Random changes of attributes, inputs and weights: what passes runs, within its bounds."""
    from jupyter_mlserve.compute.realtime.sessions import open_session

    rng = np.random.default_rng(11)
    passed = 0
    originals = [finished(network()) for network in (residual, squeezing, mobile)]
    for turn in range(120):
        first, head = originals[turn % 3]
        model = onnx.ModelProto()
        model.CopyFrom(first)
        for _ in range(rng.integers(1, 3)):
            mutate(model, rng)
        data = model.SerializeToString()
        try:
            validate_model(data, head)
        except MLServeError:
            continue
        passed += 1
        pixels = rng.uniform(0, 255, (2, head["inputs"][0]["width"])).astype(np.float32)
        try:
            found = open_session(data).run(["answer"], {"pixels": pixels})[0]
        except Exception:  # refused by the runtime itself; what must not be is a crash
            continue
        assert found.size <= 1_000_000
    assert 0 < passed < 120


def mutate(model: Any, rng: np.random.Generator) -> None:
    nodes = model.graph.node
    node = nodes[rng.integers(len(nodes))]
    kind = rng.integers(5)
    if kind == 0 and node.attribute:
        attribute = node.attribute[rng.integers(len(node.attribute))]
        value = int(rng.choice([0, -1, 1, 2, 3, 7, 64, 65, 2**31, 2**62]))
        if attribute.ints:
            attribute.ints[rng.integers(len(attribute.ints))] = value
        elif attribute.type == onnx.AttributeProto.INT:
            attribute.i = value
        else:
            attribute.f = float(rng.choice([0.0, -1.0, 1e30, 1e-30]))
    elif kind == 1:
        node.input[rng.integers(len(node.input))] = rng.choice(
            ["pixels", "", nodes[0].output[0], nodes[-1].input[0], model.graph.initializer[0].name]
        )
    elif kind == 2:
        node.op_type = rng.choice(["Conv", "MaxPool", "Relu", "Flatten", "Add", "Pad", "Clip"])
    elif kind == 3:
        tensor = model.graph.initializer[rng.integers(len(model.graph.initializer))]
        if tensor.dims:
            tensor.dims[rng.integers(len(tensor.dims))] = int(rng.choice([0, 1, 2, 10**6]))
    else:
        node.input.append(node.input[0])
