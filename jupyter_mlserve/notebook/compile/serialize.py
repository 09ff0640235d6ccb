"""``serialize_model``: compile, prove, pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...contract.errors import InvalidDefinition
from ...contract.realtime import pack
from ...contract.realtime_operators import OPERATORS
from ..transforms.images_memory import remembering
from . import libraries
from .build import Built, build
from .compiler import CannotCompile, Compiler
from .compose import unwrap
from .example import example_row
from .frames import Frame, read_sample
from .gate import Fault, Verdict, judge
from .probes import FLOAT32_MAX, Probes, holds_null_text, make_probes, parts
from .reference import Reference
from .running import session
from .supported import STANDARD, check_fitted, unsupported
from .thresholds import add_thresholds

# Name, what we convert ourselves, double where skl2onnx is used. In the order they are tried.
CANDIDATES = (("double", True, True), ("skl2onnx double", False, True), ("float32", False, False))
_LIBRARY_OF_STEP = {"sentiment": "vaderSentiment", "load_image": "PIL"}


class NotCompilable(InvalidDefinition):
    """The model has no compiled form that is right. Details: ``step``, ``difference``, ``row``."""


# Called with what is going on ("compile", "prove"), and rows done and in total.
Progress = Callable[[str, int, int], None]


def serialize_model(
    model: Any, sample: Any, response: str | None = None, *, progress: Progress | None = None
) -> bytes:
    """Compile a fitted model to the bytes of a realtime service, and prove that they are right.

    ``model`` is a fitted scikit-learn estimator or pipeline, a LightGBM or an XGBoost model.
    ``sample`` is a pandas DataFrame in the training columns' names, order and types (the response
    may be among them); a few dozen training rows prove more than one. ``response`` names the
    predicted variable, and so the output column ``<response>_Pred`` of a regression.

    The compiled model is tried on the sample, on rows with nulls, unseen and hostile texts, and
    at the thresholds of trees. Only if all labels are equal and all values within 1e-5 (scaled)
    are bytes returned; they begin with ``b"blob"``. Otherwise InvalidDefinition is raised, which
    names the step at fault, the largest difference and the row. MLServeError says what to install
    when a library is missing.
    """
    why = unsupported(model)
    if why is not None:
        raise InvalidDefinition(why, field="model")
    libraries.require()
    check_fitted(model)
    frame = read_sample(model, sample, response)
    if holds_null_text(frame):
        raise InvalidDefinition("A text of the sample stands for null here.", field="sample")
    # Hundreds of tiny predictions: waking a pool of threads for each would take seconds.
    with libraries.load("threadpoolctl").threadpool_limits(limits=1), remembering():
        return _compiled(model, frame, progress or (lambda what, done, total: None))


def _compiled(model: Any, frame: Frame, progress: Progress) -> bytes:
    reference = Reference(model, frame)
    try:
        reference(frame.data.iloc[:1])
        reference(frame.data)
    except Exception as exc:
        raise InvalidDefinition(
            f"The model cannot score the sample ({type(exc).__name__}: {_quoted(str(exc))}). "
            "Give rows as the model was trained on: same columns, order and types.",
            field="sample",
        ) from exc
    probes = make_probes(frame, reference, model)
    name, built, verdict = _first_right(model, frame, reference, probes, progress)
    return pack(_header(model, frame, reference, probes, name, built, verdict), built.model)


def _quoted(text: str, most: int = 300) -> str:
    """A message of another library inside a sentence of ours: one line, cut between words."""
    text = " ".join(text.split())
    if len(text) > most:
        kept = text[:most]
        end = kept.rfind(". ") + 1
        text = f"{kept[: end if end > most // 2 else max(kept.rfind(' '), most // 2)]} ..."
    return text.rstrip(".") if not text.endswith("...") else text


def _attempts() -> Iterator[tuple[str, Compiler]]:
    for name, own, double in CANDIDATES:
        yield name, Compiler(own, double)


def _first_right(
    model: Any, frame: Frame, reference: Reference, probes: Probes, progress: Progress
) -> tuple[str, Built, Verdict]:
    tried: set[bytes] = set()
    thresholds = False
    second: tuple[str, Built, Verdict] | None = None
    failures: list[CannotCompile | tuple[Built, Fault]] = []
    for name, compiler in _attempts():
        progress("compile", 0, 0)
        try:
            built = build(model, frame, reference, compiler)
        except CannotCompile as exc:
            failures.append(exc)
            continue
        if built.model in tried:
            continue
        strange = outside(built.model)
        if strange is not None:
            why = f"it needs the operator {strange}, which no server of ours accepts"
            failures.append(CannotCompile(describe(model), why))
            continue
        tried.add(built.model)
        try:
            opened = session(built.model)
        except Exception as exc:  # the runtime's errors have no common class
            failures.append(CannotCompile(describe(model), " ".join(str(exc).split())[:300]))
            continue
        if not thresholds:
            add_thresholds(probes, compiler)
            thresholds = True
        verdict = judge(built, opened, probes, reference, progress)
        if verdict.fault is not None:
            failures.append((built, verdict.fault))
        elif not verdict.not_nullable:
            return name, built, verdict
        elif second is None:
            # Right, but for nulls in columns that may do without: another may be right there too.
            second = name, built, verdict
    if second is not None:
        return second
    raise _refusal(model, frame, reference, failures)


def outside(model: bytes) -> str | None:
    """An operator or attribute that is not on the list servers hold uploads to; None if all are."""
    for node in libraries.load("onnx").load_from_string(model).graph.node:
        allowed = OPERATORS.get(node.domain, {}).get(node.op_type)
        if allowed is None:
            return str(node.op_type)
        for attribute in node.attribute:
            if attribute.name not in allowed:
                return f"{node.op_type} with {attribute.name}"
    return None


def _header(
    model: Any,
    frame: Frame,
    reference: Reference,
    probes: Probes,
    candidate: str,
    built: Built,
    verdict: Verdict,
) -> dict[str, Any]:
    columns = []
    for position, (name, kind) in enumerate(zip(frame.names, frame.types, strict=True)):
        may = probes.nullable[position] and position not in verdict.not_nullable
        column: dict[str, Any] = {"name": name, "type": kind, "nullable": may}
        if position in probes.known:
            column["known"] = probes.known[position]
        if position in probes.ranges:
            column["range"] = probes.ranges[position]
        columns.append(column)
    largest = FLOAT32_MAX if candidate == "float32" else probes.largest
    packages = {type(part).__module__.partition(".")[0] for part in parts(model)}
    extra: list[str] = [name for name in ("lightgbm", "xgboost") if name in packages]
    steps = {step["step"] for item in built.inputs for step in item.get("steps", ())}
    extra += [name for step, name in _LIBRARY_OF_STEP.items() if step in steps]
    return {
        "kind": reference.kind,
        "model": describe(model)[:2000],
        "response": frame.response,
        "columns": columns,
        "example": example_row(frame, reference, columns, built.inputs, largest),
        "largest": largest,
        "inputs": built.inputs,
        "tensors": built.tensors,
        "outputs": built.outputs,
        "proof": {
            "rows": verdict.rows,
            "largest_difference": verdict.largest,
            "ties": verdict.ties,
            "candidate": candidate,
            "probes": dict(verdict.counts),
            "libraries": libraries.versions(tuple(extra)),
        },
    }


def describe(model: Any) -> str:
    """The model in one line: ``Pipeline(StandardScaler, Ridge)``."""
    model = unwrap(model)
    name = type(model).__name__
    steps = getattr(model, "steps", None) or getattr(model, "transformers_", None)
    if name in ("Pipeline", "ColumnTransformer") and steps:
        inner = [step[1] for step in steps if not isinstance(step[1], str | type(None))]
        return f"{name}({', '.join(describe(step) for step in inner)})"
    return name


def _refusal(
    model: Any,
    frame: Frame,
    reference: Reference,
    failures: list[CannotCompile | tuple[Built, Fault]],
) -> NotCompilable:
    wrong = [failure for failure in failures if isinstance(failure, tuple)]
    if not wrong:
        first = next(failure for failure in failures if isinstance(failure, CannotCompile))
        return NotCompilable(
            f"{describe(model)} cannot be a realtime service: {first.step}: {first.why}."
            f" {STANDARD}",
            field="model",
            step=first.step,
            reason=first.why,
        )
    from .blame import step_at_fault

    built, fault = min(wrong, key=lambda item: item[1].difference)
    step = step_at_fault(built, fault.row, frame)
    row = {
        str(name): value
        for name, value in zip(fault.row.columns, frame.rows(fault.row)[0], strict=True)
    }
    shown = ", ".join(f"{key}={value!r}" for key, value in list(row.items())[:8])
    size = "another label" if fault.difference == float("inf") else f"{fault.difference:.3g}"
    return NotCompilable(
        f"{describe(model)} cannot be a realtime service: its compiled form is not right. "
        f"Step at fault: {step}. Largest difference: {size} ({fault.kind} row {shown}: "
        f"the model says {fault.expected}, compiled {fault.found}). {STANDARD}",
        field="model",
        step=step,
        difference=None if fault.difference == float("inf") else fault.difference,
        row=row,
        kind=fault.kind,
    )
