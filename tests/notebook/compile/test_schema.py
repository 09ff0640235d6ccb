"""What the sample says: columns, response, types; and what is wrong with a sample."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer
from support.compiled import score

from jupyter_mlserve.contract.errors import InvalidDefinition, MLServeError
from jupyter_mlserve.contract.realtime import unpack
from jupyter_mlserve.notebook.compile import serialize_model


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"a": rng.normal(size=60), "b": rng.integers(0, 9, 60), "y": rng.normal(size=60)}
    )


@pytest.fixture(scope="module")
def model(frame: pd.DataFrame) -> Any:
    return LinearRegression().fit(frame[["a", "b"]], frame["y"])


def test_bytes_begin_as_the_published_client_demands(model: Any, frame: Any) -> None:
    assert serialize_model(model, frame[["a", "b"]])[:4] == b"blob"


def test_the_response_is_found_named_or_absent(model: Any, frame: Any) -> None:
    def header(sample: Any, response: str | None = None) -> Any:
        return unpack(serialize_model(model, sample, response)).header

    found = header(frame)
    assert found["response"] == {"name": "y", "type": "numeric", "position": 2}
    assert [column["name"] for column in found["columns"]] == ["a", "b"]
    assert found["outputs"][0]["name"] == "y_Pred"
    first = header(frame[["y", "a", "b"]], "y")
    assert first["response"]["position"] == 0
    assert header(frame[["a", "b"]])["outputs"][0]["name"] == "Pred"
    named = header(frame[["a", "b"]], "price")
    assert named["response"] == {"name": "price", "type": None, "position": None}
    assert named["outputs"][0]["name"] == "price_Pred"


def test_a_column_that_is_left_over_is_the_response_only_if_the_model_predicts_it(
    model: Any, frame: Any
) -> None:
    """A row number does not give the output its name; what was named is taken as it is."""
    label = np.where(frame["y"] > 0, "yes", "no")
    classifier = LogisticRegression().fit(frame[["a", "b"]], label)
    clusters = KMeans(2, n_init=1).fit(frame[["a", "b"]])
    other = frame[["a", "b"]].assign(y="maybe")

    def response(model: Any, sample: Any, name: str | None = None) -> Any:
        return unpack(serialize_model(model, sample, name)).header["response"]["name"]

    assert response(classifier, frame.assign(y=label)) == "y"
    missing = pd.Series(label).astype(object).where(frame["b"] > 1, None)
    assert response(classifier, frame.assign(y=missing)) == "y"
    assert response(model, frame[["a", "b"]].assign(id=range(60)), "id") == "id"
    for fitted, sample in ((classifier, other), (clusters, frame), (classifier, frame)):
        with pytest.raises(InvalidDefinition, match="nor what it predicts") as caught:
            serialize_model(fitted, sample)
        assert caught.value.details["extra"] == ["y"]
    with pytest.raises(InvalidDefinition) as caught:
        serialize_model(model, frame.assign(id=1, z=2), "y")
    assert caught.value.details["extra"] == ["id", "z"]
    assert "Leave them out: sample[[*model.feature_names_in_, 'y']]." in str(caught.value)


def test_proof_and_model_are_told(model: Any, frame: Any) -> None:
    header = unpack(serialize_model(model, frame)).header
    proof = header["proof"]
    assert header["model"] == "LinearRegression"
    assert proof["rows"] == sum(proof["probes"].values()) > 60
    assert proof["largest_difference"] < 1e-12
    assert {"scikit-learn", "onnx", "onnxruntime", "skl2onnx"} <= set(proof["libraries"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[["b", "a"]], "another order"),
        (lambda f: f[["a"]], "'b' is missing"),
        (lambda f: f[["c", "d"][:0]], "columns 'a' and 'b' are missing"),
        (lambda f: f.assign(id=range(60)), "columns 'y' and 'id' are not ones"),
        (lambda f: f[["a", "b"]].assign(id=range(60)), "name it: response='id'"),
        (lambda f: f[["a", "b"]].assign(z="x"), r"sample\[list\(model.feature_names_in_\)\]"),
        (lambda f: f.head(0), "no rows"),
        (lambda f: f.drop(columns="y").assign(b="x"), "cannot score the sample"),
        (lambda f: "text", "expected a frame"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(
    change: Any, message: str, model: Any, frame: Any
) -> None:
    with pytest.raises(InvalidDefinition, match=message) as caught:
        serialize_model(model, change(frame))
    assert caught.value.field == "sample"


def test_dates_are_refused_with_the_way_out(frame: Any) -> None:
    dated = frame[["a"]].assign(when=pd.Timestamp("2024-01-01"))
    model = LinearRegression().fit(frame[["a", "b"]].set_axis(["a", "when"], axis=1), frame["y"])
    with pytest.raises(InvalidDefinition, match=r"dates.*seconds since 1970") as caught:
        serialize_model(model, dated)
    assert caught.value.field == "when"


def test_what_is_no_fitted_model_is_refused(frame: Any) -> None:
    with pytest.raises(InvalidDefinition, match=r"is a str\. A realtime service is"):
        serialize_model("a model", frame)
    with pytest.raises(InvalidDefinition, match="not fitted"):
        serialize_model(LinearRegression(), frame)


def test_numbers_too_large_for_float32_models_are_refused_by_the_schema(frame: Any) -> None:
    model = RandomForestRegressor(3).fit(frame[["a"]], frame["y"])
    header = unpack(serialize_model(model, frame[["a"]])).header
    assert header["largest"] == float(np.finfo(np.float32).max)


def test_a_range_is_recorded_where_the_model_refuses_what_lies_outside(frame: Any) -> None:
    positive = frame[["a"]].abs() + 0.1
    model = make_pipeline(PowerTransformer(method="box-cox"), LinearRegression())
    model.fit(positive, frame["y"])
    low, high = unpack(serialize_model(model, positive)).header["columns"][0]["range"]
    assert 0 < low <= positive["a"].min()
    assert high >= positive["a"].max()


def test_integers_that_can_be_missing(frame: Any) -> None:
    from sklearn.impute import SimpleImputer

    sample = frame[["b"]].astype("Int64")
    sample.loc[::5, "b"] = pd.NA
    floats = sample.astype("float64")
    model = make_pipeline(SimpleImputer(), LinearRegression()).fit(floats, frame["y"])
    made = unpack(serialize_model(model, sample))
    column = made.header["columns"][0]
    assert (column["type"], column["nullable"]) == ("integer", True)
    found = score(made, sample.head(6))["Pred"]
    assert found == pytest.approx(model.predict(floats.head(6)))


def test_a_missing_library_is_one_line_that_says_what_to_install(
    model: Any, frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(MLServeError, match=r"needs skl2onnx.*pip install skl2onnx$") as caught:
        serialize_model(model, frame)
    assert "\n" not in caught.value.message


def test_arrays_name_their_columns_by_position(frame: Any) -> None:
    x = frame[["a", "b"]].to_numpy()
    model = LogisticRegression().fit(x, frame["y"] > 0)
    header = unpack(serialize_model(model, x)).header
    assert [column["name"] for column in header["columns"]] == ["x0", "x1"]
