"""Text vectorizers: words prepared by the runtime, counted by the graph, weighted in double.

The runtime splits the texts (steps of the schema), because no tokenizer of ONNX Runtime splits as
Python does: it lower-cases by a C locale, and knows no stop words inside n-grams.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...contract.realtime import WORD_BOUND
from .compiler import Columns, Compiler, transformer
from .graph import DOUBLE, FLOAT, MICROSOFT, STRING, Value

_PATTERNS = {
    r"(?u)\b\w\w+\b": 2,
    r"\b\w\w+\b": 2,
    r"\b\w{2,}\b": 2,
    r"\w{2,}": 2,
    r"(?u)\b\w+\b": 1,
    r"\b\w+\b": 1,
    r"\w+": 1,
}


@transformer("sklearn", "CountVectorizer")
def count_vectorizer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    return (_counts(c, model, columns),)


@transformer("sklearn", "TfidfVectorizer")
def tfidf_vectorizer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    return (_weighted(c, model._tfidf, _counts(c, model, columns)),)


@transformer("sklearn", "TfidfTransformer")
def tfidf_transformer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    return (_weighted(c, model, c.matrix(columns)),)


def _steps(c: Compiler, model: Any) -> list[dict[str, Any]]:
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
    if model.analyzer == "char":
        return [*steps, {"step": "spaces"}]
    if model.analyzer == "char_wb":
        if model.ngram_range[0] > 3:
            raise c.refuse(
                "analyzer='char_wb' with n-grams of more than 3 only has no compiled form"
            )
        return [*steps, {"step": "word_bounds"}]
    least = _PATTERNS.get(model.token_pattern)
    if least is None:
        raise c.refuse(f"the token_pattern {model.token_pattern!r} has no compiled form")
    drop = sorted(model.get_stop_words() or [])
    return [*steps, {"step": "words", "least": least, "drop": drop}]


def _counts(c: Compiler, model: Any, columns: Columns) -> Value:
    """How often each term of the vocabulary is in each text: [rows, terms] double."""
    if len(columns) != 1 or columns[0].type != STRING or columns[0].width != 1:
        raise c.refuse("it takes one column of texts")
    texts = c.prepared_text(columns[0], _steps(c, model))
    if texts is None:
        raise c.refuse("the texts are changed before they reach it, which has no compiled form")
    letters = model.analyzer != "word"
    terms: list[str] = [""] * (max(model.vocabulary_.values()) + 1)
    for term, place in model.vocabulary_.items():
        terms[int(place)] = term
    grams = [(list(term) if letters else term.split(" ")) for term in terms]
    if any(WORD_BOUND in term for term in terms):
        raise c.refuse("a term of its vocabulary holds a private character")
    pieces = c.graph.node(
        "Tokenizer",
        [texts.name],
        domain=MICROSOFT,
        mark=0,
        mincharnum=1,
        # Never a term: words hold no blank, and single letters are no two characters.
        pad_value="\ue002\ue002",
        tokenexp="(?s)." if letters else "[^ ]+",
    )[0]
    flat = c.graph.node("Flatten", [pieces], axis=1)[0]
    lowest, highest = model.ngram_range
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
