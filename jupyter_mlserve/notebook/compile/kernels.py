"""Models that compare rows with stored rows: support vectors, kernels, nearest centres."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .compiler import Columns, Compiler, Prediction, predictor, transformer
from .forests import inlier
from .graph import INT64, Value

Matrix = npt.NDArray[np.float64]


def squared_distances(c: Compiler, x: Value, stored: Matrix) -> Value:
    """Squared Euclidean distances [rows, stored], not below 0."""
    ours = c.row_sum(c.graph.apply("Mul", x, x))
    theirs = (stored**2).sum(axis=1).reshape(1, -1)
    cross = c.graph.arithmetic("Mul", c.graph.matmul(x, stored.T), -2.0)
    total = c.graph.apply("Add", c.graph.arithmetic("Add", cross, theirs), ours)
    return c.graph.apply("Max", total, c.graph.constant([[0.0]]))


def kernel(c: Compiler, x: Value, stored: Matrix, name: str, **p: Any) -> Value:
    """The kernel matrix [rows, stored] as sklearn.metrics.pairwise computes it."""
    gamma, degree, coef0 = p.get("gamma"), p.get("degree", 3), p.get("coef0", 1.0)
    gamma = 1.0 / x.width if gamma is None else float(gamma)
    if name == "rbf":
        power = c.graph.arithmetic("Mul", squared_distances(c, x, stored), -gamma)
        return c.graph.apply("Exp", power)
    if name == "laplacian":
        return c.graph.apply("Exp", c.graph.arithmetic("Mul", _manhattan(c, x, stored), -gamma))
    product = c.graph.matmul(x, stored.T)
    if name == "linear":
        return product
    if name == "cosine":
        size = c.graph.apply("Sqrt", c.row_sum(c.graph.apply("Mul", x, x)))
        lengths = np.sqrt((stored**2).sum(axis=1, keepdims=True)).T
        return c.graph.apply("Div", c.graph.arithmetic("Div", product, lengths), size)
    moved = c.graph.arithmetic("Add", c.graph.arithmetic("Mul", product, gamma), float(coef0))
    if name in ("poly", "polynomial"):
        return c.graph.arithmetic("Pow", moved, float(degree))
    if name == "sigmoid":
        return c.graph.apply("Tanh", moved)
    raise c.refuse(f"the kernel {name!r} has no compiled form")


def _manhattan(c: Compiler, x: Value, stored: Matrix) -> Value:
    axis = c.graph.constant([1])
    wide = c.graph.node("Unsqueeze", [x.name, axis])[0]
    gap = c.graph.node("Sub", [wide, c.graph.constant(stored[None])])[0]
    size = c.graph.node("Abs", [gap])[0]
    total = c.graph.node("ReduceSum", [size, c.graph.constant([2])], keepdims=0)[0]
    return Value(total, x.type, len(stored))


def _support(c: Compiler, model: Any, columns: Columns) -> Value:
    if callable(model.kernel) or model.kernel == "precomputed":
        raise c.refuse("a kernel that is a function or precomputed has no compiled form")
    stored = model.support_vectors_
    stored = stored.toarray() if hasattr(stored, "toarray") else stored
    return kernel(
        c,
        c.matrix(columns),
        np.asarray(stored, np.float64),
        model.kernel,
        gamma=model._gamma,
        degree=model.degree,
        coef0=model.coef0,
    )


def _weights(model: Any) -> Matrix:
    dual = model.dual_coef_
    return np.asarray(dual.toarray() if hasattr(dual, "toarray") else dual, np.float64)


@predictor("sklearn", "SVR", "NuSVR")
def support_regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    value = c.graph.matmul(_support(c, model, columns), _weights(model).T)
    return Prediction(value=c.graph.arithmetic("Add", value, model.intercept_.reshape(1, 1)))


@predictor("sklearn", "OneClassSVM")
def one_class(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    scores = c.graph.matmul(_support(c, model, columns), _weights(model).T)
    scores = c.graph.arithmetic("Add", scores, model.intercept_.reshape(1, 1))
    above = c.graph.apply("Greater", scores, c.graph.constant([[0.0]]))
    plus, minus = c.graph.constant([[1]]), c.graph.constant([[-1]])
    label = Value(c.graph.node("Where", [above.name, plus, minus])[0], INT64, 1)
    return Prediction(label=label, scores=scores)


@predictor("sklearn", "SVC", "NuSVC")
def support_classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    """One against one, as libsvm votes; with probability=True skl2onnx's form is used."""
    if model.probability and model.probability != "deprecated":
        from . import fallback

        return fallback.predict(c, model, columns, data)
    similar = _support(c, model, columns)
    # libsvm's own numbers: for two classes the public ones have the other sign.
    stored = model._dual_coef_
    dual = np.asarray(stored.toarray() if hasattr(stored, "toarray") else stored, np.float64)
    counts = np.asarray(model.n_support_, int)
    starts = np.concatenate([[0], np.cumsum(counts)])
    classes = len(counts)
    pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    table = np.zeros((dual.shape[1], len(pairs)))
    for k, (i, j) in enumerate(pairs):
        a, b = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
        table[a, k] = dual[j - 1, a]
        table[b, k] = dual[i, b]
    start = np.asarray(model._intercept_, np.float64).reshape(1, -1)
    raw = c.graph.arithmetic("Add", c.graph.matmul(similar, table), start)
    if classes == 2:
        scores = c.graph.apply("Neg", raw)
        return Prediction(label=c.positive(scores), scores=scores)
    first = c.graph.apply("Greater", raw, c.graph.constant([[0.0]]))
    wins = c.graph.cast(first, raw.type)
    votes_for = np.zeros((len(pairs), classes))
    constant = np.zeros((1, classes))
    confidence = np.zeros((len(pairs), classes))
    for k, (i, j) in enumerate(pairs):
        votes_for[k, i], votes_for[k, j] = 1.0, -1.0
        constant[0, j] += 1.0
        confidence[k, i], confidence[k, j] = 1.0, -1.0
    votes = c.graph.arithmetic("Add", c.graph.matmul(wins, votes_for), constant)
    sure = c.graph.matmul(raw, confidence)
    size = c.graph.arithmetic(
        "Mul", c.graph.arithmetic("Add", c.graph.apply("Abs", sure), 1.0), 3.0
    )
    scores = c.graph.apply("Add", votes, c.graph.apply("Div", sure, size))
    label = c.argmax(scores if model.break_ties else votes)
    wanted = scores if model.decision_function_shape == "ovr" else raw
    return Prediction(label=label, scores=wanted)


