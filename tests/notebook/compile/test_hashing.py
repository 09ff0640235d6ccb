"""Hashed categories: FeatureHasher on columns of texts (HashingVectorizer: see test_text)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.compiled import proved

from jupyter_mlserve.compute.realtime.validate import validate_upload
from jupyter_mlserve.contract.realtime import pack
from jupyter_mlserve.notebook.compile import NotCompilable, serialize_model
from jupyter_mlserve.notebook.compile.running import run

UNSEEN = [
    "Tromsø",
    "",
    " ",
    "New York ",
    "new york",
    "東京都",
    "x" * 3000,
    "a\u0000b",
    "\ue002\ue002",
]


def hasher(size: int, **options: Any) -> FeatureHasher:
    return FeatureHasher(size, input_type="string", **options)


@pytest.mark.parametrize("size", [2, 7, 1000, 2**16])
@pytest.mark.parametrize("signs", [True, False])
def test_one_column_of_categories(size: int, signs: bool, table: Any, label: Any) -> None:
    column = ColumnTransformer([("keep", "passthrough", ["city"])])
    model = make_pipeline(column, hasher(size, alternate_sign=signs), LogisticRegression())
    model.fit(table[["city"]], label)
    made = proved(model, table[["city"]][:60], pd.DataFrame({"city": UNSEEN}))
    assert not made.header["columns"][0]["nullable"]
    assert "known" not in made.header["columns"][0]


def test_beside_numbers_after_an_imputer(holes: Any, label: Any) -> None:
    """Two columns into one hash, where equal texts meet in one place."""
    texts = make_pipeline(
        SimpleImputer(missing_values=np.nan, strategy="constant", fill_value="?"), hasher(32)
    )
    frame = holes.astype({"city": object, "grade": object})
    model = make_pipeline(
        ColumnTransformer(
            [("texts", texts, ["city", "grade"]), ("numbers", StandardScaler(), ["age"])]
        ),
        LogisticRegression(),
    ).fit(frame[:200][["age", "city", "grade"]], label[:200])
    fresh = frame[200:][["age", "city", "grade"]].reset_index(drop=True)
    fresh.loc[::2, "grade"] = fresh.city[::2]
    fresh.loc[::5, "city"] = np.nan
    made = proved(model, frame[:200][["age", "city", "grade"]], fresh.fillna({"grade": "a"}))
    assert [column["nullable"] for column in made.header["columns"]] == [False, True, False]


def test_arrays_of_texts() -> None:
    rows = np.array([["a", "b"], ["b", "b"], ["c", "a"]] * 9, object)
    proved(hasher(16).fit(rows), rows, np.array([["q", "a"], ["", "é"]], object))


def test_the_smallest_hash_of_all() -> None:
    """The hash -2**31, whose absolute value is no 32 bit integer."""
    from sklearn.utils import murmurhash3_32

    text = "akqlrggi"
    assert murmurhash3_32(text.encode(), seed=0, positive=False) == -(2**31)
    rows = np.array([[text], ["b"], ["c"]] * 5, object)
    for size in (3, 10, 2**16 - 1):
        model = make_pipeline(hasher(size), Ridge()).fit(rows, [1.0, 2.0, 4.0] * 5)
        proved(model, rows, rows)


def test_the_server_takes_what_is_made(table: Any, label: Any) -> None:
    texts = table.city + " " + table.grade
    for model in (
        make_pipeline(HashingVectorizer(n_features=2**10), LogisticRegression()),
        make_pipeline(HashingVectorizer(n_features=99, ngram_range=(1, 3)), LogisticRegression()),
    ):
        data = serialize_model(model.fit(texts, label), texts[:50])
        assert validate_upload(data).header["columns"][0]["name"] == "text"


def test_no_text_at_all_in_a_batch(table: Any, label: Any) -> None:
    """The tokenizer then finds no token, and there are rows all the same."""
    model = make_pipeline(HashingVectorizer(n_features=8), LogisticRegression())
    made = proved(model.fit(table.city, label), table.city[:40], pd.Series(["", " "]))
    empty = np.zeros((0, 1), object)
    assert all(len(found) == 0 for found in run(made.model, {"text0": empty}))
    assert pack({k: v for k, v in made.header.items() if k != "sha256"}, made.model)


def test_rows_that_are_too_wide_are_refused() -> None:
    rows = np.array([["a"], ["b"], ["c"]] * 5, object)
    model = make_pipeline(hasher(2**18 + 1), Ridge()).fit(rows, np.arange(15))
    with pytest.raises(NotCompilable, match=r"at most 262,144 \(2\*\*18\)"):
        serialize_model(model, rows)
