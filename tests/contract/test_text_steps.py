"""The text steps beside scikit-learn's own functions."""

from __future__ import annotations

import random
import sys
import time
from typing import Any
from unicodedata import combining, normalize

import pytest
from sklearn.feature_extraction.text import (
    CountVectorizer,
    strip_accents_ascii,
    strip_accents_unicode,
)

from jupyter_mlserve.contract.errors import InvalidDefinition
from jupyter_mlserve.contract.realtime_inputs import inputs
from jupyter_mlserve.contract.realtime_steps import StepFailed
from jupyter_mlserve.contract.text_steps import (
    GRAMS as GRAM_KINDS,
)
from jupyter_mlserve.contract.text_steps import (
    MAX_CHARACTERS,
    MAX_GRAM,
    WORD_BOUND,
    text_function,
)

TEXTS = [
    "the quick  brown\tfox",
    "a b  c",
    "",
    " ",
    "x",
    "Ærøskøbing 東京 e\u0301te\u0301 don't",
    "one\u2003two\n\nthree \x1c four",
]


def terms(steps: list[dict[str, Any]], text: str) -> list[str]:
    function = text_function(steps)
    assert function is not None
    made = function(text)
    return made.split(WORD_BOUND) if made else []


@pytest.mark.parametrize(("least", "most"), [(1, 1), (1, 3), (2, 2), (3, 5), (1, MAX_GRAM)])
@pytest.mark.parametrize("text", TEXTS)
def test_grams_are_those_of_the_analyzers(text: str, least: int, most: int) -> None:
    grams = {"step": "grams", "least": least, "most": most}
    words = [{"step": "words", "least": 1, "drop": ["the"]}, {**grams, "of": "words"}]
    for analyzer, steps in (
        ("char", [{**grams, "of": "letters"}]),
        ("char_wb", [{**grams, "of": "letters_in_words"}]),
        ("word", words),
    ):
        model = CountVectorizer(
            analyzer=analyzer,
            ngram_range=(least, most),
            lowercase=False,
            token_pattern=r"\b\w+\b" if analyzer == "word" else None,
            stop_words=["the"] if analyzer == "word" else None,
        )
        assert sorted(terms(steps, text)) == sorted(model.build_analyzer()(text))


@pytest.mark.parametrize("text", ["a\ue001b", "\ue002\ue002"])
def test_letters_for_private_use_are_refused(text: str) -> None:
    """They separate the terms, and two texts would become one."""
    grams = {"step": "grams", "least": 1, "most": 2}
    for step in ({**grams, "of": "letters"}, {**grams, "of": "letters_in_words"}):
        with pytest.raises(StepFailed, match=r"U\+E001 or U\+E002"):
            terms([step], text)
    with pytest.raises(StepFailed, match="private"):
        terms([{"step": "tokens", "drop": []}], text)


def test_texts_have_an_end() -> None:
    """A service must not make 40 GB of one long text."""
    words = {"step": "words", "least": 1, "drop": []}
    assert terms([words], "ab " * (MAX_CHARACTERS // 3))
    with pytest.raises(StepFailed, match="it has 4,000,001 characters, more than 4,000,000"):
        terms([words], "a" * (MAX_CHARACTERS + 1))
    for of in GRAM_KINDS:
        grams = {"step": "grams", "of": of, "least": 1, "most": MAX_GRAM}
        assert terms([grams], "ab " * 1000)
        with pytest.raises(StepFailed, match="its n-grams have 5,500,000 characters"):
            terms([grams], "ab c " * 20_000)


@pytest.mark.parametrize("pattern", [r"(?u)\b\w\w+\b", r"\w+", r"\b\w\w\w\w+\b", r"\b\w{3,}\b"])
def test_words_of_a_least_length(pattern: str) -> None:
    from jupyter_mlserve.notebook.compile.compiler import Compiler
    from jupyter_mlserve.notebook.compile.text import split_steps

    model = CountVectorizer(token_pattern=pattern, lowercase=False)
    steps = split_steps(Compiler(), model)
    function = text_function(steps)
    assert function is not None
    for text in TEXTS:
        assert function(text).split() == model.build_analyzer()(text)


COLUMNS = [{"name": "text", "type": "character", "nullable": False}]
GRAMS = {"step": "grams", "of": "letters", "least": 1, "most": 3}


@pytest.mark.parametrize(
    "step", [GRAMS, {"step": "tokens", "drop": ["a"]}, {"step": "words", "least": 20, "drop": []}]
)
def test_the_header_takes_them(step: dict[str, Any]) -> None:
    item = {"name": "text0", "type": "string", "columns": [0], "steps": [step]}
    assert inputs([item], COLUMNS) == [item]


@pytest.mark.parametrize(
    "step",
    [
        {**GRAMS, "most": MAX_GRAM + 1},
        {**GRAMS, "least": 4},
        {**GRAMS, "least": 0},
        {**GRAMS, "of": "lines"},
        {**GRAMS, "drop": []},
        {"step": "grams", "of": "words", "least": 1},
        {"step": "tokens"},
        {"step": "tokens", "drop": [], "least": 1},
        {"step": "words", "least": 21, "drop": []},
        {"step": "words", "drop": []},
    ],
)
def test_the_header_refuses_others(step: dict[str, Any]) -> None:
    item = {"name": "text0", "type": "string", "columns": [0], "steps": [step]}
    with pytest.raises(InvalidDefinition):
        inputs([item], COLUMNS)


@pytest.mark.parametrize("theirs", [strip_accents_unicode, strip_accents_ascii])
def test_accents_of_any_text_are_stripped_as_by_scikit_learn(theirs: Any) -> None:
    ours = text_function([{"step": theirs.__name__}])
    assert ours is not None
    letters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    assert [c for c in letters if ours(c) != theirs(c)] == []
    changed = [c for c in letters if combining(c) or normalize("NFKD", c) != c]
    jamo = [chr(code) for code in range(0x1100, 0x1200)]
    choose = random.Random(0)
    for _ in range(2000):
        text = "".join(choose.choices([*changed, *jamo], k=12))
        assert ours(text) == theirs(text)


def test_runs_of_accents_cost_no_more_than_other_letters() -> None:
    """NFKD sorts them in a time that grows with the square, and stops all threads meanwhile."""
    text = "e" + "\u0345\u0334" * 100_000
    for step in ("strip_accents_unicode", "strip_accents_ascii"):
        function = text_function([{"step": step}])
        assert function is not None
        start = time.process_time()
        assert function(text) == "e"
        assert time.process_time() - start < 2  # 50 by NFKD


def test_what_becomes_of_letters_without_accents_is_bounded() -> None:
    function = text_function([{"step": "strip_accents_unicode"}])
    assert function is not None
    assert len(function("\ufdfa" * (MAX_CHARACTERS // 18))) == MAX_CHARACTERS // 18 * 18
    with pytest.raises(StepFailed, match=f"more than {MAX_CHARACTERS:,}"):
        function("\ufdfa" * (MAX_CHARACTERS // 18 + 1))
