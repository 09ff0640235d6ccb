"""Snapshots: rows that name blobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from jupyter_mlserve.contract.errors import NotFound, OutOfSpace, TooBusy
from jupyter_mlserve.store import Catalog
from jupyter_mlserve.store.snapshot_models import Item, Snapshot, SnapshotQuota, new_id
from jupyter_mlserve.store.snapshots import Snapshots


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(str(tmp_path / "catalog.sqlite3")) as made:
        yield made


def snapshot(owner: str = "ann", sha: str = "a", size: int = 10) -> Snapshot:
    return Snapshot(
        new_id(),
        "näme",
        owner,
        "Python",
        datetime.now(timezone.utc),
        (Item("model", sha * 64, size), Item("same", sha * 64, size)),
        (Item("below/data.csv", "f" * 64, 1),),
    )


def test_kept_listed_and_deleted(catalog: Catalog) -> None:
    snapshots = Snapshots(catalog.database)
    revision = catalog.revision()
    first, second, other = snapshot(), snapshot(sha="b"), snapshot("bob", "c")
    for one in (first, second, other):
        snapshots.add(one)
    assert snapshots.get(first.id) == first
    assert (first.bytes, first.blobs) == (21, {"a" * 64, "f" * 64})
    assert snapshots.of("ann") == [first, second]
    assert snapshots.of("nobody") == []
    assert catalog.referenced_blobs(0) == {digit * 64 for digit in "abcf"}
    assert snapshots.delete(first.id) is True
    assert snapshots.delete(first.id) is False
    for id in (first.id, "", "\0", "x" * 1000, "\ud800"):
        with pytest.raises(NotFound):
            snapshots.get(id)
    assert catalog.referenced_blobs(0) == {digit * 64 for digit in "bcf"}
    assert catalog.revision() == revision, "no service has changed"


def test_quotas_are_of_one_user(catalog: Catalog) -> None:
    snapshots = Snapshots(catalog.database)
    quota = SnapshotQuota(count=2, bytes=50)
    snapshots.add(snapshot(), quota)
    with pytest.raises(OutOfSpace, match="snapshot_user_quota"):
        snapshots.add(snapshot(size=20), quota)
    snapshots.add(snapshot(size=14), quota)
    with pytest.raises(TooBusy, match="snapshot_max"):
        snapshots.add(snapshot(size=0), quota)
    snapshots.add(snapshot("bob"), quota)
    assert len(snapshots.of("ann")) == 2
