"""Types and shapes of every value of an uploaded model, found node by node.

``onnx.checker`` does the same for a whole graph, but goes on after a node that makes no sense; its
inference for trees then reads through a null pointer and takes the process along (found by
fuzzing). Here the first node that makes no sense ends it, so no node sees an input without a type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...contract.errors import InvalidDefinition
from .rules_network import Cost

MAX_DIMENSION = 1_000_000  # columns of any value
MAX_RANK = 4
_SMALL = 1024  # constants whose values inference may want: shapes, axes, splits
_EMITTED = frozenset({1, 2, 6, 7, 8, 9, 11, 12, 13})  # onnx.TensorProto.DataType


def infer(graph: Any, opsets: Mapping[str, int], ir_version: int) -> dict[str, Any]:
    """The TypeProto of every value. Raises InvalidDefinition at the first node that is wrong."""
    import onnx

    types: dict[str, Any] = {item.name: item.type for item in graph.input}
    small: dict[str, Any] = {}
    for tensor in graph.initializer:
        types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        if sum(tensor.dims) <= _SMALL:
            small[tensor.name] = tensor
    imports = [onnx.helper.make_opsetid(name, version) for name, version in opsets.items()]
    cost = Cost(types)
    for node in graph.node:
        if node.domain == "com.microsoft":
            found = {node.output[0]: _own(node, types[node.input[0]])}
        else:
            domain = "" if node.domain == "ai.onnx" else node.domain
            try:
                found = onnx.shape_inference.infer_node_outputs(
                    onnx.defs.get_schema(node.op_type, opsets[domain], domain),
                    node,
                    {name: types[name] for name in node.input},
                    {name: small[name] for name in node.input if name in small},
                    opset_imports=imports,
                    ir_version=ir_version,
                )
            except Exception as exc:  # inference errors come from C++, without a common class
                _fail(node, " ".join(str(exc).split())[:160])
        for name in node.output:
            if name:
                _check(node, found.get(name))
                types[name] = found[name]
        cost.add(node)
    return types


def _own(node: Any, source: Any) -> Any:
    """ONNX Runtime's own operators, of which ONNX knows nothing."""
    import onnx

    kind = source.tensor_type.elem_type
    if node.op_type == "Tokenizer":
        if kind != onnx.TensorProto.STRING:
            _fail(node, "it takes text")
        return onnx.helper.make_tensor_type_proto(kind, [None, None, None])
    if node.op_type == "CDist":
        if kind not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
            _fail(node, "it takes numbers")
        return onnx.helper.make_tensor_type_proto(kind, [None, None])
    positive = next((item.i for item in node.attribute if item.name == "positive"), 1)
    hashed = onnx.TensorProto.UINT32 if positive else onnx.TensorProto.INT32
    made = onnx.TypeProto()
    made.CopyFrom(source)
    made.tensor_type.elem_type = hashed
    return made


def _check(node: Any, kind: Any) -> None:
    if kind is None or kind.WhichOneof("value") != "tensor_type":
        _fail(node, "what it gives has no type")
    held = kind.tensor_type
    if held.elem_type not in _EMITTED:
        _fail(node, "what it gives is of a type that is not emitted")
    if not held.HasField("shape"):
        return
    if len(held.shape.dim) > MAX_RANK:
        _fail(node, "what it gives has too many dimensions")
    if any(dim.dim_value < 0 or dim.dim_value > MAX_DIMENSION for dim in held.shape.dim):
        _fail(node, "what it gives is too wide")


def agree(found: Any, declared: Any) -> bool:
    """Whether an inferred type can be the declared one: element type, and every known width."""
    a, b = found.tensor_type, declared.tensor_type
    if a.elem_type != b.elem_type:
        return False
    if not a.HasField("shape"):
        return True
    if len(a.shape.dim) != len(b.shape.dim):
        return False
    return all(
        not (x.HasField("dim_value") and y.HasField("dim_value")) or x.dim_value == y.dim_value
        for x, y in zip(a.shape.dim, b.shape.dim, strict=True)
    )


def _fail(node: Any, problem: str) -> None:
    raise InvalidDefinition(
        f"The compiled model is refused: a {node.op_type} does not fit what it gets ({problem}). "
        "Make it with serialize_model(model, sample).",
        field="model",
    )
