"""Repair of graphs that skl2onnx wrote for double inputs.

Its converters mix float32 constants with double values, which no operator takes, and use
operators that have no double form. The repair casts: up to double wherever an operator wants one
type and gets both, down to float32 only in front of the operators that know nothing else, and in
front of trees, whose thresholds skl2onnx rounds down to float32 (right only for float32 input).
"""

from __future__ import annotations

from typing import Any

from .graph import DOUBLE, FLOAT, INT64, ML, STRING
from .libraries import load

_FLOAT_ONLY = frozenset(
    {
        "Imputer",
        "SVMRegressor",
        "SVMClassifier",
        "LinearClassifier",
        "LinearRegressor",
        "Scaler",
        "Normalizer",
        "TreeEnsembleClassifier",
        "TreeEnsembleRegressor",
    }
)
_FLOAT_OUT = _FLOAT_ONLY - {"Imputer"} | {"FeatureVectorizer", "OneHotEncoder"}


class _Retyping:
    def __init__(self, model: Any) -> None:
        self.onnx = load("onnx")
        self.model = model
        self.versions = {item.domain: item.version for item in model.opset_import}
        self.types: dict[str, int] = {}
        for item in model.graph.initializer:
            self.types[item.name] = item.data_type
        for item in model.graph.input:
            if item.type.HasField("tensor_type"):
                self.types[item.name] = item.type.tensor_type.elem_type
        self.nodes: list[Any] = []
        self.casts: dict[tuple[str, int], str] = {}

    def cast(self, name: str, kind: int) -> str:
        if self.types.get(name) == kind:
            return name
        if (name, kind) not in self.casts:
            made = f"{name}_as{kind}_{len(self.casts)}"
            self.nodes.append(self.onnx.helper.make_node("Cast", [name], [made], to=kind))
            self.types[made] = kind
            self.casts[name, kind] = made
        return self.casts[name, kind]

    def repair(self, node: Any) -> Any:
        if node.op_type == "FeatureVectorizer":
            node = self._concat(node)
        if node.op_type in _FLOAT_ONLY:
            for position, name in enumerate(node.input):
                if self.types.get(name) == DOUBLE:
                    node.input[position] = self.cast(name, FLOAT)
            return node
        schema = self._schema(node)
        if schema is None or not schema.inputs:
            return node
        groups: dict[str, list[int]] = {}
        for position in range(len(node.input)):
            formal = schema.inputs[min(position, len(schema.inputs) - 1)]
            groups.setdefault(formal.type_str, []).append(position)
        for constraint, positions in groups.items():
            if constraint.startswith(("tensor(", "seq(")):
                continue
            found = {self.types.get(node.input[i]) for i in positions if node.input[i]}
            if FLOAT in found and DOUBLE in found:
                for i in positions:
                    if self.types.get(node.input[i]) == FLOAT:
                        node.input[i] = self.cast(node.input[i], DOUBLE)
        return node

    def _concat(self, node: Any) -> Any:
        """FeatureVectorizer always gives float32; Concat loses nothing."""
        if not all(self.types.get(name) in (FLOAT, DOUBLE, INT64) for name in node.input):
            return node
        inputs = [self.cast(name, DOUBLE) for name in node.input]
        return self.onnx.helper.make_node("Concat", inputs, list(node.output), axis=1)

    def _schema(self, node: Any) -> Any:
        try:
            version = self.versions.get(node.domain, 1)
            return self.onnx.defs.get_schema(node.op_type, version, node.domain)
        except Exception:  # no schema of this operator: com.microsoft
            return None

    def infer(self, node: Any) -> None:
        """Learn the types of the node's outputs."""
        if node.domain == ML and node.op_type in _FLOAT_OUT:
            self.types.update({name: FLOAT for name in node.output})
            if node.op_type.endswith("Classifier"):
                texts = any(
                    attribute.name == "classlabels_strings" and attribute.strings
                    for attribute in node.attribute
                )
                self.types[node.output[0]] = STRING if texts else INT64
            return
        schema = self._schema(node)
        try:
            known = {
                name: self.onnx.helper.make_tensor_type_proto(self.types[name], None)
                for name in node.input
                if name
            }
            wanted = set(node.input)
            constants = {i.name: i for i in self.model.graph.initializer if i.name in wanted}
            found = self.onnx.shape_inference.infer_node_outputs(
                schema,
                node,
                known,
                constants,
                opset_imports=list(self.model.opset_import),
                ir_version=self.model.ir_version,
            )
        except Exception:  # the operator has no inference: it keeps the type of its input
            found = {}
            if node.domain and node.input:
                self.types.update({name: self.types.get(node.input[0], 0) for name in node.output})
        for name, kind in found.items():
            if kind.HasField("tensor_type"):
                self.types[name] = kind.tensor_type.elem_type


def retype(model: Any) -> Any:
    """A copy of ``model`` in which every operator gets the types it takes."""
    copy = load("onnx").ModelProto()
    copy.CopyFrom(model)
    work = _Retyping(copy)
    for node in list(copy.graph.node):
        made = work.repair(node)
        work.nodes.append(made)
        work.infer(made)
    del copy.graph.node[:]
    copy.graph.node.extend(work.nodes)
    del copy.graph.value_info[:]
    for item in copy.graph.output:
        if item.type.HasField("tensor_type") and work.types.get(item.name) in (FLOAT, DOUBLE):
            item.type.tensor_type.elem_type = work.types[item.name]
    return copy