@predictor("sklearn", "KernelRidge")
def kernel_ridge(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    stored = np.asarray(model.X_fit_, np.float64)
    similar = _named_kernel(c, c.matrix(columns), stored, model)
    dual = np.asarray(model.dual_coef_, np.float64).reshape(len(stored), -1)
    return Prediction(value=c.graph.matmul(similar, dual))


def _named_kernel(c: Compiler, x: Value, stored: Matrix, model: Any) -> Value:
    if callable(model.kernel) or model.kernel == "precomputed":
        raise c.refuse("a kernel that is a function or precomputed has no compiled form")
    p = {"gamma": model.gamma}
    p.update({k: v for k in ("degree", "coef0") if (v := getattr(model, k, None)) is not None})
    return kernel(c, x, stored, model.kernel, **p)


@transformer("sklearn", "Nystroem")
def nystroem(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    stored = np.asarray(model.components_, np.float64)
    similar = _named_kernel(c, c.matrix(columns), stored, model)
    return (c.graph.matmul(similar, np.asarray(model.normalization_, np.float64).T),)


@transformer("sklearn", "RBFSampler")
def rbf_sampler(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    angle = c.graph.matmul(c.matrix(columns), model.random_weights_)
    angle = c.graph.arithmetic("Add", angle, model.random_offset_.reshape(1, -1))
    scale = math.sqrt(2.0 / model.n_components)
    return (c.graph.arithmetic("Mul", c.graph.apply("Cos", angle), scale),)


@transformer("sklearn", "SkewedChi2Sampler")
def skewed_sampler(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    x = c.graph.apply("Log", c.graph.arithmetic("Add", c.matrix(columns), model.skewedness))
    angle = c.graph.matmul(x, model.random_weights_)
    angle = c.graph.arithmetic("Add", angle, model.random_offset_.reshape(1, -1))
    scale = math.sqrt(2.0) / math.sqrt(model.n_components)
    return (c.graph.arithmetic("Mul", c.graph.apply("Cos", angle), scale),)


@transformer("sklearn", "AdditiveChi2Sampler")
def chi2_sampler(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    interval = model.sample_interval
    if interval is None:
        interval = {1: 0.8, 2: 0.5, 3: 0.4}[model.sample_steps]
    graph, x = c.graph, c.matrix(columns)
    zero = graph.apply("Equal", x, graph.constant([[0.0]]))
    made = [graph.apply("Sqrt", graph.arithmetic("Mul", x, interval))]
    log_step = graph.arithmetic("Mul", graph.apply("Log", x), interval)
    for j in range(1, model.sample_steps):
        factor = 2.0 * interval / math.cosh(math.pi * j * interval)
        size = graph.apply("Sqrt", graph.arithmetic("Mul", x, factor))
        turn = graph.arithmetic("Mul", log_step, float(j))
        for op in ("Cos", "Sin"):
            wave = graph.apply("Mul", size, graph.apply(op, turn))
            made.append(graph.apply("Where", zero, graph.constant([[0.0]]), wave, width=x.width))
    return tuple(made)


@predictor("sklearn", "NearestCentroid")
def nearest_centroid(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    if model.metric != "euclidean" or not hasattr(model, "within_class_std_dev_"):
        raise c.refuse("only metric='euclidean' has a compiled form")
    x, centroids = c.matrix(columns), np.asarray(model.centroids_, np.float64)
    # The model compares distances; its decision function is a discriminant of its own.
    spread = np.asarray(model.within_class_std_dev_, np.float64)
    spread = np.where(spread == 0, 1.0, spread).reshape(1, -1)
    offset = 2.0 * np.log(np.asarray(model.class_prior_, np.float64)).reshape(1, -1)
    near = squared_distances(c, c.graph.arithmetic("Div", x, spread), centroids / spread)
    discriminant = c.graph.arithmetic("Add", c.graph.apply("Neg", near), offset)
    equal_priors = np.allclose(model.class_prior_, 1.0 / len(model.classes_))
    if equal_priors and model.shrink_threshold is None:
        label = c.argmax(c.graph.apply("Neg", squared_distances(c, x, centroids)))
    else:
        label = c.argmax(discriminant)
    peak = c.graph.apply("ReduceMax", discriminant, c.graph.constant([1]), keepdims=1, width=1)
    shares = c.graph.apply("Softmax", c.graph.apply("Sub", discriminant, peak), axis=1)
    return Prediction(label=label, probabilities=shares, scores=discriminant)


def _nearest(c: Compiler, columns: Columns, centers: Any) -> Value:
    """Position of the nearest centre [rows, 1] int64."""
    stored = np.asarray(centers, np.float64)
    return c.argmax(c.graph.apply("Neg", squared_distances(c, c.matrix(columns), stored)))


@predictor("sklearn", "KMeans", "MiniBatchKMeans", "MeanShift", "AffinityPropagation")
def nearest_center(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    return Prediction(label=_nearest(c, columns, model.cluster_centers_))


@predictor("sklearn", "Birch")
def birch(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    place = _nearest(c, columns, model.subcluster_centers_)
    table = c.graph.constant(np.asarray(model.subcluster_labels_, np.int64))
    return Prediction(label=Value(c.graph.node("Gather", [table, place.name])[0], INT64, 1))


@predictor("sklearn", "EllipticEnvelope")
def elliptic(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    x = c.graph.arithmetic("Sub", c.matrix(columns), np.asarray(model.location_).reshape(1, -1))
    turned = c.graph.matmul(x, np.asarray(model.get_precision(), np.float64))
    distance = c.row_sum(c.graph.apply("Mul", turned, x))
    scores = c.graph.arithmetic("Sub", c.graph.apply("Neg", distance), float(model.offset_))
    return Prediction(label=inlier(c, scores), scores=scores)


@predictor("sklearn", "LabelPropagation", "LabelSpreading")
def label_propagation(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    if model.kernel != "rbf":
        raise c.refuse("only kernel='rbf' has a compiled form")
    stored = np.asarray(model.X_, np.float64)
    similar = kernel(c, c.matrix(columns), stored, "rbf", gamma=model.gamma)
    votes = c.graph.matmul(similar, np.asarray(model.label_distributions_, np.float64))
    # Far from everything the votes are all zero: the model then says NaN, and the first class.
    shares = c.graph.apply("Div", votes, c.row_sum(votes), width=votes.width)
    return Prediction(label=c.argmax(votes), probabilities=shares)
