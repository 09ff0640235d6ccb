"""Realtime services through the client, on a real server."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from support import attitude
from support.running_server import RunningServer

from jupyter_mlserve import (
    DeployClient,
    ExtractPixels,
    LoadImage,
    ResizeImage,
    serialize_model,
)
from jupyter_mlserve.client.realtime_service import ARROW_ROWS, ArrowResponse
from jupyter_mlserve.contract.errors import (
    InvalidDefinition,
    InvalidInput,
    TooLarge,
    VersionDeleted,
    VersionExists,
)

DATA = attitude.attitude()
PREDICTORS = list(attitude.NAMES[1:])


@pytest.fixture(scope="session")
def container() -> bytes:
    return serialize_model(attitude.model(), DATA, "rating")


@pytest.fixture(scope="session")
def mixed() -> tuple[Any, pd.DataFrame, bytes]:
    """A classifier of a frame of numbers, integers, booleans and categories; and its sample."""
    rng = np.random.default_rng(5)
    rows = 120
    frame = pd.DataFrame(
        {
            "income": rng.normal(50, 20, rows).round(2),
            "age": rng.integers(18, 90, rows),
            "owner": rng.random(rows) < 0.4,
            "town": pd.Series(rng.choice(["Ulm", "Bonn", "Köln"], rows), dtype="category"),
        }
    )
    risk = np.where(frame["income"] + frame["age"] > 100, "low", "high")
    pipeline = Pipeline(
        [
            (
                "columns",
                ColumnTransformer(
                    [
                        ("numbers", StandardScaler(), ["income", "age"]),
                        ("flag", "passthrough", ["owner"]),
                        ("town", OneHotEncoder(handle_unknown="ignore"), ["town"]),
                    ]
                ),
            ),
            ("forest", RandomForestClassifier(20, random_state=0)),
        ]
    ).fit(frame, risk)
    return pipeline, frame, serialize_model(pipeline, frame, "risk")


def rating(reply: Any) -> list[float]:
    scores = reply.output("outputData")
    assert list(scores.columns) == ["rating_Pred"]
    found: list[float] = scores["rating_Pred"].tolist()
    return found


def test_the_published_programs_form(client: DeployClient, container: bytes) -> None:
    service: Any = (
        client.realtime_service("RtFluent")
        .version("1.0")
        .description("How a department is rated.")
        .alias("rate")
        .serialized_model(container)
        .deploy()
    )
    for frame in (
        DATA.head(),
        DATA[PREDICTORS].head(),
        DATA.head().to_dict("list"),
        DATA[PREDICTORS].head().to_dict("records"),
    ):
        np.testing.assert_allclose(rating(service.rate(frame)), attitude.FIRST_FIVE, atol=5e-7)
    assert rating(service.consume(DATA.iloc[0]))[0] == pytest.approx(
        attitude.FIRST_FIVE[0], rel=1e-12
    )
    assert rating(service.rate(DATA.iloc[:0])) == []
    found = service.capabilities()
    assert found["runtime"] == "Realtime"
    assert found["operation_id"] == "rate"
    assert found["description"] == "How a department is rated."
    assert [column["name"] for column in found["inputs"][0]["columns"]] == PREDICTORS
    (column,) = found["outputs"][0]["columns"]
    assert (column["name"], column["type"]) == ("rating_Pred", "numeric")
    assert column["description"] == "The predicted rating."
    assert found["artifacts"] == []
    assert service.proof["rows"] > 0
    swagger = json.loads(service.swagger())
    assert swagger["info"]["title"] == "RtFluent"
    assert "privileges" in service.swagger()
    assert json.loads(service.openapi())["openapi"].startswith("3.1")
    doc = type(service).__doc__
    assert "    complaints: float\n" in doc
    assert "    rating (the response: may be left out, ignored)\n" in doc


def test_labels_integers_booleans_and_categories(
    client: DeployClient, mixed: tuple[Any, pd.DataFrame, bytes]
) -> None:
    pipeline, frame, data = mixed
    service: Any = client.deploy_realtime("RtMixed", version="1", serialized_model=data)
    scores = service.consume(frame).output("outputData")
    assert scores["PredictedLabel"].tolist() == pipeline.predict(frame).tolist()
    shares = [name for name in scores.columns if name != "PredictedLabel"]
    assert all(scores[name].dtype == np.float64 for name in shares)
    # Text is what a category says, and 30.0 is an integer.
    other = frame.head(2).assign(town=["Bonn", "Ulm"], age=[30.0, 31.0])
    expected = pipeline.predict(other.astype({"age": int, "town": frame["town"].dtype})).tolist()
    assert service.consume(other).output("outputData")["PredictedLabel"].tolist() == expected
    with pytest.raises(InvalidInput, match=r"inputData\.town\[0\]: .*'Berlin'"):
        service.consume(other.assign(town=["Berlin", "Ulm"]))


def png(red: int, size: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (size, size), (red, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def test_images_are_given_as_bytes(client: DeployClient) -> None:
    """Their bytes are base64 on the wire, as the model was trained on."""
    shades = [0, 40, 80, 120, 160, 200, 240, 255]
    files = [png(red, 8 + red % 3) for red in shades]
    sample = pd.DataFrame({"photo": [base64.b64encode(data).decode() for data in files]})
    model = make_pipeline(
        LoadImage(), ResizeImage(4, 4), ExtractPixels(), StandardScaler(), LinearRegression()
    ).fit(sample, shades)
    service: Any = client.deploy_realtime(
        "RtImages", version="1", serialized_model=serialize_model(model, sample, "red")
    )
    expected = model.predict(sample)
    for frame in (pd.DataFrame({"photo": files}), sample, {"photo": files}):
        scores = service.consume(frame).output("outputData")["red_Pred"]
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-3)
    with pytest.raises(InvalidInput, match=r"inputData\.photo\[1\]: expected an image"):
        service.consume({"photo": [files[0], b"no image"]})


def test_a_large_frame_travels_as_arrow_and_is_scored_the_same(
    client: DeployClient, mixed: tuple[Any, pd.DataFrame, bytes]
) -> None:
    pipeline, frame, data = mixed
    service: Any = client.deploy_realtime("RtLarge", version="1", serialized_model=data)
    large = pd.concat([frame] * (ARROW_ROWS // len(frame) + 1), ignore_index=True)
    reply = service.consume(large)
    assert isinstance(reply, ArrowResponse)
    scores = reply.output("outputData")
    assert scores["PredictedLabel"].tolist() == pipeline.predict(large).tolist()
    service._arrow = False
    by_json = service.consume(large)
    assert type(by_json) is not ArrowResponse
    pd.testing.assert_frame_equal(scores, by_json.output("outputData"))
    assert reply.raw_outputs == by_json.raw_outputs


def test_update_rollback_and_delete(client: DeployClient, container: bytes) -> None:
    service: Any = client.deploy_realtime(
        "RtLife", version="1", serialized_model=container, description="first"
    )
    service = client.realtime_service("RtLife").alias("rate").redeploy()
    assert service.definition["description"] == "first"
    assert rating(service.rate(DATA.head(1)))[0] == pytest.approx(attitude.FIRST_FIVE[0])
    service = client.redeploy_service("RtLife", description="second")
    assert (service.definition["description"], service._call_name) == ("second", "rate")
    doubled = DATA.assign(rating=DATA["rating"] * 2)
    model = attitude.model().fit(doubled[PREDICTORS], doubled["rating"])
    service = client.redeploy_realtime(
        "RtLife", serialized_model=serialize_model(model, doubled, "rating"), description=""
    )
    assert not service.definition["description"]
    assert rating(service.rate(DATA.head(1)))[0] == pytest.approx(2 * attitude.FIRST_FIVE[0])
    service = client.rollback("RtLife", "1")
    assert service.definition["description"] == "second"
    assert rating(service.rate(DATA.head(1)))[0] == pytest.approx(attitude.FIRST_FIVE[0])
    actions = [event["action"] for event in client.history("RtLife", "1")]
    assert actions == ["publish", "update", "update", "update", "rollback"]
    assert client.list_services("RtLife")[0]["runtimeType"] == "Realtime"
    assert client.delete_service("RtLife", "1") is True
    with pytest.raises(VersionDeleted):
        service.rate(DATA.head(1))


def test_publishing_again(client: DeployClient, container: bytes) -> None:
    first: Any = client.deploy_realtime("RtAgain", serialized_model=container)
    assert len(first.version) == 36
    client.deploy_realtime("RtAgain", "1", serialized_model=container)
    client.deploy_realtime("RtAgain", "1", serialized_model=container)
    with pytest.raises(VersionExists):
        client.deploy_realtime("RtAgain", "1", serialized_model=container, alias="other")
    client.deploy_realtime("RtAgain", "1", serialized_model=container, alias="other", update=True)
    assert client.get_service("RtAgain", "1").definition["operationId"] == "other"
    client.deploy_realtime("RtAgain", "2", serialized_model=container, update=True)
    assert len(client.list_services("RtAgain")) == 3


def test_bytes_that_are_no_model_are_refused_and_nothing_is_published(
    client: DeployClient, container: bytes
) -> None:
    for wrong in (b"blob", b"blob" + bytes(100), container[:-1], container[:-9] + bytes(9)):
        with pytest.raises(InvalidDefinition) as caught:
            client.deploy_realtime("RtWrong", "1", serialized_model=wrong)
        assert "\n" not in caught.value.message
    assert client.list_services("RtWrong") == []


def test_a_model_that_is_too_large_is_refused_while_it_is_sent(client: DeployClient) -> None:
    with pytest.raises(TooLarge, match="max_model_size"):
        client.deploy_realtime("RtWrong", "1", serialized_model=b"blobMLS1" + bytes(80 << 20))


CONSUMER = """
import sys
for name in ("numpy", "pandas", "pyarrow", "onnxruntime", "sklearn", "dill"):
    sys.modules[name] = None
