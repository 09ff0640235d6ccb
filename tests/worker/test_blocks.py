"""Blocks: many records in one frame, each of them a call of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import StartWorker
from .test_interpreters import environment, interpreters

Json = dict[str, Any]

BUSY_CODE = """
import os, sys, time
count = 0
def f(x):
    global count
    count += 1
    os.environ["LEFT"] = "behind"
    found = os.path.exists("more.txt")
    if x == 1:
        print("hello")
    if x == 2:
        open("out.txt", "w").write("two")
        open("more.txt", "w").write("more")
    if x == 3:
        print("before it fails")
        raise ValueError("three")
    if x == 4:
        return "text"
    if x == 5:
        sys.exit(1)
    return count + found + ("LEFT" in os.environ and count > 1)
"""
# Hostile lines among good ones; each is a record.
HOSTILE = [
    b"",
    b"{",
    b"nonsense",
    b"[1]",
    b'{"x": 1e999}',
    b'{"x": NaN}',
    b'{"x": ' + b"9" * 100_000 + b"}",
    b'{"x": "\\ud800"}',
    b'{"x": "\xff"}',
    b"[" * 100_000,
    b'{"x": ' * 50_000,
    b'{"x": 1, "y": 2}',
    b'{"x": true}',
    b'{"x": 1}{"x": 1}',
    b"\x00",
]


def test_each_record_is_a_call_of_its_own(start: StartWorker) -> None:
    worker = start(BUSY_CODE, files_out=["out.txt"])
    header, results = worker.block([{"x": x} for x in (0, 1, 2, 3, 4, 5, 0)], owner=True)
    assert header == {"status": 200, "done": 7, "failed": 3}
    assert [result["success"] for result in results] == [True] * 3 + [False] * 3 + [True]
    # Nothing is left to the next record: neither variables nor files.
    assert [r["outputParameters"] for r in results if r["success"]] == [{"y": 1}] * 4
    assert results[1]["consoleOutput"] == "hello\n"
    assert results[2]["outputFiles"] == {"out.txt": "dHdv"}
    assert results[2]["changedFiles"] == ["more.txt", "out.txt"]
    assert results[6]["outputFiles"] == {"out.txt": None}
    failed = results[3]
    assert (failed["code"], failed["exceptionType"]) == (400, "ServiceFailed")
    assert failed["message"] == failed["errorMessage"] == "ValueError: three"
    assert failed["consoleOutput"] == "before it fails\n"
    assert 'raise ValueError("three")' in failed["details"]["traceback"]
    assert "the output 'y' is declared float" in results[4]["message"]
    assert "sys.exit(1)" in results[5]["message"]
    # Single calls go on as before.
    assert worker.output({"x": 0}) == 1


def test_only_owners_get_tracebacks(start: StartWorker) -> None:
    worker = start("def f(x): return 1 / x")
    for owner in (False, True):
        _, (result,) = worker.block([{"x": 0}], owner=owner)
        assert ("traceback" in result.get("details", {})) is owner
        assert (
            result["message"] == "ZeroDivisionError: float division by zero"
            or owner
            or ("division" in result["message"])
        )


def test_hostile_lines_fail_alone(start: StartWorker) -> None:
    worker = start()
    lines: list[Any] = []
    for line in HOSTILE:
        lines += [line, {"x": len(lines)}]
    header, results = worker.block(lines)
    assert header == {"status": 200, "done": len(lines), "failed": len(HOSTILE)}
    for number, result in enumerate(results):
        if number % 2:
            assert result["outputParameters"] == {"y": number}
            continue
        assert (result["code"], result["exceptionType"]) == (400, "InvalidInput")
        # The words are those of a single call.
        single, _ = worker.call(lines[number])
        details = {key: single[key] for key in ("field", "expected", "got")}
        assert result["details"] == details
        assert result["fields"] == single["field"]
        assert result["message"] == single["message"]


def test_a_huge_record_is_a_record(start: StartWorker) -> None:
    worker = start("def f(x): return len(x)", "x: character", "y: integer")
    header, results = worker.block([{"x": "a" * 5_000_000}, {"x": "b"}])
    assert header["done"] == 2
    assert [r["outputParameters"]["y"] for r in results] == [5_000_000, 1]


def test_the_budget_ends_a_block_and_the_first_record_is_always_done(start: StartWorker) -> None:
    worker = start("import time\ndef f(x):\n    time.sleep(x)\n    return x")
    begun = time.perf_counter()
    header, results = worker.block([{"x": 0.1}] * 50, budget=0.25)
    assert time.perf_counter() - begun < 1
    assert 1 <= header["done"] <= 4
    assert len(results) == header["done"]
    header, results = worker.block([{"x": 0}] * 5, budget=0)
    assert header["done"] == len(results) == 1


def test_a_large_reply_ends_a_block(start: StartWorker) -> None:
    worker = start("def f(x): return 'a' * int(x)", outputs="y: character", result=2_000_000)
    sizes = [900_000, 900_000, 900_000, 10]
    header, _ = worker.block([{"x": x} for x in sizes])
    assert header["done"] == 3
    # The limit of a single reply holds for each record.
    header, results = worker.block([{"x": 3_000_000}, {"x": 10}])
    assert (header["done"], header["failed"]) == (2, 1)
    assert "result_limit" in results[0]["message"]


def test_a_record_that_runs_out_of_memory_ends_block_and_worker(start: StartWorker) -> None:
    worker = start(
        "def f(x): return len(bytearray(int(x)))",
        memory=300 * 1024**2,
        out_of_memory="no memory, says the node",
    )
    header, results = worker.block([{"x": 1}, {"x": 10**9}, {"x": 1}])
    assert header == {"status": 200, "done": 2, "failed": 1, "retire": True}
    assert (results[1]["code"], results[1]["exceptionType"]) == (500, "WorkerLost")
    assert results[1]["message"] == "no memory, says the node"


def test_what_threads_print_between_records_is_no_record_s(start: StartWorker) -> None:
    code = """
