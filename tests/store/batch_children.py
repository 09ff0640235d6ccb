"""What the tests of batch executions run in processes of their own; see children.py."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jupyter_mlserve.contract.batch import COMPLETE
from jupyter_mlserve.contract.errors import Conflict, NotFound, OutOfSpace, TooBusy
from jupyter_mlserve.store import Catalog
from jupyter_mlserve.store.batches import (
    BatchFiles,
    Chunk,
    Execution,
    Executions,
    IndexWriter,
    Quota,
    Upload,
    new_holder,
    new_id,
)


def lines_of(total: int) -> list[bytes]:
    return [b'{"hp": %d}\n' % number for number in range(total)]


def split(upload: Upload, lines: list[bytes], prefix: bytes = b"") -> None:
    """What the splitting of an upload leaves in its folder."""
    upload.finish()
    with open(upload.folder / "input", "wb") as file, IndexWriter(upload.folder, prefix) as index:
        file.write(prefix)
        for line in lines:
            file.write(line)
            index.add(line)


def an_execution(id: str, total: int, **more: Any) -> Execution:
    start = Execution(
        id=id,
        name="Tx",
        version="1.0",
        state_id="s1",
        owner="ann",
        created_at=datetime.now(timezone.utc),
        total=total,
        units=total,
    )
    return replace(start, **more)


def start(
    executions: Executions,
    files: BatchFiles,
    lines: list[bytes],
    *,
    quota: Quota | None = None,
    **more: Any,
) -> Execution:
    """All that happens between a request and its answer."""
    with files.upload(new_id()) as upload:
        upload.write(b"".join(lines))
        split(upload, lines)
        size = upload.seal()
        made = an_execution(upload.id, len(lines), input_bytes=size, **more)
        return executions.admit(upload, made, quota=quota)


def answer(line: bytes, who: str) -> bytes:
    """A result, as long as its line and who gave it want it."""
    return json.dumps({"of": line.decode().strip(), "by": who}).encode() + b"\n"


def work(
    executions: Executions,
    files: BatchFiles,
    execution: Execution,
    holder: str,
    size: int,
    tidy: bool = True,
) -> Execution | None:
    """Answer all records that have no answer yet; None: another holds it."""
    begun = executions.begin(execution.id, holder)
    if begun is None:
        return None
    done = executions.chunks(execution.id)
    if tidy:
        files.tidy(execution.id, done)
    answered = {number for chunk in done for number in range(chunk.first, chunk.stop)}
    todo = [n for n in range(execution.total) if n not in answered]
    while todo:
        first, count = todo[0], 1
        while count < min(size, len(todo)) and todo[count] == first + count:
            count += 1
        data = files.read_units(execution.id, "lines", first, first + count)
        results = [answer(line, holder) for line in data.splitlines()]
        length, crc = files.write_result(execution.id, first, count, results)
        chunk = Chunk(first, count, "lines", 0, length, crc)
        after = executions.commit(execution.id, holder, chunk)
        if after is None:
            return None
        begun = after
        todo = todo[count:]
    return begun


def check_answers(executions: Executions, files: BatchFiles, id: str, lines: list[bytes]) -> int:
    """Every answer is that of its record, and no record has two; returns how many there are."""
    execution = executions.get(id)
    chunks = executions.chunks(id)
    number = 0
    for chunk in chunks:
        assert chunk.first >= number, "twice"
        number = chunk.stop
        answers = files.read_result(id, chunk).splitlines()
        assert len(answers) == chunk.count
        for line, given in zip(lines[chunk.first : chunk.stop], answers, strict=True):
            assert json.loads(given)["of"] == line.decode().strip()
    count = sum(chunk.count for chunk in chunks)
    assert execution.completed == count
    assert execution.result_bytes == sum(chunk.bytes for chunk in chunks)
    assert (execution.state == COMPLETE) == (count == len(lines))
    return count


# Killing

STEPS = ("open", "write", "fsync", "rename", "mkdir", "unlink", "close", "rmdir")


def die_at(step: int) -> list[int]:
    """Kill this process right before the call of the system with that number, from now on.

    Counted are those that change files, and every statement that is sent to the database.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    seen = [0]

    def count(*args: Any) -> None:
        if seen[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        seen[0] += 1

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **named: Any) -> Any:
            count()
            return call(*args, **named)

        return wrapper

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    for what in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(Engine, what, count)
    return seen


