"""Deploying, redeploying and deleting standard services with the published client."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from .conftest import deploy_transmission
from .test_calling import ANSWER, error_of

PARTS = ("code", "initCode", "operationId", "inputParameterDefinitions")
PARTS += ("outputParameterDefinitions", "outputFileNames", "runtimeType", "creationTime")


def described(client: Any, name: str, version: str = "1.0") -> dict[str, Any]:
    (item,) = client.list_services(name, version=version)
    assert isinstance(item, dict)
    return item


def test_redeploying_changes_what_is_given_and_nothing_else(
    client: Any, cars: pd.DataFrame, cars_model: LinearRegression
) -> None:
    deploy_transmission(client, "Changed", cars_model)
    before = described(client, "Changed")
    service = client.service("Changed").version("1.0").description("updated").redeploy()
    after = described(client, "Changed")
    assert after["description"] == "updated"
    assert {part: after[part] for part in PARTS} == {part: before[part] for part in PARTS}
    answer = service.manualTransmission(120, 2.8)
    assert answer.output("answer")["am_Pred"][0] == pytest.approx(ANSWER, abs=1e-12)
    assert set(answer.artifacts) == {"answer.csv", "never.png"}

    doubled = LinearRegression().fit(cars[["hp", "wt"]], 2 * cars["am"])
    service = client.service("Changed").version("1.0").models(cars_model=doubled).redeploy()
    again = described(client, "Changed")
    assert {part: again[part] for part in (*PARTS, "description")} == {
        part: after[part] for part in (*PARTS, "description")
    }
    answer = service.manualTransmission(120, 2.8).output("answer")
    assert answer["am_Pred"][0] == pytest.approx(2 * ANSWER, abs=1e-12)
    assert len(client.list_services("Changed")) == 1


def test_what_is_given_and_empty_is_void(client: Any) -> None:
    client.deploy_service(
        "Voided",
        version="1.0",
        code_str="open('a.txt', 'w').write('a')\ny = x",
        inputs={"x": int},
        outputs={"y": int},
        artifacts=["a.txt"],
        alias="run",
    )
    definition = client.service("Voided").version("1.0").code_str("y = 7")
    service = definition.inputs().artifacts([]).redeploy()
    after = described(client, "Voided")
    assert after["inputParameterDefinitions"] == []
    assert after["outputFileNames"] == []
    assert after["outputParameterDefinitions"] == [{"name": "y", "type": "integer"}]
    answer = service.run()
    assert answer.output("y") == 7
    assert answer.artifacts == {}
    service = client.service("Voided").version("1.0").outputs().redeploy()
    assert described(client, "Voided")["outputParameterDefinitions"] == []
    assert service.run().outputs == {}


def test_code_as_text_with_its_beginning_and_an_alias(client: Any) -> None:
    service = (
        client.service("Scored")
        .version("2.0")
        .code_str("answer = float(hp * k + wt)", "k = 2")
        .alias("score")
        .inputs(hp=float, wt="float")
        .outputs(answer=float)
        .deploy()
    )
    answer = service.score(3, 1)
    assert answer.output("answer") == 7.0
    assert answer.artifacts == {}
    assert described(client, "Scored", "2.0")["initCode"] == "k = 2"


def test_objects_are_the_variables_of_the_code(client: Any) -> None:
    service = client.deploy_service(
        "Objects",
        version="1",
        code_str="y = table[key] + offset",
        objects={"table": {"a": 1, "b": 2}},
        models={"offset": 40},
        inputs={"key": str},
        outputs={"y": int},
    )
    assert service.consume("b").output("y") == 42


def test_a_version_without_a_name_has_one_of_the_server(client: Any) -> None:
    service = client.deploy_service(
        "NoVersion", code_str="y = x + 1", inputs={"x": int}, outputs={"y": int}
    )
    version = service.capabilities()["version"]
    assert len(version) == 36
    assert service.consume(41).output("y") == 42
    (item,) = client.list_services("NoVersion")
    assert item["version"] == version


def test_the_same_name_and_version_again_is_a_conflict(client: Any) -> None:
    def deploy(code: str) -> Any:
        return client.deploy_service("Once", version="1", code_str=code, outputs={"y": int})

    deploy("y = 1")
    refused = error_of(lambda: deploy("y = 2"))
    assert refused.status == 409
    assert "another version" in json.loads(refused.body)["message"]
    assert error_of(lambda: deploy("y = 1")).status == 409  # the very same, too
    assert client.get_service("Once").consume().output("y") == 1
    assert len(client.list_services("Once")) == 1


def test_code_that_does_not_compile_is_refused_with_its_line(client: Any) -> None:
    refused = error_of(lambda: client.deploy_service("Broken", version="1", code_str="y = ("))
    assert refused.status == 400
    assert "SyntaxError" in json.loads(refused.body)["message"]
    assert client.list_services("Broken") == []


def test_deleting_one_version_leaves_the_others(client: Any) -> None:
    for version in ("1.0", "2.0"):
        client.deploy_service("Deleted", version=version, code_str="y = 1", outputs={"y": int})
    service = client.get_service("Deleted", version="1.0")
    assert client.delete_service("Deleted", version="1.0") is True
    assert [item["version"] for item in client.list_services("Deleted")] == ["2.0"]
    assert error_of(lambda: client.delete_service("Deleted", version="1.0")).status == 410
    assert error_of(lambda: client.delete_service("Deleted", version="3.0")).status == 404
    assert error_of(service.consume).status == 410
    assert error_of(lambda: client.get_service("Deleted", version="3.0")).status == 404
