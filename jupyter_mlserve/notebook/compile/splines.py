"""B-splines: each interval between two knots has its own polynomials, in double."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .compiler import Columns, Compiler, transformer
from .graph import DOUBLE, INT64, Value
from .scalers import count_at_most

Table = npt.NDArray[np.float64]


@transformer("sklearn", "SplineTransformer")
def spline(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    x, graph = c.matrix(columns), c.graph
    made = []
    for position, basis in enumerate(model.bsplines_):
        column = graph.columns(x, [position])
        value = _basis(c, model, basis, column)
        if not model.include_bias:
            value = graph.columns(value, range(value.width - 1))
        if getattr(model, "handle_missing", "error") == "zeros":
            missing = graph.apply("IsNaN", column)
            zero = graph.constant([[0.0]])
            value = graph.apply("Where", missing, zero, value, width=value.width)
        made.append(value)
    return (graph.concat(made),)


def _basis(c: Compiler, model: Any, basis: Any, x: Value) -> Value:
    """The splines of one column at ``x`` [rows, 1]: [rows, splines]."""
    graph, degree = c.graph, int(basis.k)
    knots = np.asarray(basis.t, np.float64)[degree : len(basis.t) - degree]
    first, last = float(knots[0]), float(knots[-1])
    # [power, interval, spline]: by the derivatives where each interval begins.
    pieces = np.array(
        [basis(knots[:-1], nu=power) / math.factorial(power) for power in range(degree, -1, -1)]
    )
    if not np.isfinite(pieces).all():
        raise c.refuse("two of its knots are the same; use fewer knots")
    if model.extrapolation == "periodic":
        if last <= first:
            raise c.refuse("a column had one value only at fit")
        turns = graph.arithmetic("Div", graph.arithmetic("Sub", x, first), last - first)
        whole = graph.arithmetic("Mul", graph.apply("Floor", turns), last - first)
        x = graph.apply("Sub", x, whole)
    if model.extrapolation not in ("constant", "linear"):
        return _polynomials(c, x, knots, pieces)
    inside = _within(c, x, first, last)
    value = _polynomials(c, inside, knots, pieces)
    if model.extrapolation == "constant":
        return value
    # Beyond the ends straight on, by the slopes there.
    zero = graph.constant([[0.0]])
    above = graph.apply("Max", graph.apply("Sub", x, inside), zero)
    below = graph.apply("Max", graph.apply("Sub", inside, x), zero)
    up = graph.matmul(above, _row(basis(last, nu=1)))
    down = graph.matmul(below, _row(basis(first, nu=1)))
    return graph.apply("Add", value, graph.apply("Sub", up, down))


def _row(values: Any) -> Table:
    return np.asarray(values, np.float64).reshape(1, -1)


def _within(c: Compiler, x: Value, first: float, last: float) -> Value:
    clipped = c.graph.apply("Clip", x, c.graph.constant(first), c.graph.constant(last))
    return c.graph.apply("Where", c.graph.apply("IsNaN", x), x, clipped)


def _polynomials(c: Compiler, x: Value, knots: Table, pieces: Table) -> Value:
    """The polynomials of the interval in which each ``x`` lies; the outer ones go on beyond."""
    graph, count = c.graph, pieces.shape[1]
    if count > 1:
        place = graph.cast(count_at_most(c, x, knots[1:-1]), INT64)
    else:
        place = graph.cast(c.zeros((x,), 1), INT64)
    slots = graph.constant([list(range(count))])
    chosen = graph.cast(graph.apply("Equal", place, slots, width=count), DOUBLE)
    step = graph.apply("Sub", x, graph.matmul(chosen, knots[:-1].reshape(-1, 1)))
    value = graph.matmul(chosen, pieces[0])
    for power in pieces[1:]:
        value = graph.apply("Mul", value, step)
        value = graph.apply("Add", value, graph.matmul(chosen, power))
    return value
