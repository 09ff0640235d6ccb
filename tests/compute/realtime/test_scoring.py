"""The scorer with real compiled models: what the model says itself; and what is not believed."""

from __future__ import annotations

import base64
import io
import math
import sys
import threading
import time
from typing import Any

import lightgbm
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from support import attitude
from support.echo_model import answer, body_of, column, echo, scorer_of

from jupyter_mlserve.compute.realtime.scoring import MEDIA, Scorer
from jupyter_mlserve.compute.realtime.sessions import open_session
from jupyter_mlserve.contract.errors import (
    BundleCorrupt,
    CallTimeout,
    InternalError,
    InvalidDefinition,
    InvalidInput,
    MLServeError,
    ServiceFailed,
)
from jupyter_mlserve.contract.http_status import status_of
from jupyter_mlserve.contract.realtime import NULL_TEXT, unpack
from jupyter_mlserve.notebook.compile import serialize_model

NUMBERS = [{"name": "numbers", "type": "double", "columns": [0]}]


def compiled(model: Any, sample: Any, response: str | None = None, **limits: Any) -> Scorer:
    container = unpack(serialize_model(model, sample, response))
    return Scorer(container.header, open_session(container.model), **limits)


def every_way(scorer: Scorer, frame: Any) -> dict[str, list[Any]]:
    """The answer for a frame; columns, records, single rows and Arrow must all give it."""
    pa = pytest.importorskip("pyarrow")
    data = {name: _plain(frame[name]) for name in frame}
    found = answer(scorer.score(body_of(data)))
    rows = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    assert answer(scorer.score(body_of(rows))) == found
    singles = [answer(scorer.score(body_of([row]))) for row in rows[:20]]
    for name, values in found.items():
        # A matrix product may add in another order for one row than for many.
        assert [single[name][0] for single in singles] == [
            pytest.approx(value, rel=1e-12) if type(value) is float else value
            for value in values[:20]
        ]
    sink = pa.BufferOutputStream()
    table = pa.table(data)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream = sink.getvalue().to_pybytes()
    reply = pa.ipc.open_stream(scorer.score(stream, "aa")).read_all()
    assert reply.to_pydict() == found
    return found


def _plain(series: Any) -> list[Any]:
    return [None if cell is None or cell != cell else cell for cell in series.tolist()]


def test_attitude_as_the_original_printed_it() -> None:
    data = attitude.attitude()
    scorer = compiled(attitude.model(), data, "rating")
    expected = attitude.FIRST_FIVE
    for frame in (data.head(), data.head().drop(columns="rating")):
        found = every_way(scorer, frame)
        assert list(found) == ["rating_Pred"]
        assert found["rating_Pred"][0] == pytest.approx(expected[0], rel=1e-12)
        np.testing.assert_allclose(found["rating_Pred"], expected, atol=5e-7)


MODELS = {
    "logistic": LogisticRegression(max_iter=500),
    "forest": RandomForestClassifier(20, random_state=0),
    "lightgbm": lightgbm.LGBMClassifier(n_estimators=10, verbose=-1),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_classifiers_of_iris(name: str) -> None:
    iris = load_iris(as_frame=True)
    labels = iris.target_names[iris.target]
    model = MODELS[name].fit(iris.data, labels)
    scorer = compiled(model, iris.data.iloc[::5])
    fresh = iris.data * 1.01
    found = every_way(scorer, fresh)
    assert found.pop("PredictedLabel") == model.predict(fresh).tolist()
    assert list(found) == [f"Score.{label}" for label in model.classes_]
    scores = np.array(list(found.values())).T
    np.testing.assert_allclose(scores, model.predict_proba(fresh), rtol=1e-5, atol=1e-6)


def cars(rows: int, seed: int) -> Any:
    made = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "hp": np.where(made.random(rows) < 0.2, np.nan, made.normal(120, 30, rows).round(1)),
            "cyl": made.choice([4, 6, 8], rows),
            "turbo": made.random(rows) < 0.5,
            "colour": made.choice(["red", "grün", "青", ""], rows),
        }
    )


