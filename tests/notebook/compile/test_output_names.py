"""The columns of ``outputData``, as the README's table promises them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.multioutput import MultiOutputClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from support.compiled import proved

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": RNG.normal(size=60), "b": RNG.normal(size=60)})
VALUE = (FRAME["a"] - FRAME["b"]).rename("price")
TWO = np.where(VALUE > 0, "yes", "no")
THREE = np.digitize(VALUE, [-0.5, 0.5])

Case = tuple[Callable[[], Any], str | None, dict[str, str]]
CASES: dict[str, Case] = {
    "regression": (
        lambda: LinearRegression().fit(FRAME, VALUE),
        "price",
        {"price_Pred": "numeric"},
    ),
    "regression without a name": (
        lambda: LinearRegression().fit(FRAME, VALUE),
        None,
        {"Pred": "numeric"},
    ),
    "several values": (
        lambda: LinearRegression().fit(FRAME, np.c_[VALUE, -VALUE]),
        "price",
        {"price_Pred.0": "numeric", "price_Pred.1": "numeric"},
    ),
    "two classes": (
        lambda: LogisticRegression().fit(FRAME, TWO),
        "price",
        {"PredictedLabel": "character", "Probability": "numeric"},
    ),
    "two classes without probability": (
        lambda: LinearSVC().fit(FRAME, TWO),
        None,
        {"PredictedLabel": "character", "Score": "numeric"},
    ),
    "more classes": (
        lambda: LogisticRegression().fit(FRAME, THREE),
        None,
        {
            "PredictedLabel": "integer",
            "Score.0": "numeric",
            "Score.1": "numeric",
            "Score.2": "numeric",
        },
    ),
    "more classes without probability": (
        lambda: LinearSVC().fit(FRAME, THREE),
        None,
        {
            "PredictedLabel": "integer",
            "Score.0": "numeric",
            "Score.1": "numeric",
            "Score.2": "numeric",
        },
    ),
    "several labels": (
        lambda: MultiOutputClassifier(LogisticRegression()).fit(FRAME, np.c_[TWO, TWO[::-1]]),
        None,
        {"PredictedLabel.0": "character", "PredictedLabel.1": "character"},
    ),
    "outliers": (
        lambda: IsolationForest(n_estimators=5, random_state=0).fit(FRAME),
        None,
        {"PredictedLabel": "integer", "Score": "numeric"},
    ),
    "clusters": (
        lambda: KMeans(3, n_init=1, random_state=0).fit(FRAME),
        None,
        {"PredictedLabel": "integer"},
    ),
    "mixture": (
        lambda: GaussianMixture(2, random_state=0).fit(FRAME),
        None,
        {"PredictedLabel": "integer"},
    ),
    "transformer": (
        lambda: StandardScaler().fit(FRAME),
        None,
        {"a": "numeric", "b": "numeric"},
    ),
    "transformer of arrays": (
        lambda: StandardScaler().fit(FRAME.to_numpy()),
        None,
        {"x0": "numeric", "x1": "numeric"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_columns_of_each_kind_of_model(name: str) -> None:
    make, response, expected = CASES[name]
    model = make()
    rows = FRAME if hasattr(model, "feature_names_in_") else FRAME.to_numpy()
    made = proved(model, rows, rows, response)
    assert {column["name"]: column["type"] for column in made.header["outputs"]} == expected
