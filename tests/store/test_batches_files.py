"""The folders of batch executions: written durably, read by slices, damaged, removed."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store import batch_children as children

from jupyter_mlserve.contract.errors import (
    BundleCorrupt,
    Conflict,
    InternalError,
    NotFound,
    OutOfSpace,
    TooLarge,
    Unavailable,
)
from jupyter_mlserve.store import Catalog
from jupyter_mlserve.store.batches import (
    BatchFiles,
    Chunk,
    DamagedUnit,
    Executions,
    IndexWriter,
    Quota,
    new_id,
)

LINES = [b'{"a": 1}\n', b"{}\n", b'{"a": "' + b"x" * 50 + b'"}\n', b"\n", b'{"b": null}\n']

AN_ID = "0d0111e1-69ed-4efa-9175-55ea5d8b4c65"


@pytest.fixture
def files(tmp_path: Path) -> BatchFiles:
    return BatchFiles(tmp_path / "data" / "batches")


def stored(files: BatchFiles, lines: list[bytes], prefix: bytes = b"") -> str:
    with files.upload(new_id()) as upload:
        upload.write(b"as it was sent")
        children.split(upload, lines, prefix)
        upload.seal()
        upload.release()
    return str(upload.id)


# Made


def test_an_upload_becomes_records(files: BatchFiles) -> None:
    with files.upload(new_id()) as upload:
        assert upload.write(b"as it ") == 6
        assert upload.write(memoryview(b"was sent")) == 8
        assert upload.size == 14
        assert upload.sha256 == hashlib.sha256(b"as it was sent").hexdigest()
        upload.finish()
        assert upload.path.read_bytes() == b"as it was sent"
        children.split(upload, LINES)
        size = upload.seal()
        upload.release()
    folder = files.folder(upload.id)
    assert sorted(path.name for path in folder.iterdir()) == ["index", "input", "lock", "results"]
    assert size == sum((folder / name).stat().st_size for name in ("input", "index"))
    assert files.read_units(upload.id, "lines", 0, 5) == b"".join(LINES)
    for path in (files.root, files.root / "removed", folder, folder / "results"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    upload.discard()
    assert folder.is_dir(), "nothing happens after a release"


def test_what_goes_wrong_on_the_way_leaves_nothing(files: BatchFiles) -> None:
    def send(*limits: int) -> None:
        with files.upload(new_id(), *limits) as upload:
            upload.write(bytes(15))
            upload.write(bytes(6))
            raise ZeroDivisionError

    with pytest.raises(TooLarge, match="20 bytes") as error:
        send(20)
    assert error.value.details == {"limit": 20}
    with pytest.raises(OutOfSpace, match="left of the quota"):
        send(30, 20)
    with pytest.raises(ZeroDivisionError):
        send()
    with files.upload(new_id()) as upload:
        upload.write(bytes(15))
    with pytest.raises(InternalError, match="over"):
        upload.write(b"more")
    assert [path.name for path in files.root.rglob("*")] == ["removed"]


def test_an_upload_that_is_discarded_while_it_is_written(files: BatchFiles) -> None:
    """The request is cut in one thread, while another writes."""
    for _ in range(20):
        upload = files.upload(new_id())
        errors: list[BaseException] = []

        def write(upload: Any = upload, errors: Any = errors) -> None:
            try:
                while True:
                    upload.write(bytes(1000))
            except InternalError as error:
                errors.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        upload.discard()
        thread.join()
        assert len(errors) == 1
    assert [path.name for path in files.root.rglob("*")] == ["removed"]


@pytest.mark.parametrize("id", ["", ".", "..", "removed", "../x", "a/b", "x" * 36, f"{AN_ID}/"])
def test_no_folder_but_that_of_an_id(files: BatchFiles, id: str) -> None:
    actions: list[Callable[[], Any]] = [
        lambda: files.folder(id),
        lambda: files.upload(id),
        lambda: files.read_units(id, "lines", 0, 1),
        lambda: files.fitting(id, 0, 1, 10),
        lambda: files.write_result(id, 0, 1, b""),
        lambda: files.read_result(id, Chunk(0, 1, "lines", 0, 0, 0)),
        lambda: files.tidy(id, []),
        lambda: files.remove(id),
    ]
    for action in actions:
        with pytest.raises(NotFound):
            action()
    assert files.root.is_dir()


def test_a_folder_is_made_once(files: BatchFiles) -> None:
    id = stored(files, LINES)
    with pytest.raises(InternalError):
        files.upload(id)
    assert files.read_units(id, "lines", 0, 5) == b"".join(LINES)


# Made, and in the database


def test_admit_keeps_what_counts_and_removes_what_does_not(
    files: BatchFiles, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    executions = Executions(catalog.database)
    first = children.start(executions, files, LINES, key="k", digest="d")
    assert children.start(executions, files, LINES, key="k", digest="d") == first
    with pytest.raises(Conflict):
        children.start(executions, files, LINES, key="k", digest="e")
    with pytest.raises(OutOfSpace):
        children.start(executions, files, LINES, quota=Quota(total_bytes=1))
    assert {path.name for path in files.root.iterdir()} == {first.id, "removed"}
    assert files.sweep(executions.known, 0.0) == []

    # The database went away right after, or right before, the commit: nobody can tell.
    create = executions.create

    def commit_and_fail(*args: Any, **named: Any) -> Any:
        create(*args, **named)
        raise Unavailable("gone")

    monkeypatch.setattr(executions, "create", commit_and_fail)
    with pytest.raises(Unavailable):
        children.start(executions, files, LINES, key="l", digest="d")
    monkeypatch.undo()
    assert files.sweep(executions.known, 0.0) == []
    found = executions.find_key("ann", "Tx", "1.0", "l")
    assert found is not None
    assert files.read_units(found.id, "lines", 0, 5) == b"".join(LINES)
    executions.delete(found.id)
    assert files.sweep(executions.known, 0.0) == [found.id]


def test_what_counts_is_on_the_disk_first(
    files: BatchFiles, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of what is synchronized, renamed and committed: no power cut comes between."""
    done: list[str] = []
    executions = Executions(catalog.database)
    true_sync, true_rename = os.fsync, os.rename

    def sync(handle: int) -> None:
        true_sync(handle)
        path = os.readlink(f"/proc/self/fd/{handle}")
        name = os.path.basename(path)
        done.append(
            "new" if name.startswith("new-") else "root" if path == str(files.root) else name
        )

    def rename(old: Any, new: Any) -> None:
        true_rename(old, new)
        done.append("rename")

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", rename)
    create = executions.create

    def commit(*args: Any, **named: Any) -> Any:
        done.append("commit")
        return create(*args, **named)

    monkeypatch.setattr(executions, "create", commit)
    made = children.start(executions, files, LINES)
    assert done[-5:] == ["input", "index", made.id, "root", "commit"]
    done.clear()
    files.write_result(made.id, 0, 5, b"x")
    assert done == ["new", "rename", "results"]


