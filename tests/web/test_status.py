"""``status`` tells the truth about every part."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from jupyter_mlserve import __version__
from jupyter_mlserve.web import health


async def test_nothing_is_started_by_asking(http: Any, node: Any) -> None:
    status = (await http("GET", "status")).json
    assert (status["statusCode"], status["name"], status["version"]) == (
        "pass",
        "jupyter_mlserve",
        __version__,
    )
    assert status["url"].endswith("/a%40b/mlserve/")
    assert status["user"] == node.kernel_token.principal.username
    assert status["components"]["web"]["pid"] == os.getpid()
    assert status["components"]["compute"]["running"] is False
    assert node.core.compute.pid is None


def well_formed(component: Any) -> str:
    """The contract's StatusResponse, all the way down; its details are scalars, as the example of
    the contract has them (its schema calls them objects)."""
    assert component["statusCode"] in ("pass", "warn", "fail")
    details, components = component.get("details", {}), component.get("components", {})
    assert all(isinstance(value, str | int | float) for value in details.values()), details
    codes = [well_formed(part) for part in components.values()]
    order = ["pass", "warn", "fail"]
    worst = max(codes, key=order.index, default="pass")
    assert order.index(component["statusCode"]) >= order.index(worst)
    return str(component["statusCode"])


async def test_the_parts_that_the_contract_names(http: Any, publish: Any, node: Any) -> None:
    await publish()
    await http("POST", "services/AddOne/1.0/pool", {"InitialPoolSize": 1, "MaxPoolSize": 2})
    for _ in range(400):
        status = (await http("GET", "status")).json
        well_formed(status)
        if status["statusCode"] == "pass":
            break
        await asyncio.sleep(0.05)
    (own,) = status["components"]["backends"]["components"].items()
    assert own[0] == node.address
    details = own[1]["details"]
    config = node.settings.compute
    assert details["pythonMaxPoolSize"] == config.max_workers
    assert details["pythonCurrentPoolSize"] == details["pythonActiveShellCount"] == 0
    assert (details["pythonCanOpenShell"], details["dedicatedCurrentPoolSize"]) == ("True", 1)
    pool = own[1]["components"]["AddOne 1.0"]
    assert (pool["statusCode"], pool["details"]["status"]) == ("pass", "Success")
    assert (pool["details"]["currentPoolSize"], pool["details"]["maxPoolSize"]) == (1, 2)
    database = status["components"]["database"]["details"]
    assert (database["type"], database["state"]) == ("sqlite", "Open")
    ways = status["components"]["authentication"]["components"]
    assert ways["jupyter"]["details"]["namesUsers"] is False
    assert ways["localAccounts"]["details"] == {"accounts": 0}


async def test_a_compute_node_that_died_is_not_well(http: Any, publish: Any, node: Any) -> None:
    await publish()
    node.core.compute._not_before = 0.0
    for _ in range(3):  # the more often in a row, the longer it stays down
        while node.core.compute.pid is None:
            await http("POST", "api/AddOne/1.0", {"x": 1})
        pid = node.core.compute.pid
        os.kill(pid, signal.SIGKILL)
        while node.core.compute.pid == pid:
            await asyncio.sleep(0.01)
    status = (await http("GET", "status")).json
    well_formed(status)
    for part in ("compute", "backends"):
        assert status["components"][part]["statusCode"] in ("warn", "fail"), part
    assert status["components"]["web"]["statusCode"] == "pass"
    while (await http("POST", "api/AddOne/1.0", {"x": 1})).status != 200:
        await asyncio.sleep(0.05)
    assert (await http("GET", "status")).json["statusCode"] == "pass"


async def test_a_compute_node_that_says_nothing_is_not_waited_for(
    http: Any, publish: Any, node: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(health, "PATIENCE", 0.3)
    await publish()
    os.kill(node.core.compute.pid, signal.SIGSTOP)
    try:
        status = (await http("GET", "status")).json
    finally:
        os.kill(node.core.compute.pid, signal.SIGCONT)
    well_formed(status)
    assert "No answer" in status["components"]["compute"]["message"]
    backends = status["components"]["backends"]
    assert (status["statusCode"], backends["statusCode"]) == ("fail", "fail")


def test_who_administers_nothing_sees_only_how_it_is() -> None:
    part = {"statusCode": "warn", "pid": 7, "message": "/home/me", "details": {"name": "/x"}}
    found = health.bare(health.whole({"web": part, "all": health.whole({"a": part})}, {"v": 1}))
    seen = {"statusCode": "warn", "details": {}}
    assert found == {
        **seen,
        "components": {"web": seen, "all": {**seen, "components": {"a": seen}}},
    }


async def test_pools_and_processes_are_shown(http: Any, publish: Any, node: Any) -> None:
    await publish()
    await http("POST", "api/AddOne/1.0", {"x": 1})
    compute = (await http("GET", "status")).json["components"]["compute"]
    assert compute["running"] is True
    assert compute["pid"] == node.core.compute.pid
    (pool,) = compute["pools"]
    assert (pool["name"], pool["version"], pool["workers"]) == ("AddOne", "1.0", 1)
    assert pool["calls"] >= 1
    for pid in pool["pids"]:
        os.kill(pid, 0)


async def test_a_restart_is_remembered(http: Any, publish: Any, node: Any) -> None:
    await publish()
    os.kill(node.core.compute.pid, signal.SIGKILL)
    while (await http("POST", "api/AddOne/1.0", {"x": 1})).status != 200:
        pass
    compute = (await http("GET", "status")).json["components"]["compute"]
    assert compute["restarts"] == 1


@pytest.mark.parametrize("part", ["database", "blobs"])
async def test_a_store_that_fails_is_said(http: Any, node: Any, part: str) -> None:
    if part == "database":
        (node.settings.data_dir / "catalog.sqlite3").write_bytes(b"no database")
        expected = "catalog"
    else:
        (node.settings.data_dir / "blobs").write_text("no folder")
        expected = "blobs"
    status = (await http("GET", "status")).json
    assert well_formed(status) == "fail"
    assert status["components"]["web"]["statusCode"] == "pass"
    assert status["components"][part]["statusCode"] == "fail"
    assert expected in status["components"][part]["message"]
    reply = await http("GET", "services")
    assert reply.status == 500
    assert expected in reply.json["message"]


@pytest.fixture
def jp_server_config(jp_server_config: Any, tmp_path: Any) -> Any:
    (tmp_path / "mlserve").mkdir()
    return jp_server_config
