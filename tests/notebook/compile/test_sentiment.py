"""The Sentiment transformer in pipelines: its step in the runtime gives the same number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from support.compiled import proved, score

from jupyter_mlserve.contract.errors import InvalidDefinition
from jupyter_mlserve.contract.realtime import unpack
from jupyter_mlserve.contract.sentiment_step import MAX_CHARACTERS
from jupyter_mlserve.notebook.compile import NotCompilable, serialize_model
from jupyter_mlserve.notebook.transforms.text import Sentiment

TEXTS = [
    "I love this phone, it is GREAT!",
    "Not good. The screen broke, I am so angry",
    "It arrived on Tuesday",
    "The food was awful but the staff was wonderful 😀",
    "kind of nice, but never again :(",
]
FRESH = ["What a terrible, horrible day", "best day ever 👍👍", "", "ok", "Ærø er smuk"]


def test_texts_to_one_number() -> None:
    made = proved(Sentiment().fit(TEXTS), pd.Series(TEXTS, name="review"), pd.Series(FRESH))
    assert made.header["kind"] == "transform"
    assert made.header["inputs"] == [
        {
            "name": "sentiment0",
            "type": "double",
            "columns": [0],
            "steps": [{"step": "sentiment"}],
        }
    ]
    assert made.header["proof"]["largest_difference"] == 0.0
    (answer,) = score(made, pd.DataFrame({"review": TEXTS})).values()
    assert answer[0] > 0.9 > 0.5 > 0.2 > answer[1]
    assert answer[2] == 0.5


def test_in_a_pipeline_that_takes_texts() -> None:
    model = make_pipeline(Sentiment(), LogisticRegression())
    model.fit(pd.Series(TEXTS), ["good", "bad", "bad", "good", "bad"])
    proved(model, pd.Series(TEXTS), pd.Series(FRESH))


def test_beside_numbers_and_with_missing_texts() -> None:
    frame = pd.DataFrame(
        {"stars": np.arange(40.0) % 5, "review": (TEXTS * 8), "reply": (TEXTS[::-1] * 8)}
    )
    frame.loc[::4, "review"] = None
    model = make_pipeline(
        ColumnTransformer(
            [("s", Sentiment(), ["review", "reply"]), ("n", StandardScaler(), ["stars"])]
        ),
        HistGradientBoostingRegressor(min_samples_leaf=2, max_iter=10),
    ).fit(frame, frame.stars + frame.index % 3)
    made = proved(model, frame, frame.assign(reply=frame.reply[::-1].to_numpy()))
    assert [column["nullable"] for column in made.header["columns"]] == [True, True, True]
    assert [item["name"] for item in made.header["inputs"]] == [
        "numbers",
        "sentiment0",
        "sentiment1",
    ]


def test_one_column_as_a_series() -> None:
    frame = pd.DataFrame({"stars": range(20), "review": TEXTS * 4})
    model = make_pipeline(
        ColumnTransformer([("s", Sentiment(), "review")], remainder="passthrough"),
        LinearRegression(),
    ).fit(frame, frame.stars)
    made = proved(model, frame, frame[::-1].reset_index(drop=True))
    assert not made.header["columns"][1]["nullable"]


def test_texts_that_others_changed_are_refused() -> None:
    from sklearn.impute import SimpleImputer

    frame = pd.DataFrame({"review": TEXTS})
    model = make_pipeline(SimpleImputer(strategy="most_frequent"), Sentiment()).fit(frame)
    with pytest.raises(NotCompilable, match="changed before they reach it"):
        serialize_model(model, frame)
    numbers = pd.DataFrame({"stars": [1.0, 2.0]})
    with pytest.raises((NotCompilable, InvalidDefinition)):
        serialize_model(make_pipeline(FunctionTransformer(), Sentiment()).fit(numbers), numbers)


def test_the_transformer_itself() -> None:
    model = Sentiment()
    assert model.fit_transform(["good", None, float("nan"), "bad"]).shape == (4, 1)
    assert np.isnan(model.transform(pd.Series(["good", None, pd.NA]))[1:]).all()
    assert model.get_feature_names_out().tolist() == ["sentiment"]
    frame = pd.DataFrame({"a": ["good"], "b": ["bad"]})
    assert model.fit(frame).transform(frame).shape == (1, 2)
    assert model.get_feature_names_out().tolist() == ["a", "b"]
    assert model.set_output(transform="pandas").transform(frame).columns.tolist() == ["a", "b"]
    for wrong, why in (("one text", "not one text"), ([3], "takes texts, not int")):
        with pytest.raises(ValueError, match=why):
            Sentiment().fit([]).transform(wrong)
    with pytest.raises(ValueError, match="20,001 characters, more than the 20,000"):
        model.transform(["x" * (MAX_CHARACTERS + 1)])


@pytest.mark.parametrize("text", ["x" * (MAX_CHARACTERS + 1)])
def test_the_service_refuses_what_the_transformer_refuses(text: str) -> None:
    made = unpack(serialize_model(Sentiment().fit(TEXTS), pd.Series(TEXTS)))
    with pytest.raises(ValueError, match="more than the 20,000"):
        score(made, pd.DataFrame({"review": [text]}))


def test_the_library_is_named_in_the_proof() -> None:
    proof: Any = unpack(serialize_model(Sentiment().fit(TEXTS), pd.Series(TEXTS))).header["proof"]
    assert proof["libraries"]["vaderSentiment"].startswith("3.")
