"""Batch executions in several processes at once, processes killed at every step, full disks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store import batch_children as children

from jupyter_mlserve.store import Catalog
from jupyter_mlserve.store.batches import BatchFiles, Executions, Quota, new_holder

Start = Callable[..., Any]


def run_together(started: list[Any]) -> list[Any]:
    for one in started:
        one.ready()
    for one in started:
        one.go()
    return [one.result() for one in started]


@pytest.fixture
def executions(catalog: Catalog) -> Executions:
    return Executions(catalog.database)


@pytest.fixture
def files(tmp_path: Path) -> BatchFiles:
    return BatchFiles(tmp_path / "batches")


# Killed at every step


@pytest.mark.parametrize(
    ("task", "steps"), [("upload", 25), ("work", 50), ("remove", 15)], ids=lambda v: str(v)
)
def test_killed_before_each_step(tmp_path: Path, child: Start, task: str, steps: int) -> None:
    """Made, or not; each record answered once; gone, or there: see children.kill_each.

    A process is killed before each call that changes a file, and around each statement and
    commit; another then finds all in order, takes over at once, and answers what is left.
    """
    result = child("batch_kill_each", tmp_path, task).result()
    assert result["steps"] >= steps
    if task == "upload":
        assert result["known"] >= 2, "some were killed between the commit and the answer"
        assert result["orphans"] >= 20, "most were killed before the commit"
    if task == "work":
        assert result["begun"] >= 20, "most were killed between one chunk and the next"


# Several at once


def test_leases_that_are_lost_in_the_middle_lose_and_double_nothing(
    db_url: str, executions: Executions, files: BatchFiles, child: Start
) -> None:
    """Three processes take the same executions from one another, some hundred times."""
    lines = children.lines_of(60)
    shared = False
    for _ in range(5):  # where two processes get no turn beside the third, nothing is shared
        ids = [children.start(executions, files, lines).id for _ in range(3)]
        told = run_together([child("batch_share", db_url, files.root) for _ in range(3)])
        for id in ids:
            assert children.check_answers(executions, files, id, lines) == 60
        lost, committed = (sum(one[what] > 0 for one in told) for what in ("lost", "committed"))
        shared = lost > 0 and committed >= 2
        if shared:
            break
    assert shared, "none was taken from another"


def test_a_process_that_lost_its_lease_cannot_change_anything(
    db_url: str, executions: Executions, files: BatchFiles, child: Start
) -> None:
    lines = children.lines_of(4)
    execution = children.start(executions, files, lines)
    zombie = child("batch_zombie", db_url, files.root, execution.id)
    zombie.ready()
    holder = new_holder()
    assert executions.lease(execution.id, holder, 60.0)
    children.work(executions, files, execution, holder, 2)
    zombie.go()
    assert zombie.result() == {"leased": True, "committed": False, "gone": False}
    assert children.check_answers(executions, files, execution.id, lines) == 4


def test_a_process_that_works_on_what_was_deleted_is_told(
    db_url: str, executions: Executions, files: BatchFiles, child: Start
) -> None:
    execution = children.start(executions, files, children.lines_of(4))
    zombie = child("batch_zombie", db_url, files.root, execution.id)
    zombie.ready()
    assert executions.delete(execution.id)
    files.remove(execution.id)
    zombie.go()
    assert zombie.result() == {"leased": True, "committed": False, "gone": True}
    assert [path.name for path in files.root.rglob("*")] == ["removed"]


def test_the_lease_of_a_dead_process_is_over_at_once(
    db_url: str, executions: Executions, files: BatchFiles, child: Start
) -> None:
    execution = children.start(executions, files, children.lines_of(4))
    other = child("batch_die_holding", db_url, execution.id)
    other.ready()
    assert executions.runnable() == []
    assert not executions.lease(execution.id, "me", 60.0)
    other.process.kill()
    # It need not be waited for: what is left of it is no process that works.
    deadline = time.monotonic() + 10
    while not executions.runnable() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert [e.id for e in executions.runnable()] == [execution.id]
    assert executions.lease(execution.id, "me", 60.0)


def test_of_twins_one_is_made(
    db_url: str, executions: Executions, files: BatchFiles, child: Start
) -> None:
    """Three send the same requests at the same time: even ones alike, odd ones each its own."""
    told = run_together(
        [child("batch_twins", db_url, files.root, digest) for digest in ("a", "b", "c")]
    )
    made = {execution.key: execution.id for execution in executions.owned_by("ann")}
    assert len(executions.owned_by("ann")) == 12
    for number in range(12):
        answers = Counter(one[number] for one in told)
        if number % 2:
            assert answers == {made[f"k{number}"]: 1, "conflict": 2}
        else:
            assert answers == {made[f"k{number}"]: 3}
    folders = {path.name for path in files.root.iterdir()}
    assert folders == {*made.values(), "removed"}


def test_quotas_hold_for_all_at_once(
    db_url: str, executions: Executions, files: BatchFiles, child: Start
) -> None:
    """At most 5 for one user, and 1,600 bytes for all; four processes of two users try."""
    told = run_together(
        [child("batch_fill", db_url, files.root, who) for who in ("ann", "bob", "ann", "bob")]
    )
    count = sum(one["made"] for one in told)
    assert executions.summary().executions == count
    assert max(len(executions.owned_by(who)) for who in ("ann", "bob")) <= 5
    size = executions.usage() // count
    assert executions.usage() <= 1600 < executions.usage() + size, "as many as fit, not one more"
    assert {path.name for path in files.root.iterdir()} == {
        *(e.id for who in ("ann", "bob") for e in executions.owned_by(who)),
        "removed",
    }


def test_what_a_living_process_uploads_is_no_orphan(
    tmp_path: Path, executions: Executions, files: BatchFiles, child: Start
) -> None:
    living = child("batch_upload_slowly", files.root)
    dead = child("batch_upload_slowly", files.root)
    for one in (living, dead):
        one.ready()
    dead.process.kill()
    dead.process.wait()
    assert files.sweep(executions.known) == [], "too young to be judged"
    gone = files.sweep(executions.known, 0.0)
    assert len(gone) == 1
    living.go()
    id = living.result()
    assert id not in gone
    assert files.read_units(id, "lines", 0, 3) == b"".join(children.lines_of(3))
    assert files.sweep(executions.known, 0.0) == [id], "nobody has told the database"


# No space, for real


def test_more_than_the_system_allows(tmp_path: Path, child: Start) -> None:
    result = child("batch_limited", tmp_path).result()
    assert len(result["said"]) == 2
    assert all("no space" in said and "Free some space" in said for said in result["said"])
    assert result["folders"] == 2, "the one execution, and the folder of what is removed"
    assert len(result["results"]) == 1


def can_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs a user namespace to mount a small disk")
def test_a_full_disk(tmp_path: Path, child: Start) -> None:
    script = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
    before = ("unshare", "-rm", "sh", "-c", script, str(tmp_path))
    result = child("batch_full", tmp_path, before=before).result()
    assert len(result["refused"]) == 3
    assert all("no space" in said for said in result["refused"])
    assert result["folders"], "nothing is left of what was refused"
    assert result["partial"]
    assert result["completed"] == 2, "and it goes on once there is room"


def test_children_start_fast(tmp_path: Path) -> None:
    """What splits and renders in child processes loads no database and no heavy library."""
    code = (
        "import sys; from jupyter_mlserve.store.batches import BatchFiles, Chunk, IndexWriter;"
        "BatchFiles(sys.argv[1]);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "batches")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    heavy = {"sqlalchemy", "alembic", "fsspec", "pyarrow", "numpy", "pandas", "tornado", "asyncio"}
    assert heavy.isdisjoint(loaded)


def test_a_quota_of_results(executions: Executions, files: BatchFiles) -> None:
    """Results count as what is sent does; what does not fit is not committed."""
    lines = children.lines_of(2)
    execution = children.start(executions, files, lines)
    holder = new_holder()
    executions.lease(execution.id, holder, 60.0)
    executions.begin(execution.id, holder)
    size, crc = files.write_result(execution.id, 0, 1, bytes(100))
    chunk = children.Chunk(0, 1, "lines", 0, size, crc)
    used = executions.usage("ann")
    for quota in (Quota(total_bytes=used + 99), Quota(user_bytes=used + 99)):
        with pytest.raises(children.OutOfSpace, match="The results do not fit into the"):
            executions.commit(execution.id, holder, chunk, quota=quota)
    assert executions.get(execution.id).completed == 0
    assert executions.chunks(execution.id) == []
    assert executions.commit(execution.id, holder, chunk, quota=Quota(used + 100, used + 100))
    assert executions.usage() == executions.usage("ann") == used + 100
    assert executions.usage("bob") == 0
