"""The answers of the magics, as cards: what was published, what travels, what a service is.

Every function takes what the client or the capture returned and gives a ``Card``; nothing here
talks to a server. How a card is drawn is the business of ``html.py`` and ``text.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .changes import changed_parts
from .describe import (
    count_text,
    json_text,
    moment_text,
    params_text,
    seconds_text,
    size_text,
)
from .document import Card, Cell, Code, Facts, Mono, Note, Part, Section, Table
from .parts import (
    address_rows,
    addresses,
    calling,
    captured,
    code_parts,
    component_text,
    environment,
    frame_table,
    history_table,
    permission,
    report_table,
    signature,
    state_of,
    times,
    trial_parts,
    warnings_of,
)
from .proof import is_realtime, kind_text, model_rows, realtime_parts

if TYPE_CHECKING:
    from ..client.publishing import Published
    from ..client.response import ServiceResponse
    from .capture import Capture
    from .realtime import Compiled

Service = Mapping[str, Any]
_SIGNATURE = 120  # characters of inputs or outputs in a list


def published_card(
    published: Published,
    capture: Capture | None,
    *,
    compiled: Compiled | None = None,
    guid: bool = False,
    seconds: float = 0.0,
    before: Service | None = None,
) -> Card:
    """The answer to a publish or an update.

    ``capture`` is what travelled of a cell, ``compiled`` the model of a realtime service; an
    update of a part has neither. ``before`` is the version that an update replaced. ``guid`` is
    True when the author named no version; ``seconds`` is the whole magic's time.
    """
    service, urls, trial = published.service, published.urls, published.trial or {}
    state = {"published": "published", "updated": "updated", "unchanged": "unchanged"}
    card = Card(
        title=str(service["name"]),
        badge=str(service["version"]),
        state=f"{state[published.action]} in {seconds_text(seconds)}"
        if published.action != "unchanged"
        else "unchanged: the same content is published already",
        tone="info" if published.action == "unchanged" else "ok",
        subtitle=str(service.get("description") or ""),
    )
    card.parts += warnings_of(capture)
    if guid:
        card.parts.append(
            Note(
                f"No version was named, so the server named this one {service['version']}."
                " Running the cell again publishes another one: name a version with --version 1.0,"
                " and replace it with --version 1.0 --update.",
                "info",
            )
        )
    card.parts += changed_parts(before, service)
    card.parts += where(service, urls)
    if compiled is not None:
        card.parts += realtime_parts(service, compiled=compiled, trial=trial)
    elif not is_realtime(service):
        card.parts += trial_parts(service, trial)
    card.parts.append(calling(service, urls, opened=published.action == "published"))
    if capture is not None:
        card.parts.append(captured(capture))
    card.parts.append(times(published, capture, compiled, seconds))
    return card


def where(service: Service, urls: Mapping[str, str]) -> list[Part]:
    """Where a version is called, and in short what it is: a signature, or a model."""
    if not is_realtime(service):
        return addresses(service, urls)
    return [Facts([*address_rows(service, urls), *model_rows(service)])]


def dry_run_card(name: str, version: str | None, capture: Capture) -> Card:
    """What would be published. Says that nothing was sent."""
    body = capture.body
    refused = [item for item in capture.report if item.status == "refused"]
    card = Card(
        title=name,
        badge=version or "(a new GUID)",
        state="dry run: nothing was sent",
        tone="warning" if refused else "info",
        subtitle=str(body.get("description") or ""),
    )
    if refused:
        names = ", ".join(item.name for item in refused)
        card.parts.append(
            Note(f"This could not be published: {names} cannot travel. See below.", "error")
        )
    card.parts += warnings_of(capture)
    card.parts.append(signature(body))
    card.parts.append(report_table(capture))
    card.parts.append(environment(body))
    return card


def realtime_dry_run_card(
    name: str,
    version: str | None,
    description: str | None,
    compiled: Compiled,
    before: Service | None = None,
) -> Card:
    """What would be published of a model: it is compiled and proven, and nothing is sent."""
    card = Card(
        title=name,
        badge=version or "(a new GUID)",
        state=f"dry run: compiled and proven in {seconds_text(compiled.seconds)}, nothing was sent",
        tone="info",
        subtitle=description or "",
    )
    card.parts += changed_parts(before, compiled.service)
    card.parts.append(Facts(model_rows(compiled.service)))
    card.parts += realtime_parts(compiled.service, compiled=compiled)
    return card


def service_card(
    service: Service,
    urls: Mapping[str, str],
    *,
    code: bool = False,
    history: Sequence[Mapping[str, Any]] | None = None,
) -> Card:
    """One version of a service: what it takes and gives, how it is called, who published it."""
    card = Card(
        title=str(service["name"]),
        badge=str(service["version"]),
        state=f"published by {service.get('versionPublishedBy') or 'unknown'}",
        tone="info",
        subtitle=str(service.get("description") or ""),
    )
    ours = service.get("mlserve") or {}
    realtime = is_realtime(service)
    card.parts += where(service, urls)
    rows: list[tuple[str, Cell | Sequence[Cell]]] = [
        ("published", moment_text(service.get("creationTime"))),
        ("you may", permission(service)),
    ]
    state = state_of(service)
    if state.get("number", 1) != 1:
        changed = moment_text(state.get("creationTime"))
        rows.insert(1, ("state", f"{state['number']}, by {state.get('author')}, {changed}"))
    card.parts.append(Facts(rows))
    if realtime:
        card.parts += realtime_parts(service)
    card.parts.append(calling(service, urls, opened=True))
    if code and realtime:
        card.parts.append(Note("There is no code: a realtime service is a compiled model."))
    elif code:
        card.parts += code_parts(service)
    if ours.get("interpreter"):
        card.parts.append(environment(service))
    if history is not None:
        card.parts.append(Section("History", [history_table(history)], open=True))
    return card


def deleted_card(name: str, version: str, left: Sequence[str]) -> Card:
    card = Card(title=name, badge=version, state="deleted", tone="ok")
    card.parts.append(
        Note(
            "Calls to this version are answered with 410 Gone. "
            + (f"Still there: {', '.join(left)}." if left else "No version is left.")
        )
    )
    return card


def rolled_back_card(
    service: Service, urls: Mapping[str, str], history: Sequence[Mapping[str, Any]]
) -> Card:
    number = state_of(service).get("number")
    card = Card(
        title=str(service["name"]),
        badge=str(service["version"]),
        state="rolled back" + (f" to state {number}" if number is not None else ""),
        subtitle=str(service.get("description") or ""),
    )
    card.parts += where(service, urls)
    card.parts.append(Section("History", [history_table(history)], open=True))
    return card


def history_card(title: str, events: Sequence[Mapping[str, Any]]) -> Card:
    """Who made what live, and when; the newest first."""
    card = Card(title=title, state=count_text(len(events), "event"), tone="info")
    card.parts.append(history_table(events))
    return card


def list_card(services: Sequence[Service], where: str, name: str | None) -> Card:
    """All services, or all versions of one; the newest version of each first."""
    names = list(dict.fromkeys(str(one["name"]) for one in services))
    card = Card(
        title=name or "Services",
        state=(f"{count_text(len(names), 'service')}, " if name is None else "")
        + f"{count_text(len(services), 'version')} on {where}",
        tone="info",
    )
    if not services:
        card.state = f"none on {where}"
        card.parts.append(
            Note(
                "Publish one: %%publish_service NAME --version 1.0, or a model alone:"
                " %publish_realtime NAME MODEL --version 1.0"
            )
        )
        return card
    rows: list[list[Cell]] = []
    for wanted in sorted(names, key=str.lower):
        versions = [one for one in services if one["name"] == wanted]
        for position, one in enumerate(reversed(versions)):
            rows.append(
                [
                    Mono(wanted) if position == 0 else "",
                    Mono(str(one["version"])),
                    kind_text(one),
                    params_text(one.get("inputParameterDefinitions") or (), _SIGNATURE),
                    params_text(one.get("outputParameterDefinitions") or (), _SIGNATURE),
                    str(one.get("description") or ""),
                    str(one.get("versionPublishedBy") or ""),
                    moment_text(one.get("creationTime"), seconds=False),
                ]
            )
    columns = ["name", "version", "kind", "inputs", "outputs", "description", "by", "published"]
    card.parts.append(Table(columns, rows))
    return card


def reply_card(
    reply: ServiceResponse, service: Service | None = None, seconds: float | None = None
) -> Card:
    """What a call gave back: outputs, files, what the code printed."""
    title, badge = reply.api, ""
    if service is not None:
        title, badge = str(service["name"]), str(service["version"])
    card = Card(
        title=title,
        badge=badge,
        state="answered" + (f" in {seconds_text(seconds)}" if seconds is not None else ""),
        tone="error" if reply.error else "ok",
    )
    if reply.error:
        card.state = "failed"
        card.parts.append(Note(reply.error, "error"))
    declared = (service or {}).get("outputParameterDefinitions") or ()
    types = {str(param["name"]): str(param["type"]) for param in declared}
    plain: list[tuple[str, Cell | Sequence[Cell]]] = []
    frames: list[Part] = []
    for name, value in reply.raw_outputs.items():
        if types.get(name) == "data.frame" and isinstance(value, Mapping) and value:
            frames.append(frame_table(name, value))
        else:
            plain.append((name, Mono(json_text(value, 2_000))))
    for name, content in reply.artifacts.items():
        if content is None:
            plain.append((name, "not written by this call"))
        else:
            size = len(content) * 3 // 4 - content[-2:].count("=")
            plain.append((name, f"{size_text(size)}: reply.artifact({name!r})"))
    card.parts += frames
    if plain:
        card.parts.append(Facts(plain))
    if not frames and not plain and not reply.error:
        card.parts.append(Note("The service gives nothing back."))
    if reply.console_output.strip():
        card.parts.append(Section("Printed", [Code(reply.console_output)], open=True))
    return card


def status_card(status: Mapping[str, Any], address: str, how: str, seconds: float) -> Card:
    """The server the magics talk to: where it is, how it was found, how it is."""
    word = str(status.get("statusCode") or "unknown")
    card = Card(
        title=address,
        badge=f"{status.get('name', 'jupyter_mlserve')} {status.get('version', '')}".strip(),
        state=f"{word}, answered in {seconds_text(seconds)}",
        tone={"pass": "ok", "warn": "warning", "fail": "error"}.get(word, "info"),  # type: ignore[arg-type]
    )
    rows: list[tuple[str, Cell | Sequence[Cell]]] = [("found by", how)]
    if status.get("url"):
        rows.append(("services at", Mono(f"{status['url']}services")))
    for name, part in (status.get("components") or {}).items():
        rows.append((name, Mono(component_text(part))))
    card.parts.append(Facts(rows))
    return card


def refused_card(name: str, version: str | None, capture: Capture) -> Card:
    """Why nothing was sent: names that cannot travel, each with what to do."""
    card = Card(
        title=name, badge=version or "", state="not published: nothing was sent", tone="error"
    )
    card.parts += warnings_of(capture)
    card.parts.append(report_table(capture))
    return card
