from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import io
import json
import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_mlserve.worker.values import (
    InputError,
    decode_value,
    dump_json,
    encode_outputs,
    encode_value,
)

NAN = float("nan")


class Colour(enum.Enum):
    RED = "red"


def encode(kind: str, value: Any, columns: list[dict[str, Any]] | None = None) -> Any:
    param = {"name": "y", "type": kind}
    found = encode_value(value, {**param, "columns": columns} if columns else param)
    # Whatever is encoded must be strict JSON.
    assert json.loads(dump_json(found), parse_constant=pytest.fail) == found
    return found


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("numeric", 1.5, 1.5),
        ("numeric", 3, 3),
        ("numeric", NAN, None),
        ("numeric", math.inf, None),
        ("numeric", np.float32(0.5), 0.5),
        ("numeric", np.longdouble(0.5), 0.5),
        ("numeric", np.int8(3), 3),
        ("numeric", np.array(2.5), 2.5),
        ("numeric", np.float64(NAN), None),
        ("numeric", decimal.Decimal("0.25"), 0.25),
        ("numeric", pd.NA, None),
        ("integer", 3, 3),
        ("integer", 3.0, 3),
        ("integer", np.uint8(7), 7),
        ("integer", NAN, None),
        ("logical", True, True),
        ("logical", np.bool_(False), False),
        ("logical", pd.NA, None),
        ("character", "Zoë", "Zoë"),
        ("character", np.str_("a"), "a"),
        ("character", "a\ud800b", "a?b"),
        ("character", NAN, None),
        ("datetime", dt.datetime(2024, 5, 31, 12), "2024-05-31T12:00:00"),
        ("datetime", dt.date(2024, 5, 31), "2024-05-31"),
        ("datetime", pd.Timestamp("2024-05-31T12:00Z"), "2024-05-31T12:00:00+00:00"),
        ("datetime", np.datetime64("2024-05-31T12:00"), "2024-05-31T12:00:00"),
        ("datetime", pd.NaT, None),
        ("datetime", np.datetime64("NaT"), None),
        ("datetime", "2024-05-31", "2024-05-31"),
        ("bytes", b"hi", "aGk="),
        ("bytes", io.BytesIO(b"hi"), "aGk="),
        ("bytes", memoryview(b"hi"), "aGk="),
        ("vector", np.array([1.0, NAN, math.inf]), [1.0, None, None]),
        ("vector", np.array([1, 2], dtype="uint64"), [1, 2]),
        ("vector", np.array([2**64 - 1], dtype="uint64"), [float(2**64 - 1)]),
        ("vector", [1, 2.5, None], [1, 2.5, None]),
        ("vector", (True, False), [True, False]),
        ("vector", range(3), [0, 1, 2]),
        ("vector", pd.Series([1.5, NAN]), [1.5, None]),
        ("vector", pd.Series(["a", None]), ["a", None]),
        ("vector", pd.Series([1, None], dtype="Int64"), [1, None]),
        ("vector", pd.Series([1.5, None], dtype="Float64"), [1.5, None]),
        ("vector", pd.Categorical(["a", "b", None]), ["a", "b", None]),
        ("vector", pd.Index([1, 2]), [1, 2]),
        (
            "vector",
            np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
            ["2024-01-01T00:00:00", None],
        ),
        ("vector", np.array([np.float64(1), "a"], dtype=object), [1.0, "a"]),
        ("matrix", np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ("matrix", np.array([[1.0, NAN]]), [[1.0, None]]),
        ("matrix", [[1, 2], (3, 4)], [[1, 2], [3, 4]]),
        ("matrix", [np.array([1.5]), np.array([NAN])], [[1.5], [None]]),
        ("matrix", pd.DataFrame({"a": [1], "b": [2]}), [[1, 2]]),
        ("list", [1, "a", {"b": NAN}], [1, "a", {"b": None}]),
        ("list", np.array([[1.0, NAN]]), [[1.0, None]]),
        ("list", {1}, [1]),
        ("list", ["a", "b"], ["a", "b"]),
        ("dict", {"a": np.int64(1), 2: (1, 2)}, {"a": 1, "2": [1, 2]}),
        (
            "dict",
            {"when": dt.date(2024, 1, 1), "raw": b"hi"},
            {"when": "2024-01-01", "raw": "aGk="},
        ),
        ("dict", {"df": pd.DataFrame({"a": [1]})}, {"df": {"a": [1]}}),
        ("dict", {"e": Colour.RED, "p": Path("/x")}, {"e": "red", "p": "/x"}),
        ("dict", {"u": uuid.UUID(int=1)}, {"u": str(uuid.UUID(int=1))}),
        ("dict", {"d": dt.timedelta(minutes=1)}, {"d": 60.0}),
        ("dict", pd.Series({"a": 1.5}), {"a": 1.5}),
        ("dict", collections.namedtuple("P", "a b")(1, 2), {"a": 1, "b": 2}),
    ],
)
def test_values_become_strict_json(kind: str, value: Any, expected: Any) -> None:
    assert encode(kind, value) == expected


