"""What the operators of image networks may say, and what running a network may cost.

A window (kernel, strides, pads) decides how much memory and time a node takes, so each has bounds.
What a row costs is added up over all nodes from the inferred shapes: numbers held, and
multiplications done. The bounds admit the usual networks for images of 224 to 299 pixels (ResNet-50
has 4 billion multiplications, and 25 million numbers) and nothing much beyond.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...contract.errors import InvalidDefinition

if TYPE_CHECKING:
    from .rules import Around

MAX_KERNEL = 64  # also of strides, dilations and pads
MAX_VALUE = 16_000_000  # numbers that one value has for one row
MAX_HELD = 100_000_000  # numbers that all values have for one row
MAX_WORK = 10_000_000_000  # multiplications for one row

_WINDOWS = ("Conv", "MaxPool", "AveragePool")
_IMAGES = (*_WINDOWS, "BatchNormalization", "GlobalAveragePool", "GlobalMaxPool", "LRN")
_SAME_NUMBERS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Cast")


def _fail(node: Any, problem: str) -> None:
    raise InvalidDefinition(
        f"The compiled model is refused: a {node.op_type} {problem}. Make it with "
        "serialize_model(model, sample).",
        field="model",
    )


def _window(node: Any, around: Around) -> None:
    """Kernel, strides, dilations and pads all said, of two dimensions, within bounds."""
    held = {attribute.name: attribute for attribute in node.attribute}
    lists = {}
    for name, length in (("kernel_shape", 2), ("strides", 2), ("dilations", 2), ("pads", 4)):
        values = list(held[name].ints) if name in held else []
        least = 0 if name == "pads" else 1
        if len(values) != length or not all(least <= value <= MAX_KERNEL for value in values):
            _fail(node, f"has {name} that are missing or out of bounds")
        lists[name] = values
    reach = [(k - 1) * d for k, d in zip(lists["kernel_shape"], lists["dilations"], strict=True)]
    pads = lists["pads"]
    if any(pads[side] > reach[side % 2] for side in range(4)):
        _fail(node, "has pads as wide as its kernel")
    for name in ("ceil_mode", "count_include_pad"):
        if name in held and held[name].i not in (0, 1):
            _fail(node, f"has an impossible {name}")
    _single(node, around)
    if node.op_type == "Conv":
        _convolution(node, around, lists["kernel_shape"], held["group"].i if "group" in held else 1)


def _convolution(node: Any, around: Around, kernel: list[int], group: int) -> None:
    weights = around.constants.get(node.input[1])
    if weights is None or len(weights.dims) != 4 or list(weights.dims[2:]) != kernel:
        _fail(node, "has weights that are not constants of its kernel's shape")
        return
    if not 1 <= group <= weights.dims[0] or weights.dims[0] % group or weights.dims[1] < 1:
        _fail(node, "has groups that do not fit its weights")
    if len(node.input) > 2:
        bias = around.constants.get(node.input[2])
        if bias is None or list(bias.dims) != [weights.dims[0]]:
            _fail(node, "has a bias that does not fit its weights")


def _normalisation(node: Any, around: Around) -> None:
    dims = [list(around.constants[n].dims) for n in node.input[1:] if n in around.constants]
    if len(dims) != 4 or len(dims[0]) != 1 or any(found != dims[0] for found in dims):
        _fail(node, "has numbers that are not constants, one for each channel")
    _single(node, around)


def _response(node: Any, around: Around) -> None:
    size = next((attribute.i for attribute in node.attribute if attribute.name == "size"), 0)
    if not 1 <= size <= MAX_KERNEL or size % 2 == 0:
        _fail(node, "has an impossible size")


def _padding(node: Any, around: Around) -> None:
    from onnx import numpy_helper

    mode = next((item.s for item in node.attribute if item.name == "mode"), b"constant")
    if mode not in (b"constant", b"reflect", b"edge"):
        _fail(node, "pads in a way that is not emitted")
    pads = around.constants.get(node.input[1]) if len(node.input) in (2, 3) else None
    if pads is None or len(pads.dims) != 1 or pads.dims[0] not in (2, 4, 6, 8):
        _fail(node, "has pads that are not constant")
        return
    values = numpy_helper.to_array(pads).tolist()
    half = len(values) // 2
    if not all(0 <= value <= MAX_KERNEL for value in values) or values[0] or values[half]:
        _fail(node, "has pads out of bounds")
    if len(node.input) == 3 and node.input[2] not in around.constants:
        _fail(node, "pads with what is not constant")


def _single(node: Any, around: Around) -> None:
    if len(node.output) != 1:
        _fail(node, "has more than one output")


RULES: dict[str, Callable[[Any, Around], None]] = {
    "Conv": _window,
    "MaxPool": _window,
    "AveragePool": _window,
    "BatchNormalization": _normalisation,
    "LRN": _response,
    "Pad": _padding,
}


class Cost:
    """What one row costs, added up node by node.

    The size of a dimension that follows the rows is not known when a model is checked; how many
    numbers of one row hide in such dimensions is carried along with each value.
    """

    def __init__(self, types: Mapping[str, Any]) -> None:
        self.types = types  # the TypeProto of every value so far
        self.hidden: dict[str, float] = {}
        self.held = self.work = 0.0

    def add(self, node: Any) -> None:
        """Count ``node``, whose inputs and outputs have their types. Raises InvalidDefinition."""
        if node.op_type in _IMAGES:
            for name in (node.input[0], node.output[0]):
                if len(self._dims(name)) != 4 or not all(self._dims(name)[1:]):
                    _fail(node, "reads or gives images of a size that is not known")
        hidden = max((self.hidden.get(name, 1.0) for name in node.input), default=1.0)
        if node.op_type == "Concat":  # it may be along the rows
            hidden *= len(node.input)
        for name in node.output:
            known = self._known(name)
            if node.op_type in _SAME_NUMBERS and known:
                hidden = max(1.0, self._numbers(node.input[0]) / known)
            self.hidden[name] = hidden
            self.held += self._numbers(name)
            if self._numbers(name) > MAX_VALUE:
                _fail(node, f"gives more than {MAX_VALUE:,} numbers for a row")
        self.work += self._numbers(node.output[0]) * self._each(node)
        if self.held > MAX_HELD:
            _fail(node, f"is one too many: more than {MAX_HELD:,} numbers for a row")
        if self.work > MAX_WORK:
            _fail(node, f"is one too many: more than {MAX_WORK:,} multiplications for a row")

    def _each(self, node: Any) -> float:
        """Multiplications for each number that ``node`` gives."""
        if node.op_type == "Conv":
            return float(math.prod(self._dims(node.input[1])[1:]))
        if node.op_type in ("MaxPool", "AveragePool"):
            return float(
                math.prod(next(a.ints for a in node.attribute if a.name == "kernel_shape"))
            )
        if node.op_type in ("Gemm", "MatMul"):
            # Of either side, whichever way it lies.
            return float(max([1, *self._dims(node.input[0])[1:], *self._dims(node.input[1])[:-1]]))
        if node.op_type == "LRN":
            return float(next(a.i for a in node.attribute if a.name == "size"))
        return 1.0

    def _numbers(self, name: str) -> float:
        return self.hidden.get(name, 1.0) * self._known(name)

    def _known(self, name: str) -> int:
        return math.prod(dim or 1 for dim in self._dims(name))

    def _dims(self, name: str) -> list[int]:
        """The dimensions of a value; 0 for one that is not known."""
        shape = self.types[name].tensor_type.shape.dim
        return [dim.dim_value if dim.HasField("dim_value") else 0 for dim in shape]
