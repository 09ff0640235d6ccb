"""CSV uploads to records."""

from __future__ import annotations

import csv
import io
import json
import resource
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_mlserve.contract.errors import InvalidInput, TooLarge
from jupyter_mlserve.store.batches.plan import Plan
from jupyter_mlserve.store.batches.split import SplitLimits, split
from jupyter_mlserve.store.batches.text_cells import json_cells

TYPES = ("numeric", "integer", "logical", "character", "datetime")
FRAME = Plan(
    "df",
    [{"name": kind[0], "type": kind} for kind in TYPES],
    [{"name": "df", "type": "data.frame", "optional": False}],
    "answer",
)
ANY = Plan("df", None, FRAME.inputs)
INPUTS = Plan(
    None,
    None,
    [
        {"name": "x", "type": "numeric", "optional": False},
        {"name": "v", "type": "vector", "optional": True},
        {"name": "d", "type": "dict", "optional": True},
        {"name": "b", "type": "bytes", "optional": True},
    ],
)


@pytest.fixture
def cut(tmp_path: Path) -> Any:
    number = iter(range(10_000))

    def run(text: str | bytes, plan: Plan, limits: SplitLimits | None = None) -> list[Any]:
        folder = tmp_path / str(next(number))
        folder.mkdir()
        data = text.encode() if isinstance(text, str) else text
        (folder / "upload").write_bytes(data)
        found = split(folder / "upload", "csv", folder, plan, limits)
        lines = (folder / "input").read_bytes().splitlines()
        assert (found.format, found.total) == ("lines", len(lines))
        return [json.loads(line) for line in lines]

    return run


def test_a_row_is_a_record_in_the_declared_order(cut: Any) -> None:
    text = (
        "\ufeffc,n,i,l,d,answer\r\n"
        '"a, ""b""\nc",1.50,3,TRUE,2024-05-31,9\r\n'
        "\r\n"
        ",,,,,\r\n"
        "007,-1e3,3.0,false,2024-05-31 12:00,\r\n"
    )
    assert cut(text, FRAME) == [
        {"df": {"n": [1.5], "i": [3], "l": [True], "c": ['a, "b"\nc'], "d": ["2024-05-31"]}},
        {"df": {"n": [None], "i": [None], "l": [None], "c": [None], "d": [None]}},
        {"df": {"n": [-1e3], "i": [3.0], "l": [False], "c": ["007"], "d": ["2024-05-31 12:00"]}},
    ]


def test_cells_by_their_declared_type() -> None:
    def one(cell: str, kind: str | None) -> Any:
        (found,) = json_cells([cell], kind)
        # The same beside others, where the quick way does not work.
        assert json.loads(json_cells(["1", cell, ""], kind)[1]) == json.loads(found)
        assert b"\n" not in found
        return json.loads(found)

    for kind in ("numeric", "integer"):
        numbers = {"1": 1, " 2 ": 2, "+3": 3, ".5": 0.5, "5.": 5, "007": 7, "-0": 0, "1E2": 100}
        numbers |= {"8\n": 8, "\r\n9": 9}
        assert {text: one(text, kind) for text in numbers} == numbers
        assert [one(text, kind) for text in ("", " ", "NA", "NaN", "nan", "null")] == [None] * 6
        for text in ("abc", "1,5", "1_000", "inf", "0x10", ".", "-", "e5", "١", "1 2", "true"):
            assert one(text, kind) == text
        assert json_cells(["9" * 5000], kind) == [b"9" * 5000]
        assert json_cells(["123456789012345678901.10"], kind) == [b"123456789012345678901.10"]
    truths = {"true": True, "False": False, " TRUE ": True, "1": "1", "yes": "yes", "NA": None}
    assert {text: one(text, "logical") for text in truths} == truths
    assert [one(text, "character") for text in ("", "NA", "1", " a ")] == [None, "NA", "1", " a "]
    guesses = {"1.5": 1.5, "007": "007", "": None, "NA": None, "True": True, "x": "x", "+1": "+1"}
    guesses |= {" 2\n": 2, " ": None}
    assert {text: one(text, None) for text in guesses} == guesses
    nested = {
        "[1, 2]": [1, 2],
        '{"a":\n1}': {"a": 1},
        "": None,
        "null": None,
        "[1": "[1",
        "NaN": "NaN",
    }
    assert {text: one(text, "dict") for text in nested} == nested


def test_quick_numbers_are_not_confused_by_commas() -> None:
    # As many numbers as cells, but not one in each.
    assert json_cells(["1,2", "", "3"], "numeric") == [b'"1,2"', b"null", b"3"]
    assert json_cells(["1,2", " ", "3"], None) == [b'"1,2"', b"null", b"3"]
    assert json_cells(["[1", "2]"], "numeric") == [b'"[1"', b'"2]"']


def test_columns_are_inputs_where_there_are_several(cut: Any) -> None:
    text = 'd,x,v\n"{""a"": [1]}",1,"[1,2]"\n,2,\n{,z,x\n'
    assert cut(text, INPUTS) == [
        {"x": 1, "v": [1, 2], "d": {"a": [1]}},
        {"x": 2, "v": None, "d": None},
        {"x": "z", "v": "x", "d": "{"},
    ]


