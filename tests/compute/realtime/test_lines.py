"""Blocks of records: every line is what the record's own call gives, whatever stands beside it."""

from __future__ import annotations

import base64
import io
import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from PIL import Image
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from support.echo_model import body_of, column, echo
from support.realtime_models import constant, container_of, endless, model_of, node

from jupyter_mlserve.compute.realtime import lines as lines_module
from jupyter_mlserve.compute.realtime.failures import call_failed
from jupyter_mlserve.compute.realtime.lines import Lines, Terms
from jupyter_mlserve.compute.realtime.scoring import Scorer
from jupyter_mlserve.compute.realtime.sessions import open_session, run_options
from jupyter_mlserve.contract.errors import CallTimeout, ServiceFailed, result_error_body
from jupyter_mlserve.contract.realtime import NULL_TEXT, unpack
from jupyter_mlserve.notebook.compile import serialize_model

LABEL = "svc 1"
TERMS = Terms(budget=1000.0, label=LABEL)
PLAIN = echo(column("a"), column("b"))
MIXED = echo(
    column("n", "numeric", True),
    column("i", "integer", True),
    column("b", "logical", True),
    column("s", "character", True),
)
RESPONSE = echo(column("a"), column("b"), response={"name": "y", "type": "numeric", "position": 1})
RULES = echo(
    column("a", "numeric", range=[0, 10]),
    column("b", "character", known=["x%", "y,z"]),
    column("c%s", "integer", known=[1, 2]),
    largest=1e30,
)
GOOD = {
    "plain": {"a": [1.5], "b": [2]},
    "mixed": {"n": [1.5], "i": [2], "b": [True], "s": ["x"]},
    "response": {"a": [1], "y": ["?"], "b": [2]},
    "rules": {"a": [1], "b": ["y,z"], "c%s": [2]},
}
SCORERS = {"plain": PLAIN, "mixed": MIXED, "response": RESPONSE, "rules": RULES}


def scorer_of(container: bytes, **limits: int) -> Scorer:
    found = unpack(container)
    return Scorer(found.header, open_session(found.model), **limits)


def alone(scorer: Scorer, line: bytes) -> bytes:
    """What a call answers."""
    try:
        return scorer.score(line, "", run_options())
    except Exception as exc:
        return json.dumps(result_error_body(call_failed(LABEL, exc))).encode()


def score(scorer: Scorer, lines: list[bytes], terms: Terms = TERMS) -> tuple[Lines, list[bytes]]:
    found = scorer.score_lines(b"\n".join(lines) + b"\n", run_options(), terms)
    answers = found.body.split(b"\n")
    assert answers.pop() == b""
    assert len(answers) == found.done
    failures = sum(not json.loads(answer)["success"] for answer in answers)
    assert found.failed == failures
    return found, answers


def check(scorer: Scorer, lines: list[bytes]) -> list[bytes]:
    found, answers = score(scorer, lines)
    assert found.done == len(lines)
    assert answers == [alone(scorer, line) for line in lines]
    return answers


# What is none, for any of the models.
HOSTILE = [
    b"",
    b" \t\r",
    b"{",
    b"}",
    b"null",
    b"[]",
    b"{}",
    b'"x"',
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"inputData": null}',
    b'{"inputData": {}}',
    b'{"inputData": []}',
    b'{"inputData": [{}]}',
    b'{"inputData": [[1, 2]]}',
    b'{"inputData": {"a": 1, "b": 2}}',
    b'{"inputData": {"a": [1, 2], "b": [2]}}',
    b'{"inputData": {"a": [], "b": []}}',
    b'{"inputData": {"a": [NaN], "b": [1]}}',
    b'{"inputData": {"a": [1e999], "b": [1]}}',
    b'{"inputData": {"a": [1], "b": [2]}, "more": 1}',
    b'{"inputData": {"a": [1], "b": [2]}} {"inputData": {"a": [1], "b": [2]}}',
    b'{"inputData": {"a": [1], "b": [2]}},{"inputData": {"a": [1], "b": [2]}}',
    b'{"inputData": {"a": [1], "b": [2]}},',
    b',{"inputData": {"a": [1], "b": [2]}}',
    b'{"inputData": {"b": [1], "a": [2]}}',
    b'{"inputData": {"a": [1], "b": [2], "a": [3]}}',
    b'{"inputData": {"a": [1], "a": [3], "b": [2]}}',
    b'{"inputData": 1, "inputData": {"a": [1], "b": [2]}}',
    b'{"inputData": {"a": ["\xff"], "b": [2]}}',
    b'{"inputData": {"a": ["\\ud800"], "b": [2]}}',
    b'{"inputData": {"\\ud800": [1], "b": [2]}}',
    b'{"inputData": {"a": [1], "b": [' + b"9" * 400 + b"]}}",
    b'{"inputData": ' + b"[" * 100_000,
    b'{"inputData": ' + b'{"a":' * 20_000,
    # Each the end of what the other began.
    b'{"inputData": {"a": [1],',
    b'"b": [2]}}',
    b'{"inputData": {"a": [1], "b": [2]}',
    b"}",
]
CELLS: list[Any] = [
    *(0, -1, 1.0, 2.5, 1e31, 10**400, 2**53, 2**53 + 1, 9007199254740993.0, -0.0, 5e-324),
    *(True, False, None, "x%", "y,z", "x", "", "%b", NULL_TEXT, "null", "é\u2028\n", [1], {"a": 1}),
]


