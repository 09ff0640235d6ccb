"""Live frames and values, and JSON against declared types."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_mlserve.contract.errors import InvalidDefinition
from jupyter_mlserve.contract.learn import columns_of, param_of_value, to_json
from jupyter_mlserve.contract.types import parse_params, type_text
from jupyter_mlserve.contract.values import describe, json_problem, misfit
from jupyter_mlserve.worker.describe import InputError
from jupyter_mlserve.worker.inputs import Inputs


def decode(params: Any, sample: dict[str, Any]) -> dict[str, Any]:
    """What a worker makes of a call: the other side of the same rules."""
    return Inputs(params).decode(json.dumps(sample, allow_nan=False).encode())


def column(values: Any, dtype: Any = None) -> dict[str, Any]:
    (found,) = columns_of(pd.DataFrame({"c": pd.Series(values, dtype=dtype)}))
    assert found.pop("name") == "c"
    return dict(found)


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "nullable"),
    [
        ([1, 2], "int64", "integer", False),
        ([1, 2], "uint8", "integer", False),
        ([1.5, None], "float64", "numeric", False),
        ([1.5], "float32", "numeric", False),
        ([True, False], "bool", "logical", False),
        ([1, None], "Int64", "integer", True),
        ([1.5, None], "Float64", "numeric", False),
        ([True, None], "boolean", "logical", True),
        (["a", None], "string", "character", False),
        (["a", None], "object", "character", False),
        (["a", "b"], None, "character", False),
        ([True, None], "object", "logical", True),
        ([1, None], "object", "integer", True),
        ([1, 2.5], "object", "numeric", False),
        ([dt.date(2024, 1, 1)], "object", "datetime", False),
        (["2024-01-01"], "datetime64[ns]", "datetime", False),
        (["2024-01-01"], "datetime64[ns, UTC]", "datetime", False),
        (["a", "b"], "category", "character", False),
        ([1, 2], "category", "integer", False),
        ([1, None], "category", "integer", True),
    ],
)
def test_columns_are_learnt(values: Any, dtype: str, kind: str, nullable: bool) -> None:
    assert column(values, dtype) == {"type": kind} | ({"nullable": True} if nullable else {})


@pytest.mark.parametrize(
    ("frame", "part"),
    [
        (pd.DataFrame({"c": [1j]}), "'c'"),
        (pd.DataFrame({"c": [pd.Timedelta(1)]}), "'c'"),
        (pd.DataFrame({"c": ["a", 1]}, dtype=object), "'c'"),
        (pd.DataFrame({"c": [[1]]}), "'c'"),
        (pd.DataFrame({"c": [None]}, dtype=object), "'c'"),
        (pd.DataFrame([[1]]), "column 0"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns 'a'"),
        (pd.DataFrame(), "no columns"),
        (pd.DataFrame(np.zeros((1, 4097))), "4097 columns"),
    ],
)
def test_frames_without_a_schema_say_which_column(frame: pd.DataFrame, part: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        columns_of(frame)
    assert part in caught.value.message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "bool"),
        (3, "int"),
        (2.5, "float"),
        ("a", "str"),
        (b"a", "bytes"),
        ([1], "list"),
        ({"a": 1}, "dict"),
        (np.array([1.0]), "numpy.array"),
        (np.array([[1.0]]), "numpy.matrix"),
        (np.float32(1), "float"),
        (np.int64(1), "int"),
        (dt.datetime(2024, 1, 1), "datetime"),
        (pd.Timestamp("2024-01-01"), "datetime"),
        (pd.DataFrame({"hp": [1.0], "my n": [1]}), "DataFrame[hp: float, 'my n': int]"),
    ],
    ids=lambda item: type(item).__name__,
)
def test_types_are_learnt_from_values(value: Any, text: str) -> None:
    param = param_of_value("x", value)
    assert type_text(param) == text
    found = to_json(value)
    json.dumps(found, allow_nan=False)
    assert misfit(found, param) is None


def test_none_has_no_type() -> None:
    with pytest.raises(InvalidDefinition, match="Declare it"):
        param_of_value("x", None)


def test_missing_values_of_frames_become_null() -> None:
    frame = pd.DataFrame(
        {
            "f": [1.5, np.nan],
            "s": ["a", None],
            "t": pd.to_datetime(["2024-01-01", None]),
            "i": pd.array([1, None], dtype="Int64"),
        }
    )
    assert to_json(frame) == {
        "f": [1.5, None],
        "s": ["a", None],
        "t": ["2024-01-01T00:00:00", None],
        "i": [1, None],
    }


GOOD_AND_BAD: dict[str, tuple[list[Any], list[Any]]] = {
    "bool": ([True, False, None], [0, 1, "true", [], 1.0]),
    "int": ([3, 3.0, -(2**63), 2**63 - 1, None], [True, 2.5, "3", 2**63, 1e300, [3]]),
    "float": ([3, 2.5, -1e308, None], [True, "3", [1.0], {}, 10**309]),
    "str": (["", "é", None], [1, True, ["a"]]),
    "datetime": (
        [
            "2024-05-31",
            "2024-05-31T12:00",
            "2024-05-31 12:00:00.123456789Z",
            "2024-02-29T00:00:00+02:00",
            "2024-05-31T12:00:00-0300",
        ],
        [
            "",
            "soon",
            "2023-02-29",
            "2024-13-01",
            "2024-05-31T24:00",
            "12:00",
            3,
            "2024-05-31T",
            "٢٠٢٤-05-31",
            "2024-05-31\n",
        ],
    ),
    "bytes": (["", "AA==", "YWJj"], ["A", "A=A=", "====", "AA==\n", "é", 3, "AA"]),
    "numpy.array": (
        [[], [1, 2.5], ["a", None], [True], [None, 1.0], [None], [2**64, 1.5]],
        [[[1]], [{}], {}, 3, "a", [1, "a"], [True, 1], ["a", True], [2**64], [10**309, 1.5]],
    ),
    "numpy.matrix": (
        [[], [[]], [[1, 2]], [[1], [2]], [["a"], [None]]],
        [[[1], [2, 3]], [1], {}, [[[1]]], "a", [[1], ["a"]]],
    ),
    "list": ([[], [1, "a", None, [{}]]], [{}, 3, "a", [2**64]]),
    "dict": ([{}, {"a": [1]}], [[], 3, "a", {"a": {"b": 2**64}}]),
    "DataFrame": (
        [{}, {"a": [1, "x", True]}, [], [{"a": 1, "b": 2}, {"b": 1, "a": None}]],
        [{"a": 1}, {"a": [1], "b": []}, [1], [{"a": 1}, {"b": 1}], 3, {"a": [[1]]}],
    ),
    "DataFrame[a: int, b: float]": (
        [{"a": [1], "b": [2.5]}, [{"a": 1, "b": None}], {"a": [], "b": []}, []],
        [
            {"b": [2.5], "a": [1]},
            {"a": [1]},
            {"a": [1], "b": [1], "c": [1]},
            {},
            {"a": [None], "b": [1]},
            {"a": [1.5], "b": [1]},
            [{"b": 1, "a": 1}],
            {"a": [1], "b": 1},
        ],
    ),
    "DataFrame[a: int?, b: bool?, c: str, d: datetime]": (
        [
            {"a": [None], "b": [None], "c": [None], "d": [None]},
            {"a": [1, 2], "b": [True] * 2, "c": [""] * 2, "d": ["2024-01-01", "2024-01-01 12:00"]},
        ],
        [
            {"a": [""], "b": [None], "c": [None], "d": [None]},
            {"a": [1], "b": [True], "c": ["x"], "d": ["x"]},
            {"a": [1, 2], "b": [True] * 2, "c": [""] * 2, "d": ["2024-01-01", "2024-01-01 12:00Z"]},
        ],
    ),
}


@pytest.mark.parametrize("text", GOOD_AND_BAD)
def test_values_against_types(text: str) -> None:
    (param,) = parse_params(f"x: {text}")
    good, bad = GOOD_AND_BAD[text]
    for value in good:
        assert json_problem(value) is None
        assert misfit(value, param) is None, value
        assert list(decode([param], {"x": value})) == ["x"]
    for value in bad:
        problem = misfit(value, param)
        assert problem, value
        assert "expected" in problem
        with pytest.raises(InputError):
            decode([param], {"x": value})


def test_misfits_say_what_was_expected_and_what_came() -> None:
    (param,) = parse_params("x: DataFrame[hp: float, wt: float]")
    assert misfit({"wt": [1], "hp": [2]}, param) == (
        "expected the columns hp, wt in this order, got wt, hp"
    )
    assert misfit({"hp": [1], "wt": ["a"]}, param) == (
        "column wt: expected a number, got the string 'a'"
    )
    (param,) = parse_params("x: float")
    assert misfit(True, param) == "expected a number, got true"


def test_what_is_no_json_is_found_at_any_depth() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for value, part in [
        (deep, "nested deeper"),
        ([float("nan")], "NaN"),
        ({"a": [float("inf")]}, "NaN"),
        ({"a": {1: 2}}, "no string"),
        (["\ud800"], "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        ([object()], "object"),
        ({"a": {1, 2}}, "set"),
        ([10**400], "400 digits"),
        ("x" * 300_000, "bytes as JSON"),
        ([0] * 300_000, "values"),
    ]:
        problem = json_problem(value)
        assert problem is not None
        assert part in problem


def test_describe_is_short() -> None:
    for value in ("x" * 10_000, 10**300, [1] * 1000, {"a": "b" * 1000}, object(), None, True, 1.5):
        assert 0 < len(describe(value)) < 80


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_this_side_accepts_the_worker_decodes(draw_from: type, data: st.DataObject) -> None:
    params = data.draw(draw_from.params())
    sample = {param["name"]: data.draw(draw_from.values(param)) for param in params}
    for param in params:
        assert json_problem(sample[param["name"]]) is None
        assert misfit(sample[param["name"]], param) is None
    assert set(decode(params, sample)) == set(sample)
