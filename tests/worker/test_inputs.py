from __future__ import annotations

import datetime as dt
import json
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jupyter_mlserve.worker.values import InputError, decode_inputs, decode_value

Param = dict[str, Any]
KINDS = [
    "logical",
    "integer",
    "numeric",
    "character",
    "vector",
    "matrix",
    "data.frame",
    "datetime",
    "bytes",
    "list",
    "dict",
]


def param(kind: str, **more: Any) -> Param:
    return {"name": "x", "type": kind, **more}


def frame_param(**columns: str) -> Param:
    found = [
        {"name": name, "type": kind.rstrip("?"), "nullable": kind.endswith("?")}
        for name, kind in columns.items()
    ]
    return param("data.frame", columns=found)


def refused(body: bytes | str, *params: Param) -> InputError:
    with pytest.raises(InputError) as caught:
        decode_inputs(body if isinstance(body, bytes) else body.encode(), params)
    assert str(caught.value)
    assert caught.value.expected
    assert caught.value.got
    return caught.value


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("logical", "true", True),
        ("integer", "3", 3),
        ("integer", "3.0", 3),
        ("integer", "-9223372036854775808", -(2**63)),
        ("numeric", "3", 3.0),
        ("numeric", "-0.5e-3", -0.0005),
        ("character", '"Zoë 😀"', "Zoë 😀"),
        ("character", '"\\ud83d\\ude00"', "😀"),
        ("bytes", '"aGk="', b"hi"),
        ("bytes", '""', b""),
        ("list", '[1, [2.5, null], {"a": "b"}]', [1, [2.5, None], {"a": "b"}]),
        ("dict", '{"a": [1]}', {"a": [1]}),
        ("datetime", '"2024-05-31"', dt.datetime(2024, 5, 31)),
        ("datetime", '"2024-05-31T12:30"', dt.datetime(2024, 5, 31, 12, 30)),
        (
            "datetime",
            '"2024-05-31 12:30:01.123456789"',
            dt.datetime(2024, 5, 31, 12, 30, 1, 123456),
        ),
        (
            "datetime",
            '"2024-05-31T12:00:00Z"',
            dt.datetime(2024, 5, 31, 12, tzinfo=dt.timezone.utc),
        ),
        (
            "datetime",
            '"2024-05-31T12:00:00-05:30"',
            dt.datetime(2024, 5, 31, 12, tzinfo=dt.timezone(-dt.timedelta(hours=5, minutes=30))),
        ),
    ],
)
def test_values_of_every_scalar_type(kind: str, text: str, value: object) -> None:
    found = decode_inputs(f'{{"x": {text}}}'.encode(), [param(kind)])
    assert found == {"x": value}
    assert type(found["x"]) is type(value)


@pytest.mark.parametrize("kind", KINDS)
def test_null_is_none_for_every_type(kind: str) -> None:
    assert decode_inputs(b'{"x": null}', [param(kind)]) == {"x": None}


@pytest.mark.parametrize(
    ("kind", "text", "got"),
    [
        ("logical", "1", "1"),
        ("logical", '"true"', "the string 'true'"),
        ("integer", "true", "true"),
        ("integer", "3.5", "3.5"),
        ("integer", '"3"', "the string '3'"),
        ("integer", "9223372036854775808", "9223372036854775808"),
        ("integer", "1e300", "a huge integer"),
        ("numeric", "false", "false"),
        ("numeric", '"3"', "the string '3'"),
        ("numeric", "[1]", "an array of 1"),
        ("numeric", "1e999", "inf"),
        ("numeric", "1" + "0" * 400, "a huge integer"),
        ("character", "1", "1"),
        ("datetime", '"yesterday"', "the string 'yesterday'"),
        ("datetime", '"2024-02-30"', "the string '2024-02-30'"),
        ("datetime", '"2024-01-01T25:00"', "the string '2024-01-01T25:00'"),
        ("datetime", '"2024-01-01T10:00+99:00"', "the string '2024-01-01T10:00+99:00'"),
        ("datetime", "1717113600", "1717113600"),
        ("bytes", '"a?=="', "the string 'a?=='"),
        ("bytes", '"abc"', "the string 'abc'"),
        ("list", "{}", "an object of 0"),
        ("list", "[[1e999]]", "inf"),
        ("dict", "[]", "an array of 0"),
        ("dict", '{"a": [9223372036854775808]}', "9223372036854775808"),
        ("vector", "1", "1"),
        ("matrix", '"a"', "the string 'a'"),
        ("data.frame", "3", "3"),
    ],
)
def test_a_wrong_value_names_the_field_and_what_came(kind: str, text: str, got: str) -> None:
    text = text.replace("1e300", "1" + "0" * 300)
    error = refused(f'{{"x": {text}}}', param(kind))
    assert error.field.startswith("x")
    if "huge" in got:
        got = error.got
        assert got in ("a huge integer", "1e+300", "1e+400")
    assert error.got == got