# Records


def test_units_are_read_by_slices(files: BatchFiles) -> None:
    id = stored(files, LINES)
    for first in range(6):
        for stop in range(first, 6):
            assert files.read_units(id, "lines", first, stop) == b"".join(LINES[first:stop])
    for first, stop in ((-1, 2), (0, 6), (3, 2)):
        with pytest.raises(BundleCorrupt):
            files.read_units(id, "lines", first, stop)


def test_arrow_units_are_a_whole_stream(files: BatchFiles) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"hp": list(range(10)), "name": [f"n{n}" for n in range(10)]})
    batches = table.to_batches(max_chunksize=4)
    schema = table.schema.serialize().to_pybytes()
    units = [batch.serialize().to_pybytes() for batch in batches]
    id = stored(files, units, schema)
    for first, stop in ((0, 3), (0, 1), (1, 3), (2, 2)):
        data = files.read_units(id, "arrow", first, stop)
        read = pyarrow.ipc.open_stream(data).read_all()
        assert read.schema == table.schema
        assert read["hp"].to_pylist() == list(range(4 * first, min(4 * stop, 10)))


def test_as_many_as_fit(files: BatchFiles) -> None:
    id = stored(files, [b"x" * size for size in (10, 10, 100, 5, 5, 5)])
    for first, limit, stop in ((0, 20, 2), (0, 19, 1), (0, 120, 3), (2, 50, 3), (3, 15, 6)):
        assert files.fitting(id, first, 6, limit) == stop
    assert files.fitting(id, 3, 5, 1000) == 5
    assert files.fitting(id, 0, 6, 0) == 1


