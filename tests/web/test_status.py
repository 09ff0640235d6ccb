"""``status`` tells the truth about every part."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from jupyter_mlserve import __version__


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
    assert status["statusCode"] == "fail"
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
