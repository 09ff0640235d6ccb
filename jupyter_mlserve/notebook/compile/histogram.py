"""HistGradientBoosting: thresholds and sums in double, categories as sets of codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import Columns, Compiler, Prediction, predictor
from .ensemble import LESS, LESS_OR_EQUAL, MEMBER, Ensemble
from .graph import INT64, Value


def _codes(bits: Any) -> set[int]:
    return {code for code in range(256) if int(bits[code // 32]) >> (code % 32) & 1}


def _raw(c: Compiler, model: Any, columns: Columns, data: Any) -> Value:
    """The raw predictions [rows, trees per iteration]."""
    if model._preprocessor is not None:
        # Puts the categorical columns first and numbers their categories.
        columns = c.transform(model._preprocessor, columns, data, "categories")
    bits, places = model._bin_mapper.make_known_categories_bitsets()
    known = {
        int(feature): _codes(bits[places[feature]])
        for feature in np.flatnonzero(model._bin_mapper.is_categorical_)
    }
    ensemble = Ensemble()
    for iteration in model._predictors:
        for target, tree in enumerate(iteration):
            ensemble.add(target, 0, _reader(tree, known))
    width = len(model._predictors[0])
    total = ensemble.write(c.graph, c.matrix(columns), width)
    start = np.asarray(model._baseline_prediction, np.float64).reshape(1, width)
    return c.graph.arithmetic("Add", total, start)


def _reader(tree: Any, known: dict[int, set[int]]) -> Any:
    nodes = tree.nodes

    def read(position: int) -> Any:
        node = nodes[position]
        if node["is_leaf"]:
            return float(node["value"]), None
        feature, missing = int(node["feature_idx"]), bool(node["missing_go_to_left"])
        left, right = int(node["left"]), int(node["right"])
        if not node["is_categorical"]:
            threshold = float(node["num_threshold"])
            return None, (feature, threshold, LESS_OR_EQUAL, missing, left, right)
        chosen = _codes(tree.raw_left_cat_bitsets[node["bitset_idx"]])
        if missing:
            # Unknown categories go where missing values go. Membership is asked of the other
            # side, so that "in no set" and NaN both end on the side of the missing.
            chosen, left, right = known[feature] - chosen, right, left
        if not chosen:
            return None, (feature, float("-inf"), LESS, False, left, right)
        return None, (feature, sorted(chosen), MEMBER, False, left, right)

    return read


@predictor("sklearn", "HistGradientBoostingRegressor")
def regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    raw = _raw(c, model, columns, data)
    if model.loss in ("poisson", "gamma"):
        raw = c.graph.apply("Exp", raw)
    return Prediction(value=raw)


@predictor("sklearn", "HistGradientBoostingClassifier")
def classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    raw = _raw(c, model, columns, data)
    if raw.width == 1:
        probabilities = c.both(c.graph.apply("Sigmoid", raw))
    else:
        probabilities = c.graph.apply("Softmax", raw, axis=1)
    label = c.argmax(probabilities)
    return Prediction(label=Value(label.name, INT64, 1), probabilities=probabilities, scores=raw)