def test_damage_is_never_an_answer(files: BatchFiles) -> None:
    """Each byte of both files is changed, and both are cut short at each place."""
    id = stored(files, LINES, b"schema")
    right = files.read_units(id, "arrow", 0, 5)
    damaged = corrupt = 0
    for name in ("input", "index"):
        path = files.folder(id) / name
        content = path.read_bytes()
        for place in range(len(content)):
            for bit in (0, 7):
                wrong = bytearray(content)
                wrong[place] ^= 1 << bit
                path.write_bytes(wrong)
                with pytest.raises((DamagedUnit, BundleCorrupt), match=id) as error:
                    files.read_units(id, "arrow", 0, 5)
                if isinstance(error.value, BundleCorrupt):
                    corrupt += 1
                    continue
                damaged += 1
                assert error.value.units
                for unit in set(range(5)) - set(error.value.units):  # The others can be read.
                    assert files.read_units(id, "lines", unit, unit + 1) == LINES[unit]
            path.write_bytes(content[:place])
            with pytest.raises((DamagedUnit, BundleCorrupt), match=id):
                files.read_units(id, "arrow", 0, 5)
        path.write_bytes(content)
        path.rename(path.with_name("away"))
        with pytest.raises(BundleCorrupt, match=f"no file {name} any more. Send them again"):
            files.read_units(id, "arrow", 0, 5)
        path.with_name("away").rename(path)
    assert files.read_units(id, "arrow", 0, 5) == right
    assert damaged > 100
    assert corrupt > 10


def test_a_damaged_offset_reads_no_gigabytes(files: BatchFiles) -> None:
    id = stored(files, LINES)
    folder = files.folder(id)
    os.truncate(folder / "input", 8 << 30)  # sparse: it takes no room
    with open(folder / "index", "r+b") as file:
        file.seek(5 * 8)
        file.write((8 << 30).to_bytes(8, "little"))
    with pytest.raises(DamagedUnit) as error:
        files.read_units(id, "lines", 0, 5)
    assert error.value.units == [4]
    assert files.read_units(id, "lines", 0, 4) == b"".join(LINES[:4])


def test_an_index_takes_no_memory(files: BatchFiles) -> None:
    """Many records are written, and read by slices; the index alone has 3.6 MB."""
    count = 300_000
    with files.upload(new_id()) as upload:
        upload.finish()
        tracemalloc.start()
        with open(upload.folder / "input", "wb") as file, IndexWriter(upload.folder) as index:
            for number in range(count):
                line = b"%d\n" % number
                file.write(line)
                index.add(line)
        upload.seal()
        upload.release()
        peak = tracemalloc.get_traced_memory()[1]
        assert peak < 1_500_000
        tracemalloc.reset_peak()
        data = files.read_units(upload.id, "lines", count - 1000, count)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert data.splitlines()[0] == b"%d" % (count - 1000)
    assert data.count(b"\n") == 1000
    assert peak < 200_000


