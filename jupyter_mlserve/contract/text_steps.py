"""What the runtime does to a text before a compiled model sees it.

ONNX Runtime lower-cases by a C locale, its regular expressions know another Unicode table than
Python's, and it cannot drop words between the words of an n-gram. So these steps are done before
the graph, in Python, by the kernel that proves the model and by the runtime that serves it. A
step is plain data, does what scikit-learn does, and takes time linear in the text:

``lower``; ``strip_accents_unicode``, ``strip_accents_ascii``; ``words`` (runs of at least
``least`` word characters, without those in ``drop``, joined by blanks); ``spaces`` (white space
runs become a blank); ``word_bounds`` (each word between blanks, ``WORD_BOUND`` between two).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

STEPS = ("lower", "strip_accents_unicode", "strip_accents_ascii", "words", "spaces", "word_bounds")
WORD_BOUND = "\ue001"
MAX_DROP = 10_000  # words that one step leaves out


def text_function(steps: Sequence[Mapping[str, Any]]) -> Callable[[str], str] | None:
    """The function that ``steps`` mean, in their order; None when there are none."""
    functions = [_step_function(step) for step in steps]
    if not functions:
        return None
    if len(functions) == 1:
        return functions[0]

    def chain(text: str) -> str:
        for function in functions:
            text = function(text)
        return text

    return chain


def _step_function(step: Mapping[str, Any]) -> Callable[[str], str]:
    if step["step"] != "words":
        return _STEP_FUNCTIONS[step["step"]]
    find = (_WORDS if step["least"] == 2 else _SHORT_WORDS).findall
    drop = frozenset(step["drop"])
    if not drop:
        return lambda text: " ".join(find(text))
    return lambda text: " ".join([word for word in find(text) if word not in drop])


def _strip_accents_unicode(text: str) -> str:
    """As sklearn.feature_extraction.text.strip_accents_unicode."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _strip_accents_ascii(text: str) -> str:
    """As sklearn.feature_extraction.text.strip_accents_ascii."""
    return unicodedata.normalize("NFKD", text).encode("ASCII", "ignore").decode("ASCII")


def _spaces(text: str) -> str:
    return _SPACES.sub(" ", text)


def _word_bounds(text: str) -> str:
    return WORD_BOUND.join([f" {word} " for word in text.split()])


_WORDS = re.compile(r"\b\w\w+\b")  # scikit-learn's default token_pattern
_SHORT_WORDS = re.compile(r"\b\w+\b")
_SPACES = re.compile(r"\s\s+")
_STEP_FUNCTIONS: dict[str, Callable[[str], str]] = {
    "spaces": _spaces,
    "word_bounds": _word_bounds,
    "lower": str.lower,
    "strip_accents_unicode": _strip_accents_unicode,
    "strip_accents_ascii": _strip_accents_ascii,
}
