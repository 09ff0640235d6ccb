"""Console output and the working directory of a call."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from support.worker_process import blob

from .conftest import StartWorker

EVERYBODY = """
import ctypes, os, sys
def f(x):
    print("python")
    print("error", file=sys.stderr)
    os.write(1, b"write\\n")
    os.system("echo child")
    ctypes.CDLL(None).puts(b"C code")
    print("end", end="")
    return x
"""


def console(worker: object, body: dict[str, object]) -> str:
    return str(worker.call(body)[1]["consoleOutput"])  # type: ignore[attr-defined]


def test_output_of_python_c_and_children_in_order(start: StartWorker) -> None:
    worker = start(EVERYBODY)
    expected = "python\nerror\nwrite\nchild\nC code\nend"
    assert console(worker, {"x": 1}) == expected
    assert console(worker, {"x": 2}) == expected


def test_a_silent_call_after_a_loud_one_is_silent(start: StartWorker) -> None:
    worker = start("def f(x):\n    if x: print('loud')\n    return x")
    assert [console(worker, {"x": x}) for x in (1, 0, 1)] == ["loud\n", "", "loud\n"]


@pytest.mark.parametrize(
    "line",
    ["print('x' * 100, end='')", "os.write(1, b'x' * 100)", "sys.stdout.buffer.write(b'x' * 100)"],
)
def test_output_is_cut_with_a_mark(start: StartWorker, line: str) -> None:
    worker = start(
        f"import os, sys\ndef f(x):\n    for i in range(int(x)): {line}", outputs="", console=1000
    )
    assert console(worker, {"x": 10}) == "x" * 1000
    cut = console(worker, {"x": 5000})
    assert cut.startswith("x" * 1000 + "\n... console output was cut here: 1000 bytes")
    assert len(cut) < 1100
    assert console(worker, {"x": 1}) == "x" * 100


def test_a_cut_in_the_middle_of_a_character(start: StartWorker) -> None:
    worker = start("def f(x): print('é' * 10)", outputs="", console=5)
    assert console(worker, {"x": 1}).startswith("éé\ufffd\n... ")


def test_bytes_that_are_no_text(start: StartWorker) -> None:
    worker = start("import os\ndef f(x): os.write(1, b'\\xff\\x00a'); print('\\ud800')", outputs="")
    assert console(worker, {"x": 1}) == "\ufffda\\ud800\n"


@pytest.mark.parametrize(
    "line",
    [
        "import sys; sys.stdout.close()",
        "import sys; sys.stdout = sys.stderr = None",
        "import io, sys; sys.stdout = io.StringIO()",
        "import os; os.close(1); os.close(2)",
        "import os; os.dup2(os.open('/dev/null', os.O_WRONLY), 1)",
        "import os; os.close(1); os.open('other.txt', os.O_CREAT | os.O_WRONLY)",
        "import os; os.ftruncate(1, 0)",
        "import sys; sys.stdout.detach()",
    ],
)
def test_damage_to_the_console_is_repaired(start: StartWorker, line: str) -> None:
    worker = start(f"def f(x):\n    print('hello')\n    if x:\n        {line}\n    return x")
    worker.call({"x": 1})
    assert console(worker, {"x": 0}) == "hello\n"


def test_output_of_threads_between_calls_is_not_the_next_calls(start: StartWorker) -> None:
    code = """
import threading, time
done = threading.Event()
def speak():
    time.sleep(0.05)
    print("late")
    done.set()
def f(x):
    if x:
        threading.Thread(target=speak).start()
    return x
"""
    worker = start(code)
    assert console(worker, {"x": 1}) == ""
    import time

    time.sleep(0.3)
    header, result = worker.call({"x": 0})
    assert result["consoleOutput"] == ""
    assert header["stray"] == "late\n"


def test_the_console_of_a_failed_call_is_in_the_header(start: StartWorker) -> None:
    header, _ = start("def f(x):\n    print('before')\n    1 / 0").call({"x": 1})
    assert header["console"] == "before\n"


# Files


def test_every_call_has_an_empty_directory_with_the_versions_files(
    start: StartWorker, tmp_path: Path
) -> None:
    code = """
import os
def f(x):
    found = sorted(os.listdir("."))
    text = open("lookup.csv").read()
    open("new.txt", "w").write("n")
    os.makedirs("sub/deep")
    open("sub/deep/file", "w").write("n")
    if x == 1: open("lookup.csv", "a").write("!")
    if x == 2: os.remove("lookup.csv")
    if x == 3: os.chmod("sub", 0)
    if x == 4: os.chdir("/")
    if x == 5: os.rename("lookup.csv", "other.csv")
    return [found, text]
