"""The parts of sessions that need no server: ids, folders of runs, the working directory, forms."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from jupyter_mlserve.access.policy import Policy
from jupyter_mlserve.access.principal import Principal
from jupyter_mlserve.compute.client import ComputeNode
from jupyter_mlserve.contract.errors import (
    Conflict,
    InvalidInput,
    InvalidName,
    NotFound,
    SessionEnded,
    TooLarge,
)
from jupyter_mlserve.web.sessions import folder as folders
from jupyter_mlserve.web.sessions.form import FileForm
from jupyter_mlserve.web.sessions.ids import is_ours, load_key, new_id
from jupyter_mlserve.web.sessions.incoming import Incoming
from jupyter_mlserve.web.sessions.registry import Sessions
from jupyter_mlserve.web.sessions.room import Room
from jupyter_mlserve.web.sessions.session import MAX_HISTORY, History
from jupyter_mlserve.web.sessions.settings import SessionSettings

ANN = Principal("ann", "Ann", "jupyter")
BOB = Principal("bob", "Bob", "jupyter", administrator=True)


def test_ids_show_whose_they_were(tmp_path: Path) -> None:
    key = load_key(tmp_path / "deep" / "key")
    assert load_key(tmp_path / "deep" / "key") == key
    assert (tmp_path / "deep" / "key").stat().st_mode & 0o777 == 0o600
    assert len(list((tmp_path / "deep").iterdir())) == 1
    other = load_key(tmp_path / "other")
    ids = {new_id(key, "ann") for _ in range(200)}
    assert len(ids) == 200
    for id in ids:
        assert uuid.UUID(id).version == 4
        assert str(uuid.UUID(id)) == id
        assert is_ours(key, "ann", id)
        assert not is_ours(key, "bob", id)
        assert not is_ours(other, "ann", id)
        assert not is_ours(key, "ann", id.upper().replace("4", "5"))
        assert not is_ours(key, "ann", id[:-1] + ("0" if id[-1] != "0" else "1"))
    for wrong in ("", "x", str(uuid.uuid4()), "\ud800", "é" * 36, "{" + id + "}", id + "\n"):
        assert not is_ours(key, "ann", wrong)


def test_the_key_is_made_once_by_many(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(load_key(tmp_path / "key"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


KILLED = """
import os, sys
from pathlib import Path
from jupyter_mlserve.web.sessions.room import Room
room = Room(Path(sys.argv[1]))
folder = room.make("session")
(folder / "files" / "x").write_text("x")
(folder / "files").chmod(0)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_run_left_is_removed_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "sessions"
    first = Room(root)
    mine = first.make("mine")
    assert (mine.stat().st_mode | (mine / "files").stat().st_mode) & 0o777 == 0o700
    subprocess.run([sys.executable, "-c", KILLED, str(root)], check=False)
    assert len(list(root.glob("*.lock"))) == 2
    second = Room(root)
    assert sorted(root.glob("*.lock")) == sorted(
        room.folder.with_suffix(".lock") for room in (first, second)
    )
    assert {path for path in root.iterdir() if path.is_dir()} == {first.folder, second.folder}
    assert mine.exists()
    first.remove("mine")
    assert not mine.exists()
    for room in (first, second):
        room.close()
        room.close()
    assert [path.name for path in root.iterdir()] == ["lock"]


async def test_gone_is_remembered_over_a_restart(tmp_path: Path) -> None:
    def started() -> Sessions:
        log = logging.getLogger("test")
        return Sessions(
            tmp_path,
            SessionSettings(),
            ComputeNode(),
            Policy(),
            lambda: None,
            log,
        )

    sessions = started()
    session = await sessions.create(ANN, None)
    assert sessions.get(ANN, session.id) is session
    with pytest.raises(NotFound):
        sessions.get(BOB, session.id)
    await sessions.stop()
    sessions.remove()
    with pytest.raises(SessionEnded, match="server was stopped"), session.using():
        pass
    again = started()
    with pytest.raises(SessionEnded, match="restarted"):
        again.get(ANN, session.id)
    for who in (ANN, BOB):
        with pytest.raises(NotFound):
            again.get(who, str(uuid.uuid4()))
    with pytest.raises(NotFound):
        again.get(BOB, session.id)
    many = await asyncio.gather(*(again.create(ANN, None) for _ in range(20)))
    assert len({one.id for one in many}) == 20
    await asyncio.gather(*(again.end(one, "enough") for one in many for _ in range(2)))
    assert list(again._room.folder.iterdir()) == []
    await again.stop()
    again.remove()


def test_a_directory_of_very_many_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MAX_ENTRIES", 10)
    deep = tmp_path
    for number in range(20):
        deep = deep / "d"
        if number < 9:
            deep.mkdir()
            (tmp_path / f"{number}").write_text("x")
    with pytest.raises(TooLarge, match="10 files"):
        folders.files_in(tmp_path)


