"""Hashed features: the hash of each word is the place where it is counted, as scikit-learn's.

Nothing is learnt, so no table of words is shipped; but a row becomes as wide as the hash, all
zeros but for its words, and that bounds how many features are taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import Columns, Compiler, transformer
from .graph import DOUBLE, INT64, MICROSOFT, STRING, Value
from .libraries import load
from .text import BETWEEN_BLANKS, BETWEEN_BOUNDS, PAD_VALUE, pieces, split_steps, term_steps

MAX_FEATURES = 2**18  # 2 MiB a row


@transformer("sklearn", "FeatureHasher")
def feature_hasher(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    if model.input_type != "string":
        raise c.refuse("only input_type='string' has a compiled form")
    if any(piece.type != STRING for piece in columns):
        raise c.refuse("it takes columns of texts")
    return (_hashed(c, model, c.graph.concat(list(columns)).name, padded=False)[0],)


@transformer("sklearn", "HashingVectorizer")
def hashing_vectorizer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    if model.analyzer == "word" and tuple(model.ngram_range) == (1, 1):
        terms = pieces(c, columns, split_steps(c, model), BETWEEN_BLANKS)
    else:
        terms = pieces(c, columns, term_steps(c, model), BETWEEN_BOUNDS)
    value, seen = _hashed(c, model, terms, padded=True)
    if model.binary:  # a place whose words cancel each other counts as seen
        value = c.graph.cast(c.graph.apply("Greater", seen, c.graph.constant([[0.0]])), DOUBLE)
    if model.norm is None:
        return (value,)
    if model.norm == "l1":
        size = c.row_sum(c.graph.apply("Abs", value))
    else:
        axis = c.graph.constant([1])
        squares = c.graph.apply("ReduceSumSquare", value, axis, keepdims=1, width=1)
        size = c.graph.apply("Sqrt", squares)
    empty = c.graph.apply("Equal", size, c.graph.constant([[0.0]]))
    size = c.graph.apply("Where", empty, c.graph.constant([[1.0]]), size, width=1)
    return (c.graph.apply("Div", value, size),)


def check_width(c: Compiler, model: Any) -> None:
    """Refuse a hash whose rows would take too much memory."""
    width = getattr(model, "n_features", None)
    if isinstance(width, int) and width > MAX_FEATURES:
        raise c.refuse(
            f"n_features={width:,} makes rows that are too wide; use at most {MAX_FEATURES:,} "
            "(2**18)"
        )


def _hashed(c: Compiler, model: Any, terms: str, padded: bool) -> tuple[Value, Value]:
    """The signed sums of ``terms`` [rows, any] at their places, and their plain counts."""
    check_width(c, model)
    graph, width = c.graph, int(model.n_features)
    made = graph.node("MurmurHash3", [terms], domain=MICROSOFT, positive=0, seed=0)[0]
    hashed = graph.node("Cast", [made], to=INT64)[0]
    places = graph.node("Mod", [graph.node("Abs", [hashed])[0], graph.constant([width])])[0]
    negative = graph.node("Less", [hashed, graph.constant([0])])[0]
    one, minus = graph.constant([1.0]), graph.constant([-1.0])
    signs = graph.node("Where", [negative, minus, one])[0]
    ones = graph.node("Where", [negative, one, one])[0]
    if padded:
        padding = graph.node("Equal", [terms, graph.constant([PAD_VALUE])])[0]
        zero = graph.constant([0.0])
        signs = graph.node("Where", [padding, zero, signs])[0]
        ones = graph.node("Where", [padding, zero, ones])[0]
    rows = graph.node("Shape", [terms])[0]
    rows = graph.node("Gather", [rows, graph.constant([0])], axis=0)[0]
    shape = graph.node("Concat", [rows, graph.constant([width])], axis=0)[0]
    filling = load("onnx").numpy_helper.from_array(np.zeros(1))
    zeros = graph.node("ConstantOfShape", [shape], value=filling)[0]

    def summed(weights: str) -> Value:
        inputs = [zeros, places, weights]
        found = graph.node("ScatterElements", inputs, axis=1, reduction="add")[0]
        return Value(found, DOUBLE, width)

    counts = summed(ones)
    return (summed(signs) if model.alternate_sign else counts), counts
