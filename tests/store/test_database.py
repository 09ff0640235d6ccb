"""The file of SQLite: private, safe, and clear about what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlserve.contract.errors import InternalError, Unavailable
from jupyter_mlserve.store import Catalog, database

Define = Callable[..., dict[str, Any]]


def test_the_file_and_its_folder_are_private(tmp_path: Path, define: Define) -> None:
    old = os.umask(0)
    try:
        with Catalog(str(tmp_path / "a" / "data" / "catalog.sqlite3")) as catalog:
            catalog.publish("s1", define(), "h", "ann")
            files = sorted((tmp_path / "a" / "data").iterdir())
            assert [f.name for f in files] == [
                "catalog.sqlite3",
                "catalog.sqlite3-shm",
                "catalog.sqlite3-wal",
            ]
            assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
    finally:
        os.umask(old)
    for folder in (tmp_path / "a", tmp_path / "a" / "data"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_writes_are_durable_and_readers_do_not_wait(tmp_path: Path) -> None:
    with Catalog(str(tmp_path / "c.sqlite3")) as catalog:
        with catalog.database.write() as connection:
            asked = {
                pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
                for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            assert catalog.list_all() == []  # in the middle of a transaction that writes
            assert catalog.revision() == 0
        assert asked == {
            "journal_mode": "wal",
            "synchronous": 2,  # FULL
            "foreign_keys": 1,
            "busy_timeout": 10_000,
        }
        with (
            pytest.raises(InternalError, match="readonly"),
            catalog.database.read() as connection,
        ):
            connection.exec_driver_sql("DELETE FROM event")


def test_a_path_or_a_url_name_the_same_file(tmp_path: Path, define: Define) -> None:
    path = tmp_path / "with space & ümlaut.sqlite3"
    with Catalog(str(path)) as catalog:
        catalog.publish("s1", define(), "h", "ann")
    with Catalog(f"sqlite:///{path}") as catalog:
        assert catalog.get("Tx", "1.0").id == "s1"
    Catalog(str(tmp_path / "100%25.sqlite3")).close()
    assert (tmp_path / "100%25.sqlite3").exists()


def test_another_writer_is_waited_for_and_not_for_ever(
    tmp_path: Path, define: Define, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.2)
    path = tmp_path / "c.sqlite3"
    with Catalog(str(path)) as catalog:
        catalog.publish("s1", define(), "h", "ann")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="try again") as error:
            catalog.delete("Tx", "1.0", "ann")
        assert error.value.retry_after == 1.0
        assert catalog.get("Tx", "1.0").id == "s1", "readers go on"
        other.execute("ROLLBACK")
        other.close()
        catalog.delete("Tx", "1.0", "ann")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite3"
    path.write_text("This is a shopping list, and not a short one. " * 100)
    with pytest.raises(InternalError, match=r"damaged .*Restore it from a backup"):
        Catalog(str(path))
    assert path.read_text().startswith("This is"), "untouched"


def test_a_damaged_database(tmp_path: Path, define: Define) -> None:
    path = tmp_path / "c.sqlite3"
    with Catalog(str(path)) as catalog:
        for number in range(50):
            catalog.publish(f"s{number}", define(version=str(number)), "h", "ann")
    content = bytearray(path.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(InternalError, match="damaged"), Catalog(str(path)) as catalog:
        catalog.list_all()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InternalError, match="cannot be used"):
        Catalog(str(tmp_path / "file" / "c.sqlite3"))
    with pytest.raises(InternalError, match="cannot be used"):
        Catalog(str(tmp_path))


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", ":memory:"])
def test_a_database_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(InternalError, match="lives in a file"):
        Catalog(url)


@pytest.mark.parametrize("replace", [False, True])
def test_nothing_is_written_into_a_file_that_was_removed(
    tmp_path: Path, define: Define, replace: bool
) -> None:
    path = tmp_path / "data" / "c.sqlite3"
    with Catalog(str(path)) as catalog:
        catalog.publish("s1", define(), "h", "ann")
        os.rename(tmp_path / "data", tmp_path / "away")
        if replace:
            Catalog(str(path)).close()
        with pytest.raises(InternalError, match=r"removed or replaced .*Restart"):
            catalog.publish("s2", define(version="2"), "h", "ann")


def test_an_unreachable_database_server() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(Unavailable, match="does not answer") as error:
        Catalog("postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(error.value)
