"""The gate catches wrong models: each test breaks the compiler on purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from jupyter_mlserve.contract.realtime import unpack
from jupyter_mlserve.notebook.compile import (
    NotCompilable,
    compiler,
    encoders,
    fallback,
    serialize,
    serialize_model,
    text,
)
from jupyter_mlserve.notebook.compile.graph import DOUBLE, FLOAT, Graph, Value
from jupyter_mlserve.notebook.compile.running import run


@pytest.fixture
def only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """One candidate, so that nothing rescues what the test breaks."""
    monkeypatch.setattr(serialize, "CANDIDATES", serialize.CANDIDATES[:1])


def break_step(monkeypatch: pytest.MonkeyPatch, name: str, error: float) -> None:
    """Make the scaler called ``name`` off by ``error``."""
    right = compiler._TRANSFORMERS["sklearn", name]

    def wrong(c: Any, model: Any, columns: Any, data: Any) -> Any:
        (made,) = right(c, model, columns, data)
        return (c.graph.arithmetic("Add", made, error),)

    monkeypatch.setitem(compiler._TRANSFORMERS, ("sklearn", name), wrong)


def test_the_refusal_names_step_difference_row_and_way_out(
    numbers: Any, value: Any, monkeypatch: pytest.MonkeyPatch, only_ours: None
) -> None:
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(numbers, value)
    break_step(monkeypatch, "StandardScaler", 0.01)
    with pytest.raises(NotCompilable) as caught:
        serialize_model(model, numbers)
    details = caught.value.details
    assert details["step"] == "Pipeline > standardscaler (StandardScaler)"
    assert 1e-4 < details["difference"] < 1
    assert set(details["row"]) == {"x0", "x1", "x2", "x3"}
    assert "standardscaler (StandardScaler)" in caught.value.message
    assert "Largest difference" in caught.value.message
    assert "%%publish_service" in caught.value.message


@pytest.mark.parametrize(("error", "passes"), [(2e-7, True), (1e-4, False)])
def test_the_tolerance(
    error: float,
    passes: bool,
    numbers: Any,
    value: Any,
    monkeypatch: pytest.MonkeyPatch,
    only_ours: None,
) -> None:
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(numbers, value)
    break_step(monkeypatch, "StandardScaler", error)
    if passes:
        proof = unpack(serialize_model(model, numbers)).header["proof"]
        assert 0 < proof["largest_difference"] < 1e-5
    else:
        with pytest.raises(NotCompilable):
            serialize_model(model, numbers)


def test_another_candidate_rescues_what_one_gets_wrong(
    numbers: Any, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(numbers, value)
    break_step(monkeypatch, "StandardScaler", 0.01)
    proof = unpack(serialize_model(model, numbers)).header["proof"]
    assert proof["candidate"] == "skl2onnx double"
    assert proof["largest_difference"] < 1e-9


def test_trees_that_see_doubles_are_caught_at_their_thresholds(
    monkeypatch: pytest.MonkeyPatch, only_ours: None
) -> None:
    """Whole numbers in the sample hide it; only the probes between them show it."""
    x = np.arange(60.0).reshape(-1, 1) + 2.0**24
    x = x.repeat(2, axis=1)
    y = np.sin(np.arange(60.0))
    model = RandomForestRegressor(5, random_state=0).fit(x, y)
    serialize_model(model, x)
    monkeypatch.setattr(Graph, "through_float32", Graph.as_double)
    with pytest.raises(NotCompilable) as caught:
        serialize_model(model, x)
    assert caught.value.details["kind"] in ("threshold", "number", "sample")


def test_trees_that_see_float32_are_caught_at_their_thresholds(
    monkeypatch: pytest.MonkeyPatch, only_ours: None
) -> None:
    x = np.round(np.linspace(0, 1, 120), 2).reshape(-1, 1)
    model = HistGradientBoostingRegressor(max_iter=5).fit(x, x[:, 0] ** 2)
    made = compiler.Compiler.matrix

    def narrow(self: Any, columns: Any) -> Value:
        value = made(self, columns)
        return self.graph.cast(self.graph.cast(value, FLOAT), DOUBLE)

    serialize_model(model, x)
    monkeypatch.setattr(compiler.Compiler, "matrix", narrow)
    with pytest.raises(NotCompilable) as caught:
        serialize_model(model, x)
    assert caught.value.details["kind"] == "threshold"


def test_an_encoder_that_mistakes_unseen_categories_is_caught(
    table: Any, label: Any, monkeypatch: pytest.MonkeyPatch, only_ours: None
) -> None:
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    model.fit(table[["city"]], label)
    monkeypatch.setattr(encoders, "NO_CODE", 0)
    with pytest.raises(NotCompilable) as caught:
        serialize_model(model, table[["city"]])
    assert caught.value.details["kind"] == "text"


def test_text_steps_that_differ_are_caught(
    monkeypatch: pytest.MonkeyPatch, only_ours: None
) -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    texts = pd.Series(["plain ascii words", "more plain words", "ascii only here"] * 5)
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [0, 1, 1] * 5)
    serialize_model(model, texts)
    right = text.split_steps
    monkeypatch.setattr(text, "split_steps", lambda c, m: right(c, m)[1:])  # without "lower"
    with pytest.raises(NotCompilable) as caught:
        serialize_model(model, texts)
    assert caught.value.details["kind"] == "text"


def test_nulls_that_are_scored_wrongly_are_not_allowed(
    numbers: Any, value: Any, monkeypatch: pytest.MonkeyPatch, only_ours: None
) -> None:
    """The sample has none, so the model is published, but for rows without nulls only."""
    from jupyter_mlserve.notebook.compile.ensemble import Ensemble

    model = HistGradientBoostingRegressor(max_iter=8).fit(numbers, value)
    assert unpack(serialize_model(model, numbers)).header["columns"][0]["nullable"]
    right = Ensemble.branch

    def other_side(self: Any, feature: int, split: float, mode: int, missing: bool) -> int:
        return right(self, feature, split, mode, not missing)

    monkeypatch.setattr(Ensemble, "branch", other_side)
    columns = unpack(serialize_model(model, numbers)).header["columns"]
    assert not columns[0]["nullable"]


def test_a_function_of_the_author_is_refused_with_the_ways_out(numbers: Any, value: Any) -> None:
    from sklearn.preprocessing import FunctionTransformer

    model = make_pipeline(FunctionTransformer(lambda x: x * 2), LinearRegression())
    with pytest.raises(NotCompilable, match=r"Python code.*before fit") as caught:
        serialize_model(model.fit(numbers, value), numbers)
    assert caught.value.details["step"] == "Pipeline > functiontransformer (FunctionTransformer)"


def test_skl2onnx_writes_no_booleans(
    numbers: Any, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protobuf 7 refuses them where integers belong; before, nobody noticed."""
    from skl2onnx.common import _container

    plain, seen = _container.make_node, []

    def strict(*arguments: Any, **attributes: Any) -> Any:
        for given in attributes.values():
            items = given if isinstance(given, list | tuple) else [given]
            assert not any(isinstance(item, bool | np.bool_) for item in items)
        seen.append(arguments[0])
        return plain(*arguments, **attributes)

    monkeypatch.setattr(_container, "make_node", strict)
    model = HistGradientBoostingRegressor(max_iter=3).fit(numbers, value)
    opsets = {"": 22, "ai.onnx.ml": 3}
    made = fallback._to_onnx(model, numbers.shape[1], FLOAT, opsets)
    assert "TreeEnsembleRegressor" in seen
    (found,) = run(made, {"X": numbers.astype(np.float32)})
    np.testing.assert_allclose(found[:, 0], model.predict(numbers), rtol=1e-5)
    assert _container.make_node is strict  # as it was