@pytest.mark.parametrize(
    ("kind", "value", "got"),
    [
        ("numeric", True, "a bool"),
        ("numeric", np.bool_(True), "a bool"),
        ("numeric", "1", "a str"),
        ("numeric", np.array([1.0, 2.0]), "a numpy.ndarray of shape (2,)"),
        ("numeric", pd.Series([1.0]), "a pandas.Series of shape (1,)"),
        ("numeric", 1j, "a complex"),
        ("integer", 3.5, "the number 3.5"),
        ("integer", False, "a bool"),
        ("integer", 2**63, "a larger one"),
        ("logical", 1, "an int"),
        ("character", 1, "an int"),
        ("character", b"a", "a bytes"),
        ("datetime", 5, "an int"),
        ("datetime", "soon", "a str"),
        ("bytes", "text", "a str"),
        ("vector", np.zeros((2, 2)), "a numpy.ndarray of shape (2, 2)"),
        ("vector", "abc", "a str"),
        ("vector", [[1]], "a list"),
        ("vector", {"a": 1}, "a dict"),
        ("matrix", np.zeros(3), "a numpy.ndarray of shape (3,)"),
        ("matrix", [1, 2], "an int"),
        ("matrix", [[1], [1, 2]], "one of 2"),
        ("list", "abc", "a str"),
        ("list", {"a": 1}, "a dict"),
        ("list", [object()], "an object"),
        ("list", [2**70], "a larger one"),
        ("dict", [1], "a list"),
        ("dict", {(1, 2): 3}, "a tuple"),
        ("dict", {1: 1, "1": 2}, "'1' twice"),
        ("data.frame", [1, 2], "a list"),
        ("data.frame", 3, "an int"),
        ("data.frame", {"a": [1], "b": [1, 2]}, "different lengths"),
        ("data.frame", {"a": 1}, "an int"),
        ("data.frame", {"a": [[1]]}, "a list"),
        ("data.frame", pd.DataFrame([[1, 2]], columns=["a", "a"]), "two named 'a'"),
    ],
)
def test_a_value_that_does_not_fit_says_what_it_is(kind: str, value: Any, got: str) -> None:
    with pytest.raises(InputError) as caught:
        encode(kind, value)
    assert caught.value.got == got


def test_values_that_contain_themselves_are_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InputError, match="levels of nesting"):
        encode("list", loop)


def test_frames_become_columns() -> None:
    frame = pd.DataFrame(
        {
            "f": [1.5, NAN, math.inf],
            "i": [1, 2, 3],
            "b": [True, False, True],
            "s": pd.Series(["a", None, "c\ud800"], dtype=object),
            "t": pd.to_datetime(["2024-01-01T00:00:00.0", None, "2024-01-02T00:00:00.5"]),
            "z": pd.to_datetime(["2024-01-01T00:00Z", None, "2024-01-02T00:00Z"]),
            "c": pd.Categorical(["x", "y", None]),
            "n": pd.array([1, None, 3], dtype="Int64"),
            "o": [b"hi", dt.date(2024, 1, 1), decimal.Decimal(1)],
            "d": pd.to_timedelta(["1s", "2s", None]),
        }
    ).set_index(pd.Index([5, 6, 7]))
    found = encode("data.frame", frame)
    assert list(found) == list(frame.columns)
    assert found["f"] == [1.5, None, None]
    assert found["i"] == [1, 2, 3]
    assert found["b"] == [True, False, True]
    assert found["s"] == ["a", None, "c?"]
    assert found["t"] == ["2024-01-01T00:00:00.000", None, "2024-01-02T00:00:00.500"]
    assert found["z"] == ["2024-01-01T00:00:00+00:00", None, "2024-01-02T00:00:00+00:00"]
    assert found["c"] == ["x", "y", None]
    assert found["n"] == [1, None, 3]
    assert found["o"] == ["aGk=", "2024-01-01", 1.0]
    assert found["d"] == [1.0, 2.0, None]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pd.Series([1, 2], name="a"), {"a": [1, 2]}),
        (pd.Series([1, 2]), {"0": [1, 2]}),
        ({"a": [1, 2], "b": np.array([1.0, NAN])}, {"a": [1, 2], "b": [1.0, None]}),
        (pd.DataFrame(np.zeros((1, 2))), {"0": [0.0], "1": [0.0]}),
        (pd.DataFrame(), {}),
        (pd.DataFrame({"a": []}), {"a": []}),
    ],
)
def test_what_counts_as_a_frame(value: Any, expected: Any) -> None:
    assert encode("data.frame", value) == expected


