"""Tiny image networks as ONNX, of the kinds that people bring, with random weights."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> str:
    """Base64 text of an image file with ``pixels`` (uint8)."""
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(pixels).save(held, kind, **options)
    return base64.b64encode(held.getvalue()).decode()


class Network:
    """A graph under construction; ``self(op, ...)`` adds a node and gives its output."""

    def __init__(self, size: list[Any], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.size = size

    def __call__(self, op: str, *inputs: Any, **attributes: Any) -> str:
        names = [item if isinstance(item, str) else self.constant(item) for item in inputs]
        self.nodes.append(helper.make_node(op, names, [f"v{len(self.nodes)}"], **attributes))
        return str(self.nodes[-1].output[0])

    def constant(self, values: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def random(self, *shape: int) -> np.ndarray:
        scale = 1.0 / np.sqrt(max(1, np.prod(shape[1:])))
        return (self.rng.normal(size=shape) * scale).astype(np.float32)

    def norm(self, value: str, channels: int) -> str:
        positive = self.rng.uniform(0.5, 1.5, (2, channels)).astype(np.float32)
        return self(
            "BatchNormalization",
            value,
            positive[0],
            self.random(channels),
            self.random(channels),
            positive[1],
            epsilon=1e-3,
        )

    def done(self, output: str, shape: list[Any], opset: int = 17) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, self.size)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            initializer=self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def residual(opset: int = 17, rows: Any = "batch", size: int = 16) -> bytes:
    """As ResNet: convolutions with batch normalisation, a sum, pooling, a classifier."""
    n = Network([rows, 3, size, size])
    x = n("Conv", "input", n.random(8, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    x = n("Relu", n.norm(x, 8))
    x = n("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = n("Relu", n.norm(n("Conv", x, n.random(8, 8, 3, 3), pads=[1, 1, 1, 1]), 8))
    y = n.norm(n("Conv", y, n.random(8, 8, 3, 3), pads=[1, 1, 1, 1]), 8)
    x = n("Relu", n("Add", x, y))
    x = n("Flatten", n("GlobalAveragePool", x))
    x = n("Gemm", x, n.random(5, 8), n.random(5), transB=1)
    return n.done(x, [rows, 5], opset)


def squeezing(opset: int = 17) -> bytes:
    """As SqueezeNet and AlexNet: Concat, LRN, dropout, no fully connected layer at the end."""
    n = Network(["batch", 3, 16, 16])
    x = n("Relu", n("Conv", "input", n.random(6, 3, 3, 3), n.random(6), strides=[2, 2]))
    x = n("LRN", x, size=5, alpha=1e-4, beta=0.75, bias=1.0)
    a = n("Relu", n("Conv", x, n.random(4, 6, 1, 1), n.random(4)))
    b = n("Relu", n("Conv", x, n.random(4, 6, 3, 3), n.random(4), pads=[1, 1, 1, 1]))
    x = n("Concat", a, b, axis=1)
    x = n("Dropout", x)
    x = n("Conv", n("Identity", x), n.random(7, 8, 1, 1), n.random(7))
    x = n("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    x = n("Flatten", n("GlobalAveragePool", x))
    return n.done(x, ["batch", 7], opset)


def mobile(opset: int = 17) -> bytes:
    """As MobileNetV3: depthwise convolutions, HardSwish, squeeze and excitation, Clip."""
    n = Network(["batch", 3, 16, 16])
    x = n(
        "HardSwish", n("Conv", "input", n.random(8, 3, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2])
    )
    x = n("Conv", x, n.random(8, 1, 3, 3), group=8, pads=[1, 1, 1, 1])
    x = n("Clip", x, np.float32(0), np.float32(6))
    s = n("ReduceMean", x, axes=[2, 3], keepdims=1)
    s = n("Relu", n("Conv", s, n.random(4, 8, 1, 1)))
    s = n("HardSigmoid", n("Conv", s, n.random(8, 4, 1, 1)))
    x = n("Mul", x, s)
    x = n("Clip", x, "", np.float32(3))
    x = n("ReduceMean", x, axes=[2, 3], keepdims=0)
    x = n("MatMul", x, n.random(8, 6))
    x = n("Softmax", n("Add", x, n.random(6)), axis=1)
    return n.done(x, ["batch", 6], opset)


def channels_last(opset: int = 13) -> bytes:
    """As Keras exports: NHWC, padding, a Reshape of one image."""
    n = Network([1, 16, 16, 3])
    x = n("Transpose", "input", perm=[0, 3, 1, 2])
    x = n("Pad", x, np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64))
    x = n("Conv", x, n.random(4, 3, 3, 3), strides=[2, 2], auto_pad="VALID")
    x = n("Sigmoid", x)
    x = n("AveragePool", x, kernel_shape=[8, 8], strides=[8, 8])
    x = n("Reshape", x, np.array([1, -1], np.int64))
    x = n("Gemm", x, n.random(4, 3), n.random(3))
    return n.done(x, [1, 3], opset)
