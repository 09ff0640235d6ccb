"""Batches whose workers die, hang, cannot be loaded, or whose processes are killed."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.made_batches import ended, make_batch, outputs, results

from jupyter_mlserve.compute import client
from jupyter_mlserve.web.batch import asking


@pytest.fixture
def mlserve_config() -> dict[str, Any]:
    return {"call_timeout": 1.0, "batch_chunk_seconds": 0.1}


async def test_a_record_that_kills_its_worker_three_times_fails_alone(
    publish: Any, node: Any, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    code = f"""
import os
if x == 5:
    with open({str(killed)!r}, "a") as file:
        file.write(f"{{int(x)}} ")
    os.kill(os.getpid(), 9)
y = x
"""
    await publish("Killer", "1.0", code)
    batch = make_batch(node.core, "Killer/1.0", [{"x": n} for n in range(120)], parallel=2)
    found = await ended(node.core, batch.id)
    assert (found.state, found.completed, found.failed) == ("Complete", 120, 1)
    assert outputs(node.core, batch.id) == [n if n != 5 else None for n in range(120)]
    answer = results(node.core, batch.id)[5]
    assert answer["exceptionType"] == "WorkerLost"
    assert "killed its worker three times" in answer["errorMessage"]
    assert killed.read_text().split().count("5") == 3


async def test_of_many_records_the_one_that_kills_is_found_in_parts(
    publish: Any, node: Any, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    code = f"""
import os
if x == 3333:
    open({str(killed)!r}, "a").write("x")
    os._exit(1)
y = x
"""
    await publish("Killer", "1.0", code)
    batch = make_batch(node.core, "Killer/1.0", [{"x": n} for n in range(5000)], parallel=2)
    found = await ended(node.core, batch.id)
    assert (found.state, found.completed, found.failed) == ("Complete", 5000, 1)
    assert outputs(node.core, batch.id) == [n if n != 3333 else None for n in range(5000)]
    assert 3 <= len(killed.read_text()) <= 5


async def test_a_record_that_never_ends_fails_alone(publish: Any, node: Any) -> None:
    await publish("Slow", "1.0", "import time\nif x == 20:\n    time.sleep(60)\ny = x")
    batch = make_batch(node.core, "Slow/1.0", [{"x": n} for n in range(40)], parallel=2)
    found = await ended(node.core, batch.id)
    assert (found.state, found.completed, found.failed) == ("Complete", 40, 1)
    answer = results(node.core, batch.id)[20]
    assert answer["exceptionType"] == "CallTimeout"
    assert outputs(node.core, batch.id) == [n if n != 20 else None for n in range(40)]


async def test_processes_are_killed_again_and_again(publish: Any, node: Any) -> None:
    await publish("Steady", "1.0", "import time\ntime.sleep(0.005)\ny = x * 2")
    core = node.core
    batch = make_batch(core, "Steady/1.0", [{"x": n} for n in range(400)], parallel=2)
    killed = {"node": 0, "worker": 0}
    while not core.executions.get(batch.id).final:
        await asyncio.sleep(0.25)
        status = await core.compute.status()
        pids = [pid for pool in status["pools"] for pid in pool["pids"]]
        if pids and killed["worker"] < 3:
            os.kill(pids[0], signal.SIGKILL)
            killed["worker"] += 1
        elif core.compute.pid is not None and killed["node"] < 1:
            os.kill(core.compute.pid, signal.SIGKILL)
            killed["node"] += 1
    found = await ended(core, batch.id)
    assert (found.state, found.failed) == ("Complete", 0)
    assert outputs(core, batch.id) == [2 * n for n in range(400)]
    assert killed == {"worker": 3, "node": 1}


async def test_a_record_with_which_the_compute_node_is_always_lost_fails_alone(
    publish: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could be chance a few times, and not for ever; those beside it are not to blame."""
    monkeypatch.setattr(client, "_BACKOFF", (0.0,))
    monkeypatch.setattr(asking, "LOST_TOGETHER", 2)
    monkeypatch.setattr(asking, "LOST_ALONE", 4)
    code = """
import os, time
time.sleep(0.05 if x == 5 else 0.2)
pid = os.getppid() if x == 5 else 0
while pid and b"jupyter_mlserve.compute" not in open(f"/proc/{pid}/cmdline", "rb").read():
    pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
if pid:
    os.kill(pid, 9)
y = x
"""
    await publish("Fatal", "1.0", code)
    before = node.core.compute.restarts
    batch = make_batch(node.core, "Fatal/1.0", [{"x": n} for n in range(8)], parallel=2)
    found = await ended(node.core, batch.id)
    assert (found.state, found.completed, found.failed) == ("Complete", 8, 1)
    assert outputs(node.core, batch.id) == [n if n != 5 else None for n in range(8)]
    answer = results(node.core, batch.id)[5]
    assert answer["exceptionType"] == "ComputeLost"
    assert answer["errorMessage"].startswith("Fatal 1.0: ")
    assert 4 <= node.core.compute.restarts - before <= 8


async def test_a_version_that_cannot_be_loaded(
    publish: Any, node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LOAD_WAITS", (0.1, 0.2, 0.3, 0.4))
    gone = tmp_path / "there"
    gone.touch()
    init = f"open({str(gone)!r}).close()"
    await publish("Unloadable", "1.0", "y = x", initCode=init)
    core = node.core
    (pool,) = (await core.compute.status())["pools"]
    gone.unlink()
    os.kill(pool["pids"][0], signal.SIGKILL)
    batch = make_batch(core, "Unloadable/1.0", [{"x": n} for n in range(10)], parallel=3)
    found = await ended(core, batch.id)
    assert found.state == "Failed"
    assert "Unloadable 1.0 cannot be loaded at present" in found.message
    assert found.completed == 0
