"""The notebook's own functions, classes and type variables: their sources, read once."""

from __future__ import annotations

import math
from types import FunctionType
from typing import Any, NamedTuple

from . import classes, reading, sources
from .facts import Reading
from .pickling import Notebook, is_definition

_LONGEST_CONSTANT = 1000  # characters of a text that is written into the prelude
_TYPE_NAMES = frozenset(("TypeVar", "ParamSpec", "TypeVarTuple", "NewType"))


class Text(NamedTuple):
    """A source, and the names it reads."""

    source: sources.Source
    reading: Reading


class Definitions:
    """Sources by the name that the notebook has for what they define."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.known: dict[str, Text | None] = {}

    def text(self, name: str) -> Text | None:
        """The source of what the notebook calls ``name``; None when it has none that is true.

        The source may define it under another name; then this name is an alias.
        """
        if name not in self.known:
            source = self._source(name, self.notebook.namespace.get(name))
            self.known[name] = (
                Text(source, reading.read(source.text, [source.name])) if source else None
            )
        return self.known[name]

    def changed_class(self, name: str) -> Text | None:
        """The text that once defined a class which is not like that any more."""
        value = self.notebook.namespace.get(name)
        if not isinstance(value, type) or not self.notebook.owns(value):
            return None
        source = classes.source_of_class(value, self.notebook.namespace, changed=True)
        if source is None or source.name != name:
            return None
        self.known[name] = Text(source, reading.read(source.text, [name]))
        return self.known[name]

    def _source(self, name: str, value: Any) -> sources.Source | None:
        notebook = self.notebook
        if not notebook.owns(value):
            return None
        if type(value).__module__ == "typing" and type(value).__name__ in _TYPE_NAMES:
            return sources.source_of_assignment(name, notebook.namespace)
        if not is_definition(value):
            return None
        if isinstance(value, type):
            source = classes.source_of_class(value, notebook.namespace)
        else:
            function = sources.plain_function(value)
            if function is None or not notebook.owns(function):
                return None
            if hasattr(value, "registry") and hasattr(value, "dispatch"):
                return None  # a single-dispatch function also has what was registered elsewhere
            source = sources.source_of_function(function)
            if source is not None and not self._is_whole(value, function, source):
                return None
        if source is None or source.name == name:
            return source
        return source if notebook.namespace.get(source.name) is value else None

    def _is_whole(self, value: Any, function: FunctionType, source: sources.Source) -> bool:
        """Whether the source makes all of ``value``."""
        if sources.decorator_depth(value) > len(source.decorators):  # f = lru_cache(f)
            return False
        if vars(function) and not source.decorators:  # f.calls = 0
            return False
        # def f(x=SCALE) keeps the SCALE of its definition; the source would take today's.
        namespace = self.notebook.namespace
        return all(
            name not in namespace or namespace[name] is kept
            for name, kept in sources.named_defaults(function, source)
        )

    def comes_before(self, target: str, name: str) -> bool:
        """Whether ``target`` must be there before ``name`` is defined: as its decorator or base,
        or because those use it."""
        text = self.text(name)
        todo = list(text.reading.now) if text else []
        seen = {name}
        while todo:
            at = todo.pop()
            if at == target:
                return True
            if at not in seen:
                seen.add(at)
                text = self.text(at) if at in self.notebook.namespace else None
                todo += text.reading.uses if text else ()
        return False


def is_constant(value: object) -> bool:
    """Values whose text is as good as a pickle."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)  # type: ignore[arg-type]
    if kind is int:
        return abs(value) < 2**64  # type: ignore[arg-type]
    if kind is str:
        return len(value) <= _LONGEST_CONSTANT  # type: ignore[arg-type]
    return value is None or kind is bool
