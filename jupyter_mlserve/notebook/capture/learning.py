"""Types that a value shows, where nobody declared one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...contract.learn import columns_of, param_of_value
from ...contract.types import Param, make_param

Warn = Callable[[str], None]
ANSWER = "answer"  # the name of an output that nobody named


def with_columns(param: Param, sample: Mapping[str, Any]) -> Param:
    """A frame declared without columns learns them from the frame in the sample."""
    value = sample.get(param["name"])
    if param["type"] == "data.frame" and "columns" not in param and hasattr(value, "iloc"):
        return Param(**{**param, "columns": columns_of(value)})
    return param


def learnt(name: str, value: object) -> Param:
    """The parameter that takes values like this one. 120 is taken as a number, not as integer:
    one value does not say that 120.5 would be wrong."""
    if isinstance(value, str | list | dict | tuple):
        kind = next(k for k in (str, list, dict, tuple) if isinstance(value, k))
        return make_param(name, list if kind is tuple else kind)
    param = param_of_value(name, value)
    if param["type"] == "integer":
        param["type"] = "numeric"
    return param


def join_names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