from jupyter_mlserve import DeployClient
url, token = sys.argv[1:]
service = DeployClient(url, auth=token).get_service("RtConsumer")
row = {"complaints": 51, "privileges": 30, "learning": 39, "raises": 61, "critical": 92,
       "advance": 45}
rows = {name: [value] * 10_001 for name, value in row.items()}
for frame in (row, [row], rows):
    reply = service.consume(frame)
    print(reply.output("outputData")["rating_Pred"][0], len(reply.raw_outputs["outputData"]))
"""


def test_a_consumer_needs_no_library_of_data(
    client: DeployClient, server: RunningServer, container: bytes
) -> None:
    client.deploy_realtime("RtConsumer", "1", serialized_model=container)
    done = subprocess.run(
        [sys.executable, "-c", CONSUMER, server.url, server.token],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        value, columns = line.split()
        assert float(value) == pytest.approx(attitude.FIRST_FIVE[0], rel=1e-12)
        assert columns == "1"
    assert len(done.stdout.splitlines()) == 3


WRONG: list[Callable[[pd.DataFrame], Any]] = [
    lambda frame: frame.drop(columns="raises"),
    lambda frame: frame.assign(extra=1.0),
    lambda frame: frame[PREDICTORS[::-1]],
    lambda frame: frame.assign(raises="many"),
    lambda frame: frame.assign(raises=True),
    lambda frame: frame.assign(raises=[1.0, None]),
]


@pytest.mark.parametrize("change", WRONG)
def test_client_and_server_refuse_alike(
    client: DeployClient, container: bytes, change: Callable[[pd.DataFrame], Any]
) -> None:
    """The client knows before it sends; whoever has no client is told the same."""
    service: Any = client.deploy_realtime("RtRefuses", "1", serialized_model=container)
    wrong = change(DATA[PREDICTORS].head(2))
    with pytest.raises(InvalidInput) as told:
        service.consume(wrong)
    body = {"inputData": json.loads(json.dumps(wrong.to_dict("list")).replace("NaN", "null"))}
    with pytest.raises(InvalidInput) as refused:
        client.connection.request("POST", "api/RtRefuses/1", json=body)
    for key in ("field", "expected", "column", "row"):
        assert told.value.details.get(key) == refused.value.details.get(key)
    assert told.value.details["got"]


def test_the_requests_of_the_published_client(server: RunningServer, container: bytes) -> None:
    """What the unmodified client of the product we follow sends, and what it needs to get."""
    headers = {**server.headers, "Accept": "application/json"}
    boundary = "250db348691d41f13579815e9fce7f1f"

    def multipart(field: str, text: str) -> bytes:
        return b"\r\n".join(
            [
                f"--{boundary}".encode(),
                f'Content-Disposition: form-data; name="{field}"'.encode(),
                b"",
                text.encode(),
                f"--{boundary}".encode(),
                b'Content-Disposition: form-data; name="model"; filename="model"',
                b"",
                container,
                f"--{boundary}--".encode(),
                b"",
            ]
        )

    with httpx.Client(base_url=server.prefix, headers=headers, timeout=60) as http:
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        path = "realtime-services/LinModService/1.0"
        made = http.post(path, content=multipart("description", "A model."), headers=kind)
        assert (made.status_code, made.json()) == (201, "/services/LinModService/1.0")
        for field, text in (("operationId", "rate"), ("description", "Again.")):
            (found,) = http.get("services/LinModService/1.0").json()
            assert found["runtimeType"] == "Realtime"
            assert (found["code"], found["initCode"], found["outputFileNames"]) == (None, None, [])
            assert found["inputParameterDefinitions"][0]["name"] == "inputData"
            assert found["outputParameterDefinitions"][0]["name"] == "outputData"
            body = {"inputData": DATA.head().to_dict("list")}
            result = http.post("api/LinModService/1.0", json=body).json()
            assert result["success"] is True
            assert (result["errorMessage"], result["consoleOutput"]) == ("", "")
            assert (result["changedFiles"], result["outputFiles"]) == ([], {})
            scores = result["outputParameters"]["outputData"]["rating_Pred"]
            np.testing.assert_allclose(scores, attitude.FIRST_FIVE, atol=5e-7)
            changed = http.patch(path, content=multipart(field, text), headers=kind)
            assert changed.status_code == 200
            assert isinstance(changed.json(), str)
        (found,) = http.get("services/LinModService/1.0").json()
        assert (found["operationId"], found["description"]) == ("rate", "Again.")
        again = http.post(path, content=multipart("description", "Else."), headers=kind)
        assert again.status_code == 409
        assert set(again.json()) >= {"message", "exceptionType", "code"}
