"""The runner of batch executions, with real stores and real workers: how records get answered."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.made_batches import OWNER, ended, make_batch, outputs, results

from jupyter_mlserve.contract.errors import NotFound
from jupyter_mlserve.web.batch import turns
from jupyter_mlserve.web.batch.retention import sweep
from jupyter_mlserve.web.batch.runner import BatchRunner

SLEEP = "import time\ntime.sleep(0.5)\ny = x"
SHORT = "import time\ntime.sleep(0.02)\ny = x"


async def until(what: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_every_record_is_answered_in_its_place(publish: Any, node: Any) -> None:
    await publish()
    records = [{"x": n} if n % 7 else {"x": "no number"} for n in range(300)]
    batch = make_batch(node.core, "AddOne/1.0", records, parallel=3)
    found = await ended(node.core, batch.id)
    assert (found.state, found.completed, found.failed) == ("Complete", 300, 43)
    answers = results(node.core, batch.id)
    assert [each["outputParameters"] for each in answers] == [
        {"y": n + 1} if n % 7 else {} for n in range(300)
    ]
    assert "x: expected" in answers[7]["errorMessage"]
    assert len(node.core.executions.chunks(batch.id)) < 40  # not a file for each


async def test_eight_sleepers_four_at_a_time(publish: Any, http: Any, node: Any) -> None:
    await publish("Sleeper", "1.0", SLEEP)
    await publish()
    core = node.core
    batch = make_batch(core, "Sleeper/1.0", [{"x": n} for n in range(8)], parallel=4)
    began = time.monotonic()
    found = core.executions.get(batch.id)
    waited = 0.0
    while not found.final:
        called = time.monotonic()
        assert (await http("POST", "api/AddOne/1.0", {"x": 1})).status == 200
        waited = max(waited, time.monotonic() - called)
        await asyncio.sleep(0.02)
        found = core.executions.get(batch.id)
    assert 1.0 <= time.monotonic() - began < 2.0
    assert outputs(core, batch.id) == list(range(8))
    assert waited < 0.4


async def test_what_was_begun_elsewhere_is_gone_on_with(publish: Any, node: Any) -> None:
    """A process took the execution, answered some of it, wrote more, and was killed."""
    await publish()
    core = node.core
    batch = make_batch(core, "AddOne/1.0", [{"x": n} for n in range(50)], submit=False)
    code = f"""
import os, signal
from jupyter_mlserve.store import Catalog
from jupyter_mlserve.store.batches import BatchFiles, Chunk, Executions, new_holder
executions = Executions(Catalog({core.catalog.database.name!r}).database)
files = BatchFiles({str(core.batches.root)!r})
holder, id = new_holder(), {batch.id!r}
assert executions.lease(id, holder, 3600) and executions.begin(id, holder)
lines = b"".join(
    b'{{"success":true,"outputParameters":{{"y":%d}}}}\\n' % (n + 21) for n in range(10)
)
size, crc = files.write_result(id, 20, 10, lines)
assert executions.commit(id, holder, Chunk(20, 10, "lines", 0, size, crc))
files.write_result(id, 30, 10, b"not committed")
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    assert (run.stdout, run.returncode) == (b"ready\n", -9)
    before = core.executions.chunks(batch.id)
    core.runner.submit(batch.id)
    found = await ended(core, batch.id, 5.0)
    assert (found.state, found.completed) == ("Complete", 50)
    assert outputs(core, batch.id) == [n + 1 for n in range(50)]
    assert set(before) <= set(core.executions.chunks(batch.id))
    folder = core.batches.folder(batch.id) / "results"
    names = {chunk.name for chunk in core.executions.chunks(batch.id)}
    assert {path.name for path in folder.iterdir()} == names


async def test_a_stop_hands_over_what_is_not_done(publish: Any, node: Any) -> None:
    await publish("Short", "1.0", SHORT)
    core = node.core
    batch = make_batch(core, "Short/1.0", [{"x": n} for n in range(100)])
    await until(lambda: core.executions.get(batch.id).completed > 5)
    await core.runner.stop()
    some = core.executions.get(batch.id)
    assert (some.state, some.completed < 100) == ("InProgress", True)
    await asyncio.sleep(0.2)
    assert core.executions.get(batch.id).completed == some.completed
    core.runner = BatchRunner(core, node.settings.batch, node.log)
    core.runner.start()  # at once: the lease was given back
    found = await ended(core, batch.id, 6.0)
    assert found.completed == 100
    assert outputs(core, batch.id) == list(range(100))


