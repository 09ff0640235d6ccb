"""Calls follow the catalog, whoever changes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.bodies import definition

from jupyter_mlserve.contract.definition import Definition
from jupyter_mlserve.contract.errors import ServiceNotFound, VersionDeleted
from jupyter_mlserve.store.catalog import Catalog
from jupyter_mlserve.store.models import Pool
from jupyter_mlserve.web.node import own_interpreter
from jupyter_mlserve.web.routes import Routes
from jupyter_mlserve.web.runtime import load_spec, runtime_key


def made(code: str, version: str = "1.0", name: str = "AddOne", **more: Any) -> Definition:
    own = {"interpreter": own_interpreter(), **more.pop("mlserve", {})}
    return Definition.from_publish(name, version, definition(code, mlserve=own, **more))


@pytest.fixture
def other(node: Any) -> Iterator[Catalog]:
    """The same catalog, as another process has it."""
    with Catalog(node.settings.database) as catalog:
        yield catalog


async def test_what_another_process_does_is_seen_at_once(
    http: Any, publish: Any, other: Catalog
) -> None:
    async def call(path: str) -> Any:
        reply = await http("POST", f"api/{path}", {"x": 1})
        return reply.json["outputParameters"].get("y", reply.status)

    await publish()
    assert await call("AddOne/1.0") == 2.0
    state = other.get("AddOne", "1.0")
    after = made("y = x + 10")
    updated = other.update(
        "s2", "AddOne", "1.0", after.to_json(), after.content_hash(), "other", state.id
    )
    assert await call("AddOne/1.0") == 11.0
    assert await call("AddOne") == 11.0
    newer = made("y = x + 20", "2.0")
    other.publish("s3", newer.to_json(), newer.content_hash(), "other", any_owner=True)
    assert await call("AddOne") == 21.0
    assert await call("AddOne/1.0") == 11.0
    other.rollback("AddOne", "1.0", 1, "other", updated.id)
    assert await call("AddOne/1.0") == 2.0
    other.delete("AddOne", "2.0", "other")
    assert await call("AddOne/2.0") == 410
    assert await call("AddOne") == 2.0
    pools = (await http("GET", "status")).json["components"]["compute"]["pools"]
    assert sum(pool["workers"] for pool in pools if not pool["retired"]) == 1


def test_routes_are_kept_dropped_and_retired(tmp_path: Any) -> None:
    retired: list[str] = []
    with Catalog(str(tmp_path / "catalog")) as catalog:
        routes = Routes(
            catalog, lambda state: state.definition, lambda route: retired.append(route.key)
        )
        for version in ("1.0", "2.0"):
            body = made("y = x", version)
            catalog.publish(f"s{version}", body.to_json(), body.content_hash(), "me")
        first = routes.find("AddOne", "1.0")
        assert routes.find("AddOne", "1.0") is first
        assert routes.find("AddOne", None) is routes.find("AddOne", "2.0")
        assert first.name_owner == first.owner == "me"

        def update(number: int, changed: Definition) -> None:
            current = catalog.get("AddOne", "1.0")
            catalog.update(
                f"u{number}",
                "AddOne",
                "1.0",
                changed.to_json(),
                changed.content_hash(),
                "me",
                current.id,
            )

        update(1, made("y = x", description="Other words."))
        words = routes.find("AddOne", "1.0")
        assert words is not first
        assert (words.key, retired) == (first.key, [])
        update(2, made("y = x + 1"))
        code = routes.find("AddOne", "1.0")
        assert code.key != first.key
        assert retired == [first.key]
        newest = routes.find("AddOne", None)
        catalog.delete("AddOne", "1.0", "me")
        with pytest.raises(VersionDeleted):
            routes.find("AddOne", "1.0")
        assert retired == [first.key, code.key]
        assert routes.find("AddOne", None) is not None
        assert routes.find("AddOne", "2.0").state.id == newest.state.id
        with pytest.raises(ServiceNotFound):
            routes.find("Nothing", None)


def test_workers_are_shared_by_states_that_run_the_same() -> None:
    base = made("y = x")
    key = runtime_key(base.to_json())
    for same in (
        made("y = x", description="D"),
        made("y = x", operationId="alias"),
        made("y = x", mlserve={"sample": {"x": 1}}),
        made("y = x", mlserve={"pool": {"initial": 1, "max": 2}}),
        made("y = x", mlserve={"packages": {"pandas": "3"}, "notebook": "a.ipynb"}),
    ):
        assert runtime_key(same.to_json()) == key
    blob = {"name": "m", "sha256": "0" * 64, "size": 1, "type": "t"}
    for other in (
        made("y = x "),
        made("y = x", "1.1"),
        made("y = x", name="Other"),
        made("y = x", initCode="1"),
        made("y = x", inputs={"x": "integer"}),
        made("y = x", outputs={"y": "integer"}),
        made("y = x", outputFileNames=["a.csv"]),
        made("y = x", mlserve={"objects": [blob]}),
        made("y = x", mlserve={"prelude": [{"source": "import os", "names": ["os"]}]}),
        made("y = x", mlserve={"interpreter": {**own_interpreter(), "executable": "/other"}}),
    ):
        assert runtime_key(other.to_json()) != key


def test_what_the_compute_node_is_told() -> None:
    blob = {"name": "m", "sha256": "ab" * 32, "size": 1}
    body = made(
        "y = x",
        outputFileNames=["a.csv"],
        mlserve={"objects": [{**blob, "type": "t"}], "pool": {"initial": 1, "max": 3}},
    )
    spec = load_spec(body.to_json(), lambda sha: f"/blobs/{sha}", Pool(2, 0))
    assert spec["objects"] == [{"name": "m", "path": f"/blobs/{'ab' * 32}", "sha256": "ab" * 32}]
    assert spec["pool"] == {"initial": 2, "max": 0}  # of the version, not of its definition
    assert spec["files_out"] == ["a.csv"]
    assert spec["interpreter"] == own_interpreter()["executable"]
    assert (spec["name"], spec["version"], spec["function"]) == ("AddOne", "1.0", None)
