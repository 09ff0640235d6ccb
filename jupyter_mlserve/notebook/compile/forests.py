"""scikit-learn's own trees and what is built of them: forests, gradient boosting, isolation.

They cast their input to float32 and compare it with double thresholds; sums are double.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import Columns, Compiler, Prediction, predictor, transformer
from .ensemble import LESS_OR_EQUAL, Ensemble
from .graph import Value


def add_tree(ensemble: Ensemble, tree: Any, target: int, values: Any, features: Any = None) -> None:
    """Add a fitted ``sklearn.tree._tree.Tree`` whose leaf (and node) values are ``values``."""
    left, right = tree.children_left.tolist(), tree.children_right.tolist()
    split, feature = tree.threshold.tolist(), tree.feature.tolist()
    missing = getattr(tree, "missing_go_to_left", None)
    goes_left = [False] * len(left) if missing is None else np.asarray(missing, bool).tolist()
    numbers = np.asarray(values, np.float64).tolist()

    def read(node: int) -> Any:
        if left[node] < 0:
            return numbers[node], None
        column = feature[node] if features is None else int(features[feature[node]])
        branch = (column, split[node], LESS_OR_EQUAL, goes_left[node], left[node], right[node])
        return None, branch

    ensemble.add(target, 0, read)


def _sum_of_trees(c: Compiler, trees: list[Any], columns: Columns, outputs: int) -> list[Value]:
    """For each output, the sum over ``trees`` of node values: [rows, classes or 1]."""
    x = c.graph.through_float32(c.matrix(columns))
    sums = []
    for output in range(outputs):
        ensemble = Ensemble()
        classes = int(np.atleast_1d(trees[0].tree_.n_classes)[output])
        for tree in trees:
            values = np.asarray(tree.tree_.value, np.float64)[:, output, :classes]
            if classes > 1:
                # Nodes hold fractions (sklearn 1.3 and later) or weights; predict_proba divides.
                values = values / values.sum(axis=1, keepdims=True)
            for target in range(classes):
                add_tree(ensemble, tree.tree_, target, values[:, target])
        sums.append(ensemble.write(c.graph, x, classes))
    return sums


def _classifier(c: Compiler, model: Any, trees: list[Any], columns: Columns) -> Prediction:
    outputs = int(model.n_outputs_)
    sums = _sum_of_trees(c, trees, columns, outputs)
    if len(trees) > 1:
        # Summed first and divided then, as predict_proba does: ties stay ties.
        sums = [c.graph.arithmetic("Div", total, len(trees)) for total in sums]
    label = c.graph.concat([c.argmax(total) for total in sums])
    return Prediction(label=label, probabilities=sums[0] if outputs == 1 else None)


def _regressor(c: Compiler, model: Any, trees: list[Any], columns: Columns) -> Prediction:
    value = c.graph.concat(_sum_of_trees(c, trees, columns, int(model.n_outputs_)))
    if len(trees) > 1:
        value = c.graph.arithmetic("Div", value, len(trees))
    return Prediction(value=value)


@predictor("sklearn", "DecisionTreeClassifier", "ExtraTreeClassifier")
def tree_classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    return _classifier(c, model, [model], columns)


@predictor("sklearn", "DecisionTreeRegressor", "ExtraTreeRegressor")
def tree_regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    return _regressor(c, model, [model], columns)


@predictor("sklearn", "RandomForestClassifier", "ExtraTreesClassifier")
def forest_classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    return _classifier(c, model, list(model.estimators_), columns)


@predictor("sklearn", "RandomForestRegressor", "ExtraTreesRegressor")
def forest_regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    return _regressor(c, model, list(model.estimators_), columns)


def _boosted(c: Compiler, model: Any, columns: Columns) -> Value:
    x = c.graph.through_float32(c.matrix(columns))
    ensemble = Ensemble()
    stages = model.estimators_
    for stage in stages:
        for target, tree in enumerate(stage):
            values = tree.tree_.value[:, 0, 0] * model.learning_rate
            add_tree(ensemble, tree.tree_, target, values)
    width = stages.shape[1]
    total = ensemble.write(c.graph, x, width)
    # The start value is a constant, or a model of the author's (init=...).
    if model.init_ == "zero":
        return total
    if type(model.init_).__name__ not in ("DummyClassifier", "DummyRegressor"):
        raise c.refuse("it starts from another model (init=); use init='zero' or leave it out")
    start = model._raw_predict_init(np.zeros((1, int(model.n_features_in_)), np.float32))
    return c.graph.arithmetic("Add", total, np.asarray(start, np.float64).reshape(1, width))


@predictor("sklearn", "GradientBoostingRegressor")
def gradient_boosting_regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    return Prediction(value=_boosted(c, model, columns))


@predictor("sklearn", "GradientBoostingClassifier")
def gradient_boosting_classifier(
    c: Compiler, model: Any, columns: Columns, data: Any
) -> Prediction:
    raw = _boosted(c, model, columns)
    if raw.width == 1:
        scaled = c.graph.arithmetic("Mul", raw, 2.0) if model.loss == "exponential" else raw
        probabilities = c.both(c.graph.apply("Sigmoid", scaled))
        above = c.graph.apply("GreaterOrEqual", raw, c.graph.constant([[0.0]]))
        label = c.graph.cast(above, 7)
    else:
        probabilities = c.graph.apply("Softmax", raw, axis=1)
        label = c.argmax(raw)
    return Prediction(label=label, probabilities=probabilities, scores=raw)


@predictor("sklearn", "IsolationForest")
def isolation_forest(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    x = c.graph.through_float32(c.matrix(columns))
    ensemble = Ensemble()
    for tree, features, depths, extra in zip(
        model.estimators_,
        model.estimators_features_,
        model._decision_path_lengths,
        model._average_path_length_per_tree,
        strict=True,
    ):
        values = np.asarray(depths, np.float64) + np.asarray(extra, np.float64) - 1.0
        add_tree(ensemble, tree.tree_, 0, values, features)
    depth = ensemble.write(c.graph, x, 1)
    from sklearn.ensemble._iforest import _average_path_length

    whole = len(model.estimators_) * float(_average_path_length([model._max_samples])[0])
    exponent = c.graph.arithmetic("Div", c.graph.apply("Neg", depth), whole)
    score = c.graph.apply("Pow", c.graph.constant([[2.0]]), exponent)
    scores = c.graph.arithmetic("Sub", c.graph.apply("Neg", score), float(model.offset_))
    return Prediction(label=inlier(c, scores), scores=scores)


@transformer("sklearn", "RandomTreesEmbedding")
def trees_embedding(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    """Which leaf of each tree a row ends in, one-hot."""
    x = c.graph.through_float32(c.matrix(columns))
    ensemble = Ensemble()
    for target, tree in enumerate(model.estimators_):
        add_tree(ensemble, tree.tree_, target, np.arange(tree.tree_.node_count))
    leaves = ensemble.write(c.graph, x, len(model.estimators_))
    return c.transform(model.one_hot_encoder_, (leaves,), None, "leaves")


def inlier(c: Compiler, scores: Value) -> Value:
    """-1 where ``scores`` is below 0, else 1."""
    below = c.graph.apply("Less", scores, c.graph.constant([[0.0]]))
    minus, plus = c.graph.constant([[-1]]), c.graph.constant([[1]])
    name = c.graph.node("Where", [below.name, minus, plus])[0]
    return Value(name, 7, 1)
