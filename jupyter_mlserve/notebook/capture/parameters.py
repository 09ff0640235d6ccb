"""Inputs and outputs of a function: what the author declares, and what the code says.

The declaration wins over annotations, annotations over defaults, those over the sample. What
cannot work raises InvalidDefinition; what is odd gives a warning.

Without a declaration, the inputs are the arguments, each with a type from its annotation, its
default or the sample. The output is what the function returns, under the name ``answer``, with the
type of the return annotation; a NamedTuple or TypedDict annotation means several outputs, by its
fields.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from ...contract.errors import InvalidDefinition
from ...contract.types import MISSING, Param, make_param, params_of, parse_type, type_text
from .learning import ANSWER, Warn, join_names, learnt, with_columns
from .operation import UNKNOWN, Argument, FunctionNode, Operation
from .result import CaptureOptions

_ONE_VALUE = (ast.Constant, ast.JoinedStr, ast.Compare, ast.BoolOp, ast.Lambda)
_NUMBERS = frozenset(("integer", "numeric"))


def function_inputs(operation: Operation, options: CaptureOptions, warn: Warn) -> list[Param]:
    """The inputs of a function, in the order of its arguments."""
    sample = options.sample or {}
    if options.inputs is None:
        return _inputs_of_arguments(operation, sample, warn)
    declared = {param["name"]: param for param in params_of(options.inputs)}
    named = {item.name: item for item in operation.arguments if not item.many}
    extra = [name for name in declared if name not in named]
    if extra and not any(item.many == "**" for item in operation.arguments):
        raise InvalidDefinition(
            f"The input {extra[0]!r} is declared, but {operation.name} has no such argument; it "
            f"takes {', '.join(named) or 'none'}.",
            field="inputs",
        )
    for item in named.values():
        if item.name not in declared and item.default is MISSING:
            raise InvalidDefinition(
                f"{operation.name} needs the argument {item.name!r}, which is not declared as an "
                f"input. Declare it, or give it a default.",
                field="inputs",
            )
        if item.name not in declared:
            warn(
                f"The argument {item.name!r} of {operation.name} is not declared as an input: "
                "callers cannot set it, and its default is used."
            )
    found: list[Param] = []
    for name in [*(name for name in named if name in declared), *extra]:
        param = declared[name]
        if name in named:
            _compare(f"The input {name!r}", param, named[name].hint, warn)
            default = named[name].default
            if default is not MISSING and not param.get("optional"):
                param = _with_default(param, default)
        found.append(with_columns(param, sample))
    _warn_unread(operation, [param["name"] for param in found], warn)
    return found


def _inputs_of_arguments(
    operation: Operation, sample: Mapping[str, Any], warn: Warn
) -> list[Param]:
    found: list[Param] = []
    unknown: list[str] = []
    for item in operation.arguments:
        if item.many:
            continue
        has_default = item.default is not MISSING
        if item.hint is not MISSING and item.hint is not Any:
            param = _param_of_hint(operation, item)
        elif has_default and item.default is not None and item.default is not UNKNOWN:
            param = learnt(item.name, item.default)
        elif item.name in sample:
            param = learnt(item.name, sample[item.name])
        else:
            if not has_default:
                unknown.append(item.name)
            continue
        if has_default:
            with_default = _with_default(param, item.default)
            if not with_default.get("optional"):
                warn(
                    f"The default of {item.name!r} is no JSON value, so callers cannot set "
                    f"{item.name!r}; {operation.name} uses its default."
                )
                continue
            param = with_default
        found.append(with_columns(param, sample))
    if unknown:
        example = ", ".join(f"{name}: float" for name in unknown)
        raise InvalidDefinition(
            f"The types of {join_names(unknown)} are not known. Annotate them, as in "
            f'def {operation.name}({example}), or declare them: -i "{example}".',
            field="inputs",
        )
    _warn_unread(operation, [param["name"] for param in found], warn)
    return found


def _param_of_hint(operation: Operation, item: Argument) -> Param:
    if _is_typed_dict(item.hint):
        return make_param(item.name, dict)
    try:
        return make_param(item.name, item.hint)
    except InvalidDefinition as exc:
        raise InvalidDefinition(
            f"{exc.message} Or declare the inputs with -i, which then count instead of the "
            f"annotations of {operation.name}.",
            field="inputs",
        ) from None


def _with_default(param: Param, default: object) -> Param:
    """The input as optional; unchanged when the default is nothing JSON can say."""
    if default is UNKNOWN:
        return param
    declared = parse_type(param)._replace(nullable=False)
    try:
        return make_param(param["name"], declared, default)
    except InvalidDefinition:
        return param


def _compare(what: str, param: Param, hint: object, warn: Warn) -> None:
    """Warn when an annotation contradicts the declaration."""
    if hint is MISSING or hint is Any or hint is None:
        return
    try:
        declared = parse_type(hint)
    except InvalidDefinition:
        return
    if declared.type == param["type"] or {declared.type, param["type"]} == _NUMBERS:
        return
    annotated = type_text({"name": "", "type": declared.type})
    warn(
        f"{what} is declared as {type_text(param)}, and annotated as {annotated}: "
        "the declaration counts."
    )


def _warn_unread(operation: Operation, names: Sequence[str], warn: Warn) -> None:
    if operation.node is None:
        return
    read = {
        node.id
        for statement in operation.node.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    if read & {"locals", "vars", "eval", "exec"}:
        return
    arguments = {item.name for item in operation.arguments if not item.many}
    for name in names:
        if name in arguments and name not in read:
            warn(f"The input {name!r} is never used by {operation.name}.")


def function_outputs(operation: Operation, options: CaptureOptions, warn: Warn) -> list[Param]:
    """The outputs of a function."""
    node = operation.node
    if node is not None and _is_generator(node):
        raise InvalidDefinition(
            f"{operation.name} is a generator: it yields and never returns an answer. Return the "
            "values, for example as a list.",
            field="outputs",
        )
    if options.outputs is not None:
        outputs = params_of(options.outputs, output=True)
        _check_returns(operation, outputs, warn)
        if len(outputs) == 1:
            _compare(f"The output {outputs[0]['name']!r}", outputs[0], operation.returns, warn)
        return outputs
    returns = operation.returns
    if returns is None or returns is type(None) or returns == "None":
        return []
    if returns is MISSING or returns is Any:
        if node is not None and not _returns(node):
            return []
        raise InvalidDefinition(
            f"What {operation.name} returns is not known. Annotate it, as in "
            f'def {operation.name}(...) -> float, or declare it: -o "{ANSWER}: float".',
            field="outputs",
        )
    fields = _fields(returns)
    if len(fields) > 1:
        return [make_param(name, hint, output=True) for name, hint in fields.items()]
    try:
        return [make_param(ANSWER, returns, output=True)]
    except InvalidDefinition as exc:
        raise InvalidDefinition(
            f"{exc.message} Or declare the outputs with -o, which then count instead of the "
            f'annotation: -o "{ANSWER}: DataFrame", -o "price: float, label: str".',
            field="outputs",
        ) from None


def _fields(hint: object) -> dict[str, object]:
    """Fields of a NamedTuple or TypedDict."""
    named_tuple = isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields")
    if named_tuple or _is_typed_dict(hint):
        return dict(inspect.get_annotations(hint))  # type: ignore[arg-type]
    return {}


def _is_typed_dict(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__total__")


def _own(node: FunctionNode) -> list[ast.AST]:
    """The nodes of a function that are not inside a function or class in it."""
    found: list[ast.AST] = []
    todo: list[ast.AST] = list(node.body)
    while todo:
        each = todo.pop(0)
        found.append(each)
        if not isinstance(each, FunctionNode | ast.ClassDef | ast.Lambda):
            todo = [*ast.iter_child_nodes(each), *todo]
    return found


def _is_generator(node: FunctionNode) -> bool:
    return any(isinstance(each, ast.Yield | ast.YieldFrom) for each in _own(node))


def _returns(node: FunctionNode) -> list[ast.expr]:
    """What the return statements return; bare ones and None left out."""
    values = [each.value for each in _own(node) if isinstance(each, ast.Return)]
    return [
        value
        for value in values
        if value is not None and not (isinstance(value, ast.Constant) and value.value is None)
    ]


def _check_returns(operation: Operation, outputs: Sequence[Param], warn: Warn) -> None:
    """Compare declared outputs with what the return statements show."""
    if operation.node is None or not outputs:
        return
    name = operation.name
    returned = _returns(operation.node)
    if not returned:
        warn(f"{name} returns nothing: {join_names([p['name'] for p in outputs])} will be null.")
        return
    if len(outputs) == 1:
        return
    count, wanted = len(outputs), [param["name"] for param in outputs]
    wrong = 0
    for value in returned:
        if isinstance(value, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in value.elts):
            if len(value.elts) != count:
                wrong += 1
                warn(f"{name} returns {len(value.elts)} values, and {count} outputs are declared.")
        elif isinstance(value, ast.Dict) and None not in value.keys:
            keys = {key.value for key in value.keys if isinstance(key, ast.Constant)}
            absent = [each for each in wanted if each not in keys]
            if absent and len(keys) == len(value.keys):
                wrong += 1
                warn(f"{name} returns a dict without the declared output {join_names(absent)}.")
        elif isinstance(value, _ONE_VALUE):
            wrong += 1
            warn(
                f"{name} returns one value, and {count} outputs are declared: return a tuple, or "
                "a dict by name."
            )
    if wrong == len(returned):
        raise InvalidDefinition(
            f"{name} never returns the {count} declared outputs ({', '.join(wanted)}): return a "
            "tuple of them in this order, or a dict by name.",
            field="outputs",
        )