def spoilt(good: dict[str, list[Any]]) -> list[bytes]:
    """A good record with each column in turn made of other cells, missing, or longer."""
    made: list[Any] = []
    for name in good:
        made += [{**good, name: [cell]} for cell in CELLS]
        made += [{**good, name: value} for value in ([], [1, 2], None, 3, {})]
        made.append({key: cells for key, cells in good.items() if key != name})
    made.append(dict(reversed(good.items())))
    made.append({**good, "more": [1]})
    made += [{key: cells * rows for key, cells in good.items()} for rows in (2, 3, 40)]
    records = [
        [{key: cells[0] for key, cells in frame.items()}]
        for frame in made
        if all(isinstance(cells, list) and cells for cells in frame.values())
    ]
    made += records
    made += [record * 3 for record in records[:5]]
    return [body_of(data).replace(b"\n", b" ") for data in made]


@pytest.mark.parametrize("name", list(SCORERS))
@pytest.mark.parametrize("between", [0, 1, 300])
def test_each_line_is_what_its_own_call_gives(name: str, between: int) -> None:
    """Alone in their group, beside good ones, and with groups of good ones between."""
    scorer, good = SCORERS[name], body_of(GOOD[name])
    bad = HOSTILE + spoilt(GOOD[name])
    if between == 300:
        bad = bad[::7]
    lines = [part for line in bad for part in (line, *[good] * between)]
    # As a body, so that no line of the list above is two.
    assert not any(b"\n" in line for line in lines)
    answers = check(scorer, lines)
    assert {json.loads(answer)["success"] for answer in answers} == {True, False}


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_beside_any_others(data: Any) -> None:
    good = body_of(GOOD["mixed"])
    lines = []
    for _ in range(data.draw(st.integers(1, 8))):
        line = bytearray(good)
        for _ in range(data.draw(st.integers(0, 3))):
            start = data.draw(st.integers(0, len(line)))
            stop = data.draw(st.integers(start, min(len(line), start + 12)))
            line[start:stop] = data.draw(
                st.binary(max_size=4) | st.sampled_from([b"null", b",", b"]", b"}", b"[1,2]", b'"'])
            )
        lines.append(bytes(line).replace(b"\n", b""))
    check(MIXED, lines)


def test_line_ends() -> None:
    """A record is what stands before a line feed; the last one need not have it."""
    good = body_of(GOOD["plain"])
    for body, count in ((b"", 0), (good, 1), (good + b"\r\n" + good, 2), (good + b"\n\n", 2)):
        found = PLAIN.score_lines(bytearray(body), run_options(), TERMS)
        assert found.done == count
    assert found.failed == 1  # the empty line


def test_large_bodies_are_read_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "_PART", 100)
    lines = [body_of({"a": [n], "b": [n * "1"] if n % 50 == 49 else [n]}) for n in range(3000)]
    answers = check(PLAIN, lines)
    assert json.loads(answers[7])["outputParameters"]["outputData"] == {"a": [7.0], "b": [7.0]}


def test_records_of_many_rows() -> None:
    """In one frame with others; one that is too large for a frame alone."""
    sizes = [1, 1, 5, 2, 0, 9000, 8000, 1, 17_000, 3]
    lines = [body_of({"a": list(range(rows)), "b": [0.5] * rows}) for rows in sizes]
    check(PLAIN, lines)
    # A bad row is counted within its record.
    lines[2] = body_of({"a": [1, 2, 3, 4, None], "b": [1] * 5})
    error = json.loads(check(PLAIN, lines)[2])
    assert (error["fields"], error["details"]["row"]) == ("inputData.a[4]", 4)
    few = echo(column("a"), column("b"), max_rows=4)
    assert json.loads(check(few, lines)[5])["exceptionType"] == "TooLarge"


