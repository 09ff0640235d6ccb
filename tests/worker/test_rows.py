"""Records that are put together into one frame: the answers are those of single calls."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.worker_process import RunningWorker

from .conftest import StartWorker

Json = dict[str, Any]

COLUMNS = [
    {"name": "n", "type": "numeric"},
    {"name": "i", "type": "integer", "nullable": True},
    {"name": "s", "type": "character"},
    {"name": "b", "type": "logical"},
    {"name": "d", "type": "datetime"},
]
SCHEMA = [{"name": "df", "type": "data.frame", "columns": COLUMNS}]
ANY = [{"name": "df", "type": "data.frame"}]
OUT = [{"name": "r", "type": "data.frame"}]
# Says how many calls there were, by a file outside of the working directory.
COUNTED = """
import pandas as pd
def f(df):
    with open({log!r}, "a") as log:
        log.write(f"{{len(df)}}\\n")
    {body}
"""


def one(**cells: Any) -> Json:
    return {"df": {name: [cell] for name, cell in cells.items()}}


def plain(records: list[Any], worker: RunningWorker, **more: Any) -> list[Json]:
    header, results = worker.block(records, rows=False, **more)
    assert header["done"] == len(records)
    return results


def together(records: list[Any], worker: RunningWorker, **more: Any) -> list[Json]:
    header, results = worker.block(records, rows=True, **more)
    assert header["done"] == len(records)
    assert header["failed"] == sum(not result["success"] for result in results)
    return results


def test_records_are_scored_in_one_call(start: StartWorker, tmp_path: Any) -> None:
    log = tmp_path / "log"
    code = COUNTED.format(log=str(log), body="return df.assign(z=df['a'] * 2)")
    columns = [{"name": "a", "type": "numeric"}]
    worker = start(code, [{"name": "df", "type": "data.frame", "columns": columns}], OUT)
    records = [one(a=float(i)) for i in range(100)]
    results = together(records, worker)
    assert log.read_text() == "100\n"
    assert [r["outputParameters"]["r"] for r in results] == [
        {"a": [float(i)], "z": [2.0 * i]} for i in range(100)
    ]
    assert results == plain(records, worker)


def test_groups_grow_with_what_a_record_takes(start: StartWorker, tmp_path: Any) -> None:
    log = tmp_path / "log"
    body = "import time; time.sleep(0.001 * len(df)); return df"
    code = COUNTED.format(log=str(log), body=body)
    worker = start(code, ANY, OUT)
    begun = time.perf_counter()
    header, _ = worker.block([one(a=1)] * 10_000, rows=True, budget=0.4)
    assert time.perf_counter() - begun < 2
    assert 128 <= header["done"] < 2000
    assert max(map(int, log.read_text().split())) < 1000


def test_records_of_several_rows_and_a_vector(start: StartWorker) -> None:
    worker = start("def f(df): return df['a'] * 10", ANY, "y: vector")
    records = [
        {"df": {"a": [1, 2, 3]}},
        {"df": {"a": [4]}},
        {"df": [{"a": 5}, {"a": 6}]},
        {"df": {"a": [7]}},
        {"df": {"a": []}},
    ]
    results = together(records, worker)
    assert [r["outputParameters"] for r in results[:4]] == [
        {"y": [10, 20, 30]},
        {"y": [40]},
        {"y": [50, 60]},
        {"y": [70]},
    ]
    assert results == plain(records, worker)


def test_bad_records_fail_alone(start: StartWorker, tmp_path: Any) -> None:
    log = tmp_path / "log"
    body = "assert not (df['a'] == 13).any(), 'thirteen'; return df * 2"
    code = COUNTED.format(log=str(log), body=body)
    columns = [{"name": "a", "type": "numeric"}]
    worker = start(code, [{"name": "df", "type": "data.frame", "columns": columns}], OUT)
    records: list[Any] = [one(a=float(i)) for i in range(200)]
    records[13] = one(a=0.5)
    records[5] = one(a="text")
    records[50] = b"{not json"
    records[77] = one(b=1.0)
    records[90] = {"df": {"a": [1], "b": [2]}}
    records[120] = {"df": None}
    records[121] = {"other": 1}
    records[150] = one(a=13)
    records[199] = {"df": {"a": [1, "x"]}}
    results = together(records, worker)
    calls = len(log.read_text().split())
    assert calls < 60  # not one for each record
    assert results == plain(records, worker)
    assert {i for i, r in enumerate(results) if not r["success"]} == {
        5, 50, 77, 90, 120, 121, 150, 199
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        "return df.head(1)",
        "return pd.concat([df, df])",
        "return None",
        "return df['a'] if len(df) == 1 else {'a': [1], 'b': [1, 2]}",
        "raise ValueError(len(df))",
        "return 'text'",
    ],
)
def test_a_function_that_does_not_answer_each_row_is_called_one_by_one(
    start: StartWorker, tmp_path: Any, body: str
) -> None:
    code = COUNTED.format(log=str(tmp_path / "log"), body=body)
    worker = start(code, ANY, OUT)
    records = [one(a=float(i)) for i in range(9)]
    assert together(records, worker) == plain(records, worker)


def test_the_budget_holds_when_records_are_called_one_by_one(start: StartWorker) -> None:
    code = "import time\ndef f(df):\n    time.sleep(0.02)\n    raise ValueError('no')"
    worker = start(code, ANY, OUT)
    begun = time.perf_counter()
    header, results = worker.block([one(a=1)] * 1000, rows=True, budget=0.3)
    assert time.perf_counter() - begun < 1.5
    assert 1 <= header["done"] == len(results) < 100


def test_console_and_files_of_a_group_are_with_its_first_record(start: StartWorker) -> None:
    code = "def f(df):\n    print(len(df))\n    open('x', 'w').close()\n    return df"
    worker = start(code, ANY, OUT)
    results = together([one(a=i) for i in range(10)], worker)
    assert [r["consoleOutput"] for r in results] == ["10\n"] + [""] * 9
    assert [r["changedFiles"] for r in results] == [["x"]] + [[]] * 9
    assert [r["outputParameters"]["r"]["a"] for r in results] == [[i] for i in range(10)]


def test_other_services_are_called_one_by_one(start: StartWorker) -> None:
    worker = start()
    assert [r["outputParameters"]["y"] for r in together([{"x": 1}, {"x": 2}], worker)] == [2, 3]


ECHO = """
def f(df):
    return {c: [None if v is None or v != v else (v.isoformat() if hasattr(v, "isoformat") else v)
                for v in df[c].astype(object).tolist()] for c in df.columns} | {
        "dtype": [",".join(f"{c}:{t}" for c, t in df.dtypes.items() if c != "d")] * len(df)}
