"""A network of any age in our operator set, with what can be computed beforehand computed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from .graph import IR_VERSION, OPSET
from .libraries import load


class BadNetwork(ValueError):
    """The network cannot be used; the text says why and what to do."""


def in_our_opset(model: Any) -> Any:
    """``model`` in the operator set that compiled models are written in."""
    onnx = load("onnx")
    version = next((item.version for item in model.opset_import if item.domain == ""), 0)
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise BadNetwork(f"it uses {node.domain}.{node.op_type}, which is no standard operator")
    if version < OPSET and not _same_meaning(model, version):
        try:
            model = onnx.version_converter.convert_version(model, OPSET)
        except Exception as exc:
            raise BadNetwork(
                f"its operator set {version} cannot be brought to {OPSET} ({short(exc)}); "
                f"export it again with opset {OPSET}"
            ) from None
    # A newer one only adds element types to these operators; the comparison would tell.
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    model.ir_version = IR_VERSION
    return model


def _same_meaning(model: Any, version: int) -> bool:
    """Whether all its operators are those of our operator set already."""
    get = load("onnx").defs.get_schema
    for operator in {node.op_type for node in model.graph.node}:
        try:
            if get(operator, version).since_version != get(operator, OPSET).since_version:
                return False
        except Exception:  # unknown to one of them
            return False
    return True


def simpler(model: Any) -> Any:
    """Constants computed, batch normalisation put into convolutions, dropout gone."""
    runtime, onnx = load("onnxruntime"), load("onnx")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        try:
            runtime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            made = onnx.load(str(path))
        except Exception as exc:
            raise BadNetwork(f"ONNX Runtime refuses it ({short(exc)})") from None
    if any(node.domain not in ("", "ai.onnx") for node in made.graph.node):
        return model
    del made.opset_import[:]
    made.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    made.ir_version = IR_VERSION
    return made


def short(exc: Exception) -> str:
    """What an error of a library says, in one line."""
    return " ".join(str(exc).split())[:200]
