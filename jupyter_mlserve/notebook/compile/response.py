"""The predicted variable among a sample's columns: which one it may be, and what to say if none.

A column that is left over is the response only if it is what the model predicts: a row number or
a column somebody forgot would else give the service's output its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...contract.learn import columns_of
from .compiler import quietly

_SHOWN = 12  # names in a message


def is_predicted(model: Any, predictors: Any, column: Any) -> bool:
    """Whether ``column`` (a Series) may hold what ``model`` predicts for ``predictors``.

    For a classifier its values must be among the model's classes. For a regression it must hold
    numbers that the model explains better than their mean does (R squared above 0). Models of
    other kinds predict nothing that a sample has. Raises InvalidDefinition for an unfitted model.
    """
    from .reference import kind_of

    kind = kind_of(model)
    if kind == "classification":
        return _among_classes(model, column)
    return kind == "regression" and _explained(model, predictors, column)


def _among_classes(model: Any, column: Any) -> bool:
    from .compose import unwrap

    classes = getattr(model, "classes_", None)
    if classes is None:
        classes = getattr(unwrap(model), "classes_", None)
    if classes is None or isinstance(classes, list):  # a list: several labels a row
        return False
    values = column.dropna().unique().tolist()
    known = np.asarray(classes).tolist()
    try:
        return bool(values) and set(values) <= set(known)
    except TypeError:  # lists and the like in a column
        return False


def _explained(model: Any, predictors: Any, column: Any) -> bool:
    if columns_of(column.to_frame())[0]["type"] not in ("numeric", "integer", "logical"):
        return False
    try:
        predicted = np.asarray(quietly(model.predict, _asked(model, predictors)), np.float64)
    except Exception:
        return True  # the sample cannot be scored, which is said next, in the model's own words
    truth = column.to_numpy(np.float64, na_value=np.nan)
    if predicted.size != truth.size:
        return False
    predicted = predicted.reshape(truth.shape)
    there = np.isfinite(truth) & np.isfinite(predicted)
    truth, predicted = truth[there], predicted[there]
    if not len(truth):
        return False
    return bool(((truth - predicted) ** 2).sum() < ((truth - truth.mean()) ** 2).sum())


def _asked(model: Any, predictors: Any) -> Any:
    from .reference import _for_booster

    return _for_booster(model, predictors)


def trained_on(model: Any, written: str = "model") -> str:
    """An expression for the names of the columns that ``model`` was fitted on."""
    if type(model).__name__ != "Booster":
        return f"{written}.feature_names_in_"
    if type(model).__module__.startswith("lightgbm"):
        return f"{written}.feature_name()"
    return f"{written}.feature_names"


def too_many(
    extra: Sequence[str], response: str | None, sample: str, columns: str, option: str
) -> str:
    """What to say of columns that the model was not fitted on.

    ``extra`` are those columns, without ``response`` (the one that was named, if one was).
    ``sample`` and ``columns`` are expressions for the frame and for the model's columns;
    ``option`` is how a response is named.
    """
    names = listed(map(repr, extra))
    if len(extra) == 1:
        said, them = f"column {names} is not one that the model was fitted on", "it"
    else:
        said, them = f"columns {names} are not ones that the model was fitted on", "them"
    if response is not None:
        return f"{said}. Leave {them} out: {sample}[[*{columns}, {response!r}]]"
    leave = f"{sample}[list({columns})]"
    if len(extra) == 1:
        return (
            f"{said}, nor what it predicts. If it is the response, name it: {option}. Otherwise"
            f" leave it out: {leave}"
        )
    return (
        f"{said}. If one of them is the response, name it ({option}) and leave the others out;"
        f" otherwise leave out all: {leave}"
    )


def listed(names: Iterable[str]) -> str:
    """``a, b and c``; of very many the first, and how many more there are."""
    found = list(names)
    if len(found) > _SHOWN:
        return ", ".join(found[:_SHOWN]) + f" and {len(found) - _SHOWN:,} more"
    return " and ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))
