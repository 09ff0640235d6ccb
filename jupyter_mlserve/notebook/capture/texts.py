"""Texts of cells and files, what is at their top, and the code they compile to."""

from __future__ import annotations
import __future__

import ast
import linecache
import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import CodeType
from typing import Any

LAZY_HINTS = __future__.annotations.compiler_flag
ALL_FUTURES = LAZY_HINTS | __future__.barry_as_FLUFL.compiler_flag
# How IPython, its kernels (also xeus and Colab) and doctest name the text of a cell.
CELL = re.compile(r"ipykernel_\d+|xpython_\d+|ipython-input-|<doctest")
# Statements whose suites belong to the module.
_SUITES = ("body", "orelse", "finalbody", "handlers", "cases")


class Text:
    """A cell or file: its lines, what they parse to, and the code that this compiles to.

    ``tree`` is None when the lines are no Python (any more).
    """

    def __init__(self, filename: str, lines: list[str]) -> None:
        self.filename = filename
        self.lines = lines
        self.tree: ast.Module | None = None
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            self.tree = ast.parse("".join(lines)) if lines else None
        self._compiled: dict[tuple[int, int], list[CodeType]] = {}

    def statements(self) -> list[ast.AST]:
        """All statements that bind names of the module."""
        return list(top_level(self.tree)) if self.tree else []

    def gives(self, code: CodeType, line: int | None = None) -> bool:
        """Whether the text compiles to ``code``, at ``line`` or anywhere.

        IPython compiles the statements of a cell one by one, Python a file as a whole. The
        difference shows: a call of ``math.floor`` is compiled otherwise below an ``import math``.
        """
        if self.tree is None:
            return False
        flags = code.co_flags & ALL_FUTURES | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        body = self.tree.body
        units = [
            (number, [node])
            for number, node in enumerate(body)
            if line is None or first_line(node) <= line <= (node.end_lineno or node.lineno)
        ]
        return any(
            found.co_name == code.co_name
            and (line is None or found.co_firstlineno == line)
            and same_code(found, code)
            for number, unit in [*units, (-1, body)]
            for found in self._codes(number, unit, flags)
        )

    def _codes(self, number: int, body: list[ast.stmt], flags: int) -> list[CodeType]:
        """Every code object inside the code of these statements."""
        key = (number, flags)
        if key not in self._compiled:
            todo: list[CodeType] = []
            with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                unit = ast.Module(body, [])
                todo = [compile(unit, self.filename, "exec", flags=flags, dont_inherit=True)]
            found: list[CodeType] = []
            while todo:
                inner = [each for each in todo.pop().co_consts if isinstance(each, CodeType)]
                found += inner
                todo += inner
            self._compiled[key] = found
        return self._compiled[key]

    def part(self, node: ast.stmt, lazy_hints: bool = False) -> str:
        """The text of one statement, as it would stand at the top of a module."""
        first, last = first_line(node), node.end_lineno or node.lineno
        if isinstance(node, ast.Assign):  # other statements may share its line
            text = (ast.get_source_segment("".join(self.lines), node) or "") + "\n"
        else:
            text = "".join(self.lines[first - 1 : last])
            if not text.endswith("\n"):
                text += "\n"
            if node.col_offset:
                text = _dedented("if True:\n" + text, text)
        return without_hints(text) if lazy_hints else text


_texts: dict[str, Text] = {}


def text_at(filename: str, namespace: Mapping[str, Any]) -> Text:
    """The text that linecache has for a file or cell, parsed once as long as it stays the same."""
    linecache.checkcache(filename)
    lines = linecache.getlines(filename, namespace if isinstance(namespace, dict) else None)
    known = _texts.get(filename)
    if known is None or known.lines != lines:
        if len(_texts) > 1000:
            _texts.clear()
        known = _texts[filename] = Text(filename, lines)
    return known


def top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Statements that bind names of the module, also inside ``if``, ``try``, ``with``, loops."""
    for part in _SUITES:
        for node in getattr(tree, part, ()):
            yield node
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from top_level(node)


def first_line(node: ast.AST) -> int:
    decorators = getattr(node, "decorator_list", None)
    first: Any = decorators[0] if decorators else node
    return int(first.lineno)


def _dedented(framed: str, text: str) -> str:
    """An indented definition as one at the top. Where removing the indentation would change it
    (strings that span lines), it stays in its frame."""
    plain = textwrap.dedent(text)
    try:
        frame = ast.parse(framed).body[0]
        same = isinstance(frame, ast.If) and _dump(frame.body) == _dump(ast.parse(plain).body)
    except SyntaxError:
        same = False
    return plain if same else framed


def _dump(body: list[ast.stmt]) -> list[str]:
    return [ast.dump(statement) for statement in body]


def same_code(one: CodeType, other: CodeType) -> bool:
    """Whether two code objects do the same; where they were written does not matter."""
    for attribute in ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars"):
        if getattr(one, attribute) != getattr(other, attribute):
            return False
    for attribute in ("co_argcount", "co_posonlyargcount", "co_kwonlyargcount"):
        if getattr(one, attribute) != getattr(other, attribute):
            return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    return all(_same_const(a, b) for a, b in zip(one.co_consts, other.co_consts, strict=True))


def _same_const(one: Any, other: Any) -> bool:
    if isinstance(one, CodeType) and isinstance(other, CodeType):
        return same_code(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same_const, one, other))
    return bool(one == other) or repr(one) == repr(other)  # repr: nan, and 0.0 is not -0.0


_wholes: dict[str, tuple[list[str], str]] = {}


def _joined(name: str, lines: list[str]) -> str:
    known = _wholes.get(name)
    if known is None or known[0] is not lines:
        known = _wholes[name] = (lines, "".join(lines))
    return known[1]


def texts_with(name: str, pattern: str, namespace: Mapping[str, Any]) -> Iterator[Text]:
    """Cells with a line that begins with ``pattern``, in which NAME stands for ``name``; the last
    one that ran comes first, the script's own file last."""
    wanted = re.compile("^[ \\t]*" + pattern.replace("NAME", re.escape(name)), re.MULTILINE)
    cells = {
        name: _joined(name, entry[2])
        for name, entry in list(linecache.cache.items())
        if len(entry) == 4 and CELL.search(name)
    }
    found = reversed(cells.items())
    matching = [each for each, text in found if name in text and wanted.search(text)]
    history = namespace.get("_ih")
    if isinstance(history, list):
        # Texts in the order in which they ran; a cell that was run again keeps its old name.
        ran = {text.strip(): number for number, text in enumerate(history) if type(text) is str}
        matching.sort(key=lambda each: -ran.get(cells[each].strip(), len(history)))
    for each in matching:
        yield text_at(each, namespace)
    filename = namespace.get("__file__")
    if isinstance(filename, str):
        yield text_at(filename, namespace)


def without_hints(text: str) -> str:
    """The text with annotations that are never evaluated, so that their names may be missing."""
    line = "from __future__ import annotations\n"
    return text if text.startswith(line) else line + text
