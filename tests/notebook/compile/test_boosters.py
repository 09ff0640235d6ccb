"""XGBoost's categories, and the boosters of XGBoost and LightGBM without scikit-learn's face."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from support.compiled import proved, score

from jupyter_mlserve.contract.realtime import unpack
from jupyter_mlserve.notebook.compile import NotCompilable, serialize_model


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": rng.normal(size=300).round(2),
            "city": pd.Categorical(rng.choice(["Oslo", "Rome", "Paris", "Bergen", "Lima"], 300)),
            "grade": pd.Categorical(rng.choice([10, 20, 30], 300)),
        }
    )


@pytest.fixture(scope="module")
def price(frame: pd.DataFrame) -> pd.Series:
    return frame["size"] + frame.city.cat.codes % 3 * 2 + frame.grade.astype(float)


def without(frame: pd.DataFrame) -> pd.DataFrame:
    made = frame.copy()
    made.loc[::7, "city"] = None
    made.loc[::5, "size"] = np.nan
    made.loc[::11, "grade"] = None
    return made


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("sets", [{"max_cat_to_onehot": 1}, {"max_cat_to_onehot": 9}])
def test_categories_of_xgboost(sets: Any, missing: bool, frame: Any, price: Any) -> None:
    rows = without(frame) if missing else frame
    options = {"n_estimators": 8, "max_depth": 4, "enable_categorical": True, "n_jobs": 1, **sets}
    model = xgb.XGBRegressor(**options).fit(rows[:200], price[:200])
    made = proved(model, rows[:200], rows[200:])
    assert [column["nullable"] for column in made.header["columns"]] == [True] * 3
    assert set(made.header["columns"][1]["known"]) == set(frame.city)
    assert set(made.header["columns"][2]["known"]) == {10, 20, 30}
    labels = np.where(price > 20, "dear", "cheap") == "dear"
    proved(xgb.XGBClassifier(**options).fit(rows[:200], labels[:200]), rows[:200], rows[200:])


def test_a_sample_whose_categories_are_in_another_order(frame: Any, price: Any) -> None:
    """XGBoost finds the codes by the categories' names, and so does the service."""
    model = xgb.XGBRegressor(n_estimators=8, enable_categorical=True).fit(frame, price)
    turned = frame.assign(city=frame.city.cat.reorder_categories(sorted(set(frame.city))[::-1]))
    proved(model, turned[:200], turned[200:])


def test_categories_that_are_not_ascii(frame: Any, price: Any) -> None:
    """XGBoost stores such names cut; the codes of the sample are those it trained with."""
    names = {"Oslo": "Ørsta", "Rome": "東京", "Paris": "Århus"}
    rows = frame.assign(city=frame.city.astype(str).replace(names).astype("category"))
    model = xgb.XGBRegressor(n_estimators=8, enable_categorical=True).fit(rows, price)
    proved(model, rows[:200], rows[200:])


def test_codes_without_names(frame: Any, price: Any) -> None:
    table = np.c_[frame["size"], frame.city.cat.codes, frame.grade.cat.codes]
    kinds = ["q", "c", "c"]
    model = xgb.XGBRegressor(n_estimators=8, enable_categorical=True, feature_types=kinds)
    made = proved(model.fit(table[:200], price[:200]), table[:200], table[200:])
    odd = pd.DataFrame([[0.5, 9, 1], [0.5, -1, 1], [0.5, 1.7, 0], [0.5, np.nan, 5], [1, 2**24, 0]])
    odd.columns = ["x0", "x1", "x2"]
    np.testing.assert_allclose(score(made, odd)["Pred"], model.predict(odd), rtol=1e-6)


@pytest.mark.parametrize("goal", ["reg:squarederror", "binary:logistic", "count:poisson"])
def test_boosters_of_xgboost(goal: str, frame: Any, price: Any) -> None:
    target = price if goal == "reg:squarederror" else (price > 20).astype(int)
    for rows in (without(frame), frame[["size"]], frame[["size"]].to_numpy()):
        data = xgb.DMatrix(rows[:200], target[:200], enable_categorical=True)
        model = xgb.train({"objective": goal, "max_depth": 4, "nthread": 1}, data, 8)
        made = unpack(serialize_model(model, rows[:200]))
        fresh = pd.DataFrame(rows[200:], columns=[c["name"] for c in made.header["columns"]])
        expected = model.predict(xgb.DMatrix(rows[200:], enable_categorical=True))
        np.testing.assert_allclose(score(made, fresh)["Pred"], expected, rtol=1e-5)


def test_boosters_for_several_classes(frame: Any) -> None:
    rows, codes = frame[["size"]], frame.grade.cat.codes
    goals = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
    model = xgb.train(goals, xgb.DMatrix(rows, codes), 5)
    made = unpack(serialize_model(model, rows))
    answer = score(made, rows[:50])
    assert list(answer) == ["Pred.0", "Pred.1", "Pred.2"]
    expected = model.predict(xgb.DMatrix(rows[:50]))
    np.testing.assert_allclose(np.array(list(answer.values())).T, expected, rtol=1e-5)
    labels = xgb.train({**goals, "objective": "multi:softmax"}, xgb.DMatrix(rows, codes), 5)
    with pytest.raises(NotCompilable, match="multi:softmax"):
        serialize_model(labels, rows)


@pytest.mark.parametrize("goal", ["regression", "binary", "multiclass"])
def test_boosters_of_lightgbm(goal: str, frame: Any, price: Any) -> None:
    target = {"regression": price, "binary": price > 20, "multiclass": frame.grade.cat.codes}[goal]
    options = {"objective": goal, "verbose": -1, "min_data_in_leaf": 5}
    options |= {"num_class": 3} if goal == "multiclass" else {}
    rows = without(frame)[["size", "city"]]
    model = lgb.train(options, lgb.Dataset(rows[:200], target[:200]), 8)
    proved(model, rows[:200], rows[200:])