def kill_each(folder: Path, task: str) -> dict[str, Any]:
    """Do it again and again; each time killed one step later, until it comes to its end."""
    Catalog(str(folder / "catalog.sqlite3")).close()
    lines = lines_of(5)
    said: list[str] = []
    outcomes = {"begun": 0, "orphans": 0, "steps": 0}
    for step in range(1000):
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            code = 3
            with contextlib.suppress(BaseException):
                code = doomed(folder, task, lines, step, theirs)
            os._exit(code)
        os.close(theirs)
        with os.fdopen(ours) as pipe:
            told = pipe.read().split()
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status)
        assert killed or os.WEXITSTATUS(status) == 0, status
        said += told
        with Catalog(str(folder / "catalog.sqlite3")) as catalog:
            executions = Executions(catalog.database)
            files = BatchFiles(folder / "batches")
            outcomes["orphans"] += len(files.sweep(executions.known, 0.0))
            known = {execution.id for execution in executions.owned_by("ann")}
            found = {path.name for path in files.root.iterdir()} - {"removed"}
            assert not list((files.root / "removed").iterdir())
            if task == "upload":
                assert set(said) <= known, "what was answered is there"
                assert len(known) - len(said) <= step + 1, "at most one a kill, not yet told"
                assert found == known
                last = known - set(said)
                for id in last if killed else known:
                    assert files.read_units(id, "lines", 0, 5) == b"".join(lines)
            else:
                assert found == known, "no folder without its row, no row without its folder"
            if task == "work" and known:
                (id,) = known
                done = check_answers(executions, files, id, lines)
                outcomes["begun"] += 0 < done < len(lines)
                if killed:
                    resume(executions, files, id, lines)
                executions.delete(id)
                files.remove(id)
        outcomes["steps"] = step
        if not killed:
            return {**outcomes, "known": len(known), "said": len(said)}
    raise AssertionError("it never came to its end")


def resume(executions: Executions, files: BatchFiles, id: str, lines: list[bytes]) -> None:
    """The lease of the dead is worth nothing, what it left is swept up, and all is answered."""
    holder = new_holder()
    if executions.get(id).final:
        return
    assert [e.id for e in executions.runnable()] == [id]
    assert executions.lease(id, holder, 60.0)
    after = work(executions, files, executions.get(id), holder, 3)
    assert after is not None
    assert after.state == COMPLETE
    assert check_answers(executions, files, id, lines) == len(lines)
    names = {path.name for path in (files.folder(id) / "results").iterdir()}
    assert names == {chunk.name for chunk in executions.chunks(id)}


def doomed(folder: Path, task: str, lines: list[bytes], step: int, acknowledge: int) -> int:
    with Catalog(str(folder / "catalog.sqlite3")) as catalog:
        executions, files = Executions(catalog.database), BatchFiles(folder / "batches")
        if task != "upload":
            there = executions.owned_by("ann")
            if not there:
                there = [start(executions, files, lines)]
            execution = there[0]
        if task == "upload":
            die_at(step)
            made = start(executions, files, lines)
            os.write(acknowledge, f"{made.id}\n".encode())
        elif task == "work":
            holder = new_holder()
            die_at(step)
            assert executions.lease(execution.id, holder, 3600.0)
            work(executions, files, execution, holder, 3)
        else:
            die_at(step)
            executions.delete(execution.id)
            files.remove(execution.id)
        os.kill = lambda *args: None  # It has come to its end.
    return 0


# Several at once


def share(db_url: str, folder: str, wait: Callable[[], None]) -> dict[str, int]:
    """Work on all executions there are, with leases that are lost all the time."""
    dice = random.Random(os.getpid())
    lost = committed = 0
    with Catalog(db_url) as catalog:
        executions, files = Executions(catalog.database), BatchFiles(folder)
        wait()
        while True:
            going = [e for e in executions.owned_by("ann") if not e.final]
            if not going:
                return {"lost": lost, "committed": committed}
            free = executions.runnable()
            if not free:
                time.sleep(0.002)
                continue
            execution = dice.choice(free)
            holder = new_holder()
            if not executions.lease(execution.id, holder, 0.005):
                continue
            before = executions.get(execution.id).completed
            after = work(executions, files, execution, holder, dice.choice([1, 2, 3]), tidy=False)
            if after is None:
                lost += 1
            else:
                committed += after.completed - before


def twins(db_url: str, folder: str, wait: Callable[[], None], digest: str) -> list[str]:
    """Send the same requests as others do at the same time; what was answered."""
    told = []
    with Catalog(db_url) as catalog:
        executions, files = Executions(catalog.database), BatchFiles(folder)
        wait()
        for number in range(12):
            mine = digest if number % 2 else "same"
            try:
                made = start(executions, files, lines_of(2), key=f"k{number}", digest=mine)
                told.append(made.id)
            except Conflict:
                told.append("conflict")
    return told