def test_missing_extra_and_misspelt_inputs() -> None:
    both = [param("numeric"), {"name": "z", "type": "integer"}]
    assert refused("{}", *both).field == "x"
    error = refused('{"x": 1, "zz": 2}', *both)
    assert (error.field, error.got) == ("z", "nothing (but 'zz', which is not declared)")
    error = refused('{"x": 1, "z": 2, "w": 3}', *both)
    assert (error.field, error.expected) == ("w", "no such input (the inputs are x, z)")
    assert error.message == "The input 'w' is not declared; the inputs are x, z."
    error = refused('{"w": 3}')
    assert error.expected == "no input"
    assert error.message == "The input 'w' is not declared; the service has no inputs."
    error = refused("", *both)
    assert error.message == (
        'The body is empty; send the inputs as a JSON object: {"x": ..., "z": ...}.'
    )


@pytest.mark.parametrize("body", [b"[]", b"3", b'"x"', b"null", b"true"])
def test_the_body_must_be_an_object(body: bytes) -> None:
    assert refused(body, param("numeric")).expected == "an object of inputs by name"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"x": 1}}',
        b'{"x": 1,}',
        b"{'x': 1}",
        b'{"x": NaN}',
        b'{"x": -Infinity}',
        b'{"x": 01}',
        b'{"x": "\n"}',
        b'{"x": "\xff"}',
        b'\xef\xbb\xbf{"x": 1}',
        b'{"x": "\\ud800"}',
        b'{"x": 1, "\\udc00": 2}',
        b'{"x": [{"a": "\\ud800\\ud800"}]}',
        b"[" * 200_000,
        b'{"x":' * 200_000,
        b'{"x": ' + b"9" * 1_000_000 + b"}",
        b'{"x": 0.' + b"9" * 1_000_000 + b"e999999}",
    ],
)
@pytest.mark.parametrize("kind", ["numeric", "list", "character"])
def test_bodies_that_are_not_the_wires_json(body: bytes, kind: str) -> None:
    refused(body, param(kind))


def test_nesting_is_refused_even_when_the_author_raised_the_recursion_limit() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        refused(b"[" * 500_000, param("list"))
        assert sys.getrecursionlimit() == 1_000_000
    finally:
        sys.setrecursionlimit(limit)


def test_optional_inputs_and_their_defaults() -> None:
    params = [
        param("numeric", optional=True, default=2),
        {"name": "l", "type": "list", "optional": True, "default": [1]},
        {"name": "n", "type": "character", "optional": True, "default": None},
        {"name": "own", "type": "integer", "optional": True},
    ]
    first = decode_inputs(b"", params)
    assert first == {"x": 2.0, "l": [1], "n": None}
    assert type(first["x"]) is float
    assert decode_inputs(b'{"x": 3, "own": 4}', params)["own"] == 4
    with pytest.raises(InputError, match="the default"):
        decode_inputs(b"{}", [param("integer", optional=True, default="a")])


def test_a_default_is_made_anew_for_every_call() -> None:
    from jupyter_mlserve.worker.values import Inputs

    # A list default must not be shared, or one call could change it for the next.
    inputs = Inputs([param("vector", optional=True, default=[1.0])])
    inputs.decode(b"{}")["x"][0] = 99
    assert inputs.decode(b"{}")["x"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "dtype", "cells"),
    [
        ("[1, 2]", "int64", [1, 2]),
        ("[1, 2.5]", "float64", [1.0, 2.5]),
        ("[true, false]", "bool", [True, False]),
        ('["a", "bcd"]', "<U3", ["a", "bcd"]),
        ("[]", "float64", []),
        ('["a", null]', "object", ["a", None]),
        ("[true, null]", "object", [True, None]),
    ],
)
def test_vectors(text: str, dtype: str, cells: list[Any]) -> None:
    found = decode_inputs(f'{{"x": {text}}}'.encode(), [param("vector")])["x"]
    assert found.dtype == dtype
    assert found.tolist() == cells


