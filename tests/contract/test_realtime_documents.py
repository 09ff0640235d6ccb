"""swagger.json and openapi.json of realtime versions: valid, complete, and true to the runtime."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV31SpecValidator
from support.realtime_headers import ATTITUDE, HEADER, cell, headers

from jupyter_mlserve.compute.realtime.decode_json import JsonDecoder
from jupyter_mlserve.compute.realtime.schema import Schema
from jupyter_mlserve.contract.definition import Definition
from jupyter_mlserve.contract.errors import MLServeError
from jupyter_mlserve.contract.openapi import openapi
from jupyter_mlserve.contract.realtime import check_header
from jupyter_mlserve.contract.realtime_schemas import ARROW
from jupyter_mlserve.contract.swagger import swagger

Json = dict[str, Any]


def checked(header: Json) -> Json:
    return check_header({**header, "sha256": "0" * 64})


def service(header: Json = ATTITUDE, **texts: Any) -> Definition:
    model = {"sha256": "ab" * 32, "size": 12}
    return Definition.from_container("Rating", "1.0", checked(header), model, **texts)


def problems(validator: type, document: Json) -> list[str]:
    return [error.message for error in validator(document).iter_errors()]


def checker(document: Json, name: str) -> Draft202012Validator:
    """Validates instances against a named schema of the document."""
    return Draft202012Validator(
        {**document["components"]["schemas"][name], "components": document["components"]}
    )


# -- Swagger 2.0 ---------------------------------------------------------------------------------


def test_swagger_has_the_real_columns() -> None:
    document = swagger(service(description="Predicts"), "/user/x/mlserve", {"login"})
    post = document["paths"]["/api/Rating/1.0"]["post"]
    assert post["operationId"] == "ConsumeWebService"
    assert post["parameters"][0]["schema"] == {"$ref": "#/definitions/InputParameters"}
    inputs = document["definitions"]["InputParameters"]
    assert list(inputs["properties"]) == ["inputData"]
    frame = inputs["properties"]["inputData"]
    assert (frame["type"], frame["description"]) == ("object", "data.frame")
    # The response stands where the training frame had it: generated clients send it there.
    assert list(frame["properties"]) == ["rating", *ATTITUDE["example"]]
    assert frame["properties"]["raises"] == {
        "type": "array",
        "items": {"type": "number"},
        "description": "numeric",
    }
    assert "ignored" in frame["properties"]["rating"]["description"]
    assert inputs["example"] == {
        "inputData": {name: [value] for name, value in ATTITUDE["example"].items()}
    }
    assert document["definitions"]["OutputParameters"] == {
        "type": "object",
        "properties": {
            "outputData": {
                "type": "object",
                "description": "data.frame",
                "properties": {
                    "rating_Pred": {
                        "type": "array",
                        "items": {"type": "number", "x-nullable": True},
                        "description": "numeric. The predicted rating.",
                    }
                },
            }
        },
    }
    assert document["basePath"] == "/user/x/mlserve"
    assert problems(OpenAPIV2SpecValidator, document) == []


def test_an_alias_names_the_operation() -> None:
    definition = service(operation_id="rate")
    assert swagger(definition)["paths"]["/api/Rating/1.0"]["post"]["operationId"] == "rate"
    assert openapi(definition)["paths"]["/api/Rating/1.0"]["post"]["operationId"] == "rate"


def test_swagger_says_what_may_be_null_as_an_extension() -> None:
    properties = swagger(service(HEADER))["definitions"]["InputParameters"]["properties"]
    columns = properties["inputData"]["properties"]
    assert columns["n"]["items"] == {"type": "integer", "x-nullable": True}
    assert columns["photo"]["items"] == {"type": "string"}


# -- OpenAPI 3.1 ---------------------------------------------------------------------------------


def test_openapi_is_complete() -> None:
    document = openapi(service(description="Predicts"), "https://host/user/x/mlserve/")
    assert problems(OpenAPIV31SpecValidator, document) == []
    post = document["paths"]["/api/Rating/1.0"]["post"]
    assert post["operationId"] == "ConsumeWebService"
    assert post["description"] == "Predicts"
    content = post["requestBody"]["content"]
    assert set(content) == {"application/json", ARROW}
    assert set(post["responses"]["200"]["content"]) == {"application/json", ARROW}
    assert set(post["responses"]) == {
        *("200", "400", "401", "403", "404", "410", "413", "415", "429"),
        *("500", "503", "504", "default"),
    }
    for status, response in post["responses"].items():
        if status not in ("200", "default"):
            assert set(response["content"]) == {"application/json"}, "errors are always JSON"
        assert "code" not in response.get("description", "").split()
    assert "raises (float64, float32" in content[ARROW]["schema"]["description"]
    assert "rating (may be left out)" in content[ARROW]["schema"]["description"]
    answer = post["responses"]["200"]["content"][ARROW]["schema"]
    assert "rating_Pred (float64)" in answer["description"]


def test_examples_are_calls_that_the_document_allows() -> None:
    for header in (ATTITUDE, HEADER):
        document = openapi(service(header))
        body = document["paths"]["/api/Rating/1.0"]["post"]["requestBody"]["content"]
        examples = body["application/json"]["examples"]
        assert set(examples) == {"columns", "records"}
        for example in examples.values():
            checker(document, "InputParameters").validate(example["value"])


def test_a_frame_has_real_schemas_in_both_forms() -> None:
    inputs = checker(openapi(service(HEADER)), "InputParameters")
    row = {"hp": 1.5, "n": None, "città": None, "photo": "aGk="}
    good: list[Any] = [
        {name: [value, value] for name, value in row.items()},
        {name: [] for name in row},
        [row],
        [row, row],
        [],
        [{**row, "species": None}],
        {**{name: [value] for name, value in row.items()}, "species": ["x"]},
        [{**row, "species": 3}],
        [{**row, "n": 2**53}],
    ]
    bad: list[Any] = [
        None,
        row,
        {},
        [{}],
        "frame",
        [{**row, "hp": None}],
        [{**row, "photo": None}],
        [{**row, "hp": "1.5"}],
        [{**row, "hp": True}],
        [{**row, "n": 1.5}],
        [{**row, "n": 2**53 + 1}],
        [{**row, "other": 1}],
        [{**row, "species": [1]}],
        {name: value for name, value in row.items() if name != "n"},
    ]
    for value in good:
        assert inputs.is_valid({"inputData": value}), value
    for value in bad:
        assert not inputs.is_valid({"inputData": value}), value
    assert not inputs.is_valid({})
    assert not inputs.is_valid({"inputData": [], "other": 1})


def test_a_response_that_was_not_in_the_training_frame_is_not_allowed() -> None:
    header = {**ATTITUDE, "response": {"name": "rating", "type": None, "position": None}}
    document = openapi(service(header))
    row = ATTITUDE["example"]
    assert checker(document, "InputParameters").is_valid({"inputData": [row]})
    assert not checker(document, "InputParameters").is_valid({"inputData": [{**row, "rating": 1}]})
    assert '"rating"' not in json.dumps(document["components"])


def test_answers_fit_their_schema() -> None:
    result = checker(openapi(service(HEADER)), "WebServiceResult")
    frame = {"PredictedLabel": ["no", "yes"], "Probability": [0.25, None]}
    answer: Json = {
        "success": True,
        "errorMessage": "",
        "consoleOutput": "",
        "changedFiles": [],
        "outputFiles": {},
        "outputParameters": {"outputData": frame},
    }
    result.validate(answer)
    for wrong in (None, [], {}, {**frame, "more": []}, {**frame, "Probability": ["0.25"]}):
        assert not result.is_valid({**answer, "outputParameters": {"outputData": wrong}}), wrong


def test_many_columns_are_not_told_in_a_sentence() -> None:
    columns = [{"name": f"c{i}", "type": "numeric", "nullable": False} for i in range(1000)]
    header = {
        **ATTITUDE,
        "columns": columns,
        "example": {column["name"]: 0 for column in columns},
        "inputs": [{"name": "numbers", "type": "double", "columns": list(range(1000))}],
    }
    post = openapi(service(header))["paths"]["/api/Rating/1.0"]["post"]
    assert len(post["requestBody"]["content"][ARROW]["schema"]["description"]) < 100


# -- both, for every header ----------------------------------------------------------------------


def test_documents_are_pure_functions() -> None:
    definition = service(HEADER)
    before = definition.to_json()
    first = (swagger(definition, "/a"), openapi(definition, "/a"))
    kept = copy.deepcopy(first)
    first[0]["definitions"]["InputParameters"]["example"]["inputData"]["hp"].append(3)
    frame = first[1]["components"]["schemas"]["InputParameters"]["properties"]["inputData"]
    frame["oneOf"][0]["properties"]["n"]["items"]["minimum"] = 0
    frame["oneOf"][0]["required"].clear()
    assert definition.to_json() == before
    assert (swagger(definition, "/a"), openapi(definition, "/a")) == kept


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(headers())
def test_every_realtime_version_has_valid_documents(header: Json) -> None:
    definition = service(header)
    for document, validator in (
        (swagger(definition, "/user/x/mlserve"), OpenAPIV2SpecValidator),
        (openapi(definition, "/user/x/mlserve"), OpenAPIV31SpecValidator),
        (openapi(definition, "/", {"batch"}), OpenAPIV31SpecValidator),
    ):
        assert problems(validator, document) == []
        json.dumps(document, allow_nan=False).encode()
    document = openapi(definition)
    row = definition.to_json()["mlserve"]["example"]
    checker(document, "InputParameters").validate({"inputData": [row]})


WRONG = [None, True, 3, 2.5, 2**60, "text", [], {}]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_document_and_runtime_say_the_same(data: st.DataObject) -> None:
    """What only the model knows (ranges) is left aside; all else is in the document."""
    header = data.draw(headers())
    for column in header["columns"]:
        column.pop("range", None)
    names = [column["name"] for column in header["columns"]]
    rows: list[Json] = [
        {column["name"]: data.draw(cell(column)) for column in header["columns"]}
        for _ in range(data.draw(st.integers(0, 2)))
    ]
    response = header["response"]
    if response and response["position"] is not None and data.draw(st.booleans()):
        names.insert(response["position"], response["name"])
        value = data.draw(st.sampled_from([None, 1, "x", True]))
        rows = [{**row, response["name"]: value} for row in rows]
    fault = data.draw(st.sampled_from(["none", "cell", "missing", "extra", "form"]))
    at = data.draw(st.sampled_from(names))
    if fault == "cell" and rows:
        rows[-1][at] = data.draw(st.sampled_from(WRONG))
    elif fault == "missing":
        names.remove(at)
    elif fault == "extra":
        assume("extra" not in names and (response or {}).get("name") != "extra")
        names.append("extra")
    rows = [{name: row.get(name) for name in names} for row in rows]
    body: Any = rows
    if data.draw(st.booleans()):
        body = {name: [row[name] for row in rows] for name in names}
    if fault == "form":
        body = data.draw(st.sampled_from([None, 1, "x", {"a": 1}, [1], [[]]]))
    document = checker(openapi(service(header)), "InputParameters")
    decoder = JsonDecoder(Schema(checked(header)), 100)
    sent = json.dumps({"inputData": body}).encode()
    try:
        list(decoder.pieces(sent, lambda: None))
        taken = True
    except MLServeError:
        taken = False
    assert document.is_valid({"inputData": body}) == taken, sent


def test_values_and_classes_are_told() -> None:
    inputs = swagger(service(HEADER))["definitions"]["InputParameters"]["properties"]
    column = inputs["inputData"]["properties"]["città"]
    assert column["description"] == "character. One of the values the model knows: 'a', '東京'."
    schemas = openapi(service(HEADER))["components"]["schemas"]
    frame = schemas["InputParameters"]["properties"]["inputData"]["oneOf"]
    for cell_schema in (
        frame[0]["properties"]["città"]["items"],
        frame[1]["items"]["properties"]["città"],
    ):
        assert cell_schema["enum"] == ["a", "東京", None]
        assert "'東京'" in cell_schema["description"]
    assert "enum" not in frame[1]["items"]["properties"]["photo"]
    columns = schemas["OutputParameters"]["properties"]["outputData"]["properties"]
    assert columns["PredictedLabel"]["items"] == {"type": "string", "enum": ["no", "yes"]}
    assert columns["PredictedLabel"]["description"] == "The predicted class: 'no', 'yes'."
    assert columns["Probability"]["description"] == "Probability of 'yes'."
    assert columns["Probability"]["items"] == {"type": ["number", "null"]}


@pytest.mark.parametrize("make", [swagger, openapi])
def test_a_standard_version_has_the_documents_it_had(make: Any) -> None:
    document = make(Definition.from_publish("S", "1", {"code": "x = 1"}))
    assert ARROW not in json.dumps(document)
    assert document["paths"]["/api/S/1"]["post"]["operationId"] == "consume"
    assert "415" not in document["paths"]["/api/S/1"]["post"]["responses"]
