"""The sentiment of an English text, by VADER's lexicon and rules: a built-in step of the runtime.

``vaderSentiment`` (MIT) is a list of words with their valence and some rules on negations,
boosters, capitals and emojis. Its code takes time that grows with the square of the text: it
lower-cases all words again for each word with a valence, and 20,000 characters of emojis take 23
seconds. The rules look at three words before and two after, so they get those only here: the
numbers stay the same, to the bit, and the time is linear. Texts longer than :data:`MAX_CHARACTERS`
are refused, by the kernel and the runtime alike.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable
from typing import Any

from .errors import MLServeError
from .realtime_steps import StepFailed

MAX_CHARACTERS = 20_000  # VADER is made for sentences and short posts


def sentiment(text: str) -> float:
    """How positive ``text`` is: VADER's compound score moved from -1..1 to 0..1; 0.5 is neutral.

    Raises StepFailed for a text of more than ``MAX_CHARACTERS``, and MLServeError, saying what to
    install, if there is no ``vaderSentiment``. Takes 20 microseconds for a short sentence, and at
    most about 0.1 seconds.
    """
    if len(text) > MAX_CHARACTERS:
        raise StepFailed(
            f"the text has {len(text):,} characters, more than the {MAX_CHARACTERS:,} whose "
            "sentiment is taken"
        )
    compound: float = _analyzer()(text)["compound"]
    return (compound + 1.0) / 2.0


@functools.cache
def _analyzer() -> Callable[[str], dict[str, float]]:
    try:
        from vaderSentiment import vaderSentiment as vader
    except ImportError as exc:
        raise MLServeError(
            f"The sentiment of texts needs vaderSentiment, which is not installed here ({exc}). "
            "Install it in the notebook's and in the server's environment: "
            'pip install "jupyter_mlserve[sentiment]"',
            field="vaderSentiment",
        ) from None
    scores: Callable[[str], dict[str, float]] = _linear(vader)().polarity_scores
    return scores


def _linear(vader: Any) -> Any:
    """VADER's analyzer, with its rules applied to the words they look at."""
    base = vader.SentimentIntensityAnalyzer

    class Analyzer(base):  # type: ignore[misc, valid-type]
        @staticmethod
        def _negation_check(valence: float, words: list[str], start: int, at: int) -> float:
            first = max(0, at - 3)
            near = words[first : at + 1]
            return float(base._negation_check(valence, near, start, at - first))

        @staticmethod
        def _special_idioms_check(valence: float, words: list[str], at: int) -> float:
            first = max(0, at - 3)
            near = words[first : at + 3]
            return float(base._special_idioms_check(valence, near, at - first))

        @staticmethod
        def _but_check(words: list[str], sentiments: list[float]) -> list[float]:
            lower = [word.lower() for word in words]
            return _weigh(sentiments, lower.index("but")) if "but" in lower else sentiments

    return Analyzer


def _weigh(sentiments: list[float], but: int) -> list[float]:
    """VADER's rule of "but": half of what stands before, one and a half of what comes after.

    VADER looks each number up by its value and changes the first that is equal, so that equal
    numbers are changed in another order than they stand. The same is done here, with the places
    of each value in a heap.
    """
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sentiments):
        places.setdefault(value, []).append(place)  # ascending, so a heap
    for at in range(len(sentiments)):
        value = sentiments[at]
        first = places[value][0]
        if first == but:
            continue
        changed = value * (0.5 if first < but else 1.5)
        heapq.heappop(places[value])
        heapq.heappush(places.setdefault(changed, []), first)
        sentiments[first] = changed
    return sentiments
