from __future__ import annotations

import datetime as dt
import inspect
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated, Any, ForwardRef, Literal, NewType, Optional, Union

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_mlserve.contract.errors import BadRequest, InvalidDefinition, InvalidName
from jupyter_mlserve.contract.types import (
    Declared,
    make_param,
    params_of,
    params_to_text,
    parse_params,
    parse_type,
    to_text,
)

Celsius = NewType("Celsius", float)

TEXTS = {
    "logical": "bool logical builtins.bool np.bool_ numpy.bool",
    "integer": "int integer np.int64 numpy.uint8 np.intp",
    "numeric": "float numeric np.float32 numpy.floating int|float Union[int,float]",
    "character": "str character np.str_",
    "vector": "vector numpy.array np.array np.ndarray ndarray array npt.NDArray[np.float64] "
    "numpy.typing.NDArray",
    "matrix": "matrix numpy.matrix np.matrix",
    "data.frame": "data.frame pandas.DataFrame pd.DataFrame DataFrame pandas.core.frame.DataFrame",
    "datetime": "datetime datetime.datetime dt.date date pd.Timestamp Timestamp np.datetime64",
    "bytes": "bytes",
    "list": "list List list[float] typing.List[int] Sequence[float] collections.abc.Sequence[str] "
    "list[dict[str,int]]",
    "dict": "dict Dict dict[str,float] Mapping typing.Dict[str,list[int]] t.Mapping[str,int]",
}
OBJECTS: list[tuple[object, str]] = [
    (bool, "logical"),
    (int, "integer"),
    (float, "numeric"),
    (str, "character"),
    (bytes, "bytes"),
    (list, "list"),
    (dict, "dict"),
    (list[float], "list"),
    (dict[str, int], "dict"),
    (Sequence[float], "list"),
    (np.array, "vector"),
    (np.ndarray, "vector"),
    (npt.NDArray[np.float64], "vector"),
    (np.matrix, "matrix"),
    (np.float64, "numeric"),
    (np.float32, "numeric"),
    (np.int64, "integer"),
    (np.uint8, "integer"),
    (np.bool_, "logical"),
    (np.str_, "character"),
    (np.dtype("float64"), "numeric"),
    (np.dtype("bool"), "logical"),
    (pd.DataFrame, "data.frame"),
    (pd.Timestamp, "datetime"),
    (dt.datetime, "datetime"),
    (dt.date, "datetime"),
    (Celsius, "numeric"),
    (Annotated[float, "in mpg"], "numeric"),
    (Literal["a", "b"], "character"),
    (Literal[1, 2], "integer"),
    (int | float, "numeric"),
    (ForwardRef("pd.DataFrame"), "data.frame"),
    ("float", "numeric"),
    ({"type": "numeric"}, "numeric"),
    (Declared("numeric"), "numeric"),
]


@pytest.mark.parametrize(
    ("text", "wire"), [(text, wire) for wire, texts in TEXTS.items() for text in texts.split()]
)
def test_every_spelling_of_a_type(text: str, wire: str) -> None:
    assert parse_type(text) == Declared(wire)


@pytest.mark.parametrize(("spec", "wire"), OBJECTS, ids=lambda item: str(item)[:40])
def test_every_annotation(spec: object, wire: str) -> None:
    assert parse_type(spec) == Declared(wire)


@pytest.mark.parametrize(
    "spec",
    [
        "float?",
        "float | None",
        "None | float",
        "Optional[float]",
        "typing.Optional[float]",
        "Union[float, None]",
        "Union[None, float]",
        "'float | None'",
        "Optional['float']",
        "Annotated[float | None, 'note, with [brackets']",
        float | None,
        Optional[float],  # noqa: UP045
        Union[None, float],  # noqa: UP007
        Annotated[Optional[float], 1],  # noqa: UP045
        ForwardRef("Optional[float]"),
    ],
    ids=str,
)
def test_nullable(spec: object) -> None:
    assert parse_type(spec) == Declared("numeric", None, True)


def test_a_frame_with_a_schema() -> None:
    found = parse_type("DataFrame[hp: float, n: int?, 'petal length (cm)': Optional[float]]")
    assert found.columns == (
        {"name": "hp", "type": "numeric"},
        {"name": "n", "type": "integer", "nullable": True},
        {"name": "petal length (cm)", "type": "numeric"},
    )


