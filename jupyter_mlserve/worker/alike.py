"""Whether a service that takes many rows answers one of them as if it were alone.

A version whose sample could prove it was held to that when it was published. Of any other a worker
looks once, at the first record that it is given together with others.
"""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .program import Program

# Functions of 32 bits have seven digits; what depends on other rows is further off.
_RELATIVE, _ABSOLUTE = 1e-5, 1e-7


def alike(one: Any, other: Any) -> bool:
    """Whether two values, as JSON has them, are the same but for the last digits of numbers."""
    if type(one) in (int, float) and type(other) in (int, float):
        return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if type(one) is list:
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


def settle(program: Program, same: bool) -> str:
    """It was looked at. What is to be said of a version that is not what it was declared to be."""
    program.prove = False
    if same:
        return ""
    program.apart = True
    return (
        f"{program.label} is declared batchable, and its answer for a record depends on the others "
        "(or is another one each time). Its records are called one by one.\n"
    )