"""
    content = b"a,b\n1,2\n"
    worker = start(code, "x: integer", "y: list", files=[blob(tmp_path, "lookup.csv", content)])
    for x in (0, 1, 2, 3, 4, 5, 0):
        _, result = worker.call({"x": x})
        assert result["outputParameters"]["y"] == [["lookup.csv"], content.decode()]
        changed = {"new.txt", "sub/deep/file"}
        changed |= {1: {"lookup.csv"}, 5: {"other.csv"}}.get(x, set())
        if x != 3:
            assert set(result["changedFiles"]) == changed
    assert (tmp_path / blob(tmp_path, "l", content)["sha256"]).read_bytes() == content


def test_a_directory_that_the_call_removed_is_made_again(start: StartWorker) -> None:
    code = """
import os, shutil
def f(x):
    here = os.getcwd()
    if x == 1: shutil.rmtree(here)
    if x == 2: os.rename(here, here + "-moved"); os.symlink("/", here)
    return os.path.basename(here)
"""
    worker = start(code, "x: integer", "y: character")
    for x in (0, 1, 0, 2, 0):
        assert worker.output({"x": x}) == "call"
    assert (worker.directory).is_dir()
    assert not worker.directory.is_symlink()


def test_a_clean_call_is_seen_as_clean_and_an_overwritten_file_as_changed(
    start: StartWorker, tmp_path: Path
) -> None:
    # The same size, written at once after loading: only the times can tell.
    code = "def f(x):\n    if x: open('a.txt', 'w').write('2')\n    return open('a.txt').read()"
    worker = start(code, outputs="y: character", files=[blob(tmp_path, "a.txt", b"1")])
    assert worker.call({"x": 0})[1]["changedFiles"] == []
    for _ in range(3):
        _, result = worker.call({"x": 1})
        assert (result["changedFiles"], result["outputParameters"]["y"]) == (["a.txt"], "2")
        _, result = worker.call({"x": 0})
        assert (result["changedFiles"], result["outputParameters"]["y"]) == ([], "1")


def test_declared_files_come_back_as_base64(start: StartWorker) -> None:
    code = "def f(x):\n    if x: open('answer.csv', 'wb').write(b'a,b\\n\\xff')"
    worker = start(code, outputs="", files_out=["answer.csv", "other.csv"])
    _, result = worker.call({"x": 1})
    data = base64.b64encode(b"a,b\n\xff").decode()
    assert result["outputFiles"] == {"answer.csv": data, "other.csv": None}
    assert result["changedFiles"] == ["answer.csv"]
    assert worker.call({"x": 0})[1]["outputFiles"] == {"answer.csv": None, "other.csv": None}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("os.mkfifo('answer.csv')", "not a regular file"),
        ("os.mkdir('answer.csv')", "not a regular file"),
        ("open('answer.csv', 'wb').write(b'x' * 2000)", "has 2,000 bytes"),
        ("open('answer.csv', 'wb').write(b'x' * 900)", "result_limit"),
    ],
)
def test_declared_files_that_cannot_be_returned(start: StartWorker, line: str, says: str) -> None:
    worker = start(
        f"import os\ndef f(x): {line}", outputs="", files_out=["answer.csv"], result=1000
    )
    header, _ = worker.call({"x": 1})
    assert header["kind"] == "ServiceFailed"
    assert says in header["message"]


def test_a_file_larger_than_the_limit_cannot_be_written(start: StartWorker) -> None:
    worker = start("def f(x): open('big', 'wb').write(b'x' * 10**6)", outputs="", file=10_000)
    header, _ = worker.call({"x": 1})
    assert header["message"].startswith("OSError: [Errno 27]")
    assert worker.call({"x": 1})[0]["status"] == 400


def test_modules_that_travel_as_files_can_be_imported(start: StartWorker, tmp_path: Path) -> None:
    files = [blob(tmp_path, "helper_module.py", b"def twice(x): return 2 * x\n")]
    prelude = [{"source": "import helper_module\n", "names": ["helper_module"]}]
    worker = start("def f(x): return helper_module.twice(x)", prelude=prelude, files=files)
    _, result = worker.call({"x": 2})
    assert result["outputParameters"] == {"y": 4.0}
    assert result["changedFiles"] == []


def test_files_written_while_loading_are_not_in_the_first_call(start: StartWorker) -> None:
    worker = start(
        "import os\ndef f(): return os.listdir('.')", "", "y: list", initCode="open('a', 'w')"
    )
    assert worker.output({}) == []


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/b", "..", "", "a\0b"])
def test_file_names_cannot_leave_the_directory(
    start: StartWorker, tmp_path: Path, name: str
) -> None:
    item = blob(tmp_path, name, b"x")
    loaded = start(files=[item], ok=False).loaded
    assert loaded["status"] == 400
    assert "give a plain name" in loaded["message"]


def test_a_corrupt_file_is_refused(start: StartWorker, tmp_path: Path) -> None:
    item = dict(blob(tmp_path, "a.csv", b"x"), sha256="0" * 64)
    loaded = start(files=[item], ok=False).loaded
    assert loaded["kind"] == "BundleCorrupt"
    assert "the file 'a.csv'" in loaded["message"]
