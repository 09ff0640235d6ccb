"""Compiled models in tests: compile, score through the schema, compare with the model itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from jupyter_mlserve.contract.realtime import Container, unpack
from jupyter_mlserve.notebook.compile import serialize_model
from jupyter_mlserve.notebook.compile.feeding import feeds
from jupyter_mlserve.notebook.compile.running import run


def score(container: Container, rows: Any) -> dict[str, list[Any]]:
    """The answer frame for ``rows`` (predictors only), column by column, as the schema says."""
    header = container.header
    names = [tensor["name"] for tensor in header["tensors"]]
    found = dict(
        zip(names, run(container.model, feeds(header["inputs"], rows), names), strict=True)
    )
    answer = {}
    for output in header["outputs"]:
        values = found[output["tensor"]][:, output["index"]].tolist()
        labels = output.get("labels")
        answer[output["name"]] = [labels[v] for v in values] if labels else values
    return answer


def proved(model: Any, sample: Any, fresh: Any, response: str | None = None) -> Container:
    """Compile on ``sample``; assert that rows it never saw are scored as by the model."""
    container = unpack(serialize_model(model, sample, response))
    answer = score(container, fresh if hasattr(fresh, "columns") else _frame(container, fresh))
    kind = container.header["kind"]
    if kind == "regression":
        expected = np.asarray(model.predict(fresh), float).reshape(len(answer_of(answer)), -1)
        for position, values in enumerate(answer.values()):
            np.testing.assert_allclose(values, expected[:, position], rtol=1e-5, atol=1e-6)
    elif kind == "transform":
        expected = model.transform(fresh)
        expected = expected.toarray() if hasattr(expected, "toarray") else np.asarray(expected)
        found = np.array(list(answer.values()), float).T
        np.testing.assert_allclose(found, expected.astype(float), rtol=1e-6, atol=1e-9)
    else:
        _compare_labels(model, fresh, answer)
    return container


def _compare_labels(model: Any, fresh: Any, answer: dict[str, list[Any]]) -> None:
    labels = np.asarray(model.predict(fresh))
    names = [name for name in answer if name.startswith("PredictedLabel")]
    for position, name in enumerate(names):
        wanted = labels if labels.ndim == 1 else labels[:, position]
        assert answer[name] == wanted.tolist()
    if "Probability" in answer:
        shares = model.predict_proba(fresh)[:, 1]
        np.testing.assert_allclose(answer["Probability"], shares, atol=1e-6)
    elif "Score" in answer:
        np.testing.assert_allclose(answer["Score"], model.decision_function(fresh), rtol=1e-5)
    elif len(names) == 1 and len(answer) > 1 and hasattr(model, "predict_proba"):
        scores = [values for name, values in answer.items() if name.startswith("Score.")]
        np.testing.assert_allclose(np.array(scores).T, model.predict_proba(fresh), atol=1e-6)


def answer_of(answer: dict[str, list[Any]]) -> list[Any]:
    """Any column of the answer: for the number of rows."""
    return next(iter(answer.values()))


def _frame(container: Container, rows: Any) -> Any:
    import pandas as pd

    if hasattr(rows, "to_frame"):
        return rows.to_frame()
    names = [column["name"] for column in container.header["columns"]]
    return pd.DataFrame(np.asarray(rows), columns=names)