def test_any_columns_where_none_are_declared(cut: Any) -> None:
    assert cut('b,a %b,"c,"\n1,x,\n2.5,y,true\n', ANY) == [
        {"df": {"b": [1], "a %b": ["x"], "c,": [None]}},
        {"df": {"b": [2.5], "a %b": ["y"], "c,": [True]}},
    ]


def test_what_pandas_writes(cut: Any) -> None:
    frame = pd.DataFrame(
        {
            "n": [1.5, None, 1e-300],
            "i": [1, 2, 3],
            "l": [True, False, True],
            "c": ["a", 'b"\n', None],
            "d": pd.to_datetime(["2024-01-01", None, "2024-01-02 03:04:05.678"], format="ISO8601"),
        }
    )
    found = cut(frame.to_csv(index=False), FRAME)
    assert [record["df"]["n"] for record in found] == [[1.5], [None], [1e-300]]
    assert [record["df"]["l"] for record in found] == [[True], [False], [True]]
    assert [record["df"]["c"] for record in found] == [["a"], ['b"\n'], [None]]
    assert found[2]["df"]["d"] == ["2024-01-02 03:04:05.678"]


@pytest.mark.parametrize(
    ("text", "plan", "said"),
    [
        ("", FRAME, "a header line with the names of the columns, got nothing"),
        ("n,i,l,c,d\n", FRAME, "no records"),
        ("n,i,l,c\n1,2,3,4\n", FRAME, "df.d: expected this column, got none of this name."),
        ("n,i,l,c,D\n1,2,3,4,5\n", FRAME, "(but 'D', which is not declared)"),
        (
            "n,i,l,c,d,z\n1,2,3,4,5,6\n",
            FRAME,
            "The column 'z' of df is not declared; the columns are n",
        ),
        (",n,i,l,c,d\n1,2,3,4,5,6\n", FRAME, "The column '' of df is not declared"),
        ("n,n,i,l,c,d\n1,2,3,4,5,6\n", FRAME, "df.n: expected columns that differ in name"),
        ("n;i;l;c;d\n1;2;3;4;5\n", FRAME, "(but 'n;i;l;c;d', which is not declared)"),
        ("v,d\n1,2\n", INPUTS, "x: expected this input, got none of this name"),
        ("x,q\n1,2\n", INPUTS, "The input 'q' is not declared; the inputs are x, v, d, b."),
        ("a\n1\n", Plan(None, None, []), "the service has no inputs"),
        (
            "a,b\n1,2\n3\n",
            ANY,
            "Record 1 of the upload: expected 2 cells, as the header has, got 1",
        ),
        ("a,b\n1,2\n3,4,5\n", ANY, "got 3 (line 3)"),
        ('a,b\n1,"2\n3,4\n', ANY, "Record 0 of the upload: expected CSV"),
        ('a,b\n1,"2"3\n', ANY, "expected CSV"),
        ("a,b\r1,2\r3,4\r", ANY, "expected CSV"),
        (b"a\n1\n\xff\n", ANY, "Record 1 of the upload: expected text in UTF-8, got the byte 0xff"),
        (b"a\n1\0\n", ANY, "a NUL character"),
        ("a,b\n1,2\n".encode("utf-16"), ANY, "text in UTF-16"),
        (",".join(f"c{n}" for n in range(10_000)) + "\n", ANY, "at most 4,096 columns, got 10,000"),
        (",".join(f"c{n}" for n in range(10_000)) + "\n", FRAME, "at most 4,096 columns"),
        ("x" * 1000 + "\n1\n", ANY, "names of columns of at most 256 characters"),
    ],
)
def test_uploads_that_are_no_table(cut: Any, text: str | bytes, plan: Plan, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        cut(text, plan)
    assert said in caught.value.message
    assert {"field", "expected", "got"} <= caught.value.details.keys()


def test_limits(cut: Any) -> None:
    rows = "a,b\n" + "1,2\n" * 10
    assert len(cut(rows, ANY, SplitLimits(records=10))) == 10
    with pytest.raises(TooLarge, match="more than 9 records"):
        cut(rows, ANY, SplitLimits(records=9))
    for text in (
        "a\n" + "x" * 5000,
        'a\n"' + "x\n" * 2500 + '"',
        "a\n1\n" + ",\n" * 0 + "y" * 5000,
    ):
        with pytest.raises(InvalidInput, match="at most 1,000 bytes"):
            cut(text, ANY, SplitLimits(line=1000))


def test_few_bytes_do_not_become_many(cut: Any) -> None:
    names = ",".join(f"{n:0256d}" for n in range(4096))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLarge, match="more than 50,000,000 bytes"):
        cut(names + "\n" + ("," * 4095 + "\n") * 2000, ANY, SplitLimits(output=50_000_000))
    # Kilobytes. As lines these would be more than two gigabytes.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(texts, st.floats(allow_nan=False), texts), min_size=1, max_size=6))
def test_what_was_written_is_read(cut: Any, rows: list[tuple[str, float, str]]) -> None:
    plan = Plan(
        "df",
        [
            {"name": "a", "type": "character"},
            {"name": "x", "type": "numeric"},
            {"name": "b", "type": "character"},
        ],
        FRAME.inputs,
    )
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["a", "x", "b"])
    writer.writerows(rows)
    expected = [
        {"df": {"a": [a or None], "x": [str(x) if x - x else x], "b": [b or None]}}
        for a, x, b in rows
    ]
    assert cut(file.getvalue(), plan) == expected
