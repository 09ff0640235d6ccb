"""Which step of a wrong compiled model is wrong: the first whose own output differs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .build import Built
from .compiler import CannotCompile, Compiler, Prediction, key_of, quietly
from .compose import COMPOSITE
from .fallback import scaled_difference
from .feeding import feeds
from .frames import Frame
from .running import dense, run

_TOLERANCE = 1e-7


def step_at_fault(built: Built, row: Any, frame: Frame) -> str:
    """The label of the first step that gives another result for ``row`` than the model's own."""
    leaves = [step for step in built.steps if key_of(step.estimator) not in COMPOSITE]
    last = (leaves or built.steps)[-1].label
    compiler = built.compiler
    model = built.steps[-1].estimator
    again = Compiler(compiler.own, compiler.double)
    try:
        _walk(again, model, row, frame)
    except (CannotCompile, ValueError, TypeError):
        return last
    for step, fresh in zip(built.steps, again.steps, strict=False):
        if isinstance(step.result, Prediction):
            continue
        try:
            expected = dense(quietly(step.estimator.transform, fresh.data))
            outputs = [(f"out{i}", value) for i, value in enumerate(step.result)]
            made = compiler.graph.model(outputs)
            del compiler.graph.nodes[-len(outputs) :]
            found = run(made, feeds(built.inputs, row), [name for name, _ in outputs])
        except Exception:
            continue
        table = np.concatenate([dense(value).astype(object) for value in found], axis=1)
        if table.dtype == object and all(v.dtype.kind in "fiub" for v in found):
            table = table.astype(np.float64)
        if scaled_difference(table, expected) > _TOLERANCE:
            return step.label
    return last


def _walk(compiler: Compiler, model: Any, row: Any, frame: Frame) -> None:
    """Compile again with ``row`` as the sample, so that each step holds what reaches it."""
    from .build import _enter

    columns = _enter(compiler, frame)
    data = frame.model_input(row)
    if hasattr(model, "predict"):
        compiler.predict(model, columns, data)
    else:
        compiler.transform(model, columns, data)
