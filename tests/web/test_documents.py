"""``swagger.json`` and ``openapi.json``: right addresses, always of the current state."""

from __future__ import annotations

from typing import Any

from openapi_spec_validator import validate

PREFIX = "/a%40b/mlserve"


async def test_the_documents_of_a_version(http: Any, publish: Any) -> None:
    await publish(description="Adds one.", operationId="addOne", mlserve={"sample": {"x": 1.5}})
    swagger = (await http("GET", "api/AddOne/1.0/swagger.json")).json
    file = swagger["paths"]["/api/AddOne/1.0/batch/{executionId}/{index}/files/{fileName}"]["get"]
    # Swagger 2.0 has this type for answers; the validator does not know it.
    assert file["responses"]["200"]["schema"].pop("type") == "file"
    validate(swagger)
    assert swagger["basePath"] == PREFIX
    login, refresh, *others = swagger["paths"]
    assert (login, refresh) == ("/login", "/login/refreshToken")
    assert all(path.startswith("/api/AddOne/1.0") for path in others)
    assert swagger["paths"]["/api/AddOne/1.0"]["post"]["operationId"] == "addOne"
    openapi = (await http("GET", "api/AddOne/1.0/openapi.json")).json
    validate(openapi)
    assert openapi["servers"] == [{"url": PREFIX}]
    # An address made of the document answers.
    path, *batch = openapi["paths"]
    assert batch[0] == f"{path}/batch"
    called = await http("POST", path.lstrip("/"), {"x": 1})
    assert called.json["outputParameters"] == {"y": 2.0}


async def test_documents_follow_every_change(http: Any, publish: Any) -> None:
    await publish()
    for kind in ("swagger", "openapi"):
        path = f"api/AddOne/1.0/{kind}.json"
        first = await http("GET", path)
        tag = first.headers["Etag"]
        same = await http("GET", path, headers={"If-None-Match": tag})
        assert (same.status, same.content) == (304, b"")
        await http("PATCH", "services/AddOne/1.0", {"description": f"Now for {kind}."})
        changed = await http("GET", path, headers={"If-None-Match": tag})
        assert changed.status == 200
        assert changed.json["info"]["description"] == f"Now for {kind}."
    await publish(version="2.0", description="Newest.")
    newest = (await http("GET", "api/AddOne/swagger.json")).json
    assert newest["info"] == {"title": "AddOne", "version": "2.0", "description": "Newest."}
    assert "/api/AddOne/2.0" in newest["paths"]
    await http("DELETE", "services/AddOne/1.0")
    assert (await http("GET", "api/AddOne/1.0/swagger.json")).status == 410
    assert (await http("GET", "api/Nothing/openapi.json")).status == 404
