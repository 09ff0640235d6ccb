"""Service objects of realtime versions without their server: help, what is sent, what comes."""

from __future__ import annotations

import inspect
import json
import pydoc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.small_server import Recorder, recorder, reply

from jupyter_mlserve.client import realtime_service, response
from jupyter_mlserve.client.address import ServerAddress
from jupyter_mlserve.client.http import Connection
from jupyter_mlserve.client.service import service_object
from jupyter_mlserve.contract.errors import InvalidInput, TooBusy

COLUMNS = [
    {"name": "hp", "type": "numeric", "nullable": False},
    {"name": "make", "type": "character", "nullable": True},
]
OUTPUTS = [
    {"name": "PredictedLabel", "type": "character"},
    {"name": "Count", "type": "integer"},
    {"name": "Probability", "type": "numeric"},
]
ANSWER = {"PredictedLabel": ["yes", None], "Count": [3, 4], "Probability": [0.25, None]}
DEFINITION: dict[str, Any] = {
    "name": "Cars",
    "version": "1.0",
    "versionPublishedBy": "ann",
    "creationTime": "2026-01-02T03:04:05.0000000",
    "snapshotId": None,
    "runtimeType": "Realtime",
    "code": None,
    "initCode": None,
    "description": "Manual or automatic?",
    "operationId": "transmission",
    "inputParameterDefinitions": [{"name": "inputData", "type": "data.frame", "columns": COLUMNS}],
    "outputParameterDefinitions": [
        {"name": "outputData", "type": "data.frame", "columns": OUTPUTS}
    ],
    "outputFileNames": [],
    "myPermissionOnService": "read/write",
    "mlserve": {
        "form": "realtime",
        "kind": "classification",
        "modelName": "Pipeline(OneHotEncoder, LogisticRegression)",
        "response": {"name": "am", "type": "character", "position": 1},
        "classes": ["no", "yes"],
        "known": {"make": ["Mazda", "Opel"]},
        "example": {"hp": 110.0, "make": "Mazda"},
        "proof": {
            "rows": 1412,
            "largest_difference": 2.2e-16,
            "ties": 0,
            "candidate": "double",
            "probes": {"sample": 150},
            "libraries": {"scikit-learn": "1.9.1"},
        },
    },
}
ARROW = realtime_service.ARROW


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def json_reply() -> bytes:
    body = {"success": True, "errorMessage": "", "outputParameters": {"outputData": ANSWER}}
    return reply("200 OK", json.dumps(body).encode(), "Content-Type: application/json")


def answer(number: int, request: bytes) -> bytes:
    if f"accept: {ARROW}".encode() in request.lower():
        return reply("200 OK", stream(pa.table(ANSWER)), f"Content-Type: {ARROW}")
    return json_reply()


@pytest.fixture
def there() -> Iterator[Recorder]:
    with recorder(answer) as made:
        yield made


@pytest.fixture
def service(there: Recorder) -> Iterator[Any]:
    with Connection(ServerAddress(there.url, "t"), timeout=5) as connection:
        yield service_object(connection, DEFINITION)


def frame(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"hp": np.arange(rows) / 2, "make": ["Mazda"] * rows})