def test_folders_are_looked_into_to_a_depth(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*"d" * 30)
    deepest.mkdir(parents=True)
    (deepest / "x").write_text("x")
    seen = tmp_path.joinpath(*"d" * 10)
    (seen / "y").write_text("y")
    assert folders.files_in(tmp_path) == [("d/" * 10 + "y", 1)]
    with pytest.raises(NotFound):
        list(folders.read(tmp_path, "d/" * 30 + "x"))


def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "PIECE", 4)
    path = tmp_path / "f"
    path.write_bytes(b"12345678")
    reading = folders.read(tmp_path, "f")
    assert next(reading) == b"1234"
    with path.open("ab") as file:
        file.write(b"grown")
    assert b"".join(reading) == b"5678", "as it was at first"
    reading = folders.read(tmp_path, "f")
    next(reading)
    path.write_bytes(b"")
    with pytest.raises(Conflict, match="shorter"):
        list(reading)


def test_files_are_placed_below_folders(tmp_path: Path) -> None:
    files, aside = tmp_path / "files", tmp_path / "aside"
    files.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (files / "link").symlink_to(elsewhere)
    (files / "plain").write_text("x")

    def put(name: str) -> None:
        incoming = Incoming(tmp_path)
        incoming.write(b"new")
        incoming.close()
        try:
            folders.place(files, incoming.path, name)
        finally:
            incoming.discard()

    put("a/b/c.txt")
    put("a/b/c.txt")
    assert (files / "a" / "b" / "c.txt").read_text() == "new"
    for name in ("link/x", "plain/x", "a", "a/b"):
        with pytest.raises(Conflict, match="something else"):
            put(name)
    put("link")
    assert list(elsewhere.iterdir()) == []
    assert (files / "link").read_text() == "new"
    assert not aside.exists()
    assert len(os.listdir("/proc/self/fd")) < 100


def test_history_is_bounded() -> None:
    history = History()
    for number in range(MAX_HISTORY + 5):
        history.add(str(number))
    assert len(history.entries) == MAX_HISTORY
    assert history.entries[-1] == str(MAX_HISTORY + 4)
    history.add("x" * (17 * 1024**2))
    history.add("y")
    assert list(history.entries) == ["y"]


def form(*parts: tuple[bytes, bytes], end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n%s\r\n\r\n%s\r\n" % part for part in parts) + end


def read_form(reader: FileForm, body: bytes, size: int) -> str:
    """Feed the body in pieces of that size; the name of the file."""
    for start in range(0, len(body), size):
        reader.write(body[start : start + size])
    return reader.finish()


FILE = b'Content-Disposition: form-data; name="file"; filename="a.csv"'
HOSTILE = [
    b"",
    b"--b--\r\n",
    b"--b\r\n",
    form((FILE, b"x"), end=b""),
    form((FILE, b"x"), (FILE, b"y")),
    form((b'Content-Disposition: form-data; name="file"', b"x")),
    form((b'Content-Disposition: form-data; name="other"; filename="a"', b"x")),
    form((b'Content-Disposition: attachment; name="file"; filename="a"', b"x")),
    form((b"Content-Type: text/plain", b"x")),
    form((b"X: " + b"y" * 9000 + b"\r\n" + FILE, b"x")),
    form((b"no header at all", b"x")),
    form((b"\xff\xfe: \x00", b"x")),
    *(
        form((b'Content-Disposition: form-data; name="file"; filename="%s"' % name, b"x"))
        for name in (b"../x", b"/etc/passwd", b"..", b"a/b", b"\xff", b".x", b"")
    ),
]


@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_a_form_in_pieces(tmp_path: Path, size: int) -> None:
    content = b"\r\n--x\r\n-" * 50 + b"\r\n--"
    body = form((FILE + b"\r\nContent-Type: text/csv", content))
    incoming = Incoming(tmp_path)
    reader = FileForm(b"b", incoming)
    assert read_form(reader, body, size) == "a.csv"
    incoming.close()
    assert incoming.path.read_bytes() == content


@pytest.mark.parametrize("body", HOSTILE)
def test_hostile_forms(tmp_path: Path, body: bytes) -> None:
    for size in (1, 10**6):
        incoming: Any = Incoming(tmp_path)
        reader = FileForm(b"b", incoming)
        with pytest.raises((InvalidInput, InvalidName)):
            read_form(reader, body, size)
        incoming.discard()
        assert list(tmp_path.iterdir()) == []


def test_a_browsers_path_is_left_out(tmp_path: Path) -> None:
    header = b'Content-Disposition: form-data; name="file"; filename="C:\\\\x\\\\y.csv"'
    incoming = Incoming(tmp_path)
    assert read_form(FileForm(b"b", incoming), form((header, b"x")), 100) == "y.csv"
    incoming.discard()
