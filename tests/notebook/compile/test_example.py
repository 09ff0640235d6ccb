"""The example row: typical, nobody's record, and taken by the service itself."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PowerTransformer

from jupyter_mlserve.compute.realtime.scoring import Scorer
from jupyter_mlserve.contract.errors import InvalidDefinition
from jupyter_mlserve.contract.image_steps import load_image
from jupyter_mlserve.contract.realtime import unpack
from jupyter_mlserve.notebook.compile import serialize_model
from jupyter_mlserve.notebook.compile.example import IMAGE, TEXT, example_row
from jupyter_mlserve.notebook.compile.frames import read_sample
from jupyter_mlserve.notebook.compile.reference import Reference
from jupyter_mlserve.notebook.compile.running import session


def example(model: Any, sample: Any, response: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = unpack(serialize_model(model, sample, response)).header["example"]
    return found


@pytest.fixture(scope="module")
def encoded(table: pd.DataFrame, label: pd.Series) -> Any:
    columns = ColumnTransformer(
        [
            ("numbers", "passthrough", ["age", "income", "ratio", "member"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["city", "grade"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression(max_iter=2000)).fit(table, label)


def test_it_has_the_middle_number_and_the_most_frequent_category(
    encoded: Any, table: pd.DataFrame
) -> None:
    found = example(encoded, table)
    assert list(found) == list(table.columns)
    for name in ("age", "income", "ratio"):
        values = sorted(table[name].tolist())
        assert found[name] == values[(len(values) - 1) // 2]
    assert type(found["age"]) is int
    assert type(found["member"]) is bool
    for name in ("city", "grade", "member"):
        assert found[name] == table[name].mode()[0]


def test_the_service_takes_its_own_example(encoded: Any, holes: pd.DataFrame, label: Any) -> None:
    trees = make_pipeline(
        make_column_transformer(
            (SimpleImputer(), ["income"]), (OneHotEncoder(), ["city", "grade"]), remainder="drop"
        ),
        RandomForestRegressor(3, random_state=0),
    ).fit(holes, holes["age"])
    for model in (encoded, trees):
        made = unpack(serialize_model(model, holes if model is trees else holes.dropna()))
        scorer = Scorer(made.header, session(made.model))
        row = made.header["example"]
        for data in ([row], {name: [value] for name, value in row.items()}):
            answer = json.loads(scorer.score(json.dumps({"inputData": data}).encode()))
            assert answer["success"]
            assert all(
                len(values) == 1 for values in answer["outputParameters"]["outputData"].values()
            )


def test_it_is_no_record_of_the_sample(encoded: Any, table: pd.DataFrame) -> None:
    found = example(encoded, table)
    same = (table == pd.Series(found)).all(axis=1)
    assert not same.any()


def test_a_text_that_stands_once_is_not_shown() -> None:
    texts = [f"The secret of person number {i} is great" for i in range(20)]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model.fit(texts, [i % 2 for i in range(20)])
    assert example(model, pd.Series(texts, name="words")) == {"words": TEXT}
    assert example(model, pd.Series([*texts, "fine", "fine"])) == {"text": "fine"}


def test_a_category_that_stands_once_is_shown_because_the_schema_names_it() -> None:
    frame = pd.DataFrame({"city": ["Oslo", "Bergen", "Tromsø"]})
    model = make_pipeline(OneHotEncoder(), LinearRegression()).fit(frame, [1, 2, 3])
    assert example(model, frame)["city"] in set(frame["city"])


def test_nulls_do_not_count_and_a_column_of_nulls_is_null() -> None:
    frame = pd.DataFrame({"a": [np.nan, 5.0, 1.0, 3.0], "b": [np.nan, np.nan, np.nan, np.nan]})
    model = make_pipeline(SimpleImputer(keep_empty_features=True), LinearRegression())
    assert example(model.fit(frame, [1, 2, 3, 4]), frame) == {"a": 3.0, "b": None}


def test_it_keeps_to_the_range_and_the_largest_number(table: pd.DataFrame) -> None:
    positive = table[["income"]]
    model = make_pipeline(PowerTransformer(method="box-cox"), LinearRegression())
    header = unpack(serialize_model(model.fit(positive, table["ratio"]), positive)).header
    low, high = header["columns"][0]["range"]
    assert low <= header["example"]["income"] <= high
    huge = pd.DataFrame({"a": [1e300, 2e300, 3e300, 1.0]})
    trees = HistGradientBoostingRegressor(max_iter=2).fit(huge, [1, 2, 3, 4])
    assert example(trees, huge)["a"] == 1e300
    forest = RandomForestRegressor(2, random_state=0).fit(huge / 1e290, [1, 2, 3, 4])
    assert abs(example(forest, huge / 1e290)["a"]) <= 3.4e38


def test_arrays_have_one_too(numbers: Any, value: Any) -> None:
    found = example(LinearRegression().fit(numbers, value), numbers)
    assert list(found) == ["x0", "x1", "x2", "x3"]


def not_equal(frame: Any) -> Any:
    """Refuses the middle numbers, which are equal; takes every row of the sample."""
    if (frame["a"] == frame["b"]).any():
        raise ValueError("a and b must differ")
    return frame


def test_other_numbers_are_taken_where_the_model_refuses_the_middle_ones() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0, 5.0], "b": [0.0, 1.0, 8.0, 3.0, 9.0]})
    model = Pipeline([("check", FunctionTransformer(not_equal)), ("fit", LinearRegression())])
    sample = read_sample(model.fit(frame, [1, 2, 3, 4, 5]), frame, None)
    columns = [{"name": name, "type": "numeric", "nullable": False} for name in "ab"]
    reference = Reference(model, sample)
    assert example_row(sample, reference, columns, [], None) == {"a": 2.0, "b": 1.0}
    sample.data["a"] = sample.data["b"]
    with pytest.raises(InvalidDefinition, match=r"a and b must differ.*publish_service"):
        example_row(sample, reference, columns, [], None)


def test_the_image_is_one() -> None:
    image = load_image(IMAGE)
    assert image.size == (8, 8)
    assert len(base64.b64decode(IMAGE)) < 100


def test_columns_of_an_image_input_show_the_image(table: pd.DataFrame) -> None:
    model = make_column_transformer((FunctionTransformer(), ["city"])).fit(table[["city"]])
    sample = read_sample(model, table[["city"]], None)
    columns = [{"name": "city", "type": "character", "nullable": False}]
    inputs = [{"name": "image0", "type": "float", "columns": [0]}]
    assert example_row(sample, Reference(model, sample), columns, inputs, None) == {"city": IMAGE}
