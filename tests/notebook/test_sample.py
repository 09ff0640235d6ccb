"""The sample that nobody named: which frame of the notebook is taken, and when none is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.error import UsageError
from sklearn.linear_model import LinearRegression

from jupyter_mlserve.notebook.sample import Sample, find_sample

ROWS = pd.DataFrame({"a": [1.0, 2.0, 4.0, 7.0], "b": [0.0, 3.0, 1.0, 2.0], "y": [1.0, 2, 3, 5]})
X = ROWS[["a", "b"]]
MODEL = LinearRegression().fit(X, ROWS["y"])


def found(response: str | None = None, **variables: Any) -> Sample:
    return find_sample(MODEL, variables, response, "model")


def refused(response: str | None = None, **variables: Any) -> str:
    with pytest.raises(UsageError) as caught:
        found(response, **variables)
    return str(caught.value)


def test_the_frame_with_the_models_columns_is_found() -> None:
    other = pd.DataFrame({"a": [1.0], "c": [2.0]})
    sample = found(model=MODEL, other=other, rows=ROWS, _hidden=X, number=3)
    assert (sample.name, sample.rows, sample.found) == ("rows", 4, True)
    assert sample.frame is ROWS
    assert found(X=X).name == "X"


def test_parts_of_a_frame_count_as_the_frame_and_the_response_is_wanted() -> None:
    """As train_test_split leaves a notebook."""
    parts = {"X_train": X.iloc[[0, 2, 3]], "X_test": X.iloc[[1]], "X": X}
    assert found(**parts).name == "X"
    assert found(**parts, rows=ROWS, again=ROWS).name in ("rows", "again")


def test_frames_that_hold_different_rows_are_named() -> None:
    said = refused(old=X, new=X + 1)
    assert "old, new" in said or "new, old" in said
    assert "--sample" in said
    # The same index says nothing when the rows are not the same.
    assert "different rows" in refused(rows=ROWS, changed=ROWS.assign(a=ROWS["a"] + 0.1))
    # An index that names no row says nothing either.
    assert "different rows" in refused(rows=X.set_index(np.zeros(4, int)), some=X.iloc[:2])


def test_a_frame_with_the_response_wins_over_rows_to_be_scored() -> None:
    assert found(new=pd.concat([X + 1] * 3), rows=ROWS).name == "rows"
    assert "different rows" in refused(new=X + 1, old=X)


def test_the_order_of_the_columns_counts_and_one_more_may_be_there() -> None:
    assert "another order" in refused(turned=ROWS[["b", "a"]])
    wide = ROWS.assign(z=1.0)
    assert "--sample wide[list(model.feature_names_in_)]" in refused(wide=wide)
    assert "(a, b)" in refused(other=pd.DataFrame({"c": [1]}))
    assert "No frame" in refused(empty=X.head(0))


def test_a_response_that_is_named_must_be_the_one_column_more() -> None:
    assert found("y", rows=ROWS).name == "rows"
    assert found("y", X=X).name == "X"
    assert found("y", X=X, wrong=ROWS.rename(columns={"y": "z"})).name == "X"
    assert "No frame" in refused("z", rows=ROWS)


def test_a_column_that_the_model_does_not_predict_is_no_response() -> None:
    """A row number or a forgotten column: the frame is not taken, and the message names it."""
    said = refused(rows=X.assign(id=[9.0, -9.0, 5.0, 0.0]))
    assert "In rows, column 'id' is not one that the model was fitted on" in said
    assert "--response id" in said
    assert "--sample rows[list(model.feature_names_in_)]" in said
    assert found(rows=X.assign(id=[9.0, -9.0, 5.0, 0.0]), X=X).name == "X"
    assert found("id", rows=X.assign(id=[9.0, -9.0, 5.0, 0.0])).name == "rows"
    said = refused("y", rows=ROWS.assign(id=0))
    assert "Leave it out: --sample rows[[*model.feature_names_in_, 'y']]" in said


@pytest.mark.parametrize("model", [LinearRegression().fit(X.to_numpy(), ROWS["y"]), object()])
def test_a_model_that_knows_no_names_needs_a_sample(model: Any) -> None:
    with pytest.raises(UsageError, match="name one with --sample"):
        find_sample(model, {"X": X}, None)
