"""Frames of realtime calls: what is translated, what is refused and how, JSON and Arrow alike."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jupyter_mlserve.client.frames import Schema, arrow_stream, columns_of, json_columns
from jupyter_mlserve.contract.errors import InvalidInput

NAN = float("nan")
COLUMNS = (
    {"name": "hp", "type": "numeric", "nullable": False},
    {"name": "cyl", "type": "integer", "nullable": True},
    {"name": "fast", "type": "logical", "nullable": False},
    {"name": "make", "type": "character", "nullable": True},
)
SCHEMA = Schema(COLUMNS, "am", 1)
ONE = {"hp": [110.0], "cyl": [6], "fast": [True], "make": ["Mazda"]}


def scored(value: Any, schema: Schema = SCHEMA) -> dict[str, list[Any]]:
    found = json_columns(columns_of(value, schema), schema)
    json.dumps(found, allow_nan=False)
    return found


def through_arrow(value: Any, schema: Schema = SCHEMA) -> dict[str, list[Any]] | None:
    data = arrow_stream(columns_of(value, schema), schema)
    if data is None:
        return None
    table: dict[str, list[Any]] = pa.ipc.open_stream(data).read_all().to_pydict()
    return table


def one(kind: str, *, nullable: bool = True) -> Schema:
    return Schema(({"name": "x", "type": kind, "nullable": nullable},))


@pytest.mark.parametrize(
    "value",
    [
        ONE,
        {"hp": 110.0, "cyl": 6, "fast": True, "make": "Mazda"},
        {"hp": np.float64(110), "cyl": np.int8(6), "fast": np.True_, "make": "Mazda"},
        [{"hp": 110.0, "cyl": 6, "fast": True, "make": "Mazda"}],
        {"hp": np.array([110.0]), "cyl": (6,), "fast": pd.Series([True]), "make": ["Mazda"]},
        pd.DataFrame(ONE),
        pd.DataFrame(ONE, index=["a label"]),
        pd.DataFrame(ONE).iloc[0],
        pd.DataFrame(ONE).to_dict(),
        pa.table(ONE),
        {**{"hp": [110.0], "am": [1]}, **{k: ONE[k] for k in ("cyl", "fast", "make")}},
        pd.DataFrame({"hp": [110.0], "am": [object()], "cyl": 6, "fast": True, "make": "Mazda"}),
    ],
)
def test_every_form_of_a_frame_gives_the_same_columns(value: Any) -> None:
    assert scored(value) == ONE
    assert through_arrow(value) in (ONE, None)


def test_zero_rows_are_a_frame() -> None:
    empty = {"hp": [], "cyl": [], "fast": [], "make": []}
    assert scored(pd.DataFrame(ONE).iloc[:0]) == empty
    assert scored([]) == empty
    assert through_arrow(pd.DataFrame(ONE).iloc[:0]) == empty


def test_arrays_without_names_take_the_columns_in_order() -> None:
    schema = Schema(tuple({"name": n, "type": "numeric"} for n in ("a", "b")))
    assert scored(np.array([[1, 2], [3, 4]]), schema) == {"a": [1, 3], "b": [2, 4]}
    assert scored(pd.DataFrame([[1.5, 2], [3, 4]]), schema) == {"a": [1.5, 3], "b": [2, 4]}
    with pytest.raises(InvalidInput, match=r"expected 2 columns \(a, b\), got an array of 3"):
        scored(np.zeros((1, 3)), schema)
    text = one("character")
    assert scored(["u", "v"], text) == scored(pd.Series(["u", "v"]), text) == {"x": ["u", "v"]}


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["a", None], ["a", None]),
        (pd.Series(["a", None], dtype=object), ["a", None]),
        (pd.Series(["a", NAN], dtype=object), ["a", None]),
        (pd.Series(["a", pd.NA], dtype="string"), ["a", None]),
        (pd.Series(["a", None], dtype="str"), ["a", None]),
        (pd.Series(["b", None, "a"], dtype="category"), ["b", None, "a"]),
        (pd.Series(["a", None], dtype="string[pyarrow]"), ["a", None]),
        (np.array(["a", "é€😀"]), ["a", "é€😀"]),
        (np.array(["a", None], dtype=object), ["a", None]),
        (pa.array(["a", None]), ["a", None]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
    ],
)
def test_texts(cells: Any, wanted: list[Any]) -> None:
    assert scored({"x": cells}, one("character")) == {"x": wanted}
    assert through_arrow({"x": cells}, one("character")) == {"x": wanted}


@pytest.mark.parametrize(
    ("kind", "cells", "wanted"),
    [
        ("numeric", np.array([1, 2], dtype=np.int8), [1, 2]),
        ("numeric", np.array([0.1], dtype=np.float32), [float(np.float32(0.1))]),
        ("numeric", pd.Series([1.5, NAN]), [1.5, None]),
        ("numeric", pd.Series([1.5, None], dtype="Float64"), [1.5, None]),
        ("numeric", pd.Series([1, None], dtype="Int64"), [1, None]),
        ("numeric", pd.Series([1.5, None], dtype=object), [1.5, None]),
        ("numeric", pd.Series([1.5, 2.5], dtype="double[pyarrow]"), [1.5, 2.5]),
        ("numeric", pd.Series([1.5, 2.5], dtype="category"), [1.5, 2.5]),
        ("numeric", pa.array([1.5, NAN, None]), [1.5, None, None]),
        ("integer", pd.Series([1.0, NAN]), [1, None]),
        ("integer", [1, 2.0], [1, 2]),
        ("integer", pd.Series([1, None], dtype="Int64"), [1, None]),
        ("integer", np.array([1, 2], dtype=np.uint64), [1, 2]),
        ("logical", pd.Series([True, None], dtype="boolean"), [True, None]),
        ("logical", np.array([True, False]), [True, False]),
        ("logical", pd.Series([True, None], dtype=object), [True, None]),
        ("numeric", [None, None], [None, None]),
        ("character", [None], [None]),
    ],
)
def test_numbers_and_booleans(kind: str, cells: Any, wanted: list[Any]) -> None:
    found = scored({"x": cells}, one(kind))["x"]
    assert found == wanted
    assert list(map(type, found)) == list(map(type, wanted))
    assert through_arrow({"x": cells}, one(kind)) == {"x": wanted}


def test_images_given_as_bytes_become_base64() -> None:
    frame = pd.DataFrame({"x": [b"\x89PNG", bytearray(b"GIF"), memoryview(b"BM")]})
    assert scored(frame, one("character")) == {"x": ["iVBORw==", "R0lG", "Qk0="]}
    assert scored({"x": b"\x89PNG"}, one("character")) == {"x": ["iVBORw=="]}


@pytest.mark.parametrize(
    ("value", "column", "said"),
    [
        ({**ONE, "hp": ["fast"]}, "hp", "hp[0]: expected a number, got the string 'fast'."),
        ({**ONE, "hp": [True]}, "hp", "hp[0]: expected a number, got true."),
        ({**ONE, "hp": [NAN]}, "hp", "hp[0]: expected a number, got a missing value."),
        ({**ONE, "hp": [math.inf]}, "hp", "hp[0]: expected a number that is finite, got inf."),
        ({**ONE, "hp": pd.Series([-math.inf], dtype="Float64")}, "hp", "finite, got -inf."),
        ({**ONE, "hp": ["110"]}, "hp", "hp[0]: expected a number, got the string '110'."),
        ({**ONE, "hp": [[1]]}, "hp", "hp[0]: expected a number, text"),
        ({**ONE, "hp": [b"110"]}, "hp", "hp[0]: expected a number, got a bytes."),
        ({**ONE, "hp": [dt.date(2024, 1, 2)]}, "hp", "expected a number, got a date."),
        ({**ONE, "hp": pd.to_datetime(["2024-01-02"])}, "hp", "got a column of datetime64"),
        ({**ONE, "make": pd.to_datetime(["2024-01-02"])}, "make", "got a column of datetime64"),
        ({**ONE, "cyl": [3.5]}, "cyl", "cyl[0]: expected an integer or null, got 3.5."),
        ({**ONE, "cyl": [2**70]}, "cyl", "cyl[0]: expected integers of at most 64 bits"),
        ({**ONE, "fast": [1]}, "fast", "fast[0]: expected true or false, got 1."),
        ({**ONE, "fast": [None]}, "fast", "fast[0]: expected true or false, got a missing value."),
        ({**ONE, "make": [7]}, "make", "make[0]: expected a string or null, got 7."),
        (
            {**ONE, "make": [Decimal(7)]},
            "make",
            "make[0]: expected a string or null, got a Decimal.",
        ),
        ({**ONE, "make": ["a", "b"]}, "make", "make: expected 1 value, as in the columns before"),
        ({**ONE, "make": "Mazda"}, "make", "a list of values for the column, got the string"),
        (
            {k: ONE[k] for k in ("hp", "cyl", "fast")},
            "make",
            "make: expected this column, got none of this name.",
        ),
        (
            {**ONE, "wt": [1]},
            "wt",
            "wt: expected no such column (the columns are hp, cyl, fast, make), got one.",
        ),
        (
            {"HP": [1.0], "cyl": [6], "fast": [True], "make": ["x"]},
            "hp",
            "hp: expected this column, got none of this name (but 'HP', which is not declared).",
        ),
        (
            {"hp": [1.0], "cyl": [6], "fasst": [True], "make": ["x"]},
            "fast",
            "got none of this name (but 'fasst', which is not declared).",
        ),
        (
            {"cyl": [6], "hp": [1.0], "fast": [True], "make": ["x"]},
            "cyl",
            "the columns in the order hp, cyl, fast, make, got 'cyl' in the place of 'hp'.",
        ),
        (
            {**ONE, "am": [1]},
            "cyl",
            "the columns in the order hp, am, cyl, fast, make, got 'cyl' in the place of 'am'.",
        ),
    ],
)
def test_what_does_not_fit_is_named(value: Any, column: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        scored(value)
    message = caught.value.message
    assert said in message
    assert message.startswith("inputData")
    assert "\n" not in message
    assert message.startswith(caught.value.field + ": ")
    assert caught.value.details["column"] == column
    assert {"expected", "got"} <= set(caught.value.details)


def test_the_row_is_the_position_not_the_label() -> None:
    frame = pd.DataFrame({"x": [1.0, "a"]}, index=[7, 0])
    with pytest.raises(InvalidInput) as caught:
        scored(frame, one("numeric"))
    assert caught.value.details["row"] == 1


@pytest.mark.parametrize("value", [5, "text", None, object(), io.BytesIO(), [1, 2], np.zeros(3)])
def test_what_is_no_frame_is_told_what_is_one(value: Any) -> None:
    with pytest.raises(InvalidInput, match="a DataFrame, a dict of columns or a list of records"):
        scored(value)


def test_two_columns_of_one_name_and_records_that_differ() -> None:
    twins = pd.DataFrame([[1.0, 2.0]], columns=["x", "x"])
    with pytest.raises(InvalidInput, match=r"inputData\.x: expected columns that differ in name"):
        scored(twins, one("numeric"))
    with pytest.raises(InvalidInput, match=r"inputData\[1\]: .* the first record \(x\), got y\."):
        scored([{"x": 1.0}, {"y": 1.0}], one("numeric"))


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("numeric", [True, False]),
        ("numeric", [1.0, math.inf]),
        ("numeric", ["1"]),
        ("numeric", [1.0, "a"]),
        ("integer", [1.5]),
        ("integer", [True]),
        ("logical", [1]),
        ("character", [b"bytes"]),
        ("character", [1]),
        ("numeric", [Decimal(1)]),
    ],
)
def test_arrow_carries_only_what_it_can_say_as_declared(kind: str, cells: list[Any]) -> None:
    assert through_arrow({"x": cells}, one(kind)) is None


def test_arrow_never_hides_a_missing_value() -> None:
    for cells in (pd.Series([1.0, NAN]), pa.array([1.0, NAN]), [1.0, None]):
        assert through_arrow({"x": cells}, one("numeric", nullable=False)) is None
