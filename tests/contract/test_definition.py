from __future__ import annotations

import copy
import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_mlserve.contract import limits
from jupyter_mlserve.contract.definition import Definition, contract_time
from jupyter_mlserve.contract.errors import BadRequest, InvalidDefinition, InvalidName

Body = dict[str, Any]
HASH = "ce3ab71032b56f17ce936339f5fc3f1e7cbd79957cdb7fc1041a328b152d50ec"
REMOVE = object()


@dataclass(frozen=True)
class State:
    id: str = "s1"
    number: int = 2
    author: str = "ann"
    created_at: datetime = datetime(2024, 5, 31, 12, 0, 1, 533608, tzinfo=timezone.utc)
    state_author: str = "bob"
    state_created_at: datetime = datetime(2024, 6, 1, tzinfo=timezone(timedelta(hours=2)))
    content_hash: str = "c" * 64


def publish(body: Body) -> Definition:
    return Definition.from_publish("TxService", "1.0", body)


def changed(body: Body, path: str, value: Any) -> Body:
    """A copy of ``body`` where the part at ``path`` ("a.b[0].c") is another value, or gone."""
    found = copy.deepcopy(body)
    keys: list[Any] = []
    for piece in path.split("."):
        name, *indexes = piece.replace("]", "").split("[")
        keys += [name, *map(int, indexes)]
    target: Any = found
    for key in keys[:-1]:
        target = target[key]
    if value is REMOVE:
        del target[keys[-1]]
    else:
        target[keys[-1]] = value
    return found


# -- what goes in comes out ----------------------------------------------------------------------


def test_the_quickstart_publishes(tx_body: Body) -> None:
    definition = publish(tx_body)
    assert definition.to_json() == {"name": "TxService", "version": "1.0", **tx_body}
    assert definition.operation == "manualTransmission"
    assert definition.blobs == ("a" * 64, "b" * 64)
    assert Definition.from_json(definition.to_json()) == definition


def test_a_script_as_other_clients_send_it_needs_only_code() -> None:
    body = {"code": "answer = hp + 1", "runtimeType": "Python"}
    definition = publish(body)
    assert (definition.form, definition.function) == ("script", None)
    assert definition.inputs == definition.outputs == definition.objects == ()
    assert definition.operation == "consume"
    assert definition.to_json()["mlserve"]["objects"] == []
    assert "pool" not in definition.to_json()["mlserve"]


def test_null_empty_and_absent_mean_the_same_on_publish() -> None:
    bare = publish({"code": "x = 1"})
    null = dict.fromkeys(
        ["description", "operationId", "initCode", "inputParameterDefinitions", "outputFileNames"]
    )
    assert publish({"code": "x = 1", **null, "mlserve": None}) == bare
    empty: Body = {"inputParameterDefinitions": {}, "outputFileNames": [], "snapshotId": None}
    own = {"objects": {}, "prelude": [], "packages": None, "pool": None, "sample": None}
    assert publish({"code": "x = 1", **empty, "mlserve": own}) == bare


def test_a_body_read_from_the_server_can_be_sent_back(tx_body: Body) -> None:
    definition = publish(tx_body)
    service = definition.web_service(State(), may_see_code=True, permission="read/write")
    assert publish(json.loads(json.dumps(service))) == definition


def test_a_definition_cannot_be_changed(tx_body: Body) -> None:
    frame = {"name": "df", "type": "data.frame", "optional": True, "default": {"a": [1]}}
    tx_body["inputParameterDefinitions"].append(frame)
    definition = publish(tx_body)
    with pytest.raises(dataclasses.FrozenInstanceError):
        definition.code = "other"  # type: ignore[misc]
    digest = definition.content_hash()
    definition.to_json()["mlserve"]["objects"][0]["sha256"] = "0" * 64
    tx_body["mlserve"]["sample"]["hp"] = 1
    frame["default"]["a"].append(2)
    assert definition.content_hash() == digest


