"""The names that a text reads and does not define.

A module's statements run top to bottom, so ``df = df.dropna()`` reads a ``df`` of the notebook and
``df = load(); df.head()`` does not. Functions read their globals when they are called: a function
of the text counts from the first statement that mentions it, or, for the names in ``reach``, at
the end. Functions nobody mentions do not count: their names are never read. The walk itself is in
:mod:`.flow`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from . import scopes
from .facts import DYNAMIC, Import, Reading
from .flow import Flow


def read(source: str, reach: Iterable[str] = ()) -> Reading:
    """Read a module's text. ``reach``: functions or classes of it that will be used from outside.

    Raises SyntaxError. Builtins are not reported, unless the text's own names hide them.
    """
    tree = ast.parse(source)
    reading = Reading(tree)
    _survey(tree, reading)
    flow = Flow(reading, scopes.table_of(source))
    flow.block(tree.body)
    reading.definite = frozenset(flow.must)
    flow.found = reading.later
    for name in reach:
        flow.reach(name, 0)
    return reading


def definitions(tree: ast.Module) -> dict[str, scopes.Definition]:
    """Functions and classes defined at the top of a module, the last one of each name."""
    return {node.name: node for node in tree.body if isinstance(node, scopes.Definition)}


def _survey(tree: ast.Module, reading: Reading) -> None:
    """What needs no order: imports, attribute chains, dynamic builtins."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            reading.imports += [Import(alias.name, (), node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            module = "." * node.level + (node.module or "")
            if module != "__future__":
                reading.imports.append(Import(module, names, node.lineno))
        elif isinstance(node, ast.Attribute):
            dotted = _dotted(node)
            if dotted:
                base = dotted.partition(".")[0]
                chain = reading.chains.setdefault(base, [])
                if dotted not in chain:
                    chain.append(dotted)
        elif isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            if called in DYNAMIC:
                reading.dynamic.add(called)


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])
