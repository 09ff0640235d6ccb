"""The rows a compiled model is tried on, and what the model itself refuses.

Each probe is a row of the sample with one thing changed. Where the model raises, the service must
refuse the same: so the probes also find the rules of the schema (``nullable``, ``known``,
``range``, ``largest``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ...contract.realtime import NULL_TEXT
from .encoders import is_null
from .frames import Frame
from .image_probes import try_images
from .reference import Answers, Reference

FLOAT32_MAX = float(np.finfo(np.float32).max)
# Texts that tokenizers, encoders and lower-casing get wrong.
HOSTILE_TEXTS = (
    "never seen before",
    "",
    " ",
    "nan",
    "NaN",
    "None",
    "Ærøskøbing smørrebrød",
    "東京 日本語 テキスト",
    "İSTANBUL Iğdır ıi",
    "ΟΔΟΣ ΟΔΥΣΣΕΥΣ",
    "STRASSE straße ẞ",
    "e\u0301te\u0301 naïve café",
    "👍🏽 ok 👩‍👩‍👧 ok",
    "a b c d I x",
    "don't stop_me-now, e-mail@example.com 3.14 1,000 $5",
    "under_score __init__ 007 2nd x2 ٣٤",
    "tab\tnew\nline\r\nend\u00a0space\u2003em",
    "q\u0000z \u200b zero\u200dwidth",
    "ﬁne ǅ Ⅷ ² ½",
)
_MAX_VALUES = 500  # tried one by one when the model takes only known values


@dataclass
class Probes:
    """Rows with their kind: ``sample``, ``null``, ``text``, ``image``, ``number``, ...."""

    frame: Frame
    rows: list[Any] = field(default_factory=list)  # frames
    kinds: list[tuple[str, int | None]] = field(default_factory=list)  # one per frame
    nullable: list[bool] = field(default_factory=list)
    known: dict[int, list[Any]] = field(default_factory=dict)
    ranges: dict[int, list[float]] = field(default_factory=dict)
    largest: float | None = None

    def add(self, kind: str, rows: Any, column: int | None = None) -> None:
        if len(rows):
            self.rows.append(rows)
            self.kinds.append((kind, column))


def make_probes(frame: Frame, reference: Reference, model: Any) -> Probes:
    """All probes but those at the thresholds of trees."""
    found = Probes(frame, nullable=[False] * len(frame.types))
    found.add("sample", frame.data)
    base = _base_rows(frame)
    for column, kind in enumerate(frame.types):
        if column in frame.images:
            try_images(found, reference, base, column)
        elif kind == "character":
            _try_texts(found, reference, model, base, column)
        else:
            _try_numbers(found, reference, model, base, column)
    _try_nulls(found, reference, base)
    _try_large(found, reference, base)
    return found


def _base_rows(frame: Frame) -> list[list[Any]]:
    """Three rows of the sample without nulls if there are such."""
    rows = frame.rows(frame.data.iloc[: min(len(frame.data), 200)])
    whole = [row for row in rows if not any(is_null(cell) for cell in row)] or rows
    places = sorted({0, len(whole) // 2, len(whole) - 1})
    return [whole[place] for place in places]


def answers(reference: Reference, rows: Any) -> Answers | None:
    """The model's answers for ``rows``, None if it refuses them."""
    try:
        return reference(rows)
    except Exception:  # a model refuses in its own way; the rules follow from that it does
        return None


def _changed(base: list[list[Any]], column: int, values: Iterable[Any]) -> list[list[Any]]:
    made = []
    for position, value in enumerate(values):
        row = list(base[position % len(base)])
        row[column] = value
        made.append(row)
    return made


def _accepted(found: Probes, reference: Reference, rows: list[list[Any]]) -> list[bool]:
    """For each row whether the model takes it; all at once if it takes all."""
    try:
        if answers(reference, found.frame.make(rows)) is not None:
            return [True] * len(rows)
    except (ValueError, TypeError, OverflowError):
        pass
    taken = []
    for row in rows:
        try:
            taken.append(answers(reference, found.frame.make([row])) is not None)
        except (ValueError, TypeError, OverflowError):
            taken.append(False)
    return taken


