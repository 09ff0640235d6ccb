"""The parts that cards share: how a version is called, what travels with it, its history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import snippets
from .describe import (
    inputs_text,
    json_text,
    moment_text,
    params_text,
    seconds_text,
    size_text,
)
from .document import Cell, Code, Facts, Link, Mono, Note, Part, Section, Table

if TYPE_CHECKING:
    from ..client.publishing import Published
    from .capture import Capture
    from .realtime import Compiled

Service = Mapping[str, Any]


def calling(service: Service, urls: Mapping[str, str], *, opened: bool) -> Section:
    """How to call the version from a shell, from Python with our client, and without it."""
    from ..client import service as client_service

    params = service.get("inputParameterDefinitions") or []
    outputs = service.get("outputParameterDefinitions") or []
    inputs = snippets.example_of(service)
    url = urls.get("api", "")
    operation = str(service.get("operationId") or "consume")
    if hasattr(client_service.Service, operation):
        operation = "consume"  # as the service object does: its own methods are not hidden
    shell = snippets.curl(url, inputs)
    python = snippets.client(
        str(service["name"]), str(service["version"]), operation, params, inputs, outputs
    )
    return Section(
        "Call it",
        [
            Section(
                "From a shell",
                [Code(shell, whole=True, note=snippets.TOKEN_HINT)],
                open=True,
            ),
            Section("From Python", [Code(python)], html_only=True),
            Section(
                "From Python, with nothing installed",
                [Code(snippets.standard_library(url, inputs), note=snippets.TOKEN_HINT)],
                html_only=True,
            ),
        ],
        open=opened,
    )


def addresses(service: Service, urls: Mapping[str, str]) -> list[Part]:
    """Where the version is called and described, and its signature."""
    return [Facts([*address_rows(service, urls), *signature(service).rows])]


def address_rows(
    service: Service, urls: Mapping[str, str]
) -> list[tuple[str, Cell | Sequence[Cell]]]:
    """Where the version is called and described."""
    rows: list[tuple[str, Cell | Sequence[Cell]]] = [("POST", Mono(urls.get("api", "")))]
    documents: list[Cell] = [
        Link(urls[key], label, aside=key != "swagger")
        for key, label in (("swagger", "swagger.json"), ("openapi", "openapi.json (3.1)"))
        if urls.get(key)
    ]
    if documents:
        rows.append(("swagger", documents))
    return rows


def signature(body: Mapping[str, Any]) -> Facts:
    """What goes in and comes out."""
    rows: list[tuple[str, Cell | Sequence[Cell]]] = [
        ("inputs", Mono(params_text(body.get("inputParameterDefinitions") or ()))),
        ("outputs", Mono(params_text(body.get("outputParameterDefinitions") or ()))),
    ]
    if body.get("outputFileNames"):
        rows.append(("files", Mono(", ".join(body["outputFileNames"]))))
    if body.get("operationId"):
        rows.append(("operation", Mono(str(body["operationId"]))))
    if (body.get("mlserve") or {}).get("batchable"):
        rows.append(("batches", "one call answers the rows of many records (batchable)"))
    return Facts(rows)


def trial_parts(service: Service, trial: Mapping[str, Any]) -> list[Part]:
    """The sample call's answer, or a word that there was none."""
    sample = (service.get("mlserve") or {}).get("sample")
    result = trial.get("result")
    if not isinstance(result, Mapping):
        if not trial:
            return []
        took = seconds_text(trial.get("load_seconds"))
        text = f"loaded in a fresh worker{f' in {took}' if took else ''}"
        loaded = Facts([("trial", f"{text}; not called, because no --sample was given")])
        return [loaded, *_unproven(trial)]
    answers = [
        Mono(f"{name} = {json_text(value, 160)}")
        for name, value in (result.get("outputParameters") or {}).items()
    ]
    rows: list[tuple[str, Cell | Sequence[Cell]]] = [("trial", Mono(inputs_text(sample or {})))]
    rows += [("" if row else "answered", answer) for row, answer in enumerate(answers)]
    files = [name for name, content in (result.get("outputFiles") or {}).items() if content]
    if files:
        rows.append(("wrote", Mono(", ".join(files))))
    proof = trial.get("batchable") or {}
    if proof.get("proven"):
        told = f"proven: the {proof['rows']:,} rows of the sample have the same answers"
        rows.append(("batchable", f"{told} together and apart"))
    parts: list[Part] = [Facts(rows), *_unproven(trial)]
    console = str(trial.get("console") or result.get("consoleOutput") or "")
    if console.strip():
        parts.append(Section("Printed", [Code(console)], brief=_first_line(console)))
    return parts


