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

    ``written`` is how the line names the model. One column more may be the response: the one that
    ``response`` names, else one that holds what the model predicts. A frame that has it wins over
    those without: it is one to train on, they may be new rows. Of frames that are parts of
    another (a training set and the whole) the whole is taken. Raises UsageError when there is
    none, or when several hold different rows.
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
        if _fits(model, value, columns, response)
    ]
    distinct = list({id(one.frame): one for one in found}.values())
    if not distinct:
        raise UsageError(_nothing(model, columns, variables, response, written))
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


def _fits(model: Any, frame: Any, columns: Sequence[str], response: str | None) -> bool:
    names = [str(name) for name in frame.columns]
    extra = [name for name in names if name not in columns]
    if [name for name in names if name in columns] != list(columns) or len(extra) > 1:
        return False
    if not extra or response is not None:
        return extra in ([], [response])
    from .compile.frames import thinned
    from .compile.response import is_predicted

    rows = thinned(model, frame)
    predictors = rows.iloc[:, [names.index(name) for name in columns]]
    return is_predicted(model, predictors, rows.iloc[:, names.index(extra[0])])


def _part_of(part: Any, whole: Any, columns: Sequence[str]) -> bool:
    """Whether the rows of ``part`` are rows of ``whole``, by their index."""
    if not whole.index.is_unique or not part.index.isin(whole.index).all():
        return False
    mine, theirs = ({str(name): frame[name] for name in frame.columns} for frame in (part, whole))
    return all(mine[name].equals(theirs[name].loc[part.index]) for name in columns)


def _nothing(
    model: Any,
    columns: Sequence[str],
    variables: Mapping[str, Any],
    response: str | None,
    written: str,
) -> str:
    from .compile.response import listed

    shown = ", ".join(columns[:_SHOWN]) + (", ..." if len(columns) > _SHOWN else "")
    said = f"No frame of this notebook has the columns of the model ({shown})"
    near = [
        (name, [str(column) for column in frame.columns])
        for name, frame in frames(variables)
        if set(columns) <= {str(column) for column in frame.columns}
    ]
    if not near:
        return f"{said}: name one with --sample FRAME."
    name, names = min(near, key=lambda one: len(one[1]))
    extra = [one for one in names if one not in columns and one != response]
    if extra:
        kept = response if response in names else None
        return f"{said} alone. In {name}, {extra_text(model, extra, kept, name, written)}"
    return (
        f"{said} in their order: {name} has them in another order ({listed(names)}). Put them in"
        f" place: --sample {name}[list({written}.feature_names_in_)]"
    )


def extra_text(
    model: Any, extra: Sequence[str], response: str | None, sample: str, written: str
) -> str:
    """What to say of columns of a sample that the model was not fitted on, as the line has it."""
    from .compile.response import too_many, trained_on

    option = "--response " + (extra[0] if len(extra) == 1 else "COLUMN")
    return too_many(extra, response, f"--sample {sample}", trained_on(model, written), option)
