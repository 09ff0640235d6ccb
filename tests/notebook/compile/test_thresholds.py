"""The rows at the thresholds of trees: one unit in the last place around them, on both sides."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

from jupyter_mlserve.contract.realtime import unpack
from jupyter_mlserve.notebook.compile import NotCompilable, probes, serialize, serialize_model
from jupyter_mlserve.notebook.compile.graph import Graph
from jupyter_mlserve.notebook.compile.thresholds import neighbours


@pytest.mark.parametrize("value", [0.1, 0.5, -7.25, 1.6e9 + 0.5, 1 / 3, 1e-40])
def test_neighbours_in_double_and_in_float32(value: float) -> None:
    found = neighbours(value)
    single = np.float32(value)
    assert {value, math.nextafter(value, math.inf), math.nextafter(value, -math.inf)} <= set(found)
    for side in (np.float32(np.inf), np.float32(-np.inf)):
        far = np.nextafter(single, side)
        assert {float(single), float(far)} <= set(found)
        # The last double that float32 rounds this way, or the first that it rounds the other way.
        assert (float(single) + float(far)) / 2 in found


@pytest.mark.parametrize("value", [float(np.finfo(np.float32).max), 1e300])
def test_no_infinity_is_a_neighbour(value: float) -> None:
    found = neighbours(value)
    assert value in found
    assert all(map(math.isfinite, found))


# What the compiled trees are made to do wrong. "later" and "earlier": a threshold that is one unit
# in the last place too large or too small, in double or in float32.
ERRORS: dict[str, Callable[[float], float]] = {
    "later": lambda split: math.nextafter(split, math.inf),
    "earlier": lambda split: math.nextafter(split, -math.inf),
    "later in float32": lambda split: float(np.nextafter(np.float32(split), np.float32(np.inf))),
    "earlier in float32": lambda split: float(np.nextafter(np.float32(split), np.float32(-np.inf))),
}


def spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    """Let ``change`` have each node of trees; of the rows, only the sample's and these are left."""
    right = Graph.model

    def wrong(self: Graph, outputs: Any) -> Any:
        made = right(self, outputs)
        for node in made.graph.node:
            if node.op_type == "TreeEnsemble":
                change({attribute.name: attribute for attribute in node.attribute})
        return made

    monkeypatch.setattr(probes, "_try_numbers", lambda *_: None)
    monkeypatch.setattr(serialize, "CANDIDATES", serialize.CANDIDATES[:1])
    monkeypatch.setattr(Graph, "model", wrong)


def moved(error: Callable[[float], float]) -> Callable[[Any], None]:
    def change(held: Any) -> None:
        splits = numpy_helper.to_array(held["nodes_splits"].t)
        wrong = np.array([error(float(split)) for split in splits], splits.dtype)
        assert (wrong != splits).all()
        held["nodes_splits"].t.CopyFrom(numpy_helper.from_array(wrong))

    return change


def strict(held: Any) -> None:
    """``<=`` becomes ``<``."""
    modes = numpy_helper.to_array(held["nodes_modes"].t)
    assert (modes == 0).all()
    held["nodes_modes"].t.CopyFrom(numpy_helper.from_array(np.ones_like(modes)))


X = np.arange(80).reshape(-1, 1) / 10
MODELS = {
    # Of a forest the thresholds lie between float32 numbers, here and there on one.
    "forest": DecisionTreeRegressor(max_depth=4, random_state=0),
    "histogram": HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=5),
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_right_model_passes_with_rows_at_its_thresholds(kind: str) -> None:
    model = MODELS[kind].fit(X, np.sin(X[:, 0]))
    proof = unpack(serialize_model(model, X)).header["proof"]
    assert proof["probes"]["threshold"] >= 8 * 5
    assert proof["largest_difference"] < 1e-7


@pytest.mark.parametrize("error", [*ERRORS, "strict"])
def test_double_thresholds_that_are_one_unit_off_are_caught(
    error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Histograms compare doubles: every such error is one."""
    model = MODELS["histogram"].fit(X, np.sin(X[:, 0]))
    spoil(monkeypatch, strict if error == "strict" else moved(ERRORS[error]))
    with pytest.raises(NotCompilable) as caught:
        serialize_model(model, X)
    assert caught.value.details["kind"] == "threshold"
    assert "threshold row x0=" in caught.value.message


@pytest.mark.parametrize("error", ["later in float32", "earlier in float32"])
def test_float32_thresholds_that_are_one_unit_off_are_caught(
    error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trees of scikit-learn compare float32 numbers with doubles."""
    model = MODELS["forest"].fit(X, np.sin(X[:, 0]))
    spoil(monkeypatch, moved(ERRORS[error]))
    with pytest.raises(NotCompilable) as caught:
        serialize_model(model, X)
    assert caught.value.details["kind"] == "threshold"
