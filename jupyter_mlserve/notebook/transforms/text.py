"""Transformers of texts for pipelines, in scikit-learn's way."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from ...contract.sentiment_step import sentiment
from ..compile.encoders import is_null

__all__ = ["Sentiment"]


class Sentiment(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """How positive English texts are: one number from 0 (negative) to 1 (positive) for each.

    The number is the compound score of VADER's lexicon and rules, moved from -1..1 to 0..1; 0.5 is
    neutral. A lexicon and not a trained network, because it needs no training data and no download
    at fit, says the same everywhere, takes 20 microseconds for a sentence and can run in a realtime
    service as a built-in step: the number there is this one exactly. It knows English only, and
    words, not contexts; for more, train a TfidfVectorizer with a LogisticRegression on texts of
    your own, which a realtime service runs just as well.

    ``fit`` learns nothing. ``transform`` takes a Series or list of texts and gives a double matrix
    [rows, 1], or a frame (or 2-d array) of text columns and gives as many columns. A missing text
    is NaN. A text of more than 20,000 characters is a ValueError. Needs ``vaderSentiment``; the
    error says so if it is missing.
    """

    def fit(self, X: Any, y: Any = None) -> Sentiment:
        """Remember the columns of ``X``; raise at once if ``vaderSentiment`` is missing."""
        sentiment("")
        if getattr(X, "ndim", 1) == 2:
            self.n_features_in_ = int(X.shape[1])
            if hasattr(X, "columns"):
                self.feature_names_in_ = np.array([str(name) for name in X.columns], object)
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float64]:
        """The sentiment of each text of ``X``: [rows, columns], double."""
        if isinstance(X, str):
            raise ValueError("Give a list or column of texts, not one text.")
        if getattr(X, "ndim", 1) == 2:
            columns = [
                (X.iloc[:, place] if hasattr(X, "iloc") else X[:, place])
                for place in range(X.shape[1])
            ]
        else:
            columns = [X]
        return np.column_stack([_sentiments(column) for column in columns])

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[Any]:
        """``sentiment``, or the names of the columns."""
        names = getattr(self, "feature_names_in_", input_features)
        width = getattr(self, "n_features_in_", 1)
        if names is None or len(names) != width:
            names = ["sentiment"] if width == 1 else [f"sentiment{i}" for i in range(width)]
        return np.array([str(name) for name in names], object)


def _sentiments(column: Any) -> npt.NDArray[np.float64]:
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    return np.array([_one(value) for value in values], np.float64)


def _one(value: object) -> float:
    if isinstance(value, str):
        return sentiment(value)
    if is_null(value):
        return float("nan")
    raise ValueError(f"Sentiment takes texts, not {type(value).__name__}.")
