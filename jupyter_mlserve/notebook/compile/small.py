"""Small models: selectors, dummies, affine maps, isotonic steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import Columns, Compiler, Prediction, predictor, quietly, transformer
from .graph import INT64, Value
from .scalers import interpolate

_SELECTORS = (
    "SelectKBest",
    "SelectPercentile",
    "SelectFpr",
    "SelectFdr",
    "SelectFwe",
    "GenericUnivariateSelect",
    "VarianceThreshold",
    "SelectFromModel",
    "SequentialFeatureSelector",
    "RFE",
    "RFECV",
)
# Transformers that are x @ M + b. M and b are read off by transforming the unit vectors.
_AFFINE = (
    "PCA",
    "IncrementalPCA",
    "TruncatedSVD",
    "FactorAnalysis",
    "FastICA",
    "SparsePCA",
    "MiniBatchSparsePCA",
    "CCA",
    "PLSCanonical",
    "PLSRegression",
    "PLSSVD",
    "FeatureAgglomeration",
    "SparseRandomProjection",
    "GaussianRandomProjection",
    "NeighborhoodComponentsAnalysis",
    "LinearDiscriminantAnalysis",
)


@transformer("sklearn", *_SELECTORS)
def selector(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    return c.take(columns, np.flatnonzero(model.get_support()).tolist())


@predictor("sklearn", "RFE", "RFECV")
def selected(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    kept = selector(c, model, columns, data)
    reached = None if data is None else quietly(model.transform, data)
    return c.predict(model.estimator_, kept, reached)


def _affine(c: Compiler, function: Any, columns: Columns) -> Value:
    x = c.matrix(columns)
    start = np.asarray(quietly(function, np.zeros((1, x.width))), np.float64).reshape(1, -1)
    ends = np.asarray(quietly(function, np.eye(x.width)), np.float64).reshape(x.width, -1)
    made = c.graph.matmul(x, ends - start)
    return c.graph.arithmetic("Add", made, start) if start.any() else made


@transformer("sklearn", *_AFFINE)
def affine(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    if getattr(model, "pooling_func", np.mean) is not np.mean:
        raise c.refuse("only pooling_func=numpy.mean has a compiled form")
    if hasattr(model, "mean_") and hasattr(model, "components_") and hasattr(model, "whiten"):
        return (_components(c, model, columns),)
    return (_affine(c, lambda rows: _dense(model.transform(rows)), columns),)


def _components(c: Compiler, model: Any, columns: Columns) -> Value:
    """PCA and ICA: centred first, so that large means cost no digits."""
    centred = c.graph.arithmetic("Sub", c.matrix(columns), np.asarray(model.mean_).reshape(1, -1))
    made = c.graph.matmul(centred, np.asarray(model.components_).T)
    if model.whiten is True and hasattr(model, "explained_variance_"):
        scale = np.sqrt(np.asarray(model.explained_variance_, np.float64))
        scale = np.maximum(scale, np.finfo(np.float64).eps)
        return c.graph.arithmetic("Div", made, scale.reshape(1, -1))
    return made


def _dense(found: Any) -> Any:
    return found.toarray() if hasattr(found, "toarray") else found


@predictor("sklearn", "CCA", "PLSCanonical", "PLSRegression")
def affine_predictor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    return Prediction(value=_affine(c, model.predict, columns))


@predictor("sklearn", "DummyRegressor")
def dummy_regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    constant = np.asarray(model.constant_, np.float64).reshape(1, -1)
    zeros = c.zeros(columns, constant.shape[1])
    return Prediction(value=c.graph.arithmetic("Add", zeros, constant))


@predictor("sklearn", "DummyClassifier")
def dummy_classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    if model.strategy in ("stratified", "uniform"):
        raise c.refuse(f"strategy={model.strategy!r} answers at random")
    if isinstance(model.classes_, list):
        raise c.refuse("several outputs have no compiled form")
    one = np.zeros((1, int(model.n_features_in_ if hasattr(model, "n_features_in_") else 1)))
    shares = np.asarray(quietly(model.predict_proba, one), np.float64).reshape(1, -1)
    label = list(model.classes_).index(quietly(model.predict, one)[0])
    zeros = c.zeros(columns, shares.shape[1])
    place = c.graph.arithmetic("Add", c.zeros(columns, 1), float(label))
    return Prediction(
        label=c.graph.cast(place, INT64), probabilities=c.graph.arithmetic("Add", zeros, shares)
    )


def isotonic(c: Compiler, model: Any, x: Value) -> Value:
    """A fitted IsotonicRegression at ``x`` [rows, 1]."""
    knots = np.asarray(model.X_thresholds_, np.float64)
    values = np.asarray(model.y_thresholds_, np.float64)
    made = interpolate(c, x, knots, values)
    if model.out_of_bounds == "clip":
        return made
    outside = c.graph.apply(
        "Or",
        c.graph.apply("Less", x, c.graph.constant([[float(knots[0])]])),
        c.graph.apply("Greater", x, c.graph.constant([[float(knots[-1])]])),
    )
    return c.graph.apply("Where", outside, c.graph.constant([[np.nan]]), made, width=1)


@predictor("sklearn", "IsotonicRegression")
def isotonic_regression(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    return Prediction(value=isotonic(c, model, c.matrix(columns)))


@transformer("sklearn", "BernoulliRBM")
def boltzmann(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    hidden = c.graph.matmul(c.matrix(columns), np.asarray(model.components_, np.float64).T)
    hidden = c.graph.arithmetic("Add", hidden, model.intercept_hidden_.reshape(1, -1))
    return (c.graph.apply("Sigmoid", hidden),)
