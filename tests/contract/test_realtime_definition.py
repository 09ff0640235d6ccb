"""The definition of a realtime version: what its container says, and nothing sent as JSON."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.realtime_headers import ATTITUDE, HEADER, headers

from jupyter_mlserve.contract.definition import Definition
from jupyter_mlserve.contract.errors import InvalidDefinition, InvalidName
from jupyter_mlserve.contract.realtime import check_header

Json = dict[str, Any]
MODEL = {"sha256": "ab" * 32, "size": 1234}
OTHER = {"sha256": "cd" * 32, "size": 99}


def checked(header: Json) -> Json:
    return check_header({**header, "sha256": "0" * 64})


def made(header: Json = ATTITUDE, **texts: Any) -> Definition:
    return Definition.from_container("Rating", "1.0", checked(header), MODEL, **texts)


def standard() -> Definition:
    return Definition.from_publish("Rating", "1.0", {"code": "answer = 1"})


@dataclass(frozen=True)
class State:
    id: str = "s1"
    number: int = 2
    author: str = "ada"
    created_at: datetime = datetime(2026, 1, 2, tzinfo=timezone.utc)
    state_author: str = "bob"
    state_created_at: datetime = datetime(2026, 1, 3, tzinfo=timezone.utc)
    content_hash: str = "hash"


def test_a_container_becomes_a_definition() -> None:
    definition = made(description="Predicts", operation_id="rate")
    assert definition.to_json() == {
        "name": "Rating",
        "version": "1.0",
        "runtimeType": "Realtime",
        "description": "Predicts",
        "operationId": "rate",
        "code": "",
        "initCode": None,
        "inputParameterDefinitions": [
            {
                "name": "inputData",
                "type": "data.frame",
                "columns": [
                    {"name": name, "type": "numeric", "nullable": False}
                    for name in ATTITUDE["example"]
                ],
            }
        ],
        "outputParameterDefinitions": [
            {
                "name": "outputData",
                "type": "data.frame",
                "columns": [{"name": "rating_Pred", "type": "numeric"}],
            }
        ],
        "outputFileNames": [],
        "mlserve": {
            "form": "realtime",
            "function": None,
            "prelude": [],
            "objects": [],
            "files": [],
            "sample": None,
            "interpreter": None,
            "packages": {"scikit-learn": "1.9.1"},
            "source": None,
            "notebook": None,
            "cellId": None,
            "model": MODEL,
            "kind": "regression",
            "modelName": "LinearRegression",
            "response": ATTITUDE["response"],
            "classes": None,
            "known": {},
            "example": ATTITUDE["example"],
            "proof": ATTITUDE["proof"],
        },
    }
    assert definition.realtime is not None
    assert definition.realtime.model == MODEL
    assert definition.blobs == (MODEL["sha256"],)
    assert definition.operation == definition.documented_operation == "rate"


def test_without_alias_clients_consume_and_documents_name_the_contract_s_operation() -> None:
    assert made().operation == "consume"
    assert made().documented_operation == "ConsumeWebService"
    assert standard().documented_operation == "consume"
    assert standard().realtime is None


def test_empty_texts_are_none() -> None:
    assert made(description="", operation_id="") == made()


def test_name_version_and_alias_keep_their_rules() -> None:
    header = checked(ATTITUDE)
    with pytest.raises(InvalidName):
        Definition.from_container("a/b", "1", header, MODEL)
    with pytest.raises(InvalidName):
        Definition.from_container("a", "history", header, MODEL)
    with pytest.raises(InvalidDefinition) as caught:
        Definition.from_container("a", "1", header, MODEL, None, "not an alias")
    assert caught.value.field == "operationId"


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(headers(), st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=9))
def test_every_header_makes_a_definition_that_is_stored_and_read(
    header: Json, description: str | None
) -> None:
    definition = Definition.from_container("R", "1", checked(header), MODEL, description)
    stored = json.loads(json.dumps(definition.to_json(), allow_nan=False))
    assert Definition.from_json(stored) == definition
    assert Definition.from_json(stored).content_hash() == definition.content_hash()
    # What the author did not say stays in the container: values of columns may be many.
    assert '"known"' not in json.dumps(stored["inputParameterDefinitions"])


def test_classes_and_known_values_are_in_the_definition() -> None:
    found = made(HEADER).realtime
    assert found is not None
    assert found.classes == ["no", "yes"]
    assert found.known == {"città": ["a", "東京"]}
    before = made(HEADER).content_hash()
    header = copy.deepcopy(HEADER)
    header["columns"][2]["known"] = ["東京"]
    assert made(header).content_hash() != before
    stored = made(HEADER).to_json()
    for part in ("classes", "known"):  # as an early definition, stored without them
        del stored["mlserve"][part]
    assert Definition.from_json(stored).to_json()["mlserve"]["known"] == {}
    assert Definition.from_json(stored).to_json()["mlserve"]["classes"] is None


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ([f"v{i}" for i in range(50)], True),
        ([f"v{i}" for i in range(51)], False),
        (["x" * 1990, "y" * 1990], True),
        (["x" * 1990, "y" * 2010], False),
    ],
)
def test_many_known_values_are_left_out(known: list[str], told: bool) -> None:
    header = copy.deepcopy(HEADER)
    header["columns"][2]["known"] = known
    header["example"]["città"] = known[0]
    found = made(header).realtime
    assert found is not None
    assert found.known == ({"città": known} if told else {})


def test_very_many_classes_are_left_out() -> None:
    header = copy.deepcopy(HEADER)
    header["outputs"][0]["labels"] = [f"c{i}" for i in range(1001)]
    found = made(header).realtime
    assert found is not None
    assert found.classes is None


def test_the_definition_shares_nothing_with_the_header() -> None:
    header = checked(HEADER)
    definition = made(header)
    before = definition.to_json()
    header["columns"][0]["name"] = "changed"
    header["example"].clear()
    header["proof"]["libraries"]["x"] = "1"
    definition.to_json()["mlserve"]["model"]["sha256"] = "changed"
    assert definition.to_json() == before


def test_content_is_the_model_and_what_the_author_says_of_it() -> None:
    header = checked(ATTITUDE)
    first = Definition.from_container("a", "1", header, MODEL, "d", "alias")
    assert first.content_hash() == (
        Definition.from_container("b", "2", header, MODEL, "d", "alias").content_hash()
    )
    others = [
        Definition.from_container("a", "1", header, OTHER, "d", "alias"),
        Definition.from_container("a", "1", header, MODEL, "other", "alias"),
        Definition.from_container("a", "1", header, MODEL, "d", None),
    ]
    assert len({definition.content_hash() for definition in [first, *others]}) == 4


# -- what readers see ----------------------------------------------------------------------------


def test_owners_see_all_and_consumers_what_they_need() -> None:
    definition = made(description="Predicts")
    owner = definition.web_service(State(), may_see_code=True, permission="read/write")
    assert owner["runtimeType"] == "Realtime"
    assert owner["code"] is None
    assert owner["initCode"] is None
    assert owner["snapshotId"] is None
    assert owner["outputFileNames"] == []
    assert owner["operationId"] is None
    assert owner["mlserve"]["model"] == MODEL
    assert owner["mlserve"]["packages"] == {"scikit-learn": "1.9.1"}
    consumer = definition.web_service(State(), may_see_code=False, permission="read only")
    assert set(consumer) == set(owner)
    assert set(consumer["mlserve"]) == {
        *("form", "sample", "kind", "modelName", "response", "classes", "known", "example"),
        *("proof", "model", "state", "contentHash"),
    }
    assert consumer["mlserve"]["proof"] == ATTITUDE["proof"]
    assert consumer["mlserve"]["model"] == {"size": 1234}
    # A digest is enough to make a blob part of a version of one's own, and so to read it.
    assert MODEL["sha256"] not in json.dumps(consumer)
    assert consumer["inputParameterDefinitions"] == owner["inputParameterDefinitions"]


def test_standard_versions_have_none_of_the_new_keys() -> None:
    own = standard().web_service(State(), may_see_code=False, permission="read only")["mlserve"]
    assert set(own) == {"form", "sample", "state", "contentHash"}
    assert "model" not in standard().to_json()["mlserve"]


# -- updates -------------------------------------------------------------------------------------


def test_texts_are_kept_changed_or_cleared() -> None:
    definition = made(description="old", operation_id="rate")
    assert definition.merged_container() == definition
    assert definition.merged_container(description="new").description == "new"
    assert definition.merged_container(description="new").operation_id == "rate"
    assert definition.merged_container(operation_id="").operation_id is None
    assert definition.merged_container(description=None).description is None
    with pytest.raises(InvalidDefinition):
        definition.merged_container(operation_id="9")


def test_another_model_brings_its_schema_example_and_proof() -> None:
    definition = made(description="old", operation_id="rate")
    found = definition.merged_container(checked(HEADER), OTHER, description="new")
    assert found == Definition.from_container(
        "Rating", "1.0", checked(HEADER), OTHER, "new", "rate"
    )
    assert [column["name"] for column in found.inputs[0]["columns"]] == [
        "hp",
        "n",
        "città",
        "photo",
    ]


def test_a_standard_version_takes_no_model() -> None:
    with pytest.raises(
        InvalidDefinition, match=r"standard service.*services/Rating/1\.0"
    ) as caught:
        standard().merged_container(checked(ATTITUDE), MODEL)
    assert caught.value.field == "runtimeType"


def test_description_and_alias_can_be_patched_as_json() -> None:
    definition = made(description="old")
    found = definition.merged({"description": "new", "operationId": "rate"})
    assert found == made(description="new", operation_id="rate")
    assert found.merged({"operationId": None}) == made(description="new")
    assert definition.merged({}) == definition


def test_what_was_read_can_be_sent_back_with_another_description() -> None:
    definition = made(description="old")
    read = definition.web_service(State(), may_see_code=True, permission="read/write")
    read["description"] = "new"
    assert definition.merged(json.loads(json.dumps(read))) == made(description="new")


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"code": "import os"}, "code"),
        ({"initCode": "x = 1"}, "initCode"),
        ({"inputParameterDefinitions": []}, "inputParameterDefinitions"),
        ({"inputParameterDefinitions": "x"}, "inputParameterDefinitions"),
        ({"outputParameterDefinitions": {}}, "outputParameterDefinitions"),
        ({"outputFileNames": ["a.csv"]}, "outputFileNames"),
        ({"runtimeType": "Python"}, "runtimeType"),
        ({"snapshotId": "f00"}, "snapshotId"),
        ({"mlserve": {"objects": [{"name": "a"}]}}, "mlserve.objects"),
        ({"mlserve": {"files": [{"name": "a", "sha256": "a" * 64, "size": 1}]}}, "mlserve.files"),
        ({"mlserve": {"prelude": [{"source": "x = 1"}]}}, "mlserve.prelude"),
        ({"mlserve": {"function": "f"}}, "mlserve.function"),
        ({"mlserve": {"form": "script"}}, "mlserve.form"),
        ({"mlserve": {"sample": {"inputData": []}}}, "mlserve.sample"),
        ({"mlserve": {"pool": {"max": 2}}}, "mlserve.pool"),
        ({"mlserve": {"interpreter": {"executable": "/bin/sh"}}}, "mlserve.interpreter"),
        ({"mlserve": {"model": OTHER}}, "mlserve.model"),
        ({"mlserve": {"proof": {**ATTITUDE["proof"], "rows": 10**6}}}, "mlserve.proof"),
        ({"mlserve": {"example": {}}}, "mlserve.example"),
        ({"mlserve": {"response": None}}, "mlserve.response"),
    ],
)
def test_no_other_part_can_be_set(patch: Json, field: str) -> None:
    with pytest.raises(InvalidDefinition, match=r"realtime-services/Rating/1\.0") as caught:
        made().merged({"description": "new", **patch})
    assert caught.value.field == field


def test_what_cannot_be_set_is_told_in_words_that_fit() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        made().merged({"runtimeType": "Python", "code": "x = 1"})
    assert "Publish the code as another version of Rating" in caught.value.message
    assert "runtimeType" not in caught.value.message
    with pytest.raises(InvalidDefinition) as caught:
        made().merged({"mlserve": {"sample": {"inputData": []}}})
    assert "does not change without it. Publish another model" in caught.value.message


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"magic": 1}, "definition"),
        ({"mlserve": {"magic": 1}}, "mlserve"),
        ({"mlserve": 5}, "mlserve"),
        ({"name": "Other"}, "name"),
        ({"version": 2}, "version"),
        ({"description": 5}, "description"),
        ({"operationId": "login"}, "operationId"),
        ([], "body"),
        ("text", "body"),
    ],
)
def test_a_patch_that_makes_no_sense_is_refused(patch: Any, field: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        made().merged(patch)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"runtimeType": "Realtime"}, "runtimeType"),
        ({"runtimeType": "realtime", "code": "x"}, "runtimeType"),
        ({"code": "x", "mlserve": {"form": "realtime"}}, "mlserve.form"),
        ({"code": "x", "mlserve": {"model": MODEL}}, "mlserve.model"),
        ({"code": "x", "mlserve": {"proof": {}}}, "mlserve.proof"),
    ],
)
def test_json_cannot_carry_a_model(body: Json, field: str) -> None:
    with pytest.raises(InvalidDefinition, match=r"realtime-services/Rating/2\.0") as caught:
        Definition.from_publish("Rating", "2.0", body)
    assert caught.value.field == field
    with pytest.raises(InvalidDefinition, match=r"stays one.*realtime-services/Rating/") as caught:
        standard().merged(body)
    assert caught.value.field == field


def test_a_realtime_definition_cannot_be_published_as_json() -> None:
    """Not even one that is whole: who sends it need not have the model."""
    with pytest.raises(InvalidDefinition, match="JSON cannot carry it"):
        Definition.from_publish("Rating", "1.0", made().to_json())


# -- what a catalog may hold ---------------------------------------------------------------------


def broken(path: list[Any], value: Any) -> Json:
    body = copy.deepcopy(made().to_json())
    at: Any = body
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return body


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (["code"], "import os", "code"),
        (["initCode"], "x", "initCode"),
        (["outputFileNames"], ["a"], "outputFileNames"),
        (["runtimeType"], "realtime", "runtimeType"),
        (["runtimeType"], "Python", "code"),
        (["name"], "../x", "service name"),
        (["mlserve", "form"], "script", "mlserve.form"),
        (["mlserve", "objects"], [{"name": "a"}], "mlserve.objects"),
        (["mlserve", "files"], [{"name": "a"}], "mlserve.files"),
        (["mlserve", "prelude"], [{"source": "x"}], "mlserve.prelude"),
        (["mlserve", "function"], "f", "mlserve.function"),
        (["mlserve", "interpreter"], {"executable": "/x"}, "mlserve.interpreter"),
        (["mlserve", "pool"], {"max": 1}, "mlserve.pool"),
        (["mlserve", "model"], None, "mlserve.model"),
        (["mlserve", "model", "sha256"], "../../etc/passwd", "mlserve.model.sha256"),
        (["mlserve", "model", "sha256"], "AB" * 32, "mlserve.model.sha256"),
        (["mlserve", "model", "size"], 0, "mlserve.model.size"),
        (["mlserve", "model", "size"], True, "mlserve.model.size"),
        (["mlserve", "model", "path"], "/x", "mlserve.model"),
        (["mlserve", "kind"], "magic", "mlserve.kind"),
        (["mlserve", "modelName"], 5, "mlserve.modelName"),
        (["mlserve", "response", "position"], 99, "mlserve.response.position"),
        (["mlserve", "response", "name"], "raises", "mlserve.response.name"),
        (["mlserve", "example"], {}, "mlserve.example"),
        (["mlserve", "example", "raises"], None, "mlserve.example.raises"),
        (["mlserve", "example", "raises"], "x", "mlserve.example.raises"),
        (["mlserve", "proof", "rows"], 0, "mlserve.proof.rows"),
        (["mlserve", "classes"], ["a"], "mlserve.classes"),  # a regression has no label
        (["mlserve", "known"], {"other": [1.0]}, "mlserve.known"),
        (["mlserve", "known"], {"raises": ["x"]}, "mlserve.known.raises[0]"),
        (["mlserve", "known"], {"raises": []}, "mlserve.known.raises"),
        (["mlserve", "known"], {"raises": [float(i) for i in range(51)]}, "mlserve.known.raises"),
        (["mlserve", "known"], {"raises": [10**300] * 14}, "mlserve.known"),
        (["mlserve", "known"], {"raises": [1.0]}, "mlserve.example.raises"),
        (["mlserve", "known"], [1], "mlserve.known"),
        (["inputParameterDefinitions"], [], "inputParameterDefinitions"),
        (["inputParameterDefinitions", 0, "name"], "x", "inputParameterDefinitions[0].name"),
        (["inputParameterDefinitions", 0, "type"], "list", "inputParameterDefinitions[0].type"),
        (["inputParameterDefinitions", 0, "optional"], True, "inputParameterDefinitions[0]"),
        (["inputParameterDefinitions", 0, "columns"], [], "inputParameterDefinitions[0].columns"),
        (
            ["inputParameterDefinitions", 0, "columns", 0],
            {"name": "a", "type": "numeric"},
            "inputParameterDefinitions[0].columns[0]",
        ),
        (
            ["inputParameterDefinitions", 0, "columns", 0, "type"],
            "datetime",
            "inputParameterDefinitions[0].columns[0].type",
        ),
        (
            ["inputParameterDefinitions", 0, "columns", 0, "name"],
            "raises",
            "inputParameterDefinitions[0].columns",
        ),
        (
            ["inputParameterDefinitions", 0, "columns", 0, "name"],
            "a\nb",
            "inputParameterDefinitions[0].columns[0].name",
        ),
        (["outputParameterDefinitions", 0, "name"], "x", "outputParameterDefinitions[0].name"),
        (
            ["outputParameterDefinitions", 0, "columns", 0, "nullable"],
            True,
            "outputParameterDefinitions[0].columns[0]",
        ),
    ],
)
def test_every_rule_of_the_stored_form(path: list[Any], value: Any, field: str) -> None:
    with pytest.raises((InvalidDefinition, InvalidName)) as caught:
        Definition.from_json(broken(path, value))
    assert caught.value.field == field


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_json_in_any_place_is_refused_or_normal(draw_from: type, data: st.DataObject) -> None:
    body = made(HEADER).to_json()
    at: Any = body
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        inner = at[key]
        if not (isinstance(inner, dict | list) and inner) or data.draw(st.booleans()):
            break
        at = inner
    at[key] = data.draw(draw_from.json_values)
    try:
        found = Definition.from_json(body)
    except (InvalidDefinition, InvalidName):
        return
    assert Definition.from_json(found.to_json()) == found
    assert found.code == ""
    assert found.blobs == (MODEL["sha256"],)
