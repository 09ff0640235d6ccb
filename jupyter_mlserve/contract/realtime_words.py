"""What a realtime version says of its values: its classes, the values a column may have.

Both stand in the definition, where every consumer reads them, if they are few; a service with
more of them works the same, and says which value it does not know in the error of a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .header_checks import Json, cells, fail
from .header_checks import keys as checked_keys

MAX_CLASSES = 1000
MAX_SHOWN = 50  # values of one column
MAX_CHARACTERS = 4000  # of the values of all columns, as JSON; and of the classes in a document
LABEL = "PredictedLabel"


def classes_of(header: Mapping[str, Any]) -> list[Any] | None:
    """The labels of the output PredictedLabel; None if there are none, or too many."""
    found = [item for item in header["outputs"] if item["name"] == LABEL and "labels" in item]
    if len(found) != 1 or len(found[0]["labels"]) > MAX_CLASSES:
        return None
    return list(found[0]["labels"])


def known_of(header: Mapping[str, Any]) -> Json:
    """The known values of the columns that have few."""
    made: Json = {}
    room = MAX_CHARACTERS
    for column in header["columns"]:
        values = column.get("known")
        if values is None or len(values) > MAX_SHOWN:
            continue
        values = distinct(values)
        room -= size_of(values)
        if room < 0:
            break
        made[column["name"]] = values
    return made


def check_classes(value: object, outputs: Sequence[Json], field: str) -> list[Any] | None:
    """The classes, normalised. ``outputs`` are the columns that come out."""
    if value is None:
        return None
    kinds = [column["type"] for column in outputs if column["name"] == LABEL]
    if not kinds:
        fail(field, f"there is no output {LABEL}")
    return cells(value, kinds[0], field, MAX_CLASSES)


def check_known(value: object, columns: Sequence[Json], field: str) -> Json:
    """The known values, normalised. ``columns`` are those that go in."""
    if value is None:
        return {}
    raw = checked_keys(value, field, (), [column["name"] for column in columns])
    made = {}
    for column in columns:
        name = column["name"]
        if name in raw:
            made[name] = cells(raw[name], column["type"], f"{field}.{name}", MAX_SHOWN)
    if sum(map(size_of, made.values())) > MAX_CHARACTERS:
        fail(field, f"it has more than {MAX_CHARACTERS} characters")
    return made


def distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once; 1 and 1.0 are one number, 1 and true are not one value."""
    return list({(isinstance(value, bool), value): value for value in values}.values())


def size_of(values: Sequence[Any]) -> int:
    """Characters of the JSON."""
    return len(json.dumps(values, ensure_ascii=False))


def few(classes: Sequence[Any] | None) -> bool:
    """Whether the classes are few enough to list."""
    return (
        bool(classes)
        and len(classes or ()) <= MAX_SHOWN
        and size_of(classes or ()) <= (MAX_CHARACTERS)
    )


def about_output(name: str, own: Mapping[str, Any]) -> str:
    """What an output column is, in a few words; "" where its name says all that is known.

    ``own`` is the "mlserve" part of the definition.
    """
    kind, classes = own.get("kind"), own.get("classes")
    response = (own.get("response") or {}).get("name")
    if kind == "regression":
        return f"The predicted {_cut(str(response))}." if name == f"{response}_Pred" else ""
    if kind == "outlier" and name == "Score":
        return "The decision function: negative for outliers."
    if kind != "classification":
        return ""
    if name == LABEL:
        return f"The predicted class: {listed(classes)}." if classes else "The predicted class."
    if not classes:
        return ""
    if name == "Probability" and len(classes) == 2:
        return f"Probability of {shown(classes[1])}."
    if name == "Score" and len(classes) == 2:
        return f"The decision function: positive for {shown(classes[1])}."
    for value in classes:
        if name == f"Score.{value}":
            return f"Score of class {shown(value)}."
    return ""


def listed(values: Sequence[Any], most: int = 20) -> str:
    """``'no', 'yes'``, cut to the first."""
    more = f", ... ({len(values)} in all)" if len(values) > most else ""
    return ", ".join(map(shown, values[:most])) + more


def shown(value: Any) -> str:
    """A value as it is told: text in quotes, the rest as JSON."""
    if isinstance(value, str):
        return repr(_cut(value))
    return json.dumps(value)


def _cut(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
