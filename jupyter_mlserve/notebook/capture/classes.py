"""The source of a class of the notebook.

Before Python 3.13 a class does not know where it was defined. Its methods do; for a class without
any, the cells are searched from the last one that ran. Either way the text must give the class as
it is now: a method that was replaced, or an attribute that was changed, makes it go by value.
"""

from __future__ import annotations

import abc
import ast
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from types import CodeType, FunctionType
from typing import Any

from .sources import Source, plain_function
from .texts import CELL, LAZY_HINTS, Text, first_line, text_at, texts_with, top_level


def source_of_class(
    cls: type, namespace: Mapping[str, Any], changed: bool = False
) -> Source | None:
    """The text that defines a class at the top of a cell or script; None as for functions.

    Before Python 3.13 a class does not know where it was defined. Its methods do; for a class
    without any, the cells are searched from the last one that ran. ``changed``: the last text
    that defines a class of this name will do.
    """
    if cls.__qualname__ != cls.__name__:
        return None
    methods = dict(_own_functions(cls))
    files = {code.co_filename for code in methods.values()}
    candidates: Iterable[Text] = (
        [text_at(filename, namespace) for filename in sorted(files)]
        if files
        else texts_with(cls.__name__, r"class\s+NAME\b", namespace)
    )
    for text in candidates:
        for node in reversed(text.statements()):
            if not isinstance(node, ast.ClassDef) or node.name != cls.__name__:
                continue
            if changed or _class_matches(cls, node, text):
                lazy = _has_lazy_hints(cls, node, methods)
                return Source(cls.__name__, text.part(node, lazy), node)
    return None


def _own_functions(cls: type) -> Iterator[tuple[str, CodeType]]:
    """Code of the functions that were written in the body of ``cls``, by attribute."""
    for name, value in vars(cls).items():
        for function in _functions_in(value):
            own = function.__module__ == cls.__module__ and _written(function)
            if own and function.__qualname__ == f"{cls.__qualname__}.{name}":
                yield name, function.__code__


def _functions_in(value: object) -> list[FunctionType]:
    """The functions that a class attribute is made of."""
    parts: list[object] = [value]
    if isinstance(value, property):
        parts = [value.fget, value.fset, value.fdel]
    elif isinstance(value, staticmethod | classmethod):
        parts = [value.__func__]
    elif isinstance(value, cached_property):
        parts = [value.func]
    return [function for part in parts if (function := plain_function(part)) is not None]


def _written(function: FunctionType) -> bool:
    """Whether somebody wrote it in a cell or file; dataclass and its like make functions."""
    filename = function.__code__.co_filename
    return bool(CELL.search(filename)) or not filename.startswith("<")


def _has_lazy_hints(cls: type, node: ast.ClassDef, methods: Mapping[str, CodeType]) -> bool:
    """Whether annotations were not evaluated: as a method says, or as they look."""
    for code in methods.values():
        return bool(code.co_flags & LAZY_HINTS)
    hints = vars(cls).get("__annotations__", {})
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            written = isinstance(statement.annotation, ast.Constant)
            if isinstance(hints.get(statement.target.id), str) and not written:
                return True
    return False


def _class_matches(cls: type, node: ast.ClassDef, text: Text) -> bool:
    """Whether running ``text`` would give the class as it is now."""
    first = getattr(cls, "__firstlineno__", None)  # Python 3.13
    if first is not None and first != first_line(node):
        return False
    for name, statement in _methods(node).items():
        functions = _functions_in(vars(cls).get(name))
        live = [
            each.__code__.co_filename == text.filename
            and text.gives(each.__code__, first_line(statement))
            for each in functions
        ]
        if not any(live) and (functions or not statement.decorator_list):
            return False
    bound, constants, hinted = _class_body(node)
    plain = not node.decorator_list and type(cls) in (type, abc.ABCMeta)
    if not set(vars(cls).get("__annotations__", ())) <= hinted:
        return False
    for name, value in vars(cls).items():
        if name in constants and not _is_still(value, constants[name]):
            return False
        if name not in bound and (_added(value) or (plain and _is_set_later(name, value))):
            return False
    return all(hasattr(cls, name) or name in hinted or name.startswith("_") for name in bound)


def _class_body(node: ast.ClassDef) -> tuple[set[str], dict[str, Any], set[str]]:
    """Names a class body binds, those it binds to literals, and those it annotates."""
    bound: set[str] = set()
    constants: dict[str, Any] = {}
    hinted: set[str] = set()
    for statement in top_level(node):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for part in [part for target in targets for part in ast.walk(target)]:
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    bound.add(part.id)
                    if isinstance(statement, ast.AnnAssign):
                        hinted.add(part.id)
                    if part in targets and statement.value is not None:
                        with suppress(ValueError, TypeError, SyntaxError, RecursionError):
                            constants[part.id] = ast.literal_eval(statement.value)
    return bound, constants, hinted


def _methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {
        statement.name: statement
        for statement in top_level(node)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def _is_still(value: object, written: object) -> bool:
    """Whether a class attribute still has the value of the literal that it was bound to.

    Fields of a dataclass, members of an Enum are no longer of the literal's type; they pass.
    """
    if type(value) is not type(written):
        return type(value) not in (bool, int, float, str, bytes)
    try:
        return bool(value == written)
    except Exception:  # a list may hold things that compare oddly
        return False


def _is_set_later(name: str, value: object) -> bool:
    return isinstance(value, bool | int | float | str | bytes) and not name.startswith("_")


def _added(value: object) -> bool:
    """Whether an attribute that the body does not bind is a function somebody wrote elsewhere.

    What decorators and metaclasses add (dataclass, Enum, pydantic) is made again with the class.
    """
    function = plain_function(value)
    if function is None or not _written(function):
        return False
    return function.__globals__.get("__name__") == "__main__"


def needs_text(cls: type) -> bool:
    """Whether a class is more than dill writes of it: a named tuple with methods of its own."""
    named_tuple = issubclass(cls, tuple) and hasattr(cls, "_fields")
    return named_tuple and any(_added(value) for value in vars(cls).values())
