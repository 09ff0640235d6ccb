"""Images in pipelines: as transformers of scikit-learn, compiled, proven, served."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from support.networks import channels_last, encoded, residual

from jupyter_mlserve.compute.realtime.scoring import Scorer
from jupyter_mlserve.compute.realtime.sessions import open_session
from jupyter_mlserve.compute.realtime.validate import validate_upload
from jupyter_mlserve.contract.errors import InvalidDefinition, InvalidInput
from jupyter_mlserve.contract.image_steps import extract_pixels, load_image, resize_image
from jupyter_mlserve.contract.realtime import unpack
from jupyter_mlserve.notebook.compile import NotCompilable, serialize_model
from jupyter_mlserve.notebook.transforms.images import (
    ExtractPixels,
    FeaturizeImage,
    LoadImage,
    ResizeImage,
)


def digits(rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Handwritten digits as PNG files of 8 x 8 grey pixels."""
    found = load_digits()
    pictures = [encoded((image * 255 / 16).astype(np.uint8)) for image in found.images[:rows]]
    return pd.DataFrame({"picture": pictures}), found.target[:rows]


def shop(rows: int = 60, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Pictures of a disc or a square of some colour, in files of several kinds, and a price."""
    rng = np.random.default_rng(seed)
    pictures, kinds = [], rng.integers(0, 2, rows)
    y, x = np.mgrid[:40, :50]
    for row, kind in enumerate(kinds):
        radius, (top, left) = rng.integers(8, 14), rng.integers(15, 25, 2)
        inside = (y - top) ** 2 + (x - left) ** 2 < radius**2
        if kind:
            inside = (abs(y - top) < radius) & (abs(x - left) < radius)
        pixels = rng.integers(0, 60, (40, 50, 3)).astype(np.uint8)
        pixels[inside] = rng.integers(120, 255, 3)
        pictures.append(encoded(pixels, ("PNG", "JPEG", "BMP")[row % 3]))
    frame = pd.DataFrame(
        {
            "price": rng.normal(10, 3, rows).round(2),
            "picture": pictures,
            "place": rng.choice(["north", "south"], rows),
        }
    )
    return frame, np.array(["disc", "square"])[kinds]


def featurizer(network: Any = None, **options: Any) -> Any:
    return make_pipeline(
        LoadImage(), ResizeImage(16, 16), FeaturizeImage(network or residual(), **options)
    )


def served(data: bytes, rows: pd.DataFrame) -> dict[str, list[Any]]:
    """What the runtime answers for ``rows``, after the server's check of the upload."""
    container = validate_upload(data)
    scorer = Scorer(container.header, open_session(container.model))
    body = json.dumps({"inputData": rows.to_dict("list")}).encode()
    reply: dict[str, list[Any]] = json.loads(scorer.score(body))["outputParameters"]["outputData"]
    for row in range(3):  # one row takes another way
        one = json.dumps({"inputData": rows.iloc[[row]].to_dict("list")}).encode()
        found = json.loads(scorer.score(one))["outputParameters"]["outputData"]
        for name, values in found.items():
            if isinstance(values[0], str):
                assert values[0] == reply[name][row]
            else:
                assert values[0] == pytest.approx(reply[name][row], rel=1e-5)
    return reply


def agrees(model: Any, data: bytes, rows: pd.DataFrame) -> None:
    found = served(data, rows)
    expected = model.predict_proba(rows)
    assert found["PredictedLabel"] == model.predict(rows).tolist()
    if expected.shape[1] == 2:
        np.testing.assert_allclose(found["Probability"], expected[:, 1], atol=1e-5)
    else:
        for label, column in zip(model.classes_, expected.T, strict=True):
            np.testing.assert_allclose(found[f"Score.{label}"], column, atol=1e-5)


def test_digits_from_pixels_to_http_and_back() -> None:
    frame, target = digits(400)
    model = make_pipeline(
        LoadImage(), ResizeImage(8, 8), ExtractPixels("L", scale=1 / 16), LogisticRegression()
    )
    model.set_params(logisticregression__max_iter=300)
    model.fit(frame[:300], target[:300])
    assert model.score(frame[300:], target[300:]) > 0.85
    data = serialize_model(model, frame[:300])
    header = unpack(data).header
    assert header["inputs"] == [
        {
            "name": "image0",
            "type": "float",
            "columns": [0],
            "width": 64,
            "steps": [
                {"step": "load_image"},
                {"step": "resize_image", "width": 8, "height": 8, "how": "iso_crop"},
                {
                    "step": "extract_pixels",
                    "channels": "L",
                    "layout": "planar",
                    "offset": 0.0,
                    "scale": 0.0625,
                },
            ],
        }
    ]
    assert header["columns"] == [{"name": "picture", "type": "character", "nullable": False}]
    assert header["proof"]["probes"] == {"sample": 64, "image": 20}
    agrees(model, data, frame[300:])


def test_a_network_beside_numbers_and_categories() -> None:
    frame, target = shop(90)
    model = make_pipeline(
        ColumnTransformer(
            [
                ("price", StandardScaler(), ["price"]),
                ("picture", featurizer(), ["picture"]),
                ("place", OneHotEncoder(handle_unknown="ignore"), ["place"]),
            ]
        ),
        LogisticRegression(max_iter=1000),
    )
    model = clone(model).fit(frame[:50], target[:50])
    names = list(model[0].get_feature_names_out())
    assert names[:2] == ["price__price", "picture__feature0"]
    assert len(names) == 1 + 8 + 2
    data = serialize_model(model, frame[:50])
    header = unpack(data).header
    assert [(i["name"], i["type"], i["columns"]) for i in header["inputs"]] == [
        ("numbers", "double", [0]),
        ("texts", "string", [2]),
        ("image0", "float", [1]),
    ]
    assert [column["nullable"] for column in header["columns"]] == [False, False, True]
    assert header["proof"]["probes"]["image"] == 20
    agrees(model, data, frame[50:])


def test_a_forest_on_features_and_a_scalar_column() -> None:
    frame, target = shop(60)
    model = make_pipeline(
        ColumnTransformer([("picture", featurizer(), "picture")], remainder="drop"),
        RandomForestClassifier(10, random_state=0),
    ).fit(frame[:40], target[:40])
    agrees(model, serialize_model(model, frame[:40]), frame[40:])


def test_trees_beside_an_image_are_tried_at_their_thresholds() -> None:
    frame, target = shop(60)
    model = make_pipeline(
        ColumnTransformer([("p", featurizer(), ["picture"]), ("n", "passthrough", ["price"])]),
        RandomForestClassifier(5, max_depth=3, random_state=0),
    ).fit(frame[:40], target[:40])
    data = serialize_model(model, frame[:40])
    assert unpack(data).header["proof"]["probes"]["threshold"] > 0
    agrees(model, data, frame[40:])


@pytest.mark.parametrize("layout", ["planar", "interleaved"])
@pytest.mark.parametrize("network", [residual, channels_last])
def test_pixels_or_images_make_the_same_features(network: Any, layout: str) -> None:
    frame, _ = shop(6)
    column = frame[["picture"]]
    direct = featurizer(network()).fit(column)
    pixels = make_pipeline(
        LoadImage(),
        ResizeImage(16, 16),
        ExtractPixels(layout=layout),
        FeaturizeImage(network(), layout=layout),
    ).fit(column)
    np.testing.assert_allclose(direct.transform(column), pixels.transform(column), rtol=1e-4)
    model = make_pipeline(*[step for _, step in pixels.steps], Ridge())
    model.fit(column, frame["price"])
    found = served(serialize_model(model, column), column)
    np.testing.assert_allclose(found["Pred"], model.predict(column), rtol=1e-5)


def test_two_sizes_of_one_picture_and_two_pictures() -> None:
    frame, target = shop(40)
    frame["other"] = frame["picture"][::-1].to_numpy()
    small = make_pipeline(LoadImage(), ResizeImage(4, 4, "iso_pad"), ExtractPixels("L"))
    model = make_pipeline(
        ColumnTransformer(
            [
                ("big", featurizer(), ["picture"]),
                ("small", small, ["picture"]),
                ("o", small, ["other"]),
            ]
        ),
        LogisticRegression(max_iter=2000),
    ).fit(frame[:30], target[:30])
    frame = frame[["price", "picture", "place", "other"]]
    data = serialize_model(model, frame[:30])
    images = [i for i in unpack(data).header["inputs"] if i["type"] == "float"]
    assert sorted(item["columns"][0] for item in images) == [1, 1, 3]
    agrees(model, data, frame[30:])


def test_transformers_alone_give_what_the_runtime_sees() -> None:
    frame, _ = shop(4)
    chain = make_pipeline(
        LoadImage(), ResizeImage(9, 7, "aniso"), ExtractPixels(offset=100, scale=0.5)
    )
    found = chain.fit_transform(frame[["picture"]])
    assert (found.dtype, found.shape) == (np.float64, (4, 9 * 7 * 3))
    image = resize_image(load_image(frame["picture"][2]), 9, 7, "aniso")
    assert (found[2] == extract_pixels(image, offset=100, scale=0.5)).all()
    assert list(chain.get_feature_names_out()[:2]) == ["picture_pixel0", "picture_pixel1"]
    for form in (
        frame["picture"],
        frame["picture"].tolist(),
        frame[["picture"]].to_numpy(),
        frame["picture"].to_numpy(),
    ):
        assert (chain.transform(form) == found).all()
    table = chain.set_output(transform="pandas").transform(frame[["picture"]])
    assert (table.to_numpy() == found).all()


def test_clones_and_pickles() -> None:
    frame, _ = shop(4)
    fitted = featurizer().fit(frame[["picture"]])
    again = pickle.loads(pickle.dumps(fitted))
    assert (again.transform(frame[["picture"]]) == fitted.transform(frame[["picture"]])).all()
    fresh = clone(fitted)
    assert not hasattr(fresh[-1], "network_")
    assert fresh[-1].get_params()["network"] == fitted[-1].network
    assert len(repr(fitted)) < 1000


def test_a_network_from_a_file(tmp_path: Path) -> None:
    frame, _ = shop(4)
    path = tmp_path / "network.onnx"
    path.write_bytes(residual())
    from_file = featurizer(path).fit_transform(frame[["picture"]])
    assert (from_file == featurizer(str(path)).fit_transform(frame[["picture"]])).all()
    assert (from_file == featurizer().fit_transform(frame[["picture"]])).all()
    with pytest.raises(ValueError, match=r"efficientnet-lite0.*No such file"):
        featurizer(tmp_path / "other.onnx").fit(frame[["picture"]])
    with pytest.raises(ValueError, match="cannot be used: it is not an ONNX network"):
        featurizer(b"nothing").fit(frame[["picture"]])


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (b"\x89PNG\r\n\x1a\n", "got bytes"),
        (Path("cat.png"), "got PosixPath"),
        (None, "got no image"),
        (np.nan, "got no image"),
        (17, "got int"),
        ("cat.png", "not base64"),
        ("", "empty"),
    ],
)
def test_other_things_than_base64_say_how_to_make_it(cell: Any, why: str) -> None:
    frame, _ = shop(3)
    frame["picture"] = [*frame["picture"][:2], cell]
    with pytest.raises(ValueError, match=rf"row 2 of column 'picture'.*{why}.*b64encode"):
        LoadImage().fit(frame[["picture"]][:2]).transform(frame[["picture"]])


