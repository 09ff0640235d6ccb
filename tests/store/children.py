"""What the tests of the store run in processes of their own: ``python children.py WHAT ARGS…``.

Each says "ready" when it has opened everything, waits for a line, and prints its result as JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import resource
import select
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from jupyter_mlserve.contract.errors import (
    MLServeError,
    NotAllowed,
    OutOfSpace,
    ServiceNotFound,
    StaleState,
    VersionDeleted,
    VersionExists,
)
from jupyter_mlserve.store import Blobs, Catalog, State


def wait_for_go() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def write(blobs: Blobs, content: bytes) -> str:
    sha = hashlib.sha256(content).hexdigest()
    with blobs.writer(sha) as writer:
        for start in range(0, len(content), 4096):
            writer.write(content[start : start + 4096])
    return sha


def definition(
    name: str, version: str, shas: list[str] | None = None, **more: Any
) -> dict[str, Any]:
    objects = [{"name": f"o{i}", "sha256": sha} for i, sha in enumerate(shas or [])]
    return {"name": name, "version": version, "mlserve": {"objects": objects}, **more}


# Killing


def publish_for_ever(folder: Path, seed: int, acknowledge: int) -> None:
    """Publish, update and delete until killed; say on a pipe what has returned."""
    dice = random.Random(seed)
    blobs, catalog = Blobs(folder / "blobs"), Catalog(str(folder / "catalog.sqlite3"))
    for turn in range(1_000_000):
        name, version = f"s{seed}", str(turn)
        shas = [write(blobs, dice.randbytes(dice.choice([10, 5_000, 60_000]))) for _ in range(2)]
        first = catalog.publish(uuid4().hex, definition(name, version, shas), "h", "me")
        os.write(acknowledge, f"publish {name} {version} {first.id}\n".encode())
        shas = [shas[0], write(blobs, dice.randbytes(2_000))]
        second = catalog.update(
            uuid4().hex, name, version, definition(name, version, shas), "h", "me", first.id
        )
        os.write(acknowledge, f"update {name} {version} {second.id}\n".encode())
        if turn % 3 == 0:
            catalog.delete(name, version, "me", second.id)
            os.write(acknowledge, f"delete {name} {version} {second.id}\n".encode())


def kill(folder: Path, rounds: int) -> dict[str, int]:
    """Start, kill at a random moment, look whether everything is whole; again and again.

    Every fourth time in a new folder and before anything returned, so that some are killed while
    they make the database. The others are killed a random part of a step after some step
    returned; how long things take is measured, for machines are fast, slow or busy.
    """
    import alembic.command  # noqa: F401  (else the first would be killed importing it)

    old: list[tuple[str, ...]] = []
    returned = unborn = 0
    to_the_first, step = 0.0, 0.01  # seconds
    for seed in range(rounds):
        new = seed % 4 == 0
        where = folder / f"new{seed}" if new else folder / "old"
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            publish_for_ever(where, seed, theirs)
        os.close(theirs)
        with os.fdopen(ours) as pipe:
            lines = []
            born = last = time.monotonic()
            for number in range(0 if new and seed else random.randint(1, 6)):
                lines.append(pipe.readline())
                now = time.monotonic()
                if seed == number == 0:
                    to_the_first = now - born
                elif number > 0:
                    step = now - last
                last = now
            # In new folders from early to late, so that surely some are before the first.
            early = to_the_first * random.uniform(seed, seed + 4) / rounds
            time.sleep(early if new else random.uniform(0.0, 2 * step))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            said = [tuple(line.split()) for line in [*lines, *pipe]]
        returned += len(said)
        unborn += not said
        if new:
            check(where, said, 1)
        else:
            old += said
            check(where, old, seed + 1)
    return {"rounds": rounds, "returned": returned, "unborn": unborn}


def check(folder: Path, said: list[tuple[str, ...]], kills: int) -> None:
    path = folder / "catalog.sqlite3"
    with Catalog(str(path)) as catalog:
        states = catalog.list_all()
        done: set[tuple[str, ...]] = set()
        for name in {name for name, _ in catalog.changes(0)}:
            events = catalog.history(name)
            done |= {(e.action, e.name, e.version, e.state_id) for e in events}
        needed = catalog.referenced_blobs()
        assert catalog.revision() == len(done)
    with sqlite3.connect(path) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert plain.execute("PRAGMA foreign_key_check").fetchall() == []
    plain.close()
    assert set(said) <= done, "what returned is there"
    assert len(done) - len(said) <= kills, "at most one more a kill: done, but not yet told"
    # Every version that is there is there with all it needs.
    for state in states:
        assert {o["sha256"] for o in state.definition["mlserve"]["objects"]} <= needed
    blobs = Blobs(folder / "blobs")
    for sha in needed:
        assert hashlib.sha256(blobs.path(sha).read_bytes()).hexdigest() == sha
    alive = {(s.name, s.version) for s in states}
    published = {e[1:3] for e in done if e[0] == "publish"}
    deleted = {e[1:3] for e in done if e[0] == "delete"}
    assert alive == published - deleted


# Several at once


def count(db_url: str, author: str, times: int) -> int:
    """Raise a number in a definition so many times, as a client does: read, change, compare."""
    with Catalog(db_url) as catalog:
        wait_for_go()
        stale = 0
        for _ in range(times):
            while True:
                old = catalog.get("Counter", "1")
                new = {**old.definition, "count": old.definition["count"] + 1}
                try:
                    catalog.update(uuid4().hex, "Counter", "1", new, "h", author, old.id)
                    break
                except StaleState:
                    stale += 1
        return stale


def compete(db_url: str, author: str) -> list[str]:
    """Publish each name that comes on a line, or be told that another did."""
    won: list[str] = []
    with Catalog(db_url) as catalog:
        while True:
            print("ready", flush=True)
            name = sys.stdin.readline().strip()
            if not name:
                return won
            with contextlib.suppress(NotAllowed):
                state = catalog.publish(uuid4().hex, definition(name, "1"), author, author)
                won.append(state.id)


def fight(db_url: str, author: str, turns: int) -> list[list[str]]:
    """Publish, update, roll back and delete the same few versions as others do; what returned."""
    dice = random.Random(author)
    done = []
    with Catalog(db_url) as catalog:
        wait_for_go()
        for _ in range(turns):
            name, version = dice.choice(["A", "B"]), dice.choice(["1", "2"])
            try:
                action, state = act(catalog, dice, name, version, author)
                done.append([action, name, version, state.id])
            except (StaleState, VersionExists, VersionDeleted, ServiceNotFound):
                pass
    return done


def act(
    catalog: Catalog, dice: random.Random, name: str, version: str, author: str
) -> tuple[str, State]:
    new = definition(name, version)
    if dice.random() < 0.3:
        return "publish", catalog.publish(uuid4().hex, new, "h", author, any_owner=True)
    old = catalog.get(name, version)
    if dice.random() < 0.5:
        return "update", catalog.update(uuid4().hex, name, version, new, "h", author, old.id)
    if dice.random() < 0.5:
        first = catalog.states(name, version)[0]
        if first.id != old.id:
            return "rollback", catalog.rollback(name, version, first.number, author, old.id)
    return "delete", catalog.delete(name, version, author, old.id)


def open_fresh(db_url: str) -> str | None:
    wait_for_go()
    with Catalog(db_url) as catalog:
        name = f"by-{os.getpid()}"
        return catalog.publish(uuid4().hex, definition(name, "1"), "h", "me").name


def open_many(folder: str) -> int:
    """Open each new database whose name comes on a line, at the same moment as another does."""
    opened = 0
    while True:
        print("ready", flush=True)
        name = sys.stdin.readline().strip()
        if not name:
            return opened
        with Catalog(f"{folder}/{name}/catalog.sqlite3") as catalog:
            catalog.publish(uuid4().hex, definition(f"by-{os.getpid()}", "1"), "h", "me")
        opened += 1


def publish_one(db_url: str, name: str) -> int:
    with Catalog(db_url) as catalog:
        wait_for_go()
        catalog.publish(uuid4().hex, definition(name, "1"), "h", "me")
        return catalog.revision()


# Garbage


def collect(folder: Path) -> int:
    """Collect without pause, with a grace of a minute, until a line comes."""
    blobs = Blobs(folder)
    wait_for_go()
    removed = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        removed += blobs.collect(set(), 60.0).blobs
    return removed


def write_slowly(folder: Path) -> None:
    writer = Blobs(folder).writer("0" * 64)
    writer.write(b"half of it")
    wait_for_go()


# No space


def limited(folder: Path, limit: int) -> dict[str, Any]:
    """Write a blob larger than the system lets this process write."""
    blobs = Blobs(folder)
    small, large = b"s" * 1000, b"l" * (limit + 1000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write(blobs, large)
    except OutOfSpace as error:
        message = error.message
    write(blobs, small)
    files = [p.name for p in folder.rglob("*") if p.is_file() and p.name != "lock"]
    return {"message": message, "files": files}


def full(folder: Path) -> dict[str, Any]:
    """On a disk of one megabyte: fill it by blobs, then by the catalog; then make room."""
    blobs, catalog = Blobs(folder / "blobs"), Catalog(str(folder / "catalog.sqlite3"))
    before = write(blobs, b"before")
    catalog.publish("s0", definition("Before", "1", [before]), "h", "me")
    errors = []
    try:
        write(blobs, os.urandom(2 << 20))
    except OutOfSpace as error:
        errors.append(error.message)
    staged = list((folder / "blobs" / "incoming").iterdir())
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    try:
        for turn in range(100):
            catalog.publish(
                f"x{turn}", definition(f"X{turn}", "1", text=os.urandom(9000).hex()), "h", "me"
            )
    except OutOfSpace as error:
        errors.append(error.message)
    revision, there = catalog.revision(), [s.name for s in catalog.list_all()]
    ballast.unlink()
    catalog.publish("s1", definition("After", "1"), "h", "me")
    catalog.close()
    with sqlite3.connect(folder / "catalog.sqlite3") as plain:
        (sound,) = plain.execute("PRAGMA integrity_check").fetchone()
    return {
        "errors": errors,
        "staged": len(staged),
        "sound": sound,
        "revision": revision,
        "there": there,
        "before": blobs.path(before, verify=True).read_bytes().decode(),
    }


TASKS: dict[str, Any] = {
    "kill": lambda folder, rounds: kill(Path(folder), int(rounds)),
    "count": lambda url, author, times: count(url, author, int(times)),
    "compete": compete,
    "fight": lambda url, author, turns: fight(url, author, int(turns)),
    "open_fresh": open_fresh,
    "open_many": open_many,
    "publish_one": publish_one,
    "collect": lambda folder: collect(Path(folder)),
    "write_slowly": lambda folder: write_slowly(Path(folder)),
    "limited": lambda folder, limit: limited(Path(folder), int(limit)),
    "full": lambda folder: full(Path(folder)),
}

if __name__ == "__main__":
    from batch_children import tasks

    TASKS |= tasks(wait_for_go)
    try:
        print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])))
    except MLServeError as error:
        sys.exit(f"{type(error).__name__}: {error}")
