"""What a realtime version shows of itself. The models and proofs are real, the server is not."""

from __future__ import annotations

import ast
import json
import re
import shlex
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from jupyter_mlserve import serialize_model
from jupyter_mlserve.client.publishing import Published
from jupyter_mlserve.contract.realtime import unpack
from jupyter_mlserve.notebook import card as cards
from jupyter_mlserve.notebook import proof, snippets
from jupyter_mlserve.notebook.compile.gate import TOLERANCE
from jupyter_mlserve.notebook.document import Card
from jupyter_mlserve.notebook.html import card_html
from jupyter_mlserve.notebook.realtime import Compiled
from jupyter_mlserve.notebook.sample import Sample
from jupyter_mlserve.notebook.text import card_text

from .test_card import EVIL, URL, URLS, parsed

FRAME = pd.DataFrame(
    {
        "hp": [110.0, 93.0, 175.0, 105.0, 245.0, 62.0],
        "maker": ["Ford", "Fiat", "Ford", "Opel", "Opel", "Fiat"],
        "am": ["manual", "manual", "auto", "auto", "auto", "manual"],
    }
)


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    prepare = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["maker"]), ("passthrough", ["hp"])
    )
    model = make_pipeline(prepare, LogisticRegression(max_iter=1000))
    container = serialize_model(model.fit(FRAME[["hp", "maker"]], FRAME["am"]), FRAME)
    return Compiled(container, unpack(container).header, Sample("cars", FRAME, True), 1.25)


def service(compiled: Compiled, **changes: Any) -> dict[str, Any]:
    return {
        "name": "Gear",
        "version": "1.0",
        "description": "Which transmission?",
        "versionPublishedBy": "ada",
        "creationTime": "2026-03-29T17:55:13.5336083",
        **compiled.service,
        **changes,
    }


def published(compiled: Compiled, **changes: Any) -> Published:
    answer = {"PredictedLabel": ["manual"], "Probability": [0.8125]}
    return Published(
        "published",
        service(compiled, **changes),
        URLS,
        {"load_seconds": 0.01, "call_seconds": 0.001,
         "result": {"outputParameters": {"outputData": answer}}},
        {"upload": 0.01, "publish": 0.3, "total": 0.31},
        len(compiled.container),
    )  # fmt: skip


def test_the_card_of_a_publish_shows_the_proof_and_what_goes_in_and_out(
    compiled: Compiled,
) -> None:
    card = cards.published_card(published(compiled), None, compiled=compiled, seconds=1.4)
    found = compiled.header["proof"]
    assert found["rows"] > len(FRAME)
    for shown in (card_html(card), card_text(card)):
        for fact in (
            URL,
            "classification of am",
            "Pipeline(ColumnTransformer(OneHotEncoder",
            f"Proven on {found['rows']} rows: every label is the model's own",
            "rows of the sample",
            "in double precision",
            f"onnxruntime {found['libraries']['onnxruntime']}",
            "cars",
            "6 rows, found in the notebook",
            '"Fiat", "Ford", "Opel"',  # the encoder refuses other makers, so the service does
            "PredictedLabel",
            "0.8125",
            "am as column 3 is accepted too, and ignored.",
        ):
            assert fact in shown.replace("&quot;", '"').replace("&#x27;", "'"), fact
    html = card_html(card)
    parsed(html)
    assert "compile" in html
    assert "1.25 s (with the proof)" in html


def test_the_scale_is_told_to_a_screen_reader(compiled: Compiled) -> None:
    html = card_html(cards.service_card(service(compiled), URLS))
    meter = html.partition('role="meter"')[2].partition(">")[0]
    for attribute in ("aria-label=", "aria-valuemin=", "aria-valuemax=", "aria-valuenow="):
        assert attribute in meter
    assert 'aria-valuetext="Proven on' in meter
    assert html.count("<summary>") == html.count("<details")  # folds open by keyboard


def test_the_snippets_call_it_with_the_example_row(compiled: Compiled) -> None:
    example = compiled.header["example"]
    inputs = {"inputData": {name: [value] for name, value in example.items()}}
    assert snippets.example_of(service(compiled)) == inputs
    card = cards.published_card(published(compiled), None, compiled=compiled)
    (line,) = (line for line in card_text(card).splitlines() if line.strip().startswith("curl"))
    words = shlex.split(line)
    assert json.loads(words[words.index("-d") + 1]) == inputs
    html = card_html(card)
    assert "svc.consume(inputData=pd.DataFrame({" in html
    params = compiled.service["inputParameterDefinitions"]
    ast.parse(snippets.client("Gear", "1.0", "consume", params, inputs, []))


def test_an_update_of_a_part_says_what_the_model_is_and_no_more(compiled: Compiled) -> None:
    changed = published(compiled, operationId="gear")
    text = card_text(cards.published_card(changed, None))
    assert "LogisticRegression" in text
    assert "gear" in text
    assert "Proven on" not in text
    assert "DataFrame[" not in text


