"""What ``%%publish_service`` does: run the cell if it defines functions, capture it, send it."""

from __future__ import annotations

import argparse
import ast
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from ..contract.batch import batchable as check_batchable
from ..contract.errors import InvalidDefinition
from ..contract.names import check_alias, check_file_name, check_name, check_version
from ..contract.types import params_of
from . import card as cards
from .arguments import assignments, value
from .describe import size_text
from .displays import shown_as
from .document import Card
from .failures import CellFailed
from .manage import pool_of
from .progress import Progress, with_progress
from .session import Session

if TYPE_CHECKING:
    from ..client.service import Service
    from .capture import Capture, CaptureOptions


def continued(line: str, cell: str) -> tuple[str, str]:
    """Join a first line that ends in backslashes with the lines that continue it."""
    while line.rstrip().endswith("\\") and cell:
        following, _, cell = cell.partition("\n")
        line = line.rstrip()[:-1] + " " + following
    return line, cell


def publish_cell(session: Session, options: argparse.Namespace, cell: str) -> Service | Card:
    """Publish a cell; a dry run returns its card, a publish the new service."""
    started = time.perf_counter()
    name = check_name(options.name)
    version = None if options.version is None else check_version(options.version)
    if options.update and version is None:
        raise UsageError("--update needs to know which version: add --version V.")
    if options.script and options.function:
        raise UsageError("--script and --function exclude one another: choose one.")
    if options.alias is not None:
        check_alias(options.alias)
    if not cell.strip():
        raise UsageError("The cell is empty: there is nothing to publish.")
    if options.dry_run:
        return cards.dry_run_card(name, version, _capture(session, options, cell))
    with refusals_reported(name, version):
        capture = _capture(session, options, cell)
        _refuse(name, version, capture)
    return _send(session, name, version, options, capture, started)


@contextmanager
def refusals_reported(name: str, version: str | None) -> Iterator[None]:
    """What fails before anything is sent is a failed publish, too, in the report of a run."""
    from ..client.publishing import Report

    started = time.monotonic()
    try:
        yield
    except Exception as error:
        Report(name, version).failed(error, time.monotonic() - started)
        raise


def _refuse(name: str, version: str | None, capture: Capture) -> None:
    """Raise, with a card of what cannot travel, if there is such."""
    refused = capture.refused
    if refused:
        from IPython.display import display

        display(cards.refused_card(name, version, capture))
        raise InvalidDefinition(
            f"{name} was not published: {', '.join(item.name for item in refused)} cannot travel."
            " The table above says why and what to do."
        )


def _capture(session: Session, options: argparse.Namespace, cell: str) -> Capture:
    from .capture import capture_cell

    cell_id = session.cell_id  # before the cell runs inside the cell
    # Magics inside the cell become calls of IPython; the version keeps the cell as written.
    source = session.shell.transform_cell(cell)
    if is_function_cell(source, options):
        _run(session, cell, options.name)
    capture = capture_cell(
        source,
        session.own_variables(),
        _capture_options(session, options, cell, cell_id),
    )
    _complete(capture.body, options)
    return capture


def _run(session: Session, cell: str, name: str) -> None:
    """Run a cell of functions in the notebook, so that it can use what it has published."""
    hook = session.shell.displayhook
    outer = hook.exec_result
    result = session.shell.run_cell(cell, store_history=False)
    hook.exec_result = outer  # the inner run takes it, and the outer cell would lose its result
    failed = result.error_before_exec or result.error_in_exec
    if failed is not None:
        raise CellFailed(
            f"{name} was not published, because its cell failed in the notebook"
            f" ({type(failed).__name__}, above)."
        )


def _capture_options(
    session: Session, options: argparse.Namespace, cell: str, cell_id: str | None
) -> CaptureOptions:
    from .capture import CaptureOptions

    variables = session.shell.user_ns
    init = None
    if options.init is not None:
        init = value(options.init, variables, "--init")
        if not callable(init):
            raise UsageError(f"--init takes the name of a function, and {options.init} is none.")
    return CaptureOptions(
        inputs=None if options.inputs is None else params_of(options.inputs),
        outputs=None if options.outputs is None else params_of(options.outputs, output=True),
        function=options.function,
        form="script" if options.script else "function" if options.function else "auto",
        objects=set(options.object),
        files=list(options.file),
        artifacts=[check_file_name(file) for file in options.artifact],
        exclude=set(options.exclude),
        init=init,
        sample=None if options.sample is None else assignments(options.sample, variables),
        notebook=session.notebook(),
        cell_id=cell_id,
        written=cell,
        folder=session.folder(),
    )


def _complete(body: dict[str, Any], options: argparse.Namespace) -> None:
    """Add what only the line says; leave out what nobody said, so that an update keeps it."""
    ours = body["mlserve"]
    if options.description is not None:
        body["description"] = options.description
    if options.alias is not None:
        body["operationId"] = options.alias
    pool = pool_of(options)
    if pool:
        ours["pool"] = pool
    if options.batchable is not None:
        ours["batchable"] = check_batchable(
            options.batchable,
            body["inputParameterDefinitions"],
            body["outputParameterDefinitions"],
            body.get("outputFileNames") or (),
        )
    for part, key in ((body, "description"), (body, "operationId"), (ours, "sample")):
        if part.get(key) is None:
            part.pop(key, None)
    if options.update and not options.artifact:
        body.pop("outputFileNames", None)


def _send(
    session: Session,
    name: str,
    version: str | None,
    options: argparse.Namespace,
    capture: Capture,
    started: float,
) -> Service:
    from ..client.publishing import publish
    from ..client.service import service_object

    client = session.client
    said = f"Publishing {name}{f' {version}' if version else ''}"
    stage = Stage()

    def work() -> Any:
        return publish(
            client.connection, name, version, capture, update=options.update, progress=stage.tell
        )

    published = with_progress(
        Progress(session.shell),
        work,
        lambda: stage.text(said),
        f"Whether {name} was published is not known: %list_services {name} tells.",
    )
    session.changed()
    seconds = time.perf_counter() - started
    card = cards.published_card(published, capture, guid=version is None, seconds=seconds)
    return shown_as(service_object(client.connection, published.service), card)


class Stage:
    """What the publish is doing, told by the client's thread and read by the cell's."""

    def __init__(self) -> None:
        self._now = ("prepare", 0, 0)

    def tell(self, what: str, done: int, total: int) -> None:
        self._now = (what, done, total)

    def text(self, said: str) -> tuple[str, float | None]:
        what, done, total = self._now
        if what == "upload" and total:
            return f"{said}: {size_text(done)} of {size_text(total)} sent", done / total
        if what == "publish":
            return f"{said}: the server tries it in a fresh worker", None
        return f"{said}: asking the server what it has already", None


def is_function_cell(source: str, options: argparse.Namespace) -> bool:
    """Whether the cell is to be run: it ends in a function, as ``capture_cell`` decides it.

    A cell that Python cannot read is run, too: IPython then shows where the mistake is.
    """
    if options.script:
        return False
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return True
    ends_in_def = bool(body) and isinstance(body[-1], ast.FunctionDef | ast.AsyncFunctionDef)
    return ends_in_def or options.function is not None