MIXED = make_pipeline(
    make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["hp", "cyl"]),
        ("passthrough", ["turbo"]),
        (OneHotEncoder(handle_unknown="ignore"), ["colour"]),
    ),
    Ridge(),
)
MIXED.fit(cars(200, 0), cars(200, 0)["cyl"] * 3.5 + cars(200, 0)["turbo"])
CARS = compiled(MIXED, cars(60, 0))


def test_a_mixed_frame_with_nulls_and_unseen_texts() -> None:
    fresh = cars(500, 1)
    fresh.loc[::7, "colour"] = "violet"
    found = every_way(CARS, fresh)
    np.testing.assert_allclose(found["Pred"], MIXED.predict(fresh), rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "hp": st.none() | st.floats(-1e6, 1e6),
                "cyl": st.integers(-1000, 1000),
                "turbo": st.booleans(),
                "colour": st.text(max_size=4).filter(lambda text: NULL_TEXT not in text),
            }
        ),
        min_size=1,
        max_size=12,
    )
)
def test_any_row_is_scored_as_by_the_model(rows: list[dict[str, Any]]) -> None:
    rows = [{name: row[name] for name in CARS.schema.names} for row in rows]
    frame = pd.DataFrame(rows).astype({"hp": float, "cyl": int})
    found = answer(CARS.score(body_of(rows)))["Pred"]
    np.testing.assert_allclose(found, MIXED.predict(frame), rtol=1e-9, atol=1e-9)
    assert (
        answer(
            CARS.score(body_of(frame.astype(object).where(frame.notna(), None).to_dict("list")))
        )["Pred"]
        == found
    )


def test_rules_of_a_real_model_are_kept() -> None:
    frame = cars(60, 2).drop(columns="hp")
    model = make_pipeline(
        make_column_transformer((OrdinalEncoder(), ["colour"]), remainder="passthrough"),
        LogisticRegression(),
    ).fit(frame, frame["cyl"] > 5)
    scorer = compiled(model, frame)
    found = every_way(scorer, frame)
    assert found["PredictedLabel"] == model.predict(frame).tolist()
    assert {type(label) for label in found["PredictedLabel"]} == {bool}
    row = {"cyl": 4, "turbo": True, "colour": "red"}
    for name, wrong in {"colour": "violet", "turbo": None, "cyl": 4.5}.items():
        for rows in ([{**row, name: wrong}], [row, {**row, name: wrong}]):
            with pytest.raises(InvalidInput) as caught:
                scorer.score(body_of(rows))
            assert caught.value.details["column"] == name
            assert caught.value.details["row"] == len(rows) - 1


def test_texts_go_through_their_steps() -> None:
    texts = pd.Series(["Good day", "bad NEWS", "good News", "a Bad day é"] * 5, name="text")
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0] * 5)
    scorer = compiled(model, texts)
    fresh = pd.DataFrame({"text": ["GOOD good", "É", "", "bad, bad!", "unheard of 東京"]})
    found = every_way(scorer, fresh)
    assert found["PredictedLabel"] == model.predict(fresh["text"]).tolist()
    np.testing.assert_allclose(found["Probability"], model.predict_proba(fresh["text"])[:, 1])


def test_outliers_are_integers() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 2)), columns=["a", "b"])
    model = IsolationForest(n_estimators=10, random_state=0).fit(frame)
    found = every_way(compiled(model, frame), frame)
    assert found["PredictedLabel"] == model.predict(frame).tolist()


def test_a_transformer_of_texts_gives_texts_and_null() -> None:
    frame = pd.DataFrame({"s": np.array(["a", "b", None, "a"], object)})
    model = SimpleImputer(strategy="most_frequent").fit(frame)
    scorer = compiled(model, frame)
    assert every_way(scorer, frame)["s"] == model.transform(frame)[:, 0].tolist()


def picture(colour: tuple[int, int, int], form: str = "PNG") -> str:
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("RGB", (4, 2), colour).save(file, form)
    return base64.b64encode(file.getvalue()).decode()


