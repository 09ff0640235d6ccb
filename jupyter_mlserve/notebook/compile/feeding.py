"""Frames to tensors and tensors to answers, as the schema says (the runtime does the same)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contract.realtime import NULL_TEXT
from ...contract.realtime_steps import value_function
from .encoders import is_null


def feeds(inputs: Sequence[dict[str, Any]], rows: Any) -> dict[str, npt.NDArray[Any]]:
    """The input tensors for ``rows`` (a frame of predictors).

    Raises StepFailed for a content that a step cannot use.
    """
    made: dict[str, npt.NDArray[Any]] = {}
    for item in inputs:
        columns = [rows.iloc[:, i] for i in item["columns"]]
        change = value_function(item)
        if item["type"] == "float":
            assert change is not None
            pixels = [change(str(cell)) for cell in columns[0].tolist()]
            made[item["name"]] = np.array(pixels, np.float32).reshape(len(rows), item["width"])
        elif item["type"] == "double":
            made[item["name"]] = np.column_stack([_numbers(column, change) for column in columns])
        else:
            table = np.empty((len(rows), len(columns)), object)
            for position, column in enumerate(columns):
                cells = column.tolist()
                table[:, position] = [_text(cell, change) for cell in cells]
            made[item["name"]] = table
    return made


def _text(cell: Any, change: Callable[[str], Any] | None) -> str:
    if is_null(cell):
        return NULL_TEXT
    return str(change(str(cell))) if change else str(cell)


def _numbers(column: Any, change: Callable[[str], Any] | None) -> npt.NDArray[np.float64]:
    made = change or float
    values = [np.nan if is_null(cell) else made(cell) for cell in column.tolist()]
    return np.array(values, np.float64)
