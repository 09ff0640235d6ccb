"""Networks that users bring: prepared, cut, joined; or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.networks import Network, channels_last, mobile, residual, squeezing

from jupyter_mlserve.contract.realtime_operators import OPERATORS
from jupyter_mlserve.notebook.compile.image_network import BadNetwork, prepare
from jupyter_mlserve.notebook.compile.running import run


def images(count: int = 3, shape: tuple[int, ...] = (3, 16, 16)) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (count, *shape)).astype(np.float32)


def given(data: bytes, x: np.ndarray, output: str | None = None) -> np.ndarray:
    """What the network itself gives for each image of ``x``, with ``output`` added to it."""
    model = onnx.load_from_string(data)
    if output is not None:
        del model.graph.output[:]
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    found = [run(model, {"input": x[i : i + 1]})[0].reshape(-1) for i in range(len(x))]
    return np.stack(found)


def node_before(data: bytes, operator: str) -> str:
    """The tensor that enters the last node of ``operator``."""
    nodes = onnx.load_from_string(data).graph.node
    return str(next(node.input[0] for node in reversed(nodes) if node.op_type == operator))


@pytest.mark.parametrize("opset", [13, 17, 22, 24])
@pytest.mark.parametrize(
    ("network", "classifier", "features"),
    [(residual, "Gemm", 8), (squeezing, None, 7)],
)
def test_what_enters_the_classifier_is_the_features(
    network: Callable[..., bytes], classifier: str | None, features: int, opset: int
) -> None:
    if opset == 24 and opset > onnx.defs.onnx_opset_version():
        pytest.skip("onnx is older than this operator set")
    data = network(opset)
    made = prepare(data)
    assert (made.channels, made.height, made.width, made.features) == (3, 16, 16, features)
    x = images()
    found = run(made.model, {"pixels": x.reshape(3, -1)})[0]
    expected = given(data, x, classifier and node_before(data, classifier))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_old_operator_sets_are_brought_up() -> None:
    data = residual(9)
    x = images()
    found = run(prepare(data).model, {"pixels": x.reshape(3, -1)})[0]
    expected = given(data, x, node_before(data, "Gemm"))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_mobile_networks_and_a_matmul_as_classifier() -> None:
    data = mobile()
    x = images()
    found = run(prepare(data).model, {"pixels": x.reshape(3, -1)})[0]
    expected = given(data, x, node_before(data, "MatMul"))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_output_names_the_features() -> None:
    data = residual()
    x = images()
    for name, width in (("v13", 5), ("v10", 8 * 4 * 4)):
        made = prepare(data, name)
        assert made.features == width
        found = run(made.model, {"pixels": x.reshape(3, -1)})[0]
        np.testing.assert_allclose(found, given(data, x, name), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["planar", "interleaved"])
def test_channels_last_for_one_image_takes_many(layout: str) -> None:
    data = channels_last()
    x = images(3, (16, 16, 3))
    made = prepare(data, layout=layout)
    pixels = x if layout == "interleaved" else x.transpose(0, 3, 1, 2)
    found = run(made.model, {"pixels": np.ascontiguousarray(pixels).reshape(3, -1)})[0]
    expected = given(data, x, node_before(data, "Gemm"))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_interleaved_pixels_for_channels_first() -> None:
    data = residual()
    x = images()
    made = prepare(data, layout="interleaved")
    found = run(made.model, {"pixels": x.transpose(0, 2, 3, 1).reshape(3, -1)})[0]
    expected = given(data, x, node_before(data, "Gemm"))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_mean_and_std_of_each_channel() -> None:
    data = residual()
    x = images()
    mean, std = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
    made = prepare(data, mean=mean, std=std)
    found = run(made.model, {"pixels": x.reshape(3, -1)})[0]
    seen = (x - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    expected = given(data, seen.astype(np.float32), node_before(data, "Gemm"))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_size_comes_from_the_pixels_when_the_network_has_none() -> None:
    model = onnx.load_from_string(residual())
    for place in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = "side"
    data = model.SerializeToString()
    assert prepare(data, pixels=3 * 20 * 20).height == 20
    with pytest.raises(BadNetwork, match="images of any size"):
        prepare(data)
    with pytest.raises(BadNetwork, match="images of any size"):
        prepare(data, pixels=3 * 20 * 21)


def test_only_operators_that_servers_accept_and_everything_written_out() -> None:
    for data in (residual(), squeezing(), mobile(), channels_last()):
        model = onnx.load_from_string(prepare(data).model)
        operators = {node.op_type for node in model.graph.node}
        assert not operators & {"Dropout", "Constant"}
        for node in model.graph.node:
            assert all(node.input)
            assert {a.name for a in node.attribute} <= OPERATORS[""][node.op_type]
            if node.op_type == "Conv":
                names = {a.name for a in node.attribute}
                assert names == {"kernel_shape", "pads", "strides", "dilations", "group"}


def changed(change: Callable[[Any], None]) -> bytes:
    model = onnx.load_from_string(residual())
    change(model)
    return bytes(model.SerializeToString())


def with_two_inputs(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))


def with_external_weights(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def with_a_branch(model: Any) -> None:
    then = helper.make_graph(
        [helper.make_node("Relu", ["v13"], ["r"])],
        "b",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["end"], then_branch=then, else_branch=then)
    )


def with_half_floats(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def with_a_strange_operator(model: Any) -> None:
    model.graph.node[-1].CopyFrom(helper.make_node("Det", [model.graph.node[-1].input[0]], ["v13"]))
    model.graph.node[-1].domain = "com.example"


def with_many_channels(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (with_two_inputs, "one input"),
        (with_external_weights, "file of their own"),
        (with_a_branch, "no branches"),
        (with_half_floats, "float32"),
        (with_a_strange_operator, "no standard operator"),
        (with_many_channels, "1 or 3 channels"),
    ],
)
def test_what_cannot_be_used_says_why(change: Callable[[Any], None], why: str) -> None:
    with pytest.raises(BadNetwork, match=why):
        prepare(changed(change))


def test_bytes_that_are_no_network() -> None:
    for data in (b"", b"hello world", b"\x89PNG\r\n\x1a\n" + bytes(100)):
        with pytest.raises(BadNetwork, match="not an ONNX network"):
            prepare(data)


def test_an_unknown_output_is_named() -> None:
    with pytest.raises(BadNetwork, match="no tensor 'nowhere'; its output is v13"):
        prepare(residual(), "nowhere")


def test_operators_that_servers_do_not_run() -> None:
    n = Network(["batch", 3, 8, 8])
    x = n("Conv", "input", n.random(4, 3, 3, 3))
    x = n("GlobalLpPool", x, p=2)
    with pytest.raises(BadNetwork, match="GlobalLpPool"):
        prepare(n.done(n("Flatten", x), ["batch", 4]))


def test_a_network_that_is_too_large_for_a_service() -> None:
    n = Network(["batch", 3, 64, 64])
    x = n("MatMul", n("Flatten", "input"), np.zeros((3 * 64 * 64, 1300), np.float32))
    with pytest.raises(BadNetwork, match="fit into a realtime service"):
        prepare(n.done(n("Relu", x), ["batch", 1300]))
