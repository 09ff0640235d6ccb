"""The container of realtime services: what goes in comes out, and nothing else is believed."""

from __future__ import annotations

import copy
import json
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.realtime_headers import ATTITUDE, HEADER, headers

from jupyter_mlserve.contract.errors import InvalidDefinition, TooLarge
from jupyter_mlserve.contract.realtime import (
    NULL_TEXT,
    PREFIX,
    StepFailed,
    check_header,
    input_definitions,
    output_definitions,
    pack,
    text_function,
    unpack,
    value_function,
)
from jupyter_mlserve.notebook.compile.example import IMAGE

DIGEST = "0" * 64


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    made = copy.deepcopy({**HEADER, "sha256": DIGEST})
    at: Any = made
    for step in path[:-1]:
        at = at[step]
    if value is None and path[-1] in at and path[-1] not in ("response", "largest"):
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return made


def test_what_is_packed_is_unpacked() -> None:
    data = pack(HEADER, b"\x08\x0amodel")
    assert data.startswith(b"blobMLS1")
    found = unpack(data)
    assert found.model == b"\x08\x0amodel"
    assert {key: found.header[key] for key in HEADER} == HEADER
    assert unpack(memoryview(data)).header == found.header


def test_definitions_show_the_real_columns() -> None:
    header = unpack(pack(HEADER, b"m")).header
    assert input_definitions(header) == [
        {
            "name": "inputData",
            "type": "data.frame",
            "columns": [
                {"name": "hp", "type": "numeric", "nullable": False},
                {"name": "n", "type": "integer", "nullable": True},
                {"name": "città", "type": "character", "nullable": True},
                {"name": "photo", "type": "character", "nullable": False},
            ],
        }
    ]
    assert output_definitions(header)[0]["columns"] == [
        {"name": "PredictedLabel", "type": "character"},
        {"name": "Probability", "type": "numeric"},
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begin with 'blob'"),
        (b"PK\x03\x04", "begin with 'blob'"),
        (b"blob", "not in the format"),
        (b"blobMLS2" + b"\0" * 12, "not in the format"),
        (b"blobMLS1" + b"\0" * 5, "cut off"),
        (b"blobMLS1" + struct.pack("!IQ", 2, 0) + b"{}x", "cut off"),
        (b"blobMLS1" + struct.pack("!IQ", 2, 0) + b"{}", "is missing"),
        (b"blobMLS1" + struct.pack("!IQ", 3, 0) + b"\xff{}", "not JSON"),
        (b"blobMLS1" + struct.pack("!IQ", 13, 0) + b'{"a":1,"a":1}', "twice"),
        (b"blobMLS1" + struct.pack("!IQ", 9, 0) + b'{"a":NaN}', "not JSON"),
        (b"blobMLS1" + struct.pack("!IQ", 100_000, 0) + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_container_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidDefinition, match=message):
        unpack(data)


def test_sizes_are_bounded_before_anything_is_read() -> None:
    with pytest.raises(TooLarge):
        unpack(b"blobMLS1" + struct.pack("!IQ", 2**31, 0))
    with pytest.raises(TooLarge):
        unpack(b"blobMLS1" + struct.pack("!IQ", 2, 2**60))
    with pytest.raises(TooLarge):
        unpack(pack(HEADER, b"model"), max_model=4)


def test_a_model_that_is_not_the_proven_one_is_refused() -> None:
    data = bytearray(pack(HEADER, b"model"))
    data[-1] ^= 1
    with pytest.raises(InvalidDefinition, match="not the one the header was made for"):
        unpack(bytes(data))


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (["kind"], "magic", "kind"),
        (["kind"], None, "header"),
        (["extra"], 1, "header"),
        (["columns"], [], "columns"),
        (["columns", 0, "type"], "datetime", "columns[0].type"),
        (["columns", 0, "name"], "n", "columns"),
        (["columns", 0, "name"], "", "columns[0].name"),
        (["columns", 0, "name"], "a\nb", "columns[0].name"),
        (["columns", 0, "nullable"], 1, "columns[0]"),
        (["columns", 0, "range"], [2, 1], "columns[0].range"),
        (["columns", 0, "range"], [1, 2, 3], "columns[0].range"),
        (["columns", 2, "range"], [1, 2], "columns[2].range"),
        (["columns", 2, "known"], ["a", 1], "columns[2].known[1]"),
        (["columns", 2, "known"], ["\ud800"], "columns[2].known[0]"),
        (["columns", 1, "known"], [True], "columns[1].known[0]"),
        (["response", "position"], 9, "response.position"),
        (["response", "name"], "hp", "response.name"),
        (["largest"], -1, "largest"),
        (["largest"], float("inf"), "largest"),
        (["inputs", 0, "columns"], [0, 7], "inputs[0].columns"),
        (["inputs", 0, "columns"], [0, 0], "inputs[0].columns"),
        (["inputs", 0, "columns"], [2], "inputs[0].columns"),
        (["inputs", 1, "columns"], [0], "inputs[1].columns"),
        (["inputs", 0, "name"], "../etc", "inputs[0]"),
        (["inputs", 0, "steps"], [{"step": "lower"}], "inputs[0].steps[0].step"),
        (["inputs", 2, "steps", 0, "step"], "eval", "inputs[2].steps[0].step"),
        (["inputs", 2, "steps", 0, "drop"], [], "inputs[2].steps[0]"),
        (["inputs", 2, "steps", 1, "least"], 0, "inputs[2].steps[1]"),
        (["inputs", 1, "name"], "numbers", "tensors"),
        (["inputs", 3, "steps"], None, "inputs[3].columns"),
        (["inputs", 3, "columns"], [2, 3], "inputs[3].columns"),
        (["inputs", 3, "columns"], [0], "inputs[3].columns"),
        (["inputs", 3, "type"], "string", "inputs[3].steps[0].step"),
        (["inputs", 3, "steps", 0, "step"], "lower", "inputs[3].steps[0].step"),
        (["inputs", 3, "width"], 1, "inputs[3]"),
        (["inputs", 4, "columns"], [3, 2], "inputs[4].columns"),
        (["inputs", 4, "columns"], [2], "inputs[4].columns"),
        (["inputs", 4, "width"], 25, "inputs[4].width"),
        (["inputs", 4, "width"], None, "inputs[4]"),
        (["inputs", 4, "steps"], None, "inputs[4]"),
        (["inputs", 4, "steps", 0, "step"], "read_file", "inputs[4].steps[0].step"),
        (["inputs", 4, "steps", 0, "path"], "/etc", "inputs[4].steps[0]"),
        (["inputs", 4, "steps", 1, "width"], 5000, "inputs[4].steps[1].width"),
        (["inputs", 4, "steps", 1, "height"], 0, "inputs[4].steps[1].height"),
        (["inputs", 4, "steps", 1, "how"], "fit", "inputs[4].steps[1].how"),
        (["inputs", 4, "steps", 2, "channels"], "CMYK", "inputs[4].steps[2].channels"),
        (["inputs", 4, "steps", 2, "channels"], "L", "inputs[4].width"),
        (["inputs", 4, "steps", 2, "layout"], "tiled", "inputs[4].steps[2].layout"),
        (["inputs", 4, "steps", 2, "offset"], float("nan"), "inputs[4].steps[2].offset"),
        (["inputs", 4, "steps", 2, "scale"], True, "inputs[4].steps[2].scale"),
        (["inputs", 4, "steps"], [{"step": "load_image"}], "inputs[4].steps"),
        (["columns", 3, "nullable"], True, "inputs[4].columns"),
        (["example"], None, "header"),
        (["example", "hp"], None, "example"),
        (["example", "speed"], 1, "example"),
        (["example", "hp"], "3.5", "example.hp"),
        (["example", "hp"], True, "example.hp"),
        (["example", "hp"], 11, "example.hp"),
        (["example", "n"], 2.5, "example.n"),
        (["example", "n"], 2**53 + 1, "example.n"),
        (["example", "città"], "b", "example.città"),
        (["example", "photo"], "not base64", "example.photo"),
        (["example", "photo"], "A" * 70_000, "example.photo"),
        (["tensors", 0, "type"], "float16", "tensors[0].type"),
        (["tensors", 0, "width"], 0, "tensors[0].width"),
        (["tensors", 0, "width"], True, "tensors[0].width"),
        (["outputs", 1, "tensor"], "other", "outputs[1].tensor"),
        (["outputs", 1, "index"], 2, "outputs[1].index"),
        (["outputs", 1, "name"], "PredictedLabel", "outputs"),
        (["outputs", 0, "labels"], None, "outputs[0].type"),
        (["outputs", 0, "labels"], [1, 2], "outputs[0].labels[0]"),
        (["proof", "rows"], 0, "proof.rows"),
        (["proof", "largest_difference"], -1, "proof.largest_difference"),
        (["proof", "probes"], {"a": "b"}, "proof.probes.a"),
        (["sha256"], "x", "sha256"),
    ],
)
def test_every_rule_of_the_header(path: list[Any], value: Any, field: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        check_header(changed(path, value))
    assert caught.value.field == field


def test_the_unchanged_header_keeps_every_rule() -> None:
    check_header({**HEADER, "sha256": DIGEST})


@pytest.mark.parametrize(
    ("steps", "text", "expected"),
    [
        ([{"step": "lower"}], "ΟΔΟΣ İ", "ΟΔΟΣ İ".lower()),
        ([{"step": "strip_accents_unicode"}], "é\u0301ß", "eß"),
        ([{"step": "strip_accents_ascii"}], "éß東", "e"),
        ([{"step": "spaces"}], "a \t b c", "a b c"),
        ([{"step": "words", "least": 2, "drop": ["the"]}], "the a_b, I: don't", "a_b don"),
        ([{"step": "words", "least": 1, "drop": []}], "I a.b", "I a b"),
        ([{"step": "word_bounds"}], " ab  c ", " ab \ue001 c "),
        ([{"step": "lower"}, {"step": "words", "least": 2, "drop": ["the"]}], "THE Fox", "fox"),
    ],
)
def test_text_steps(steps: list[dict[str, Any]], text: str, expected: str) -> None:
    function = text_function(steps)
    assert function is not None
    assert function(text) == expected


def test_no_steps_are_no_function() -> None:
    assert text_function([]) is None


@settings(max_examples=150, deadline=None)
@given(headers(), st.binary(max_size=20))
def test_every_good_header_goes_through_unchanged(header: dict[str, Any], model: bytes) -> None:
    found = unpack(pack(header, model))
    assert found.model == model
    assert {key: found.header[key] for key in header} == header
    assert check_header(found.header) == found.header


@pytest.mark.parametrize("header", [HEADER, ATTITUDE])
def test_the_headers_of_these_tests_are_good(header: dict[str, Any]) -> None:
    check_header({**header, "sha256": DIGEST})


GOOD = pack(HEADER, b"model")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_containers_are_refused_or_the_same(data: st.DataObject) -> None:
    """Any damage raises our error; what is accepted is a whole, checked header."""
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    try:
        found = unpack(bytes(damaged[:cut]))
    except (InvalidDefinition, TooLarge):
        return
    assert check_header(found.header) == found.header


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    st.sampled_from(sorted(HEADER)),
)
def test_any_json_in_any_place_is_refused_or_normal(value: Any, key: str) -> None:
    try:
        checked = check_header({**HEADER, "sha256": DIGEST, key: value})
    except InvalidDefinition:
        return
    json.dumps(checked, allow_nan=False)
    assert PREFIX == 20


