"""Networks that users bring as ONNX, made into what a compiled model can hold.

A network is cut at its features, takes rows of pixels in any number, computes in float32 in our
operator set, and holds only operators that servers accept. What comes out is compared with the
network as it was given before anything is scored with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contract.image_steps import MAX_WIDTH
from ...contract.realtime_operators import OPERATORS
from .graph import FLOAT, IR_VERSION
from .image_cleaning import clean
from .image_opset import BadNetwork, in_our_opset, short, simpler
from .libraries import load
from .running import session

__all__ = ["BadNetwork", "Network", "prepare"]

MAX_NETWORK = 60 * 1024 * 1024  # bytes; a server takes models of at most 64 MiB
MAX_FEATURES = 100_000
PIXELS, FEATURES = "pixels", "features"
_CLOSE = 1e-3  # of the largest feature; float32 sums in another order differ by less
_CLASSIFIERS = ("Gemm", "MatMul")
_BEHIND = ("Softmax", "LogSoftmax", "Sigmoid", "Add", "Identity", "Flatten", "Reshape", "Squeeze")


@dataclass(frozen=True)
class Network:
    """A prepared network: float32 ``pixels`` [rows, width] to ``features`` [rows, features]."""

    model: bytes
    channels: int
    height: int
    width: int
    features: int


def prepare(
    data: bytes,
    output: str | None = None,
    layout: str = "planar",
    pixels: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Network:
    """The network in the ONNX bytes ``data``.

    ``output`` names the tensor of the features; without it they are what enters the last fully
    connected layer, or the network's output if it ends otherwise. ``layout`` is that of the pixels
    that will come; their number ``pixels`` an image says how large images are when the network
    does not. ``mean`` and ``std`` (one number a channel) are taken off and divided by first.
    Raises BadNetwork.
    """
    onnx = load("onnx")
    model = _read(data)
    source = _input(model)
    shape, channels_first = _shape(source, pixels)
    name = output or _features(model)
    _cut(model, source, name, shape)
    given = model.SerializeToString()
    if len(given) > MAX_NETWORK:
        raise BadNetwork(
            f"it has {len(given):,} bytes up to its features; at most {MAX_NETWORK:,} fit "
            "into a realtime service. Take a smaller network, such as ResNet-18 or MobileNet"
        )
    model = simpler(in_our_opset(model))
    try:
        model = clean(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True))
    except (ValueError, KeyError) as exc:
        raise BadNetwork(str(exc)) from None
    except Exception as exc:
        raise BadNetwork(f"its shapes do not fit together ({short(exc)})") from None
    _check_operators(model)
    width = _feature_width(model)
    channels, height, wide = shape[1:] if channels_first else (shape[3], shape[1], shape[2])
    _frame(model, (channels, height, wide), channels_first, layout, mean, std)
    made = Network(model.SerializeToString(), channels, height, wide, width)
    _compare(given, made, channels_first, layout, mean, std)
    return made


def _read(data: bytes) -> Any:
    onnx = load("onnx")
    try:
        model = onnx.load_from_string(data)
    except Exception as exc:
        raise BadNetwork(f"it is not an ONNX network ({short(exc)})") from None
    if not model.graph.node:
        raise BadNetwork("it is not an ONNX network: it has no operators")
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise BadNetwork(
                "its weights are in a file of their own; save it with the weights inside: "
                "onnx.save(onnx.load(path), path, save_as_external_data=False)"
            )
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as exc:
            raise BadNetwork(f"its functions cannot be written out ({short(exc)})") from None
    for node in model.graph.node:
        if any(attribute.type in (5, 10) for attribute in node.attribute):
            raise BadNetwork(f"it holds a {node.op_type}, and a realtime service has no branches")
    return model


def _input(model: Any) -> Any:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in constants]
    found = [
        item
        for item in inputs
        if item.type.tensor_type.elem_type == FLOAT and len(item.type.tensor_type.shape.dim) == 4
    ]
    if len(inputs) != 1 or len(found) != 1:
        shown = ", ".join(item.name for item in inputs) or "none"
        raise BadNetwork(
            "it must have one input, float32 images [rows, channels, height, width] or "
            f"[rows, height, width, channels]; its inputs: {shown}"
        )
    return found[0]


def _shape(source: Any, pixels: int | None) -> tuple[list[int], bool]:
    """The shape of the input with 0 for the rows, and whether channels come first."""
    dims = [
        d.dim_value if d.HasField("dim_value") else 0 for d in source.type.tensor_type.shape.dim
    ]
    first = dims[1] in (1, 3)
    if not first and dims[3] not in (1, 3):
        raise BadNetwork(f"its images must have 1 or 3 channels; its input is {dims}")
    channels = dims[1] if first else dims[3]
    high, wide = (dims[2], dims[3]) if first else (dims[1], dims[2])
    if not high or not wide:
        side = math.isqrt((pixels or 0) // channels)
        if not pixels or side * side * channels != pixels:
            raise BadNetwork(
                "it takes images of any size; give it square ones (ResizeImage(224, 224))"
            )
        high, wide = high or side, wide or side
    if channels * high * wide > MAX_WIDTH:
        raise BadNetwork(f"its images have more than {MAX_WIDTH:,} numbers")
    return ([0, channels, high, wide] if first else [0, high, wide, channels]), first


def _features(model: Any) -> str:
    """What enters the last fully connected layer if the network ends in one, else its output."""
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = _constants(model)
    name = str(model.graph.output[0].name)
    last = name
    for _ in range(8):
        node = makers.get(last)
        if node is None:
            return name
        if node.op_type in _CLASSIFIERS:
            return str(node.input[0]) if node.input[1] in constants else name
        data = [item for item in node.input if item and item not in constants]
        if node.op_type not in _BEHIND or len(data) != 1:
            return name
        last = data[0]
    return name


def _constants(model: Any) -> set[str]:
    """Values that do not depend on the image: weights, also behind a Transpose or the like."""
    found = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if all(name in found for name in node.input if name):
            found.update(node.output)
    return found


def _cut(model: Any, source: Any, name: str, shape: list[int]) -> None:
    """Leave only what leads to the tensor ``name``, for any number of rows."""
    onnx = load("onnx")
    graph = model.graph
    makers = {output for node in graph.node for output in node.output}
    if name not in makers:
        ends = ", ".join(str(item.name) for item in graph.output)
        raise BadNetwork(f"it has no tensor {name!r}; its output is {ends}")
    wanted, kept = {name}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    if source.name not in wanted:
        raise BadNetwork(f"the tensor {name!r} does not depend on the image")
    kept_tensors = [tensor for tensor in graph.initializer if tensor.name in wanted]
    made = onnx.helper.make_graph(
        kept[::-1],
        "network",
        [onnx.helper.make_tensor_value_info(source.name, FLOAT, ["rows", *shape[1:]])],
        [onnx.helper.make_empty_tensor_value_info(name)],
        initializer=kept_tensors,
    )
    made.output[0].type.tensor_type.elem_type = FLOAT
    _any_rows(made)
    graph.CopyFrom(made)
    model.ir_version = min(max(model.ir_version, 4), IR_VERSION)


def _any_rows(graph: Any) -> None:
    """Reshapes that were written down for one image keep the number of rows instead."""
    helper = load("onnx").numpy_helper
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        tensor = constants[node.input[1]]
        dims = helper.to_array(tensor).copy()
        if len(dims) > 1 and dims[0] == 1:
            dims[0] = 0
            changed = helper.from_array(dims, f"{node.input[1]}_any_rows_{node.output[0]}")
            graph.initializer.append(changed)
            node.input[1] = changed.name


def _check_operators(model: Any) -> None:
    for node in model.graph.node:
        allowed = OPERATORS[""].get(node.op_type)
        strange = [a.name for a in node.attribute if allowed is None or a.name not in allowed]
        if allowed is None or strange:
            what = node.op_type if allowed is None else f"{node.op_type} with {strange[0]}"
            raise BadNetwork(f"it uses the operator {what}, which realtime services do not run")


def _feature_width(model: Any) -> int:
    onnx = load("onnx")
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    kind = inferred.graph.output[0].type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else 0 for d in kind.shape.dim]
    if kind.elem_type != FLOAT or len(dims) < 2 or not all(dims[1:]):
        raise BadNetwork(
            f"the tensor of its features has the shape {dims}; expected rows of float32 numbers"
        )
    width = math.prod(dims[1:])
    if width > MAX_FEATURES:
        raise BadNetwork(f"it gives {width:,} features an image, more than {MAX_FEATURES:,}")
    return width


def _frame(
    model: Any,
    size: tuple[int, int, int],
    channels_first: bool,
    layout: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> None:
    """Put rows of pixels in front of the network and rows of features behind it."""
    onnx = load("onnx")
    graph = model.graph
    _rename(graph)
    channels, high, wide = size
    entry, end = str(graph.input[0].name), str(graph.output[0].name)
    before: list[Any] = []

    def constant(name: str, values: npt.NDArray[Any]) -> str:
        graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        return name

    def node(op: str, inputs: list[str], **attributes: Any) -> str:
        before.append(onnx.helper.make_node(op, inputs, [f"entry_{len(before)}"], **attributes))
        return str(before[-1].output[0])

    planar = layout == "planar"
    dims = [-1, channels, high, wide] if planar else [-1, high, wide, channels]
    value = node("Reshape", [PIXELS, constant("entry_shape", np.array(dims, np.int64))])
    along = [1, channels, 1, 1] if planar else [1, 1, 1, channels]
    for op, numbers in (("Sub", mean), ("Div", std)):
        if numbers is not None:
            per_channel = np.asarray(numbers, np.float32).reshape(-1)
            if per_channel.size not in (1, channels) or not np.isfinite(per_channel).all():
                raise BadNetwork(f"mean and std: expected {channels} numbers, one a channel")
            if op == "Div" and not per_channel.all():
                raise BadNetwork("std: expected numbers that are not zero")
            full = np.broadcast_to(per_channel, channels).reshape(along).copy()
            value = node(op, [value, constant(f"entry_{op}", full)])
    if planar != channels_first:
        value = node("Transpose", [value], perm=[0, 3, 1, 2] if channels_first else [0, 2, 3, 1])
    nodes = [*before, *graph.node]
    for item in nodes[len(before) :]:
        for position, name in enumerate(item.input):
            if name == entry:
                item.input[position] = value
    nodes.append(onnx.helper.make_node("Flatten", [end], [FEATURES], axis=1))
    made = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info(PIXELS, FLOAT, [None, math.prod(size)])],
        [onnx.helper.make_tensor_value_info(FEATURES, FLOAT, [None, None])],
        initializer=list(graph.initializer),
    )
    graph.CopyFrom(made)


def _rename(graph: Any) -> None:
    """Short names for all values, which no other value of ours has."""
    names: dict[str, str] = {}

    def short(name: str) -> str:
        return names.setdefault(name, f"value_{len(names)}") if name else name

    for item in [*graph.input, *graph.output, *graph.initializer]:
        item.name = short(item.name)
    for node in graph.node:
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]


def _compare(
    given: bytes,
    made: Network,
    channels_first: bool,
    layout: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> None:
    """Both networks, on two images of noise: one by one as given, together as prepared."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, made.channels, made.height, made.width)).astype(np.float32)
    images[1] *= np.float32(1 / 255)
    seen = images
    if mean is not None:
        seen = seen - np.asarray(mean, np.float32).reshape(1, -1, 1, 1)
    if std is not None:
        seen = seen / np.asarray(std, np.float32).reshape(1, -1, 1, 1)
    if not channels_first:
        seen = seen.transpose(0, 2, 3, 1)
    rows = images if layout == "planar" else images.transpose(0, 2, 3, 1)
    try:
        first = session(given)
        entry = first.get_inputs()[0].name
        wanted = [
            first.run(None, {entry: np.ascontiguousarray(seen[i : i + 1])})[0] for i in (0, 1)
        ]
        found = session(made.model).run(None, {PIXELS: rows.reshape(2, -1)})[0]
    except Exception as exc:
        raise BadNetwork(f"it does not run on two images ({short(exc)})") from None
    expected = np.stack([features.reshape(-1) for features in wanted])
    if found.shape != expected.shape or found.shape[1] != made.features:
        raise BadNetwork("it gives another number of features for two images than for one")
    size = np.abs(expected).max() or 1.0
    with np.errstate(all="ignore"):
        off = float(np.abs(found - expected).max() / size)
    if not off <= _CLOSE:
        raise BadNetwork(f"prepared for a realtime service it differs from itself by {off:.2g}")
