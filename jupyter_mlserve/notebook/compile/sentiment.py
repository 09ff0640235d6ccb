"""The Sentiment transformer: a step of the runtime, which gives the graph one number a text."""

from __future__ import annotations

from typing import Any

from .compiler import Columns, Compiler, transformer
from .graph import DOUBLE, STRING


@transformer("jupyter_mlserve", "Sentiment")
def sentiment(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    made = []
    for position in range(sum(piece.width for piece in columns)):
        (column,) = c.take(columns, [position])
        if column.type != STRING:
            raise c.refuse("it takes columns of texts")
        value = c.prepared(column, [{"step": "sentiment"}], "sentiment", DOUBLE)
        if value is None:
            raise c.refuse("the texts are changed before they reach it, which has no compiled form")
        made.append(value)
    return tuple(made)