def test_the_alias_of_a_function_that_other_operations_are_called() -> None:
    definition = publish({"code": "def login(): ...", "mlserve": {"function": "login"}})
    assert definition.operation == "consume"
    assert dataclasses.replace(definition, function="score").operation == "score"


# -- update --------------------------------------------------------------------------------------


def test_an_update_of_the_description_keeps_everything_else(tx_body: Body) -> None:
    before = publish(tx_body)
    after = before.merged({"description": "Better words", "runtimeType": "Python"})
    assert after.description == "Better words"
    assert dataclasses.replace(after, description=before.description) == before


VOID: list[tuple[Body, str, Any]] = [
    ({"description": None}, "description", None),
    ({"operationId": None}, "operation_id", None),
    ({"initCode": None}, "init_code", None),
    ({"outputFileNames": []}, "output_files", ()),
    ({"outputFileNames": {}}, "output_files", ()),
    ({"outputFileNames": None}, "output_files", ()),
    ({"outputParameterDefinitions": {}}, "outputs", ()),
    ({"mlserve": {"objects": [], "prelude": []}}, "objects", ()),
    ({"mlserve": {"files": None}}, "files", ()),
    ({"mlserve": {"sample": None}}, "sample", None),
    ({"mlserve": {"pool": None}}, "pool", None),
    ({"mlserve": {"packages": {}}}, "packages", {}),
    ({"mlserve": {"interpreter": None}}, "interpreter", None),
]


@pytest.mark.parametrize(("patch", "attribute", "value"), VOID, ids=lambda item: str(item)[:50])
def test_empty_and_null_make_a_part_void(
    tx_body: Body, patch: Body, attribute: str, value: Any
) -> None:
    before = publish(tx_body)
    after = before.merged(patch)
    assert getattr(before, attribute) != value
    assert getattr(after, attribute) == value
    untouched = {f.name for f in dataclasses.fields(before)} - {attribute, "prelude"}
    assert all(getattr(after, name) == getattr(before, name) for name in untouched)


def test_parts_of_ours_are_updated_one_by_one(tx_body: Body) -> None:
    before = publish(tx_body)
    model = {"name": "cars_model", "sha256": "d" * 64, "size": 3, "type": "Ridge"}
    after = before.merged({"mlserve": {"objects": [model]}})
    assert after.objects == (model,)
    assert (after.prelude, after.function, after.pool) == (
        before.prelude,
        before.function,
        before.pool,
    )
    assert before.merged({"mlserve": {}}) == before.merged({"mlserve": None}) == before


def test_objects_cannot_be_dropped_from_under_the_prelude(tx_body: Body) -> None:
    with pytest.raises(InvalidDefinition, match="send both together") as caught:
        publish(tx_body).merged({"mlserve": {"objects": []}})
    assert caught.value.field == "mlserve.prelude[1].object"


def test_form_and_function_move_together(tx_body: Body) -> None:
    before = publish(tx_body)
    script = before.merged({"code": "answer = 1", "mlserve": {"form": "script"}})
    assert (script.form, script.function) == ("script", None)
    assert before.merged({"mlserve": {"function": None}}).form == "script"
    back = script.merged({"code": "def g(): ...", "mlserve": {"function": "g"}})
    assert (back.form, back.function) == ("function", "g")


def test_new_inputs_need_a_sample_that_fits_or_new_code(tx_body: Body) -> None:
    before = publish(tx_body)
    other = [{"name": "x", "type": "integer"}]
    with pytest.raises(InvalidDefinition, match="Send a sample with them") as refused:
        before.merged({"inputParameterDefinitions": other})
    assert refused.value.field == "mlserve.sample"
    given: Body = {"inputParameterDefinitions": other, "mlserve": {"sample": {"x": 1}}}
    assert before.merged(given).sample == {"x": 1}
    given["mlserve"]["sample"] = None
    assert before.merged(given).sample is None
    assert before.merged({"inputParameterDefinitions": other, "code": "y = x"}).sample is None
    same = [*tx_body["inputParameterDefinitions"], {"name": "n", "type": "list", "optional": True}]
    assert before.merged({"inputParameterDefinitions": same}).sample == before.sample
    with pytest.raises(InvalidDefinition, match=r"mlserve\.sample"):
        before.merged({"inputParameterDefinitions": other, "mlserve": {"sample": {"hp": 1}}})