def test_null_is_an_example_only_where_it_is_accepted() -> None:
    nulled = changed(["example"], {**HEADER["example"], "hp": None})
    with pytest.raises(InvalidDefinition, match="it is null, and the column may not be"):
        check_header(nulled)


def test_an_example_keeps_the_order_of_the_columns() -> None:
    turned = dict(reversed(HEADER["example"].items()))
    assert list(check_header(changed(["example"], turned))["example"]) == list(HEADER["example"])


def test_an_example_is_no_text_for_null_and_no_larger_than_the_model_takes() -> None:
    free = changed(["columns", 2], {"name": "città", "type": "character", "nullable": True})
    with pytest.raises(InvalidDefinition, match="stands for null"):
        check_header({**free, "example": {**HEADER["example"], "città": f"a{NULL_TEXT}"}})
    with pytest.raises(InvalidDefinition, match="larger than 2"):
        check_header(changed(["largest"], 2))


def test_an_example_with_keys_by_the_hundred_thousand_is_refused_soon() -> None:
    columns = [{"name": f"c{n}", "type": "numeric", "nullable": False} for n in range(4096)]
    header = {
        **ATTITUDE,
        "columns": columns,
        "inputs": [{"name": "numbers", "type": "double", "columns": list(range(4096))}],
        "example": {f"x{n}": 0 for n in range(200_000)} | {c["name"]: 0 for c in columns},
        "sha256": "0" * 64,
    }
    start = time.process_time()
    with pytest.raises(InvalidDefinition, match="'x0' is not known"):
        check_header(header)
    assert time.process_time() - start < 2  # 10 if each key is looked for among the columns


