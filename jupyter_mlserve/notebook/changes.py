"""What an update changes for callers: columns that came, went, or are of another type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract.spelling import PYTHON
from .document import Note, Part, Section

Service = Mapping[str, Any]
_SIDES = (
    ("inputs", "inputParameterDefinitions", "callers must send other columns now"),
    ("outputs", "outputParameterDefinitions", "callers get other columns now"),
)


def changed_parts(before: Service | None, after: Service) -> list[Part]:
    """A warning for each side of a realtime version that is not what it was; else nothing."""
    if before is None:
        return []
    found: list[Part] = []
    for side, key, what in _SIDES:
        said = differences(_columns(before, key), _columns(after, key))
        if said:
            found.append(Note(f"The {side} changed, {what}: {'; '.join(said)}.", "warning"))
    return [Section("What changes for callers", found, open=True)] if found else []


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """In words, how the columns (name to type, in order) are not what they were."""
    said = [f"new {name} ({kind})" for name, kind in after.items() if name not in before]
    said += [f"gone {name} ({kind})" for name, kind in before.items() if name not in after]
    said += [
        f"{name} is {after[name]}, was {kind}"
        for name, kind in before.items()
        if after.get(name, kind) != kind
    ]
    if [name for name in before if name in after] != [name for name in after if name in before]:
        said.append(f"another order: {', '.join(after)}")
    return said


def _columns(service: Service, key: str) -> dict[str, str]:
    """Name to type as a person reads it, with ``?`` where a value may be missing."""
    return {
        str(column["name"]): str(PYTHON.get(column["type"], column["type"]))
        + ("?" if column.get("nullable") else "")
        for param in service.get(key) or ()
        for column in param.get("columns") or ()
    }
