"""Every conversion that was measured to be silently wrong: here it is right, or refused.

The cases are those in which ``skl2onnx`` and ``onnxmltools`` gave wrong answers without a word.
"""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from support.compiled import proved, score

from jupyter_mlserve.contract.realtime import unpack
from jupyter_mlserve.notebook.compile import NotCompilable, serialize_model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
HALF = 200


def test_thresholds_of_tuned_classifiers(numbers: Any, two: Any) -> None:
    for model in (
        TunedThresholdClassifierCV(LogisticRegression(), scoring="recall", cv=2),
        FixedThresholdClassifier(LogisticRegression(), threshold=0.8),
        FixedThresholdClassifier(LogisticRegression(), threshold=0.3, pos_label=0),
    ):
        model.fit(numbers[:HALF], two[:HALF])
        plain = LogisticRegression().fit(numbers[:HALF], two[:HALF]).predict(numbers[HALF:])
        assert (plain != model.predict(numbers[HALF:])).any()  # else the test shows nothing
        proved(model, numbers[:HALF], numbers[HALF:])


def test_missing_indicators(numbers: Any, two: Any) -> None:
    x = numbers.copy()
    x[::7, 0] = np.nan
    x[::3, 2] = np.nan
    model = make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression())
    made = proved(model.fit(x[:HALF], two[:HALF]), x[:HALF], x[HALF:])
    assert [column["nullable"] for column in made.header["columns"]] == [True] * 4


@pytest.mark.parametrize("missing", [False, True])
def test_categorical_features_of_histogram_boosting(missing: bool, numbers: Any, two: Any) -> None:
    x = numbers.copy()
    x[:, 3] = np.arange(400) * 7 % 12
    y = (two + (x[:, 3] % 3 == 0)) % 2
    if missing:
        x[::9, 3] = np.nan
    model = HistGradientBoostingClassifier(max_iter=15, categorical_features=[3])
    made = proved(model.fit(x[:HALF], y[:HALF]), x[:HALF], x[HALF:])
    unseen = pd.DataFrame([[0.1, 0.2, 0.3, 99.0]], columns=["x0", "x1", "x2", "x3"])
    assert score(made, unseen)["Probability"] == pytest.approx(
        model.predict_proba(unseen.to_numpy())[:, 1]
    )


def test_sublinear_tfidf() -> None:
    texts = pd.Series(["a cat a cat sat", "the dog the dog the dog", "cat and dog"] * 20)
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression())
    model.fit(texts, [0, 1, 1] * 20)
    proved(model, texts, pd.Series(["dog dog dog cat", "", "sat sat sat sat"]))


@pytest.mark.parametrize("inner", [RandomForestClassifier(6), LogisticRegression()])
def test_isotonic_calibration(inner: Any, numbers: Any, three: Any) -> None:
    model = CalibratedClassifierCV(inner, method="isotonic", cv=2)
    proved(model.fit(numbers[:HALF], three[:HALF]), numbers[:HALF], numbers[HALF:])


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(8, random_state=0),
        MLPClassifier((8,), max_iter=60, random_state=0),
        xgb.XGBClassifier(n_estimators=5),
    ],
    ids=["forest", "network", "xgboost"],
)
def test_several_labels_a_row(model: Any) -> None:
    x, y = make_multilabel_classification(300, 5, n_classes=3, random_state=0)
    made = proved(model.fit(x[:HALF], y[:HALF]), x[:HALF], x[HALF:])
    names = [output["name"] for output in made.header["outputs"]]
    assert names == ["PredictedLabel.0", "PredictedLabel.1", "PredictedLabel.2"]


def test_integer_columns_before_float_columns(numbers: Any, three: Any) -> None:
    frame = pd.DataFrame(
        {"count": np.arange(400) % 5, "size": numbers[:, 0], "flag": numbers[:, 1] > 0}
    )
    model = make_pipeline(StandardScaler(), LogisticRegression())
    made = proved(model.fit(frame[:HALF], three[:HALF]), frame[:HALF], frame[HALF:])
    types = [column["type"] for column in made.header["columns"]]
    assert types == ["integer", "numeric", "logical"]


@pytest.mark.parametrize(
    "last",
    [
        RandomForestRegressor(10, random_state=0),
        HistGradientBoostingRegressor(max_iter=15),
        lgb.LGBMRegressor(n_estimators=15, verbose=-1),
        xgb.XGBRegressor(n_estimators=15),
    ],
    ids=["forest", "histogram", "lightgbm", "xgboost"],
)
def test_trees_behind_a_scaler(last: Any, numbers: Any, value: Any) -> None:
    model = make_pipeline(StandardScaler(), last).fit(numbers[:HALF], value[:HALF])
    made = proved(model, numbers[:HALF], numbers[HALF:])
    assert made.header["proof"]["probes"]["boundary"] > 20


