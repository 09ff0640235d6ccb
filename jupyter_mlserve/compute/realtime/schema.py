"""A header's schema, made ready for decoding, feeding and encoding.

The header has passed ``contract.realtime.check_header``; nothing is checked again here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...contract.realtime import value_function

FIELD = "inputData"
RESULT = "outputData"
# Numbers (or texts) that one run of the session takes in. Larger batches are run in pieces: what
# lies between stays in the cache, the deadline acts between them, and memory stays small.
_PIECE = 1 << 20
_MOST_ROWS = 16_384


@dataclass(frozen=True)
class Column:
    """A column of the input: its type and what the model was proven with."""

    name: str
    kind: str  # logical, integer, numeric, character
    nullable: bool
    known: tuple[Any, ...] | None  # the only values, in the order of the header
    known_set: frozenset[Any]
    low: float | None  # only numbers from here
    high: float | None  # to here
    largest: float | None  # only numbers of this size

    @property
    def text(self) -> bool:
        return self.kind == "character"


@dataclass(frozen=True)
class Input:
    """An input tensor of the model."""

    name: str
    kind: str  # double, string, float
    columns: tuple[int, ...]
    width: int
    change: Callable[[str], Any] | None  # its steps


@dataclass(frozen=True)
class Output:
    """A column of the answer: column ``index`` of tensor number ``tensor``."""

    name: str
    kind: str
    tensor: int
    index: int
    labels: tuple[Any, ...] | None


class Schema:
    """What goes in and what comes out of one realtime version."""

    def __init__(self, header: Mapping[str, Any]) -> None:
        largest = header["largest"]
        self.columns = tuple(_column(item, largest) for item in header["columns"])
        self.names = [column.name for column in self.columns]
        response = header["response"] or {}
        # Where the training frame carried the response: a frame may carry it again.
        self.position: int | None = response.get("position")
        self.names_with_response = list(self.names)
        if self.position is not None:
            self.names_with_response.insert(self.position, response["name"])
        self.inputs = tuple(_input(item) for item in header["inputs"])
        self.tensors = [str(item["name"]) for item in header["tensors"]]
        self.widths = [int(item["width"]) for item in header["tensors"]]
        self.tensor_types = [str(item["type"]) for item in header["tensors"]]
        places = {name: place for place, name in enumerate(self.tensors)}
        self.outputs = tuple(
            Output(
                item["name"],
                item["type"],
                places[item["tensor"]],
                item["index"],
                tuple(item["labels"]) if "labels" in item else None,
            )
            for item in header["outputs"]
        )
        width = sum(item.width for item in self.inputs) + sum(self.widths)
        self.rows_at_once = max(1, min(_MOST_ROWS, _PIECE // width))


def _column(item: Mapping[str, Any], largest: float | None) -> Column:
    low, high = item.get("range", (None, None))
    number = item["type"] in ("numeric", "integer")
    known = tuple(item["known"]) if "known" in item else None
    return Column(
        name=item["name"],
        kind=item["type"],
        nullable=item["nullable"],
        known=known,
        known_set=frozenset(known or ()),
        low=low,
        high=high,
        largest=largest if number else None,
    )


def _input(item: Mapping[str, Any]) -> Input:
    columns = tuple(item["columns"])
    return Input(
        item["name"], item["type"], columns, item.get("width", len(columns)), value_function(item)
    )
