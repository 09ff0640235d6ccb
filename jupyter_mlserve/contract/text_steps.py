"""What the runtime does to a text before a compiled model sees it.

ONNX Runtime lower-cases by a C locale, its regular expressions know another Unicode table than
Python's, and it cannot drop words between the words of an n-gram. So these steps are done before
the graph, in Python, by the kernel that proves the model and by the runtime that serves it. A
step is plain data, does what scikit-learn does, and takes time linear in the text:

``lower``; ``strip_accents_unicode``, ``strip_accents_ascii``; ``words`` (runs of at least
``least`` word characters, without those in ``drop``, joined by blanks); ``tokens`` (runs of
anything but white space, the same way); ``spaces`` (white space runs become a blank);
``word_bounds`` (each word between blanks, ``WORD_BOUND`` between two); ``grams`` (all n-grams of
``least`` to ``most`` parts, ``WORD_BOUND`` between two: ``of`` words that a step before made, of
the letters of the text, or of the letters of each word).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unicodedata import combining, normalize

from .realtime_steps import StepFailed

STEPS = (
    "lower",
    "strip_accents_unicode",
    "strip_accents_ascii",
    "words",
    "tokens",
    "spaces",
    "word_bounds",
    "grams",
)
GRAMS = ("words", "letters", "letters_in_words")
WORD_BOUND = "\ue001"
PADDING = "\ue002"  # what the graph fills rows of fewer words with
MAX_DROP = 10_000  # words that one step leaves out
MAX_LEAST = 20  # word characters
MAX_GRAM = 10  # parts of an n-gram
MAX_CHARACTERS = 4_000_000  # of a text, and of all its n-grams together


def text_function(steps: Sequence[Mapping[str, Any]]) -> Callable[[str], str] | None:
    """The function that ``steps`` mean, in their order; None when there are none.

    It raises StepFailed for a text that has, or would get, more than ``MAX_CHARACTERS``.
    """
    functions = [_step_function(step) for step in steps]
    if not functions:
        return None

    def chain(text: str) -> str:
        _bounded(len(text), "it has")
        for function in functions:
            text = function(text)
        return text

    return chain


def _bounded(characters: int, what: str) -> None:
    if characters > MAX_CHARACTERS:
        raise StepFailed(f"{what} {characters:,} characters, more than {MAX_CHARACTERS:,}")


def _step_function(step: Mapping[str, Any]) -> Callable[[str], str]:
    if step["step"] == "grams":
        return _grams(step["of"], step["least"], step["most"])
    find: Callable[[str], list[str]]
    if step["step"] == "words":
        find = re.compile(rf"\b\w{{{int(step['least'])},}}\b").findall
    elif step["step"] == "tokens":
        find = _tokens
    else:
        return _STEP_FUNCTIONS[step["step"]]
    drop = frozenset(step["drop"])
    if not drop:
        return lambda text: " ".join(find(text))
    return lambda text: " ".join([word for word in find(text) if word not in drop])


def _grams(of: str, least: int, most: int) -> Callable[[str], str]:
    """As the analyzers of sklearn.feature_extraction.text.CountVectorizer."""
    longer = sum(range(least, most + 1))

    def of_words(text: str) -> str:
        _bounded(len(text) * longer, "its n-grams have")
        words = text.split(" ") if text else []
        return WORD_BOUND.join(
            [
                " ".join(words[at : at + size])
                for size in range(least, most + 1)
                for at in range(len(words) - size + 1)
            ]
        )

    def of_letters(text: str) -> str:
        _bounded(len(text) * longer, "its n-grams have")
        text = _spaces(_public(text))
        return WORD_BOUND.join(
            [
                text[at : at + size]
                for size in range(least, most + 1)
                for at in range(len(text) - size + 1)
            ]
        )

    def of_letters_in_words(text: str) -> str:
        _bounded(len(text) * longer, "its n-grams have")
        found = []
        for word in _public(text).split():
            whole = f" {word} "
            for size in range(least, most + 1):
                found.extend([whole[at : at + size] for at in range(len(whole) - size + 1)])
                if size >= len(whole):  # the whole word, counted once
                    found += [whole] if size > len(whole) else []
                    break
        return WORD_BOUND.join(found)

    return {"words": of_words, "letters": of_letters, "letters_in_words": of_letters_in_words}[of]


def _tokens(text: str) -> list[str]:
    return _public(text).split()


def _public(text: str) -> str:
    """``text``, if it holds none of the characters that separate n-grams."""
    if WORD_BOUND in text or PADDING in text:
        raise StepFailed("it holds a character for private use, U+E001 or U+E002")
    return text


def _strip_accents_unicode(text: str) -> str:
    """As sklearn.feature_extraction.text.strip_accents_unicode."""
    return text if text.isascii() else _decomposed(text, lambda char: not combining(char))


def _strip_accents_ascii(text: str) -> str:
    """As sklearn.feature_extraction.text.strip_accents_ascii."""
    return text if text.isascii() else _decomposed(text, str.isascii)


def _decomposed(text: str, kept: Callable[[str], bool]) -> str:
    """The characters of NFKD(``text``) that are ``kept``, which no combining one may be.

    Letter by letter: NFKD itself also sorts runs of combining characters, in a time that grows
    with the square of their length and lets no other thread run. Those are dropped here anyway.
    """
    table = {
        ord(char): "".join(filter(kept, normalize("NFKD", char)))
        for char in set(text)
        if not char.isascii()
    }
    found = text.translate(table)
    _bounded(len(found), "without accents it has")
    return found


def _spaces(text: str) -> str:
    return _SPACES.sub(" ", text)


def _word_bounds(text: str) -> str:
    return WORD_BOUND.join([f" {word} " for word in text.split()])


_SPACES = re.compile(r"\s\s+")
_STEP_FUNCTIONS: dict[str, Callable[[str], str]] = {
    "spaces": _spaces,
    "word_bounds": _word_bounds,
    "lower": str.lower,
    "strip_accents_unicode": _strip_accents_unicode,
    "strip_accents_ascii": _strip_accents_ascii,
}
