"""The sentiment step: VADER's own numbers, in time that grows with the text and not its square."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest
from vaderSentiment import vaderSentiment as vader

from jupyter_mlserve.contract.realtime_steps import StepFailed, value_function
from jupyter_mlserve.contract.sentiment_step import MAX_CHARACTERS, sentiment


@pytest.fixture(scope="module")
def original() -> vader.SentimentIntensityAnalyzer:
    return vader.SentimentIntensityAnalyzer()


SENTENCES = [
    "VADER is VERY SMART, uber handsome, and FRIGGIN FUNNY!!!",
    "At least it isn't a horrible book.",
    "Today only kinda sux! But I'll get by, lol",
    "Catch utf-8 emoji such as 💘 and 💋 and 😁",
    "never so good, never this bad, without a doubt the bomb",
    "no no no good, to die for, kiss of death, sort of bad ass but yeah right",
    "東京 ΟΔΟΣ e\u0301 \u0000 \ue000",
    "",
    " \t\n",
]


@pytest.mark.parametrize("text", SENTENCES)
def test_it_is_the_compound_score(text: str, original: vader.SentimentIntensityAnalyzer) -> None:
    assert sentiment(text) == (original.polarity_scores(text)["compound"] + 1) / 2


def test_random_texts_of_the_words_that_have_rules(
    original: vader.SentimentIntensityAnalyzer,
) -> None:
    rng = random.Random(5)
    kinds = [
        list(original.lexicon),
        list(vader.BOOSTER_DICT),
        vader.NEGATE,
        list(original.emojis),
        [word for phrase in vader.SPECIAL_CASES for word in phrase.split()],
        [
            "but",
            "BUT",
            "least",
            "at",
            "very",
            "never",
            "so",
            "this",
            "without",
            "doubt",
            "no",
            "or",
            "nor",
            "kind",
            "of",
            "!",
            "??",
            "the",
        ],
    ]
    differ = 0
    for _ in range(1500):
        count = rng.choice([1, 2, 3, 5, 8, 20, 60])
        words = [rng.choice(rng.choice(kinds)) for _ in range(count)]
        if rng.random() < 0.3:  # many equal values around one "but"
            words = [rng.choice([*words[:3], "but"]) for _ in words]
        text = " ".join(word.upper() if rng.random() < 0.1 else word for word in words)
        expected = (original.polarity_scores(text)["compound"] + 1) / 2
        assert sentiment(text) == expected, text
        differ += expected != 0.5
    assert differ > 1000


@pytest.mark.parametrize("unit", ["😀 ", "no good but ", ":) ", "👉🏼", "very good so "])
def test_the_longest_text_takes_a_moment(unit: str) -> None:
    """The library itself takes 23 seconds for the first of them."""
    text = (unit * MAX_CHARACTERS)[:MAX_CHARACTERS]
    sentiment("")
    started = time.process_time()
    assert 0 <= sentiment(text) <= 1
    assert time.process_time() - started < 2


def test_longer_texts_are_refused() -> None:
    with pytest.raises(StepFailed, match="the text has 20,001 characters, more than the 20,000"):
        sentiment("a" * (MAX_CHARACTERS + 1))


def test_it_is_what_the_header_says() -> None:
    item = {
        "name": "sentiment0",
        "type": "double",
        "columns": [0],
        "steps": [{"step": "sentiment"}],
    }
    function = value_function(item)
    assert function is not None
    assert function("I love it") == sentiment("I love it") > 0.8


def test_without_the_library_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['vaderSentiment'] = None\n"
        "from jupyter_mlserve import MLServeError, Sentiment\n"
        "try:\n    Sentiment().fit(['a'])\nexcept MLServeError as exc:\n    print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "needs vaderSentiment" in done.stdout
    assert 'pip install "jupyter_mlserve[sentiment]"' in done.stdout