def test_a_dry_run_names_no_address(compiled: Compiled) -> None:
    text = card_text(cards.realtime_dry_run_card("Gear", None, "Which?", compiled))
    assert text.splitlines()[0].endswith("nothing was sent")
    assert "Proven on" in text
    assert "http" not in text


def test_lists_say_which_kind_a_service_is(compiled: Compiled) -> None:
    standard = service(compiled, name="A", runtimeType="Python", mlserve={})
    lines = card_text(
        cards.list_card([standard, service(compiled)], "http://h/", None)
    ).splitlines()
    assert lines[1].split()[:3] == ["name", "version", "kind"]
    assert [line.split()[2] for line in lines[2:]] == ["standard", "realtime"]


def test_there_is_no_code_to_show(compiled: Compiled) -> None:
    text = card_text(cards.service_card(service(compiled), URLS, code=True))
    assert "There is no code" in text


def test_what_others_wrote_into_a_model_is_shown_and_does_nothing(compiled: Compiled) -> None:
    column = {"name": EVIL, "type": "numeric", "nullable": True}
    ours = {
        **compiled.service["mlserve"],
        "modelName": EVIL,
        "kind": EVIL,
        "response": {"name": EVIL, "position": 0},
        "example": {EVIL: EVIL},
        "proof": {"rows": 3, "largest_difference": 1e-9, "candidate": EVIL,
                  "probes": {EVIL: 3}, "libraries": {EVIL: EVIL}, "ties": 2},
    }  # fmt: skip
    hostile = {
        "mlserve": ours,
        "inputParameterDefinitions": [{"name": EVIL, "type": "data.frame", "columns": [column]}],
        "outputParameterDefinitions": [{"name": EVIL, "type": "data.frame", "columns": [column]}],
    }
    for card in (
        cards.service_card(service(compiled, **hostile), URLS),
        cards.published_card(published(compiled, **hostile), None, compiled=compiled),
    ):
        tags = parsed(card_html(card)).tags
        assert "img" not in tags
        assert "script" not in tags


def test_a_wide_frame_does_not_fill_the_page() -> None:
    columns = [{"name": f"c{i}", "type": "numeric", "nullable": False} for i in range(1000)]
    params = [{"name": "inputData", "type": "data.frame", "columns": columns}]
    table = proof.inputs_table({"inputParameterDefinitions": params}, {})
    assert len(table.rows) == 24
    assert table.more == "And 976 more."
    listed = {"name": "W", "version": "1", "inputParameterDefinitions": params}
    assert len(card_html(cards.list_card([listed], "http://h/", None))) < 12_000


@pytest.mark.parametrize(
    ("difference", "kind", "said"),
    [
        (0.0, "regression", "Proven on 1 row: every value is exactly the model's own."),
        (0.0, "outlier", "Proven on 1 row: every label and every value is exactly"),
        (2.83e-16, "regression", "no value differs by more than 2.8e-16 (relative)."),
        (1e-7, "clustering", "every label is the model's own, and no value differs"),
    ],
)
def test_the_proof_in_one_sentence(difference: float, kind: str, said: str) -> None:
    assert said in proof.finding({"rows": 1, "largest_difference": difference}, kind)


def test_the_scale_goes_from_exact_to_what_the_gate_refuses() -> None:
    assert proof.LIMIT == TOLERANCE
    shares = [proof.share_of(d) for d in (0.0, 1e-18, 2e-16, 1e-9, 9e-6, TOLERANCE)]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == pytest.approx(1.0)
    assert 0.05 < shares[2] < 0.2


def test_every_kind_of_row_that_the_gate_tries_has_words() -> None:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(3)
    frame = pd.DataFrame({"a": random.normal(size=60), "b": random.normal(size=60)})
    model = make_pipeline(StandardScaler(), RandomForestRegressor(5, random_state=0))
    model.fit(frame, frame["a"] * 2)
    direct = RandomForestRegressor(5, random_state=0).fit(frame, frame["b"])
    kinds: set[str] = set()
    for fitted in (model, direct):
        kinds |= set(unpack(serialize_model(fitted, frame)).header["proof"]["probes"])
    assert {"sample", "number", "threshold", "boundary"} <= kinds
    words = proof.proof_section({"rows": 1, "probes": dict.fromkeys(kinds, 7)}, "regression")
    text = card_text(Card(title="", parts=[words]))
    assert not [kind for kind in kinds if f" 7  {kind}\n" in text]


def test_a_model_of_numbers_without_a_response_is_told_too() -> None:
    frame = FRAME[["hp"]]
    container = serialize_model(LinearRegression().fit(frame, frame["hp"]), frame)
    made = Compiled(container, unpack(container).header, Sample("frame", frame), 0.1)
    text = card_text(cards.realtime_dry_run_card("N", "1", None, made))
    assert "regression, " in text
    assert re.search(r"sample +frame  6 rows\n", text)
    assert "only" not in text
