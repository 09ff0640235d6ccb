"""Batch executions in the contract: the word ``batchable``, and what the documents say."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from support.realtime_headers import ATTITUDE

from jupyter_mlserve.contract.batch import FORMATS, MEDIA, STATES, frame_input
from jupyter_mlserve.contract.definition import Definition
from jupyter_mlserve.contract.errors import (
    InvalidDefinition,
    ServiceFailed,
    WorkerLost,
    result_error_body,
)
from jupyter_mlserve.contract.openapi import openapi
from jupyter_mlserve.contract.realtime import check_header
from jupyter_mlserve.contract.swagger import swagger
from jupyter_mlserve.contract.types import parse_params

Json = dict[str, Any]
BATCH = {"batch"}


def body(
    inputs: str = "df: DataFrame[x: float]", outputs: str = "y: DataFrame", **own: Any
) -> Json:
    return {
        "code": "pass",
        "inputParameterDefinitions": parse_params(inputs),
        "outputParameterDefinitions": parse_params(outputs, output=True),
        "mlserve": own,
    }


def service(*args: Any, **own: Any) -> Definition:
    return Definition.from_publish("S", "1.0", body(*args, **own))


# -- batchable -----------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", ["y: DataFrame", "y: DataFrame[p: float]", "y: numpy.array"])
@pytest.mark.parametrize("inputs", ["df: DataFrame", "df: DataFrame[x: float] = {'x': [1]}"])
def test_a_service_of_one_frame_can_be_batchable(inputs: str, outputs: str) -> None:
    definition = service(inputs, outputs, batchable=True)
    assert definition.batchable
    assert Definition.from_json(definition.to_json()) == definition
    assert definition.to_json()["mlserve"]["batchable"] is True


@pytest.mark.parametrize(
    ("inputs", "outputs", "files", "said"),
    [
        ("", "y: DataFrame", [], "one input, a data.frame, not none"),
        ("x: float", "y: DataFrame", [], "one input, a data.frame, not x: numeric"),
        ("a: DataFrame, b: float", "y: DataFrame", [], "not a: data.frame, b: numeric"),
        ("a: DataFrame", "", [], "one output, a data.frame or a vector"),
        ("a: DataFrame", "y: float", [], "not y: numeric"),
        ("a: DataFrame", "y: numpy.matrix", [], "not y: matrix"),
        ("a: DataFrame", "y: DataFrame, z: DataFrame", [], "not y: data.frame, z: data.frame"),
        ("a: DataFrame", "y: DataFrame", ["plot.png"], "plot.png"),
    ],
)
def test_other_services_cannot(inputs: str, outputs: str, files: list[str], said: str) -> None:
    given = {**body(inputs, outputs, batchable=True), "outputFileNames": files}
    with pytest.raises(InvalidDefinition) as caught:
        Definition.from_publish("S", "1.0", given)
    assert caught.value.field == "mlserve.batchable"
    assert said in caught.value.message
    assert "--no-batchable" in caught.value.message
    # What it is without the word stays valid.
    given["mlserve"] = {"batchable": False}
    assert not Definition.from_publish("S", "1.0", given).batchable


@pytest.mark.parametrize("value", ["yes", 1, 0, [], {}, "true"])
def test_batchable_is_true_or_false(value: Any) -> None:
    with pytest.raises(InvalidDefinition, match="expected true or false"):
        service(batchable=value)


def test_a_version_that_does_not_say_it_is_what_it_was() -> None:
    """Hashes of what earlier releases published stay as they are."""
    plain = service()
    assert "batchable" not in plain.to_json()["mlserve"]
    for void in (False, None):
        assert service(batchable=void).content_hash() == plain.content_hash()
    assert service(batchable=True).content_hash() != plain.content_hash()


def test_an_update_gives_keeps_and_takes_it() -> None:
    plain = service()
    made = plain.merged({"mlserve": {"batchable": True}})
    assert made.batchable
    assert made.merged({"description": "new", "code": "x = 1"}).batchable
    for void in (False, None):
        assert made.merged({"mlserve": {"batchable": void}}) == plain
    with pytest.raises(InvalidDefinition) as caught:
        made.merged({"inputParameterDefinitions": parse_params("x: float")})
    assert caught.value.field == "mlserve.batchable"
    assert "--no-batchable, batchable=False" in caught.value.message


def test_consumers_see_it() -> None:
    class State:
        id, number, author, state_author, content_hash = "s", 1, "ann", "ann", "0"
        created_at = state_created_at = datetime(2026, 1, 1)

    for given, seen in ((True, True), (None, None)):
        shown = service(batchable=given).web_service(
            State(), may_see_code=False, permission="read only"
        )
        assert shown["mlserve"].get("batchable") is seen


def test_a_realtime_version_needs_no_such_word() -> None:
    made = realtime_version()
    assert made.merged({"mlserve": {"batchable": False}}) == made
    with pytest.raises(InvalidDefinition) as caught:
        made.merged({"mlserve": {"batchable": True}})
    assert caught.value.field == "mlserve.batchable"
    stored = made.to_json()
    stored["mlserve"]["batchable"] = True
    with pytest.raises(InvalidDefinition, match="always taken together"):
        Definition.from_json(stored)


def realtime_version() -> Definition:
    model = {"sha256": "a" * 64, "size": 10}
    return Definition.from_container(
        "Rating", "1.0", check_header({**ATTITUDE, "sha256": "0" * 64}), model
    )


def test_one_frame_makes_a_row_a_record() -> None:
    frame = {"name": "df", "type": "data.frame"}
    assert frame_input([frame]) is frame
    assert frame_input([]) is None
    assert frame_input([{"name": "x", "type": "numeric"}]) is None
    assert frame_input([frame, frame]) is None


# -- documents -----------------------------------------------------------------------------------


def checker(document: Json, name: str) -> Draft202012Validator:
    return Draft202012Validator(
        {**document["components"]["schemas"][name], "components": document["components"]}
    )


def test_both_documents_have_the_states_that_are_answered() -> None:
    """Generated clients check words: those of the documents are those on the wire."""
    assert STATES == ("Pending", "Ready", "InProgress", "Complete", "Failed")
    two = swagger(service(), features=BATCH)["definitions"]["BatchWebServiceResult"]
    three = openapi(service(), features=BATCH)["components"]["schemas"]["BatchWebServiceResult"]
    assert two["properties"]["state"]["enum"] == list(STATES)
    assert three["properties"]["state"]["enum"] == list(STATES)


def test_openapi_has_every_operation_of_swagger_and_ours() -> None:
    definition = service()
    old, new = swagger(definition, "/", BATCH), openapi(definition, "/", BATCH)
    ours = {"/api/S/1.0/batch/{executionId}/results", "/api/S/1.0/batch/{executionId}/events"}
    assert set(new["paths"]) == {*old["paths"], *ours}
    for path, operations in old["paths"].items():
        for verb, operation in operations.items():
            found = new["paths"][path][verb]
            assert found["operationId"] == operation["operationId"]
            names = {item["name"] for item in operation.get("parameters", ())}
            bodies = {"WebServiceParameters", "BatchWebServiceParameters"}
            assert names - bodies <= {item["name"] for item in found.get("parameters", ())}
            done = {status for status in operation["responses"] if status.startswith("2")}
            assert done <= set(found["responses"])
    assert list(openapi(definition)["paths"]) == ["/api/S/1.0"]
    assert "BatchWebServiceResult" not in openapi(definition)["components"]["schemas"]


@pytest.mark.parametrize("kind", ["standard", "realtime", "no inputs", "scalars"])
def test_the_upload_is_told_for_every_kind(kind: str) -> None:
    definition = {
        "standard": lambda: service(sample={"df": {"x": [1.0]}}),
        "realtime": realtime_version,
        "no inputs": lambda: service("", "y: float"),
        "scalars": lambda: service("hp: float, wt: float", "y: float"),
    }[kind]()
    document = openapi(definition, "/", BATCH)
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    root = f"/api/{definition.name}/{definition.version}/batch"
    start = document["paths"][root]["post"]
    content = start["requestBody"]["content"]
    assert set(content) == set(MEDIA.values()) <= set(FORMATS)
    header = next(item for item in start["parameters"] if item["in"] == "header")
    assert header["name"] == "Idempotency-Key"
    assert header["schema"]["maxLength"] == 255
    assert set(start["responses"]["202"]["headers"]) == {"Location", "Idempotency-Replayed"}
    for status in ("400", "401", "403", "404", "409", "410", "413", "415", "429", "503", "507"):
        assert start["responses"][status]["content"]["application/json"]["schema"]
    if kind == "scalars":
        assert "The columns are hp, wt." in content["text/csv"]["schema"]["description"]
    if kind in ("standard", "realtime"):
        example = content["application/json"]["examples"]["records"]["value"]
        for record in example:
            checker(document, "InputParameters").validate(record)
    page = document["paths"][f"{root}/{{executionId}}/results"]["get"]
    assert set(page["responses"]["200"]["content"]) == set(MEDIA.values())


def test_replies_fit_the_schemas() -> None:
    document = openapi(service(), "/", BATCH)
    good: Json = {
        "success": True,
        "errorMessage": "",
        "consoleOutput": "",
        "changedFiles": [],
        "outputFiles": {},
        "outputParameters": {"y": {"p": [1.0, None]}},
    }
    bad = result_error_body(ServiceFailed("ValueError: x", traceback="..."))
    lost = result_error_body(WorkerLost("It killed its worker three times."), owner=True)
    record = checker(document, "BatchRecordResult")
    for result in (good, bad, lost):
        record.validate(result)
    assert not record.is_valid({})
    status: Json = {"state": "Complete", "completedItemCount": 3, "totalItemCount": 3}
    more: Json = {
        "failedItemCount": 2,
        "errorMessage": "",
        "parallelCount": 10,
        "createdAt": "2026-01-01T00:00:00Z",
        "startedAt": None,
        "finishedAt": None,
        "expiresAt": None,
        "batchExecutionResults": [good, bad, lost],
    }
    reply = checker(document, "BatchWebServiceResult")
    reply.validate(status)
    reply.validate({**status, **more})
    assert not reply.is_valid({**status, "state": "complete"})
    assert not reply.is_valid({**status, "batchExecutionResults": None})
    started = checker(document, "StartBatchExecutionResponse")
    started.validate({"batchExecutionId": "a", "BatchExecutionId": "a", "totalItemCount": 3})
    assert not started.is_valid({"batchExecutionId": "a", "totalItemCount": 3})
    checker(document, "BatchResultPage").validate(
        {
            "offset": 0,
            "count": 3,
            "totalItemCount": 3,
            "completedItemCount": 3,
            "next": None,
            "results": [good, bad, lost],
        }
    )


def test_many_columns_are_not_told_in_a_sentence() -> None:
    columns = ", ".join(f"c{number}: float" for number in range(300))
    document = openapi(service(f"df: DataFrame[{columns}]"), "/", BATCH)
    content = document["paths"]["/api/S/1.0/batch"]["post"]["requestBody"]["content"]
    assert len(content["text/csv"]["schema"]["description"]) < 200
    json.dumps(document, allow_nan=False)