LIGHTGBM: dict[str, dict[str, Any]] = {
    "rf": {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.7},
    "dart": {"boosting_type": "dart"},
    "zero as missing": {"zero_as_missing": True},
    "square root": {"reg_sqrt": True},
    "absolute": {"objective": "regression_l1"},
}


@pytest.mark.parametrize("name", LIGHTGBM)
def test_modes_of_lightgbm(name: str, numbers: Any, value: Any, three: Any) -> None:
    small: dict[str, Any] = {"n_estimators": 8, "verbose": -1, **LIGHTGBM[name]}
    model = lgb.LGBMRegressor(**small).fit(numbers[:HALF], value[:HALF])
    proved(model, numbers[:HALF], numbers[HALF:])
    if name in ("rf", "dart"):
        classifier = lgb.LGBMClassifier(**small).fit(numbers[:HALF], three[:HALF])
        proved(classifier, numbers[:HALF], numbers[HALF:])


@pytest.mark.parametrize("objective", ["poisson", "gamma", "tweedie", "cross_entropy"])
def test_links_of_lightgbm(objective: str, numbers: Any, value: Any) -> None:
    y = np.abs(value) / np.abs(value).max() * 0.9 + 0.01
    model = lgb.LGBMRegressor(n_estimators=8, verbose=-1, objective=objective)
    proved(model.fit(numbers[:HALF], y[:HALF]), numbers[:HALF], numbers[HALF:])


def test_numbers_that_lightgbm_takes_for_zero(numbers: Any, three: Any) -> None:
    x = numbers.copy()
    x[::2, 0] = 0.0
    model = lgb.LGBMClassifier(n_estimators=10, verbose=-1, min_child_samples=3)
    model.fit(x[:HALF], three[:HALF])
    tiny = np.array([[v, 1.5, -0.2, -0.5] for v in (1e-35, -1e-35, 1e-36, -1e-36, -1.1e-35, 0.0)])
    proved(model, x[:HALF], tiny)


def test_category_codes_with_a_fraction(numbers: Any, two: Any) -> None:
    """LightGBM cuts fractions of codes off; ONNX Runtime does so for some sets only."""
    x = numbers.copy()
    x[:, 3] = np.arange(400) * 7 % 12
    y = (two + (x[:, 3] % 3 == 0)) % 2
    model = lgb.LGBMClassifier(n_estimators=8, verbose=-1, min_child_samples=3)
    model.fit(x[:HALF], y[:HALF], categorical_feature=[3])
    fresh = x[HALF:].copy()
    fresh[:, 3] += np.tile([0.0, 0.5, 0.99, -0.3], 50)
    proved(model, x[:HALF], fresh)


def test_linear_trees_are_refused(numbers: Any, value: Any) -> None:
    model = lgb.LGBMRegressor(n_estimators=5, linear_tree=True, verbose=-1)
    model.fit(numbers[:HALF], value[:HALF])
    with pytest.raises(NotCompilable, match=r"linear_tree.*standard service"):
        serialize_model(model, numbers[:HALF])


@pytest.mark.parametrize(
    "objective",
    [
        "reg:logistic",
        "count:poisson",
        "reg:gamma",
        "reg:tweedie",
        "reg:absoluteerror",
        "reg:squaredlogerror",
        "binary:logitraw",
    ],
)
def test_links_of_xgboost(objective: str, numbers: Any, value: Any) -> None:
    y = np.abs(value) / np.abs(value).max() * 0.9 + 0.01
    model = xgb.XGBRegressor(n_estimators=6, objective=objective)
    proved(model.fit(numbers[:HALF], y[:HALF]), numbers[:HALF], numbers[HALF:])


def test_several_outputs_of_xgboost(numbers: Any, value: Any, two: Any) -> None:
    y = np.c_[value, two]
    model = xgb.XGBRegressor(n_estimators=6).fit(numbers[:HALF], y[:HALF])
    made = proved(model, numbers[:HALF], numbers[HALF:], response="z")
    assert [output["name"] for output in made.header["outputs"]] == ["z_Pred.0", "z_Pred.1"]
    tree = xgb.XGBRegressor(n_estimators=6, multi_strategy="multi_output_tree")
    with pytest.raises(NotCompilable, match="multi_output_tree"):
        serialize_model(tree.fit(numbers[:HALF], y[:HALF]), numbers[:HALF])


