"""The sample of a model: a frame of the notebook that has the columns it was trained on."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError

_SHOWN = 6  # names in a message


@dataclass(frozen=True)
class Sample:
    """A sample and where it comes from. ``found``: nobody named it."""

    name: str
    frame: Any
    found: bool = False

    @property
    def rows(self) -> int:
        return len(self.frame)


def find_sample(
    model: Any, variables: Mapping[str, Any], response: str | None, written: str = "MODEL"
) -> Sample:
    """The frame of the notebook with the model's columns, in their order.

    ``written`` is how the line names the model. One column more is the response (with
    ``response``: that one), and a frame that has it wins over those without: it is one to train
    on, they may be new rows. Of frames that are parts of another (a training set and the whole)
    the whole is taken. Raises UsageError when there is none, or when several hold different rows.
    """
    columns = trained_columns(model)
    if columns is None:
        raise UsageError(
            f"This {type(model).__name__} does not know its columns' names (it was not fitted on a"
            " frame), so no sample can be found for it: name one with --sample FRAME."
        )
    found = [
        Sample(name, value, True)
        for name, value in frames(variables)
        if _fits([str(column) for column in value.columns], columns, response)
    ]
    distinct = list({id(one.frame): one for one in found}.values())
    if not distinct:
        raise UsageError(_nothing(columns, variables, written))
    distinct = [one for one in distinct if len(one.frame.columns) > len(columns)] or distinct
    distinct.sort(key=lambda one: one.rows, reverse=True)
    whole = distinct[0]
    others = [one for one in distinct[1:] if not _part_of(one.frame, whole.frame, columns)]
    if others:
        names = ", ".join(one.name for one in [whole, *others][:_SHOWN])
        raise UsageError(
            f"{names} all have the columns of the model, and hold different rows. Say which one is"
            f" the sample: --sample {whole.name}"
        )
    return whole


def trained_columns(model: Any) -> list[str] | None:
    """The names of the columns a model was fitted on, in order; None if it knows none."""
    try:
        names = model.feature_names_in_
    except Exception:  # a property of the model's own; it raises what it likes when unfitted
        return None
    return None if names is None else [str(name) for name in names]


def frames(variables: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The notebook's own DataFrames by name; IPython's ``_`` and ``Out`` are not among them."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return []
    return [
        (name, value)
        for name, value in variables.items()
        if not name.startswith("_") and isinstance(value, pandas.DataFrame) and len(value)
    ]


def _fits(names: Sequence[str], columns: Sequence[str], response: str | None) -> bool:
    extra = [name for name in names if name not in columns]
    if len(extra) > 1 or (response is not None and extra not in ([], [response])):
        return False
    return [name for name in names if name in columns] == list(columns)


def _part_of(part: Any, whole: Any, columns: Sequence[str]) -> bool:
    """Whether the rows of ``part`` are rows of ``whole``, by their index."""
    if not whole.index.is_unique or not part.index.isin(whole.index).all():
        return False
    mine, theirs = ({str(name): frame[name] for name in frame.columns} for frame in (part, whole))
    return all(mine[name].equals(theirs[name].loc[part.index]) for name in columns)


def _nothing(columns: Sequence[str], variables: Mapping[str, Any], written: str) -> str:
    listed = ", ".join(columns[:_SHOWN]) + (", ..." if len(columns) > _SHOWN else "")
    near = [
        name
        for name, frame in frames(variables)
        if set(columns) <= {str(column) for column in frame.columns}
    ]
    advice = "name one with --sample FRAME."
    if near:
        advice = (
            f"{near[0]} has them among others or in another order: name the part that the model"
            f" was trained on, for example --sample {near[0]}[list({written}.feature_names_in_)]."
        )
    return f"No frame of this notebook has the columns of the model ({listed}): {advice}"
