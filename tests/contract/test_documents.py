"""swagger.json and openapi.json: their shape, their validity, and that they tell the truth."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV31SpecValidator

from jupyter_mlserve.contract.definition import Definition
from jupyter_mlserve.contract.errors import (
    ServiceFailed,
    TooBusy,
    VersionDeleted,
    result_error_body,
)
from jupyter_mlserve.contract.openapi import openapi
from jupyter_mlserve.contract.swagger import swagger
from jupyter_mlserve.contract.types import parse_params

Json = dict[str, Any]
BOTH = {"login", "batch"}
EVERY_TYPE = (
    "a: bool, b: int, c: float, d: str, e: numpy.array, f: numpy.matrix, g: DataFrame, "
    "h: datetime, i: bytes, j: list, k: dict, l: DataFrame[x: float, 'my y': int?, z: str]"
)


def service(inputs: str = "", outputs: str = "", **more: Any) -> Definition:
    body: Json = {
        "code": "pass",
        "inputParameterDefinitions": parse_params(inputs),
        "outputParameterDefinitions": parse_params(outputs, output=True),
    }
    return Definition.from_publish("TxService", "1.0", {**body, **more})


def problems(validator: type, document: Json) -> list[str]:
    return [error.message for error in validator(document).iter_errors()]


def without_sentences(value: Any) -> Any:
    """A document without the texts people read, and without our word for null.

    The type words of properties stay."""
    if isinstance(value, dict):
        return {
            key: without_sentences(item)
            for key, item in value.items()
            if not (
                key in ("description", "summary")
                and isinstance(item, str)
                and item not in ("numeric", "data.frame")
            )
            and key != "x-nullable"
        }
    return [without_sentences(item) for item in value] if isinstance(value, list) else value


# -- Swagger 2.0 ---------------------------------------------------------------------------------


def test_swagger_has_the_shape_of_the_published_contract() -> None:
    """The shape is that of a document a real Machine Learning Server printed, order included."""
    definition = service(
        "hp: float, wt: float", "answer: DataFrame", operationId="manualTransmission"
    )
    found = without_sentences(swagger(definition, "/", BOTH))
    shape = Path(__file__).parent / "data" / "swagger_shape.json"
    assert json.dumps(found, indent=1) == json.dumps(json.loads(shape.read_text()), indent=1)


def test_swagger_promises_only_what_the_server_answers() -> None:
    document = swagger(service())
    assert set(document["paths"]) == {"/api/TxService/1.0"}
    assert set(document["definitions"]) == {
        "InputParameters",
        "OutputParameters",
        "Error",
        "WebServiceResult",
    }
    assert "/login" in swagger(service(), features={"login"})["paths"]
    assert len(swagger(service(), features=["batch"])["paths"]) == 5
    with pytest.raises(ValueError, match="metrics"):
        swagger(service(), features={"metrics"})


@pytest.mark.parametrize(
    ("base", "found"),
    [
        ("/", None),
        ("", None),
        ("/mlserve", "/mlserve"),
        ("/user/x/mlserve/", "/user/x/mlserve"),
        ("mlserve", "/mlserve"),
    ],
)
def test_swagger_says_where_the_server_lives(base: str, found: str | None) -> None:
    assert swagger(service(), base).get("basePath") == found


def test_swagger_says_what_is_known_of_inputs() -> None:
    definition = service(
        "n: int = 3, s: str?, t: datetime = '2024-05-31', df: DataFrame[x: float, 'my y': int]",
        "answer: numpy.matrix",
        mlserve={"sample": {"df": {"x": [1], "my y": [2]}}},
        description="What it does",
    )
    document = swagger(definition)
    assert document["info"]["description"] == "What it does"
    inputs = document["definitions"]["InputParameters"]
    assert inputs["example"] == {"df": {"x": [1], "my y": [2]}}
    assert inputs["properties"]["n"] == {
        "type": "integer",
        "description": "integer",
        "default": 3,
        "x-nullable": True,
    }
    assert "default" not in inputs["properties"]["s"]
    assert "default" not in inputs["properties"]["t"]  # a date alone is no date-time
    assert inputs["properties"]["df"]["properties"]["my y"] == {
        "type": "array",
        "items": {"type": "integer", "x-nullable": True},
        "description": "integer",
    }
    answer = document["definitions"]["OutputParameters"]["properties"]["answer"]
    assert answer == {
        "type": "array",
        "items": {"type": "array", "items": {}},
        "description": "matrix",
        "x-nullable": True,
    }


def test_swagger_with_every_feature_is_valid() -> None:
    document = swagger(service(EVERY_TYPE, EVERY_TYPE), "/x", BOTH)
    # Swagger 2.0 has the type "file" for answers, its own JSON Schema agrees; the validator
    # looks at an answer's schema as if it stood elsewhere, and knows no such type there.
    assert set(problems(OpenAPIV2SpecValidator, document)) == {
        "'file' is not valid under any of the given schemas"
    }
    files = "/api/TxService/1.0/batch/{executionId}/{index}/files/{fileName}"
    schema = document["paths"][files]["get"]["responses"]["200"]["schema"]
    assert schema == {"type": "file"}
    schema["type"] = "string"
    assert problems(OpenAPIV2SpecValidator, document) == []


# -- OpenAPI 3.1 ---------------------------------------------------------------------------------


def test_openapi_is_complete() -> None:
    definition = service(
        "hp: float, wt: float = 2.5",
        "answer: DataFrame[am_Pred: float]",
        description="What it does",
        operationId="manualTransmission",
        outputFileNames=["answer.csv"],
        mlserve={"sample": {"hp": 120, "wt": 2.8}},
    )
    document = openapi(definition, "https://host/user/x/mlserve/")
    assert document["openapi"].startswith("3.1.")
    assert document["info"] == {
        "title": "TxService",
        "version": "1.0",
        "description": "What it does",
    }
    assert document["servers"] == [{"url": "https://host/user/x/mlserve"}]
    assert document["security"] == [{"bearer": []}]
    post = document["paths"]["/api/TxService/1.0"]["post"]
    assert post["operationId"] == "manualTransmission"
    assert set(post["responses"]) == {
        *["200", "400", "401", "403", "404", "410", "413", "429", "500", "503", "504", "default"]
    }
    for status, response in post["responses"].items():
        if status not in ("200", "default"):
            assert response["content"]["application/json"]["schema"]["$ref"].endswith("ErrorResult")
        assert ("headers" in response) == (status in ("429", "503"))
    content = post["requestBody"]["content"]["application/json"]
    assert content["examples"]["sample"]["value"] == {"hp": 120, "wt": 2.8}
    schemas = document["components"]["schemas"]
    assert schemas["InputParameters"]["required"] == ["hp"]
    assert schemas["InputParameters"]["properties"]["wt"]["default"] == 2.5
    assert "2.5" in schemas["InputParameters"]["properties"]["wt"]["description"]
    files = schemas["WebServiceResult"]["properties"]["outputFiles"]
    assert files["required"] == ["answer.csv"]


def test_openapi_without_a_url_or_inputs() -> None:
    document = openapi(service())
    assert document["servers"] == [{"url": "/"}]
    assert "required" not in document["components"]["schemas"]["InputParameters"]
    assert problems(OpenAPIV31SpecValidator, document) == []


def checker(document: Json, name: str) -> Draft202012Validator:
    """Validates instances against a named schema of the document."""
    return Draft202012Validator(
        {**document["components"]["schemas"][name], "components": document["components"]}
    )


def test_a_frame_has_real_schemas_in_both_forms() -> None:
    document = openapi(service("df: DataFrame[hp: float, n: int, m: int?]"))
    inputs = checker(document, "InputParameters")
    good: list[Any] = [
        {"hp": [120, None], "n": [1, 2], "m": [None, 3]},
        [{"hp": 120.5, "n": 1, "m": None}],
        [],
        None,
    ]
    bad: list[Any] = [
        {"hp": [120], "n": [1]},
        {"hp": [120], "n": [1], "m": [1], "extra": [1]},
        {"hp": ["120"], "n": [1], "m": [1]},
        {"hp": [120], "n": [None], "m": [1]},
        {"hp": 120, "n": 1, "m": 1},
        [{"hp": 120, "n": 1}],
        [{"hp": 120, "n": 1.5, "m": 1}],
        "frame",
    ]
    for value in good:
        assert inputs.is_valid({"df": value}), value
    for value in bad:
        assert not inputs.is_valid({"df": value}), value
    assert not inputs.is_valid({})
    assert not inputs.is_valid({"df": [], "other": 1})


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ("datetime = '2024-05-31'", False),
        ("datetime = '2024-05-31T12:00:00Z'", True),
        ("DataFrame[d: datetime] = {'d': ['2024-05-31']}", False),
        ("DataFrame[d: datetime] = [{'d': '2024-05-31'}]", False),
        ("DataFrame[d: datetime] = [{'d': '2024-05-31T12:00:00Z'}]", True),
        ("DataFrame[d: datetime] = {'d': [None]}", True),
        ("DataFrame[d: str] = {'d': ['2024-05-31']}", True),
        ("float?", True),
    ],
)
def test_a_default_that_breaks_the_format_is_told_in_words_only(declared: str, told: bool) -> None:
    """We accept dates without time or zone; ``format: date-time`` (RFC 3339) does not."""
    definition = service(f"x: {declared}")
    document = openapi(definition)
    found = document["components"]["schemas"]["InputParameters"]["properties"]["x"]
    assert ("default" in found) == told
    assert "Optional" in found["description"]
    assert problems(OpenAPIV31SpecValidator, document) == []
    assert problems(OpenAPIV2SpecValidator, swagger(definition)) == []


def test_answers_and_failures_of_the_server_fit_their_schemas() -> None:
    definition = service("hp: float", "answer: DataFrame", outputFileNames=["answer.csv"])
    document = openapi(definition)
    result = checker(document, "WebServiceResult")
    answer: Json = {
        "success": True,
        "errorMessage": "",
        "consoleOutput": "",
        "changedFiles": [],
        "outputFiles": {"answer.csv": "YQ=="},
        "outputParameters": {"answer": {"am_Pred": [0.5332668559970368, None]}},
    }
    assert result.is_valid(answer)
    assert result.is_valid({**answer, "outputFiles": {"answer.csv": None}})
    for key, value in [
        ("success", False),
        ("outputFiles", {}),
        ("outputParameters", {}),
        ("outputParameters", {"answer": [1]}),
        ("outputParameters", {"answer": None, "more": 1}),
    ]:
        assert not result.is_valid({**answer, key: value}), key
    failure = checker(document, "ErrorResult")
    for exc in (
        ServiceFailed("ValueError: x", traceback="...", console="hi"),
        TooBusy("Full.", retry_after=1),
        VersionDeleted("It was deleted."),
        RuntimeError(),
    ):
        failure.validate(result_error_body(exc, owner=True))
    assert not failure.is_valid({"message": "x"})


# -- both, for every kind of definition ----------------------------------------------------------


def test_documents_are_pure_functions() -> None:
    definition = service(
        "df: DataFrame[x: float] = {'x': [1]}", EVERY_TYPE, mlserve={"sample": {"df": {"x": [2]}}}
    )
    before = definition.to_json()
    first = (swagger(definition, "/a", BOTH), openapi(definition, "/a", BOTH))
    kept = copy.deepcopy(first)
    first[0]["definitions"]["InputParameters"]["example"]["df"]["x"].append(3)
    first[1]["components"]["schemas"]["InputParameters"]["properties"]["df"]["default"]["x"] = 4
    first[1]["paths"].clear()
    first[0]["paths"]["/api/TxService/1.0"]["post"]["security"].clear()
    assert definition.to_json() == before
    assert (swagger(definition, "/a", BOTH), openapi(definition, "/a", BOTH)) == kept


def test_an_update_shows_in_both() -> None:
    before = service("hp: float", description="old")
    after = before.merged(
        {"description": "new", "inputParameterDefinitions": parse_params("wt: int")}
    )
    for document in (swagger(after), openapi(after)):
        assert document["info"]["description"] == "new"
        assert '"wt"' in json.dumps(document)
        assert '"hp"' not in json.dumps(document)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_every_definition_has_valid_documents(draw_from: type, data: st.DataObject) -> None:
    definition = Definition.from_publish("S-1.x", "v1", data.draw(draw_from.publish_bodies()))
    for document, validator in (
        (swagger(definition, "/user/x/mlserve"), OpenAPIV2SpecValidator),
        (swagger(definition, "/", {"login"}), OpenAPIV2SpecValidator),
        (openapi(definition, "/user/x/mlserve"), OpenAPIV31SpecValidator),
        (openapi(definition, "/", {"batch"}), OpenAPIV31SpecValidator),
    ):
        assert problems(validator, document) == []
        json.dumps(document, allow_nan=False).encode()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_a_service_takes_the_document_allows(draw_from: type, data: st.DataObject) -> None:
    params = data.draw(draw_from.params())
    definition = Definition.from_publish(
        "s", "1", {"code": "pass", "inputParameterDefinitions": params}
    )
    sample = {
        param["name"]: data.draw(draw_from.values(param))
        for param in params
        if not param.get("optional") or data.draw(st.booleans())
    }
    checker(openapi(definition), "InputParameters").validate(sample)
    # The defaults are values too.
    defaults = {param["name"]: param["default"] for param in params if param.get("optional")}
    checker(openapi(definition), "InputParameters").validate({**sample, **defaults})