def test_an_index_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    def write() -> None:
        with IndexWriter(tmp_path) as index:
            index.add(b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert list(tmp_path.iterdir()) == []


# Results


def test_results_are_read_back_or_refused(files: BatchFiles) -> None:
    id = stored(files, LINES)
    data = random.Random(1).randbytes(300)
    size, crc = files.write_result(id, 3, 2, [data[:100], memoryview(data)[100:], b""])
    chunk = Chunk(3, 2, "lines", 0, size, crc)
    assert files.read_result(id, chunk) == data
    assert files.write_result(id, 3, 2, data) == (size, crc), "again, and the same"
    path = files.folder(id) / "results" / chunk.name
    assert [path.name] == os.listdir(path.parent)
    for wrong in (data[:-1], data + b"x", data[:50] + b"?" + data[51:], b""):
        path.write_bytes(wrong)
        with pytest.raises(BundleCorrupt, match=r"records 3 to 4 .* is not what was") as error:
            files.read_result(id, chunk)
        assert error.value.details == {"first": 3, "count": 2}
    path.unlink()
    with pytest.raises(BundleCorrupt, match="is not there"):
        files.read_result(id, chunk)


def test_another_result_of_the_same_records_is_another_file(files: BatchFiles) -> None:
    """Of who has lost its lease and does not know it: what was committed stays."""
    id = stored(files, LINES)
    committed = Chunk(0, 2, "lines", 0, *files.write_result(id, 0, 2, b"the one"))
    late = Chunk(0, 2, "lines", 0, *files.write_result(id, 0, 2, b"the two"))
    assert files.read_result(id, committed) == b"the one"
    files.forget_result(id, late.first, late.count, late.crc)
    files.forget_result(id, late.first, late.count, late.crc)
    assert files.read_result(id, committed) == b"the one"
    files.write_result(id, 2, 1, b"of a process that was killed")
    (files.folder(id) / "results" / "new-0123").write_bytes(b"half of it")
    assert files.tidy(id, [committed]) == 2
    assert os.listdir(files.folder(id) / "results") == [committed.name]


def test_results_that_fail_leave_nothing(files: BatchFiles) -> None:
    id = stored(files, LINES)

    def parts() -> Any:
        yield b"x"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        files.write_result(id, 0, 1, parts())
    assert os.listdir(files.folder(id) / "results") == []


def test_results_of_what_was_removed(files: BatchFiles) -> None:
    id = stored(files, LINES)
    files.remove(id)
    with pytest.raises(NotFound, match=id):
        files.write_result(id, 0, 1, b"x")
    with pytest.raises(BundleCorrupt, match="cannot be read"):
        files.read_units(id, "lines", 0, 1)
    assert not files.folder(id).exists()
    assert files.tidy(id, []) == 0
    files.remove(id)
    # When the disk of the batches is away, that is not the fault of the execution.
    files.root.rename(files.root.with_name("elsewhere"))
    for action in (
        lambda: files.write_result(id, 0, 1, b"x"),
        lambda: files.read_units(id, "lines", 0, 1),
        lambda: files.upload(new_id()),
    ):
        with pytest.raises(InternalError, match="cannot be used") as error:
            action()
        assert type(error.value) is InternalError


# Ends


def test_what_is_removed_is_gone_at_once(
    files: BatchFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is stopped while deleting its many files leaves no execution with half of them."""
    id = stored(files, LINES)
    seen = []

    def stop(path: Any, **named: Any) -> None:
        seen.append(sorted(entry.name for entry in Path(path).iterdir()))
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", stop)
    with pytest.raises(KeyboardInterrupt):
        files.remove(id)
    assert seen == [["index", "input", "lock", "results"]], "all of it is still there"
    assert not files.folder(id).exists()
    monkeypatch.undo()
    files.sweep(set)
    assert [path.name for path in files.root.rglob("*")] == ["removed"]


def test_a_sweep_removes_what_nobody_knows(files: BatchFiles, catalog: Catalog) -> None:
    executions = Executions(catalog.database)
    kept = children.start(executions, files, LINES)
    orphan = stored(files, LINES)
    bare = new_id()
    (files.root / bare).mkdir()
    (files.root / "notes of the administrator").write_text("keep")
    half = files.root / "removed" / f"{new_id()}.0123"
    half.mkdir()
    (half / "input").write_bytes(b"x")
    assert files.sweep(executions.known) == [], "too young"
    assert not half.exists()
    assert set(files.orphans(executions.known, 0.0)) == {orphan, bare}
    with files.upload(new_id()) as upload:
        assert set(files.sweep(executions.known, 0.0)) == {orphan, bare}
        assert upload.folder.is_dir(), "it is being made"
    found = {path.name for path in files.root.iterdir()}
    assert found == {kept.id, "removed", "notes of the administrator"}


def test_who_is_unlocked_after_the_look_is_known(files: BatchFiles, catalog: Catalog) -> None:
    """An execution that is made while a sweep looks: the database is asked last."""
    executions = Executions(catalog.database)
    id = stored(files, LINES)

    def known(ids: list[str]) -> set[str]:
        executions.create(children.an_execution(id, 5))
        return executions.known(ids)

    assert files.sweep(known, 0.0) == []
    assert files.read_units(id, "lines", 0, 5) == b"".join(LINES)
