"""What the compiler's symbol tables say about the scopes inside a text.

Symbol tables know which names of a function are global; they do not know the order in which a
module's statements bind names. :mod:`.reading` adds that.
"""

from __future__ import annotations

import ast
import symtable
from typing import NamedTuple

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class Globals(NamedTuple):
    """Global names of a scope and of all scopes in it: those it reads, and those it binds.

    ``unsure``: names a class body inside a function both binds and reads; which of the two comes
    first the tables do not say.
    """

    reads: frozenset[str]
    binds: frozenset[str]
    unsure: frozenset[str] = frozenset()


NOTHING = Globals(frozenset(), frozenset())


def table_of(source: str) -> symtable.SymbolTable:
    """The symbol table of a module's text. Raises SyntaxError."""
    return symtable.symtable(source, "<service>", "exec")


def child_of(table: symtable.SymbolTable, node: Definition) -> symtable.SymbolTable | None:
    """The table of the function or class that ``node`` defines directly in ``table``."""
    for child in table.get_children():
        if child.get_name() == node.name and child.get_lineno() == node.lineno:
            if "type param" in str(child.get_type()):  # def f[T](..): the function is one deeper
                return child_of(child, node)
            return child
    return None


def globals_of(table: symtable.SymbolTable | None) -> Globals:
    """The global names of a scope, with all scopes in it."""
    if table is None:
        return NOTHING
    reads: set[str] = set()
    binds: set[str] = set()
    unsure: set[str] = set()
    _gather(table, reads, binds, unsure, top=True)
    return Globals(frozenset(reads), frozenset(binds), frozenset(unsure - reads))


def _gather(
    table: symtable.SymbolTable, reads: set[str], binds: set[str], unsure: set[str], top: bool
) -> None:
    kind = str(table.get_type())
    if "annotation" in kind:  # evaluated only when somebody asks for them
        return
    for symbol in table.get_symbols():
        if symbol.is_global():
            if symbol.is_referenced():
                reads.add(symbol.get_name())
            if symbol.is_assigned() or symbol.is_imported():
                binds.add(symbol.get_name())
        elif "class" in kind and not top and symbol.is_referenced() and symbol.is_assigned():
            unsure.add(symbol.get_name())
    for child in table.get_children():
        _gather(child, reads, binds, unsure, top=False)


def methods_of(table: symtable.SymbolTable | None) -> Globals:
    """The global names of the functions in a class; its body runs at once and is read in order."""
    found = [globals_of(child) for child in (table.get_children() if table else ())]
    return Globals(
        frozenset[str]().union(*(item.reads for item in found)),
        frozenset[str]().union(*(item.binds for item in found)),
    )


def expression_globals(node: ast.expr) -> Globals:
    """The global names of a lambda or comprehension, its own variables left out.

    Since Python 3.12 a comprehension has no table of its own, so it is compiled inside a function
    here. The first iterable of a comprehension belongs to the scope around it and is not included.
    """
    if isinstance(node, Comprehension):
        first = node.generators[0]
        inner = ast.comprehension(first.target, ast.Tuple([], ast.Load()), first.ifs, 0)
        inner.is_async = first.is_async
        node = _with_generators(node, [inner, *node.generators[1:]])
    body = ast.unparse(ast.fix_missing_locations(node))
    table = table_of(f"async def _():\n    return ({body})\n")
    return globals_of(table.get_children()[0])


def _with_generators(node: Comprehension, generators: list[ast.comprehension]) -> Comprehension:
    if isinstance(node, ast.DictComp):
        return ast.DictComp(node.key, node.value, generators)
    return type(node)(node.elt, generators)
