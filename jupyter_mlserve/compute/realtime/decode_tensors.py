"""Checked columns to the input tensors of the model, as the kernel made them for the proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contract.realtime import NULL_TEXT, StepFailed
from .decode_errors import unusable
from .schema import Input, Schema

Feeds = dict[str, npt.NDArray[Any]]


def row_feeder(schema: Schema) -> Callable[[Sequence[Any], Callable[[], None]], Feeds]:
    """A function from the cells of one row to the tensors, and ``alive`` as in `feed_piece`."""
    plain = schema.inputs[0]
    whole = tuple(range(len(schema.columns)))
    if len(schema.inputs) == 1 and plain.columns == whole and _numbers(plain):
        name = plain.name
        return lambda row, alive: {name: np.array((row,), np.float64)}

    def feed(row: Sequence[Any], alive: Callable[[], None]) -> Feeds:
        made: Feeds = {}
        for item in schema.inputs:
            cells = [row[place] for place in item.columns]
            if _numbers(item):
                made[item.name] = np.array((cells,), np.float64)
            elif item.change is None:
                texts = [NULL_TEXT if cell is None else cell for cell in cells]
                made[item.name] = np.array((texts,), object)
            else:
                made[item.name] = _changed(item, [[cell] for cell in cells], schema, 0, alive)
        return made

    return feed


def feed_piece(
    schema: Schema, columns: Sequence[Any], row: int, rows: int, alive: Callable[[], None]
) -> Feeds:
    """The tensors of ``rows`` rows; ``row`` is the number of the first, for messages.

    ``alive`` is called before a step takes a text, and may raise.
    """
    made: Feeds = {}
    for item in schema.inputs:
        chosen = [columns[place] for place in item.columns]
        if _numbers(item):
            matrix = np.empty((rows, item.width))
            for place, values in enumerate(chosen):
                matrix[:, place] = values
            made[item.name] = matrix
        elif item.change is None:
            table = np.empty((rows, item.width), object)
            for place, cells in enumerate(chosen):
                if None in cells:
                    cells = [NULL_TEXT if cell is None else cell for cell in cells]
                table[:, place] = cells
            made[item.name] = table
        else:
            made[item.name] = _changed(item, chosen, schema, row, alive)
    return made


def slice_columns(columns: Sequence[Any], start: int, stop: int) -> list[Any]:
    """Some rows of all columns."""
    return [column[start:stop] for column in columns]


def _numbers(item: Input) -> bool:
    return item.kind == "double" and item.change is None


_EMPTY: Mapping[str, Any] = {"string": NULL_TEXT, "double": np.nan}
_DTYPES: Mapping[str, Any] = {"string": object, "double": np.float64, "float": np.float32}


def _changed(
    item: Input,
    columns: Sequence[Sequence[Any]],
    schema: Schema,
    row: int,
    alive: Callable[[], None],
) -> npt.NDArray[Any]:
    """Texts through the steps of ``item``: texts, numbers, or the pixels of images."""
    assert item.change is not None
    table = np.empty((len(columns[0]), item.width), _DTYPES[item.kind])
    for place, cells in enumerate(columns):
        for number, cell in enumerate(cells):
            # Each time: an image of many pixels, or a long text, takes a tenth of a second.
            alive()
            try:
                made = _EMPTY[item.kind] if cell is None else item.change(cell)
            except StepFailed as exc:
                name = schema.columns[item.columns[place]].name
                raise unusable(name, row + number, item.kind, str(exc)) from None
            if item.kind == "float":
                table[number] = made
            else:
                table[number, place] = made
    return table
