"""What :mod:`.reading` finds in a text."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import NamedTuple

# What a module has without defining it.
MODULE_NAMES = frozenset(
    (
        "__annotations__",
        "__builtins__",
        "__conditional_annotations__",
        "__debug__",
        "__dict__",
        "__doc__",
        "__file__",
        "__loader__",
        "__name__",
        "__package__",
        "__spec__",
    )
)
# Builtins with which code reaches names that no table shows.
DYNAMIC = frozenset(("eval", "exec", "globals", "locals", "vars", "compile"))


class Use(NamedTuple):
    """A name that is read. ``line`` in the text (from 1); ``maybe`` when it is bound on some path
    before, so that the notebook's value may not be needed."""

    line: int
    maybe: bool = False


class Import(NamedTuple):
    """An import statement anywhere in the text; ``names`` of ``from module import names``."""

    module: str
    names: tuple[str, ...]
    line: int


@dataclass
class Reading:
    """What was found in one text. All names are global names of the text.

    tree: the parsed text. now: read while the text runs. later: read when the functions of
    ``reach`` are called. hints: stand in annotations that are evaluated; quoted: in those that are
    not. assigned: bound anywhere, by line; definite: bound on every path at the end. chains: dotted
    attributes by base name (``sklearn.linear_model``).
    unknown_star: modules whose ``from m import *`` could not be expanded.
    dynamic: builtins such as eval that reach names nobody can see.
    """

    tree: ast.Module
    now: dict[str, Use] = field(default_factory=dict)
    later: dict[str, Use] = field(default_factory=dict)
    hints: dict[str, Use] = field(default_factory=dict)
    quoted: dict[str, Use] = field(default_factory=dict)
    assigned: dict[str, int] = field(default_factory=dict)
    definite: frozenset[str] = frozenset()
    imports: list[Import] = field(default_factory=list)
    chains: dict[str, list[str]] = field(default_factory=dict)
    unknown_star: list[str] = field(default_factory=list)
    dynamic: set[str] = field(default_factory=set)

    @property
    def uses(self) -> dict[str, Use]:
        """``now`` and ``later`` together; a name in both as it stands in ``now``."""
        return {**self.later, **self.now}