def _uniques(frame: Frame, column: int) -> list[Any]:
    values = pd.unique(frame.data.iloc[:, column]).tolist()
    return [value for value in values if not is_null(value)]


def _try_texts(
    found: Probes, reference: Reference, model: Any, base: list[list[Any]], column: int
) -> None:
    seen = [str(value) for value in _uniques(found.frame, column)]
    hostile = [*HOSTILE_TEXTS, *_variants(seen)]
    if found.frame.as_text or any(" " in value for value in seen):
        hostile += list(_texts_of_vocabulary(model))
    rows = _changed(base, column, hostile)
    taken = _accepted(found, reference, rows)
    if taken[0]:  # the model has an answer for a text it never saw
        kept = [row for row, ok in zip(rows, taken, strict=True) if ok]
        found.add("text", found.frame.make(kept), column)
        return
    found.known[column] = _known_values(found, reference, model, base, column, seen)


def _variants(seen: list[str]) -> Iterator[str]:
    for value in seen[:5]:
        yield from (value + " ", " " + value, value.upper(), value.lower(), value.title())
        yield from (value + "\u0000", value + "\u0301", value + value)


def _known_values(
    found: Probes,
    reference: Reference,
    model: Any,
    base: list[list[Any]],
    column: int,
    seen: list[Any],
) -> list[Any]:
    """The values of ``column`` the model takes, of those in the sample and in its encoders."""
    wanted: list[Any] = list(seen)
    dtype = found.frame.data.dtypes.iloc[column]
    listed = list(dtype.categories) if str(dtype) == "category" else list(_categories(model))
    alike = str if found.frame.types[column] == "character" else (int, float, np.number, np.bool_)
    integral = found.frame.types[column] == "integer"
    for value in listed:
        if isinstance(value, alike) and not is_null(value):
            plain = value.item() if hasattr(value, "item") else value
            if integral and not (isinstance(plain, int) or float(plain).is_integer()):
                continue
            wanted.append(int(plain) if integral else plain)
    distinct = list(dict.fromkeys(wanted))[: 20 * _MAX_VALUES]
    if str(dtype) != "category":  # categories have an order of their own, and come in it
        distinct.sort()
    else:
        distinct.sort(key=listed.index)
    rows = _changed(base, column, distinct)
    if answers(reference, found.frame.make(rows)) is not None:
        taken = [True] * len(rows)
    else:
        rows, distinct = rows[:_MAX_VALUES], distinct[:_MAX_VALUES]
        taken = _accepted(found, reference, rows)
    known = [value for value, ok in zip(distinct, taken, strict=True) if ok]
    kept = [row for row, ok in zip(rows, taken, strict=True) if ok]
    found.add("known", found.frame.make(kept), column)
    return known


def _categories(model: Any) -> Iterator[Any]:
    for part in parts(model):
        for values in getattr(part, "categories_", None) or []:
            yield from list(values)


def parts(model: Any, depth: int = 0) -> Iterator[Any]:
    """``model`` and the fitted estimators inside it."""
    yield model
    if depth > 8:
        return
    attributes = getattr(model, "__dict__", None) or {}
    for value in attributes.values():
        yield from _inside(value, depth)


def _inside(value: Any, depth: int) -> Iterator[Any]:
    if hasattr(value, "get_params") and not isinstance(value, type):
        yield from parts(value, depth + 1)
    elif isinstance(value, list | tuple) and len(value) <= 100:
        for item in value:
            yield from _inside(item, depth + 1) if depth < 8 else ()
    elif isinstance(value, dict) and len(value) <= 100:
        for item in value.values():
            yield from _inside(item, depth + 1) if depth < 8 else ()


def _texts_of_vocabulary(model: Any) -> Iterator[str]:
    """Texts of the vectorizers' own words, cased and joined as tokenizers get wrong."""
    for part in parts(model):
        words = list(getattr(part, "vocabulary_", None) or {})[:400]
        special = [w for w in words if not w.isascii()][:40]
        for word in [*words[:40], *special]:
            yield word.upper()
            yield f"{word},{word}-{word}.{word.title()}"
        for start in range(0, len(words) - 4, 5):
            yield " ".join(words[start : start + 5])
            yield " a ".join(words[start : start + 3])