def _unproven(trial: Mapping[str, Any]) -> list[Part]:
    """A warning, if the author's word alone makes the version batchable."""
    proof = trial.get("batchable")
    if not proof or proof.get("proven"):
        return []
    return [
        Note(
            f"That each row is answered by itself was not proven: {proof.get('why')}. Give"
            " --sample a frame of several rows. Until then batches rely on your word, and try it"
            " only with the first record that each worker gets.",
            "warning",
        )
    ]


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    first = lines[0][:80]
    return first + (f" … ({len(lines)} lines)" if len(lines) > 1 else "")


def warnings_of(capture: Capture | None) -> list[Part]:
    """The warnings of a capture; none without one."""
    return [Note(text, "warning") for text in (capture.warnings if capture else ())]


def captured(capture: Capture) -> Section:
    """What travels with the code, folded."""
    return Section("What travels", [report_table(capture, caption="")], brief=tally(capture))


def tally(capture: Capture) -> str:
    """``4 captured (1.2 kB), 1 skipped``."""
    words = []
    for status in ("captured", "skipped", "refused"):
        items = [item for item in capture.report if item.status == status]
        if items:
            size = sum(item.size or 0 for item in items)
            words.append(f"{len(items)} {status}" + (f" ({size_text(size)})" if size else ""))
    return ", ".join(words) or "nothing but the code itself"


def report_table(capture: Capture, caption: str = "") -> Part:
    """Everything the code uses, and what became of it; what was refused comes first."""
    order = {"refused": 0, "captured": 1, "skipped": 2}
    items = sorted(capture.report, key=lambda item: order.get(item.status, 3))
    if not items:
        return Note("Nothing travels but the code itself.")
    rows: list[list[Cell]] = [
        [
            Mono(item.name),
            " ".join(filter(None, (item.kind, item.type))),
            item.status,
            size_text(item.size),
            ". ".join(filter(None, (item.reason, item.advice))),
        ]
        for item in items
    ]
    columns = ["name", "kind", "status", "size", "why"]
    return Table(columns, rows, caption, numeric=frozenset({"size"}), whole=True)


def environment(body: Mapping[str, Any]) -> Section:
    """Interpreter, packages and workers of a version."""
    ours = body.get("mlserve") or {}
    interpreter = ours.get("interpreter") or {}
    rows: list[tuple[str, Cell | Sequence[Cell]]] = []
    if interpreter:
        rows.append(
            ("interpreter", [Mono(str(interpreter.get("executable", ""))), _python(interpreter)])
        )
    packages = ours.get("packages") or {}
    if packages:
        rows.append(("packages", Mono(", ".join(f"{n} {v}" for n, v in packages.items()))))
    if ours.get("notebook"):
        rows.append(("notebook", Mono(str(ours["notebook"]))))
    pool = ours.get("pool")
    if pool:
        rows.append(("workers", ", ".join(f"{key} {value}" for key, value in pool.items())))
    brief = ", ".join([_python(interpreter), *(f"{n} {v}" for n, v in packages.items())])
    return Section("Where it runs", [Facts(rows)], brief=brief)


def _python(interpreter: Mapping[str, Any]) -> str:
    return f"{interpreter.get('implementation', 'Python')} {interpreter.get('version', '')}".strip()


