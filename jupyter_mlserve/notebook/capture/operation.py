"""The interface of the function that is published: its arguments and what it returns."""

from __future__ import annotations

import ast
import inspect
from typing import NamedTuple

from ...contract.errors import InvalidDefinition
from ...contract.types import MISSING

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


class Argument(NamedTuple):
    """An argument of the operation. ``hint`` and ``default`` are MISSING when there is none; a
    default that only running code could tell is UNKNOWN."""

    name: str
    hint: object = MISSING
    default: object = MISSING
    many: str = ""  # "*" or "**"


class _Unknown:
    def __repr__(self) -> str:
        return "..."


UNKNOWN = _Unknown()


class Operation(NamedTuple):
    """The function that is called: its name, its text if there is one, and its interface."""

    name: str
    node: FunctionNode | None
    arguments: list[Argument]
    returns: object = MISSING


def operation_of(name: str, node: FunctionNode | None, live: object) -> Operation:
    """The interface of a function, from the live object where there is one, else from its text."""
    if live is not None:
        try:
            signature = inspect.signature(live)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            signature = None
        if signature is not None:
            return Operation(
                name,
                node,
                [_argument(item) for item in signature.parameters.values()],
                _hint(signature.return_annotation),
            )
    if node is None:
        raise InvalidDefinition(
            f"{name} does not say what arguments it takes. Wrap it in a function that does.",
            field="function",
        )
    return Operation(name, node, _arguments(node.args), _text(node.returns))


def _argument(item: inspect.Parameter) -> Argument:
    many = "*" if item.kind is item.VAR_POSITIONAL else ""
    many = "**" if item.kind is item.VAR_KEYWORD else many
    default = MISSING if item.default is item.empty else item.default
    return Argument(item.name, _hint(item.annotation), default, many)


def _hint(annotation: object) -> object:
    return MISSING if annotation is inspect.Signature.empty else annotation


def _arguments(node: ast.arguments) -> list[Argument]:
    plain = [*node.posonlyargs, *node.args]
    gap: list[ast.expr | None] = [None] * (len(plain) - len(node.defaults))
    pairs = [*zip(plain, [*gap, *node.defaults], strict=True)]
    pairs += zip(node.kwonlyargs, node.kw_defaults, strict=True)
    found = [Argument(each.arg, _text(each.annotation), _literal(value)) for each, value in pairs]
    if node.vararg:
        found.append(Argument(node.vararg.arg, many="*"))
    if node.kwarg:
        found.append(Argument(node.kwarg.arg, many="**"))
    return found


def _text(node: ast.expr | None) -> object:
    if node is None:
        return MISSING
    if isinstance(node, ast.Constant):
        return node.value
    return ast.unparse(node)


def _literal(node: ast.expr | None) -> object:
    if node is None:
        return MISSING
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return UNKNOWN
