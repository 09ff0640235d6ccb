"""What the documents say of batches is what the server answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from jupyter_mlserve.contract.batch import MEDIA


def resolved(document: Any, schema: Any) -> Any:
    """A validator of one schema of the document, with the references it may hold."""
    return Draft202012Validator({**schema, "components": document["components"]})


async def test_every_promised_address_answers_as_promised(http: Any, publish: Any) -> None:
    await publish(
        code="open('a.txt', 'w').write('text')\ny = x",
        outputFileNames=["a.txt"],
        mlserve={"sample": {"x": 1.0}},
    )
    openapi = (await http("GET", "api/AddOne/1.0/openapi.json")).json
    swagger = (await http("GET", "api/AddOne/1.0/swagger.json")).json
    root = "/api/AddOne/1.0/batch"
    promised = {
        (path, method)
        for document in (openapi, swagger)
        for path, item in document["paths"].items()
        for method in item
        if path.startswith(root)
    }
    assert len(promised) == 8
    started = await http("POST", root[1:], [{"x": 1}, {"x": "no"}])
    id = started.json["batchExecutionId"]
    while (await http("GET", f"{root[1:]}/{id}")).json["state"] != "Complete":
        await asyncio.sleep(0.05)
    values = {"executionId": id, "index": "0", "fileName": "a.txt"}
    for path, method in sorted(promised, key=lambda pair: pair[1] == "delete"):
        operation = openapi["paths"][path][method]
        if method == "post":
            reply, status = started, "202"
        else:
            reply, status = await http(method.upper(), path.format(**values)[1:]), "200"
        assert str(reply.status) == status, (path, method, reply.content)
        content = operation["responses"][status]["content"]
        kind = reply.headers["Content-Type"].partition(";")[0]
        assert kind in content, (path, kind)
        if kind == "application/json":
            resolved(openapi, content[kind]["schema"]).validate(reply.json)
        if path in swagger["paths"]:
            schema = swagger["paths"][path][method]["responses"][status]["schema"]
            if "$ref" in schema:
                named = swagger["definitions"][schema["$ref"].rpartition("/")[2]]
                assert set(named["properties"]) <= set(reply.json)
        errors = {code for code in operation["responses"] if code.isdigit()}
        assert {"400", "401", "404", "500"} <= errors
    post = openapi["paths"][root]["post"]
    assert set(post["requestBody"]["content"]) >= set(MEDIA.values())
    for media in MEDIA.values():
        reply = await http("POST", root[1:], b"", headers={"Content-Type": media})
        assert reply.status == 400, media  # not 415
    results = openapi["paths"][f"{root}/{{executionId}}/results"]["get"]
    formats = next(each for each in results["parameters"] if each["name"] == "format")
    assert set(formats["schema"]["enum"]) == set(MEDIA)


@pytest.mark.parametrize("details", ["true", "false"])
async def test_the_list_is_what_the_document_says(http: Any, publish: Any, details: str) -> None:
    await publish()
    await http("POST", "api/AddOne/1.0/batch", [{"x": 1}])
    openapi = (await http("GET", "api/AddOne/1.0/openapi.json")).json
    listed = await http("GET", f"api/AddOne/1.0/batch?details={details}")
    answer = openapi["paths"]["/api/AddOne/1.0/batch"]["get"]["responses"]["200"]
    resolved(openapi, answer["content"]["application/json"]["schema"]).validate(listed.json)


async def test_errors_are_what_the_document_says(http: Any, publish: Any) -> None:
    await publish()
    root = "api/AddOne/1.0/batch"
    await http("POST", root, [{"x": 1}], headers={"Idempotency-Key": "k"})
    id = (await http("GET", root)).json[0]
    openapi = (await http("GET", "api/AddOne/1.0/openapi.json")).json
    for method, path, asked, options in (
        ("post", "", "?parallelCount=0", {"body": [{"x": 1}]}),
        ("post", "", "", {"body": []}),
        ("post", "", "", {"body": [{}, {}], "headers": {"Idempotency-Key": "k"}}),
        ("post", "", "", {"body": b"<x/>", "headers": {"Content-Type": "text/xml"}}),
        ("get", "", "?details=perhaps", {}),
        ("get", "/{executionId}", "?showPartialResults=perhaps", {}),
        ("get", "/{executionId}/results", "?limit=0", {}),
        ("get", "/{executionId}/{index}/files", "", {}),
        ("get", "/{executionId}/{index}/files/{fileName}", "", {}),
        ("get", "/none/events", "", {}),
        ("delete", "/none", "", {}),
    ):
        place = path.replace("none", "{executionId}")
        address = path.format(executionId=id, index=7, fileName="a") + asked
        reply = await http(method.upper(), root + address, **options)
        assert reply.status >= 400, (path, asked)
        responses = openapi["paths"][f"/{root}{place}"][method]["responses"]
        content = responses[str(reply.status)]["content"]["application/json"]
        resolved(openapi, content["schema"]).validate(reply.json)
