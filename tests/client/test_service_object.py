"""Service objects without their server: signature, help, capabilities, what is sent."""

from __future__ import annotations

import inspect
import json
import pydoc
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pandas as pd
import pytest
from support.small_server import Recorder, recorder, reply

from jupyter_mlserve.client.address import ServerAddress
from jupyter_mlserve.client.http import Connection
from jupyter_mlserve.client.service import Service, camel_case, service_object
from jupyter_mlserve.contract.errors import InvalidInput

HP, WT = {"name": "hp", "type": "numeric"}, {"name": "wt", "type": "numeric"}
ANSWER = {"name": "answer", "type": "data.frame"}
RESULT = {
    "success": True,
    "errorMessage": "",
    "consoleOutput": "",
    "changedFiles": [],
    "outputFiles": {},
    "outputParameters": {"answer": {"am_Pred": [0.5]}},
}


def definition(inputs: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "name": "TxService",
        "version": "1.0",
        "versionPublishedBy": "ann",
        "creationTime": "2026-01-02T03:04:05.0000000",
        "snapshotId": None,
        "runtimeType": "Python",
        "description": "Manual or automatic?",
        "operationId": "manualTransmission",
        "inputParameterDefinitions": inputs,
        "outputParameterDefinitions": [ANSWER],
        "outputFileNames": ["answer.csv"],
        "myPermissionOnService": "read/write",
        **more,
    }


@pytest.fixture
def there() -> Iterator[Recorder]:
    with recorder(lambda n, r: reply("200 OK", json.dumps(RESULT).encode())) as made:
        yield made


@pytest.fixture
def connection(there: Recorder) -> Iterator[Connection]:
    with Connection(ServerAddress(there.url, "t"), timeout=5) as made:
        yield made


def sent(there: Recorder) -> Any:
    return json.loads(there.requests[-1].partition(b"\r\n\r\n")[2])


def test_the_call_has_the_declared_signature(connection: Connection) -> None:
    service = service_object(
        connection,
        definition(
            [
                HP,
                {"name": "n", "type": "integer", "optional": True, "default": 3},
                {"name": "when", "type": "datetime", "optional": True, "default": None},
                {"name": "text", "type": "character", "optional": True, "default": None},
                {
                    "name": "df",
                    "type": "data.frame",
                    "columns": [{"name": "a", "type": "integer", "nullable": True}],
                },
                {"name": "v", "type": "vector"},
            ]
        ),
    )
    call = service.manualTransmission  # type: ignore[attr-defined]
    text = str(inspect.signature(call))
    assert text == (
        "(hp: float, n: int = 3, when: datetime = None, text: str | None = None, *, "
        "df: DataFrame[a: int?], v: numpy.array) -> "
        "jupyter_mlserve.client.response.ServiceResponse"
    )
    assert inspect.signature(service.consume) == inspect.signature(call)
    assert type(service).__name__ == "TxServiceService"
    assert isinstance(service, Service)


def test_help_reads_like_a_function_of_ones_own(connection: Connection) -> None:
    service = service_object(connection, definition([HP, WT]))
    text = pydoc.plain(pydoc.render_doc(service))
    assert "class TxServiceService(" in text
    assert "Manual or automatic?" in text
    assert "manualTransmission(self, hp: float, wt: float) -> " in text
    assert "answer.csv (a file: .artifact('answer.csv'))" in text
    assert "answer: DataFrame" in text


def test_positional_named_and_called_directly(connection: Connection, there: Recorder) -> None:
    service: Any = service_object(connection, definition([HP, WT]))
    for made in (
        lambda: service.manualTransmission(120, 2.8),
        lambda: service.manualTransmission(120, wt=2.8),
        lambda: service.consume(wt=2.8, hp=120),
        lambda: service(120, 2.8),
    ):
        assert made().raw_outputs == RESULT["outputParameters"]
        assert sent(there) == {"hp": 120, "wt": 2.8}
        assert there.requests[-1].startswith(b"POST /mlserve/api/TxService/1.0 ")


def test_left_out_inputs_are_left_to_the_server(connection: Connection, there: Recorder) -> None:
    inputs = [HP, {"name": "wt", "type": "numeric", "optional": True, "default": 2.5}]
    service: Any = service_object(connection, definition(inputs))
    service.consume(120)
    assert sent(there) == {"hp": 120}