def test_types_are_recognised_without_their_libraries() -> None:
    program = (
        "import sys\n"
        "from jupyter_mlserve.contract import definition, openapi, swagger, types, learn\n"
        "types.parse_params('a: np.array, df: pd.DataFrame[hp: float], m: numpy.matrix = [[1]]')\n"
        "heavy = {'numpy', 'pandas', 'dill', 'tornado', 'sqlalchemy'} & set(sys.modules)\n"
        "rooms = {m for m in sys.modules if m.startswith('jupyter_mlserve.') "
        "and not m.startswith(('jupyter_mlserve.contract', 'jupyter_mlserve._version'))}\n"
        "assert not heavy and not rooms, (heavy, rooms)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_params_of_the_design() -> None:
    assert parse_params("hp: float, wt: float = 2.5, df: DataFrame[hp: float, n: int?]") == [
        {"name": "hp", "type": "numeric"},
        {"name": "wt", "type": "numeric", "optional": True, "default": 2.5},
        {
            "name": "df",
            "type": "data.frame",
            "columns": [
                {"name": "hp", "type": "numeric"},
                {"name": "n", "type": "integer", "nullable": True},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("text", "default"),
    [
        ("x: float = 2", 2),
        ("x: float = -2.5", -2.5),
        ("x: float?", None),
        ("x: float = None", None),
        ("x: float = null", None),
        ("x: float? = 3", 3),
        ("x: bool = true", True),
        ("x: bool=False", False),
        ("x: int = 3.0", 3.0),
        ("x: str = 'a, b = [c]'", "a, b = [c]"),
        ('x: str = "it\'s"', "it's"),
        ("x: str = ''", ""),
        ("x: numpy.array = [1, 2]", [1, 2]),
        ("x: numpy.matrix = [[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("x: list = (1, 'a')", [1, "a"]),
        ("x: dict = {'a': [1, {'b': None}]}", {"a": [1, {"b": None}]}),
        ("x: bytes = b'abc'", "YWJj"),
        ("x: bytes = 'YWJj'", "YWJj"),
        ("x: datetime = '2024-05-31'", "2024-05-31"),
        ("x: DataFrame[a: int] = {'a': [1, 2]}", {"a": [1, 2]}),
        ("x: DataFrame = [{'a': 1}]", [{"a": 1}]),
    ],
)
def test_defaults_in_text(text: str, default: object) -> None:
    (param,) = parse_params(text)
    assert param["optional"] is True
    assert param["default"] == default
    assert parse_params(to_text(param)) == [param]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("hp", ["hp: float"]),
        ("hp, wt: float", ["'hp' has no type"]),
        ("hp: flaot", ["'flaot'", "Did you mean float?"]),
        ("hp: string", ["'string'", "Did you mean str?"]),
        ("df: dataframe", ["Did you mean DataFrame?"]),
        ("s: pd.Series", ["Did you mean numpy.array?"]),
        ("hp: float wt: int", ["'wt: int'", "','"]),
        ("hp: float, , wt: int", ["', wt: int'", "the name of an input"]),
        ("1a: int", ["'1a: int'", "the name"]),
        ("class: int", ["'class'", "keyword"]),
        ("__builtins__: int", ["'__builtins__'"]),
        ("é: int", ["'é'", "ASCII"]),
        ("a: int, a: float", ["'a'", "twice"]),
        ("x: float = y", ["'y'", "literal"]),
        ("x: float = __import__('os')", ["literal"]),
        ("x: float =", ["literal"]),
        ("x: float = 'a'", ["'x'", "a number", "'a'"]),
        ("x: int = 2.5", ["an integer", "2.5"]),
        ("x: int = True", ["an integer"]),
        ("x: int = 99999999999999999999", ["an integer"]),
        ("x: float = 1e999", ["NaN or infinite"]),
        ("x: str = b'a'", ["bytes"]),
        ("x: dict = {1: 2}", ["1", "no string"]),
        ("x: list = {1, 2}", ["set"]),
        ("x: datetime = 'soon'", ["ISO 8601"]),
        ("x: datetime = '2023-02-30'", ["ISO 8601"]),
        ("x: float = [1, 2", ["'[1, 2'", "not closed"]),
        ("x: DataFrame[a]", ["column 'a' has no type"]),
        ("x: DataFrame[a: float", ["at its end", "']'"]),
        ("x: DataFrame[a: list]", ["'list]'", "a column is"]),
        ("x: DataFrame[a: int, a: int]", ["'a'", "twice"]),
        ("x: DataFrame[]", ["no columns"]),
        ("x: DataFrame['': int]", ["column name"]),
        ("x: DataFrame[a: float] = {'b': [1]}", ["columns a", "got b"]),
        ("x: float[3]", ["'[3]'", "float takes no"]),
        ("x: int | str", ["several types"]),
        ("x: None", ["None alone"]),
        ("x: Optional[]", ["None alone"]),
        ("x: " + "Optional[" * 60 + "int" + "]" * 60, ["too deep"]),
    ],
)
def test_errors_quote_the_piece_at_fault(text: str, pieces: list[str]) -> None:
    with pytest.raises((InvalidDefinition, InvalidName)) as caught:
        parse_params(text)
    for piece in pieces:
        assert piece in caught.value.message
    assert len(caught.value.message) < 600


def test_outputs_have_no_defaults_and_are_always_nullable() -> None:
    assert parse_params("a: float?, b: DataFrame", output=True) == [
        {"name": "a", "type": "numeric"},
        {"name": "b", "type": "data.frame"},
    ]
    with pytest.raises(InvalidDefinition, match="output 'a' cannot have a default"):
        parse_params("a: float = 1", output=True)
    with pytest.raises(InvalidDefinition, match="outputs 'a'"):
        parse_params("a", output=True)


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_no_parameters(text: str) -> None:
    assert parse_params(text) == []


def test_whitespace_newlines_and_a_trailing_comma_do_not_matter() -> None:
    assert parse_params("\n hp :float ,\n wt: np . ndarray,\n") == parse_params(
        "hp: float, wt: vector"
    )


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        (complex, "complex"),
        (Any, "Any"),
        (object, "object"),
        (None, "None"),
        (inspect.Parameter.empty, "no type"),
        (3, "3"),
        (int | str, "several types"),
        (pd.Series, "numpy.array"),
        (set, "set"),
        (pytest, "pytest"),
        ("", "expected a type"),
    ],
    ids=str,
)
def test_what_is_no_type_is_told_the_types(spec: object, part: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        parse_type(spec)
    assert part in caught.value.message


def test_defaults_of_functions_become_json() -> None:
    def default(spec: object, value: object) -> object:
        return make_param("x", spec, value)["default"]

    assert default(float, np.float64(2.5)) == 2.5
    assert type(default(int, np.int64(3))) is int
    assert default(bool, np.True_) is True
    assert default(np.ndarray, np.array([1.5, 2.5])) == [1.5, 2.5]
    assert default(np.matrix, np.array([[1, 2]])) == [[1, 2]]
    assert default(bytes, b"\x00") == "AA=="
    assert default(dt.datetime, dt.datetime(2024, 5, 31, 12)) == "2024-05-31T12:00:00"
    assert default(dt.datetime, pd.Timestamp("2024-05-31")) == "2024-05-31T00:00:00"
    assert default(dt.datetime, np.datetime64("2024-05-31")) == "2024-05-31T00:00:00"
    assert default(pd.DataFrame, pd.DataFrame({"a": [1.5, None]})) == {"a": [1.5, None]}
    assert default(float, pd.NA) is None
    with pytest.raises(InvalidDefinition, match="'x'"):
        default(list, [object()])


def test_params_of_takes_what_callers_have() -> None:
    wanted = parse_params("hp: float, n: int?")
    assert params_of("hp: float, n: int?") == wanted
    assert params_of({"hp": float, "n": "int?"}) == wanted
    assert params_of(wanted) == wanted
    assert params_of(["hp: float", {"name": "n", "type": "int?"}]) == wanted
    default = {"x": {"type": "float", "optional": True, "default": 3}}
    assert params_of(default) == parse_params("x: float = 3")
    assert params_of({"x": {"type": "float", "optional": True}}) == parse_params("x: float?")
    assert params_of(None) == params_of({}) == params_of([]) == []
    frame = pd.DataFrame({"hp": [1.0]})
    assert params_of({"df": frame}) == parse_params("df: DataFrame[hp: float]")
    assert params_of({"a": float}, output=True) == [{"name": "a", "type": "numeric"}]
    with pytest.raises(InvalidDefinition, match="from a int"):
        params_of(3)
    with pytest.raises(InvalidDefinition, match="input 'hp'"):
        params_of({"hp": complex})


@pytest.mark.parametrize(
    "columns",
    [
        3,
        "hp: float",
        {"hp": "float"},
        ["hp"],
        [{"name": "hp"}],
        [{"type": "float"}],
        [{"name": "hp", "type": "list"}],
        [{"name": "", "type": "float"}],
    ],
)
def test_bad_columns_in_a_dict_are_told(columns: object) -> None:
    with pytest.raises(BadRequest):
        params_of([{"name": "df", "type": "data.frame", "columns": columns}])
    with pytest.raises(BadRequest):
        params_of({"x": {"type": "float", "columns": [{"name": "hp", "type": "float"}]}})


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_text_reads_back_to_the_same_parameters(draw_from: type, data: st.DataObject) -> None:
    params = data.draw(draw_from.params())
    assert parse_params(params_to_text(params)) == params


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text("ab:,=?|[](){}'\"\\ .1-\n", max_size=25)
    | st.lists(
        st.sampled_from(
            ["x", ":", "float", "=", "DataFrame", "[", "]", ",", "?", "'", "Optional", "1", "|"]
        ),
        max_size=14,
    ).map(" ".join)
)
def test_no_text_breaks_the_reader(text: str) -> None:
    message = "."
    try:
        parse_params(text)
    except BadRequest as exc:
        message = exc.message
    assert message.endswith(".")