def test_a_real_model_gives_what_it_gives_alone() -> None:
    iris = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=500).fit(iris.data, iris.target_names[iris.target])
    scorer = scorer_of(serialize_model(model, iris.data.iloc[::5]))
    records = [body_of([row]) for row in iris.data.to_dict("records")] * 10
    found, answers = score(scorer, records)
    assert (found.done, found.failed) == (1500, 0)
    outputs = [json.loads(answer)["outputParameters"]["outputData"] for answer in answers]
    assert [row["PredictedLabel"][0] for row in outputs] == model.predict(iris.data).tolist() * 10
    scores = [[row[f"Score.{label}"][0] for label in model.classes_] for row in outputs[:150]]
    np.testing.assert_allclose(scores, model.predict_proba(iris.data), rtol=1e-9, atol=1e-12)


def gather() -> bytes:
    """Row ``a`` of a table of three: the run fails for any other."""
    nodes = [
        node("MatMul", ["numbers", "first"], ["a"]),
        node("Cast", ["a"], ["n"], to=TensorProto.INT64),
        node("Reshape", ["n", "flat"], ["flat_n"]),
        node("Gather", ["table", "flat_n"], ["value"], axis=0),
    ]
    return container_of(
        model_of(
            nodes,
            [
                constant("first", [[1.0], [0.0]]),
                constant("flat", np.array([-1], np.int64)),
                constant("table", [[10.0], [20.0], [30.0]]),
            ],
        )
    )


@pytest.mark.parametrize("bad", [[], [0], [5, 6], [999], list(range(0, 1000, 3))])
def test_a_run_that_fails_for_some_rows_fails_for_these(bad: list[int]) -> None:
    scorer = scorer_of(gather())
    lines = [body_of({"a": [7.0 if n in bad else n % 3], "b": [0]}) for n in range(1000)]
    answers = check(scorer, lines)
    failed = [n for n, answer in enumerate(answers) if not json.loads(answer)["success"]]
    assert failed == bad
    if bad:
        error = json.loads(answers[bad[0]])
        assert error["exceptionType"] == "InternalError"
        assert "details" not in error
        _, for_owner = score(scorer, lines[: bad[0] + 1], Terms(1000.0, LABEL, owner=True))
        assert "traceback" in json.loads(for_owner[-1])["details"]


def test_a_model_that_makes_one_row_of_many_is_asked_for_each() -> None:
    nodes = [
        node("ReduceSum", ["numbers", "rows"], ["sum"], keepdims=1),
        node("MatMul", ["sum", "w"], ["value"]),
    ]
    constants = [constant("rows", np.array([0], np.int64)), constant("w", [[1.0], [2.0]])]
    scorer = scorer_of(container_of(model_of(nodes, constants)))
    lines = [body_of({"a": [float(n)], "b": [1.0]}) for n in range(100)]
    lines[50] = body_of({"a": [1, 2], "b": [3, 4]})
    answers = check(scorer, lines)
    assert json.loads(answers[9])["outputParameters"]["outputData"] == {"Pred": [11.0]}
    assert json.loads(answers[50])["exceptionType"] == "BundleCorrupt"


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceSum"])
def test_a_model_that_looks_at_all_rows_is_given_each_record_alone(op: str) -> None:
    """Its answer for a frame is its own; for records nobody may notice what stands beside them."""
    nodes = [
        node(op, ["numbers", "rows"], ["whole"], keepdims=1),
        node("Sub", ["numbers", "whole"], ["rest"]),
        node("MatMul", ["rest", "w"], ["value"]),
    ]
    constants = [constant("rows", np.array([0], np.int64)), constant("w", [[1.0], [2.0]])]
    scorer = scorer_of(container_of(model_of(nodes, constants)))
    lines = [body_of({"a": [n * 1.1], "b": [n % 7]}) for n in range(500)]
    lines[100] = body_of({"a": [1, 2, 5], "b": [3, 4, 5]})
    answers = check(scorer, lines)
    assert json.loads(answers[9])["outputParameters"]["outputData"] == {"Pred": [0.0]}
    pa = pytest.importorskip("pyarrow")
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [1.0, 2.0, 5.0], "b": [3.0, 4.0, 5.0]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert scorer.score(sink.getvalue(), "aa")
    with pytest.raises(ServiceFailed, match="depends on the rows beside it"):
        scorer.score(sink.getvalue(), "aa", by_row=True)