def test_modes_of_xgboost(numbers: Any, two: Any, three: Any) -> None:
    for model, y in (
        (xgb.XGBRFClassifier(n_estimators=5), two),
        (xgb.XGBRFClassifier(n_estimators=5), three),
        (xgb.XGBClassifier(n_estimators=5, booster="dart", rate_drop=0.5), three),
        (xgb.XGBRegressor(n_estimators=5, booster="gblinear"), two * 1.0),
    ):
        proved(model.fit(numbers[:HALF], y[:HALF]), numbers[:HALF], numbers[HALF:])


def test_early_stopping(numbers: Any, two: Any) -> None:
    fit, check = (numbers[:HALF], two[:HALF]), [(numbers[HALF:], two[HALF:])]
    boosted = xgb.XGBClassifier(n_estimators=60, early_stopping_rounds=2)
    boosted.fit(*fit, eval_set=check, verbose=False)
    assert boosted.best_iteration < 58
    proved(boosted, numbers[:HALF], numbers[HALF:])
    light = lgb.LGBMClassifier(n_estimators=60, verbose=-1)
    light.fit(
        *fit,
        eval_X=check[0][0],
        eval_y=check[0][1],
        callbacks=[lgb.early_stopping(2, verbose=False)],
    )
    proved(light, numbers[:HALF], numbers[HALF:])


def test_boolean_and_float_class_labels(numbers: Any, two: Any) -> None:
    for labels, kind in ((two.astype(bool), "logical"), (two * 1.0, "numeric")):
        model = LogisticRegression().fit(numbers[:HALF], labels[:HALF])
        made = proved(model, numbers[:HALF], numbers[HALF:])
        assert made.header["outputs"][0]["type"] == kind
        answer = score(made, pd.DataFrame(numbers[:1], columns=["x0", "x1", "x2", "x3"]))
        assert type(answer["PredictedLabel"][0]) is type(labels.tolist()[0])


def test_a_missing_category_is_not_the_text_nan(holes: Any, label: Any) -> None:
    part = holes[["city", "grade"]]
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    model.fit(part[:HALF], label[:HALF])
    made = proved(model, part[:HALF], part[HALF:])
    rows = pd.DataFrame({"city": ["nan", "None", "", None], "grade": ["a"] * 4})
    assert score(made, rows)["Probability"] == pytest.approx(model.predict_proba(rows)[:, 1])
    first, *_, last = score(made, rows)["Probability"]
    assert first != last


SECONDS = 1.6e9


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingRegressor(max_iter=15),
        lgb.LGBMRegressor(n_estimators=15, verbose=-1),
        RandomForestRegressor(8, random_state=0),
    ],
    ids=["histogram", "lightgbm", "forest"],
)
def test_large_numbers_close_together(model: Any, numbers: Any, value: Any) -> None:
    """Seconds since 1970: float32 knows them only to 128 seconds."""
    rng = np.random.default_rng(0)
    x = np.c_[SECONDS + rng.integers(0, 3000, 400) + 0.25, numbers]
    y = (x[:, 0] - SECONDS) / 1000 + value
    made = proved(model.fit(x[:HALF], y[:HALF]), x[:HALF], x[HALF:])
    assert made.header["proof"]["largest_difference"] < 1e-9


def test_ties_between_classes_break_as_in_the_model(numbers: Any, two: Any) -> None:
    """An even number of grown trees: votes of exactly one half are common."""
    model = RandomForestClassifier(4, random_state=1).fit(numbers[:HALF], two[:HALF])
    shares = model.predict_proba(numbers[HALF:])[:, 1]
    assert (shares == 0.5).sum() > 3
    proved(model, numbers[:HALF], numbers[HALF:])


def test_a_subclass_is_not_taken_for_its_parent(numbers: Any, two: Any) -> None:
    class Turned(RandomForestClassifier):
        def predict_proba(self, x: Any) -> Any:
            return super().predict_proba(x)[:, ::-1]

    model = Turned(4, random_state=0).fit(numbers[:HALF], two[:HALF])
    with pytest.raises(NotCompilable, match="Turned"):
        serialize_model(model, numbers[:HALF])


def test_what_the_model_refuses_is_refused_by_the_schema(table: Any, label: Any) -> None:
    part = table[["city", "age"]].assign(age=table.age // 30)
    model = make_pipeline(OneHotEncoder(), LogisticRegression())
    model.fit(part[:HALF], label[:HALF])
    city, age = unpack(serialize_model(model, part[:HALF])).header["columns"]
    assert set(city["known"]) == set(table.city)
    assert sorted(age["known"]) == [0, 1, 2]
    assert not city["nullable"]
