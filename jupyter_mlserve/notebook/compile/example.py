"""One row that shows what the service takes, for its documentation and its trial.

It is composed column by column, so that it is nobody's record: the median of the numbers, the most
frequent category. A text that occurs only once may be somebody's, so a harmless one stands for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ...contract.errors import InvalidDefinition
from ...contract.realtime import EXACT_INTEGER, NULL_TEXT
from ...contract.realtime_example import MAX_EXAMPLE_TEXT
from .encoders import is_null
from .frames import Frame
from .reference import Reference

TEXT = "This is an example."
# A PNG of 8 x 8 grey pixels.
IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAFElEQVR42mMQ0HCIKOhYsIOBMgYAZPUZAVlvKroAAAAA"
    "SUVORK5CYII="
)
_SHORT = 200  # characters; a longer category is taken only if all are longer
# Which of the sorted numbers. A model that refuses the medians together may take other ones.
_PLACES = (0.5, 0.25, 0.75)


def example_row(
    frame: Frame,
    reference: Reference,
    columns: Sequence[Mapping[str, Any]],
    inputs: Sequence[Mapping[str, Any]],
    largest: float | None,
) -> dict[str, Any]:
    """A value for each of the header's ``columns``, as JSON, such that the model takes the row.

    ``inputs`` and ``largest`` are the header's too. Raises InvalidDefinition if no row was found.
    """
    images = {index for item in inputs if item["type"] == "float" for index in item["columns"]}
    why: Exception | None = None
    for place in _PLACES:
        row = [
            IMAGE if position in images else _typical(frame, position, column, largest, place)
            for position, column in enumerate(columns)
        ]
        try:
            reference(frame.make([row]))
        except Exception as exc:  # a model refuses in its own way
            why = exc
            continue
        return {column["name"]: value for column, value in zip(columns, row, strict=True)}
    raise InvalidDefinition(
        "The model refuses a row of the typical values of all columns, so no example of its input "
        f"can be shown ({type(why).__name__}: {str(why)[:200]}). Publish it as a standard service "
        "instead: %%publish_service.",
        field="sample",
    ) from why


def _typical(
    frame: Frame, position: int, column: Mapping[str, Any], largest: float | None, place: float
) -> Any:
    """A value that the column has and the schema allows."""
    kind = column["type"]
    make = {"character": str, "logical": bool, "integer": int, "numeric": float}[kind]
    seen = [make(cell) for cell in frame.data.iloc[:, position].tolist() if not is_null(cell)]
    known = column.get("known")
    if known is not None:
        allowed = set(known)
        seen = [value for value in seen if value in allowed] or list(known)
    if not seen and column["nullable"]:
        return None
    if kind == "character":
        return _text(seen, known is not None)
    if kind == "logical" or known is not None:
        return Counter(seen).most_common(1)[0][0] if seen else False
    low, high = column.get("range", (-math.inf, math.inf))
    largest = math.inf if largest is None else largest
    usable = sorted(
        value
        for value in seen
        if math.isfinite(value)
        and low <= value <= high
        and abs(value) <= largest
        and not (kind == "integer" and abs(value) > EXACT_INTEGER)
    )
    if usable:
        return usable[int(place * (len(usable) - 1))]
    return max(make(0), make(math.ceil(low))) if math.isfinite(low) else make(0)


def _text(seen: list[str], category: bool) -> str:
    """The most frequent text; one that occurs once only if it is a category the schema names."""
    counts = Counter(value for value in seen if _can_show(value))
    usual = [value for value, count in counts.most_common() if category or count > 1]
    fine = [value for value in usual if value.strip() and len(value) <= _SHORT]
    return fine[0] if fine else min(usual, key=len, default=TEXT)


def _can_show(value: str) -> bool:
    return (
        NULL_TEXT not in value
        and len(value) <= MAX_EXAMPLE_TEXT
        and not any("\ud800" <= char <= "\udfff" for char in value)
    )