def _try_numbers(
    found: Probes, reference: Reference, model: Any, base: list[list[Any]], column: int
) -> None:
    kind = found.frame.types[column]
    seen = sorted(float(value) for value in _uniques(found.frame, column))
    if kind == "logical":
        rows = _changed(base, column, [True, False])
        taken = _accepted(found, reference, rows)
        if all(taken):
            found.add("number", found.frame.make(rows), column)
        else:
            found.known[column] = [v for v, ok in zip([True, False], taken, strict=True) if ok]
        return
    low, high = (seen[0], seen[-1]) if seen else (0.0, 1.0)
    span = (high - low) or max(1.0, abs(high))
    gaps = [(a + b) / 2 for a, b in pairwise(seen)]
    inside = gaps[:: max(1, len(gaps) // 8)]
    outside = [low - span, high + span, low - 1, high + 1, high + 100 * span, 0.0, -0.0, 1.0, -1.0]
    if kind == "integer":
        inside = [v for v in (float(round(gap)) for gap in inside) if v not in seen]
        outside = [float(round(v)) for v in outside]
    between = _rows_of_numbers(found, base, column, inside)
    if between and not any(_accepted(found, reference, between)):
        exact = [int(v) if kind == "integer" else v for v in seen]
        found.known[column] = _known_values(found, reference, model, base, column, exact)
        return
    beyond = _rows_of_numbers(found, base, column, outside)
    taken = _accepted(found, reference, beyond)
    kept = [row for row, ok in zip(beyond, taken, strict=True) if ok]
    if between:
        found.add("number", found.frame.make(between), column)
    if all(taken):
        found.add("number", found.frame.make(beyond), column)
        return
    if not between and seen == [float(int(v)) for v in seen] and len(seen) <= _MAX_VALUES:
        # Whole numbers without gaps of which others are refused: categories.
        exact = [int(v) if kind == "integer" else v for v in seen]
        found.known[column] = _known_values(found, reference, model, base, column, exact)
        return
    lows = [row[column] for row in kept] + [low, high]
    found.ranges[column] = [float(min(lows)), float(max(lows))]
    found.add("number", found.frame.make(kept), column)


def _rows_of_numbers(
    found: Probes, base: list[list[Any]], column: int, values: list[float]
) -> list[list[Any]]:
    """Rows with these numbers, as far as the sample's type can hold them."""
    dtype = found.frame.data.dtypes.iloc[column]
    kept: list[Any] = []
    for value in values:
        if found.frame.types[column] == "integer":
            bounds = np.iinfo(dtype) if isinstance(dtype, np.dtype) and dtype.kind in "iu" else None
            if bounds and not bounds.min <= value <= bounds.max:
                continue
            kept.append(int(value))
        else:
            kept.append(value)
    return _changed(base, column, kept)


def _try_nulls(found: Probes, reference: Reference, base: list[list[Any]]) -> None:
    for column in range(len(found.frame.types)):
        rows = _changed(base, column, [None] * len(base))
        if all(_accepted(found, reference, rows)):
            found.nullable[column] = True
            found.add("null", found.frame.make(rows), column)
    places = [column for column, may in enumerate(found.nullable) if may]
    if len(places) > 1:
        row = [None if column in places else cell for column, cell in enumerate(base[0])]
        half = [None if column in places[::2] else cell for column, cell in enumerate(base[-1])]
        if all(_accepted(found, reference, [row, half])):
            found.add("null", found.frame.make([row, half]))


def _try_large(found: Probes, reference: Reference, base: list[list[Any]]) -> None:
    """Models that compute in float32 refuse larger numbers; their compiled form would not."""
    for column, kind in enumerate(found.frame.types):
        if kind != "numeric" or column in found.known or column in found.ranges:
            continue
        rows = _changed(base[:1], column, [1e39, 1e300])
        with np.errstate(all="ignore"):
            if not all(_accepted(found, reference, rows)):
                found.largest = FLOAT32_MAX
                return


def holds_null_text(frame: Frame) -> bool:
    """Whether a text of the sample is the one that stands for null."""
    return any(
        (frame.data.iloc[:, column] == NULL_TEXT).any()
        for column, kind in enumerate(frame.types)
        if kind == "character"
    )