def test_null_among_numbers_is_nan() -> None:
    found = decode_inputs(b'{"x": [1, null]}', [param("vector")])["x"]
    assert found[0] == 1.0
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    ("kind", "text", "field"),
    [
        ("vector", "[1, true]", "x[1]"),
        ("vector", '[1, 2, "a"]', "x[2]"),
        ("vector", "[null, true, 1]", "x[2]"),
        ("vector", "[[1]]", "x[0]"),
        ("vector", "[1, 1e999]", "x[1]"),
        ("vector", "[1, 9223372036854775808]", "x[1]"),
        ("vector", "[1.5, 1" + "0" * 400 + "]", "x[1]"),
        ("matrix", "[[1], [1, 2]]", "x[1]"),
        ("matrix", "[[1], 2]", "x[1]"),
    ],
)
def test_arrays_of_mixed_or_uneven_cells(kind: str, text: str, field: str) -> None:
    assert refused(f'{{"x": {text}}}', param(kind)).field == field


def test_matrices_keep_their_shape() -> None:
    found = decode_value([[1, 2, 3], [4, 5, 6]], param("matrix"))
    assert found.shape == (2, 3)
    assert found[1, 0] == 4
    assert decode_value([], param("matrix")).shape == (0, 0)
    assert decode_value([[], []], param("matrix")).shape == (2, 0)


def test_one_long_string_does_not_multiply() -> None:
    long = ["a" * 10_000_000, *["b"] * 100]
    with pytest.raises(InputError, match="very long"):
        decode_value(long, param("vector"))


FRAME = frame_param(n="numeric", i="integer", b="logical", s="character", t="datetime")


def test_a_frame_with_a_schema_has_its_types_whatever_came() -> None:
    columns = {
        "n": [1, None],
        "i": [1, 2.0],
        "b": [True, False],
        "s": ["a", None],
        "t": ["2024-01-01", None],
    }
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    by_columns, by_records = decode_value(columns, FRAME), decode_value(records, FRAME)
    pd.testing.assert_frame_equal(by_columns, by_records)
    assert list(by_columns.columns) == ["n", "i", "b", "s", "t"]
    kinds = [str(dtype) for dtype in by_columns.dtypes]
    assert kinds[:3] == ["float64", "int64", "bool"]
    assert kinds[3] in ("str", "object")
    assert kinds[4].startswith("datetime64")
    assert by_columns.isna().to_numpy()[1].tolist() == [True, False, False, True, True]
    empty = decode_value([], FRAME)
    assert [str(dtype) for dtype in empty.dtypes][:4] == kinds[:4]
    assert len(empty) == 0


def test_nullable_columns_hold_missing_integers_and_booleans() -> None:
    schema = frame_param(i="integer?", b="logical?")
    found = decode_value({"i": [1, None, 3.0], "b": [None, True, False]}, schema)
    assert [str(dtype) for dtype in found.dtypes] == ["Int64", "boolean"]
    assert found["i"].isna().tolist() == [False, True, False]
    assert found["i"][2] == 3


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"n": [1.0]}, "x.i"),
        ({"n": [1], "i": [1], "b": [True], "s": ["a"], "t": ["2024-01-01"], "w": [1]}, "x.w"),
        ({"i": [1], "n": [1], "b": [True], "s": ["a"], "t": ["2024-01-01"]}, "x"),
        ({"n": [1], "i": [1, 2], "b": [True], "s": ["a"], "t": ["2024-01-01"]}, "x.i"),
        ({"n": 1, "i": [1], "b": [True], "s": ["a"], "t": ["2024-01-01"]}, "x.n"),
        ({"n": ["1"], "i": [1], "b": [True], "s": ["a"], "t": ["2024-01-01"]}, "x.n[0]"),
        ({"n": [True], "i": [1], "b": [True], "s": ["a"], "t": ["2024-01-01"]}, "x.n[0]"),
        ({"n": [1], "i": [1.5], "b": [True], "s": ["a"], "t": ["2024-01-01"]}, "x.i[0]"),
        ({"n": [1], "i": [None], "b": [True], "s": ["a"], "t": ["2024-01-01"]}, "x.i[0]"),
        ({"n": [1], "i": [1], "b": [None], "s": ["a"], "t": ["2024-01-01"]}, "x.b[0]"),
        ({"n": [1], "i": [1], "b": [True], "s": [1], "t": ["2024-01-01"]}, "x.s[0]"),
        ({"n": [1], "i": [1], "b": [True], "s": ["a"], "t": ["soon"]}, "x.t[0]"),
        ({"n": [[1]], "i": [1], "b": [True], "s": ["a"], "t": ["2024-01-01"]}, "x.n[0]"),
        ([{"n": 1, "i": 1, "b": True, "s": "a", "t": "2024-01-01"}, {"n": 1}], "x[1].i"),
        ([{"i": 1, "n": 1, "b": True, "s": "a", "t": "2024-01-01"}], "x[0]"),
        ([3], "x[0]"),
    ],
)
def test_a_frame_that_breaks_its_schema_names_the_column(value: Any, field: str) -> None:
    assert refused(json.dumps({"x": value}), FRAME).field == field


