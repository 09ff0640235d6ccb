"""Running compiled models in the kernel, as the server will: one thread, bytes in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .libraries import load


def session(model: bytes) -> Any:
    """An ONNX Runtime session of ``model`` as the compute node opens it."""
    runtime = load("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(
    model: Any, feeds: Mapping[str, npt.NDArray[Any]], outputs: list[str] | None = None
) -> list[Any]:
    """The outputs of ``model`` (a ModelProto, bytes or a session) for ``feeds``."""
    if hasattr(model, "SerializeToString"):
        model = model.SerializeToString()
    if isinstance(model, bytes):
        model = session(model)
    options = load("onnxruntime").RunOptions()
    options.log_severity_level = 4
    wanted = {item.name for item in model.get_inputs()}
    found = model.run(outputs, {k: v for k, v in feeds.items() if k in wanted}, options)
    return list(found)


def dense(data: Any) -> npt.NDArray[Any]:
    """Whatever a transformer gave (frame, array, sparse matrix) as an array [rows, columns]."""
    if hasattr(data, "toarray"):
        data = data.toarray()
    array = np.asarray(data)
    return array.reshape(-1, 1) if array.ndim == 1 else array