async def test_two_servers_share_the_work(publish: Any, node: Any) -> None:
    await publish("Short", "1.0", SHORT)
    core = node.core
    other = BatchRunner(core, node.settings.batch, node.log)
    batches = [
        make_batch(core, "Short/1.0", [{"x": n} for n in range(20)], submit=False) for _ in range(6)
    ]
    other.start()
    core.runner.submit(batches[0].id)
    await until(lambda: core.runner.running and other.running)
    seen = [each async for each in other.watch(batches[0].id)]
    assert (seen[-1].state, seen[-1].completed) == ("Complete", 20)
    for batch in batches:
        await ended(core, batch.id)
        assert outputs(core, batch.id) == list(range(20))
    await other.stop()


async def test_an_update_does_not_disturb_it_and_a_delete_ends_it(
    publish: Any, http: Any, node: Any
) -> None:
    await publish("Short", "1.0", SHORT)
    core = node.core
    old = make_batch(core, "Short/1.0", [{"x": n} for n in range(60)])
    await until(lambda: core.executions.get(old.id).completed > 3)
    changed = await http("PATCH", "services/Short/1.0", {"code": "y = x + 1000"})
    assert changed.status == 200
    assert (await http("POST", "api/Short/1.0", {"x": 1})).json["outputParameters"] == {"y": 1001}
    assert not core.executions.get(old.id).final
    await ended(core, old.id)
    assert outputs(core, old.id) == list(range(60))
    # What answered it goes away when nobody needs it any more.
    for _ in range(200):
        if len((await core.compute.status())["pools"]) == 1:
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("the workers of the old state stay")
    await http("PATCH", "services/Short/1.0", {"code": SHORT})
    deleted = make_batch(core, "Short/1.0", [{"x": n} for n in range(500)])
    await until(lambda: core.executions.get(deleted.id).completed > 3)
    assert (await http("DELETE", "services/Short/1.0")).status == 200
    found = await ended(core, deleted.id, 3.0)
    assert (found.state, 0 < found.completed < 500) == ("Failed", True)
    assert "was deleted" in found.message
    some = core.executions.chunks(deleted.id)
    assert sum(chunk.count for chunk in some) == found.completed
    # Published again, it is another.
    await publish("Short", "1.0", SHORT)
    assert core.executions.get(deleted.id).state == "Failed"


async def test_cancelled_records_stop_and_nothing_is_left(publish: Any, node: Any) -> None:
    await publish("Long", "1.0", "import time\ntime.sleep(30)\ny = x")
    core = node.core
    batch = make_batch(core, "Long/1.0", [{"x": n} for n in range(4)])
    await until(lambda: core.executions.get(batch.id).state == "InProgress")
    watched = core.runner.watch(batch.id)
    assert (await anext(watched)).state == "InProgress"
    assert core.runner.running == 1
    await asyncio.sleep(0.3)
    began = time.monotonic()
    await core.runner.cancel(batch.id)
    assert time.monotonic() - began < 2.0
    assert core.runner.running == 0
    assert not core.batches.folder(batch.id).exists()
    with pytest.raises(NotFound):
        await core.runner.progress(batch.id)
    assert [each async for each in watched] == []
    await core.runner.cancel(batch.id)
    for _ in range(100):
        if not (await core.compute.status())["busy"]:
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("a cancelled record runs on")


async def test_progress_is_watched_to_the_end(publish: Any, node: Any) -> None:
    await publish("Short", "1.0", SHORT)
    core = node.core
    batch = make_batch(core, "Short/1.0", [{"x": n} for n in range(100)], submit=False)
    with pytest.raises(NotFound):
        await anext(core.runner.watch("00000000-0000-0000-0000-000000000000"))
    times, seen = [], []
    asyncio.get_running_loop().call_later(0.1, core.runner.submit, batch.id)
    async for progress in core.runner.watch(batch.id):
        times.append(time.monotonic())
        seen.append(progress)
    assert [seen[0].state, seen[-1].state] == ["Ready", "Complete"]
    assert "InProgress" in {each.state for each in seen}
    counts = [each.completed for each in seen]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 100)
    steady = [each for each in seen if each.rate]
    assert steady
    assert all(10 < each.rate < 110 for each in steady)
    assert all(0 <= each.seconds_left < 10 for each in steady)
    for before, after, progress in zip(times, times[1:], seen[1:], strict=False):
        assert after - before > 0.45 or progress.state != seen[0].state