def fill(db_url: str, folder: str, wait: Callable[[], None], owner: str) -> dict[str, int]:
    """Start as many as the quotas allow."""
    counts = {"made": 0, "TooBusy": 0, "OutOfSpace": 0}
    quota = Quota(total_bytes=8 * 200, user_bytes=0, user_executions=5)
    with Catalog(db_url) as catalog:
        executions, files = Executions(catalog.database), BatchFiles(folder)
        wait()
        for _ in range(8):
            try:
                # 7 lines and their index: 74 + 100 bytes and more
                start(executions, files, lines_of(7), owner=owner, quota=quota)
                counts["made"] += 1
            except (TooBusy, OutOfSpace) as error:
                counts[type(error).__name__] += 1
    return counts


def upload_slowly(folder: str, wait: Callable[[], None]) -> str:
    files = BatchFiles(folder)
    upload = files.upload(new_id())
    upload.write(b"half of it")
    wait()
    upload.write(b"the rest")
    split(upload, lines_of(3))
    upload.seal()
    upload.release()
    return upload.id


# No space


def limited(folder: Path) -> dict[str, Any]:
    """More than the system lets this process write: in an upload, in results."""
    with Catalog(str(folder / "catalog.sqlite3")) as catalog:
        executions, files = Executions(catalog.database), BatchFiles(folder / "batches")
        execution = start(executions, files, lines_of(3))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        said = []
        try:
            with files.upload(new_id()) as upload:
                upload.write(bytes(200_000))
        except OutOfSpace as error:
            said.append(error.message)
        try:
            files.write_result(execution.id, 0, 1, bytes(200_000))
        except OutOfSpace as error:
            said.append(error.message)
        files.write_result(execution.id, 0, 1, bytes(1000))
        results = [p.name for p in (files.folder(execution.id) / "results").iterdir()]
        return {"said": said, "folders": len(list(files.root.iterdir())), "results": results}


def full(folder: Path) -> dict[str, Any]:
    """On a disk of one megabyte: fill it, be refused, make room, go on."""
    with Catalog(str(folder / "catalog.sqlite3")) as catalog:
        executions, files = Executions(catalog.database), BatchFiles(folder / "batches")
        lines = lines_of(7)
        execution = start(executions, files, lines)
        holder = new_holder()
        executions.lease(execution.id, holder, 60.0)
        executions.begin(execution.id, holder)
        size, crc = files.write_result(execution.id, 0, 2, answer(lines[0], "") * 2)
        written = Chunk(0, 2, "lines", 0, size, crc)
        with open(folder / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        refused = []
        for task in (
            lambda: start(executions, files, lines_of(500)),
            lambda: files.write_result(execution.id, 2, 2, bytes(50_000)),
            lambda: [executions.note(execution.id, holder, "x" * 9000) for _ in range(100)],
        ):
            try:
                task()
            except OutOfSpace as error:
                refused.append(error.message)
        left = sorted(path.name for path in files.root.iterdir())
        partial = [p.name for p in (files.folder(execution.id) / "results").iterdir()]
        (folder / "ballast").unlink()
        after = executions.commit(execution.id, holder, written)
        assert after is not None
        return {
            "refused": refused,
            "folders": left == sorted([execution.id, "removed"]),
            "partial": partial == [written.name],
            "completed": after.completed,
        }


def zombie(db_url: str, folder: str, id: str, wait: Callable[[], None]) -> dict[str, Any]:
    """Lose the lease between reading the records and storing their results."""
    with Catalog(db_url) as catalog:
        executions, files = Executions(catalog.database), BatchFiles(folder)
        holder = new_holder()
        leased = executions.lease(id, holder, 0.0)
        executions.begin(id, holder)
        wait()
        try:
            size, crc = files.write_result(id, 0, 2, b"what nobody wants\n")
        except NotFound:
            return {"leased": leased, "committed": False, "gone": True}
        after = executions.commit(id, holder, Chunk(0, 2, "lines", 0, size, crc))
        return {"leased": leased, "committed": after is not None, "gone": False}


def die_holding(db_url: str, id: str) -> None:
    with Catalog(db_url) as catalog:
        assert Executions(catalog.database).lease(id, new_holder(), 3600.0)
    print("ready", flush=True)
    sys.stdin.readline()


def tasks(wait: Callable[[], None]) -> dict[str, Any]:
    return {
        "batch_kill_each": lambda folder, task: kill_each(Path(folder), task),
        "batch_share": lambda url, folder: share(url, folder, wait),
        "batch_twins": lambda url, folder, digest: twins(url, folder, wait, digest),
        "batch_fill": lambda url, folder, owner: fill(url, folder, wait, owner),
        "batch_upload_slowly": lambda folder: upload_slowly(folder, wait),
        "batch_limited": lambda folder: limited(Path(folder)),
        "batch_full": lambda folder: full(Path(folder)),
        "batch_zombie": lambda url, folder, id: zombie(url, folder, id, wait),
        "batch_die_holding": die_holding,
    }
