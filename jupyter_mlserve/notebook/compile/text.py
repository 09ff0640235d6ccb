"""Text vectorizers: words prepared by the runtime, counted by the graph, weighted in double.

The runtime splits the texts (steps of the schema), because no tokenizer of ONNX Runtime splits as
Python does: it lower-cases by a C locale, and knows no stop words inside n-grams.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ...contract.text_steps import MAX_GRAM, MAX_LEAST, PADDING, WORD_BOUND
from .compiler import Columns, Compiler, transformer
from .graph import DOUBLE, FLOAT, MICROSOFT, STRING, Value

# The patterns that are known: runs of at least some word characters, however they are written.
_WORDS = re.compile(r"(?:\(\?u\))?(?:\\b)?(?:((?:\\w)*)\\w\+|\\w\{(\d+),\})(?:\\b)?")
# Patterns of the Tokenizer operator, and what it fills short rows with: never a term, because
# words hold no blank, single letters are no two characters, and other texts with it are refused.
LETTERS, BETWEEN_BLANKS, BETWEEN_BOUNDS = "(?s).", "[^ ]+", f"[^{WORD_BOUND}]+"
PAD_VALUE = PADDING * 2
_TOKENS = (r"\S+", r"(?u)\S+", r"[^\s]+", r"(?u)[^\s]+")


@transformer("sklearn", "CountVectorizer")
def count_vectorizer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    return (_counts(c, model, columns),)


@transformer("sklearn", "TfidfVectorizer")
def tfidf_vectorizer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    return (_weighted(c, model._tfidf, _counts(c, model, columns)),)


@transformer("sklearn", "TfidfTransformer")
def tfidf_transformer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    return (_weighted(c, model, c.matrix(columns)),)


def split_steps(c: Compiler, model: Any) -> list[dict[str, Any]]:
    """The steps that split a text as ``model`` does, into words or letters."""
    before = _before(c, model)
    if model.analyzer == "char":
        return [*before, {"step": "spaces"}]
    if model.analyzer == "char_wb":
        return [*before, {"step": "word_bounds"}]
    drop = sorted(model.get_stop_words() or [])
    if model.token_pattern in _TOKENS:
        return [*before, {"step": "tokens", "drop": drop}]
    words = _WORDS.fullmatch(model.token_pattern or "")
    least = 0
    if words is not None:
        least = int(words[2]) if words[2] else len(words[1]) // 2 + 1
    if not 1 <= least <= MAX_LEAST:
        raise c.refuse(
            f"the token_pattern {model.token_pattern!r} has no compiled form; known are runs of "
            r"word characters, such as (?u)\b\w+\b or \w{3,}, and \S+"
        )
    return [*before, {"step": "words", "least": least, "drop": drop}]


def _before(c: Compiler, model: Any) -> list[dict[str, Any]]:
    """The steps before a text is split."""
    if model.preprocessor is not None or model.tokenizer is not None or callable(model.analyzer):
        raise c.refuse(
            "a preprocessor, tokenizer or analyzer of your own is Python code, which a realtime "
            "service does not run"
        )
    steps: list[dict[str, Any]] = [{"step": "lower"}] if model.lowercase else []
    if callable(model.strip_accents):
        raise c.refuse("strip_accents with a function has no compiled form")
    if model.strip_accents:
        steps.append({"step": f"strip_accents_{model.strip_accents}"})
    return steps


def term_steps(c: Compiler, model: Any) -> list[dict[str, Any]]:
    """The steps that make of a text all terms that ``model`` counts, ``WORD_BOUND`` between two."""
    least, most = (int(size) for size in model.ngram_range)
    if most > MAX_GRAM:
        raise c.refuse(f"n-grams of more than {MAX_GRAM} have no compiled form here")
    grams = {"step": "grams", "of": "words", "least": least, "most": most}
    if model.analyzer == "char":
        return [*_before(c, model), {**grams, "of": "letters"}]
    if model.analyzer == "char_wb":
        return [*_before(c, model), {**grams, "of": "letters_in_words"}]
    return [*split_steps(c, model), grams]


def pieces(c: Compiler, columns: Columns, steps: list[Any], pattern: str) -> str:
    """The texts split by ``pattern``, after ``steps``: [rows, longest], filled with PAD_VALUE."""
    if len(columns) != 1 or columns[0].type != STRING or columns[0].width != 1:
        raise c.refuse("it takes one column of texts")
    texts = c.prepared(columns[0], steps)
    if texts is None:
        raise c.refuse("the texts are changed before they reach it, which has no compiled form")
    found = c.graph.node(
        "Tokenizer",
        [texts.name],
        domain=MICROSOFT,
        mark=0,
        mincharnum=1,
        pad_value=PAD_VALUE,
        tokenexp=pattern,
    )[0]
    return c.graph.node("Flatten", [found], axis=1)[0]


def _counts(c: Compiler, model: Any, columns: Columns) -> Value:
    """How often each term of the vocabulary is in each text: [rows, terms] double."""
    terms: list[str] = [""] * (max(model.vocabulary_.values()) + 1)
    for term, place in model.vocabulary_.items():
        terms[int(place)] = term
    if any(WORD_BOUND in term or PADDING in term for term in terms):
        raise c.refuse("a term of its vocabulary holds a private character")
    lowest, highest = model.ngram_range
    if model.analyzer == "char_wb" and lowest > 3:
        # scikit-learn counts words that are shorter, which no n-gram of letters does.
        flat = pieces(c, columns, term_steps(c, model), BETWEEN_BOUNDS)
        lowest = highest = 1
        grams = [[term] for term in terms]
    else:
        letters = model.analyzer != "word"
        flat = pieces(c, columns, split_steps(c, model), LETTERS if letters else BETWEEN_BLANKS)
        grams = [(list(term) if letters else term.split(" ")) for term in terms]
    order = sorted(range(len(grams)), key=lambda i: (len(grams[i]), i))
    starts: list[int] = []
    pool: list[str] = []
    for size in range(1, highest + 1):
        starts.append(len(pool))
        for place in order:
            if len(grams[place]) == size:
                pool.extend(grams[place])
    if any(not lowest <= len(gram) <= highest for gram in grams):
        raise c.refuse("its vocabulary holds terms that are not of its ngram_range")
    made = c.graph.node(
        "TfIdfVectorizer",
        [flat],
        mode="TF",
        min_gram_length=lowest,
        max_gram_length=highest,
        max_skip_count=0,
        ngram_counts=starts,
        ngram_indexes=order,
        pool_strings=pool,
    )[0]
    counts = c.graph.cast(Value(made, FLOAT, len(terms)), DOUBLE)
    if model.binary:
        seen = c.graph.apply("Greater", counts, c.graph.constant([[0.0]]))
        return c.graph.cast(seen, DOUBLE)
    return counts


def _weighted(c: Compiler, model: Any, counts: Value) -> Value:
    graph, zero = c.graph, c.graph.constant([[0.0]])
    if model.sublinear_tf:
        some = graph.apply("Greater", counts, zero)
        safe = graph.apply("Where", some, counts, graph.constant([[1.0]]))
        safe = Value(safe.name, DOUBLE, counts.width)
        scaled = graph.arithmetic("Add", graph.apply("Log", safe), 1.0)
        counts = graph.apply("Where", some, scaled, zero)
        counts = Value(counts.name, DOUBLE, scaled.width)
    if model.use_idf:
        counts = graph.arithmetic("Mul", counts, np.asarray(model.idf_).reshape(1, -1))
    if model.norm is None:
        return counts
    if model.norm == "l1":
        size = c.row_sum(graph.apply("Abs", counts))
    else:
        size = graph.apply("Sqrt", c.row_sum(graph.apply("Mul", counts, counts)))
    empty = graph.apply("Equal", size, zero)
    size = graph.apply("Where", empty, graph.constant([[1.0]]), size)
    return graph.apply("Div", counts, Value(size.name, DOUBLE, 1))
