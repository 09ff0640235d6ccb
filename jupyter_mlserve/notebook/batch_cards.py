"""Cards about batches: one that runs, one that has ended, and the list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..contract.batch import COMPLETE, FAILED
from .describe import count_text, moment_text
from .document import Card, Cell, Code, Facts, Mono, Note, Part, Table

if TYPE_CHECKING:
    from ..client.batch import Batch
    from ..client.events import Progress

_ERRORS = 5  # distinct errors in a card
_PREVIEW = 5  # rows
_WIDE = 8  # columns


def line_for(batch: Batch, *options: str) -> str:
    """The magic's line that goes on with this batch."""
    service = batch.service
    words = ["%batch_service", service.name, "--version", service.version]
    return " ".join([*words, "--id", str(batch.execution_id), *options])


def running_card(batch: Batch, progress: Progress | None, into: str | None = None) -> Card:
    """A batch that goes on without being watched, and how to come back to it."""
    goes = ("--into", into) if into else ()
    state = str(progress) if progress is not None else "started"
    return Card(
        title=f"Batch of {batch.service.name}",
        badge=batch.service.version,
        state=state,
        tone="info",
        parts=[
            Facts([("batch", Mono(str(batch.execution_id)))]),
            Code(line_for(batch, *goes), "Watch it again, also after a restart", whole=True),
            Code(line_for(batch, "--cancel"), "Stop it and delete it", whole=True),
        ],
    )


def heading_card(batch: Batch, into: str | None = None) -> Card:
    """What stands above the bar while a batch is watched: it is all that a lost kernel leaves."""
    goes = ("--into", into) if into else ()
    rows: list[tuple[str, Cell | Sequence[Cell]]] = [
        ("batch", Mono(str(batch.execution_id))),
        ("come back", Mono(line_for(batch, *goes))),
    ]
    return Card(
        title=f"Batch of {batch.service.name}",
        badge=batch.service.version,
        state="stored on the server: it goes on by itself",
        tone="info",
        parts=[Facts(rows)],
    )


def unstarted_card(batch: Batch) -> Card:
    return Card(
        title=f"Batch of {batch.service.name}",
        badge=batch.service.version,
        state="not started: nothing was sent",
        tone="info",
        parts=[Note("Its start() sends the records.")],
    )


def lost_card(batch: Batch, error: Exception) -> Card:
    return Card(
        title=f"Batch of {batch.service.name}",
        badge=batch.service.version,
        state="not there",
        tone="warning",
        parts=[Facts([("batch", Mono(str(batch.execution_id)))]), Note(str(error), "warning")],
    )


def cancelled_card(batch: Batch) -> Card:
    return Card(
        title=f"Batch of {batch.service.name}",
        badge=batch.service.version,
        state="cancelled: it was stopped and deleted with its results",
        tone="info",
    )


def finished_card(
    batch: Batch, status: Mapping[str, Any], frame: Any = None, into: str | None = None
) -> Card:
    """How a batch ended: how many were answered, how fast, what failed and why.

    ``frame``: the results, from which errors are counted; ``into``: the variable they are in.
    """
    total, failed = int(status["totalItemCount"]), int(status.get("failedItemCount") or 0)
    seconds = _seconds(status)
    state = count_text(total, "record")
    if seconds is not None:
        state += f" in {_took(seconds)}" + (f", {_rate(total, seconds)}" if seconds > 0 else "")
    card = Card(
        title=f"Batch of {batch.service.name}",
        badge=batch.service.version,
        state=state,
        tone="warning" if failed else "ok",
    )
    if status["state"] == FAILED:
        done = int(status["completedItemCount"])
        card.tone, card.state = "error", f"failed after {done:,} of {total:,} records"
        card.parts.append(Note(str(status.get("errorMessage") or "No reason was given."), "error"))
    if failed:
        card.parts += _failures(failed, total, frame, into)
    facts: list[tuple[str, Cell | Sequence[Cell]]] = [("batch", Mono(str(batch.execution_id)))]
    if status.get("expiresAt"):
        facts.append(("kept until", moment_text(status["expiresAt"], seconds=False)))
    if frame is not None and into:
        rows, columns = frame.shape
        size = f"{count_text(rows, 'row')}, {count_text(columns, 'column')}"
        facts.append(("results", [Mono(into), size]))
    card.parts.append(Facts(facts))
    if frame is not None and into and len(frame):
        card.parts.append(_preview(frame))
    if frame is None and status["state"] == COMPLETE:
        goes = line_for(batch, "--into", "out")
        card.parts.append(Code(goes, "Its results as a DataFrame", whole=True))
    return card