def test_a_text_that_a_step_cannot_use_fails_alone() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (200, 10, 30)).save(buffer, "png")
    image = base64.b64encode(buffer.getvalue()).decode()
    pixels = {"channels": "RGB", "layout": "interleaved", "offset": 0.0, "scale": 1.0}
    steps = [
        {"step": "load_image"},
        {"step": "resize_image", "width": 2, "height": 2, "how": "aniso"},
        {"step": "extract_pixels", **pixels},
    ]
    inputs = [{"name": "i", "type": "float", "columns": [0], "width": 12, "steps": steps}]
    scorer = echo(column("p", "character"), inputs=inputs)
    answers = check(scorer, [body_of({"p": [text]}) for text in (image, "aGVsbG8=", "?") * 20])
    assert [json.loads(answer)["success"] for answer in answers] == [True, False, False] * 20
    error = json.loads(answers[-1])
    assert (error["fields"], error["details"]["row"]) == ("inputData.p[0]", 0)


def test_memory_that_ends_makes_frames_smaller() -> None:
    """The frame that was too much is scored in smaller ones; nothing of it fails."""
    nodes = [node("MatMul", ["numbers", "w"], ["value"])]
    scorer = scorer_of(container_of(model_of(nodes, [constant("w", [[1.0], [2.0]])])))
    real, sizes = scorer.run, []

    def run(feeds: Any, options: Any) -> Any:
        rows = len(feeds["numbers"])
        if rows > 100:
            raise MemoryError("as the session says it")
        sizes.append(rows)
        return real(feeds, options)

    scorer.run = run  # type: ignore[method-assign]
    lines = [body_of({"a": [float(n)], "b": [1.0]}) for n in range(2000)]
    found, _ = score(scorer, lines)
    assert (found.done, found.failed) == (2000, 0)
    assert sum(sizes) == 2000 + 2  # two rows were compared with themselves alone
    assert len(sizes) < 100


def test_the_limit_of_a_reply_is_that_of_each_record_and_of_the_block() -> None:
    scorer = echo(column("a", "character"), result_limit=2000)
    small, large = body_of({"a": ["x" * 300]}), body_of({"a": ["x" * 3000]})
    found, answers = score(scorer, [large, *[small] * 20])
    assert found.done < 21
    assert len(found.body) <= 2000
    assert answers[0] == alone(scorer, large)
    assert "result_limit" in json.loads(answers[0])["message"]
    # One goes always, also where an error is larger than the limit.
    tiny = echo(column("a", "character"), result_limit=10)
    assert score(tiny, [small] * 5)[0].done == 1


def test_it_ends_with_its_budget_and_when_others_wait() -> None:
    scorer = scorer_of(gather())
    real = scorer.run

    def slow(feeds: Any, options: Any) -> Any:
        time.sleep(0.001 * len(feeds["numbers"]))
        return real(feeds, options)

    scorer.run = slow  # type: ignore[method-assign]
    lines = [body_of({"a": [1.0], "b": [1.0]})] * 2000
    start = time.monotonic()
    found, _ = score(scorer, lines, Terms(0.15, LABEL))
    assert 20 < found.done < 200
    assert time.monotonic() - start < 0.5
    assert score(scorer, lines, Terms(0.0, LABEL))[0].done >= 1
    asked = iter([False, True])
    found, _ = score(scorer, lines, Terms(1000.0, LABEL, hurry=lambda: next(asked)))
    # About two pieces of 0.05 seconds.
    assert 40 < found.done < 150


def test_the_first_piece_of_a_model_of_unknown_speed_is_one_record() -> None:
    scorer = scorer_of(endless())
    lines = [body_of({"a": [a], "b": [1.0]}) for a in (0.0, 1.0, 0.0)]
    options = run_options()

    def end() -> bool:
        # Asked before each further piece: from here on it is over.
        options.terminate = True
        return False

    found = scorer.score_lines(b"\n".join(lines), options, Terms(1000.0, LABEL, hurry=end))
    assert (found.done, found.failed) == (1, 0)
    with pytest.raises(CallTimeout):
        scorer.score_lines(b"\n".join(lines), options, TERMS)
