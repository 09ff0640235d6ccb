"""``jupyter mlserve demo``: the quickstart on a server of its own, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.running_server import start_server

from jupyter_mlserve import DeployClient

from .conftest import COMMAND, Run

MakeNotebook = Callable[..., Path]
SMALL = [
    "%load_ext jupyter_mlserve",
    '%%publish_service Small --version 1 -i "x: int" -o "y: int" -s "x=1" --update\ny = x + 1',
]
WAIT_SECONDS = 60


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made: must be empty afterwards, and no process may use it."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def processes_of(folder: Path) -> list[str]:
    """Command lines, or working folders, of processes that have to do with a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                text += " in " + os.readlink(entry / "cwd")
            except OSError:
                continue
            if str(folder) in text and int(entry.name) != os.getpid():
                found.append(f"{entry.name}: {text}")
    return found


def gone(folder: Path) -> bool:
    """Within a few seconds (a process that was told to stop may still be at it)."""
    deadline = time.monotonic() + 10
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    return processes_of(folder) == []


@pytest.fixture
def running(temporary: Path, notebook: MakeNotebook) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A demo that keeps serving, and what it has written until then."""
    command = [*COMMAND, "demo", "--temp", "--notebook", str(notebook(SMALL))]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    try:
        assert process.stdout is not None
        written = ""
        deadline = time.monotonic() + WAIT_SECONDS
        while "Press Ctrl-C" not in written and time.monotonic() < deadline:
            line = process.stdout.readline()
            assert line, written
            written += line
        yield process, written
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_what_the_quickstart_published_stays_for_the_next_demo_and_a_later_server(
    run: Run, notebook: MakeNotebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the user's own folders. (That the quickstart can be run again, its own test shows.)"""
    folder = tmp_path / "user"
    for kind in ("config", "data", "runtime"):
        monkeypatch.setenv(f"JUPYTER_{kind.upper()}_DIR", str(folder / kind))
    done = run("demo", "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "%%publish_service TxService" in done.stdout
    url = r"http://127\.0\.0\.1:\d+/mlserve/api/TxService/"
    assert re.search(rf"\n  curl -sS -X POST {url}", done.stdout)
    reply = json.loads(done.stdout.splitlines()[-1])
    assert reply["success"] is True
    answer = reply["outputParameters"]["answer"]["am_Pred"]
    assert answer == pytest.approx([0.5332668559970368], abs=1e-12)
    assert (folder / "data" / "mlserve-demo" / "quickstart.ipynb").exists()
    done = run("demo", "--once", "--notebook", str(notebook(SMALL)))
    assert done.returncode == 0, done.stdout + done.stderr
    later = start_server(folder)
    try:
        client = DeployClient(later.url, auth=later.token)
        assert client.get_service("Small").consume(1).output("y") == 2
        answer = client.get_service("TxService", "1.0").consume(120, 2.8).output("answer")
        assert answer["am_Pred"].tolist() == pytest.approx([0.5332668559970368], abs=1e-12)
    finally:
        later.stop()


def test_once_in_temporary_folders(run: Run, notebook: MakeNotebook, temporary: Path) -> None:
    done = run("demo", "--once", "--temp", "--notebook", str(notebook(SMALL)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["outputParameters"] == {"y": 2}
    assert list(temporary.iterdir()) == []
    assert gone(temporary)


def test_ctrl_c_ends_it_and_leaves_nothing(
    running: tuple[subprocess.Popen[str], str], temporary: Path
) -> None:
    process, written = running
    url = re.search(r"http://127\.0\.0\.1:(\d+)/", written)
    token = re.search(r"token +([0-9a-f]{48})", written)
    assert url is not None
    assert token is not None
    client = DeployClient(url[0], auth=token[1])
    assert client.get_service("Small").consume(4).output("y") == 5
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert process.stdout is not None
    assert process.stdout.read() == "\nStopping.\n"
    assert gone(temporary)
    assert list(temporary.iterdir()) == []
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(url[1])), timeout=5)


def test_killed_it_leaves_no_process(
    running: tuple[subprocess.Popen[str], str], temporary: Path
) -> None:
    process, _ = running
    assert processes_of(temporary)
    process.kill()
    process.wait(30)
    assert gone(temporary)


def test_told_to_stop_while_the_notebook_runs(notebook: MakeNotebook, temporary: Path) -> None:
    started = temporary / "started"
    path = notebook([f"open({str(started)!r}, 'w').close()\nimport time; time.sleep(60)"])
    process = subprocess.Popen(
        [*COMMAND, "demo", "--temp", "--notebook", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + WAIT_SECONDS
    while not started.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert err == "Stopped.\n"
    started.unlink()
    assert gone(temporary)
    assert list(temporary.iterdir()) == []


def test_a_notebook_that_fails(run: Run, notebook: MakeNotebook, temporary: Path) -> None:
    done = run("demo", "--once", "--temp", "--notebook", str(notebook(["x = 1", "y = x / 0"])))
    assert done.returncode == 1
    assert "----> 1 y = x / 0" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == (
        "jupyter mlserve: cell 2 of the notebook failed: ZeroDivisionError: division by zero"
    )
    assert list(temporary.iterdir()) == []


def test_a_port_that_is_taken(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("demo", "--temp", "--once", "--port", port)
    message = f"jupyter mlserve: port {port} is not free; choose another, or leave --port out\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_a_server_that_does_not_start(
    run: Run, notebook: MakeNotebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "jupyter_server_config.py").write_text("raise SystemExit('a broken configuration')")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(config))
    done = run("demo", "--once", "--notebook", str(notebook(["1"])))
    assert done.returncode == 1
    assert done.stderr.startswith("jupyter mlserve: the Jupyter server ended by itself (status 1)")
    assert "a broken configuration" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_notebook_that_is_not_there(run: Run) -> None:
    done = run("demo", "--notebook", "/nowhere/x.ipynb")
    assert (done.returncode, done.stderr) == (
        1,
        "jupyter mlserve: there is no notebook /nowhere/x.ipynb\n",
    )