def _failures(failed: int, total: int, frame: Any, into: str | None) -> list[Part]:
    said = f"{failed:,} of {count_text(total, 'record')} failed."
    if frame is None:
        return [Note(said + " Each has its error in the column error of the results.", "warning")]
    wrong = frame[frame["error"].notna()]
    where = f" See {into}[{into}.error.notna()]." if into else " The column error has all of them."
    kinds = wrong["error"].value_counts()
    first = {text: label for label, text in zip(wrong.index, wrong["error"], strict=True)}
    for label, text in zip(reversed(wrong.index), reversed(list(wrong["error"])), strict=True):
        first[text] = label
    rows = [
        [f"{count:,}", _label(first[text]), _short(str(text))]
        for text, count in kinds.head(_ERRORS).items()
    ]
    more = f"and {len(kinds) - _ERRORS:,} other errors" if len(kinds) > _ERRORS else ""
    table = Table(
        ["records", "first one", "error"], rows, numeric=frozenset({"records"}), more=more,
        whole=True,
    )  # fmt: skip
    return [Note(said + where, "warning"), table]


def _preview(frame: Any) -> Part:
    shown = frame.columns if frame["error"].iloc[:_PREVIEW].notna().any() else frame.columns[:-1]
    head = frame.loc[:, shown].iloc[:_PREVIEW, :_WIDE]
    rows: list[list[Cell]] = [
        [_label(label), *(_value(cell) for cell in row)]
        for label, row in zip(head.index, head.itertuples(index=False, name=None), strict=True)
    ]
    names = [str(head.index.name or ""), *map(str, head.columns)]
    numeric = frozenset(
        str(name) for name in head.columns if getattr(head[name].dtype, "kind", "O") in "iuf"
    )
    more = len(frame) - len(head)
    wide = len(shown) - len(head.columns)
    text = f"{count_text(more, 'more row')}" if more else ""
    text += f"{', ' if text else ''}{count_text(wide, 'more column')}" if wide else ""
    return Table(names, rows, numeric=numeric, more=f"… {text}" if text else "")


def list_card(found: Sequence[Mapping[str, Any]], name: str, version: str) -> Card:
    """The batches of a version, the newest first."""
    card = Card(
        title=f"Batches of {name}",
        badge=version,
        state=count_text(len(found), "batch", "batches") if found else "none",
        tone="info",
    )
    if not found:
        card.parts.append(
            Note(f"You have started none that is still there: %batch_service {name} RECORDS")
        )
        return card
    rows: list[list[Cell]] = [
        [
            Mono(str(one["batchExecutionId"])),
            str(one["state"]),
            f"{int(one['completedItemCount']):,} of {int(one['totalItemCount']):,}",
            f"{int(one.get('failedItemCount') or 0):,}",
            moment_text(one.get("createdAt"), seconds=False),
            moment_text(one.get("expiresAt"), seconds=False),
        ]
        for one in reversed(found)
    ]
    columns = ["batch", "state", "records", "failed", "started", "kept until"]
    card.parts.append(Table(columns, rows, numeric=frozenset({"records", "failed"})))
    newest = found[-1]["batchExecutionId"]
    line = f"%batch_service {name} --version {version} --id {newest} --into out"
    card.parts.append(Code(line, "Watch one, or fetch its results", whole=True))
    return card


def _seconds(status: Mapping[str, Any]) -> float | None:
    try:
        began, ended = (
            datetime.fromisoformat(str(status[key]).replace("Z", "+00:00"))
            for key in ("startedAt", "finishedAt")
        )
    except (KeyError, ValueError):
        return None
    return (ended - began).total_seconds()


def _took(seconds: float) -> str:
    from ..client.events import duration_text

    return f"{seconds:.1f} s" if seconds < 10 else duration_text(seconds)


def _rate(total: int, seconds: float) -> str:
    from ..client.events import rate_text

    return f"{rate_text(total / seconds)} a second"


def _label(label: object) -> str:
    return _short(str(label), 40)


def _value(cell: object) -> str:
    if cell is None or cell != cell:
        return ""
    return f"{cell:.6g}" if isinstance(cell, float) else _short(str(cell), 60)


def _short(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