def test_broken_images_name_the_row() -> None:
    frame, _ = shop(3)
    good = frame["picture"][0]
    cut = base64.b64encode(base64.b64decode(good)[:300]).decode()
    chain = make_pipeline(LoadImage(), ResizeImage(4, 4)).fit(frame[["picture"]])
    with pytest.raises(ValueError, match="ResizeImage: row 1: the image is cut off or broken"):
        chain.transform(pd.DataFrame({"picture": [good, cut]}))


def test_steps_in_the_wrong_order_say_what_to_do() -> None:
    frame, _ = shop(3)
    column = frame[["picture"]]
    with pytest.raises(ValueError, match="put ResizeImage between"):
        make_pipeline(LoadImage(), ExtractPixels()).fit(column)
    with pytest.raises(ValueError, match="put LoadImage before"):
        ResizeImage().fit(column)
    with pytest.raises(ValueError, match="put LoadImage and ResizeImage before"):
        ExtractPixels().fit(column)
    with pytest.raises(ValueError, match=r"takes 16 x 16; put\s+ResizeImage\(16, 16\)"):
        make_pipeline(LoadImage(), ResizeImage(20, 20), FeaturizeImage(residual())).fit(column)
    with pytest.raises(ValueError, match="takes one column, got 2"):
        LoadImage().fit(frame[["picture", "place"]])