"""
texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from('%s,"\\[]{}\n'), max_size=6
)
cells = {
    "n": st.none() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, width=64),
    "i": st.none() | st.integers(-(2**63), 2**63 - 1) | st.just(3.0),
    "s": st.none() | texts,
    "b": st.booleans(),
    "d": st.sampled_from(["2024-05-31", "2024-05-31T12:00:00.25"]),
}
wrong = st.sampled_from([None, "x", 1.5, True, [], {}, 10**40])


@st.composite
def records_of(draw: Any, typed: bool) -> list[Json]:
    records = []
    names = list(cells) if typed else ["n", "s", "b"]
    for _ in range(draw(st.integers(4, 12))):
        rows = draw(st.sampled_from([1, 1, 1, 2, 0]))
        frame = {c: draw(st.lists(cells[c], min_size=rows, max_size=rows)) for c in names}
        if draw(st.integers(0, 9)) == 0:
            frame[draw(st.sampled_from(names))] = [draw(wrong)] * draw(st.integers(0, 2))
        records.append({"df": frame})
    return records


@pytest.mark.parametrize("typed", [True, False])
def test_merged_records_answer_as_single_ones(start: StartWorker, typed: bool) -> None:
    # What the function sees of the types is part of its answer.
    worker = start(ECHO, SCHEMA if typed else ANY, OUT)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(records_of(typed))
    def check(records: list[Json]) -> None:
        assert together(records, worker) == plain(records, worker)

    check()


def test_names_with_percent_signs_and_quotes(start: StartWorker) -> None:
    worker = start("def f(df): return df.rename(columns={'a': 'x%s \"é'})", ANY, OUT)
    records = [one(a=f"{i}%d") for i in range(8)]
    results = together(records, worker)
    assert results == plain(records, worker)
    assert json.dumps(results[3]["outputParameters"]["r"]) == json.dumps({'x%s "é': ["3%d"]})


def test_a_script_takes_rows_too(start: StartWorker) -> None:
    worker = start("r = df * 2", ANY, OUT, None)
    results = together([one(a=i) for i in range(6)], worker)
    assert [r["outputParameters"]["r"]["a"] for r in results] == [[2 * i] for i in range(6)]


def test_what_was_not_proven_is_looked_at_once(start: StartWorker, tmp_path: Any) -> None:
    """The first record, alone: one that depends on the others makes all be called one by one."""
    log = tmp_path / "log"
    records = [one(a=float(i)) for i in range(300)]
    columns = [{"name": "df", "type": "data.frame", "columns": [{"name": "a", "type": "numeric"}]}]
    honest = start(COUNTED.format(log=str(log), body="return df * 2"), columns, OUT, prove=True)
    for _ in range(2):
        assert [r["outputParameters"]["r"]["a"] for r in together(records, honest)] == [
            [2.0 * i] for i in range(300)
        ]
    assert log.read_text().split() == ["128", "1", "172", "128", "172"]

    log.unlink()
    code = COUNTED.format(log=str(log), body="return df - df.mean()")
    other = start(code, columns, OUT, prove=True)
    header, results = other.block(records, rows=True)
    assert "one by one" in header["stray"]
    assert (header["done"], header["failed"]) == (300, 0)
    assert {r["outputParameters"]["r"]["a"][0] for r in results} == {0.0}
    assert together(records, other) == results
    assert log.read_text().split() == ["128", *["1"] * 601]


def test_what_fails_alone_is_told_once(start: StartWorker) -> None:
    code = "def f(df):\n    if len(df) == 1: raise ValueError('alone')\n    return df"
    worker = start(code, ANY, OUT, prove=True)
    results = together([one(a=1.0)] * 10, worker)
    assert [r["errorMessage"] for r in results] == ["ValueError: alone"] * 10
