"""``prepare``: a hint before the first publish."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from support.bodies import definition

HERE = {"executable": sys.executable, "version": "3.11.0"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="fork servers need Linux")
async def test_libraries_are_imported_before_the_first_publish(http: Any) -> None:
    body = {"interpreter": HERE, "imports": ["dill", "cloudpickle", "json", "no_such"]}
    assert (await http("POST", "prepare", body)).status == 202
    compute = (await http("GET", "status")).json["components"]["compute"]
    (server,) = compute["fork_servers"]
    assert server["interpreter"] == sys.executable
    assert server["libraries"] == ["cloudpickle", "dill"]
    assert compute["pools"] == []
    # A version that needs fewer libraries uses it too.
    patch = definition(code="import cloudpickle\ny = x + 1")
    assert (await http("POST", "services/AddOne/1.0", patch)).status == 201
    compute = (await http("GET", "status")).json["components"]["compute"]
    assert [found["pid"] for found in compute["fork_servers"]] == [server["pid"]]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"interpreter": HERE},
        {"interpreter": HERE, "imports": "pandas"},
        {"interpreter": HERE, "imports": [1]},
        {"interpreter": HERE, "imports": ["x" * 201]},
        {"interpreter": HERE, "imports": ["x"] * 2001},
        {"interpreter": "/bin/sh", "imports": []},
        {"interpreter": {"executable": "python", "version": "3.11.0"}, "imports": []},
        {"imports": []},
    ],
)
async def test_a_hint_that_is_none_is_refused(http: Any, body: Any) -> None:
    reply = await http("POST", "prepare", body)
    assert reply.status == 400
    assert reply.json["fields"]
