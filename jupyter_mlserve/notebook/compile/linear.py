"""Linear models: one matrix product in double."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import Columns, Compiler, Prediction, predictor
from .graph import Value

_REGRESSORS = (
    "LinearRegression",
    "Ridge",
    "RidgeCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "Lars",
    "LarsCV",
    "ElasticNet",
    "ElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "BayesianRidge",
    "ARDRegression",
    "HuberRegressor",
    "TheilSenRegressor",
    "QuantileRegressor",
    "SGDRegressor",
    "PassiveAggressiveRegressor",
    "LinearSVR",
)
_CLASSIFIERS = (
    "LogisticRegression",
    "LogisticRegressionCV",
    "RidgeClassifier",
    "RidgeClassifierCV",
    "SGDClassifier",
    "Perceptron",
    "PassiveAggressiveClassifier",
    "LinearSVC",
    "LinearDiscriminantAnalysis",
)


def product(c: Compiler, model: Any, columns: Columns) -> Value:
    """``X @ coef_.T + intercept_``: [rows, targets]."""
    weights = model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_
    weights = np.atleast_2d(np.asarray(weights, np.float64))
    made = c.graph.matmul(c.matrix(columns), weights.T)
    start = np.atleast_1d(np.asarray(model.intercept_, np.float64)).reshape(1, -1)
    if not start.any():
        return made
    return c.graph.arithmetic("Add", made, np.broadcast_to(start, (1, made.width)))


@predictor("sklearn", *_REGRESSORS)
def regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    return Prediction(value=product(c, model, columns))


@predictor("sklearn", "RANSACRegressor")
def ransac(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    return c.predict(model.estimator_, columns, data)


@predictor("sklearn", "PoissonRegressor", "GammaRegressor", "TweedieRegressor")
def generalized(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    value = product(c, model, columns)
    link = getattr(model, "link", "log")
    if link == "log" or (link == "auto" and model.power > 0):
        value = c.graph.apply("Exp", value)
    return Prediction(value=value)


@predictor("sklearn", *_CLASSIFIERS)
def classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    scores = product(c, model, columns)
    label = c.positive(scores) if scores.width == 1 else c.argmax(scores)
    probabilities = None
    if hasattr(model, "predict_proba"):
        probabilities = _probabilities(c, model, scores)
    return Prediction(label=label, probabilities=probabilities, scores=scores)


def _probabilities(c: Compiler, model: Any, scores: Value) -> Value:
    if getattr(model, "loss", None) == "modified_huber":
        clipped = c.graph.apply("Clip", scores, c.graph.constant(-1.0), c.graph.constant(1.0))
        share = c.graph.arithmetic("Div", c.graph.arithmetic("Add", clipped, 1.0), 2.0)
        return c.both(share) if scores.width == 1 else normalized(c, share)
    if scores.width == 1:
        return c.both(c.graph.apply("Sigmoid", scores))
    separate = type(model).__name__ == "SGDClassifier" or getattr(model, "solver", "") in (
        "liblinear",
    )
    if separate:
        return normalized(c, c.graph.apply("Sigmoid", scores))
    return c.graph.apply("Softmax", scores, axis=1)


def normalized(c: Compiler, shares: Value) -> Value:
    """Rows divided by their sum; a row of zeros becomes uniform."""
    total = c.row_sum(shares)
    empty = c.graph.apply("Equal", total, c.graph.constant([[0.0]]))
    filled = c.graph.apply("Where", empty, c.graph.constant([[1.0] * shares.width]), shares)
    whole = c.graph.constant([[float(shares.width)]])
    divisor = c.graph.apply("Where", empty, whole, total, width=1)
    return c.graph.apply("Div", filled, divisor, width=shares.width)