class TestOfTurns:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"batch_max_running": 1, "batch_chunk_seconds": 0.1}

    async def test_users_take_turns(
        self, publish: Any, node: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns, "TURN", 0.5)
        await publish("Short", "1.0", SHORT)
        core = node.core
        large = [
            make_batch(core, "Short/1.0", [{"x": n} for n in range(200)], owner="first")
            for _ in range(2)
        ]
        small = make_batch(core, "Short/1.0", [{"x": n} for n in range(10)], owner="second")
        await until(lambda: core.runner.running == 1)
        assert core.executions.get(small.id).state == "Ready"
        await ended(core, small.id)
        assert not any(core.executions.get(each.id).final for each in large)
        for each in large:
            await ended(core, each.id)
            assert outputs(core, each.id) == list(range(200))


class TestOfSpace:
    @pytest.fixture
    def mlserve_config(self) -> dict[str, Any]:
        return {"batch_user_quota": 40_000}

    async def test_results_over_the_quota_end_it(self, publish: Any, node: Any) -> None:
        await publish("Large", "1.0", "y = 'x' * 1000", outputs={"y": "character"})
        core = node.core
        batch = make_batch(core, "Large/1.0", [{"x": n} for n in range(200)])
        found = await ended(core, batch.id)
        assert (found.state, 0 < found.completed < 200) == ("Failed", True)
        assert "The results do not fit into the 40,000 bytes" in found.message
        assert core.executions.usage(OWNER) <= 40_000
        assert len(results(core, batch.id)) == found.completed or found.completed

    async def test_it_waits_for_room_on_the_disk(self, publish: Any, node: Any) -> None:
        await publish("Large", "1.0", "y = 'x' * 1000", outputs={"y": "character"})
        core = node.core
        batch = make_batch(core, "Large/1.0", [{"x": n} for n in range(30)], submit=False)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # A limit on the size of files is what a test can do about a disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            (core.batches.root / "wide").touch()
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            core.runner.submit(batch.id)
            await until(lambda: core.runner.running)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
            await asyncio.sleep(1.0)
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            found = core.executions.get(batch.id)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert found.completed < 30
        found = await ended(core, batch.id)
        assert (found.state, found.message) == ("Complete", "")
        assert len(results(core, batch.id)) == 30


async def test_damaged_records_fail_and_the_others_do_not(publish: Any, node: Any) -> None:
    await publish()
    core = node.core
    batch = make_batch(core, "AddOne/1.0", [{"x": n} for n in range(30)], submit=False)
    path = core.batches.folder(batch.id) / "input"
    data = bytearray(path.read_bytes())
    data[data.index(b'"x": 17')] ^= 1
    path.write_bytes(data)
    core.runner.submit(batch.id)
    found = await ended(core, batch.id)
    assert (found.state, found.completed, found.failed) == ("Complete", 30, 1)
    answers = results(core, batch.id)
    assert "damaged on the disk" in answers[17]["errorMessage"]
    assert [each["outputParameters"].get("y") for each in answers] == [
        n + 1 if n != 17 else None for n in range(30)
    ]


async def test_what_is_old_is_removed(publish: Any, node: Any) -> None:
    await publish()
    core = node.core
    old = make_batch(core, "AddOne/1.0", [{"x": 1}])
    new = make_batch(core, "AddOne/1.0", [{"x": 1}], submit=False)
    assert core.executions.lease(new.id, "elsewhere:1:1", 60.0)
    await ended(core, old.id)
    await until(lambda: not core.runner.running)
    assert sweep(core.executions, core.batches, 3600.0) == (0, 0)
    assert sweep(core.executions, core.batches, 0.0) == (0, 0)
    await asyncio.sleep(0.05)
    assert sweep(core.executions, core.batches, 0.01)[0] == 1
    assert not core.batches.folder(old.id).exists()
    assert core.batches.folder(new.id).exists()
    assert core.executions.expired(datetime.now(timezone.utc) + timedelta(days=1)) == []
