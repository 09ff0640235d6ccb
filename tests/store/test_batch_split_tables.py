"""Arrow and Parquet uploads to records; and hostile ones, which are refused with a sentence."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_mlserve.contract.errors import InvalidInput, MLServeError, TooLarge
from jupyter_mlserve.store.batches import split_pieces
from jupyter_mlserve.store.batches.plan import Plan
from jupyter_mlserve.store.batches.split import Split, SplitLimits, split
from jupyter_mlserve.store.batches.split_tables import convert

INPUT = [{"name": "df", "type": "data.frame", "optional": False}]


def frame(arrow: bool, **types: str) -> Plan:
    columns = [{"name": name, "type": kind} for name, kind in types.items()]
    return Plan("df", columns, INPUT, "answer", arrow)


def stream(table: pa.Table, rows: int | None = None, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, **options) as writer:
        writer.write_table(table, rows)
    return sink.getvalue()


def file(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, **options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


@pytest.fixture
def cut(tmp_path: Path) -> Any:
    """Split some bytes: what came out, and the records (lines) or the batches (arrow)."""
    number = iter(range(10_000))

    def run(
        data: bytes, plan: Plan, format: str = "arrow", limits: SplitLimits | None = None
    ) -> tuple[Split, list[Any]]:
        folder = tmp_path / str(next(number))
        folder.mkdir()
        (folder / "upload").write_bytes(data)
        try:
            found = split(folder / "upload", format, folder, plan, limits)
        except MLServeError:
            assert [path.name for path in folder.iterdir()] == ["upload"]
            raise
        stored = (folder / "input").read_bytes()
        assert len(stored) == found.bytes
        if found.format == "lines":
            return found, [json.loads(line) for line in stored.splitlines()]
        return found, pieces(stored, (folder / "index").read_bytes(), found)

    return run


def pieces(stored: bytes, index: bytes, found: Split) -> list[pa.RecordBatch]:
    """Each unit read by itself, as a stream of the schema, the batch and an end."""
    offsets = struct.unpack_from(f"<{found.units + 1}Q", index)
    crcs = struct.unpack_from(f"<{found.units}I", index, 8 * (found.units + 1))
    end = b"\xff\xff\xff\xff\0\0\0\0"
    assert stored[offsets[-1] :] == end
    batches = []
    for a, b, crc in zip(offsets, offsets[1:], crcs, strict=False):
        assert zlib.crc32(stored[a:b]) == crc
        table = pa.ipc.open_stream(stored[: offsets[0]] + stored[a:b] + end).read_all()
        batches += table.to_batches()
    rows = [batch.num_rows for batch in batches]
    assert sum(rows) == found.total
    assert len(rows) == found.units
    assert set(rows[:-1]) <= {found.piece}
    assert rows[-1] <= found.piece
    return batches


TABLE = pa.table(
    {
        "c": pa.array(["a", None, "b"] * 3000).dictionary_encode(),
        "answer": pa.array(range(9000)),
        "i": pa.array([1.0, 2.0, None] * 3000),
        "n": pa.array(np.arange(9000) / 7, pa.float32()),
        "l": pa.array([True, None, False] * 3000),
        "d": pa.array([0, 1_500_000, None] * 3000, pa.timestamp("us", "Europe/Berlin")),
    }
)
TYPES = {"n": "numeric", "i": "integer", "l": "logical", "c": "character", "d": "datetime"}


@pytest.mark.parametrize("format", ["stream", "batches", "file", "feather", "parquet"])
def test_arrow_is_kept_as_pieces_of_one_size(cut: Any, format: str) -> None:
    data = {
        "stream": lambda: stream(TABLE.combine_chunks()),
        "batches": lambda: stream(TABLE, 7),
        "file": lambda: file(TABLE),
        "feather": lambda: file(TABLE, options=pa.ipc.IpcWriteOptions(compression="lz4")),
        "parquet": lambda: parquet(TABLE, row_group_size=1000),
    }[format]()
    kind = "parquet" if format == "parquet" else "arrow"
    found, batches = cut(data, frame(True, **TYPES), kind)
    assert (found.format, found.total, found.units, found.piece) == ("arrow", 9000, 3, 4096)
    table = pa.Table.from_batches(batches)
    assert table.schema == pa.schema(
        [
            ("n", pa.float64()),
            ("i", pa.int64()),
            ("l", pa.bool_()),
            ("c", pa.string()),
            ("d", pa.timestamp("us", "UTC")),
        ]
    )
    assert table["n"].to_pylist() == [float(np.float32(n / 7)) for n in range(9000)]
    assert table["i"].to_pylist() == [1, 2, None] * 3000
    assert table["l"].to_pylist() == [True, None, False] * 3000
    assert table["c"].to_pylist() == ["a", None, "b"] * 3000


def test_the_same_records_as_lines(cut: Any) -> None:
    plan = frame(False, **TYPES)
    expected = [
        {
            "df": {
                "n": [float(np.float32(n / 7))],
                "i": [[1.0, 2.0, None][n % 3]],
                "l": [[True, None, False][n % 3]],
                "c": [["a", None, "b"][n % 3]],
                "d": [["1970-01-01T00:00:00Z", "1970-01-01T00:00:01.5Z", None][n % 3]],
            }
        }
        for n in range(9000)
    ]
    for data, format in ((stream(TABLE, 100), "arrow"), (parquet(TABLE), "parquet")):
        found, records = cut(data, plan, format)
        assert (found.format, found.units) == ("lines", 9000)
        assert records == expected


def test_a_stored_piece_becomes_the_same_lines(cut: Any) -> None:
    _, batches = cut(stream(TABLE), frame(True, **TYPES))
    _, records = cut(stream(TABLE), frame(False, **TYPES))
    text = b"".join(convert(stream(pa.Table.from_batches(batches[1:2])), frame(True, **TYPES)))
    lines = text.split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == records[4096:8192]


def test_pieces_of_wide_rows_are_small(cut: Any) -> None:
    table = pa.table({"c": ["x" * 1000] * 5000})
    found, batches = cut(stream(table), frame(True, c="character"))
    assert 900 < found.piece < 1100
    assert all(batch.nbytes <= 1 << 20 for batch in batches)
    wide = pa.table({f"n{number}": np.zeros(50) for number in range(3000)})
    found, batches = cut(stream(wide), frame(True, **dict.fromkeys(wide.column_names, "numeric")))
    assert found.piece == (1 << 20) // 24_000


@pytest.mark.parametrize(
    ("column", "kind", "cells"),
    [
        (pa.array([1.5, 2.0]), "integer", [1.5, 2.0]),
        (pa.array([2**63], pa.uint64()), "integer", [2**63]),
        (pa.array(["2024-05-31", "x"]), "datetime", ["2024-05-31", "x"]),
        (pa.nulls(2), "datetime", [None, None]),
    ],
)
def test_what_arrow_cannot_say_is_kept_as_lines(
    cut: Any, column: Any, kind: str, cells: list[Any]
) -> None:
    found, records = cut(stream(pa.table({"x": column})), frame(True, x=kind))
    assert found.format == "lines"
    assert [record["df"]["x"][0] for record in records] == cells


def test_a_late_misfit_makes_lines_of_all(cut: Any) -> None:
    table = pa.table({"i": [*range(20_000), 0.5]})
    found, records = cut(stream(table, 1000), frame(True, i="integer"))
    assert (found.format, found.total) == ("lines", 20_001)
    assert records[-1] == {"df": {"i": [0.5]}}


def test_large_integers_are_not_rounded(cut: Any) -> None:
    table = pa.table({"n": [2**53 + 1, -(2**63)]})
    _, (batch,) = cut(stream(table), frame(True, n="numeric"))
    assert batch.column(0).to_pylist() == [2**53 + 1, -(2**63)]
    _, records = cut(stream(table), frame(False, n="numeric"))
    assert [record["df"]["n"] for record in records] == [[2**53 + 1], [-(2**63)]]


def test_cells_of_every_type_as_json(cut: Any) -> None:
    when = dt.datetime(2024, 5, 31, 12, 0, 0, 120_000)
    columns = {
        "half": (pa.array([1.5, None], pa.float16()), [1.5, None]),
        "inf": (pa.array([float("inf"), float("nan")]), ["Infinity", None]),
        "u64": (pa.array([2**64 - 1, None], pa.uint64()), [2**64 - 1, None]),
        "dec": (pa.array([decimal.Decimal("1.10"), None]), [1.1, None]),
        "big": (pa.array(['a\n\u2028"', None], pa.large_string()), ['a\n\u2028"', None]),
        "view": (pa.array(["v", None], pa.string_view()), ["v", None]),
        "bin": (pa.array([b"\xff\0", None]), ["/wA=", None]),
        "fix": (pa.array([b"ab", None], pa.binary(2)), ["YWI=", None]),
        "day": (pa.array([when.date(), None]), ["2024-05-31", None]),
        "ns": (pa.array([when, None], pa.timestamp("ns")), ["2024-05-31T12:00:00.12", None]),
        "s": (pa.array([when, None], pa.timestamp("s", "UTC")), ["2024-05-31T12:00:00Z", None]),
        "time": (pa.array([dt.time(1, 2, 3), None]), ["01:02:03.000000", None]),
        "list": (pa.array([[1, None], None]), [[1, None], None]),
        "deep": (
            pa.array([{"a": [{"b": when.date()}], "c": b"a"}, None]),
            [{"a": [{"b": "2024-05-31"}], "c": "YQ=="}, None],
        ),
        "map": (
            pa.array([[("k", 1.5)], None], pa.map_(pa.string(), pa.float64())),
            [{"k": 1.5}, None],
        ),
        "none": (pa.nulls(2), [None, None]),
        "dict": (pa.array([7, None]).dictionary_encode(), [7, None]),
        "uuid": (pa.array([b"a" * 16, None], pa.uuid()), ["YWFhYWFhYWFhYWFhYWFhYQ==", None]),
    }
    table = pa.table({name: column for name, (column, _) in columns.items()})
    _, records = cut(stream(table), Plan("df", None, INPUT))
    for name, (_, cells) in columns.items():
        assert [record["df"][name][0] for record in records] == cells, name


def test_inputs_that_are_no_frame(cut: Any) -> None:
    kinds = {"v": "vector", "d": "dict", "b": "bytes", "m": "matrix"}
    plan = Plan(
        None, None, [{"name": n, "type": t, "optional": n != "v"} for n, t in kinds.items()]
    )
    table = pa.table(
        {"b": [b"ab", None], "v": [[1.0, 2.0], []], "d": ['{"a":\n1}', "x"], "m": [[[1]], [[2]]]}
    )
    for data, format in ((stream(table), "arrow"), (parquet(table), "parquet")):
        assert cut(data, plan, format)[1] == [
            {"v": [1.0, 2.0], "d": {"a": 1}, "b": "YWI=", "m": [[1]]},
            {"v": [], "d": "x", "b": None, "m": [[2]]},
        ]


def test_what_pandas_writes(cut: Any, tmp_path: Path) -> None:
    data = pd.DataFrame({"n": [1.5, None], "c": ["a", None], "i": [1, 2]}, index=[5, 7])
    data["c"] = data["c"].astype("category")
    data.to_parquet(tmp_path / "p")
    plan = frame(True, n="numeric", i="integer", c="character")
    _, (batch,) = cut((tmp_path / "p").read_bytes(), plan, "parquet")
    assert batch.to_pylist() == [
        {"n": 1.5, "i": 1, "c": "a"},
        {"n": None, "i": 2, "c": None},
    ]


ROWS = pa.table({"n": np.arange(1000) / 3, "c": ["text"] * 1000})
PLAN = frame(True, n="numeric", c="character")


@pytest.mark.parametrize(
    ("table", "plan", "said"),
    [
        (ROWS.select(["n"]), PLAN, "df.c: expected this column, got none of this name."),
        (ROWS.rename_columns(["n", "C"]), PLAN, "df.c: expected this column"),
        (ROWS.append_column("z", pa.nulls(1000)), PLAN, "The column 'z' of df is not declared"),
        (ROWS.append_column("n", pa.nulls(1000)), PLAN, "df.n: expected columns that differ"),
        (ROWS.set_column(0, "n", ROWS["c"]), PLAN, "df.n: expected a column of numbers"),
        (ROWS.set_column(1, "c", ROWS["n"]), PLAN, "df.c: expected a column of texts (string"),
        (pa.table({"x": [[1]]}), frame(True, x="numeric"), "got one of list<item: int64>."),
        (pa.table({"x": [1]}), frame(True, x="logical"), "expected a column of booleans"),
        (
            pa.table({"x": [1]}),
            Plan(None, None, [{"name": "x", "type": "dict", "optional": False}]),
            "x: expected a column of lists or structs, or JSON texts, got one of int64.",
        ),
        (pa.table({"x": [dt.timedelta(1)]}), Plan("df", None, INPUT), "one of duration[us]"),
        (
            pa.table({"x": pa.RunEndEncodedArray.from_arrays([10**9], [1])[:1]}),
            Plan("df", None, INPUT),
            "run_end_encoded",
        ),
        (
            pa.table({f"c{n}": [1] for n in range(10_000)}),
            Plan("df", None, INPUT),
            "at most 4,096 columns",
        ),
        (ROWS.slice(0, 0), PLAN, "The upload has no records"),
        (pa.table({"x": [1]}), Plan(None, None, []), "the service has no inputs"),
    ],
)
def test_tables_that_do_not_fit(cut: Any, table: pa.Table, plan: Plan, said: str) -> None:
    for arrow in (True, False):
        with pytest.raises(InvalidInput) as caught:
            cut(
                stream(table),
                Plan(plan.frame, plan.columns, plan.inputs, None, arrow and bool(plan.columns)),
            )
        assert said in caught.value.message


def test_a_delta_of_a_dictionary_is_refused(cut: Any) -> None:
    sink = io.BytesIO()
    schema = pa.schema([("c", pa.dictionary(pa.int8(), pa.string()))])
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for words in (["a"], ["a", "b"]):
            codes = pa.array([0, len(words) - 1], pa.int8())
            array = pa.DictionaryArray.from_arrays(codes, pa.array(words))
            writer.write_batch(pa.record_batch([array], schema=schema))
    with pytest.raises(InvalidInput, match="whole dictionaries, got a delta"):
        cut(sink.getvalue(), frame(True, c="character"))


def test_bytes_that_are_no_file(cut: Any) -> None:
    whole = {"arrow": stream(ROWS, 100), "file": file(ROWS), "parquet": parquet(ROWS)}
    for name, data in whole.items():
        format = "parquet" if name == "parquet" else "arrow"
        wrong = [
            b"",
            b"x",
            b"hello world",
            data[:-1],
            data[: len(data) // 2],
            data[8:],
            data + b"x",
        ]
        for text in wrong:
            with pytest.raises(
                InvalidInput, match=r"expected (an|one) Arrow IPC stream|Parquet file"
            ):
                cut(text, PLAN, format)
    with pytest.raises(InvalidInput, match="a Parquet file"):
        cut(whole["arrow"], PLAN, "parquet")
    with pytest.raises(InvalidInput, match="Arrow IPC stream"):
        cut(whole["parquet"], PLAN, "arrow")


def test_texts_that_are_not_utf8(cut: Any) -> None:
    raw = pa.array([b"ok", b"\xff\xfe"])
    bad = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    for arrow in (True, False):
        with pytest.raises(InvalidInput, match=r"UTF8|UTF-8"):
            cut(stream(pa.table({"c": bad})), frame(arrow, c="character"))


def test_limits(cut: Any) -> None:
    for data, format in (
        (stream(ROWS, 10), "arrow"),
        (file(ROWS), "arrow"),
        (parquet(ROWS), "parquet"),
    ):
        with pytest.raises(TooLarge, match="more than 999 records"):
            cut(data, PLAN, format, SplitLimits(records=999))
        with pytest.raises(TooLarge, match="more than 5,000 bytes"):
            cut(data, PLAN, format, SplitLimits(output=5000))
    with pytest.raises(InvalidInput, match="Record 5000 of the upload") as caught:
        cut(
            stream(pa.table({"c": ["a"] * 5000 + ["b" * 2000]})),
            frame(False, c="character"),
            "arrow",
            SplitLimits(line=1000),
        )
    assert caught.value.details["row"] == 5000


def test_a_long_text_in_a_dictionary_does_not_become_many(
    cut: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A megabyte that a million rows point to.
    words = pa.array(["x" * (1 << 20)])
    codes = pa.array(np.zeros(1_000_000, np.int8))
    table = pa.table({"c": pa.DictionaryArray.from_arrays(codes, words)})
    before = pa.total_allocated_bytes()
    peaks = []
    cast = split_pieces._kept

    def kept(*arguments: Any) -> Any:
        peaks.append(pa.total_allocated_bytes() - before)
        return cast(*arguments)

    monkeypatch.setattr(split_pieces, "_kept", kept)
    for data, format in ((stream(table), "arrow"), (parquet(table), "parquet")):
        for arrow in (True, False):
            with pytest.raises(TooLarge, match="more than 40,000,000 bytes"):
                cut(data, frame(arrow, c="character"), format, SplitLimits(output=40_000_000))
    assert max(peaks) < 300 << 20


def test_damaged_bytes_never_do_more_than_fail(cut: Any) -> None:
    # In the same process: what crashes it would fail the whole run.
    dice = random.Random(5)
    table = TABLE.slice(0, 60)
    for format, data in (
        ("arrow", stream(table)),
        ("arrow", file(table, options=pa.ipc.IpcWriteOptions(compression="zstd"))),
    ):
        for _ in range(150):
            text = bytearray(data)
            for _ in range(dice.randint(1, 4)):
                text[dice.randrange(len(text))] = dice.randrange(256)
            try:
                found, _ = cut(bytes(text), frame(bool(dice.getrandbits(1)), **TYPES), format)
            except (InvalidInput, TooLarge):
                continue
            assert found.total > 0


values = {
    "numeric": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "integer": st.none() | st.integers(-(2**63), 2**63 - 1),
    "logical": st.none() | st.booleans(),
    "character": st.none() | st.text(max_size=5),
}
arrow_types = {
    "numeric": pa.float64(),
    "integer": pa.int64(),
    "logical": pa.bool_(),
    "character": pa.string(),
}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_was_written_is_read(cut: Any, data: Any) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=4))
    rows = data.draw(st.integers(1, 9))
    columns = {
        f"c{number}": data.draw(st.lists(values[kind], min_size=rows, max_size=rows))
        for number, kind in enumerate(kinds)
    }
    declared = {f"c{number}": kind for number, kind in enumerate(kinds)}
    table = pa.table(
        {name: pa.array(cells, arrow_types[declared[name]]) for name, cells in columns.items()}
    )
    expected = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    format = data.draw(st.sampled_from(["arrow", "parquet"]))
    text = stream(table, 2) if format == "arrow" else parquet(table, row_group_size=3)
    _, batches = cut(text, frame(True, **declared), format)
    assert pa.Table.from_batches(batches).to_pylist() == expected
    _, records = cut(text, frame(False, **declared), format)
    assert [{n: c[0] for n, c in record["df"].items()} for record in records] == expected
