"""The key file: made once, whole or not at all, and refused when it cannot be trusted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jupyter_mlserve.contract.errors import InternalError, OutOfSpace
from jupyter_mlserve.store import token_key
from jupyter_mlserve.store.token_key import ensure_key, read_key

ENSURE = (
    "import sys; from pathlib import Path; from jupyter_mlserve.store.token_key import ensure_key;"
    "print('ready', flush=True); sys.stdin.readline();"
    "print(ensure_key(Path(sys.argv[1])).hex(), flush=True)"
)
# Stops itself at one of the calls that make the file.
STOPPED = (
    "import os, sys, time; from pathlib import Path;"
    "from jupyter_mlserve.store import token_key;"
    "real = getattr(os, sys.argv[2]);\n"
    "def stop(*args, **kwargs):\n"
    "    if sys.argv[3] == 'after': real(*args, **kwargs)\n"
    "    print('stopped', flush=True); time.sleep(60)\n"
    "setattr(os, sys.argv[2], stop)\n"
    "token_key._make(Path(sys.argv[1]))"
)


def test_it_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "token.key"
    assert read_key(path) is None
    assert not path.parent.exists()
    before = os.umask(0)
    try:
        key = ensure_key(path)
    finally:
        os.umask(before)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert ensure_key(path) == read_key(path) == key
    assert re.fullmatch(r"[0-9a-f]{64}\n", path.read_text())
    assert ensure_key(tmp_path / "other.key") != key


def test_of_many_that_make_it_all_get_the_same(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ENSURE, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(8) as pool:
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        found = {key.hex() for key in pool.map(lambda _: ensure_key(path), range(8))}
    found |= {child.communicate(timeout=60)[0].strip() for child in children}
    assert found == {read_key(path).hex()}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("call", "when"),
    [("fdopen", "before"), ("fsync", "before"), ("rename", "before"), ("rename", "after")],
)
def test_killed_in_the_middle(tmp_path: Path, call: str, when: str) -> None:
    path = tmp_path / "token.key"
    child = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(path), call, when], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "stopped\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    there = read_key(path)
    assert (there is not None) is (when == "after")
    key = ensure_key(path)
    assert key == read_key(path)
    assert there in (None, key)
    assert {found.name for found in tmp_path.iterdir()} <= {"token.key", "token.key.lock"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"a" * 63,
        b"a" * 62,
        b"a" * 65,
        b"g" * 64,
        bytes(64),
        b"a" * 64 + b" # mine",
        b"a" * 5000,
        "é".encode() * 32,
        b"ab" * 31 + b"\n" + b"ab",
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token.key"
    path.write_bytes(content)
    path.chmod(0o600)
    for get in (read_key, ensure_key):
        with pytest.raises(InternalError, match="64 hexadecimal digits") as refused:
            get(path)
        assert str(path) in refused.value.message
    assert path.read_bytes() == content  # it is never replaced


def test_a_key_of_the_administrators_own(tmp_path: Path) -> None:
    path = tmp_path / "real.key"
    path.write_text("  " + "AB" * 64 + "\r\n")
    path.chmod(0o400)
    link = tmp_path / "token.key"
    link.symlink_to(path)
    assert ensure_key(link) == bytes([0xAB]) * 64


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o610])
def test_what_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token.key"
    ensure_key(path)
    path.chmod(mode)
    with pytest.raises(InternalError, match="0600"):
        read_key(path)


def test_other_things_than_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(0o700)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    began = time.monotonic()
    for name in ("pipe", "folder", "loop"):
        with pytest.raises(InternalError):
            ensure_key(tmp_path / name)
    assert time.monotonic() - began < 10


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token.key"
    with monkeypatch.context() as patched:
        patched.setattr(token_key.os, "fsync", _no_space)
        with pytest.raises(OutOfSpace):
            ensure_key(path)
    assert [found.name for found in tmp_path.iterdir()] == ["token.key.lock"]
    assert len(ensure_key(path)) == 32


def _no_space(handle: int) -> None:
    raise OSError(28, "No space left on device")
