"""Files that travel with a service."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from support.capturing import Kernel, item

from jupyter_mlserve.contract.errors import InvalidName
from jupyter_mlserve.notebook.capture import spool

NUMBER = {"inputs": [], "outputs": "y: float"}


def test_files_are_read_hashed_and_named_by_their_last_part(kernel: Kernel, tmp_path: Path) -> None:
    (kernel.folder / "data").mkdir()
    (kernel.folder / "data" / "a.csv").write_text("1")
    (tmp_path / "b.csv").write_text("22")
    os.symlink(tmp_path / "b.csv", kernel.folder / "c.csv")
    capture = kernel.capture(
        "y = sum(int(open(n).read()) for n in ('a.csv', 'b.csv', 'c.csv'))\n",
        files=["data/a.csv", tmp_path / "b.csv", "c.csv"],
        **NUMBER,
    )
    files = capture.body["mlserve"]["files"]
    assert files == [
        {"name": "a.csv", "sha256": hashlib.sha256(b"1").hexdigest(), "size": 1},
        {"name": "b.csv", "sha256": hashlib.sha256(b"22").hexdigest(), "size": 2},
        {"name": "c.csv", "sha256": hashlib.sha256(b"22").hexdigest(), "size": 2},
    ]
    assert capture.size == 3
    assert kernel.call(capture, {}) == [{"y": 45.0}]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere.csv", "no such file"),
        ("folder", "folder"),
        ("pipe", "no regular file"),
        ("large.bin", "are allowed"),
        (".hidden", "not a valid file name"),
        ("folder/a.csv", "has the same name"),
    ],
)
def test_files_that_cannot_travel_are_refused(kernel: Kernel, path: str, reason: str) -> None:
    (kernel.folder / "folder").mkdir()
    os.mkfifo(kernel.folder / "pipe")
    for name, size in (("a.csv", 1), ("folder/a.csv", 1), ("large.bin", 3000), (".hidden", 1)):
        (kernel.folder / name).write_bytes(b"x" * size)
    capture = kernel.capture("y = 1.0\n", files=["a.csv", path], file_limit=2000, **NUMBER)
    (refused,) = capture.refused
    assert (refused.name, refused.kind) == (path, "file")
    assert reason in refused.reason
    assert refused.advice
    assert [file["name"] for file in capture.body["mlserve"]["files"]] == ["a.csv"]


def test_files_count_against_the_total(kernel: Kernel) -> None:
    for name in ("a", "b"):
        (kernel.folder / name).write_bytes(b"x" * 600)
    capture = kernel.capture("y = 1.0\n", files=["a", "b"], total_limit=1000, **NUMBER)
    assert [each.name for each in capture.refused] == ["b"]


def test_large_blobs_are_files(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SPOOL_BYTES", 10_000)
    monkeypatch.setattr("jupyter_mlserve.notebook.capture.files.SPOOL_BYTES", 10_000)
    (kernel.folder / "big.bin").write_bytes(b"x" * 20_000)
    kernel("table = list(range(20_000))\nodd = [lambda: 3, 'x' * 30_000]\n")
    capture = kernel.capture(
        "y = table[-1] + odd[0]() + len(odd[1]) + len(open('big.bin').read())\n",
        files=["big.bin"],
        **NUMBER,
    )
    paths = [blob for blob in capture.blobs.values() if isinstance(blob, Path)]
    assert len(paths) == 3
    for digest, path in capture.blobs.items():
        assert isinstance(path, Path)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert kernel.call(capture, {}) == [{"y": 19_999 + 3 + 30_000 + 20_000.0}]
    temporary = [path for path in paths if path.name != "big.bin"]
    capture.close()
    capture.close()
    assert not any(path.exists() for path in temporary)
    assert (kernel.folder / "big.bin").exists()


def test_temporary_files_go_with_the_capture(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SPOOL_BYTES", 1000)
    kernel("table = list(range(20_000))\n")
    capture = kernel.capture("y = table[-1]\n", **NUMBER)
    (path,) = capture.blobs.values()
    assert isinstance(path, Path)
    assert path.exists()
    del capture
    assert not path.exists()


def test_much_data_is_a_warning(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_mlserve.notebook.capture.packing._LARGE", 10_000)
    kernel("small = [1]\nlarge = b'x' * 20_000\n")
    capture = kernel.capture("y = len(small) + len(large)\n", **NUMBER)
    assert capture.warnings == ["20 kB travel with the service; the largest part is large (20 kB)."]


def test_artifacts_must_be_file_names(kernel: Kernel) -> None:
    capture = kernel.capture("y = 1.0\n", artifacts=["a.csv", "a.csv"], **NUMBER)
    assert capture.body["outputFileNames"] == ["a.csv"]
    with pytest.raises(InvalidName):
        kernel.capture("y = 1.0\n", artifacts=["../a"], **NUMBER)


def test_the_report_reads_well(kernel: Kernel) -> None:
    kernel("import math\nmodel = {'a': 1.0}\ndef f(v):\n    return v\n")
    (kernel.folder / "a.csv").write_text("1")
    capture = kernel.capture("y = f(math.pi) * model['a']\n", files=["a.csv"], **NUMBER)
    size = item(capture, "model").size
    assert [str(each) for each in capture.report] == [
        "math: captured, import math.",
        "f: captured, 23 B, function, 2 lines.",
        f"model: captured, dict, {size} B.",
        "a.csv: captured, 1 B, in every call's folder.",
    ]
