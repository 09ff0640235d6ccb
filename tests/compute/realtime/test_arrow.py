"""Arrow streams both ways: the same answers and rules as JSON, and no harm from hostile bytes."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from support.echo_model import answer, body_of, column, echo, scorer_of

from jupyter_mlserve.compute.realtime import arrow
from jupyter_mlserve.compute.realtime.scoring import Scorer
from jupyter_mlserve.contract.errors import (
    CallTimeout,
    InvalidInput,
    MLServeError,
    ServiceFailed,
    TooLarge,
    UnsupportedMedia,
)
from jupyter_mlserve.contract.http_status import status_of
from jupyter_mlserve.contract.realtime import NULL_TEXT

pa = pytest.importorskip("pyarrow")

ALL = [
    column("n", "numeric", True),
    column("i", "integer", True),
    column("b", "logical", True),
    column("s", "character", True),
]
ECHO = echo(*ALL)
STRICT = echo(*[{**item, "nullable": False} for item in ALL])
DATA: dict[str, list[Any]] = {
    "n": [1.5, None, -0.0],
    "i": [1, None, -(2**53)],
    "b": [True, None, False],
    "s": ["a", None, "é\u0000東"],
}
TYPES = {"n": pa.float64(), "i": pa.int64(), "b": pa.bool_(), "s": pa.string()}


def stream(table: Any, **options: Any) -> bytes:
    """A table (or several record batches) as an IPC stream."""
    batches = table if isinstance(table, list) else table.to_batches()
    schema = (table[0] if isinstance(table, list) else table).schema
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def table_of(data: Any = DATA, **types: Any) -> Any:
    wanted = {**TYPES, **types}
    return pa.table({name: pa.array(cells, wanted[name]) for name, cells in data.items()})


def scored(body: bytes, scorer: Scorer = ECHO) -> dict[str, list[Any]]:
    """The answer to a stream, which must be the same as JSON and as Arrow."""
    found = answer(scorer.score(body, "aj"))
    reply = pa.ipc.open_stream(scorer.score(body, "aa")).read_all()
    reply.validate(full=True)
    assert reply.to_pydict() == found
    return found


def refused(body: bytes, scorer: Scorer = ECHO) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        scorer.score(body, "aj")
    assert {"field", "expected", "got"} <= set(caught.value.details)
    return caught.value


def test_a_stream_is_answered_as_the_same_json() -> None:
    assert scored(stream(table_of())) == answer(ECHO.score(body_of(DATA)))
    assert pa.ipc.open_stream(ECHO.score(body_of(DATA), "ja")).read_all().to_pydict() == scored(
        stream(table_of())
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("n", pa.float32()),
        ("n", pa.int8()),
        ("n", pa.uint64()),
        ("i", pa.int8()),
        ("i", pa.int16()),
        ("i", pa.int32()),
        ("i", pa.uint8()),
        ("i", pa.uint16()),
        ("i", pa.uint32()),
        ("i", pa.uint64()),
        ("s", pa.large_string()),
        ("s", pa.dictionary(pa.int8(), pa.string())),
        ("s", pa.dictionary(pa.int64(), pa.large_string())),
    ],
)
def test_types_that_fit(name: str, kind: Any) -> None:
    cells: list[Any] = ["x", None, "é", "x", ""] if name == "s" else [3, None, 0, 7, 7]
    data = {key: [None] * 5 for key in DATA} | {name: cells}
    found = scored(stream(table_of(data, **{name: kind})))[name]
    assert found == [cell if cell is None or name == "s" else float(cell) for cell in cells]


@pytest.mark.parametrize(
    ("name", "kind", "cells"),
    [
        ("n", pa.string(), ["1"]),
        ("n", pa.bool_(), [True]),
        ("n", pa.float16(), [np.float16(1)]),
        ("n", pa.decimal128(5, 2), [None]),
        ("n", pa.null(), [None]),
        ("n", pa.timestamp("s"), [None]),
        ("n", pa.list_(pa.float64()), [[1.0]]),
        ("n", pa.dictionary(pa.int8(), pa.float64()), [1.0]),
        ("n", pa.uuid(), [None]),
        ("i", pa.float64(), [1.0]),
        ("i", pa.bool_(), [True]),
        ("i", pa.string(), ["1"]),
        ("b", pa.int8(), [1]),
        ("b", pa.string(), ["true"]),
        ("s", pa.int64(), [1]),
        ("s", pa.binary(), [b"a"]),
        ("s", pa.string_view(), ["a"]),
        ("s", pa.dictionary(pa.int8(), pa.int64()), [1]),
        ("s", pa.struct([("a", pa.string())]), [{"a": "x"}]),
        ("s", pa.list_(pa.string()), [["x"]]),
    ],
)
def test_types_are_not_cast(name: str, kind: Any, cells: list[Any]) -> None:
    data = {key: [None] for key in DATA} | {name: cells}
    error = refused(stream(table_of(data, **{name: kind})))
    assert error.field == f"inputData.{name}"
    assert error.details["column"] == name
    assert error.details["got"] == str(kind)


def test_names_and_their_order() -> None:
    table = table_of()
    assert refused(stream(table.drop_columns(["b"]))).details["column"] == "b"
    extra = table.append_column("x", pa.array([1, 2, 3]))
    assert refused(stream(extra)).field == "inputData.x"
    swapped = refused(stream(table.select(["i", "n", "b", "s"])))
    assert swapped.details["expected"] == "the columns in the order n, i, b, s"
    twice = table.append_column("s", table["s"])
    assert refused(stream(twice)).field == "inputData"
    assert refused(stream(table.select([]))).details["column"] == "n"


def test_nulls_only_where_the_model_was_proven_with_them() -> None:
    whole = {name: [cells[0], cells[2]] for name, cells in DATA.items()}
    assert scored(stream(table_of(whole)), STRICT)["s"] == whole["s"]
    for name in DATA:
        data = {key: [cells[0], cells[2], cells[0]] for key, cells in DATA.items()}
        data[name] = DATA[name]
        for types in ({}, {"s": pa.dictionary(pa.int32(), pa.string())}):
            error = refused(stream(table_of(data, **types)), STRICT)
            assert (error.field, error.details["row"]) == (f"inputData.{name}[1]", 1)
            assert error.details["got"] == "null"
    lost = {**whole, "n": [1.0, float("nan")]}
    assert refused(stream(table_of(lost)), STRICT).field == "inputData.n[1]"
    assert scored(stream(table_of(lost)))["n"] == [1.0, None]


def test_values_out_of_reach() -> None:
    def one(name: str, cell: Any, kind: Any) -> bytes:
        data = {key: [None, None] for key in DATA} | {name: [None, cell]}
        return stream(table_of(data, **{name: kind}))

    for cell in (float("inf"), float("-inf")):
        error = refused(one("n", cell, pa.float32()))
        assert (error.field, error.details["row"]) == ("inputData.n[1]", 1)
        assert error.details["expected"].startswith("a number that a double can hold")
    for cell in (2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)):
        for name in ("i", "n"):
            assert refused(one(name, cell, pa.int64())).details["got"] == str(cell)
    assert refused(one("i", 2**64 - 1, pa.uint64())).details["got"] == str(2**64 - 1)
    assert scored(one("i", 2**53, pa.uint64()))["i"] == [None, 2.0**53]
    for text in (NULL_TEXT, f"x{NULL_TEXT}"):
        for kind in (pa.string(), pa.dictionary(pa.int8(), pa.string())):
            assert refused(one("s", text, kind)).field == "inputData.s[1]"


def test_known_values_ranges_and_size() -> None:
    scorer = echo(
        column("k", "character", known=["a", "b"]),
        column("m", "integer", known=[1, 5]),
        column("r", "numeric", range=[0, 1]),
        column("n", "numeric"),
        largest=1e30,
    )
    right = {"k": ["a", "b"], "m": [1, 5], "r": [0.0, 1.0], "n": [1e30, -1e30]}
    assert scored(stream(pa.table(right)), scorer)["k"] == ["a", "b"]
    for name, wrong in {"k": "c", "m": 2, "r": 1.5, "n": 1.1e30}.items():
        data = {**right, name: [right[name][0], wrong]}
        error = refused(stream(pa.table(data)), scorer)
        assert (error.details["column"], error.details["row"]) == (name, 1)


def test_the_response_is_not_even_read() -> None:
    position = {"name": "y", "type": "numeric", "position": 1}
    scorer = echo(column("a"), column("s", "character"), response=position)
    for response in (pa.array([1.0, 2.0]), pa.array([[1], [2]]), pa.array([{"a": 1}, {"a": 2}])):
        table = pa.table({"a": [1.0, 2.0], "y": response, "s": ["u", "v"]})
        assert scored(stream(table), scorer) == {"a": [1.0, 2.0], "s": ["u", "v"]}
    found = table.drop_columns(["y"])
    assert scored(stream(found), scorer) == {"a": [1.0, 2.0], "s": ["u", "v"]}
    assert refused(stream(table.select(["y", "a", "s"])), scorer).field == "inputData"


def test_many_batches_count_their_rows_together() -> None:
    table = table_of({name: [cells[0]] * 50 for name, cells in DATA.items()})
    batches = table.to_batches(max_chunksize=7)
    assert scored(stream(batches))["s"] == ["a"] * 50
    data = {name: [cells[0]] * 50 for name, cells in DATA.items()}
    data["s"][33] = NULL_TEXT
    batches = table_of(data).to_batches(max_chunksize=7)
    assert refused(stream(batches)).details["row"] == 33
    assert scored(stream(table.slice(0, 0))) == {name: [] for name in DATA}
    # Each batch may bring a dictionary of its own.
    coded = table_of(DATA, s=pa.dictionary(pa.int8(), pa.string())).to_batches()[0]
    other = {**DATA, "s": ["q", "r", None]}
    second = table_of(other, s=pa.dictionary(pa.int8(), pa.string())).to_batches()[0]
    assert scored(stream([coded, second]))["s"] == [*DATA["s"], "q", "r", None]


def test_small_batches_of_numbers_are_one_run_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer = echo(*[item for item in ALL if item["type"] != "character"])
    rows = scorer.schema.rows_at_once + 1_000
    data: dict[str, list[Any]] = {
        "n": [None if n % 11 == 3 else n / 2 for n in range(rows)],
        "i": [None if n % 13 == 5 else n for n in range(rows)],
        "b": [None if n % 17 == 7 else n % 3 == 0 for n in range(rows)],
    }
    table = table_of(data)
    empty = table.slice(0, 0).combine_chunks()
    empty = pa.record_batch([column.combine_chunks() for column in empty.columns], table.schema)
    runs: list[int] = []
    run = scorer.run
    monkeypatch.setattr(
        scorer,
        "run",
        lambda feeds, options: runs.append(len(feeds["numbers"])) or run(feeds, options),
    )
    found = scored(stream([empty, *table.to_batches(max_chunksize=300), empty]), scorer)
    assert found == data
    assert len(runs) == 4  # two each for JSON and Arrow
    runs.clear()
    assert scored(stream([empty, empty]), scorer) == {"n": [], "i": [], "b": []}
    data["i"][rows - 2] = 2**60
    refusal = refused(stream(table_of(data).to_batches(max_chunksize=300)), scorer)
    assert refusal.details["row"] == rows - 2


def test_pieces_of_a_large_batch_are_put_together() -> None:
    rows = 2 * ECHO.schema.rows_at_once + 17
    values = np.arange(rows, dtype=float)
    data = {"n": values, "i": np.arange(rows), "b": values > 5, "s": np.char.mod("%d", values)}
    for kind in (pa.string(), pa.dictionary(pa.int32(), pa.string())):
        table = pa.table({**data, "s": pa.array(data["s"].tolist(), kind)})
        found = scored(stream(table))
        assert found["n"] == values.tolist()
        assert found["s"] == data["s"].tolist()
    bad = data["i"].copy()
    bad[-3] = 2**60
    assert refused(stream(pa.table({**data, "i": bad}))).details["row"] == rows - 3


class TestHostile:
    @pytest.mark.parametrize("codec", ["lz4", "zstd"])
    def test_compressed_buffers(self, codec: str) -> None:
        zeros = {name: [None] * 1000 for name in DATA} | {"n": [0.0] * 1000}
        assert refused(stream(table_of(zeros), compression=codec)).details["got"] == (
            "compressed buffers"
        )
        coded = table_of(
            {**DATA, "s": ["a" * 1000, "b" * 1000, None]}, s=pa.dictionary(pa.int8(), pa.string())
        )
        assert "compressed" in str(refused(stream(coded, compression=codec)))

    def test_a_stream_cut_off_anywhere(self) -> None:
        batches = table_of().to_batches() * 3
        whole = stream(batches)
        assert len(scored(whole)["n"]) == 9
        for length in range(0, len(whole), 4):
            assert refused(whole[:length]).field == "inputData"
        assert "cut off" in str(refused(whole[:-8]))

    def test_more_after_the_end(self) -> None:
        whole = stream(table_of())
        for more in (b"\0" * 8, whole, b"\xff\xff\xff\xff\0\0\0\0"):
            assert refused(whole + more).field == "inputData"

    @pytest.mark.parametrize("body", [b"", b"ARROW1\0\0", b"{}", b"\xff" * 64, b"\0" * 64])
    def test_no_stream_at_all(self, body: bytes) -> None:
        assert refused(body).field == "inputData"
        assert refused(body + b"\xff\xff\xff\xff\0\0\0\0").field == "inputData"

    def test_deltas_of_dictionaries(self) -> None:
        kind = pa.dictionary(pa.int8(), pa.string())
        first = table_of({**DATA, "s": ["a", "b", None]}, s=kind).to_batches()[0]
        more = pa.DictionaryArray.from_arrays(pa.array([2, 0, 1], pa.int8()), ["a", "b", "c"])
        second = first.set_column(3, "s", more)
        body = stream([first, second], emit_dictionary_deltas=True)
        assert refused(body).details["got"] == "a delta of one"

    def test_a_long_text_that_all_rows_point_to(self) -> None:
        text, rows = "x" * 1_000_000, 1000
        codes = pa.array(np.zeros(rows, np.int8))
        coded = pa.DictionaryArray.from_arrays(codes, pa.array([text]))
        table = pa.table({name: pa.nulls(rows, TYPES[name]) for name in "nib"} | {"s": coded})
        body = stream(table)
        assert len(body) < 3_000_000
        with pytest.raises(TooLarge) as caught:
            ECHO.score(body, "aa")
        assert caught.value.details["limit"] == arrow.MAX_TEXT

    def test_dictionaries_without_the_values_pointed_to(self) -> None:
        for codes in ([5], [-1], [0]):
            buffer = pa.py_buffer(np.array(codes, np.int8))
            indices = pa.Array.from_buffers(pa.int8(), 1, [None, buffer])
            coded = pa.DictionaryArray.from_arrays(indices, pa.array([], pa.string()), safe=False)
            table = pa.table({name: pa.nulls(1, TYPES[name]) for name in "nib"} | {"s": coded})
            assert refused(stream(table)).field == "inputData"

    @pytest.mark.parametrize(
        ("offsets", "data"),
        [
            ((0, 1000), b"abcdefg"),
            ((0, 2**31 - 1), b"abcdefg"),
            ((0, -7), b"abcdefg"),
            ((-(2**31), 7), b"abcdefg"),
            ((7, 0), b"abcdefg"),
            ((0, 7), b"\xff\xfedefgh"),
            ((0, 7), b"\xed\xa0\x80defg"),
            ((0, 1), b"\xc3\xa9cdefg"),
        ],
    )
    def test_texts_that_point_outside_or_are_none(self, offsets: Any, data: bytes) -> None:
        whole = stream(table_of({name: [None] for name in "nib"} | {"s": ["abcdefg"]}))
        right = struct.pack("<ii", 0, 7)
        assert whole.count(b"abcdefg") == 1
        # The offsets stand in the body of the batch, before the text.
        place = whole.rindex(right, 0, whole.index(b"abcdefg"))
        body = whole[:place] + struct.pack("<ii", *offsets) + whole[place + 8 :]
        body = body.replace(b"abcdefg", data)
        assert len(body) == len(whole)
        assert refused(body).field == "inputData"

    def test_fewer_bytes_than_rows(self) -> None:
        whole = stream(table_of({name: [cells[0]] * 8 for name, cells in DATA.items()}))
        # The number of rows stands as an int64 in the batch and in its field nodes.
        place = whole.index((8).to_bytes(8, "little"))
        for count in (9, 1 << 20, 1 << 40, (1 << 63) - 1):
            body = whole.replace((8).to_bytes(8, "little"), count.to_bytes(8, "little"))
            assert body != whole
            assert place
            with pytest.raises((InvalidInput, TooLarge)):
                ECHO.score(body, "aj")
        negative = whole.replace((8).to_bytes(8, "little"), b"\xff" * 8)
        assert refused(negative).field == "inputData"

    def test_rows_are_bounded_before_they_are_read(self) -> None:
        scorer = echo(*ALL, max_rows=5)
        batches = table_of().to_batches()
        assert len(scored(stream(batches), scorer)["n"]) == 3
        with pytest.raises(TooLarge, match="max_rows"):
            scorer.score(stream(batches * 2), "aj")

    def test_a_deadline_acts_between_batches(self) -> None:
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.terminate = True
        with pytest.raises(CallTimeout):
            ECHO.score(stream(table_of().to_batches() * 200), "aa", options)

    @settings(max_examples=400, deadline=None)
    @given(data=st.data())
    def test_mutated_streams_are_refused_or_answered(self, data: Any) -> None:
        body = bytearray(data.draw(st.sampled_from(BODIES)))
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(body) - 1))
            body[place] = data.draw(st.integers(0, 255) | st.sampled_from([0, 1, 127, 128, 255]))
        try:
            found = answer(ECHO.score(bytes(body), "aj"))
        except MLServeError as exc:
            found, status = None, status_of(exc)
            str(exc).encode()
        assert (found is None and status in (400, 413)) or list(found or ()) == list(DATA)


BODIES = [
    stream(table_of()),
    stream(table_of(s=pa.dictionary(pa.int8(), pa.string()))),
    stream(table_of({**DATA, "i": [1, None, 3]}, i=pa.uint8(), s=pa.large_string())),
]


CELLS = {
    "n": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "i": st.none() | st.integers(-(2**53), 2**53),
    "b": st.none() | st.booleans(),
    "s": st.none() | st.text(max_size=6).filter(lambda text: NULL_TEXT not in text),
}


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(*CELLS.values()), min_size=1, max_size=20),
    coded=st.booleans(),
    size=st.integers(1, 20),
)
def test_any_frame_gives_the_same_as_arrow_and_as_json(
    rows: list[Any], coded: bool, size: int
) -> None:
    data = {name: list(cells) for name, cells in zip(DATA, zip(*rows, strict=True), strict=True)}
    types = {"s": pa.dictionary(pa.int32(), pa.string())} if coded else {}
    body = stream(table_of(data, **types).to_batches(max_chunksize=size))
    assert scored(body) == answer(ECHO.score(body_of(data)))


class TestReply:
    def test_types_of_the_columns(self) -> None:
        scorer = outputs_of_every_type()
        body = body_of({"x": [0.0, 1.0, 2.0]})
        reply = pa.ipc.open_stream(scorer.score(body, "ja")).read_all()
        reply.validate(full=True)
        assert [(field.name, field.type) for field in reply.schema] == [
            ("number", pa.float64()),
            ("whole", pa.float64()),
            ("integer", pa.int64()),
            ("flag", pa.bool_()),
            ("label", pa.dictionary(pa.int32(), pa.string())),
            ("grade", pa.float64()),
        ]
        assert reply.to_pydict() == answer(scorer.score(body))
        empty = pa.ipc.open_stream(scorer.score(body_of([]), "ja")).read_all()
        assert (empty.schema, empty.num_rows) == (reply.schema, 0)

    def test_it_has_its_end(self) -> None:
        assert ECHO.score(body_of(DATA), "ja").endswith(b"\xff\xff\xff\xff\0\0\0\0")

    def test_it_is_bounded(self) -> None:
        scorer = echo(*ALL, result_limit=2000)
        assert scorer.score(stream(table_of()), "aa")
        with pytest.raises(ServiceFailed, match="result_limit"):
            scorer.score(stream(table_of().to_batches() * 100), "aa")

    def test_errors_of_json_bodies_are_the_usual(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            ECHO.score(body_of({"n": [1]}), "ja")
        assert caught.value.field == "inputData.i"


def outputs_of_every_type() -> Scorer:
    """x as a number, as a whole number, as an integer, flag, label and numeric label."""
    kinds = {"number": ("numeric", "double"), "whole": ("numeric", "int64")}
    kinds |= {"integer": ("integer", "int64"), "flag": ("logical", "int64")}
    kinds |= {"label": ("character", "int64"), "grade": ("numeric", "int64")}
    labels = {"label": ["low", "é", ""], "grade": [1, 2.5, 4]}
    return scorer_of(
        [{"name": "numbers", "type": "double", "columns": [0]}],
        [
            {"name": "value", "type": "double", "width": 1},
            {"name": "codes", "type": "int64", "width": 1},
        ],
        [
            helper.make_node("Identity", ["numbers"], ["value"]),
            helper.make_node("Cast", ["numbers"], ["codes"], to=7),
        ],
        {},
        columns=[column("x")],
        example={"x": 0.0},
        outputs=[
            {
                "name": name,
                "type": kind,
                "tensor": "value" if tensor == "double" else "codes",
                "index": 0,
                **({"labels": labels[name]} if name in labels else {}),
            }
            for name, (kind, tensor) in kinds.items()
        ],
    )


@pytest.mark.parametrize("media", ["aj", "ja", "aa"])
def test_without_pyarrow_json_still_works(monkeypatch: pytest.MonkeyPatch, media: str) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnsupportedMedia, match="pyarrow is not installed") as caught:
        ECHO.score(body_of([]), media)
    assert status_of(caught.value) == 415
    assert answer(ECHO.score(body_of(DATA)))["n"] == [1.5, None, 0.0]


def test_pyarrow_is_loaded_by_the_first_stream_only() -> None:
    code = (
        "import sys\n"
        "import jupyter_mlserve.compute.realtime.scoring\n"
        "print([m for m in ('pyarrow', 'pandas', 'onnx') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
