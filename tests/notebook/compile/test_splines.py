"""Splines: exact within the knots and, as asked for, beyond them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer
from support.compiled import proved

from jupyter_mlserve.notebook.compile import NotCompilable, serialize_model


@pytest.mark.parametrize("knots", ["uniform", "quantile"])
@pytest.mark.parametrize("beyond", ["constant", "linear", "continue", "periodic"])
def test_beyond_the_knots(beyond: Any, knots: Any, numbers: Any, value: Any) -> None:
    spline = SplineTransformer(6, degree=3, extrapolation=beyond, knots=knots)
    model = make_pipeline(spline, Ridge()).fit(numbers[:200], value[:200])
    made = proved(model, numbers[:200], np.r_[numbers[200:], numbers[:9] * 7])
    assert made.header["proof"]["largest_difference"] < 1e-10
    assert "range" not in made.header["columns"][0]


@pytest.mark.parametrize("degree", [0, 1, 2, 5])
def test_degrees_and_no_bias(degree: int, numbers: Any) -> None:
    model = SplineTransformer(5, degree=degree, extrapolation="continue", include_bias=False)
    proved(model.fit(numbers[:200]), numbers[:200], numbers[200:])


def test_the_service_refuses_what_the_model_refuses(numbers: Any) -> None:
    model = SplineTransformer(5, extrapolation="error").fit(numbers[:200])
    made = proved(model, numbers[:200], numbers[:50])
    low, high = made.header["columns"][0]["range"]
    assert (low, high) == (numbers[:200, 0].min(), numbers[:200, 0].max())


def test_missing_values_as_zeros(numbers: Any) -> None:
    rows = np.where(np.arange(numbers.size).reshape(numbers.shape) % 7 == 0, np.nan, numbers)
    model = SplineTransformer(5, handle_missing="zeros").fit(rows[:200])
    made = proved(model, rows[:200], rows[200:])
    assert made.header["columns"][0]["nullable"]


def test_steps_beyond_the_ends_are_refused(numbers: Any) -> None:
    """Degree 0 beyond its ends is zero, in scikit-learn, which is no spline."""
    model = SplineTransformer(5, degree=0, extrapolation="constant").fit(numbers[:200])
    with pytest.raises(NotCompilable, match="not right"):
        serialize_model(model, numbers[:200])
