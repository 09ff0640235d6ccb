"""Text: the options that make tokenisation exact are ours to choose, not the user's."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.compiled import proved

from jupyter_mlserve.notebook.compile import NotCompilable, serialize_model
from jupyter_mlserve.notebook.compile.probes import HOSTILE_TEXTS

TEXTS = [
    "the quick brown fox",
    "Jumps over THE lazy dog",
    "a b c d e I x",
    "Ærøskøbing er smuk",
    "東京 タワー 東京",
    "ΟΔΟΣ οδός Ὀδυσσεύς",
    "don't stop-me now",
    "naïve café e\u0301te\u0301",
    "the dog and the fox and the dog",
]
LABELS = ["p", "q", "p", "q", "q", "p", "q", "p", "q"]
VECTORIZERS: dict[str, Any] = {
    "tfidf": TfidfVectorizer(),
    "stop words and pairs": TfidfVectorizer(ngram_range=(1, 2), stop_words="english"),
    "pairs only": CountVectorizer(ngram_range=(2, 2)),
    "letters": CountVectorizer(analyzer="char", ngram_range=(1, 3)),
    "letters in words": CountVectorizer(analyzer="char_wb", ngram_range=(2, 4)),
    "accents": TfidfVectorizer(strip_accents="unicode", lowercase=False),
    "ascii": TfidfVectorizer(strip_accents="ascii", norm="l1"),
    "sublinear": TfidfVectorizer(sublinear_tf=True, smooth_idf=False),
    "short words": CountVectorizer(binary=True, token_pattern=r"(?u)\b\w+\b"),
    "few": TfidfVectorizer(max_features=5, norm=None, use_idf=False),
    "long words": CountVectorizer(token_pattern=r"\b\w{4,}\b", min_df=2),
    "between blanks": TfidfVectorizer(token_pattern=r"\S+", lowercase=False),
    "long letters in words": CountVectorizer(analyzer="char_wb", ngram_range=(4, 6)),
    "hashed": HashingVectorizer(n_features=64),
    "hashed pairs": HashingVectorizer(n_features=2**16, ngram_range=(1, 2), stop_words="english"),
    "hashed letters": HashingVectorizer(n_features=50, analyzer="char", ngram_range=(1, 3)),
    "hashed in words": HashingVectorizer(n_features=9, analyzer="char_wb", ngram_range=(2, 5)),
    "hashed and seen": HashingVectorizer(n_features=3, binary=True, norm=None),
    "hashed counts": HashingVectorizer(
        n_features=5, alternate_sign=False, norm="l1", strip_accents="unicode"
    ),
    "hashed blanks": HashingVectorizer(n_features=7, token_pattern=r"\S+", norm=None),
}


@pytest.mark.parametrize("name", VECTORIZERS)
def test_vectorizers_are_exact_on_hostile_texts(name: str) -> None:
    model = make_pipeline(VECTORIZERS[name], LogisticRegression()).fit(TEXTS * 3, LABELS * 3)
    fresh = [text[::-1] for text in TEXTS] + [f"{a} {b}" for a, b in pairwise(TEXTS)]
    made = proved(model, pd.Series(TEXTS * 3), pd.Series([*fresh, *HOSTILE_TEXTS, ""]))
    assert made.header["columns"][0]["type"] == "character"
    assert not made.header["columns"][0]["nullable"]


def test_texts_beside_numbers() -> None:
    frame = pd.DataFrame({"size": range(27), "text": TEXTS * 3, "other": TEXTS[::-1] * 3})
    model = make_pipeline(
        ColumnTransformer(
            [
                ("t", TfidfVectorizer(), "text"),
                ("o", CountVectorizer(lowercase=False), "other"),
                ("n", StandardScaler(), ["size"]),
            ]
        ),
        LogisticRegression(),
    ).fit(frame, LABELS * 3)
    made = proved(model, frame, frame.assign(text=frame.other, other=frame.text))
    steps = [item.get("steps", [{}])[0].get("step") for item in made.header["inputs"]]
    assert steps == [None, "lower", "words"]


@pytest.mark.parametrize(
    ("vectorizer", "reason"),
    [
        (CountVectorizer(tokenizer=str.split, token_pattern=None), "Python code"),
        (CountVectorizer(token_pattern=r"[a-z]+"), "token_pattern"),
        (HashingVectorizer(), r"at most 262,144 \(2\*\*18\)"),
        (HashingVectorizer(n_features=16, analyzer="char", ngram_range=(1, 11)), "more than 10"),
        (CountVectorizer(token_pattern=r"(\w+)-?"), "token_pattern"),
        (CountVectorizer(strip_accents=str.strip), "strip_accents"),
    ],
    ids=["tokenizer", "pattern", "hash", "hashed grams", "group", "accents"],
)
def test_what_cannot_be_exact_is_refused(vectorizer: Any, reason: str) -> None:
    model = make_pipeline(vectorizer, LogisticRegression()).fit(TEXTS, LABELS)
    with pytest.raises(NotCompilable, match=reason):
        serialize_model(model, pd.Series(TEXTS))