def times(
    published: Published, capture: Capture | None, compiled: Compiled | None, seconds: float
) -> Section:
    """Where the seconds of a publish went."""
    timings, trial = published.timings, published.trial or {}
    rows: list[tuple[str, Cell | Sequence[Cell]]] = []
    if capture is not None:
        rows.append(("capture", seconds_text(capture.seconds)))
    if compiled is not None:
        rows.append(("compile", f"{seconds_text(compiled.seconds)} (with the proof)"))
    sent = size_text(published.sent_bytes)
    known = f", {size_text(published.known_bytes)} was there" if published.known_bytes else ""
    rows.append(("upload", f"{seconds_text(timings.get('upload'))} ({sent} sent{known})"))
    inner = ", ".join(
        f"{word} {seconds_text(trial[key])}"
        for key, word in (("load_seconds", "load"), ("call_seconds", "call"))
        if trial.get(key) is not None
    )
    publish = seconds_text(timings.get("publish"))
    rows.append(("publish", f"{publish} (trial: {inner})" if inner else publish))
    rows.append(("in all", seconds_text(seconds)))
    return Section("How long it took", [Facts(rows)], brief=seconds_text(seconds), html_only=True)


def state_of(service: Service) -> Mapping[str, Any]:
    """Number, author and time of the state that is live."""
    found = (service.get("mlserve") or {}).get("state")
    return found if isinstance(found, Mapping) else {}


def permission(service: Service) -> str:
    """What the reader may do with the version."""
    may = str(service.get("myPermissionOnService") or "")
    return {"read/write": "call, update and delete it", "read only": "call it"}.get(may, may)


def code_parts(service: Service) -> list[Part]:
    """The code as the author wrote it, for those who may see it."""
    ours = service.get("mlserve") or {}
    code = ours.get("source") or service.get("code")
    if not code:
        return [Note("The code is shown to the author and the owners of the service only.")]
    parts: list[Part] = [Section("Code", [Code(str(code))], open=True)]
    if service.get("initCode"):
        parts.append(Section("Code run once per worker", [Code(str(service["initCode"]))]))
    return parts


def history_table(events: Iterable[Mapping[str, Any]]) -> Part:
    """Events of a service or version, the newest first."""
    rows: list[list[Cell]] = [
        [
            moment_text(str(event.get("at") or "")),
            str(event.get("action") or ""),
            Mono(str(event.get("version") or "")),
            str((event.get("state") or {}).get("number") or ""),
            str(event.get("who") or ""),
        ]
        for event in reversed(list(events))
    ]
    if not rows:
        return Note("Nothing happened yet.")
    return Table(["when", "what", "version", "state", "who"], rows, numeric=frozenset({"state"}))


def frame_table(name: str, columns: Mapping[str, Sequence[Any]], most: int = 10) -> Table:
    """A frame of the wire (column to values) as a table of its first rows."""
    length = max((len(values) for values in columns.values()), default=0)
    rows: list[list[Cell]] = [
        [_value_text(values[row]) if row < len(values) else "" for values in columns.values()]
        for row in range(min(length, most))
    ]
    numeric = frozenset(
        column
        for column, values in columns.items()
        if all(value is None or isinstance(value, int | float) for value in values[:most])
    )
    more = f"{length:,} rows in all" if length > most else ""
    return Table(list(columns), rows, name, numeric, more)


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value, 80)


def component_text(part: Any) -> str:
    """``pass, workers 2``: what is zero, off or empty goes without saying."""
    if not isinstance(part, Mapping):
        return json_text(part, 120)
    words: list[str] = []
    for key, value in part.items():
        if key == "statusCode":
            words.insert(0, str(value))
        elif key in ("used", "quota", "rss") and value:
            words.append(f"{key} {size_text(int(value))}")
        elif key == "uptime" and value:
            words.append(f"up {seconds_text(float(value))}")
        elif isinstance(value, str | int | float) and value:
            words.append(key if value is True else f"{key} {value}")
    return ", ".join(words) or json_text(part, 120)
