"""The documents of the core API: valid, alike, and those of the published contract in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV31SpecValidator

from jupyter_mlserve.contract.core_api import OPERATIONS, openapi, swagger
from jupyter_mlserve.contract.errors import NotAllowed, TooBusy, error_body
from jupyter_mlserve.contract.names import RESERVED_VERSIONS

Json = dict[str, Any]
# Machine Learning Server's, without its sentences.
PUBLISHED: Json = json.loads(
    (Path(__file__).parent / "data" / "core_api_shape.json").read_text("utf-8")
)
VERBS = ("get", "head", "post", "put", "patch", "delete")


def operations(document: Json) -> dict[tuple[str, str], Json]:
    return {
        (path, verb): operation
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    }


def test_both_are_valid() -> None:
    assert [e.message for e in OpenAPIV31SpecValidator(openapi("/x")).iter_errors()] == []
    # Swagger 2.0 has the type "file" for answers; the validator does not know it there.
    found = {e.message for e in OpenAPIV2SpecValidator(swagger("/x")).iter_errors()}
    assert found == {"'file' is not valid under any of the given schemas"}


def test_both_tell_the_same() -> None:
    old, new = operations(swagger()), operations(openapi())
    assert list(old) == list(new)
    assert len(old) == len(OPERATIONS)
    for key, operation in old.items():
        other = new[key]
        for fact in ("operationId", "tags", "summary"):
            assert operation[fact] == other[fact]
        assert set(operation["responses"]) <= set(other["responses"]) | {"default"}
    assert set(swagger()["definitions"]) == set(openapi()["components"]["schemas"])


def test_operation_ids_are_unique() -> None:
    ids = [operation.operation_id for operation in OPERATIONS]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("document", [swagger, openapi])
def test_every_reference_leads_somewhere(document: Any) -> None:
    whole = document()
    text = json.dumps(whole)
    references = set(re.findall(r'"\$ref": "(#[^"]*)"', text))
    assert references
    for reference in references:
        found = whole
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    named = whole.get("definitions") or whole["components"]["schemas"]
    unused = [name for name in named if f'/{name}"' not in text]
    assert unused == []


@pytest.mark.parametrize(("path", "verb"), operations(PUBLISHED))
def test_the_published_contract_is_in_it(path: str, verb: str) -> None:
    """Names, places and kinds of parameters; media types; the status of success."""
    theirs, ours = operations(PUBLISHED)[path, verb], operations(swagger())[path, verb]
    assert ours["operationId"] == theirs["operationId"]
    assert ours.get("consumes") == theirs.get("consumes")

    def parameters(operation: Json) -> list[tuple[Any, ...]]:
        return sorted(
            (p["name"], p["in"], p["required"], p.get("type"), p.get("schema", {}).get("$ref"))
            for p in operation.get("parameters", ())
        )

    assert parameters(ours) == parameters(theirs)
    for status, response in theirs["responses"].items():
        mine = ours["responses"][status]
        if "schema" in response:
            assert mine["schema"] == response["schema"], status


def test_the_published_schemas_are_in_it() -> None:
    """Every name of a schema and of its properties; we may know more of them, and say more."""
    ours = swagger()["definitions"]
    for name, schema in PUBLISHED["definitions"].items():
        missing = set(schema.get("properties", ())) - set(ours[name].get("properties", ()))
        assert missing == set(), name


@pytest.mark.parametrize(
    ("base", "found"),
    [("/", None), ("", None), ("/user/x/mlserve/", "/user/x/mlserve"), ("a%40b", "/a%40b")],
)
def test_they_say_where_the_server_lives(base: str, found: str | None) -> None:
    assert swagger(base).get("basePath") == found
    url = openapi(f"https://h{found or ''}/")["servers"][0]["url"]
    assert url == f"https://h{found or ''}"


def test_every_answer_needs_a_token_but_those_that_give_one() -> None:
    free = {key for key, operation in operations(swagger()).items() if "security" not in operation}
    assert {path for path, _ in free} == {"/login", "/login/refreshToken"}
    assert free == {key for key, op in operations(openapi()).items() if op.get("security") == []}
    for (_, verb), operation in operations(openapi()).items():
        assert {"401", "500", "503"} < set(operation["responses"])
        assert ("default" in operation["responses"]) is (verb != "head")


def test_failures_have_the_documented_shape() -> None:
    components = openapi()["components"]
    check = Draft202012Validator({**components["schemas"]["Error"], "components": components})
    for error in (NotAllowed("No."), TooBusy("Full.", retry_after=3)):
        assert check.is_valid(error_body(error))
    assert not check.is_valid({"message": "Something else"})
    assert "Retry-After" in components["responses"]["TooBusy"]["headers"]


@pytest.mark.parametrize("document", [swagger, openapi])
def test_a_caller_may_change_what_was_returned(document: Any) -> None:
    first, before = document(), json.dumps(document())

    def spoil(value: Any) -> None:
        for item in list(value.values() if isinstance(value, dict) else value):
            if isinstance(item, (dict, list)):
                spoil(item)
        value.clear()

    spoil(first)
    assert json.dumps(document()) == before


def test_words_of_addresses_are_no_versions() -> None:
    """/services/{name}/history and the like could otherwise be a version's address."""
    for operation in OPERATIONS:
        for prefix in ("/services/{name}/", "/api/{name}/"):
            rest = operation.path.removeprefix(prefix)
            if rest != operation.path and not rest.startswith("{"):
                assert rest in RESERVED_VERSIONS
