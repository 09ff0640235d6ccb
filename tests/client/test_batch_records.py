"""The records of a batch before they are sent: what is taken, what is refused and how, the body."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jupyter_mlserve.client import batch_upload
from jupyter_mlserve.client.batch_records import Wanted, records_of
from jupyter_mlserve.client.batch_upload import ARROW_ROWS, Upload, upload_of
from jupyter_mlserve.client.misuse import WrongCall
from jupyter_mlserve.contract.batch import CSV, LINES, PARQUET
from jupyter_mlserve.contract.errors import InvalidInput
from jupyter_mlserve.contract.realtime_schemas import ARROW

HP, WT = {"name": "hp", "type": "numeric"}, {"name": "wt", "type": "numeric"}
CARS = [{"hp": 110.0, "wt": 2.62}, {"hp": 93.0, "wt": 2.32}]


def wanted(*inputs: dict[str, Any], **more: Any) -> Wanted:
    definition = {"name": "Tx", "version": "1.0", "runtimeType": "Python"}
    return Wanted.of({**definition, "inputParameterDefinitions": list(inputs), **more})


def frame(*columns: dict[str, Any], **own: Any) -> Wanted:
    param: dict[str, Any] = {"name": "df", "type": "data.frame"}
    if columns:
        param["columns"] = list(columns)
    return wanted(param, mlserve=own)


TX = wanted(HP, WT)


def lines(upload: Upload) -> list[Any]:
    assert upload.media == LINES
    body = b"".join(upload.content())
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.splitlines()]


@pytest.mark.parametrize(
    "records",
    [
        pd.DataFrame(CARS),
        pd.DataFrame(CARS)[["wt", "hp"]],
        pd.DataFrame(CARS, index=["a", "b"]),
        pd.DataFrame([[110.0, 2.62], [93.0, 2.32]]),
        np.array([[110.0, 2.62], [93.0, 2.32]]),
        pa.Table.from_pylist(CARS),
        {"hp": [110.0, 93.0], "wt": [2.62, 2.32]},
        {"hp": np.array([110.0, 93.0]), "wt": pd.Series([2.62, 2.32], index=[7, 8])},
        pd.DataFrame(CARS).to_dict(),
        CARS,
        tuple(CARS),
        [{"hp": np.float64(110), "wt": 2.62}, {"wt": 2.32, "hp": 93}],
    ],
    ids=lambda value: type(value).__name__,
)
def test_records_come_in_many_forms(records: Any) -> None:
    upload = upload_of(records, TX)
    assert lines(upload) == CARS
    assert upload.rows == 2
    assert upload.sent == 1.0


def test_one_record_is_a_batch_of_one() -> None:
    assert lines(upload_of(CARS[0], TX)) == CARS[:1]


def test_the_index_of_a_frame_is_kept() -> None:
    assert list(upload_of(pd.DataFrame(CARS, index=["a", "b"]), TX).index) == ["a", "b"]
    assert upload_of(CARS, TX).index is None


def test_missing_values_are_null_and_numbers_stay_what_they_are() -> None:
    table = pd.DataFrame({"n": [1, None], "x": [math.nan, 2.5], "t": ["ä", None]})
    kinds = wanted(
        {"name": "n", "type": "integer"},
        {"name": "x", "type": "numeric"},
        {"name": "t", "type": "character"},
    )
    assert lines(upload_of(table, kinds)) == [
        {"n": 1, "x": None, "t": "ä"},
        {"n": None, "x": 2.5, "t": None},
    ]
    assert type(lines(upload_of(table, kinds))[0]["n"]) is int


def test_values_that_are_not_numbers_or_texts() -> None:
    inputs = [
        {"name": "when", "type": "datetime"},
        {"name": "v", "type": "vector"},
        {"name": "m", "type": "matrix"},
        {"name": "d", "type": "dict"},
        {"name": "b", "type": "bytes"},
        {"name": "f", "type": "data.frame"},
    ]
    record = {
        "when": dt.datetime(2026, 1, 2, 3, 4, 5),
        "v": np.array([1.0, math.nan]),
        "m": np.eye(2),
        "d": {"a": np.int64(1)},
        "b": b"\x00\xff",
        "f": pd.DataFrame({"a": [1, 2]}),
    }
    sent = {
        "when": "2026-01-02T03:04:05",
        "v": [1.0, None],
        "m": [[1.0, 0.0], [0.0, 1.0]],
        "d": {"a": 1},
        "b": "AP8=",
        "f": {"a": [1, 2]},
    }
    assert lines(upload_of([record, record], wanted(*inputs))) == [sent, sent]
    table = pd.DataFrame({name: [value, value] for name, value in record.items()})
    assert lines(upload_of(table, wanted(*inputs))) == [sent, sent]


def test_optional_inputs_may_be_left_out() -> None:
    some = wanted(HP, {**WT, "optional": True, "default": 2.5})
    assert lines(upload_of(pd.DataFrame({"hp": [1.5]}), some)) == [{"hp": 1.5}]


def test_rows_are_records_where_a_frame_is_the_input() -> None:
    table = pd.DataFrame(CARS)
    for columns in ((HP, WT), ()):
        assert lines(upload_of(table, frame(*columns))) == CARS
    assert lines(upload_of({"df": table}, frame(HP, WT))) == CARS
    whole = [{"df": table}, {"df": table.head(1)}]
    assert lines(upload_of(whole, frame(HP, WT))) == [
        {"df": {"hp": [110.0, 93.0], "wt": [2.62, 2.32]}},
        {"df": {"hp": [110.0], "wt": [2.62]}},
    ]


def test_the_response_may_be_there_and_is_left_out() -> None:
    service = frame(HP, WT, response={"name": "am", "position": 2})
    assert lines(upload_of(pd.DataFrame(CARS).assign(am=1), service)) == CARS


@pytest.mark.parametrize(
    ("records", "field", "says"),
    [
        (
            pd.DataFrame(CARS).assign(mpg=1.0, cyl=4),
            "mpg",
            '(Tx 1.0 takes nothing else), got 2 more columns: mpg, cyl. Give cars[["hp", "wt"]].',
        ),
        (pd.DataFrame(CARS).assign(mpg=1.0), "mpg", 'Give cars[["hp", "wt"]].'),
        (pd.DataFrame({"hp": [1.0]}), "wt", "got the columns hp."),
        (
            pd.DataFrame({"hp": [1.0], "Wt": [1.0]}),
            "wt",
            "Rename it: cars.rename(columns={'Wt': 'wt'}).",
        ),
        (
            pd.DataFrame({"hp": ["110"], "wt": [1.0]}),
            "hp",
            "For example: cars['hp'] = pd.to_numeric(cars['hp'])",
        ),
        (pd.DataFrame({"hp": [True], "wt": [1.0]}), "hp", "a column of booleans"),
        (pd.DataFrame({"hp": [1.0, math.inf], "wt": 1.0}), "hp[1]", "finite numbers, got inf"),
        ([{**CARS[0], "mpg": 1.0}], "mpg", "Leave it out of the records."),
        ([{"hp": 1.0}, {"hp": 2.0}], "wt", "wt: expected a column of this name"),
        ([{"hp": 1.0, "wt": object()}], "wt[0]", "got"),
        ({"hp": [1.0], "wt": [1.0, 2.0]}, "wt", "1 values, as in the columns before it"),
        ({"hp": [1.0], "wt": 2.0}, "wt", "a list with a value for each record"),
        (np.zeros((2, 3)), "", "2 columns (hp, wt), got 3 without names"),
        ([1, 2], "", "cars[0]: expected a dict with hp, wt, got an int"),
        (7, "", "a list of records with hp, wt for Tx 1.0, got an int"),
        (pd.DataFrame(CARS).head(0), "cars", "no records"),
        ([], "cars", "no records"),
    ],
)
def test_what_is_wrong_with_all_is_refused_by_name_with_the_fix(
    records: Any, field: str, says: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        list(upload_of(records, TX, "cars").content())
    assert says in str(caught.value)
    assert caught.value.field == field


def test_a_service_without_inputs_takes_empty_records() -> None:
    assert lines(upload_of([{}, {}], wanted())) == [{}, {}]
    with pytest.raises(InvalidInput, match=r"\[\{\}\] \* 10"):
        upload_of(pd.DataFrame(CARS), wanted())


def test_what_is_wrong_with_one_record_is_sent_and_fails_alone() -> None:
    for records in (
        [CARS[0], {"hp": "a lot", "wt": 2.3}, {"hp": 1.5}, {**CARS[1], "mpg": 2.5}],
        [{"hp": 1.5}, CARS[0]],
    ):
        assert lines(upload_of(records, TX)) == records
    odd = pd.DataFrame({"hp": [110, "a lot"], "wt": [2.5, 2.5]}, dtype=object)
    assert lines(upload_of(odd, TX))[1] == {"hp": "a lot", "wt": 2.5}


def test_the_body_is_made_piece_by_piece_and_the_same_again() -> None:
    many = pd.DataFrame({"hp": np.arange(10_000.0), "wt": 2.5})
    upload = upload_of(many, TX)
    pieces = list(upload.content())
    assert max(map(len, pieces)) < len(b"".join(pieces)) / 4
    assert b"".join(upload.content()) == b"".join(pieces)
    body = pd.DataFrame(lines(upload))
    assert (body["hp"] == many["hp"]).all()


ROWS = frame(
    HP,
    {"name": "n", "type": "integer", "nullable": True},
    {"name": "make", "type": "character"},
    {"name": "ok", "type": "logical"},
    {"name": "when", "type": "datetime"},
    batchable=True,
)


def large(**more: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "when": pd.Timestamp("2026-01-02"),
            "ok": True,
            "hp": np.arange(ARROW_ROWS) / 4,
            "n": pd.array([None, *range(1, ARROW_ROWS)], dtype="Int64"),
            "make": pd.Categorical(["Opel"] * ARROW_ROWS),
            **more,
        }
    )


def test_many_rows_go_as_arrow_where_the_service_takes_rows() -> None:
    upload = upload_of(large(hp=[math.nan, *range(1, ARROW_ROWS)]), ROWS)
    assert upload.media == ARROW
    table = pa.ipc.open_stream(b"".join(upload.content())).read_all()
    assert table.schema.names == ["hp", "n", "make", "ok", "when"]
    assert table.slice(0, 1).to_pylist()[0] | {"when": None} == {
        "hp": None,
        "n": None,
        "make": "Opel",
        "ok": True,
        "when": None,
    }
    assert not any(pa.types.is_dictionary(one.type) for one in table.schema)
    assert upload.otherwise is not None
    assert lines(upload.otherwise)[1]["n"] == 1


@pytest.mark.parametrize("change", [{"hp": math.inf}, {"n": 0.5}, {"make": object()}])
def test_what_arrow_cannot_say_goes_as_lines(change: dict[str, Any]) -> None:
    assert upload_of(large(**change), ROWS).media == LINES


def test_without_pyarrow_everything_goes_as_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_upload, "find_spec", lambda name: None)
    assert len(lines(upload_of(large(), ROWS))) == ARROW_ROWS


def test_one_call_a_record_needs_no_arrow() -> None:
    many = pd.DataFrame({"hp": np.zeros(ARROW_ROWS), "wt": 1.0})
    assert upload_of(many, TX).media == LINES
    assert upload_of(many, frame(HP, WT)).media == LINES


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cars.csv"
    path.write_text("hp,wt\n110,2.62\n")
    upload = upload_of(path, TX)
    assert (upload.media, upload.rows) == (CSV, None)
    assert b"".join(upload.content()) == path.read_bytes()
    (tmp_path / "cars.PARQUET").touch()
    assert upload_of(str(tmp_path / "cars.PARQUET"), TX).media == PARQUET
    with pytest.raises(WrongCall, match="There is no file"):
        upload_of("missing.csv", TX)
    with pytest.raises(WrongCall, match="must end in"):
        upload_of("df", TX)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (pd.DataFrame(), "The records: expected 2 columns"),
        (({"hp": 1.0, "wt": 2.0} for _ in range(2)), "got a generator. Give list(df)."),
        (np.array([(1.0, 2.0)], dtype=[("hp", "f8"), ("wt", "f8")]), "Give pd.DataFrame(df)."),
        (pd.DataFrame({"hp": [1.0]}), "Add it to df."),
        (
            pd.DataFrame({"hp": [1.0], "wt": pd.to_timedelta(["1s"])}),
            "got a column of durations. For example: df['wt'] = df['wt'].dt.total_seconds()",
        ),
    ],
)
def test_a_refusal_says_what_to_write_instead(value: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        records_of(value, TX)
    assert said in str(caught.value)
    assert not str(caught.value).startswith(":")
