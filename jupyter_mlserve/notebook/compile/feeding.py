"""Frames to tensors and tensors to answers, as the schema says (the runtime does the same)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contract.realtime import NULL_TEXT, text_function
from .encoders import is_null


def feeds(inputs: Sequence[dict[str, Any]], rows: Any) -> dict[str, npt.NDArray[Any]]:
    """The input tensors for ``rows`` (a frame of predictors)."""
    made: dict[str, npt.NDArray[Any]] = {}
    for item in inputs:
        columns = [rows.iloc[:, i] for i in item["columns"]]
        if item["type"] == "double":
            made[item["name"]] = np.column_stack([_numbers(column) for column in columns])
        else:
            change = text_function(item.get("steps", ()))
            table = np.empty((len(rows), len(columns)), object)
            for position, column in enumerate(columns):
                values = [NULL_TEXT if is_null(cell) else str(cell) for cell in column.tolist()]
                table[:, position] = list(map(change, values)) if change else values
            made[item["name"]] = table
    return made


def _numbers(column: Any) -> npt.NDArray[np.float64]:
    values = [np.nan if is_null(cell) else float(cell) for cell in column.tolist()]
    return np.array(values, np.float64)
