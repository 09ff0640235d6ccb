"""Walks the statements of a text in the order in which they run, and notes what they read."""

from __future__ import annotations

import ast
import symtable
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from . import scopes
from .facts import MODULE_NAMES, Reading, Use


def star_names(module: str) -> list[str] | None:
    """The names ``from module import *`` binds; None when the module is not loaded here."""
    found = sys.modules.get(module)
    if found is None:
        return None
    names = getattr(found, "__all__", None)
    if names is None:
        names = [name for name in vars(found) if not name.startswith("_")]
    return [str(name) for name in names]


def _has_lazy_hints(tree: ast.Module) -> bool:
    return sys.version_info >= (3, 14) or any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )


class Flow:
    """Walks statements in the order in which they run.

    ``must`` holds the names bound on every path so far, ``may`` those bound on some path. A class
    body is walked by a flow of its own, whose unbound names are read by the module's flow.
    """

    def __init__(
        self, reading: Reading, table: symtable.SymbolTable | None, module: Flow | None = None
    ) -> None:
        self.reading = reading
        self.table = table
        self.module = module or self
        self.must: set[str] = set()
        self.may: set[str] = set()
        # These count in the module's flow only.
        self.found = reading.now
        self.deferred: dict[str, scopes.Globals] = {}  # what functions read when they are called
        self.hints: dict[str, Use] | None = None  # while an annotation is walked
        self.lazy = _has_lazy_hints(reading.tree)

    @property
    def is_module(self) -> bool:
        return self.module is self

    # names

    def load(self, name: str, line: int) -> None:
        if not self.is_module:
            if name not in self.must:
                self.module.load(name, line)
            return
        if self.hints is None:
            self.reach(name, line)
        self.note(name, line, name in self.may)

    def note(self, name: str, line: int, maybe: bool) -> None:
        if name in self.must or name in MODULE_NAMES:
            return
        found = self.found if self.hints is None else self.hints
        if name not in found or (found[name].maybe and not maybe):
            found[name] = Use(line, maybe)

    def reach(self, name: str, line: int, seen: set[str] | None = None) -> None:
        """Somebody may now call ``name``: what it reads is read."""
        known = self.deferred.get(name)
        seen = seen if seen is not None else set()
        if known is None or name in seen:
            return
        seen.add(name)
        for other in sorted(known.reads | known.unsure):
            self.reach(other, line, seen)
            maybe = other in self.may or other in known.unsure
            self.note(other, line or self.line_of(name), maybe)
        for other in known.binds:
            self.bind(other, line, surely=False)

    def line_of(self, name: str) -> int:
        return self.reading.assigned.get(name, 0)

    def bind(self, name: str, line: int, surely: bool = True) -> None:
        if surely:
            self.must.add(name)
        self.may.add(name)
        if self.is_module:
            self.reading.assigned.setdefault(name, line)

    def defer(self, name: str, known: scopes.Globals) -> None:
        if self.is_module:
            before = self.deferred.get(name, scopes.NOTHING)
            pairs = zip(before, known, strict=True)
            self.deferred[name] = scopes.Globals(*(old | new for old, new in pairs))

    # statements

    def block(self, body: list[ast.stmt]) -> bool:
        """Walk statements; False when the end is not reached (raise, continue, break)."""
        return all(self.statement(statement) for statement in body)

    def statement(self, node: ast.stmt) -> bool:
        method = getattr(self, "on_" + type(node).__name__, None)
        if method is not None:
            return method(node) is not False
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.expression(child)
        return True

    def on_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.expression(decorator)
        self.defaults(node.args)
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        with self.type_parameters(node):
            for argument in [*every, node.args.vararg, node.args.kwarg]:
                if argument is not None:
                    self.hint(argument.annotation)
            self.hint(node.returns)
        self.defer(node.name, scopes.globals_of(self.table_of(node)))
        self.bind(node.name, node.lineno)

    on_AsyncFunctionDef = on_FunctionDef

    def on_ClassDef(self, node: ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            self.expression(decorator)
        table = self.table_of(node)
        with self.type_parameters(node):
            for part in [*node.bases, *(keyword.value for keyword in node.keywords)]:
                self.expression(part)
            Flow(self.reading, table, self.module).block(node.body)
        self.defer(node.name, scopes.methods_of(table))
        self.bind(node.name, node.lineno)

    def table_of(self, node: scopes.Definition) -> symtable.SymbolTable | None:
        return scopes.child_of(self.table, node) if self.table else None

    @contextmanager
    def type_parameters(self, node: ast.AST) -> Iterator[None]:
        """``def f[T](x: T)``: T is bound inside the header and body only."""
        module = self.module
        names = {param.name for param in getattr(node, "type_params", ())} - module.must
        module.must |= names
        yield
        module.must -= names

    def on_Assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if isinstance(node.value, ast.Lambda) and isinstance(target, ast.Name) and self.is_module:
            self.defaults(node.value.args)
            self.defer(target.id, scopes.expression_globals(node.value))
        else:
            self.expression(node.value)
        for each in node.targets:
            self.target(each)

    def on_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.load(node.target.id, node.lineno)
        self.expression(node.value)
        self.target(node.target)

    def on_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.hint(node.annotation)
        if node.value is not None:
            self.expression(node.value)
            self.target(node.target)
        elif not isinstance(node.target, ast.Name):
            self.target(node.target)

    def on_TypeAlias(self, node: Any) -> None:  # type X = ...: evaluated when asked for
        self.target(node.name)
        before, self.module.lazy = self.module.lazy, True
        with self.type_parameters(node):
            self.hint(node.value)
        self.module.lazy = before

    def on_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.load(target.id, node.lineno)
                self.must.discard(target.id)
                self.may.discard(target.id)
            else:
                self.expression(target)

    def on_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.bind(alias.asname or alias.name.partition(".")[0], node.lineno)

    def on_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name != "*":
                self.bind(alias.asname or alias.name, node.lineno)
                continue
            names = star_names(node.module or "") if not node.level else None
            if names is None:
                self.reading.unknown_star.append(node.module or ".")
            for name in names or ():
                self.bind(name, node.lineno)

    def on_Global(self, node: ast.Global) -> None:
        pass

    def on_Raise(self, node: ast.Raise) -> bool:
        for part in (node.exc, node.cause):
            if part is not None:
                self.expression(part)
        return False

    def on_Continue(self, node: ast.Continue) -> bool:
        return False

    def on_Break(self, node: ast.Break) -> bool:
        return False

    def on_If(self, node: ast.If) -> bool:
        self.expression(node.test)
        return self.branches([lambda: self.block(node.body), lambda: self.block(node.orelse)])

    def on_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.expression(node.iter)
        # The body is taken to run: what it binds is the code's own, even after the loop.
        self.target(node.target)
        self.block(node.body)
        self.block(node.orelse)

    on_AsyncFor = on_For

    def on_While(self, node: ast.While) -> None:
        self.expression(node.test)
        self.block(node.body)
        self.block(node.orelse)

    def on_With(self, node: ast.With | ast.AsyncWith) -> bool:
        for item in node.items:
            self.expression(item.context_expr)
            if item.optional_vars is not None:
                self.target(item.optional_vars)
        return self.block(node.body)

    on_AsyncWith = on_With

    def on_Try(self, node: ast.Try) -> bool:
        before = set(self.must)
        whole = self.block(node.body) and self.block(node.orelse)
        ends = [set(self.must)] if whole else []
        for handler in node.handlers:
            self.must = set(before)
            if handler.type is not None:
                self.expression(handler.type)
            if handler.name:
                self.bind(handler.name, handler.lineno)
            reached = self.block(handler.body)
            if handler.name:
                self.must.discard(handler.name)
            if reached:
                ends.append(set(self.must))
        self.must = set.intersection(*ends) if ends else before
        return self.block(node.finalbody) and bool(ends)

    on_TryStar = on_Try

    def on_Match(self, node: ast.Match) -> bool:
        self.expression(node.subject)
        arms: list[Callable[[], bool]] = [partial(self.case, case) for case in node.cases]
        last = node.cases[-1]
        any_value = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
        if not any_value or last.guard is not None:
            arms.append(lambda: True)
        return self.branches(arms)

    def case(self, case: ast.match_case) -> bool:
        for part in ast.walk(case.pattern):
            if isinstance(part, ast.MatchValue):
                self.expression(part.value)
            elif isinstance(part, ast.MatchClass):
                self.expression(part.cls)
            elif isinstance(part, ast.MatchMapping):
                for key in part.keys:
                    self.expression(key)
        for part in ast.walk(case.pattern):
            if isinstance(part, ast.MatchAs | ast.MatchStar) and part.name:
                self.bind(part.name, part.lineno)
            elif isinstance(part, ast.MatchMapping) and part.rest:
                self.bind(part.rest, part.lineno)
        if case.guard is not None:
            self.expression(case.guard)
        return self.block(case.body)

    def branches(self, arms: list[Callable[[], bool]]) -> bool:
        """Walk alternatives from one state; afterwards surely bound is what all of them bind."""
        before = set(self.must)
        ends: list[set[str]] = []
        for arm in arms:
            self.must = set(before)
            if arm():
                ends.append(self.must)
        self.must = set.intersection(*ends) if ends else before
        return bool(ends)

    # expressions

    def expression(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                self.load(node.id, node.lineno)
        elif isinstance(node, ast.NamedExpr):
            self.expression(node.value)
            self.target(node.target)
        elif isinstance(node, ast.Lambda):
            self.defaults(node.args)
            self.inner(node)
        elif isinstance(node, scopes.Comprehension):
            self.expression(node.generators[0].iter)
            self.inner(node)
            for part in ast.walk(node):
                if isinstance(part, ast.NamedExpr):
                    self.target(part.target)
        else:
            for child in ast.iter_child_nodes(node):
                self.expression(child)

    def defaults(self, arguments: ast.arguments) -> None:
        for default in [*arguments.defaults, *arguments.kw_defaults]:
            if default is not None:
                self.expression(default)

    def inner(self, node: ast.expr) -> None:
        """A scope inside an expression. It is taken to run at once; it does not see the names of
        a class body around it."""
        for name in sorted(scopes.expression_globals(node).reads):
            self.module.load(name, node.lineno)

    def hint(self, node: ast.expr | None) -> None:
        """An annotation. Its names are wanted, but code can do without them."""
        if node is None:
            return
        module = self.module
        before = module.hints
        module.hints = self.reading.quoted if module.lazy else self.reading.hints
        self.expression(node)
        module.hints = self.reading.quoted
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                with suppress(SyntaxError, ValueError, RecursionError):
                    self.expression(ast.parse(part.value.strip(), mode="eval").body)
        module.hints = before

    def target(self, node: ast.expr) -> None:
        if isinstance(node, ast.Name):
            self.bind(node.id, node.lineno)
        elif isinstance(node, ast.Tuple | ast.List):
            for each in node.elts:
                self.target(each)
        elif isinstance(node, ast.Starred):
            self.target(node.value)
        else:
            self.expression(node)
