"""A realtime version on a card: its model, the proof that it is right, what goes in and out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..contract.realtime_words import about_output
from ..contract.spelling import PYTHON
from .describe import count_text, json_text, size_text
from .document import Beside, Cell, Facts, Meter, Mono, Note, Part, Section, Table

if TYPE_CHECKING:
    from .realtime import Compiled

Service = Mapping[str, Any]
Rows = list[tuple[str, Cell | Sequence[Cell]]]

# What the parity gate refuses (``compile.gate.TOLERANCE``), and the smallest step of a double.
LIMIT = 1e-5
_FINEST = 1e-17
_MOST_ROWS = 24  # of a table of columns; a wider frame is told in a line
_EXAMPLE = 48  # characters of an example value

_TRIED = {
    "sample": "rows of the sample",
    "number": "other numbers, between those of the sample and far beyond them",
    "text": "texts that were never seen: empty, foreign, odd",
    "known": "every value that the model knows",
    "null": "a value missing, column by column",
    "threshold": "at the thresholds of trees, and a hair beside them",
    "boundary": "where the steps before a tree land next to its thresholds",
    "image": "the images as other files, sizes and kinds of pixels",
}
_COMPUTED = {
    "double": "in double precision, as the model does",
    "skl2onnx double": "in double precision, converted by skl2onnx",
    "float32": "in single precision (float32), which this model needs to be right",
}


def is_realtime(service: Service) -> bool:
    """Whether a version is a compiled model (and not code that an interpreter runs)."""
    return str(service.get("runtimeType") or "").lower() == "realtime"


def kind_text(service: Service) -> str:
    """In the words of the magics: ``realtime`` or ``standard``."""
    return "realtime" if is_realtime(service) else "standard"


def realtime_parts(
    service: Service,
    *,
    compiled: Compiled | None = None,
    trial: Mapping[str, Any] | None = None,
) -> list[Part]:
    """Everything that a realtime version has and a standard one has not.

    Where it is published, ``compiled`` also tells the sample and what a column accepts beyond
    its type, and ``trial`` the answer of the first call.
    """
    ours = service.get("mlserve") or {}
    parts: list[Part] = []
    if compiled is not None:
        parts += sample_parts(compiled)
    if isinstance(ours.get("proof"), Mapping):
        parts.append(proof_section(ours["proof"], str(ours.get("kind") or "")))
    known = [{"name": name, "known": held} for name, held in (ours.get("known") or {}).items()]
    limits = limits_of(compiled.header if compiled is not None else {"columns": known})
    result = (trial or {}).get("result")
    reply = (result or {}).get("outputParameters", {}).get("outputData")
    tables = [inputs_table(service, limits), outputs_table(service, reply)]
    parts.append(Section("What goes in and out", [Beside(tables)], open=True))
    return parts


def sample_parts(compiled: Compiled) -> list[Part]:
    """What the model was compared on, and what was made of its columns."""
    sample, proof = compiled.sample, compiled.header.get("proof") or {}
    used = int((proof.get("probes") or {}).get("sample") or sample.rows)
    rows_text = count_text(sample.rows, "row")
    if used < sample.rows:
        rows_text = f"{used:,} of {rows_text}"
    found = ", found in the notebook" if sample.found else ""
    said: list[Cell] = [Mono(sample.name), f"{rows_text}{found}"]
    rows: Rows = [("sample", said)]
    response = (compiled.header.get("response") or {}).get("name")
    if response and compiled.named != "line":
        why = "kept from the live version" if compiled.named else "taken as the response"
        rows.append(("response", f"{response}: {why}; --response names it"))
    parts: list[Part] = [Facts(rows)]
    names = [str(column["name"]) for column in compiled.header.get("columns") or ()]
    if names == [f"x{i}" for i in range(len(names))] and not hasattr(sample.frame, "columns"):
        text = (
            f"{sample.name} is an array, which has no names: its columns are called"
            f" {names[0] if len(names) == 1 else f'{names[0]} to {names[-1]}'}. For names of your"
            " own, give a DataFrame as the sample, or fit the model on one."
        )
        parts.append(Note(text, "info"))
    return parts


def model_rows(service: Service) -> Rows:
    """What the model is, in a line; and the operation's name if it has one."""
    ours = service.get("mlserve") or {}
    response = ours.get("response") or {}
    words = str(ours.get("kind") or "model")
    if response.get("name"):
        words += f" of {response['name']}"
    size = (ours.get("model") or {}).get("size")
    if size:
        words += f", {size_text(int(size))} compiled"
    rows: Rows = [("model", [Mono(str(ours.get("modelName") or "unknown")), words])]
    if service.get("operationId"):
        rows.append(("operation", Mono(str(service["operationId"]))))
    return rows


