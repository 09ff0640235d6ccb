"""The nodes of a network as our upload validator wants them: nothing left out, nothing idle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .libraries import load

_WINDOWS = ("Conv", "MaxPool", "AveragePool")
_IDLE = ("Identity", "Dropout")
# Attributes that say what is so anyway, and are left out: operator -> attribute -> value.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "BatchNormalization": {"training_mode": 0},
    "MaxPool": {"storage_order": 0},
    "Softmax": {},
    "Reshape": {"allowzero": 0},
    "ReduceMean": {"noop_with_empty_axes": 0},
    "ReduceSum": {"noop_with_empty_axes": 0},
    "ReduceMax": {"noop_with_empty_axes": 0},
    "Cast": {"saturate": 1},
}


def clean(model: Any) -> Any:
    """``model`` (with inferred shapes) with explicit windows, and without idle nodes.

    Raises ValueError for what has no such form.
    """
    return _Cleaning(model).done()


class _Cleaning:
    def __init__(self, model: Any) -> None:
        self.onnx = load("onnx")
        self.model = model
        graph = model.graph
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.shapes: dict[str, list[int]] = {}
        for item in [*graph.input, *graph.value_info, *graph.output]:
            dims = item.type.tensor_type.shape.dim
            self.shapes[item.name] = [d.dim_value if d.HasField("dim_value") else 0 for d in dims]
        self.instead: dict[str, str] = {}
        self.nodes: list[Any] = []

    def done(self) -> Any:
        graph = self.model.graph
        output = graph.output[0].name
        for node in list(graph.node):
            self.node(node)
        self.nodes.append(
            self.onnx.helper.make_node("Identity", [self.instead.get(output, output)], ["end"])
        )
        used = {name for node in self.nodes for name in node.input}
        end = self.onnx.helper.make_empty_tensor_value_info("end")
        end.type.tensor_type.elem_type = graph.output[0].type.tensor_type.elem_type
        made = self.onnx.helper.make_graph(
            self.nodes,
            "network",
            list(graph.input),
            [end],
            initializer=[t for name, t in self.tensors.items() if name in used],
        )
        self.model.graph.CopyFrom(made)
        return self.model

    def node(self, node: Any) -> None:
        for position, name in enumerate(node.input):
            node.input[position] = self.instead.get(name, name)
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        if node.op_type in _IDLE:
            self.instead[node.output[0]] = node.input[0]
            return
        if node.op_type == "Constant":
            self.constant(node)
            return
        while node.input and not node.input[-1]:
            del node.input[-1]
        while node.output and not node.output[-1]:
            del node.output[-1]
        for attribute in list(node.attribute):
            fixed = _DEFAULTS.get(node.op_type, {})
            if attribute.name in fixed and attribute.i == fixed[attribute.name]:
                node.attribute.remove(attribute)
        if node.op_type == "BatchNormalization":
            _drop(node, "momentum")
        if node.op_type in _WINDOWS:
            self.window(node)
        if node.op_type == "Clip":
            self.clip(node)
        self.nodes.append(node)

    def constant(self, node: Any) -> None:
        helper = self.onnx.numpy_helper
        held = node.attribute[0]
        makes: dict[str, Callable[[], Any]] = {
            "value": lambda: held.t,
            "value_float": lambda: helper.from_array(np.array(held.f, np.float32)),
            "value_floats": lambda: helper.from_array(np.array(held.floats, np.float32)),
            "value_int": lambda: helper.from_array(np.array(held.i, np.int64)),
            "value_ints": lambda: helper.from_array(np.array(held.ints, np.int64)),
        }
        if held.name not in makes:
            raise ValueError("it holds a constant that is no tensor of numbers")
        tensor = self.onnx.TensorProto()
        tensor.CopyFrom(makes[held.name]())
        tensor.name = node.output[0]
        self.tensors[tensor.name] = tensor

    def window(self, node: Any) -> None:
        """Kernel, strides, dilations and pads written out."""
        held = {attribute.name: attribute for attribute in node.attribute}
        shape = self.shapes.get(node.input[0], [])
        if node.op_type == "Conv" and "kernel_shape" not in held:
            _set(node, "kernel_shape", list(self.tensors[node.input[1]].dims)[2:])
        kernel = _ints(node, "kernel_shape", [])
        if len(kernel) != 2 or len(shape) != 4:
            raise ValueError(f"it holds a {node.op_type} that is not over height and width")
        strides, dilations = _ints(node, "strides", [1, 1]), _ints(node, "dilations", [1, 1])
        pads = _ints(node, "pads", [0, 0, 0, 0])
        auto = held["auto_pad"].s.decode() if "auto_pad" in held else "NOTSET"
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            if not all(shape[2:]):
                raise ValueError("the sizes of its layers are not known")
            pads = _same(shape[2:], kernel, strides, dilations, auto == "SAME_UPPER")
        elif auto == "VALID":
            pads = [0, 0, 0, 0]
        _drop(node, "auto_pad")
        for name, values in (("strides", strides), ("dilations", dilations), ("pads", pads)):
            _set(node, name, values)
        if node.op_type == "Conv" and "group" not in held:
            node.attribute.append(self.onnx.helper.make_attribute("group", 1))

    def clip(self, node: Any) -> None:
        """Both bounds given: an input that is left out is not accepted by servers."""
        limits = np.finfo(np.float32)
        for position, bound in ((1, limits.min), (2, limits.max)):
            if len(node.input) <= position:
                node.input.append("")
            if not node.input[position]:
                name = f"{node.output[0]}_bound_{position}"
                made = self.onnx.numpy_helper.from_array(np.array(bound, np.float32), name)
                self.tensors[name] = made
                node.input[position] = name


def _same(
    size: list[int], kernel: list[int], strides: list[int], dilations: list[int], upper: bool
) -> list[int]:
    begins, ends = [], []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        small, large = total // 2, total - total // 2
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return [*begins, *ends]


def _ints(node: Any, name: str, default: list[int]) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == name), default)


def _set(node: Any, name: str, values: list[int]) -> None:
    _drop(node, name)
    node.attribute.append(load("onnx").helper.make_attribute(name, [int(v) for v in values]))


def _drop(node: Any, name: str) -> None:
    for attribute in list(node.attribute):
        if attribute.name == name:
            node.attribute.remove(attribute)