@pytest.mark.parametrize(
    "step",
    [
        ResizeImage(0, 5),
        ResizeImage(5.0, 5),
        ResizeImage(True, 5),
        ResizeImage(5000, 5000),
        ResizeImage(how="fill"),
        ExtractPixels("RGBA"),
        ExtractPixels(layout="rows"),
        ExtractPixels(offset="0"),
        ExtractPixels(scale=1e300),
        FeaturizeImage(residual(), layout="rows"),
        FeaturizeImage(residual(), mean=(1, 2)),
        FeaturizeImage(residual(), std=(1, 0, 2)),
    ],
)
def test_parameters_are_checked(step: Any) -> None:
    frame, _ = shop(2)
    before = [LoadImage()] if isinstance(step, ResizeImage) else [LoadImage(), ResizeImage(16, 16)]
    with pytest.raises(ValueError, match=type(step).__name__):
        make_pipeline(*before, step).fit(frame[["picture"]])


def test_what_has_no_compiled_form_is_refused() -> None:
    frame, _ = shop(4)
    column = frame[["picture"]]
    with pytest.raises(NotCompilable, match="it gives images"):
        serialize_model(make_pipeline(LoadImage(), ResizeImage(4, 4)).fit(column), column)
    twice = make_pipeline(LoadImage(), ResizeImage(9, 9), ResizeImage(4, 4), ExtractPixels())
    with pytest.raises(NotCompilable, match="resized twice"):
        serialize_model(twice.fit(column), column)


