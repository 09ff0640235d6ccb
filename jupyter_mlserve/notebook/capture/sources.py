"""The source of functions that were defined in a notebook or a script.

``linecache`` holds the text of every file and of every cell that IPython ran. A text is taken only
if compiling it gives the very code that the live function has: a file that was edited since it
was imported makes the source a lie, and then there is none.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from .texts import LAZY_HINTS, Text, first_line, text_at, texts_with


@dataclass(frozen=True)
class Source:
    """Text that defines ``name`` when it runs at the top of a module."""

    name: str
    text: str
    node: ast.stmt

    @property
    def decorators(self) -> list[ast.expr]:
        return list(getattr(self.node, "decorator_list", ()))


def plain_function(value: object) -> FunctionType | None:
    """The function that ``value`` is, or that its decorators say they wrap; None otherwise."""
    for _ in range(64):
        if isinstance(value, FunctionType) and "__wrapped__" not in value.__dict__:
            return value
        try:
            value = value.__wrapped__  # type: ignore[attr-defined]
        except Exception:
            return None
    return None


def source_of_function(function: FunctionType, nested: bool = False) -> Source | None:
    """The text that defines ``function``: a ``def``, or ``name = lambda ...``.

    None when there is no text, when it is not what runs, or when it needs variables of a function
    around it. ``nested``: also take a function defined inside another one.
    """
    code = function.__code__
    if code.co_freevars:
        return None
    if not nested and "<locals>" in function.__qualname__:
        return None
    text = text_at(code.co_filename, function.__globals__)
    line = code.co_firstlineno
    nodes = ast.walk(text.tree) if nested and text.tree else text.statements()
    for node in nodes:
        name = _defines(node, code.co_name)
        if name is None or not isinstance(node, ast.stmt) or first_line(node) != line:
            continue
        if text.gives(code, line):
            return Source(name, text.part(node, bool(code.co_flags & LAZY_HINTS)), node)
    return None


def source_of_assignment(name: str, namespace: Mapping[str, Any]) -> Source | None:
    """The last ``name = f(...)`` at the top of a cell or script. Whether it still is what the
    notebook has cannot be told from it."""
    for text in texts_with(name, r"NAME\s*=[^=]", namespace):
        for node in reversed(text.statements()):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                target = node.targets[0]
                if len(node.targets) == 1 and isinstance(target, ast.Name) and target.id == name:
                    return Source(name, text.part(node), node)
    return None


def import_of(name: str, value: object, namespace: Mapping[str, Any]) -> tuple[str, str] | None:
    """Module and name of the author's own ``from module import name``, if that gives ``value``."""
    for text in texts_with(name, r"from\s.*import[^#]*\bNAME\b", namespace):
        for node in reversed(text.statements()):
            if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
                continue
            for alias in node.names:
                module = vars(sys.modules[node.module]) if node.module in sys.modules else {}
                if (alias.asname or alias.name) == name and module.get(alias.name) is value:
                    return node.module, alias.name
    return None


def defined_by(function: FunctionType, text: str) -> bool:
    """Whether ``text`` defines a function that does what ``function`` does."""
    return Text("<cell>", text.splitlines(keepends=True)).gives(function.__code__)


def named_defaults(function: FunctionType, source: Source) -> list[tuple[str, object]]:
    """Default arguments that are written as a plain name, with the values the function keeps."""
    node = source.node.value if isinstance(source.node, ast.Assign) else source.node
    arguments = getattr(node, "args", None)
    if not isinstance(arguments, ast.arguments):
        return []
    pairs: list[tuple[ast.expr | None, object]] = []
    pairs += zip(arguments.defaults, function.__defaults__ or (), strict=False)
    keywords = function.__kwdefaults__ or {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if argument.arg in keywords:
            pairs.append((default, keywords[argument.arg]))
    return [(node.id, value) for node, value in pairs if isinstance(node, ast.Name)]


def decorator_depth(value: object) -> int:
    """How many decorators say that they wrap what is inside ``value``."""
    depth = 0
    while depth < 64 and not isinstance(value, type):
        try:
            value = value.__wrapped__  # type: ignore[attr-defined]
        except Exception:
            break
        depth += 1
    return depth


def _defines(node: ast.AST, code_name: str) -> str | None:
    """The name under which ``node`` binds a function whose code is called ``code_name``."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name if node.name == code_name else None
    if code_name == "<lambda>" and isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        if isinstance(target, ast.Name) and isinstance(node.value, ast.Lambda):
            return target.id
    return None