IMAGE: dict[str, Any] = {
    "name": "image0",
    "type": "float",
    "columns": [1],
    "width": 12,
    "steps": [
        {"step": "load_image"},
        {"step": "resize_image", "width": 2, "height": 2, "how": "aniso"},
        {
            "step": "extract_pixels",
            "channels": "RGB",
            "layout": "interleaved",
            "offset": 0.0,
            "scale": 1.0,
        },
    ],
}
SENTIMENT: dict[str, Any] = {
    "name": "sentiment0",
    "type": "double",
    "columns": [1],
    "steps": [{"step": "sentiment"}],
}


class TestSteps:
    def images(self) -> Scorer:
        inputs = [{"name": "numbers", "type": "double", "columns": [0]}, IMAGE]
        return echo(column("x"), column("photo", "character"), inputs=inputs)

    def test_images_become_pixels(self) -> None:
        scorer = self.images()
        for rows in (1, 3):
            body = body_of({"x": [7] * rows, "photo": [picture((10, 20, 30))] * rows})
            found = answer(scorer.score(body))
            assert list(found.values()) == [
                [7.0] * rows,
                *[[10.0] * rows, [20.0] * rows, [30.0] * rows] * 4,
            ]

    @pytest.mark.parametrize("rows", [1, 3])
    @pytest.mark.parametrize("text", ["", "not base64!", "aGVsbG8="])
    def test_what_is_no_image_is_the_callers_fault(self, rows: int, text: str) -> None:
        photos = [picture((1, 2, 3))] * (rows - 1) + [text]
        with pytest.raises(InvalidInput) as caught:
            self.images().score(body_of({"x": [1] * rows, "photo": photos}))
        error = caught.value
        assert error.field == f"inputData.photo[{rows - 1}]"
        assert error.details["column"] == "photo"
        assert error.details["row"] == rows - 1
        assert error.details["expected"] == "an image as base64 text"

    def test_images_end_with_the_deadline(self) -> None:
        options = onnxruntime.RunOptions()
        timer = threading.Timer(0.2, setattr, (options, "terminate", True))
        timer.start()
        photos = [picture((1, 2, 3), "TIFF")] * 20_000
        with pytest.raises(CallTimeout):
            self.images().score(body_of({"x": [1] * 20_000, "photo": photos}), "", options)
        timer.join()

    @pytest.mark.parametrize("rows", [1, 50])
    def test_slow_texts_end_with_the_deadline(self, rows: int) -> None:
        """Each takes a tenth of a second, and all of them more than a process gets to end."""
        pytest.importorskip("vaderSentiment")
        columns = [column(f"t{place}", "character") for place in range(48 // rows + 1)]
        inputs = [{**SENTIMENT, "name": f"s{p}", "columns": [p]} for p in range(len(columns))]
        scorer = echo(*columns, inputs=inputs)
        body = body_of({item["name"]: ["\U0001f600" * 19_999] * rows for item in columns})
        options = onnxruntime.RunOptions()
        timer = threading.Timer(0.2, setattr, (options, "terminate", True))
        timer.start()
        start = time.process_time()
        with pytest.raises(CallTimeout):
            scorer.score(body, "", options)
        assert time.process_time() - start < 2
        timer.join()

    @pytest.mark.parametrize("rows", [1, 3])
    def test_sentiment_is_a_number_and_null_stays_null(self, rows: int) -> None:
        pytest.importorskip("vaderSentiment")
        scorer = echo(column("x"), column("t", "character", True), inputs=[SENTIMENT])
        good = answer(
            scorer.score(body_of({"x": [1] * rows, "t": ["What a wonderful day!"] * rows}))
        )
        (found,) = good.values()
        assert len(found) == rows
        assert 0.5 < found[0] <= 1.0
        none = answer(scorer.score(body_of({"x": [1] * rows, "t": [None] * rows})))
        assert list(none.values()) == [[None] * rows]
        with pytest.raises(InvalidInput, match="whose sentiment can be taken"):
            scorer.score(body_of({"x": [1] * rows, "t": ["ok " * 10_000] * rows}))

    def test_a_library_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from jupyter_mlserve.contract import sentiment_step

        sentiment_step._analyzer.cache_clear()
        monkeypatch.setitem(sys.modules, "vaderSentiment", None)
        scorer = echo(column("x"), column("t", "character"), inputs=[SENTIMENT])
        for rows in (1, 3):
            with pytest.raises(MLServeError, match=r"pip install .*\[sentiment\]"):
                scorer.score(body_of({"x": [1] * rows, "t": ["good"] * rows}))

    @pytest.mark.parametrize("rows", [1, 3])
    def test_text_steps_leave_null_alone(self, rows: int) -> None:
        steps = [{"step": "lower"}, {"step": "words", "least": 2, "drop": ["the"]}]
        inputs = [{"name": "text0", "type": "string", "columns": [0, 1], "steps": steps}]
        scorer = echo(column("s", "character", True), column("t", "character"), inputs=inputs)
        body = body_of({"s": [None] * rows, "t": ["The Fox, a DOG"] * rows})
        assert list(answer(scorer.score(body)).values()) == [[None] * rows, ["fox dog"] * rows]


class TestAnswers:
    def test_what_is_no_number_becomes_null(self) -> None:
        scorer = scorer_of(
            NUMBERS,
            [{"name": "value", "type": "double", "width": 1}],
            [helper.make_node("Div", ["one", "numbers"], ["value"])],
            {},
            constants=[numpy_helper.from_array(np.array([[1.0]]), "one")],
            columns=[column("x", nullable=True)],
            example={"x": 1.0},
            outputs=[{"name": "y", "type": "numeric", "tensor": "value", "index": 0}],
        )
        frame = pd.DataFrame({"x": [0.0, -0.0, np.nan, 4.0, 1e-320]})
        assert every_way(scorer, frame)["y"] == [None, None, None, 0.25, None]

    @pytest.mark.parametrize("code", [-1, 2, 2**40])
    @pytest.mark.parametrize("rows", [1, 3])
    @pytest.mark.parametrize("media", ["", "ja"])
    def test_labels_that_are_not_there(self, code: int, rows: int, media: str) -> None:
        scorer = self.labelled()
        assert answer(scorer.score(body_of({"x": [0, 1]})))["y"] == ["no", "yes"]
        with pytest.raises(BundleCorrupt) as caught:
            scorer.score(body_of({"x": [0.0] * (rows - 1) + [float(code)]}), media)
        assert str(code) in caught.value.traceback
        assert status_of(caught.value) == 500

    def labelled(self) -> Scorer:
        return scorer_of(
            NUMBERS,
            [{"name": "code", "type": "int64", "width": 1}],
            [helper.make_node("Cast", ["numbers"], ["code"], to=TensorProto.INT64)],
            {},
            columns=[column("x")],
            example={"x": 1.0},
            outputs=[
                {
                    "name": "y",
                    "type": "character",
                    "tensor": "code",
                    "index": 0,
                    "labels": ["no", "yes"],
                }
            ],
        )

    @pytest.mark.parametrize("rows", [1, 3])
    @pytest.mark.parametrize("media", ["", "ja"])
    def test_tensors_of_another_shape(self, rows: int, media: str) -> None:
        """A graph may state any number of rows, and give twice as many."""
        scorer = scorer_of(
            NUMBERS,
            [{"name": "value", "type": "double", "width": 1}],
            [helper.make_node("Concat", ["numbers", "numbers"], ["value"], axis=0)],
            {},
            columns=[column("x")],
            example={"x": 1.0},
            outputs=[{"name": "y", "type": "numeric", "tensor": "value", "index": 0}],
        )
        with pytest.raises(BundleCorrupt, match="as its schema says") as caught:
            scorer.score(body_of({"x": [1.0] * rows}), media)
        assert str((2 * rows, 1)) in caught.value.traceback

    @pytest.mark.parametrize("rows", [1, 3])
    def test_a_model_that_fails(self, rows: int) -> None:
        scorer = scorer_of(
            NUMBERS,
            [{"name": "value", "type": "double", "width": 1}],
            [
                helper.make_node("Cast", ["numbers"], ["place"], to=TensorProto.INT64),
                helper.make_node("GatherND", ["table", "place"], ["flat"]),
                helper.make_node("Reshape", ["flat", "shape"], ["value"]),
            ],
            {},
            constants=[
                numpy_helper.from_array(np.array([1.0, 2.0]), "table"),
                numpy_helper.from_array(np.array([-1, 1]), "shape"),
            ],
            columns=[column("x")],
            example={"x": 1.0},
            outputs=[{"name": "y", "type": "numeric", "tensor": "value", "index": 0}],
        )
        assert answer(scorer.score(body_of({"x": [1] * rows})))["y"] == [2.0] * rows
        with pytest.raises(InternalError, match="failed on these rows") as caught:
            scorer.score(body_of({"x": [5] * rows}))
        assert caught.value.traceback
        assert caught.value.traceback not in str(caught.value)

    def test_names_that_json_must_escape(self) -> None:
        scorer = echo(column('say "x" \\ é'))
        for rows in (1, 2):
            assert answer(scorer.score(body_of({'say "x" \\ é': [1] * rows}))) == {
                'say "x" \\ é': [1.0] * rows
            }

    def test_replies_are_bounded(self) -> None:
        scorer = echo(column("s", "character"), result_limit=1000)
        assert answer(scorer.score(body_of({"s": ["x" * 500]})))
        for rows in (1, 2, 5000):
            with pytest.raises(ServiceFailed, match="result_limit"):
                scorer.score(body_of({"s": ["x" * 1000] * rows}))


def test_a_run_ends_with_its_deadline() -> None:
    scorer = echo(column("a"))
    options = onnxruntime.RunOptions()
    options.terminate = True
    with pytest.raises(CallTimeout, match="call_timeout"):
        scorer.score(body_of({"a": [1]}), "", options)


def test_memory_that_runs_out_is_tried_with_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ONNX Runtime says it when its arena is full; only a process of its own can limit that."""
    scorer = echo(column("a"))
    session = scorer._session
    sizes: list[int] = []

    class Small:
        def run(self, names: Any, feeds: Any, options: Any) -> Any:
            (values,) = feeds.values()
            sizes.append(len(values))
            if len(values) > 1500:
                raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for")
            return session.run(names, feeds, options)

    monkeypatch.setattr(scorer, "_session", Small())
    found = answer(scorer.score(body_of({"a": list(range(10_000))})))
    assert found["a"] == [float(i) for i in range(10_000)]
    assert sizes[:2] == [10_000, 1250]

    class None_(Small):
        def run(self, names: Any, feeds: Any, options: Any) -> Any:
            raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(scorer, "_session", None_())
    for rows in (1, 1000):
        with pytest.raises(MemoryError):
            scorer.score(body_of({"a": [1] * rows}))


def test_header_and_model_belong_together() -> None:
    container = unpack(serialize_model(MIXED, cars(60, 0)))
    other = echo(column("a"))
    with pytest.raises(InvalidDefinition, match="does not fit its schema"):
        Scorer(container.header, other._session)


def test_threads_share_a_scorer() -> None:
    fresh = cars(3000, 5)
    frame = fresh.astype(object).where(fresh.notna(), None)
    bodies = [
        body_of(frame.iloc[i : i + n].to_dict("list")) for i, n in ((0, 1), (5, 7), (0, 3000))
    ]
    expected = [CARS.score(body) for body in bodies]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            for number, body in enumerate(bodies):
                if CARS.score(body) != expected[number]:
                    wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_example_of_a_header_is_accepted() -> None:
    container = unpack(serialize_model(MIXED, cars(60, 0)))
    scorer = Scorer(container.header, open_session(container.model))
    (value,) = answer(scorer.score(body_of([container.header["example"]])))["Pred"]
    assert math.isfinite(value)
    assert set(MEDIA) == {"", "aj", "ja", "aa"}