@pytest.mark.parametrize("key", ["name", "version"])
def test_name_and_version_stay(tx_body: Body, key: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        publish(tx_body).merged({key: "Other"})
    assert caught.value.field == key
    assert publish(tx_body).merged({"name": "TxService", "version": "1.0"}) == publish(tx_body)


# -- the content hash ----------------------------------------------------------------------------

CONTENT: list[tuple[str, Any]] = [
    ("description", "Other"),
    ("operationId", "other"),
    ("code", "pass"),
    ("initCode", None),
    ("inputParameterDefinitions[0].type", "integer"),
    ("outputParameterDefinitions[0].name", "result"),
    ("outputFileNames", []),
    ("mlserve.function", "other"),
    ("mlserve.prelude[0].source", "import numpy as np  \n"),
    ("mlserve.objects[0].sha256", "d" * 64),
    ("mlserve.files[0].name", "other.csv"),
    ("mlserve.sample", None),
    ("mlserve.interpreter.executable", "/other/python"),
    ("mlserve.packages.numpy", "2.1.0"),
    ("mlserve.pool.max", 5),
]


@pytest.mark.parametrize(("path", "value"), CONTENT, ids=lambda item: str(item)[:40])
def test_whatever_matters_changes_the_hash(tx_body: Body, path: str, value: Any) -> None:
    assert publish(changed(tx_body, path, value)).content_hash() != publish(tx_body).content_hash()


@pytest.mark.parametrize("key", ["source", "notebook", "cellId"])
def test_where_it_was_written_does_not(tx_body: Body, key: str) -> None:
    digest = publish(tx_body).content_hash()
    assert publish(changed(tx_body, f"mlserve.{key}", "other")).content_hash() == digest
    assert publish(changed(tx_body, f"mlserve.{key}", REMOVE)).content_hash() == digest


def test_the_hash_is_of_content_and_the_same_everywhere(tx_body: Body) -> None:
    definition = publish(tx_body)
    shuffled = json.loads(json.dumps(tx_body, sort_keys=True))
    assert publish(shuffled).content_hash() == definition.content_hash()
    other = Definition.from_publish("Other", "2.0", tx_body)
    assert other.content_hash() == definition.content_hash()
    # Stored beside versions: a new release must not see every old version as changed.
    assert publish({"code": "x = 'ü'"}).content_hash() == HASH


# -- hostile sources -----------------------------------------------------------------------------

HOSTILE: list[tuple[str, Any, str]] = [
    ("code", REMOVE, "code"),
    ("code", "  \n", "code"),
    ("code", 3, "code"),
    ("code", "x" * (limits.MAX_CODE + 1), "code"),
    ("code", "a\0b", "code"),
    ("code", "\ud800", "code"),
    ("runtimeType", "R", "runtimeType"),
    ("runtimeType", ["Python"], "runtimeType"),
    ("description", {"a": 1}, "description"),
    ("description", "x" * (limits.MAX_DESCRIPTION + 1), "description"),
    ("operationId", "not valid", "operationId"),
    ("operationId", "login", "operationId"),
    ("initCode", [], "initCode"),
    ("snapshotId", "5f0e", "snapshotId"),
    ("inputParameterDefinition", [], "definition"),
    ("inputParameterDefinitions", "hp: float", "inputParameterDefinitions"),
    ("inputParameterDefinitions", {"hp": "numeric"}, "inputParameterDefinitions"),
    ("inputParameterDefinitions", [{}] * 257, "inputParameterDefinitions"),
    ("inputParameterDefinitions[0]", "hp", "inputParameterDefinitions[0]"),
    ("inputParameterDefinitions[0].name", "a b", "inputParameterDefinitions[0].name"),
    ("inputParameterDefinitions[0].name", "__builtins__", "inputParameterDefinitions[0].name"),
    ("inputParameterDefinitions[1].name", "hp", "inputParameterDefinitions[1].name"),
    ("inputParameterDefinitions[0].type", "float", "inputParameterDefinitions[0].type"),
    ("inputParameterDefinitions[0].type", None, "inputParameterDefinitions[0].type"),
    ("inputParameterDefinitions[0].type", {"a": 1}, "inputParameterDefinitions[0].type"),
    ("inputParameterDefinitions[0].optional", 1, "inputParameterDefinitions[0].optional"),
    ("inputParameterDefinitions[0].default", "x", "inputParameterDefinitions[0].default"),
    ("inputParameterDefinitions[0].defualt", 1, "inputParameterDefinitions[0]"),
    ("inputParameterDefinitions[0].columns", [], "inputParameterDefinitions[0].columns"),
    ("outputParameterDefinitions[0].default", 1, "outputParameterDefinitions[0]"),
    ("outputParameterDefinitions[0].columns", [], "outputParameterDefinitions[0].columns"),
    (
        "outputParameterDefinitions[0].columns",
        [{}],
        "outputParameterDefinitions[0].columns[0].name",
    ),
    (
        "outputParameterDefinitions[0].columns",
        [{"name": "a", "type": "list"}],
        "outputParameterDefinitions[0].columns[0].type",
    ),
    (
        "outputParameterDefinitions[0].columns",
        [{"name": "a", "type": "integer", "nullable": "yes"}],
        "outputParameterDefinitions[0].columns[0].nullable",
    ),
    (
        "outputParameterDefinitions[0].columns",
        [{"name": "a", "type": "integer"}] * 2,
        "outputParameterDefinitions[0].columns[1].name",
    ),
    ("outputFileNames", "answer.csv", "outputFileNames"),
    ("outputFileNames", ["../../etc/passwd"], "outputFileNames[0]"),
    ("outputFileNames", ["/etc/passwd"], "outputFileNames[0]"),
    ("outputFileNames", ["a.csv", "a.csv"], "outputFileNames[1]"),
    ("outputFileNames", [["a"]], "outputFileNames[0]"),
    ("mlserve", [1], "mlserve"),
    ("mlserve.unknown", 1, "mlserve"),
    ("mlserve.form", "both", "mlserve.form"),
    ("mlserve.form", "script", "mlserve.function"),
    ("mlserve.function", None, "mlserve.function"),
    ("mlserve.function", "os.system", "mlserve.function"),
    ("mlserve.prelude", {"a": 1}, "mlserve.prelude"),
    ("mlserve.prelude[0]", "import os", "mlserve.prelude[0]"),
    ("mlserve.prelude[0].source", 3, "mlserve.prelude[0].source"),
    ("mlserve.prelude[0].names", "np", "mlserve.prelude[0].names"),
    ("mlserve.prelude[0].names[0]", "n p", "mlserve.prelude[0].names[0]"),
    ("mlserve.prelude[0].names[0]", "cars_model", "mlserve.prelude"),
    ("mlserve.prelude[0]", {"object": "cars_model"}, "mlserve.prelude[1].object"),
    ("mlserve.prelude[1].object", "other", "mlserve.prelude[1].object"),
    ("mlserve.prelude[1].source", "x", "mlserve.prelude[1]"),
    ("mlserve.prelude[1].object", ["cars_model"], "mlserve.prelude[1].object"),
    ("mlserve.objects[0].name", "__main__", "mlserve.objects[0].name"),
    ("mlserve.objects[0].sha256", "A" * 64, "mlserve.objects[0].sha256"),
    ("mlserve.objects[0].sha256", "a" * 63, "mlserve.objects[0].sha256"),
    ("mlserve.objects[0].sha256", "a" * 64 + "\n", "mlserve.objects[0].sha256"),
    ("mlserve.objects[0].sha256", "../" + "a" * 61, "mlserve.objects[0].sha256"),
    ("mlserve.objects[0].size", -1, "mlserve.objects[0].size"),
    ("mlserve.objects[0].size", True, "mlserve.objects[0].size"),
    ("mlserve.objects[0].size", 2**60, "mlserve.objects[0].size"),
    ("mlserve.objects[0].size", 1.5, "mlserve.objects[0].size"),
    ("mlserve.objects[0].type", None, "mlserve.objects[0].type"),
    ("mlserve.objects[0].path", "/etc/passwd", "mlserve.objects[0]"),
    ("mlserve.files[0].name", "../lookup.csv", "mlserve.files[0].name"),
    ("mlserve.files[0].name", ".bashrc", "mlserve.files[0].name"),
    ("mlserve.files[0].type", "x", "mlserve.files[0]"),
    ("mlserve.sample", [120, 2.8], "mlserve.sample"),
    ("mlserve.sample.qsec", 1, "mlserve.sample"),
    ("mlserve.sample.hp", "120", "mlserve.sample.hp"),
    ("mlserve.sample.hp", float("nan"), "mlserve.sample"),
    ("mlserve.sample.hp", REMOVE, "mlserve.sample.hp"),
    ("mlserve.interpreter", "/usr/bin/python", "mlserve.interpreter"),
    ("mlserve.interpreter.executable", "python", "mlserve.interpreter.executable"),
    ("mlserve.interpreter.executable", "../python", "mlserve.interpreter.executable"),
    ("mlserve.interpreter.executable", "/bin/sh\n-c", "mlserve.interpreter.executable"),
    ("mlserve.interpreter.executable", "/" + "x" * 5000, "mlserve.interpreter.executable"),
    ("mlserve.interpreter.version", "three", "mlserve.interpreter.version"),
    ("mlserve.interpreter.argv", ["-c"], "mlserve.interpreter"),
    ("mlserve.packages", ["numpy"], "mlserve.packages"),
    ("mlserve.packages.numpy", 2, "mlserve.packages.numpy"),
    ("mlserve.packages", {str(n): "1" for n in range(2001)}, "mlserve.packages"),
    ("mlserve.source", 1, "mlserve.source"),
    ("mlserve.notebook", "x" * 5000, "mlserve.notebook"),
    ("mlserve.cellId", {}, "mlserve.cellId"),
    ("mlserve.pool", 3, "mlserve.pool"),
    ("mlserve.pool.max", 0, "mlserve.pool.max"),
    ("mlserve.pool.max", 100_000, "mlserve.pool.max"),
    ("mlserve.pool.initial", 5, "mlserve.pool.initial"),
    ("mlserve.pool.initial", -1, "mlserve.pool.initial"),
]


@pytest.mark.parametrize(
    ("path", "value", "field"), HOSTILE, ids=[f"{p}={str(v)[:20]!r}" for p, v, _ in HOSTILE]
)
def test_every_part_is_checked_and_named(tx_body: Body, path: str, value: Any, field: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        publish(changed(tx_body, path, value))
    assert caught.value.field == field
    assert len(caught.value.message) < 800
    caught.value.message.encode()


@pytest.mark.parametrize("body", [None, [], "x", 3, True, [{}]])
def test_the_body_is_an_object(body: object) -> None:
    with pytest.raises(InvalidDefinition, match="expected a JSON object"):
        Definition.from_publish("a", "1", body)
    with pytest.raises(InvalidDefinition):
        Definition.from_json(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"code": "1", "inputs": {}}, "The definition has the unknown key 'inputs'; known are "),
        (
            {"code": "1", "mlserve": {"x": 1}},
            "The definition's mlserve has the unknown key 'x'; known are ",
        ),
        ({}, "The definition's code is missing; a service needs code to run."),
        ({"code": None}, "The definition's code is missing; a service needs code to run."),
        ({"code": 1}, "The definition's code is not valid: expected a string, got 1."),
    ],
)
def test_the_sentence_says_where_it_is(body: Body, message: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        Definition.from_publish("Tx", "1.0", body)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(("name", "version"), [("../x", "1"), ("x", "batch"), ("x", "../1")])
def test_the_address_is_checked_too(tx_body: Body, name: str, version: str) -> None:
    with pytest.raises(InvalidName):
        Definition.from_publish(name, version, tx_body)


def test_a_deep_sample_or_default_is_refused_not_crashed_on(tx_body: Body) -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for path in ("inputParameterDefinitions[0].default", "mlserve.sample.hp", "description"):
        with pytest.raises(InvalidDefinition):
            publish(changed(tx_body, path, deep))


def test_a_large_definition_is_checked_quickly() -> None:
    columns = [{"name": f"c{n}", "type": "numeric"} for n in range(limits.MAX_COLUMNS)]
    frame = {"name": "df", "type": "data.frame", "columns": columns}
    body = {"code": "x" * limits.MAX_CODE, "inputParameterDefinitions": [frame]}
    start = datetime.now()
    publish(body)
    assert datetime.now() - start < timedelta(seconds=2)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_every_valid_body_survives_a_round_trip(draw_from: type, data: st.DataObject) -> None:
    body = data.draw(draw_from.publish_bodies())
    definition = publish(body)
    again = Definition.from_json(json.loads(json.dumps(definition.to_json(), allow_nan=False)))
    assert again == definition
    assert again.content_hash() == definition.content_hash()
    assert definition.merged(body) == definition.merged({}) == definition


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_json_breaks_the_validation(draw_from: type, data: st.DataObject) -> None:
    body = data.draw(draw_from.publish_bodies())
    leaf = data.draw(draw_from.json_values)
    target: Any = body
    while True:  # to a random place of the body
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(target[key], dict | list) and target[key] and data.draw(st.booleans()):
            target = target[key]
            continue
        target[key] = leaf
        break
    at_fault = None
    try:
        definition = publish(body)
    except BadRequest as exc:
        at_fault = exc.field
    if at_fault is None:
        assert Definition.from_json(definition.to_json()) == definition
    else:
        assert at_fault


# -- what is shown -------------------------------------------------------------------------------


def test_the_owner_sees_the_contracts_web_service_with_our_part(tx_body: Body) -> None:
    service = publish(tx_body).web_service(State(), may_see_code=True, permission="read/write")
    own = service.pop("mlserve")
    assert service == {
        "name": "TxService",
        "version": "1.0",
        "versionPublishedBy": "ann",
        "creationTime": "2024-05-31T12:00:01.5336080",
        "snapshotId": None,
        **{key: value for key, value in tx_body.items() if key != "mlserve"},
        "myPermissionOnService": "read/write",
    }
    state = {
        "id": "s1",
        "number": 2,
        "author": "bob",
        "creationTime": contract_time(State().state_created_at),
    }
    assert own == {**tx_body["mlserve"], "state": state, "contentHash": "c" * 64}


def test_others_see_neither_code_nor_the_authors_machine(tx_body: Body) -> None:
    service = publish(tx_body).web_service(State(), may_see_code=False, permission="read only")
    assert (service["code"], service["initCode"]) == (None, None)
    assert service["myPermissionOnService"] == "read only"
    assert service["inputParameterDefinitions"] == tx_body["inputParameterDefinitions"]
    assert set(service["mlserve"]) == {"form", "sample", "state", "contentHash"}
    shown = json.dumps(service)
    for secret in ("score", "import", "/opt/env", "cars", "scikit", "a" * 64):
        assert secret not in shown


def test_times_have_seven_digits_and_no_zone() -> None:
    assert contract_time(datetime(2017, 9, 29, 17, 55, 13, 533608)) == "2017-09-29T17:55:13.5336080"
    east = datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert contract_time(east) == "2023-12-31T23:00:00.0000000"
