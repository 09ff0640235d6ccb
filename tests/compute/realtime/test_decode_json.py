"""Every rule for what comes in as JSON, seen through models that answer with their input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.echo_model import answer, body_of, column, echo

from jupyter_mlserve.compute.realtime.scoring import Scorer
from jupyter_mlserve.contract.errors import CallTimeout, InvalidInput, TooLarge
from jupyter_mlserve.contract.realtime import NULL_TEXT
from jupyter_mlserve.worker.values import InputError, decode_inputs

HP_WT = [column("hp"), column("wt")]
ALL = [
    column("n", "numeric", True),
    column("i", "integer", True),
    column("b", "logical", True),
    column("s", "character", True),
]
RESPONSE = {"name": "mpg", "type": "numeric", "position": 1}
ONE = {"n": [1.5], "i": [2], "b": [True], "s": ["x"]}
MIXED = echo(*ALL)


@pytest.fixture(scope="module")
def plain() -> Scorer:
    return echo(*HP_WT)


@pytest.fixture(scope="module")
def mixed() -> Scorer:
    return MIXED


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    """The training frame carried the response between its columns."""
    return echo(*HP_WT, response=RESPONSE)


def refused(scorer: Scorer, data: Any) -> InvalidInput:
    """The error for a frame (or the bytes of a whole body); it must be the same for more rows."""
    body = data if isinstance(data, bytes) else body_of(data)
    with pytest.raises(InvalidInput) as caught:
        scorer.score(body)
    error = caught.value
    assert {"field", "expected", "got"} <= set(error.details)
    assert str(error).endswith(".")
    if body and error.details["got"] != "one":
        assert error.details["expected"] in str(error)
    elif body:  # an input or a column too many
        assert " is not declared; the " in str(error)
    else:
        assert str(error) == 'The body is empty; send {"inputData": {...}}.'
    return error


def outcome(body: bytes) -> tuple[Any, InvalidInput | None]:
    """The answer of the mixed echo, or its error."""
    try:
        return answer(MIXED.score(body)), None
    except InvalidInput as exc:
        return None, exc


def what(error: InvalidInput) -> tuple[Any, ...]:
    """Field, column, row, expected, got."""
    return tuple(error.details.get(key) for key in ("field", "column", "row", "expected", "got"))


@pytest.mark.parametrize("rows", [1, 2, 3000])
def test_columns_and_records_give_the_same(mixed: Scorer, rows: int) -> None:
    columns = {name: cells * rows for name, cells in ONE.items()}
    records = [{name: cells[0] for name, cells in ONE.items()}] * rows
    found = answer(mixed.score(body_of(columns)))
    assert found == {"n": [1.5] * rows, "i": [2.0] * rows, "b": [1.0] * rows, "s": ["x"] * rows}
    assert answer(mixed.score(body_of(records))) == found


@pytest.mark.parametrize("empty", [[], {"n": [], "i": [], "b": [], "s": []}])
def test_no_rows_give_empty_columns(mixed: Scorer, empty: Any) -> None:
    assert answer(mixed.score(body_of(empty))) == {"n": [], "i": [], "b": [], "s": []}


@pytest.mark.parametrize(
    ("data", "field", "expected", "got"),
    [
        ({"hp": [1]}, "inputData.wt", "this column", "none of this name"),
        (
            {"hp": [1], "WT": [2]},
            "inputData.wt",
            "this column",
            "none of this name (but 'WT', which is not declared)",
        ),
        (
            {"hp": [1], "wt": [2], "am": [3]},
            "inputData.am",
            "no such column (the columns are hp, wt)",
            "one",
        ),
        (
            {"wt": [1], "hp": [2]},
            "inputData",
            "the columns in the order hp, wt",
            "'wt' in the place of 'hp'",
        ),
        ({}, "inputData.hp", "this column", "none of this name"),
        ([{}], "inputData[0].hp", "this column", "none of this name"),
        ([{"hp": 1, "wt": 2}, {"hp": 1}], "inputData[1].wt", "this column", "none of this name"),
        (
            [{"hp": 1, "wt": 2}, {"wt": 1, "hp": 2}],
            "inputData[1]",
            "the columns in the order hp, wt",
            "'wt' in the place of 'hp'",
        ),
        ([[1, 2]], "inputData[0]", "a record (an object)", "an array of 2"),
        ([{"hp": 1, "wt": 2}, 3], "inputData[1]", "a record (an object)", "3"),
        ({"hp": 1, "wt": 2}, "inputData.hp", "an array of values for the column", "1"),
        ({"hp": [1], "wt": None}, "inputData.wt", "an array of values for the column", "null"),
        (
            {"hp": [1, 2], "wt": [2]},
            "inputData.wt",
            "2 values, as in the columns before it",
            "1",
        ),
        (None, "inputData", "an object of columns, or an array of records", "null"),
        (3, "inputData", "an object of columns, or an array of records", "3"),
        ("x", "inputData", "an object of columns, or an array of records", "the string 'x'"),
    ],
)
def test_frames_of_another_form(
    plain: Scorer, data: Any, field: str, expected: str, got: str
) -> None:
    found = what(refused(plain, data))
    assert (found[0], *found[3:]) == (field, expected, got)


def test_missing_extra_and_misplaced_columns_are_named(plain: Scorer) -> None:
    assert refused(plain, {"hp": [1]}).details["column"] == "wt"
    assert refused(plain, {"hp": [1], "wt": [1], "am": [1]}).details["column"] == "am"
    assert refused(plain, {"wt": [1], "hp": [1]}).details["column"] == "wt"
    wrong = refused(plain, [{"hp": 1, "wt": 2}, {"wt": 1, "hp": 2}])
    assert wrong.details["row"] == 1


@pytest.mark.parametrize(
    ("name", "cell", "expected", "got"),
    [
        ("n", "1", "a number or null", "the string '1'"),
        ("n", True, "a number or null", "true"),
        ("n", [1], "a number or null", "an array of 1"),
        ("n", {"a": 1}, "a number or null", "an object of 1"),
        ("n", 10**400, "a number that a double can hold or null", "a huge integer"),
        ("i", 3.5, "an integer or null", "3.5"),
        ("i", "3", "an integer or null", "the string '3'"),
        ("i", False, "an integer or null", "false"),
        ("i", 2**53 + 1, "an integer of at most 9007199254740992 in size or null", str(2**53 + 1)),
        ("i", -(2**53) - 1, "an integer of at most 9007199254740992 in size or null", None),
        ("i", 1e300, "an integer of at most 9007199254740992 in size or null", "1e+300"),
        ("i", 10**400, "an integer of at most 9007199254740992 in size or null", "a huge integer"),
        ("b", 1, "true or false or null", "1"),
        ("b", "true", "true or false or null", "the string 'true'"),
        ("b", 0.0, "true or false or null", "0.0"),
        ("s", 1, "a string or null", "1"),
        ("s", True, "a string or null", "true"),
        ("s", ["x"], "a string or null", "an array of 1"),
    ],
)
@pytest.mark.parametrize("before", [0, 2, 2500])
def test_types_are_not_cast(
    mixed: Scorer, name: str, cell: Any, expected: str, got: str | None, before: int
) -> None:
    columns = {key: cells * before + cells for key, cells in ONE.items()}
    columns[name] = [*columns[name][:-1], cell]
    wanted = (f"inputData.{name}[{before}]", name, before, expected)
    found = what(refused(mixed, columns))
    assert found[:4] == wanted
    assert got in (None, found[4])
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert what(refused(mixed, records)) == found


@pytest.mark.parametrize("rows", [1, 2])
def test_whole_numbers_are_integers_and_integers_are_numbers(mixed: Scorer, rows: int) -> None:
    data = {"n": [7] * rows, "i": [3.0] * rows, "b": [False] * rows, "s": [""] * rows}
    found = answer(mixed.score(body_of(data)))
    assert found == {"n": [7.0] * rows, "i": [3.0] * rows, "b": [0.0] * rows, "s": [""] * rows}
    for exact in (2**53, -(2**53), 2**53 - 1, 9007199254740992.0):
        found = answer(mixed.score(body_of({**data, "i": [exact] * rows})))
        assert found["i"] == [float(exact)] * rows


@pytest.mark.parametrize("rows", [1, 2])
def test_null_where_the_model_was_proven_with_it(mixed: Scorer, rows: int) -> None:
    nulls = {name: [None] * rows for name in ONE}
    assert answer(mixed.score(body_of(nulls))) == nulls
    records = [dict.fromkeys(ONE)] * rows
    assert answer(mixed.score(body_of(records))) == nulls


@pytest.mark.parametrize("name", list(ONE))
@pytest.mark.parametrize("rows", [1, 2])
def test_null_is_refused_elsewhere(name: str, rows: int) -> None:
    strict = echo(*[{**item, "nullable": item["name"] != name} for item in ALL])
    data = {key: [None] * rows for key in ONE} | {name: [*ONE[name] * (rows - 1), None]}
    error = refused(strict, data)
    assert what(error)[:3] == (f"inputData.{name}[{rows - 1}]", name, rows - 1)
    assert error.details["got"] == "null"
    assert "null" not in error.details["expected"]


RULES = [
    (column("c", "character", known=["a", "b"]), "b", "c", "one of the values the model knows"),
    (column("c", "character", True, known=["a", "b"]), None, "", "one of the values the model"),
    (column("c", "integer", known=[1, 2]), 2, 3, "one of the values the model knows (1, 2)"),
    (column("c", "integer", known=[1, 2]), 2.0, 0, "one of the values the model knows (1, 2)"),
    (column("c", "numeric", known=[0.5, 2]), 2, 1.0, "one of the values the model knows (0.5, 2)"),
    (column("c", "numeric", True, known=[0.5]), None, 9, "one of the values the model knows"),
    (column("c", "logical", known=[True]), True, False, "one of the values the model knows (True)"),
    (column("c", "numeric", range=[0, 10]), 10, 10.5, "a number from 0 to 10"),
    (column("c", "numeric", True, range=[0, 10]), None, -1e-9, "a number from 0 to 10"),
    (column("c", "integer", range=[-1, 1]), -1, 2, "an integer from -1 to 1"),
]


@pytest.mark.parametrize(("item", "right", "wrong", "expected"), RULES)
@pytest.mark.parametrize("rows", [1, 3])
def test_known_values_and_ranges(
    item: Any, right: Any, wrong: Any, expected: str, rows: int
) -> None:
    scorer = echo(column("x"), item)
    shown = right if isinstance(right, str | None) else float(right)
    data = {"x": [0.5] * rows, "c": [right] * rows}
    assert answer(scorer.score(body_of(data)))["c"] == [shown] * rows
    data["c"][-1] = wrong
    error = refused(scorer, data)
    assert error.details["expected"].startswith(expected)
    assert what(error)[:3] == (f"inputData.c[{rows - 1}]", "c", rows - 1)


@pytest.mark.parametrize("items", [HP_WT, [column("hp", nullable=True), column("wt")], ALL])
@pytest.mark.parametrize("rows", [1, 3])
def test_numbers_too_large_for_the_model(items: list[Any], rows: int) -> None:
    scorer = echo(*items, largest=1e30)
    names = [item["name"] for item in items if item["type"] == "numeric"]
    data = {item["name"]: ONE.get(item["name"], [1.0]) * rows for item in items}
    for name in names:
        edge = {**data, name: [*data[name][1:], 1e30]}
        assert answer(scorer.score(body_of(edge)))[name][-1] == 1e30
        for wrong in (1.1e30, -1.1e30, 10**31):
            error = refused(scorer, {**data, name: [*data[name][1:], wrong]})
            assert error.details["expected"] == "a number of at most 1e+30 in size"
            assert error.details["row"] == rows - 1


@pytest.mark.parametrize("rows", [1, 3])
def test_the_text_that_stands_for_null_is_refused(mixed: Scorer, rows: int) -> None:
    data = {name: cells * rows for name, cells in ONE.items()}
    for text in (NULL_TEXT, f"a{NULL_TEXT}b"):
        error = refused(mixed, {**data, "s": [*data["s"][1:], text]})
        assert error.details["row"] == rows - 1
        assert "stand for null" in str(error)
    for text in ("null", "\ue000", "\ue000nul"):
        found = answer(mixed.score(body_of({**data, "s": [text] * rows})))
        assert found["s"] == [text] * rows


class TestResponse:
    """The column that the training frame carried is accepted where it stood, and ignored."""

    @pytest.mark.parametrize("value", [21.0, 21, "21", True, None])
    @pytest.mark.parametrize("rows", [1, 2, 3000])
    def test_it_may_come_and_be_anything(self, scorer: Scorer, value: Any, rows: int) -> None:
        columns = {"hp": [1] * rows, "mpg": [value] * rows, "wt": [2] * rows}
        expected = {"hp": [1.0] * rows, "wt": [2.0] * rows}
        assert answer(scorer.score(body_of(columns))) == expected
        records = [{"hp": 1, "mpg": value, "wt": 2}] * rows
        assert answer(scorer.score(body_of(records))) == expected
        del columns["mpg"]
        assert answer(scorer.score(body_of(columns))) == expected

    @pytest.mark.parametrize(
        ("data", "field"),
        [
            ({"hp": [1], "wt": [2], "mpg": [3]}, "inputData"),
            ({"mpg": [3], "hp": [1], "wt": [2]}, "inputData"),
            ([{"mpg": 3, "hp": 1, "wt": 2}], "inputData[0]"),
            ([{"hp": 1, "mpg": 3, "wt": 2}, {"hp": 1, "wt": 2}], "inputData[1].mpg"),
            ([{"hp": 1, "wt": 2}, {"hp": 1, "mpg": 3, "wt": 2}], "inputData[1].mpg"),
            ({"hp": [1], "mpg": [1, 2], "wt": [2]}, "inputData.mpg"),
            ({"hp": [1], "mpg": 1, "wt": [2]}, "inputData.mpg"),
            ({"hp": [1], "mpg": [[1]], "wt": [2]}, "inputData.mpg[0]"),
            ([{"hp": 1, "mpg": {}, "wt": 2}], "inputData.mpg[0]"),
            ({"hp": [1], "mpg": [1]}, "inputData.wt"),
        ],
    )
    def test_it_has_its_place_and_length(self, scorer: Scorer, data: Any, field: str) -> None:
        assert refused(scorer, data).field == field

    def test_types_are_those_of_the_other_columns_still(self, scorer: Scorer) -> None:
        for cell in ("1", True, None):
            for rows in (1, 2):
                data = {"hp": [1] * rows, "mpg": ["x"] * rows, "wt": [*[2] * (rows - 1), cell]}
                assert refused(scorer, data).field == f"inputData.wt[{rows - 1}]"

    def test_without_a_place_it_is_a_stranger(self) -> None:
        scorer = echo(*HP_WT, response={**RESPONSE, "position": None})
        error = refused(scorer, {"hp": [1], "mpg": [1], "wt": [2]})
        assert error.details["column"] == "mpg"


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        (b"", "", "JSON"),
        (b"null", "", "an object of inputs by name"),
        (b"[1]", "", "an object of inputs by name"),
        (b"{}", "inputData", "an object of columns, or an array of records"),
        (b'{"hp": 1}', "inputData", "an object of columns, or an array of records"),
        (b'{"inputData": {"hp": [1], "wt": [2]}, "x": 1}', "x", "no such input (the only one is"),
        (b'{"inputData": {"hp": [1], "wt": [2]}', "", "JSON"),
        (b'{"inputData": {"hp": [1], "wt": [2]}} x', "", "JSON"),
        (b'{"inputData": {"hp": [NaN], "wt": [2]}}', "", "JSON (null stands for"),
        (b'{"inputData": {"hp": [Infinity], "wt": [2]}}', "", "JSON (null stands for"),
        (b'{"inputData": {"hp": [01], "wt": [2]}}', "", "JSON"),
        (b"\xef\xbb\xbf{}", "", "JSON"),
        (b"\xff\xfe{}", "", "JSON in UTF-8"),
        (b'{"inputData": {"hp": [1e999], "wt": [2]}}', "inputData.hp[0]", "a number that a double"),
        (b'{"inputData": [{"hp": 1, "wt": -1e999}]}', "inputData.wt[0]", "a number that a double"),
        (b'{"inputData": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "", "JSON of reasonable"),
        (b'{"inputData": {"hp": ' + b"[" * 9000 + b"]" * 9000 + b"}}", "", "JSON of reasonable"),
    ],
)
def test_bodies_that_are_no_frame(plain: Scorer, body: bytes, field: str, expected: str) -> None:
    error = refused(plain, body)
    assert error.field == field
    assert error.details["expected"].startswith(expected)


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"a\\udc00"', b'"\xff"', b'"\xed\xa0\x80"'])
@pytest.mark.parametrize("form", [b'{"s": [%s]}', b'{"s": ["a", %s]}', b'[{"s": %s}]'])
def test_text_that_is_not_unicode(text: bytes, form: bytes) -> None:
    error = refused(echo(column("s", "character")), b'{"inputData": ' + form % text + b"}")
    assert "UTF-8" in str(error) or "Unicode" in str(error)


def test_a_key_that_stands_twice_counts_once(plain: Scorer) -> None:
    body = b'{"inputData": {"hp": [1], "wt": [2], "hp": [3]}}'
    assert answer(plain.score(body)) == {"hp": [3.0], "wt": [2.0]}


def test_hostile_names_stay_short_in_the_error(plain: Scorer) -> None:
    error = refused(plain, {"hp": [1], "wt": [1], "x" * 100_000: [1]})
    assert len(str(error)) < 1000
    assert len(error.details["column"]) <= 300


def test_rows_are_bounded() -> None:
    scorer = echo(*HP_WT, max_rows=10)
    for data in ({"hp": [1] * 10, "wt": [2] * 10}, [{"hp": 1, "wt": 2}] * 10):
        assert len(answer(scorer.score(body_of(data)))["hp"]) == 10
    for data in ({"hp": [1] * 11, "wt": [2] * 11}, [{"hp": 1, "wt": 2}] * 11, [0] * 2_000_000):
        with pytest.raises(TooLarge, match="max_rows") as caught:
            scorer.score(body_of(data))
        assert caught.value.details == {"limit": 10, "field": "inputData"}


def test_a_deadline_acts_before_anything_is_scored(plain: Scorer) -> None:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.terminate = True
    for data in ({"hp": [1] * 5000, "wt": [2] * 5000}, [{"hp": 1, "wt": 2}] * 5000):
        with pytest.raises(CallTimeout):
            plain.score(body_of(data), run_options=options)
    options.terminate = False
    assert len(answer(plain.score(body_of(data), run_options=options))["hp"]) == 5000


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_a_body(plain: Scorer, kind: Any) -> None:
    for rows in (1, 2):
        body = kind(body_of({"hp": [1] * rows, "wt": [2] * rows}))
        assert answer(plain.score(body)) == {"hp": [1.0] * rows, "wt": [2.0] * rows}
    with pytest.raises(InvalidInput):
        plain.score(kind(body_of({"hp": [1], "wt": ["2"]})))


CELL = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**53 + 1, 2**63, 10**400, 1e300, -0.0])
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(max_size=3)
    | st.just([])
)
FITTING = {
    "n": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    "i": st.none() | st.integers(-(2**53), 2**53) | st.integers(-9, 9).map(float),
    "b": st.none() | st.booleans(),
    "s": st.none() | st.text(max_size=5).filter(lambda text: NULL_TEXT not in text),
}


def frames_of(names: list[str]) -> st.SearchStrategy[Any]:
    """Records (or columns) of which most fit."""
    row = st.tuples(*[FITTING[name] for name in names]).map(
        lambda cells: dict(zip(names, cells, strict=True))
    )
    rows = st.lists(row, max_size=4)
    columns = rows.map(lambda found: {name: [item[name] for item in found] for name in names})
    return rows | columns


@st.composite
def nearly_right(draw: Any) -> Any:
    """A frame with one cell, name or length changed, perhaps."""
    data = draw(frames_of(list(ONE)))
    if draw(st.booleans()):
        return data
    name = draw(st.sampled_from([*ONE, "x"]))
    if isinstance(data, list):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(
                st.just({})
                | st.fixed_dictionaries(dict.fromkeys(["n", "i", "b", "s"], CELL))
                | CELL
            )
    else:
        cells = data.get(name, [])
        wrong = [st.just(cells[:-1]), st.none(), st.just("x"), st.just({})]
        if cells:
            wrong.append(CELL.map(lambda cell: [*cells[:-1], cell]))
        data[name] = draw(st.one_of(wrong))
    return data


PARAMS = [
    {
        "name": "inputData",
        "type": "data.frame",
        "columns": [{key: item[key] for key in ("name", "type", "nullable")} for item in ALL],
    }
]


@settings(max_examples=300, deadline=None)
@given(data=nearly_right())
def test_standard_services_accept_and_refuse_the_same(data: Any) -> None:
    """And name the same place; but for null alone, and integers that no double can hold."""
    body = body_of(data)
    found, error = outcome(body)
    if error is None:
        frame = decode_inputs(body, PARAMS)["inputData"]
        for name, cells in found.items():
            assert cells == _plain(frame[name])
    elif "9007199254740992" not in str(error):
        with pytest.raises(InputError) as caught:
            decode_inputs(body, PARAMS)
        assert caught.value.field == error.field
        if "order" not in error.details["expected"] and error.details["got"].isascii():
            assert caught.value.got == error.details["got"]


def _plain(series: Any) -> list[Any]:
    return [
        None if str(cell) in ("<NA>", "nan") and type(cell) is not str else cell
        for cell in series.tolist()
    ]


@settings(max_examples=200, deadline=None)
@given(
    data=st.recursive(
        CELL,
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["inputData", "n", "i", "b", "s", "x"]), inner)
        ),
    )
)
def test_any_json_is_answered_or_refused(data: Any) -> None:
    for body in (json.dumps(data).encode(), body_of(data)):
        found, error = outcome(body)
        if error is None:
            assert list(found) == list(ONE)
        else:
            assert {"field", "expected", "got"} <= set(error.details)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_bytes_are_answered_or_refused(data: Any) -> None:
    body = bytearray(body_of(ONE))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    found, error = outcome(bytes(body))
    if error is None:
        assert list(found) == list(ONE)
    else:
        assert str(error).encode()
