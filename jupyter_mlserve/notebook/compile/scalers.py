"""Scaling and reshaping of number columns, in scikit-learn's own order of operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .compiler import Columns, Compiler, transformer
from .graph import DOUBLE, FLOAT, INT64, Value


def _steps(c: Compiler, columns: Columns, *steps: tuple[str, Any]) -> Columns:
    single = all(piece.type == FLOAT for piece in columns)  # scaled in float32 by sklearn too
    value = c.graph.concat(list(columns)) if single else c.matrix(columns)
    for op, operand in steps:
        if operand is not None:
            row = np.asarray(operand, np.float64).reshape(1, -1)
            constant = c.graph.constant(row, FLOAT if single else DOUBLE)
            value = c.graph.apply(op, value, constant)
    return (value,)


@transformer("sklearn", "StandardScaler")
def standard(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    mean = model.mean_ if model.with_mean else None
    return _steps(c, columns, ("Sub", mean), ("Div", model.scale_))


@transformer("sklearn", "RobustScaler")
def robust(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    center = model.center_ if model.with_centering else None
    scale = model.scale_ if model.with_scaling else None
    return _steps(c, columns, ("Sub", center), ("Div", scale))


@transformer("sklearn", "MaxAbsScaler")
def max_abs(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    made = _steps(c, columns, ("Div", model.scale_))
    return (_clipped(c, made[0], -1.0, 1.0),) if getattr(model, "clip", False) else made


@transformer("sklearn", "MinMaxScaler")
def min_max(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    made = _steps(c, columns, ("Mul", model.scale_), ("Add", model.min_))
    return (_clipped(c, made[0], *model.feature_range),) if model.clip else made


def _clipped(c: Compiler, value: Value, low: float, high: float) -> Value:
    value = c.graph.as_double(value)
    bounds = c.graph.constant(float(low)), c.graph.constant(float(high))
    clipped = c.graph.apply("Clip", value, *bounds)
    missing = c.graph.apply("IsNaN", value)  # Clip may turn NaN into a bound
    return c.graph.apply("Where", missing, value, clipped)


@transformer("sklearn", "Normalizer")
def normalizer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    x = c.matrix(columns)
    if model.norm == "max":
        size = c.graph.apply(
            "ReduceMax", c.graph.apply("Abs", x), c.graph.constant([1]), keepdims=1, width=1
        )
    elif model.norm == "l1":
        size = c.row_sum(c.graph.apply("Abs", x))
    else:
        size = c.graph.apply("Sqrt", c.row_sum(c.graph.apply("Mul", x, x)))
    zero = c.graph.apply("Equal", size, c.graph.constant([[0.0]]))
    size = c.graph.apply("Where", zero, c.graph.constant([[1.0]]), size)
    return (c.graph.apply("Div", x, size),)


@transformer("sklearn", "Binarizer")
def binarizer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    threshold = c.graph.constant([[float(model.threshold)]])
    return (c.graph.cast(c.graph.apply("Greater", c.matrix(columns), threshold), DOUBLE),)


@transformer("sklearn", "PolynomialFeatures")
def polynomial(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    powers = np.asarray(model.powers_, int)
    x = c.matrix(columns)
    one = c.graph.arithmetic("Add", c.zeros((x,), 1), 1.0)
    known = c.graph.concat([x, one])
    # Factor k of an output is the input of its k-th power, or the column of ones.
    factors = [np.repeat(np.arange(len(row)), row).tolist() for row in powers]
    degree = max((len(row) for row in factors), default=0)
    made: Value | None = None
    for k in range(max(1, degree)):
        picked = [row[k] if k < len(row) else x.width for row in factors]
        factor = c.graph.columns(known, picked)
        made = factor if made is None else c.graph.apply("Mul", made, factor)
    assert made is not None
    return (made,)


@transformer("sklearn", "PowerTransformer")
def power(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    x = c.matrix(columns)
    made = []
    for position, exponent in enumerate(np.asarray(model.lambdas_, np.float64).tolist()):
        column = c.graph.columns(x, [position])
        if model.method == "box-cox":
            made.append(_box_cox(c, column, exponent))
        else:
            made.append(_yeo_johnson(c, column, exponent))
    value = c.graph.concat(made)
    if not model.standardize:
        return (value,)
    return standard(c, model._scaler, (value,), None)


def _box_cox(c: Compiler, x: Value, exponent: float) -> Value:
    if exponent == 0.0:
        return c.graph.apply("Log", x)
    raised = c.graph.arithmetic("Pow", x, [[exponent]])
    return c.graph.arithmetic("Div", c.graph.arithmetic("Sub", raised, 1.0), exponent)


def _yeo_johnson(c: Compiler, x: Value, exponent: float) -> Value:
    graph, zero = c.graph, c.graph.constant([[0.0]])
    positive = graph.apply("GreaterOrEqual", x, zero)
    # Each branch gets only what it is for; a root of a negative number would be NaN.
    size = graph.arithmetic("Add", graph.apply("Abs", x), 1.0)
    epsilon = np.spacing(1.0)
    if abs(exponent) < epsilon:
        above = graph.apply("Log", size)
    else:
        above = graph.arithmetic("Div", _power_less_one(c, size, exponent), exponent)
    if abs(exponent - 2.0) > epsilon:
        below = graph.arithmetic("Div", _power_less_one(c, size, 2.0 - exponent), exponent - 2.0)
    else:
        below = graph.apply("Neg", graph.apply("Log", size))
    return graph.apply("Where", positive, above, below)


def _power_less_one(c: Compiler, x: Value, exponent: float) -> Value:
    return c.graph.arithmetic("Sub", c.graph.arithmetic("Pow", x, [[exponent]]), 1.0)


@transformer("sklearn", "KBinsDiscretizer")
def bins(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    x = c.matrix(columns)
    made = []
    for position, edges in enumerate(model.bin_edges_):
        column = c.graph.columns(x, [position])
        inner = np.asarray(edges, np.float64)[1:-1]
        code = count_at_most(c, column, inner) if len(inner) else c.zeros((column,), 1)
        if model.encode == "ordinal":
            made.append(code)
            continue
        slots = c.graph.constant([[float(i) for i in range(len(edges) - 1)]])
        hit = c.graph.apply("Equal", code, slots, width=len(edges) - 1)
        made.append(c.graph.cast(hit, DOUBLE))
    return (c.graph.concat(made),)


def count_at_most(c: Compiler, x: Value, knots: npt.NDArray[np.float64]) -> Value:
    """How many of ``knots`` are at most ``x`` [rows, 1]: searchsorted(side="right"), double."""
    passed = c.graph.apply(
        "GreaterOrEqual", x, c.graph.constant(knots.reshape(1, -1)), width=len(knots)
    )
    return c.row_sum(c.graph.cast(passed, DOUBLE))


def interpolate(
    c: Compiler, x: Value, knots: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> Value:
    """numpy.interp of ``x`` [rows, 1]: linear between ``knots``, constant outside."""
    graph = c.graph
    if len(knots) == 1:
        return graph.arithmetic("Add", c.zeros((x,), 1), float(values[0]))
    last = len(knots) - 2
    place = graph.arithmetic("Sub", count_at_most(c, x, knots), 1.0)
    bounds = graph.constant(0.0), graph.constant(float(last))
    index = graph.cast(graph.apply("Clip", place, *bounds), INT64)
    widths = np.diff(knots)
    slopes = np.divide(np.diff(values), widths, out=np.zeros_like(widths), where=widths > 0)

    def at(table: npt.NDArray[np.float64]) -> Value:
        name = graph.node("Gather", [graph.constant(table), index.name], axis=0)[0]
        return Value(name, DOUBLE, 1)

    step = graph.apply("Sub", x, at(knots[:-1]))
    inner = graph.apply("Add", graph.apply("Mul", step, at(slopes)), at(values[:-1]))
    first, final = graph.constant([[float(knots[0])]]), graph.constant([[float(knots[-1])]])
    low = graph.apply("LessOrEqual", x, first)
    high = graph.apply("GreaterOrEqual", x, final)
    made = graph.apply("Where", low, graph.constant([[float(values[0])]]), inner, width=1)
    return graph.apply("Where", high, graph.constant([[float(values[-1])]]), made, width=1)


@transformer("sklearn", "QuantileTransformer")
def quantile(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    if model.output_distribution != "uniform":
        raise c.refuse("output_distribution='normal' has no compiled form; use 'uniform'")
    x = c.matrix(columns)
    references = np.asarray(model.references_, np.float64)
    made = []
    for position in range(x.width):
        column = c.graph.columns(x, [position])
        knots = np.asarray(model.quantiles_[:, position], np.float64)
        up = interpolate(c, column, knots, references)
        down = interpolate(c, c.graph.apply("Neg", column), -knots[::-1], -references[::-1])
        middle = c.graph.arithmetic("Mul", c.graph.apply("Sub", up, down), 0.5)
        low = c.graph.apply("Equal", column, c.graph.constant([[float(knots[0])]]))
        high = c.graph.apply("Equal", column, c.graph.constant([[float(knots[-1])]]))
        middle = c.graph.apply("Where", high, c.graph.constant([[1.0]]), middle, width=1)
        middle = c.graph.apply("Where", low, c.graph.constant([[0.0]]), middle, width=1)
        missing = c.graph.apply("IsNaN", column)
        made.append(c.graph.apply("Where", missing, column, middle))
    return (c.graph.concat(made),)


def inverse_scaled(c: Compiler, model: Any, value: Value) -> Value:
    """``model.inverse_transform`` of a scaler of the response."""
    graph, name = c.graph, type(model).__name__

    def row(numbers: Any) -> npt.NDArray[np.float64]:
        return np.asarray(numbers, np.float64).reshape(1, -1)

    if name == "MinMaxScaler":
        return graph.arithmetic(
            "Div", graph.arithmetic("Sub", value, row(model.min_)), row(model.scale_)
        )
    if name == "MaxAbsScaler":
        return graph.arithmetic("Mul", value, row(model.scale_))
    if name not in ("StandardScaler", "RobustScaler"):
        raise c.refuse(f"the inverse of a {name} has no compiled form")
    start = model.mean_ if name == "StandardScaler" else model.center_
    if model.scale_ is not None:
        value = graph.arithmetic("Mul", value, row(model.scale_))
    return value if start is None else graph.arithmetic("Add", value, row(start))