import threading, time
def late():
    time.sleep(0.3)
    print("late", flush=True)
def f(x):
    if x == 0:
        threading.Thread(target=late).start()
    return x
"""
    worker = start(code)
    assert worker.block([{"x": 0}])[1][0]["consoleOutput"] == ""
    time.sleep(0.6)
    header, (result,) = worker.block([{"x": 1}])
    assert header["stray"] == "late\n"
    assert result["consoleOutput"] == ""


def test_records_without_inputs(start: StartWorker) -> None:
    worker = start("def f(): return 7", "")
    header, results = worker.block([{}, b"", {}, {"x": 1}])
    assert [r["success"] for r in results] == [True, True, True, False]
    assert header["failed"] == 1


@pytest.mark.parametrize("interpreter", interpreters()[:1] + interpreters()[-1:])
def test_blocks_under_other_pythons(start: StartWorker, tmp_path: Path, interpreter: str) -> None:
    code = "def f(x):\n    if x == 1: raise ValueError('one')\n    return x + 1"
    worker = start(code, interpreter=interpreter, env=environment(tmp_path))
    # There is nothing here that could tell the threads of libraries.
    header, results = worker.block([{"x": 0}, {"x": 1}, b"{", {"x": 2}], threads=1)
    assert header == {"status": 200, "done": 4, "failed": 2}
    assert [r["outputParameters"] for r in results] == [{"y": 1}, {}, {}, {"y": 3}]


def test_without_pyarrow_an_arrow_stream_is_refused(start: StartWorker, tmp_path: Path) -> None:
    interpreter = interpreters()[0]
    env = environment(tmp_path)
    if os.path.realpath(interpreter) == os.path.realpath(sys.executable):
        pytest.skip("there is no interpreter without pyarrow")
    worker = start(interpreter=interpreter, env=env)
    header, _ = worker.ask({"op": "arrow"}, b"anything")
    assert (header["status"], header["kind"]) == (415, "UnsupportedMedia")
    assert "pyarrow" in header["message"]


def test_threads_of_libraries_are_fewer_during_a_block_only(start: StartWorker) -> None:
    pytest.importorskip("threadpoolctl")
    code = """
import numpy
from threadpoolctl import threadpool_info
def f(x):
    if x:
        raise ValueError(x)
    return max(each["num_threads"] for each in threadpool_info())
"""
    worker = start(code, env={**os.environ, "OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "3"})

    def of_a_block(threads: int) -> Any:
        header, results = worker.block([{"x": 1}, {"x": 0}], threads=threads)
        assert header["failed"] == 1
        return results[1]["outputParameters"]["y"]

    whole = worker.output({"x": 0})
    assert whole >= 1
    # Never more than there were, which may be what somebody has set.
    assert [of_a_block(n) for n in (0, 1, 2, 1000)] == [whole, 1, min(2, whole), whole]
    assert worker.output({"x": 0}) == whole


def test_a_trivial_record_costs_little(start: StartWorker) -> None:
    """About 13 microseconds with the call itself; the bound allows for a busy machine."""
    worker = start()
    body = b"\n".join(b'{"x": %d}' % number for number in range(5000))
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        header, results = worker.ask({"op": "block", "budget": 60.0}, body)
        best = min(best, time.perf_counter() - begun)
        assert header["done"] == 5000
    assert json.loads(results.splitlines()[-1])["outputParameters"] == {"y": 5000}
    assert best / 5000 < 60e-6