def parts(request: bytes) -> tuple[str, bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    return head.decode().lower(), body


def test_a_frame_goes_and_a_frame_comes(service: Any, there: Recorder) -> None:
    for made in (
        lambda: service.transmission(frame(2)),
        lambda: service.consume(inputData=frame(2).to_dict("list")),
        lambda: service(frame(2).to_dict("records")),
        lambda: service.transmission(frame(2).assign(am="?")[["hp", "am", "make"]]),
    ):
        found = made()
        head, body = parts(there.requests[-1])
        assert head.startswith("post /mlserve/api/cars/1.0 ")
        assert json.loads(body) == {"inputData": {"hp": [0.0, 0.5], "make": ["Mazda", "Mazda"]}}
        assert found.raw_outputs == {"outputData": ANSWER}
        scores = found.output("outputData")
        assert list(scores.columns) == ["PredictedLabel", "Count", "Probability"]
        assert scores["PredictedLabel"].tolist()[0] == "yes"
        assert pd.isna(scores["PredictedLabel"][1])
        assert scores["Count"].dtype == np.int64
        assert scores["Probability"].dtype == np.float64
        assert np.isnan(scores["Probability"][1])


def test_large_frames_travel_as_arrow_and_come_back_the_same(service: Any, there: Recorder) -> None:
    small = service.consume(frame(realtime_service.ARROW_ROWS - 1))
    assert "content-type: application/json" in parts(there.requests[-1])[0]
    large = service.consume(frame(realtime_service.ARROW_ROWS))
    head, body = parts(there.requests[-1])
    assert f"content-type: {ARROW}" in head
    assert f"accept: {ARROW}, application/json" in head
    sent = pa.ipc.open_stream(body).read_all()
    assert sent.num_rows == realtime_service.ARROW_ROWS
    assert sent.column_names == ["hp", "make"]
    pd.testing.assert_frame_equal(large.output("outputData"), small.output("outputData"))
    assert large.raw_outputs == small.raw_outputs == {"outputData": ANSWER}
    assert list(large.outputs) == ["outputData"]
    assert "PredictedLabel" in repr(large)
    assert "PredictedLabel" in large._repr_html_()
    with pytest.raises(KeyError, match="no output 'other'; it has: outputData"):
        large.output("other")


def test_missing_integers_stay_integers_in_arrow_as_in_json(service: Any) -> None:
    table = pa.table({"n": pa.array([1, None]), "b": pa.array([True, None])})
    found = realtime_service.frame_of(table)
    assert [str(dtype) for dtype in found.dtypes] == ["Int64", "boolean"]


def test_a_server_without_arrow_gets_json_and_is_not_asked_again() -> None:
    def refuse(number: int, request: bytes) -> bytes:
        if f"content-type: {ARROW}".encode() in request.lower():
            body = {"exceptionType": "UnsupportedMedia", "message": "JSON only", "code": 415}
            return reply("415 Unsupported Media Type", json.dumps(body).encode())
        return json_reply()

    with (
        recorder(refuse) as there,
        Connection(ServerAddress(there.url, "t"), timeout=5) as connection,
    ):
        service: Any = service_object(connection, DEFINITION)
        for _ in range(2):
            found = service.consume(frame(realtime_service.ARROW_ROWS))
            assert found.raw_outputs == {"outputData": ANSWER}
        kinds = [ARROW in parts(request)[0] for request in there.requests]
    assert kinds == [True, False, False]


def test_errors_of_an_arrow_call_are_errors() -> None:
    body = json.dumps({"exceptionType": "TooBusy", "message": "full", "code": 429}).encode()
    with (
        recorder(lambda n, r: reply("429 Too Many Requests", body, "Retry-After: 2")) as there,
        Connection(ServerAddress(there.url, "t"), timeout=5) as connection,
    ):
        service: Any = service_object(connection, DEFINITION)
        with pytest.raises(TooBusy, match="full") as caught:
            service.consume(frame(realtime_service.ARROW_ROWS))
    assert caught.value.retry_after == 2.0


def test_a_wrong_large_frame_is_told_by_cell_and_not_sent(service: Any, there: Recorder) -> None:
    wrong = frame(realtime_service.ARROW_ROWS)
    wrong.loc[9_000, "hp"] = np.nan
    with pytest.raises(InvalidInput, match=r"inputData\.hp\[9000\]: .*missing value") as caught:
        service.consume(wrong)
    assert caught.value.details["row"] == 9000
    assert there.requests == []


def test_arguments_that_are_not_one_frame(service: Any, there: Recorder) -> None:
    with pytest.raises(TypeError) as caught:
        service.transmission(hp=110.0, make="Mazda")
    text = str(caught.value)
    assert text.startswith("transmission(inputData: DataFrame[hp: float, make: str?]): ")
    assert text.endswith(
        "It takes one frame, for example transmission({'hp': [110.0], 'make': ['Mazda']})."
    )
    with pytest.raises(TypeError, match="It takes one frame"):
        service.consume()
    assert there.requests == []


def test_help_names_the_columns_and_their_types(service: Any) -> None:
    text = pydoc.plain(pydoc.render_doc(service))
    assert "class CarsService(" in text
    doc = inspect.getdoc(type(service)) or ""
    for line in (
        "Pipeline(OneHotEncoder, LogisticRegression), compiled.",
        "    hp: float",
        "    am (the response: may be left out, ignored)",
        "    make: str (may be missing), one of 'Mazda', 'Opel'",
        "    PredictedLabel: str, the predicted class: 'no', 'yes'",
        "    Probability: float, probability of 'yes'",
        "    Count: int",
    ):
        assert line in doc
        assert line.strip() in text
    assert doc.index("hp: float") < doc.index("am (the") < doc.index("make: str")
    assert "transmission(self, inputData: DataFrame[hp: float, make: str?]) -> " in text


def test_inputs_and_outputs_say_what_is_known(service: Any) -> None:
    assert service.inputs[0]["columns"] == [
        COLUMNS[0],
        {**COLUMNS[1], "known": ["Mazda", "Opel"]},
    ]
    assert [column.get("description") for column in service.outputs[0]["columns"]] == [
        "The predicted class: 'no', 'yes'.",
        None,
        "Probability of 'yes'.",
    ]


def test_errors_name_the_service(service: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        service.transmission({"hp": ["x"], "make": ["Mazda"]})
    assert str(caught.value).startswith("Cars 1.0: inputData.hp[0]: expected a number, got ")
    assert caught.value.details["row"] == 0


def updated(definition: Any) -> Any:
    """A server whose version was updated: it replies with other columns than it did."""
    frame = {"Score": [1.5]}

    def answer(number: int, request: bytes) -> bytes:
        if request.startswith(b"GET "):
            status = "200 OK" if definition else "404 Not Found"
            return reply(status, json.dumps([definition]).encode())
        return reply("200 OK", json.dumps({"outputParameters": {"outputData": frame}}).encode())

    return recorder(answer)


def test_a_service_that_was_updated_is_decoded_as_it_is_now() -> None:
    outputs = {**DEFINITION["outputParameterDefinitions"][0]}
    outputs["columns"] = [{"name": "Score", "type": "numeric"}]
    now = {**DEFINITION, "outputParameterDefinitions": [outputs]}
    with (
        updated(now) as there,
        Connection(ServerAddress(there.url, "t"), timeout=5) as connection,
    ):
        service: Any = service_object(connection, DEFINITION)
        assert service.consume(frame(1)).output("outputData")["Score"].tolist() == [1.5]


def test_a_reply_that_nothing_explains_says_to_get_the_service_again() -> None:
    for now in (DEFINITION, None):
        with (
            updated(now) as there,
            Connection(ServerAddress(there.url, "t"), timeout=5) as connection,
        ):
            service: Any = service_object(connection, DEFINITION)
            found = service.consume(frame(1))
            for _ in range(2):
                with pytest.raises(ValueError, match="get it again with get_service") as caught:
                    found.output("outputData")
                assert "/api/Cars/1.0" in str(caught.value)


def test_the_text_of_a_reply_is_a_short_table(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {f"c{i}": list(range(500)) for i in range(30)}
    param = {"name": "outputData", "type": "data.frame"}
    body = {"outputParameters": {"outputData": wide, "text": "x" * 5000}}
    for pandas in (True, False):
        if not pandas:
            monkeypatch.setattr(response, "find_spec", lambda name: None)
        text = repr(response.ServiceResponse("/api/N/1", body, [param]))
        assert len(text.splitlines()) < 40
        assert max(map(len, text.splitlines())) < 600
        assert "[500 rows x 30 columns]" in text
    small = repr(service.consume(frame(2))).splitlines()
    assert small[1].split() == ["outputData:"]
    assert small[2].split() == ["PredictedLabel", "Count", "Probability"]


def test_a_wide_frame_does_not_fill_the_signature(service: Any) -> None:
    columns = [{"name": f"x{i}", "type": "numeric", "nullable": False} for i in range(300)]
    wide = {
        **DEFINITION,
        "inputParameterDefinitions": [
            {"name": "inputData", "type": "data.frame", "columns": columns}
        ],
    }
    made: Any = service_object(service._connection, wide)
    assert str(inspect.signature(made.transmission)).startswith("(inputData: DataFrame) -> ")
    with pytest.raises(TypeError) as caught:
        made.transmission()
    assert len(str(caught.value)) < 400


def test_capabilities_and_how_it_looks(service: Any) -> None:
    found = service.capabilities()
    assert found["runtime"] == "Realtime"
    assert found["operation_id"] == "transmission"
    assert found["inputs_encoded"] == [{"name": "inputData", "type": "pandas.DataFrame"}]
    assert found["outputs_encoded"] == [{"name": "outputData", "type": "pandas.DataFrame"}]
    assert found["artifacts"] == []
    assert found["public-functions"]["transmission"] == "transmission(inputData)"
    assert service.proof["rows"] == 1412
    for text in (repr(service), service._repr_html_()):
        assert "Pipeline(OneHotEncoder, LogisticRegression) (classification)" in text
        assert "1,412 rows, largest difference 2.2e-16 (double)" in text


@pytest.mark.parametrize("alias", [None, "", "proof", "swagger"])
def test_the_call_is_consume_without_a_usable_alias(service: Any, alias: str | None) -> None:
    made: Any = service_object(service._connection, {**DEFINITION, "operationId": alias})
    assert made.consume(frame(1)).raw_outputs == {"outputData": ANSWER}
    assert made.proof["rows"] == 1412