def test_an_arrow_table_is_a_frame() -> None:
    arrow = pytest.importorskip("pyarrow")
    assert encode("data.frame", arrow.table({"a": [1, None]})) == {"a": [1, None]}


def test_arrow_backed_columns() -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "a": pd.array([1, None], dtype="int64[pyarrow]"),
            "f": pd.array([1.5, None], dtype="double[pyarrow]"),
            "s": pd.array(["x", None], dtype="string[pyarrow]"),
        }
    )
    assert encode("data.frame", frame) == {"a": [1, None], "f": [1.5, None], "s": ["x", None]}


def schema(**kinds: str) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind} for name, kind in kinds.items()]


def test_the_schema_of_an_output_frame_is_held() -> None:
    columns = schema(a="integer", b="numeric")
    # An integer column with a gap is made of floats in pandas.
    assert encode("data.frame", {"a": [1.0, NAN], "b": [1, 2]}, columns) == {
        "a": [1, None],
        "b": [1, 2],
    }
    for wrong in ({"b": [1], "a": [1]}, {"a": [1]}, {"a": ["x"], "b": [1]}, {"a": [1.5], "b": [1]}):
        with pytest.raises(InputError):
            encode("data.frame", wrong, columns)


def test_the_error_of_an_output_names_it_and_its_types() -> None:
    params = [{"name": "answer", "type": "data.frame"}]
    with pytest.raises(TypeError) as caught:
        encode_outputs({"answer": np.zeros(3)}, params)
    message = str(caught.value)
    assert "'answer'" in message
    assert "pandas.DataFrame" in message
    assert "numpy.ndarray of shape (3,)" in message
    assert encode_outputs({"answer": None}, params) == {"answer": None}


finite = st.floats(allow_nan=False, allow_infinity=False)
int64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]))
round_trips = st.one_of(
    st.tuples(st.just("logical"), st.booleans()),
    st.tuples(st.just("integer"), int64),
    st.tuples(st.just("numeric"), finite),
    st.tuples(st.just("character"), text),
    st.tuples(st.just("bytes"), st.binary()),
    st.tuples(st.just("datetime"), st.datetimes()),
    st.tuples(
        st.just("list"),
        st.recursive(
            st.lists(st.none() | st.booleans() | int64 | finite | text, max_size=5),
            lambda inner: st.lists(inner, max_size=3),
        ),
    ),
)


@settings(max_examples=200, deadline=None)
@given(round_trips)
def test_what_is_encoded_decodes_to_itself(case: tuple[str, Any]) -> None:
    kind, value = case
    param = {"name": "y", "type": kind}
    wire = json.loads(dump_json(encode_value(value, param)))
    assert decode_value(wire, param) == value


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(finite, int64, st.booleans(), text), max_size=6))
def test_frames_survive_the_way_there_and_back(rows: list[tuple[Any, ...]]) -> None:
    columns = schema(a="numeric", b="integer", c="logical", d="character")
    param = {"name": "df", "type": "data.frame", "columns": columns}
    frame = decode_value([dict(zip("abcd", row, strict=True)) for row in rows], param)
    wire = json.loads(dump_json(encode_value(frame, param)))
    pd.testing.assert_frame_equal(decode_value(wire, param), frame)


plain_json = st.recursive(
    st.none() | st.booleans() | int64 | finite | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
)


@given(plain_json)
def test_our_json_is_json(value: Any) -> None:
    dumped = dump_json(value)
    assert dumped.isascii()
    assert json.loads(dumped) == value


@pytest.mark.parametrize("value", [NAN, [1.0, NAN], [math.inf, 1.0]])
def test_what_is_no_json_is_never_written(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        dump_json({"a": value})
