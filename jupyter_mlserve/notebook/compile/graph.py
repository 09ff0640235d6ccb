"""Writing an ONNX graph: nodes, constants and the element type of every value.

Everything is double unless it must not be: scikit-learn computes in double, and float32 between
two steps is what makes compiled models silently wrong at the thresholds of trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .libraries import load

OPSET = 22
ML = "ai.onnx.ml"
MICROSOFT = "com.microsoft"
IR_VERSION = 10

FLOAT, INT64, STRING, BOOL, DOUBLE = 1, 7, 8, 9, 11  # onnx.TensorProto.DataType
IMAGE = -1  # no tensor: images between two steps of the runtime
_OF_KIND = {"f": DOUBLE, "i": INT64, "u": INT64, "b": BOOL, "U": STRING, "O": STRING}


@dataclass(frozen=True)
class Value:
    """A tensor [rows, width] of the graph: its name and element type."""

    name: str
    type: int
    width: int


class Graph:
    """A graph under construction. Methods add nodes and return the new values."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.inputs: list[Value] = []
        self._count = 0
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self.widths: dict[str, int] = {}  # of what was put side by side
        # Value that is some columns of another -> (that other, which columns).
        self.views: dict[str, tuple[Value, tuple[int, ...]]] = {}

    def fresh(self, stem: str) -> str:
        """A name that no other value has."""
        self._count += 1
        return f"{stem}_{self._count}"

    def input(self, name: str, kind: int, width: int) -> Value:
        """Declare a graph input [rows, width]."""
        value = Value(name, kind, width)
        self.inputs.append(value)
        return value

    def node(
        self, op: str, inputs: Sequence[str], domain: str = "", outputs: int = 1, **attributes: Any
    ) -> list[str]:
        """Add a node; the names of its outputs. Attributes as onnx.helper.make_node takes them."""
        names = [self.fresh(op) for _ in range(outputs)]
        made = load("onnx").helper.make_node(op, list(inputs), names, domain=domain, **attributes)
        self.nodes.append(made)
        return names

    def constant(self, values: npt.ArrayLike, kind: int | None = None) -> str:
        """The name of a constant tensor; equal constants are stored once.

        Floating arrays become double unless ``kind`` is FLOAT, integers int64, text string.
        """
        array = np.asarray(values)
        kind = kind or _OF_KIND[array.dtype.kind]
        dtype: Any = {
            FLOAT: np.float32,
            DOUBLE: np.float64,
            INT64: np.int64,
            BOOL: np.bool_,
            STRING: object,
        }[kind]
        array = np.asarray(array, dtype)
        key = (str(kind), array.shape, repr(array.tolist()).encode("utf-8", "surrogatepass"))
        if kind != STRING:
            array = np.ascontiguousarray(array)
            key = (str(kind), array.shape, array.tobytes())
        if key not in self._constants:
            name = self.fresh("constant")
            self.initializers.append(load("onnx").numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def apply(self, op: str, *inputs: Value | str, width: int = 0, **attributes: Any) -> Value:
        """A node of the standard domain, of the type of its first value (bool for comparisons).

        ``inputs`` are values or names of constants; ``width`` is the first value's when not given.
        """
        values = [item for item in inputs if isinstance(item, Value)]
        names = [item.name if isinstance(item, Value) else item for item in inputs]
        kind = values[-1].type if op == "Where" else values[0].type
        if op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "IsNaN", "Not"):
            kind = BOOL
        elif op == "ArgMax":
            kind = INT64
        return Value(self.node(op, names, **attributes)[0], kind, width or values[0].width)

    def cast(self, value: Value, kind: int) -> Value:
        """``value`` as elements of type ``kind``."""
        if value.type == kind:
            return value
        return Value(self.node("Cast", [value.name], to=kind)[0], kind, value.width)

    def as_double(self, value: Value) -> Value:
        return self.cast(value, DOUBLE)

    def through_float32(self, value: Value) -> Value:
        """``value`` rounded to float32 and back: what a float32 model sees of it."""
        return self.as_double(self.cast(value, FLOAT))

    def columns(self, value: Value, positions: Sequence[int]) -> Value:
        """The columns at ``positions`` of ``value``, in that order."""
        if list(positions) == list(range(value.width)):
            return value
        if value.name in self.views:  # columns of columns: take them at the source
            value, places = self.views[value.name]
            positions = [places[position] for position in positions]
        picked = self.constant(np.asarray(positions, np.int64))
        name = self.node("Gather", [value.name, picked], axis=1)[0]
        self.views[name] = (value, tuple(positions))
        return Value(name, value.type, len(positions))

    def concat(self, values: Sequence[Value]) -> Value:
        """Values side by side; all of one type."""
        if len(values) == 1:
            return values[0]
        self.widths.update({value.name: value.width for value in values})
        sources = [self.views.get(value.name) for value in values]
        if all(source is not None and source[0] == sources[0][0] for source in sources):  # type: ignore[index]
            places = [place for source in sources if source for place in source[1]]
            assert sources[0] is not None
            return self.columns(sources[0][0], places)
        name = self.node("Concat", [value.name for value in values], axis=1)[0]
        return Value(name, values[0].type, sum(value.width for value in values))

    def matmul(self, value: Value, matrix: npt.ArrayLike) -> Value:
        """``value @ matrix`` in double; ``matrix`` is [width, columns]."""
        constant = np.asarray(matrix, np.float64)
        value = self.as_double(value)
        return self.apply("MatMul", value, self.constant(constant), width=constant.shape[1])

    def arithmetic(self, op: str, value: Value, operand: npt.ArrayLike) -> Value:
        """``value op operand`` in double (Add, Sub, Mul, Div, Pow); the operand is a constant."""
        return self.apply(op, self.as_double(value), self.constant(np.asarray(operand, np.float64)))

    def model(self, outputs: Sequence[tuple[str, Value]]) -> Any:
        """The finished ONNX model; ``outputs`` are renamed as given. Unused nodes are left out."""
        onnx = load("onnx")
        for name, value in outputs:
            self.nodes.append(onnx.helper.make_node("Identity", [value.name], [name]))
        nodes = _needed(self.nodes, {name for name, _ in outputs})
        used = {name for node in nodes for name in node.input}
        graph = onnx.helper.make_graph(
            nodes,
            "model",
            [_info(item) for item in self.inputs if item.name in used],
            [_info(Value(name, value.type, value.width)) for name, value in outputs],
            initializer=[item for item in self.initializers if item.name in used],
        )
        operators = {(node.domain, node.op_type) for node in nodes}
        opsets = {"": OPSET}
        if any(domain == ML for domain, _ in operators):
            opsets[ML] = 5 if (ML, "TreeEnsemble") in operators else 3
            if any(node.op_type == "LabelEncoder" and _tensors(node) for node in nodes):
                opsets[ML] = max(4, opsets[ML])
        if any(domain == MICROSOFT for domain, _ in operators):
            opsets[MICROSOFT] = 1
        made = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid(name, n) for name, n in opsets.items()],
            producer_name="jupyter_mlserve",
        )
        made.ir_version = IR_VERSION
        return made


def _tensors(node: Any) -> bool:
    return any(attribute.name == "keys_tensor" for attribute in node.attribute)


def _needed(nodes: Sequence[Any], wanted: set[str]) -> list[Any]:
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def _info(value: Value) -> Any:
    return load("onnx").helper.make_tensor_value_info(value.name, value.type, [None, value.width])
