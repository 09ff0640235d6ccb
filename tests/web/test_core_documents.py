"""The core API's own documents: right addresses, and every address of ours is in a document."""

from __future__ import annotations

import re
from typing import Any

from openapi_spec_validator import validate

from jupyter_mlserve.contract import core_api
from jupyter_mlserve.contract.definition import Definition
from jupyter_mlserve.contract.openapi import openapi
from jupyter_mlserve.web.addresses import rules
from jupyter_mlserve.web.base import VERBS, MLServeHandler
from jupyter_mlserve.web.status import UnknownHandler

PREFIX = "/a%40b/mlserve"
# Answered, and in no document on purpose.
INTERNAL = {
    ("POST", "/prepare"): "our own client's hint that a publish is about to come",
}


def served() -> set[tuple[str, str]]:
    """What the router knows, with {} for a part: ``("GET", "/services/{}")``."""
    found = set()
    for rule in rules(None, None, "/"):  # type: ignore[arg-type]
        pattern = rule.matcher.regex.pattern
        cls = rule.target.handler_class
        if cls is UnknownHandler:
            continue
        verbs = [
            v for v in VERBS if getattr(cls, v.lower()) != MLServeHandler._unimplemented_method
        ]
        for path in expanded(pattern):
            found |= {(verb, path) for verb in verbs}
    return found


def expanded(pattern: str) -> list[str]:
    """The paths that a pattern stands for: ``(?:x)?`` is there or not, ``(a|b)`` is one of them."""
    path = pattern.removesuffix("/?$").replace("\\.", ".")
    path = path.replace("([^/]+)", "{}").replace("(.+?)", "{}")  # a name, a path of names
    path = path.removeprefix("/mlserve")
    if optional := re.search(r"\(\?:([^()]*)\)\?", path):
        start, end = optional.span()
        found = [path[:start] + middle + path[end:] for middle in ("", optional[1])]
    else:
        found = [path]
    if choice := re.search(r"\((\w+(?:\|\w+)+)\)", path):
        found = [one.replace(choice[0], word) for one in found for word in choice[1].split("|")]
    assert not any(re.search(r"[()\\|?*+]", one) for one in found), found
    return found


def documented(document: Any) -> set[tuple[str, str]]:
    return {
        (verb.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, verbs in document["paths"].items()
        for verb in verbs
    }


def test_every_address_is_documented_and_every_documented_address_is_served() -> None:
    body = {"code": "pass", "inputParameterDefinitions": [], "outputParameterDefinitions": []}
    service = openapi(Definition.from_publish("NAME", "9.9", body), features=["login", "batch"])
    of_services = {
        (verb, path.replace("/NAME/9.9", "/{}/{}")) for verb, path in documented(service)
    }
    core = documented(core_api.openapi())
    assert documented(core_api.swagger()) == core
    assert served() - set(INTERNAL) == core | of_services
    assert set(INTERNAL) <= served()


async def test_where_they_are_and_what_they_say(http: Any) -> None:
    old = (await http("GET", "swagger.json")).json
    assert old == core_api.swagger(PREFIX)
    assert old["basePath"] == PREFIX
    new = await http("GET", "openapi.json")
    validate(new.json)
    assert new.json["servers"] == [{"url": PREFIX}]
    same = await http("GET", "openapi.json", headers={"If-None-Match": new.headers["Etag"]})
    assert (same.status, same.content) == (304, b"")
