"""Dedicated pools over HTTP: made, resized, deleted; kept through whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.bodies import definition

from jupyter_mlserve.access.principal import Principal
from jupyter_mlserve.contract.definition import Definition
from jupyter_mlserve.contract.errors import InvalidInput, NotAllowed
from jupyter_mlserve.store.catalog import Catalog
from jupyter_mlserve.store.models import Pool
from jupyter_mlserve.web.node import Settings, WebNode, own_interpreter
from jupyter_mlserve.web.pool_handlers import read_pool

Json = dict[str, Any]
PID = {"outputParameterDefinitions": [{"name": "y", "type": "integer"}]}
POOL = "services/AddOne/1.0/pool"


@pytest.fixture
def mlserve_config() -> Json:
    return {"max_workers": 1, "max_dedicated_workers": 5, "pool_max": 2}


async def until(question: Callable[[], Awaitable[Any]], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := await question():
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("it did not happen in time")


async def pool_of(node: Any, name: str = "AddOne") -> Json:
    """The pool of its current state, as the compute node has it."""
    key = node.core.routes.find(name, "1.0").key
    pools = (await node.core.compute.status())["pools"]
    return next((pool for pool in pools if pool["state"] == key), {})


async def word(http: Any, path: str = POOL) -> str:
    reply = await http("GET", path)
    (about,) = reply.json
    assert about["Status"] == about["status"]
    return str(about["status"])


async def success(http: Any, path: str = POOL) -> None:
    async def warm() -> bool:
        return await word(http, path) == "Success"

    await until(warm)


async def test_a_pool_is_made_resized_and_deleted(http: Any, publish: Any, node: Any) -> None:
    await publish(code="import os\ny = os.getpid()", **PID)
    reply = await http("GET", POOL)
    assert reply.json == [
        {
            "computeNodeEndpoint": node.address,
            "status": "NotFound",
            "ComputeNodeEndpoint": node.address,
            "Status": "NotFound",
        }
    ]
    assert node.address.startswith("http://")
    assert node.address.endswith("/a%40b/mlserve/")
    assert (await http("DELETE", POOL)).status == 200  # it may be repeated
    reply = await http("POST", POOL, {"InitialPoolSize": 2, "MaxPoolSize": 3})
    assert (reply.status, type(reply.json)) == (200, str)
    await success(http)
    pool = await pool_of(node)
    assert (pool["ready"], pool["initial"], pool["max"]) == (2, 2, 3)
    first = set(pool["pids"])
    assert (await http("POST", "api/AddOne/1.0", {"x": 1})).json["outputParameters"]["y"] in first
    # The other spelling; workers are kept, and so is what is left out.
    reply = await http("POST", POOL, {"initialPoolSize": 1, "maxPoolSize": None})
    said = "Service AddOne version 1.0 has a dedicated pool of 1 worker, at most 3."
    assert (reply.status, reply.json) == (200, said)
    assert (await http("POST", POOL, {})).json == said
    await success(http)
    pool = await pool_of(node)
    assert (pool["initial"], pool["max"]) == (1, 3)
    assert set(pool["pids"]) <= first
    assert (await http("DELETE", POOL)).status == 200
    assert await word(http) == "NotFound"
    # What is too much for the common pool goes, without a failed call.
    assert (await http("POST", "api/AddOne/1.0", {"x": 1})).status == 200

    async def shared() -> bool:
        return (await node.core.compute.status())["used"] == 1

    await until(shared)
    history = (await http("GET", "services/AddOne/history")).json["history"]
    assert [event["action"] for event in history] == ["publish", "pool", "pool", "pool"]


async def test_what_is_killed_comes_back_warm(http: Any, publish: Any, node: Any) -> None:
    await publish()
    await http("POST", POOL, {"InitialPoolSize": 1, "MaxPoolSize": 1})
    await success(http)
    (pid,) = (await pool_of(node))["pids"]
    os.kill(pid, signal.SIGKILL)

    async def pending() -> bool:
        return await word(http) == "Pending"

    await until(pending)
    await success(http)
    compute = node.core.compute.pid
    os.kill(compute, signal.SIGKILL)
    await until(pending)
    await success(http)
    assert node.core.compute.pid != compute
    calls = (await pool_of(node))["calls"]
    assert calls == 0


async def test_it_stays_through_updates_and_goes_with_the_version(
    http: Any, publish: Any, node: Any
) -> None:
    await publish()
    await http("POST", POOL, {"InitialPoolSize": 1, "MaxPoolSize": 2})
    await success(http)
    failed, answers, stop = [], set(), False

    async def press() -> None:
        while not stop:
            reply = await http("POST", "api/AddOne/1.0", {"x": 1})
            if reply.status == 200:
                answers.add(reply.json["outputParameters"]["y"])
            else:
                failed.append(reply.json)
                return

    pressing = [asyncio.ensure_future(press()) for _ in range(2)]
    old = await pool_of(node)
    reply = await http("PATCH", "services/AddOne/1.0", {"code": "y = x + 10"})
    assert reply.status == 200, reply.json
    await success(http)
    new = await pool_of(node)
    assert new["state"] != old["state"]
    assert (new["dedicated"], new["initial"], new["max"]) == (True, 1, 2)
    assert (await http("POST", "services/AddOne/1.0/rollback", {})).status == 200
    await success(http)
    stop = True
    await asyncio.gather(*pressing)
    assert not failed
    assert answers == {2.0, 11.0}
    assert (await http("DELETE", "services/AddOne/1.0")).status == 200
    assert (await http("GET", POOL)).status == 410

    async def nothing() -> bool:
        return not (await node.core.compute.status())["workers"]

    await until(nothing)
    await publish()
    assert await word(http) == "NotFound"


async def test_what_a_definition_says_is_such_a_pool(http: Any, publish: Any, node: Any) -> None:
    own = {"pool": {"initial": 1, "max": 2}}
    await publish(mlserve=own)
    await success(http)
    (pid,) = (await pool_of(node))["pids"]
    # Without a trial, and without loading anything again.
    patch = {"mlserve": {"pool": {"initial": 1, "max": 3}}}
    assert (await http("PATCH", "services/AddOne/1.0", patch)).status == 200

    async def larger() -> bool:
        return (await pool_of(node))["max"] == 3

    await until(larger)
    assert (await pool_of(node))["pids"] == [pid]
    await http("DELETE", POOL)
    assert await word(http) == "NotFound"
    assert (await http("POST", "api/AddOne/1.0", {"x": 1})).status == 200
    # Who then changes it in the definition means it.
    patch = {"mlserve": {"pool": {"initial": 0, "max": 4}}}
    assert (await http("PATCH", "services/AddOne/1.0", patch)).status == 200
    await success(http)
    # What does not fit is refused: 4 of 5 are taken.
    reply = await http("POST", "services/Other/1.0", definition(mlserve=own))
    assert (reply.status, "max_dedicated_workers" in reply.json["message"]) == (409, True)
    await publish("Other")
    reply = await http("POST", "services/Other/1.0/pool", {"MaxPoolSize": 2})
    assert (reply.status, "4" in reply.json["message"]) == (409, True)
    assert (await http("POST", "services/Other/1.0/pool", {"MaxPoolSize": 1})).status == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"InitialPoolSize": 2, "MaxPoolSize": 1}, "InitialPoolSize"),
        ({"InitialPoolSize": -1}, "InitialPoolSize"),
        ({"MaxPoolSize": 10**9}, "MaxPoolSize"),
        ({"MaxPoolSize": True}, "MaxPoolSize"),
        ({"maxPoolSize": "2"}, "MaxPoolSize"),
        ({"MaxPoolSize": 1.0}, "MaxPoolSize"),
        ({"MaxPoolSize": 1, "maxPoolSize": 1}, "MaxPoolSize"),
        ({"Size": 1}, "Size"),
    ],
)
def test_sizes_that_are_none_are_refused(body: Json, field: str) -> None:
    with pytest.raises(InvalidInput, match=field) as caught:
        read_pool(body)
    assert caught.value.details["field"] == field


def test_sizes_are_optional_and_spelled_in_two_ways() -> None:
    assert read_pool({}) == read_pool({"InitialPoolSize": None, "maxPoolSize": 0}) == Pool(0, 0)
    assert read_pool({"initialPoolSize": 2}) == Pool(2, 0)
    assert read_pool({"InitialPoolSize": 2, "MaxPoolSize": 2}) == Pool(2, 2)


def test_a_size_that_is_left_out_stays() -> None:
    assert read_pool({}, Pool(1, 3)) == Pool(1, 3)
    assert read_pool({"InitialPoolSize": 2, "MaxPoolSize": None}, Pool(1, 3)) == Pool(2, 3)
    assert read_pool({"maxPoolSize": 0}, Pool(1, 3)) == Pool(1, 0)
    with pytest.raises(InvalidInput, match="4, more than MaxPoolSize, which is 3"):
        read_pool({"InitialPoolSize": 4}, Pool(1, 3))


async def test_a_realtime_service_has_no_workers(
    http: Any, deploy: Any, attitude_model: bytes
) -> None:
    assert (await deploy("Attitude/1.0", model=attitude_model)).status == 201
    reply = await http("POST", "services/Attitude/1.0/pool", {"MaxPoolSize": 1})
    assert (reply.status, "realtime" in reply.json["message"]) == (400, True)
    assert await word(http, "services/Attitude/1.0/pool") == "NotFound"
    assert (await http("POST", "services/No/1.0/pool", {})).status == 404
    reply = await http("POST", "services/Attitude/1.0/pool", {"MaxPoolSize": "1"})
    assert (reply.status, reply.json["fields"]) == (400, "MaxPoolSize")


async def test_only_who_may_update_may_have_a_pool(http: Any, publish: Any, node: Any) -> None:
    await publish()
    stranger = Principal("stranger", "A stranger", "jupyter")
    for pool in (Pool(1, 1), None):
        with pytest.raises(NotAllowed, match=r"Service 'AddOne' version '1\.0' belongs to "):
            await node.core.publisher.set_pool(stranger, "AddOne", "1.0", lambda _, new=pool: new)


async def test_another_server_on_the_database_follows(
    http: Any, publish: Any, node: Any, jp_serverapp: Any
) -> None:
    await publish()
    settings = Settings(node.settings.data_dir)
    other = WebNode(settings, jp_serverapp.web_app.settings, node.log)
    core = await asyncio.to_thread(other.open)
    core.pools.start()
    try:
        await http("POST", POOL, {"InitialPoolSize": 1, "MaxPoolSize": 1})

        async def warm() -> bool:
            state = core.catalog.get("AddOne", "1.0")
            return core.pools.status(state, await core.compute.status()) == "Success"

        await until(warm)
        await http("DELETE", "services/AddOne/1.0")

        async def nothing() -> bool:
            return not (await core.compute.status())["workers"]

        await until(nothing)
    finally:
        await other.stop()


async def test_a_server_that_starts_warms_its_pools(node: Any, jp_serverapp: Any) -> None:
    made = Definition.from_publish("AddOne", "1.0", definition())
    body = made.to_json()
    body["mlserve"]["interpreter"] = own_interpreter()
    folder = node.settings.data_dir.parent / "another"
    folder.mkdir()
    with Catalog(str(folder / "catalog.sqlite3")) as catalog:
        catalog.publish("s1", body, made.content_hash(), "me")
        catalog.set_pool("AddOne", "1.0", Pool(1, 1), "me")
    other = WebNode(Settings(folder), jp_serverapp.web_app.settings, node.log)
    other.in_loop = asyncio.get_running_loop().call_soon_threadsafe
    try:
        await asyncio.to_thread(other.open)

        async def warm() -> bool:
            pools = (await other.core.compute.status())["pools"]
            return [pool["ready"] for pool in pools] == [1]

        await until(warm)
    finally:
        await other.stop()