def test_how_many_inputs_read_one_text_is_bounded() -> None:
    one = HEADER["inputs"][2]
    many = [{**one, "name": f"t{i}"} for i in range(17)]
    with pytest.raises(InvalidDefinition, match="more than 16 of them have steps"):
        check_header(changed(["inputs"], many))
    columns = [{"name": f"p{i}", "type": "character", "nullable": False} for i in range(17)]
    images = [{**HEADER["inputs"][4], "name": f"i{i}", "columns": [i]} for i in range(17)]
    with pytest.raises(InvalidDefinition, match="more than 16 of them are images"):
        check_header({**changed(["columns"], columns), "inputs": images})


def test_one_function_for_kernel_and_runtime() -> None:
    numbers, texts, text0, sentiment0, image0 = HEADER["inputs"]
    assert value_function(numbers) is None
    assert value_function(texts) is None
    lower = value_function(text0)
    assert lower is not None
    assert lower("THE Fox") == "fox"
    feeling = value_function(sentiment0)
    assert feeling is not None
    assert feeling("This is wonderful!") > 0.5 > feeling("This is horrible!")
    pixels = value_function(image0)
    assert pixels is not None
    assert pixels(IMAGE).shape == (24,)
    assert pixels(IMAGE).dtype == "float32"
    with pytest.raises(StepFailed) as caught:
        pixels("not base64")
    assert isinstance(caught.value, ValueError)
    assert not str(caught.value).endswith(".")