def test_inputs_are_encoded_by_their_declared_types(
    connection: Connection, there: Recorder
) -> None:
    inputs = [
        {"name": "df", "type": "data.frame"},
        {"name": "when", "type": "datetime"},
        {"name": "raw", "type": "bytes"},
        {"name": "x", "type": "numeric"},
        {"name": "none", "type": "character"},
    ]
    service: Any = service_object(connection, definition(inputs))
    frame = pd.DataFrame({"a": [1.5, float("nan")], "b": ["x", None]})
    service.consume(frame, datetime(2024, 1, 2, 3), b"hello", float(2), None)
    assert sent(there) == {
        "df": {"a": [1.5, None], "b": ["x", None]},
        "when": "2024-01-02T03:00:00",
        "raw": "aGVsbG8=",
        "x": 2.0,
        "none": None,
    }


def test_a_wrong_input_is_refused_before_anything_is_sent(
    connection: Connection, there: Recorder
) -> None:
    service: Any = service_object(connection, definition([HP, WT]))
    with pytest.raises(InvalidInput) as caught:
        service.manualTransmission(120, "heavy")
    assert caught.value.field == "wt"
    assert "number" in caught.value.message
    with pytest.raises(TypeError, match=r"manualTransmission\(hp: float, wt: float\): missing"):
        service.manualTransmission(120)
    with pytest.raises(TypeError, match="unexpected keyword argument 'cyl'"):
        service.manualTransmission(120, 2.8, cyl=4)
    assert there.requests == []


def test_without_an_alias_the_call_is_consume(connection: Connection) -> None:
    service = service_object(connection, definition([HP], operationId=None))
    assert service.capabilities()["operation_id"] == "consume"
    assert str(inspect.signature(service.consume)).startswith("(hp: float)")


@pytest.mark.parametrize("alias", ["swagger", "name", "capabilities", "url"])
def test_an_alias_does_not_hide_what_every_service_has(connection: Connection, alias: str) -> None:
    service = service_object(connection, definition([HP], operationId=alias))
    assert service.name == "TxService"
    assert set(service.capabilities()["public-functions"]) >= {"consume", "swagger"}
    assert service.consume(1.0).output("answer").shape == (1, 1)


@pytest.mark.parametrize("name", ["self", "service", "args", "inputs", "signature", "_call_name"])
def test_inputs_may_have_any_name(connection: Connection, there: Recorder, name: str) -> None:
    service: Any = service_object(connection, definition([{"name": name, "type": "integer"}]))
    service.manualTransmission(**{name: 7})
    assert sent(there) == {name: 7}
    service.consume(8)
    assert sent(there) == {name: 8}
    assert name in pydoc.plain(pydoc.render_doc(service))


def test_capabilities_have_the_keys_of_the_published_client(connection: Connection) -> None:
    service = service_object(connection, definition([HP, WT]))
    found = service.capabilities()
    assert found == {
        "api": "/api/TxService/1.0",
        "name": "TxService",
        "version": "1.0",
        "published_by": "ann",
        "runtime": "Python",
        "description": "Manual or automatic?",
        "creation_time": "2026-01-02T03:04:05.0000000",
        "snapshot_id": None,
        "inputs": [HP, WT],
        "outputs": [ANSWER],
        "inputs_encoded": [{"name": "hp", "type": "float"}, {"name": "wt", "type": "float"}],
        "outputs_encoded": [{"name": "answer", "type": "pandas.DataFrame"}],
        "artifacts": ["answer.csv"],
        "operation_id": "manualTransmission",
        "swagger": connection.url("api", "TxService", "1.0") + "/swagger.json",
        "public-functions": {
            "manualTransmission": "manualTransmission(hp, wt)",
            "consume": "consume(hp, wt)",
            "capabilities": "capabilities()",
            "swagger": "swagger()",
            "openapi": "openapi()",
            "batch": "batch(records, parallel_count=10)",
            "get_batch": "get_batch(execution_id)",
            "list_batch_executions": "list_batch_executions()",
        },
    }


def test_what_a_service_looks_like(connection: Connection) -> None:
    service = service_object(connection, definition([HP, WT], description="<b>bold</b>"))
    text = repr(service)
    assert text.splitlines()[0] == "<TxServiceService> TxService 1.0"
    assert ".manualTransmission(hp: float, wt: float)" in text
    assert service.url in text
    html = service._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "<b>bold</b>" not in html


@pytest.mark.parametrize(
    ("name", "made"),
    [("TxService", "TxService"), ("tx-service_2", "TxService2"), ("x.y", "XY"), ("2x", "_2x")],
)
def test_class_names(name: str, made: str) -> None:
    assert camel_case(name) == made
