"""Inputs and outputs of a script: declared, or learnt.

Without a declaration, a script has the inputs that the sample names, and its outputs are the names
that its last statement assigns, or those that its last line shows, with the types that these
values have in the notebook now.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from ...contract.errors import InvalidDefinition
from ...contract.types import Param, make_param, params_of, params_to_text
from .collect import Collector
from .facts import Reading
from .learning import ANSWER, Warn, learnt, with_columns
from .result import CaptureOptions


def script_inputs(options: CaptureOptions, free: Mapping[str, Any], warn: Warn) -> list[Param]:
    """The inputs of a script. ``free``: names it reads and does not bind first."""
    sample = options.sample or {}
    if options.inputs is not None:
        return [with_columns(param, sample) for param in params_of(options.inputs)]
    found = [with_columns(learnt(name, sample[name]), sample) for name in sample if name in free]
    if found:
        warn(
            f"The inputs were taken from the sample: {params_to_text(found)}. Declare them with -i "
            "to be sure of their types."
        )
    return found


def script_outputs(
    tree: ast.Module,
    options: CaptureOptions,
    namespace: Mapping[str, Any],
    assigned: Mapping[str, int],
) -> list[Param]:
    """The outputs of a script."""
    if options.outputs is not None:
        return params_of(options.outputs, output=True)
    names = _last_names(tree.body[-1] if tree.body else None, assigned)
    if not names:
        if options.artifacts:
            return []
        raise InvalidDefinition(
            "What the code gives back is not declared, and its last line does not show it. "
            f'Declare it, as in -o "{ANSWER}: DataFrame", or let the last statement assign it.',
            field="outputs",
        )
    annotated = {
        line.target.id: ast.unparse(line.annotation)
        for line in tree.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    return [
        make_param(name, annotated[name], output=True)
        if name in annotated
        else _output_of_value(name, namespace)
        for name in names
    ]


def _last_names(last: ast.stmt | None, assigned: Mapping[str, int]) -> list[str]:
    targets: list[ast.expr] = []
    if isinstance(last, ast.Assign):
        targets = list(last.targets)
    elif isinstance(last, ast.AugAssign) or (isinstance(last, ast.AnnAssign) and last.value):
        targets = [last.target]
    elif isinstance(last, ast.Expr):
        shown = last.value
        targets = list(shown.elts) if isinstance(shown, ast.Tuple) else [shown]
        if not all(isinstance(each, ast.Name) and each.id in assigned for each in targets):
            return []
    names: list[str] = []
    for target in targets:
        parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
        for part in parts:
            if not isinstance(part, ast.Name):
                return []
            names.append(part.id)
    return list(dict.fromkeys(names))


def _output_of_value(name: str, namespace: Mapping[str, Any]) -> Param:
    advice = f'Declare it: -o "{name}: DataFrame" (or float, str, ...).'
    if name not in namespace:
        raise InvalidDefinition(
            f"The type of the output {name!r} is not known, because the code was not run here. "
            f"{advice}",
            field="outputs",
        )
    value = namespace[name]
    try:
        param = learnt(name, value)
    except InvalidDefinition:
        raise InvalidDefinition(
            f"The output {name!r} is a {type(value).__name__}, which has no JSON type of its own. "
            f"Convert it, or {advice[0].lower()}{advice[1:]}",
            field="outputs",
        ) from None
    # The next call's frame may have other types in its columns.
    return make_param(name, param["type"], output=True)


def check_script(
    code: Reading,
    options: CaptureOptions,
    inputs: list[Param],
    outputs: list[Param],
    collector: Collector,
) -> None:
    """Declared names against what a script does with them."""
    unsure = bool(code.unknown_star or code.dynamic)
    for param in inputs:
        name = param["name"]
        if name in collector.inputs_read or unsure:
            continue
        if name in code.assigned:
            collector.warn(f"The input {name!r} is overwritten before the code reads it.")
        else:
            collector.warn(f"The input {name!r} is never used by the code.")
    for param in outputs:
        name = param["name"]
        if name in code.definite or name in collector.inputs:
            continue
        if name in code.assigned:
            collector.warn(f"The output {name!r} is not assigned on every path of the code.")
        elif name in collector.namespace:
            collector.warn(
                f"The output {name!r} is never assigned by the code: every call would return the "
                "value it has now."
            )
            collector.add(name)
        elif unsure:
            collector.warn(f"The output {name!r} is not seen to be assigned by the code.")
        else:
            raise InvalidDefinition(
                f"The output {name!r} is declared, and no line of the code that can be reached "
                f"assigns it. Assigned: {', '.join(sorted(code.assigned)) or 'nothing'}.",
                field="outputs",
            )
    if options.inputs is None and not inputs:
        _offer_inputs(code, collector)


def _offer_inputs(code: Reading, collector: Collector) -> None:
    constants = [
        name
        for name in code.uses
        if name in collector.nodes
        and collector.nodes[name].reason == "constant"
        and name == name.lower()
        and isinstance(collector.namespace[name], int | float | str)
    ]
    if constants:
        kinds = {"int": "float"}
        declared = ", ".join(
            f"{name}: {kinds.get(collector.nodes[name].type, collector.nodes[name].type)}"
            for name in constants
        )
        collector.warn(
            "No inputs are declared, so every call computes the same from the values these names "
            f'have now. If callers should send them: -i "{declared}".'
        )
