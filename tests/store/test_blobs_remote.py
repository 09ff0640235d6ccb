"""Blobs behind fsspec, on its own file system in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from jupyter_mlserve.contract.errors import (
    BlobMissing,
    BundleCorrupt,
    InternalError,
    InvalidInput,
    OutOfSpace,
    Unavailable,
)
from jupyter_mlserve.store import Blobs, Collected

Put = Callable[[Blobs, bytes], str]
DAY = 86_400.0


@pytest.fixture
def url() -> Iterator[str]:
    root = f"/bucket-{uuid4().hex}"
    yield f"memory:/{root}/blobs"
    MemoryFileSystem().rm(root, recursive=True)


@pytest.fixture
def remote(url: str, tmp_path: Path) -> Blobs:
    return Blobs(url, tmp_path / "cache")


def make_old(sha: str) -> None:
    for path, file in MemoryFileSystem.store.items():
        if path.endswith(sha):
            file.modified = datetime.now(timezone.utc) - timedelta(days=2)


def test_a_blob_comes_back_on_another_machine(
    remote: Blobs, url: str, tmp_path: Path, put: Put
) -> None:
    content = os.urandom(100_000)
    sha = put(remote, content)
    elsewhere = Blobs(url, tmp_path / "elsewhere")
    assert elsewhere.has(sha)
    assert elsewhere.used() == len(content)
    path = elsewhere.path(sha)
    assert path.is_relative_to(tmp_path / "elsewhere")
    assert path.read_bytes() == content
    absent = "0" * 64
    assert elsewhere.missing([absent, sha]) == [absent]
    with pytest.raises(BlobMissing):
        elsewhere.path(absent)
    assert list((tmp_path / "elsewhere" / "incoming").iterdir()) == []


def test_only_verified_bytes_leave_and_enter(
    remote: Blobs, url: str, tmp_path: Path, put: Put
) -> None:
    with pytest.raises(InvalidInput), remote.writer("0" * 64) as writer:
        writer.write(b"else")
    assert remote.used() == 0
    sha = put(remote, b"good")
    # Damaged in the cache: fetched again. Damaged over there: refused.
    remote.path(sha).write_bytes(b"bad")
    assert remote.path(sha, verify=True).read_bytes() == b"good"
    for path in MemoryFileSystem.store:
        if path.endswith(f"{sha[:2]}/{sha}"):
            MemoryFileSystem().pipe_file(path, b"evil")
    with pytest.raises(BundleCorrupt, match="remote store"):
        Blobs(url, tmp_path / "elsewhere").path(sha)


def test_collection_goes_by_the_time_a_blob_was_last_asked_for(
    remote: Blobs, url: str, tmp_path: Path, put: Put
) -> None:
    needed, asked, old = (put(remote, text) for text in (b"needed", b"asked", b"old"))
    for sha in (needed, asked, old):
        make_old(sha)
    assert remote.has(asked)
    cached = remote.path(old)
    past = time.time() - 2 * DAY
    os.utime(cached, (past, past))
    assert remote.collect({needed}, DAY) == Collected(blobs=1, bytes=3)
    assert remote.missing([needed, asked, old]) == [old]
    assert not cached.exists()
    assert remote.used() == len(b"neededasked")


def test_a_quota(url: str, tmp_path: Path, put: Put) -> None:
    blobs = Blobs(url, tmp_path / "cache", quota=10)
    put(blobs, b"1" * 6)
    with pytest.raises(OutOfSpace, match="quota"):
        put(blobs, b"2" * 5)
    assert blobs.used() == 6


def test_a_remote_store_needs_a_cache_and_a_file_system(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cache_dir"):
        Blobs("memory://bucket/blobs")
    with pytest.raises(InternalError, match="nosuch"):
        Blobs("nosuch://bucket", tmp_path)


def test_a_store_that_fails_says_so(
    remote: Blobs, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ConnectionResetError("connection reset by peer")

    monkeypatch.setattr(MemoryFileSystem, "_open", fail)
    with pytest.raises(Unavailable, match="connection reset") as error:
        put(remote, b"x")
    assert error.value.retry_after == 5.0