def test_the_order_of_columns_is_told() -> None:
    error = refused('{"x": {"wt": [1], "hp": [2]}}', frame_param(hp="numeric", wt="numeric"))
    assert error.expected == "the columns in the order hp, wt"
    assert error.got == "wt, hp"


def test_dates_of_a_column_agree_about_zones() -> None:
    schema = frame_param(t="datetime")
    zoned = decode_value({"t": ["2024-01-01T00:00Z", "2024-01-01T02:00+02:00"]}, schema)
    assert zoned["t"].nunique() == 1
    assert str(zoned["t"].dt.tz) == "UTC"
    assert refused('{"x": {"t": ["2024-01-01T00:00Z", "2024-01-01"]}}', schema).field == "x.t"
    comma = decode_value({"t": ["2024-01-01T00:00:00,5", "2024-01-01"]}, schema)
    assert comma["t"][0].microsecond == 500_000


def test_a_frame_without_a_schema_is_what_pandas_makes_of_it() -> None:
    value = {"i": [1, 2], "f": [1, 2.5], "g": [1, None], "b": [True, False], "s": ["a", "b"]}
    found = decode_value(value, param("data.frame"))
    pd.testing.assert_frame_equal(found, pd.DataFrame(value))
    mixed = decode_value({"m": [1, "a", None, True]}, param("data.frame"))
    assert mixed["m"].tolist() == [1, "a", None, True]
    assert decode_value({}, param("data.frame")).empty
    assert decode_value([{"a": 1, "b": 2}, {"b": 3, "a": 4}], param("data.frame"))[
        "b"
    ].tolist() == [2, 3]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1], "b": [1, 2]}',
        '{"a": [[1]]}',
        '{"a": [{}]}',
        '{"a": [1e999]}',
        '{"a": ["b", 1e999]}',
        '[{"a": 1}, {"b": 1}]',
        '[{"a": 1}, {"a": 1, "b": 2}]',
        '[{"a": 1}, 3]',
    ],
)
def test_frames_that_are_no_frames(text: str) -> None:
    refused(f'{{"x": {text}}}', param("data.frame"))


def test_integers_beyond_64_bits_are_numbers_in_a_frame_without_a_schema() -> None:
    found = decode_value({"a": [2**70, 1]}, param("data.frame"))
    assert found["a"].dtype == "float64"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**310)
    | st.floats()
    | st.text()
    | st.sampled_from(["2024-01-01", "2024-01-01T00:00:00Z", "aGk=", "9999-12-31", "0001-01-01"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "x"]) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
columns = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["a", "b", "c"]),
            "type": st.sampled_from(["logical", "integer", "numeric", "character", "datetime"]),
            "nullable": st.booleans(),
        }
    ),
    max_size=3,
    unique_by=lambda column: column["name"],
)
params = st.builds(
    lambda kind, found: (
        param(kind, columns=found) if kind == "data.frame" and found else param(kind)
    ),
    st.sampled_from(KINDS),
    columns,
)


def only_input_errors(body: bytes, declared: list[Param]) -> None:
    try:
        found = decode_inputs(body, declared)
    except InputError as exc:
        json.dumps([exc.field, exc.expected, exc.got]).encode()
        str(exc).encode()
    else:
        assert list(found) == [item["name"] for item in declared]


@settings(max_examples=400, deadline=None)
@given(json_values, params)
@example({"a": ["9999-12-31"]}, frame_param(a="datetime"))
@example({"a": [None]}, frame_param(a="datetime"))
@example([["a", None], [None, "a"]], param("matrix"))
def test_any_json_decodes_or_raises_input_error(value: Any, declared: Param) -> None:
    only_input_errors(json.dumps({"x": value}).encode(), [declared])


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60) | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    params,
)
def test_any_bytes_decode_or_raise_input_error(body: bytes, declared: Param) -> None:
    only_input_errors(body, [declared])


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.lists(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
            max_size=3,
        ),
    ),
    columns,
)
def test_any_table_decodes_or_raises_input_error(value: Any, found: Any) -> None:
    only_input_errors(
        json.dumps({"x": value}).encode(), [param("data.frame", columns=found or None)]
    )