def proof_section(proof: Mapping[str, Any], kind: str) -> Section:
    """What the compiled model was compared on, and how far it was from the model itself."""
    difference = float(proof.get("largest_difference") or 0.0)
    meter = Meter(
        finding(proof, kind), share_of(difference), "exact", f"refused above {LIMIT:g}",
        "largest difference between the compiled model and the model, on a logarithmic scale",
    )  # fmt: skip
    probes = proof.get("probes") or {}
    counts: list[list[Cell]] = [
        [f"{count:,}", _TRIED.get(str(name), str(name))] for name, count in probes.items() if count
    ]
    rows: Rows = []
    if proof.get("ties"):
        words = "where the model gives two labels the same score, and either is right"
        rows.append(("ties", f"{count_text(int(proof['ties']), 'row')} {words}"))
    candidate = str(proof.get("candidate") or "")
    rows.append(("computed", _COMPUTED.get(candidate, candidate)))
    libraries = proof.get("libraries") or {}
    if libraries:
        made = ", ".join(f"{name} {version}" for name, version in libraries.items())
        rows.append(("made with", Mono(made)))
    table = Table(["rows", "tried"], counts, numeric=frozenset({"rows"}), whole=True)
    below = Beside([*([table] if counts else []), Facts(rows)])
    return Section("Proof", [meter, below], open=True)


def finding(proof: Mapping[str, Any], kind: str) -> str:
    """The proof in one sentence."""
    rows = count_text(int(proof.get("rows") or 0), "row")
    difference = float(proof.get("largest_difference") or 0.0)
    labels = kind in ("classification", "outlier", "clustering")
    said = f"Proven on {rows}: "
    if not difference:
        what = "every label and every value is" if labels else "every value is"
        return f"{said}{what} exactly the model's own."
    same = "every label is the model's own, and " if labels else ""
    return f"{said}{same}no value differs by more than {difference:.2g} (relative)."


def share_of(difference: float) -> float:
    """Where a difference stands between exact (0) and refused (1): by its order of magnitude."""
    if difference <= _FINEST:
        return 0.0
    return math.log10(difference / _FINEST) / math.log10(LIMIT / _FINEST)


def inputs_table(service: Service, limits: Mapping[str, str]) -> Table:
    """The columns that the frame must have, in order."""
    ours = service.get("mlserve") or {}
    example = ours.get("example") or {}
    columns = _columns(service.get("inputParameterDefinitions"))
    rows: list[list[Cell]] = []
    for column in columns[:_MOST_ROWS]:
        name = str(column["name"])
        row: list[Cell] = [
            Mono(name),
            _type_of(column),
            "allowed" if column.get("nullable") else "refused",
        ]
        if limits:
            row.append(limits.get(name, ""))
        rows.append([*row, Mono(json_text(example[name], _EXAMPLE)) if name in example else ""])
    titles = ["column", "type", "missing", *(["only"] if limits else []), "example"]
    said = [_more(len(columns))]
    response = ours.get("response") or {}
    if response.get("position") is not None:
        place = int(response["position"]) + 1
        said.append(f"{response['name']} as column {place} is accepted too, and ignored.")
    return Table(titles, rows, "inputData", more=" ".join(filter(None, said)))


def outputs_table(service: Service, reply: Mapping[str, Sequence[Any]] | None) -> Table:
    """The columns of the answer, with what the first call answered."""
    columns = _columns(service.get("outputParameterDefinitions"))
    ours = service.get("mlserve") or {}
    about = {str(column["name"]): about_output(str(column["name"]), ours) for column in columns}
    rows: list[list[Cell]] = []
    for column in columns[:_MOST_ROWS]:
        name = str(column["name"])
        row: list[Cell] = [Mono(name), _type_of(column)]
        if reply is not None:
            values = reply.get(name) or ()
            row.append(Mono(json_text(values[0], _EXAMPLE)) if len(values) else "")
        rows.append([*row, about[name].rstrip(".")] if any(about.values()) else row)
    titles = ["column", "type", *(["answer to the example"] if reply is not None else [])]
    titles += ["what it is"] if any(about.values()) else []
    return Table(titles, rows, "outputData", more=_more(len(columns)), whole=any(about.values()))


def limits_of(header: Mapping[str, Any]) -> dict[str, str]:
    """What columns accept beyond their type: only known values, or a range."""
    found: dict[str, str] = {}
    for column in header.get("columns") or ():
        if "known" in column:
            known = list(column["known"])
            shown = ", ".join(json_text(value, 24) for value in known[:4])
            more = f" and {len(known) - 4:,} more" if len(known) > 4 else ""
            found[str(column["name"])] = shown + more
        elif "range" in column:
            low, high = column["range"]
            found[str(column["name"])] = f"{low:g} to {high:g}"
    return found


def _columns(params: Any) -> list[Mapping[str, Any]]:
    return [column for param in params or () for column in param.get("columns") or ()]


def _type_of(column: Mapping[str, Any]) -> str:
    return str(PYTHON.get(column["type"], column["type"]))


def _more(count: int) -> str:
    left = count - _MOST_ROWS
    return f"And {left:,} more." if left > 0 else ""