def test_a_sample_with_a_broken_image_is_refused() -> None:
    frame, target = digits(30)
    model = make_pipeline(LoadImage(), ResizeImage(8, 8), ExtractPixels("L"), LogisticRegression())
    model.fit(frame, target)
    frame.loc[7, "picture"] = "nothing"
    with pytest.raises(InvalidDefinition, match=r"row 7 of column 'picture'.*not base64"):
        serialize_model(model, frame)


def test_features_alone_are_a_service_too() -> None:
    frame, _ = shop(8)
    column = frame[["picture"]]
    model = featurizer().fit(column)
    found = served(serialize_model(model, column), column)
    table = np.column_stack([found[f"feature{i}"] for i in range(8)])
    np.testing.assert_allclose(table, model.transform(column), rtol=1e-5, atol=1e-7)


def test_bad_images_in_a_call_name_column_and_row() -> None:
    frame, target = digits(40)
    model = make_pipeline(LoadImage(), ResizeImage(8, 8), ExtractPixels("L"), LogisticRegression())
    data = serialize_model(model.fit(frame, target), frame)
    container = unpack(data)
    scorer = Scorer(container.header, open_session(container.model))
    good = frame["picture"][0]
    for bad, why in (
        ("cat.png", "not base64"),
        (base64.b64encode(base64.b64decode(good)[:60]).decode(), "cut off or broken"),
        (None, "null"),
        (7, "got 7"),
    ):
        for rows in ([bad], [good, bad]):
            with pytest.raises(InvalidInput, match=why) as caught:
                scorer.score(json.dumps({"inputData": {"picture": rows}}).encode())
            assert caught.value.details["column"] == "picture"
            assert caught.value.details["row"] == len(rows) - 1
