"""What ``%batch_service`` does: start a batch, watch it, fetch its results; list and cancel."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from ..contract.batch import FAILED
from ..contract.errors import MLServeError, NotFound, VersionDeleted
from . import batch_cards as cards
from .batch_view import NotebookView, View, view_for
from .document import Card
from .failures import Interrupted
from .manage import ServiceList, find_service
from .progress import PATIENCE, Progress
from .realtime import evaluate
from .session import Session

if TYPE_CHECKING:
    from ..client.batch import Batch
    from ..client.service import Service


def batch_service(session: Session, options: argparse.Namespace) -> Any:
    _check(options)
    service = _service(session, options)
    if options.list:
        found = service._batches(details=True)
        return ServiceList(found, cards.list_card(found, service.name, service.version))
    index = None
    if options.id is not None:
        batch = service.get_batch(options.id)
        if options.cancel:
            batch.cancel()
            return cards.cancelled_card(batch)
        if options.records is not None:
            index = getattr(_records(session, options.records), "index", None)
    else:
        records = _records(session, options.records)
        batch = service.batch(records, options.parallel, written=options.records)
        del records
        _start(session, batch, options.quiet)
    if options.detach:
        return batch  # shown as it goes, see displays.py
    view = view_for(session.shell, quiet=options.quiet)
    _watch(batch, view, options.into)
    return _finish(session, batch, view, options, index)


def _check(options: argparse.Namespace) -> None:
    """Refuse what makes no sense together."""
    if options.into is not None and not options.into.isidentifier():
        raise UsageError(f"--into takes the name of a variable, and {options.into!r} is none.")
    if options.cancel and options.id is None:
        raise UsageError(
            f"Which batch? %batch_service {options.name} --list shows them; then"
            f" %batch_service {options.name} --id ID --cancel"
        )
    if options.id is None and not options.list and options.records is None:
        raise UsageError(
            f"There are no records: %batch_service {options.name} RECORDS, where RECORDS is a"
            " DataFrame, a dict of lists or a list of dicts of this notebook, or a file in quotes."
        )
    if options.id is not None and options.list:
        raise UsageError("--list shows all batches; --id is about one of them: give one of both.")
    if options.parallel is not None and (options.id is not None or options.list):
        raise UsageError("--parallel is for a batch that is started, with RECORDS.")


def _service(session: Session, options: argparse.Namespace) -> Service:
    """The version; of one that was deleted what is needed to look at its batches."""
    try:
        return find_service(session.client, options.name, options.version)
    except VersionDeleted:
        if options.version is None or (options.id is None and not options.list):
            raise
        from ..client.service import Service

        gone = {"name": options.name, "version": options.version}
        return Service(session.client.connection, gone)


def _records(session: Session, text: str) -> Any:
    """What the line calls the records: an expression of the notebook, or a file."""
    from ..client.batch_upload import SUFFIXES

    path = Path(text).expanduser()
    if path.suffix.lower() in SUFFIXES:
        known = path.parent == Path() and path.stem in session.shell.user_ns
        if path.is_file() or not known:
            return path
    return evaluate(session, text, "RECORDS")


def _start(session: Session, batch: Batch, quiet: bool) -> None:
    """Send the records, and show how it goes once that has taken a while. Ctrl-C ends it."""
    failed: list[BaseException] = []
    upload = batch.upload

    def run() -> None:
        try:
            batch.start()
        except BaseException as error:
            failed.append(error)

    progress = Progress(session.shell)
    thread = threading.Thread(target=run, name="jupyter_mlserve batch", daemon=True)
    thread.start()
    try:
        thread.join(PATIENCE)
        while thread.is_alive():
            if not quiet and upload is not None and upload.sent < 1:
                progress.show("Sending the records", upload.sent)
            elif not quiet:
                progress.show("The server stores the records")
            thread.join(0.1)
    except KeyboardInterrupt:
        if upload is not None:
            upload.stopped = True
        progress.finish()
        name = batch.service.name
        raise Interrupted(
            "the records are not sent any further. If they had all left, the batch was started:"
            f" %batch_service {name} --list shows it."
        ) from None
    progress.finish()
    if failed:
        raise failed[0]


def _watch(batch: Batch, view: View, into: str | None) -> None:
    """Until the batch is finished. Ctrl-C ends the watching and says how to come back."""
    progress = batch.last
    try:
        view.open(batch, cards.heading_card(batch, into))
        for progress in batch.progress():
            view.show(progress)
    except KeyboardInterrupt:
        view.close(cards.running_card(batch, progress, into))
        raise Interrupted(
            "the batch goes on, on the server. To come back to it:"
            f" {cards.line_for(batch, *(('--into', into) if into else ()))}"
        ) from None
    except NotFound:
        if view.cancelled:
            view.close(cards.cancelled_card(batch))
            raise Interrupted("the batch was cancelled, and there are no results.") from None
        view.close(None)
        raise
    except MLServeError:
        view.close(cards.running_card(batch, progress, into))
        raise


def _finish(
    session: Session, batch: Batch, view: View, options: argparse.Namespace, index: Any
) -> Any:
    """The results as a DataFrame, in the variable that was named or as the cell's value."""
    status = batch.status()
    try:
        frame = batch.to_frame(partial=True, index=index)
    except BaseException:
        view.close(cards.finished_card(batch, status))
        raise
    if options.into is not None:
        session.shell.user_ns[options.into] = frame
    view.close(cards.finished_card(batch, status, frame, options.into))
    if status["state"] == FAILED:
        from ..client.misuse import BatchFailed

        rest = f" {options.into} has those that were answered." if options.into else ""
        raise BatchFailed(
            f"The batch {batch.execution_id} has failed: {status.get('errorMessage')}{rest}"
        )
    return None if options.into is not None else frame


# A Batch as the value of a cell --------------------------------------------------------------


def card_of_batch(batch: Batch) -> Card:
    """The card of a batch as it stands now."""
    if batch.execution_id is None:
        return cards.unstarted_card(batch)
    try:
        status = batch.status()
    except MLServeError as error:
        return cards.lost_card(batch, error)
    progress = batch.last
    if progress is None or not progress.finished:
        return cards.running_card(batch, progress)
    return cards.finished_card(batch, status)


def show_live(batch: Batch) -> bool:
    """Show a batch that runs, as it goes: the cell does not wait for it. False: it does not run."""
    if batch.execution_id is None:
        return False
    try:
        batch.status()
    except MLServeError:
        return False
    if batch.last is None or batch.last.finished:
        return False
    view = NotebookView()
    view.open(batch, cards.heading_card(batch))

    def watch() -> None:
        card = None
        try:
            for progress in batch.progress():
                view.show(progress)
            card = card_of_batch(batch)
        except NotFound:
            card = cards.cancelled_card(batch)
        except MLServeError:
            card = cards.running_card(batch, batch.last)
        view.close(card)

    threading.Thread(target=watch, name="jupyter_mlserve batch", daemon=True).start()
    return True
