"""Blobs in a folder: whole, verified, durable, private, bounded; and collected when not needed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlserve.contract.errors import (
    BlobMissing,
    BundleCorrupt,
    InternalError,
    InvalidInput,
    OutOfSpace,
    TooLarge,
)
from jupyter_mlserve.store import Blobs, BlobWriter, Collected

Put = Callable[[Blobs, bytes], str]
NOWHERE = hashlib.sha256(b"never written").hexdigest()
DAY = 86_400.0


def files_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "lock")


def age(blobs: Blobs, sha: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(blobs.path(sha), (then, then))


def test_a_blob_comes_back(blobs: Blobs, put: Put) -> None:
    content = os.urandom(3_000_000)
    sha = put(blobs, content)
    assert blobs.has(sha)
    assert blobs.path(sha).read_bytes() == content
    assert blobs.path(sha, verify=True).read_bytes() == content
    assert blobs.used() == len(content)


def test_chunks_of_any_kind_and_none_at_all(blobs: Blobs, put: Put) -> None:
    sha = hashlib.sha256(b"abcdefgh").hexdigest()
    with blobs.writer(sha) as writer:
        assert writer.write(b"abc") == 3
        assert writer.write(bytearray(b"")) == 0
        assert writer.write(memoryview(b"dexx")[:2]) == 2
        assert writer.write(memoryview(b"fgh")) == 3
        assert writer.size == 8
    assert blobs.path(sha).read_bytes() == b"abcdefgh"
    empty = put(blobs, b"")
    assert blobs.path(empty).read_bytes() == b""


def test_missing_names_each_once_in_order(blobs: Blobs, put: Put) -> None:
    here = put(blobs, b"here")
    other = hashlib.sha256(b"other").hexdigest()
    assert blobs.missing([NOWHERE, here, other, NOWHERE]) == [NOWHERE, other]
    assert blobs.missing([]) == []
    blobs.require([here])
    with pytest.raises(BlobMissing) as error:
        blobs.require([here, NOWHERE])
    assert error.value.details == {"sha256": [NOWHERE]}
    with pytest.raises(BlobMissing):
        blobs.path(NOWHERE)
    with pytest.raises(BlobMissing):
        blobs.path(NOWHERE, verify=True)


@pytest.mark.parametrize(
    "sha",
    ["", "../../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "g" * 64, None],
)
def test_only_digests_are_names(blobs: Blobs, sha: Any) -> None:
    for use in (blobs.has, blobs.writer, blobs.path, lambda s: blobs.missing([s])):
        with pytest.raises(InvalidInput, match="64 lower-case"):
            use(sha)


def test_a_digest_that_is_not_known_before(blobs: Blobs, tmp_path: Path) -> None:
    with blobs.new_writer(100) as writer:
        writer.write(b"some")
        writer.write(b"thing")
    assert writer.sha == hashlib.sha256(b"something").hexdigest()
    assert blobs.path(writer.sha).read_bytes() == b"something"
    with pytest.raises(TooLarge), blobs.new_writer(3) as writer:
        writer.write(b"something")
    with pytest.raises(ZeroDivisionError), blobs.new_writer() as writer:
        writer.write(bytes([1 // 0]))
    assert len(files_in(tmp_path)) == 1


def test_a_wrong_digest_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidInput, match="announced") as error,
        blobs.writer(NOWHERE) as writer,
    ):
        writer.write(b"something else")
    assert error.value.details["got"] == hashlib.sha256(b"something else").hexdigest()
    assert not blobs.has(NOWHERE)
    assert files_in(tmp_path) == []


def test_an_oversized_blob_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    sha = hashlib.sha256(bytes(11)).hexdigest()
    writer = blobs.writer(sha, size_limit=10)
    writer.write(bytes(10))
    with pytest.raises(TooLarge) as error:
        writer.write(bytes(1))
    assert error.value.details == {"limit": 10}
    with pytest.raises(TooLarge):
        blobs.writer(sha, size_limit=10, expected_size=11)
    assert files_in(tmp_path) == []
    with blobs.writer(sha, size_limit=11, expected_size=11) as writer:
        writer.write(bytes(11))
    assert blobs.has(sha)


def test_an_exception_in_the_block_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    sha = hashlib.sha256(b"whole").hexdigest()
    with contextlib.suppress(ConnectionError), blobs.writer(sha) as writer:
        writer.write(b"whole")
        raise ConnectionError("the client went away")
    assert not blobs.has(sha)
    assert files_in(tmp_path) == []
    writer = blobs.writer(sha)
    writer.write(b"wh")
    writer.abort()
    writer.abort()
    with pytest.raises(InternalError, match="aborted"):
        writer.write(b"ole")
    with pytest.raises(InternalError, match="aborted"):
        writer.commit()
    assert files_in(tmp_path) == []


def test_abort_while_another_thread_writes(blobs: Blobs, tmp_path: Path) -> None:
    """A client goes away while its bytes go to the disk: the descriptor must outlive the write,
    for its number may be that of another file an instant later."""
    for _ in range(20):
        content = os.urandom(1 << 20)
        writer = blobs.writer(hashlib.sha256(content).hexdigest())
        outcome: list[str] = []

        def work(writer: BlobWriter = writer, outcome: list[str] = outcome) -> None:
            try:
                while True:
                    writer.write(b"x" * (1 << 16))
            except InternalError as error:
                outcome.append(error.message)

        thread = threading.Thread(target=work)
        thread.start()
        while writer.size < 1 << 18:
            time.sleep(0.0001)
        writer.abort()
        thread.join(10)
        assert outcome == ["This blob was committed or aborted already."]
        assert files_in(tmp_path) == []


def test_a_quota_is_never_exceeded(tmp_path: Path, put: Put) -> None:
    blobs = Blobs(tmp_path / "blobs", quota=1000)
    first = put(blobs, b"1" * 600)
    with pytest.raises(OutOfSpace, match="quota"):
        put(blobs, b"2" * 401)
    with pytest.raises(OutOfSpace, match="quota"):
        blobs.writer(NOWHERE, expected_size=401)
    assert put(blobs, b"1" * 600) == first, "what is there already takes no more space"
    put(blobs, b"3" * 400)
    assert blobs.used() == 1000
    assert len(files_in(tmp_path)) == 2
    blobs.collect({first}, -1)
    put(blobs, b"2" * 400)


def test_two_uploads_together_do_not_exceed_the_quota(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs", quota=1000)
    writers = []
    for content in (b"a" * 700, b"b" * 700):
        writer = blobs.writer(hashlib.sha256(content).hexdigest())
        writer.write(content)
        writers.append(writer)
    writers[0].commit()
    with pytest.raises(OutOfSpace, match="quota"):
        writers[1].commit()
    assert blobs.used() == 700
    assert len(files_in(tmp_path)) == 1


def test_used_follows_other_processes(tmp_path: Path, put: Put) -> None:
    """Sizes are remembered by folder: what another process adds or removes must still count."""
    blobs, other = Blobs(tmp_path), Blobs(tmp_path)
    shas = [put(other, os.urandom(100)) for _ in range(20)]
    for shard in {blobs.path(sha).parent for sha in shas}:
        os.utime(shard, (1e9, 1e9))  # long ago, so that it is remembered
    assert blobs.used() == 2000
    assert blobs.used() == 2000
    put(other, b"x" * 50)
    assert blobs.used() == 2050
    other.collect(shas[:5], -1)
    assert blobs.used() == 500


def test_changes_within_one_tick_of_the_clock_count(blobs: Blobs, put: Put) -> None:
    """The time stamp of a folder may be the same before and after a change."""
    sha = put(blobs, b"first")
    shard = blobs.path(sha).parent
    now = shard.stat().st_mtime_ns
    assert blobs.used() == 5
    (shard / (sha[:2] + "0" * 62)).write_bytes(b"second")
    os.utime(shard, ns=(now, now))
    assert blobs.used() == 11


def test_everything_is_private(tmp_path: Path, put: Put) -> None:
    old = os.umask(0)
    try:
        blobs = Blobs(tmp_path / "a" / "b" / "blobs")
        put(blobs, b"secret")
        writer = blobs.writer(NOWHERE)
        for path in [tmp_path / "a", *(tmp_path / "a").rglob("*")]:
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path
        writer.abort()
    finally:
        os.umask(old)


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    Blobs(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_bytes_that_changed_on_the_disk_are_found_and_can_be_replaced(
    blobs: Blobs, put: Put
) -> None:
    sha = put(blobs, b"model weights")
    path = blobs.path(sha)
    path.write_bytes(b"model w3ights")
    with pytest.raises(BundleCorrupt, match="Publish the version again"):
        blobs.path(sha, verify=True)
    # It is not there any more, so the client uploads it again.
    assert not blobs.has(sha)
    put(blobs, b"model weights")
    assert blobs.path(sha, verify=True).read_bytes() == b"model weights"


def test_an_upload_repairs_what_is_damaged(blobs: Blobs, put: Put) -> None:
    sha = put(blobs, b"model weights")
    blobs.path(sha).write_bytes(b"")
    put(blobs, b"model weights")
    assert blobs.path(sha, verify=True).read_bytes() == b"model weights"


# No space, for real


def test_a_file_larger_than_the_system_allows(tmp_path: Path, child: Callable[..., Any]) -> None:
    result = child("limited", tmp_path / "blobs", 100_000).result()
    assert "no space" in result["message"]
    assert "Free some space" in result["message"]
    assert result["files"] == [hashlib.sha256(b"s" * 1000).hexdigest()]


def can_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="needs a user namespace to mount a small disk")
def test_a_full_disk(tmp_path: Path, child: Callable[..., Any]) -> None:
    """Nothing half stored, a sentence that says what to do, and all is well once there is room."""
    script = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
    before = ("unshare", "-rm", "sh", "-c", script, str(tmp_path))
    result = child("full", tmp_path, before=before).result()
    assert len(result["errors"]) == 2
    assert all("Free some space" in error for error in result["errors"])
    assert result["staged"] == 0
    assert result["sound"] == "ok"
    assert result["there"][0] == "Before"
    assert result["revision"] == len(result["there"]), "what failed left no trace"
    assert result["before"] == "before"


# What is left behind, and what is not needed


def test_what_a_killed_process_left_is_swept(tmp_path: Path, child: Callable[..., Any]) -> None:
    slow, dead = child("write_slowly", tmp_path), child("write_slowly", tmp_path)
    for one in (slow, dead):
        one.ready()
    incoming = tmp_path / "incoming"
    assert len(list(incoming.iterdir())) == 2
    dead.close()
    for path in incoming.iterdir():
        os.utime(path, (1e9, 1e9))
    blobs = Blobs(tmp_path)
    assert len(list(incoming.iterdir())) == 1, "the one that is being written stays"
    slow.close()
    blobs.collect(set())
    assert list(incoming.iterdir()) == []


def test_collection_keeps_what_is_needed_and_what_is_young(blobs: Blobs, put: Put) -> None:
    needed, young, old = (put(blobs, text) for text in (b"needed", b"young", b"old"))
    age(blobs, needed, 2 * DAY)
    age(blobs, old, 2 * DAY)
    assert blobs.collect({needed}, DAY) == Collected(blobs=1, bytes=3)
    assert blobs.missing([needed, young, old]) == [old]
    assert blobs.collect({needed}, DAY) == Collected(blobs=0, bytes=0)


@pytest.mark.parametrize("ask", ["has", "missing", "write"])
def test_asking_for_a_blob_makes_it_young(blobs: Blobs, put: Put, ask: str) -> None:
    sha = put(blobs, b"old")
    age(blobs, sha, 2 * DAY)
    if ask == "has":
        assert blobs.has(sha)
    elif ask == "missing":
        assert blobs.missing([sha]) == []
    else:
        put(blobs, b"old")
    assert blobs.collect(set(), DAY).blobs == 0
    assert blobs.path(sha).exists()


def test_a_slow_upload_is_young_when_it_is_complete(blobs: Blobs, tmp_path: Path) -> None:
    sha = hashlib.sha256(b"slow").hexdigest()
    writer = blobs.writer(sha)
    writer.write(b"slow")
    (staged,) = files_in(tmp_path)
    os.utime(staged, (1e9, 1e9))
    writer.commit()
    assert blobs.collect(set(), DAY).blobs == 0
    assert blobs.has(sha)


def test_what_a_publish_was_told_is_there_stays(
    tmp_path: Path, child: Callable[..., Any], put: Put
) -> None:
    """Another process collects without pause. The blob is made old again and again, so that it
    is removed, or asked for, in the very same moment."""
    blobs = Blobs(tmp_path)
    collector = child("collect", tmp_path)
    collector.ready()
    collector.go()
    told = gone = 0
    start = time.monotonic()
    sha = put(blobs, b"wanted")
    while told < 15 or gone < 15 or time.monotonic() < start + 1.5:
        assert time.monotonic() < start + 60
        try:
            age(blobs, sha, DAY)
            there = blobs.has(sha)
        except FileNotFoundError:
            there = False
        if not there:
            gone += 1
            put(blobs, b"wanted")
        else:
            told += 1
            for _ in range(20):
                assert blobs.path(sha, verify=True)
    collector.go()
    assert collector.result() >= gone


def test_many_writers_of_one_blob(blobs: Blobs, put: Put, tmp_path: Path) -> None:
    errors: list[BaseException] = []
    content = os.urandom(200_000)

    def work() -> None:
        try:
            for _ in range(10):
                sha = put(blobs, content)
                assert blobs.path(sha, verify=True)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(files_in(tmp_path)) == 1


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InternalError, match="Check that it exists"):
        Blobs(tmp_path / "file" / "blobs")


def test_a_file_url_is_a_folder(tmp_path: Path, put: Put) -> None:
    sha = put(Blobs(f"file://{tmp_path}/with%20space"), b"x")
    assert Blobs(tmp_path / "with space").has(sha)
