"""JSON uploads to records: what becomes of lines and items, right ones and wrong ones."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_mlserve.contract.definition import Definition
from jupyter_mlserve.contract.errors import InvalidInput, MLServeError, TooLarge
from jupyter_mlserve.store.batches.plan import OutPlan, Plan, out_plan_of, plan_of
from jupyter_mlserve.store.batches.split import Split, SplitLimits, split

TX = Plan(
    None,
    None,
    [
        {"name": "hp", "type": "numeric", "optional": False},
        {"name": "wt", "type": "numeric", "optional": False},
    ],
)
FRAME = Plan(
    "df",
    [{"name": "hp", "type": "numeric"}, {"name": "wt", "type": "numeric"}],
    [{"name": "df", "type": "data.frame", "optional": False}],
    "am",
)
ANY = Plan("df", None, [{"name": "df", "type": "data.frame", "optional": False}])
NONE = Plan(None, None, [])


@pytest.fixture
def cut(tmp_path: Path) -> Any:
    """Split some bytes; gives what came out and the records, after checking the index."""
    number = iter(range(10_000))

    def run(
        data: bytes, format: str, plan: Plan, limits: SplitLimits | None = None
    ) -> tuple[Split, list[bytes]]:
        folder = tmp_path / str(next(number))
        folder.mkdir()
        (folder / "upload").write_bytes(data)
        try:
            found = split(folder / "upload", format, folder, plan, limits)
        except MLServeError:
            assert [path.name for path in folder.iterdir()] == ["upload"]
            raise
        return found, records(folder, found)

    return run


def records(folder: Path, found: Split) -> list[bytes]:
    """The stored units, as the index has them."""
    data, index = (folder / "input").read_bytes(), (folder / "index").read_bytes()
    units = found.units
    offsets = struct.unpack_from(f"<{units + 1}Q", index)
    crcs = struct.unpack_from(f"<{units}I", index, 8 * (units + 1))
    assert offsets[-1] == len(data) == found.bytes
    assert (found.format, found.piece, found.total) == ("lines", 1, units)
    parts = [data[a:b] for a, b in itertools.pairwise(offsets)]
    assert [zlib.crc32(part) for part in parts] == list(crcs)
    assert all(part.endswith(b"\n") and part.count(b"\n") == 1 for part in parts)
    return [part[:-1] for part in parts]


def test_lines_of_inputs_stay_as_they_are(cut: Any) -> None:
    text = b'\xef\xbb\xbf{"hp":110,"wt":2.6}\r\n\n  \t\r\n {"hp": 93, "wt": 1e400} \n{"hp":1}'
    found, lines = cut(text, "lines", TX)
    assert lines == [b'{"hp":110,"wt":2.6}', b'{"hp": 93, "wt": 1e400}', b'{"hp":1}']
    assert found == Split("lines", 3, 3, 1, sum(map(len, lines)) + 3)


def test_wrong_lines_stay_and_fail_by_themselves(cut: Any) -> None:
    wrong = [
        b'{"hp":110,"wt":}',
        b"\xff\xfe\xff",
        b'{"hp":"a\x00b"}',
        b"5",
        b"null",
        b'{"hp":"\\ud800"}',
        b"[" * 50_000,
        b'{"hp":' + b"9" * 5000 + b"}",
        b'{"df":' + b"[" * 50_000,
        b"}{",
    ]
    for plan in (TX, FRAME):
        text = b'{"hp":1,"wt":2}\n' + b"\n".join(wrong)
        _, lines = cut(text, "lines", plan)
        kept = [line for line in lines[1:] if not line.startswith(b'{"df":{"hp":[999')]
        assert kept == [line for line in wrong if plan is TX or not line.startswith(b'{"hp":999')]


def test_a_plain_row_becomes_a_frame_of_one(cut: Any) -> None:
    rows = [
        (b'{"hp":110,"wt":2.620}', b'{"df":{"hp":[110],"wt":[2.620]}}'),
        (b'{"wt":2.6, "hp":110}', b'{"df":{"hp":[110],"wt":[2.6]}}'),
        (b'{"hp":110}', b'{"df":{"hp":[110]}}'),
        (b'{"cyl":4,"wt":1,"hp":2}', b'{"df":{"hp":[2],"wt":[1],"cyl":[4]}}'),
        (b'{"hp":1,"am":0,"wt":2}', b'{"df":{"hp":[1],"wt":[2]}}'),
        (b'{"hp":1,"wt":2,"hp":3}', b'{"df":{"hp":[3],"wt":[2]}}'),
        (b'{"df":{"hp":[1],"wt":[2]}}', b'{"df":{"hp":[1],"wt":[2]}}'),
        (b'{"df":[{"hp":1,"wt":2}]}', b'{"df":[{"hp":1,"wt":2}]}'),
        (b'{"df":null}', b'{"df":null}'),
        (b'{"df":5}', b'{"df":{"df":[5]}}'),
        (b"{}", b"{}"),
        (
            b'{"%s":1,"\\u00e9\\"":[2, {"a": 1}]}',
            '{"df":{"%s":[1],"é\\"":[[2, {"a": 1}]]}}'.encode(),
        ),
    ]
    for format in ("lines", "json"):
        joined = b"\n".join(row for row, _ in rows)
        if format == "json":
            joined = b"[" + b",".join(row for row, _ in rows) + b"]"
        _, lines = cut(joined, format, FRAME)
        assert lines == [record for _, record in rows]
    _, lines = cut(b'{"b":1,"a":2}\n{"df":{"x":[1]}}', "lines", ANY)
    assert lines == [b'{"df":{"b":[1],"a":[2]}}', b'{"df":{"x":[1]}}']


def test_a_column_may_be_called_as_the_frame_is(cut: Any) -> None:
    plan = Plan("df", [{"name": "df", "type": "numeric"}], FRAME.inputs)
    _, lines = cut(b'{"df":5}\n{"df":null}\n{"df":{"df":[5]}}', "lines", plan)
    assert lines == [b'{"df":{"df":[5]}}', b'{"df":{"df":[null]}}', b'{"df":{"df":[5]}}']


def test_items_of_an_array_become_lines(cut: Any) -> None:
    items = [{"hp": n, "wt": n / 7, "t": "a\nb é \u2028"} for n in range(5000)]
    text = json.dumps(items, indent=2, ensure_ascii=False).replace("\n", "\r\n").encode()
    found, lines = cut(text, "json", TX)
    assert found.total == 5000
    assert [json.loads(line) for line in lines] == items
    assert [json.loads(line) for line in cut(b"[5, null, {}]", "json", TX)[1]] == [5, None, {}]


def test_a_service_without_inputs_takes_empty_records(cut: Any) -> None:
    assert cut(b"[{},{}]", "json", NONE)[1] == [b"{}", b"{}"]
    assert cut(b"{}\n{}\n", "lines", NONE)[1] == [b"{}", b"{}"]


@pytest.mark.parametrize(
    ("data", "format", "said"),
    [
        (b"", "json", "expected a JSON array of records, got nothing"),
        (b" \n", "lines", "The upload has no records"),
        (b"[]", "json", "The upload has no records"),
        (b"\xef\xbb\xbf", "lines", "The upload has no records"),
        (b'{"hp":1}', "json", "expected a JSON array of records, got an object of 1"),
        (b'{"hp":1}\n{"hp":2}', "json", "JSON lines are application/x-ndjson"),
        (b'[{"hp":1},]', "json", "at line 1 column"),
        (b'[{"hp":NaN}]', "json", "not JSON"),
        (b'[{"hp":"\xff', "json", "bytes that are not UTF-8 (byte 8)"),
        (b"[" * 100_000, "json", "nested too deeply"),
        (b"\xff\xfe[\0]\0", "json", "UTF-16"),
        (b"\xff\xfe{\0}\0", "lines", "UTF-16"),
        (b'\n[{"hp":1},{"hp":2}]', "lines", "a whole array is application/json"),
    ],
)
def test_uploads_that_are_no_records(cut: Any, data: bytes, format: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        cut(data, format, TX)
    assert said in caught.value.message
    assert {"field", "expected", "got"} <= caught.value.details.keys()


def test_limits(cut: Any) -> None:
    line = b'{"hp":1,"wt":2}\n'
    for format, data in (("lines", line * 11), ("json", b"[" + b"{}," * 10 + b"{}]")):
        assert cut(data, format, TX, SplitLimits(records=11))[0].total == 11
        with pytest.raises(TooLarge, match="more than 10 records") as caught:
            cut(data, format, TX, SplitLimits(records=10))
        assert caught.value.details["limit"] == 10
    with pytest.raises(TooLarge, match="more than 100 bytes"):
        cut(line * 11, "lines", TX, SplitLimits(output=100))
    with pytest.raises(InvalidInput, match="Record 1 of the upload") as wrong:
        cut(line + b"x" * 2000 + b"\n", "lines", TX, SplitLimits(line=1000))
    assert wrong.value.details["row"] == 1


def test_a_line_without_an_end_is_not_gathered(cut: Any) -> None:
    with pytest.raises(InvalidInput, match="at most 1,000 bytes"):
        cut(b"{}\n" + b"x" * (8 << 20), "lines", TX, SplitLimits(line=1000))


def test_lines_may_be_longer_than_a_block(cut: Any) -> None:
    long = [b'{"hp":"' + b"x" * n + b'"}' for n in (10, 3 << 20, 5, 1 << 20, (1 << 20) - 9, 0)]
    assert cut(b"\r\n".join(long), "lines", TX)[1] == long


cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
)
names = st.text(max_size=4).filter(lambda name: name not in ("df", "am"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(st.dictionaries(names, cells, max_size=4), min_size=1, max_size=8))
def test_every_record_arrives(cut: Any, items: list[dict[str, Any]]) -> None:
    text = "\n".join(json.dumps(item, ensure_ascii=False) for item in items).encode()
    assert [json.loads(line) for line in cut(text, "lines", TX)[1]] == items
    array = json.dumps(items, indent=1).encode()
    assert [json.loads(line) for line in cut(array, "json", TX)[1]] == items
    framed = [json.loads(line) for line in cut(array, "json", FRAME)[1]]
    rows = [{name: [cell] for name, cell in item.items()} for item in items]
    assert [record.get("df", {}) for record in framed] == rows


def definition(**more: Any) -> Definition:
    return Definition.from_json(
        {
            "name": "s",
            "version": "1",
            "runtimeType": "Python",
            "code": "out = df",
            "outputParameterDefinitions": [{"name": "out", "type": "data.frame"}],
            **more,
        }
    )


def test_the_plan_of_a_version() -> None:
    columns = [{"name": "hp", "type": "integer", "nullable": True}]
    frame = {"name": "df", "type": "data.frame", "columns": columns}
    one = definition(inputParameterDefinitions=[frame])
    assert plan_of(one) == Plan(
        "df",
        [{"name": "hp", "type": "integer"}],
        [{"name": "df", "type": "data.frame", "optional": False}],
    )
    assert out_plan_of(one) == OutPlan([{"name": "out", "type": "data.frame"}])
    two = definition(
        inputParameterDefinitions=[
            {"name": "df", "type": "data.frame"},
            {"name": "n", "type": "integer", "optional": True, "default": 3},
        ]
    )
    assert plan_of(two).frame is None
    assert plan_of(two).inputs[1] == {"name": "n", "type": "integer", "optional": True}
    many = definition(inputParameterDefinitions=[frame], mlserve={"batchable": True})
    assert plan_of(many).arrow
    assert out_plan_of(many).rows
    for plan in (plan_of(one), plan_of(two), plan_of(many)):
        assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
