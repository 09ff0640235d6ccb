"""What ``%publish_realtime`` does: find the sample, compile the model, prove it, send it."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from ..contract.errors import InvalidDefinition, MLServeError, ServiceNotFound, VersionDeleted
from ..contract.names import check_alias, check_column, check_name, check_version
from . import card as cards
from .arguments import did_you_mean
from .describe import elapsed_text, seconds_text, size_text
from .displays import shown_as
from .document import Card
from .progress import PATIENCE, Progress, with_progress
from .publish import refusals_reported
from .sample import Sample, extra_text, find_sample, trained_columns
from .session import Session

if TYPE_CHECKING:
    from ..client.service import Service


@dataclass(frozen=True)
class Compiled:
    """A model ready to be sent: its container, what that says of itself, and its sample."""

    container: bytes
    header: Mapping[str, Any]
    sample: Sample
    seconds: float
    named: str = ""  # by whom the response was named: "line", "live" (the version), or nobody

    @property
    def service(self) -> dict[str, Any]:
        """The version as a server would describe it, as far as that can be known before."""
        from ..contract.realtime import input_definitions, output_definitions
        from ..contract.realtime_words import classes_of, known_of

        keys = ("kind", "response", "example", "proof")
        words = {"classes": classes_of(self.header), "known": known_of(self.header)}
        return {
            "runtimeType": "Realtime",
            "inputParameterDefinitions": input_definitions(self.header),
            "outputParameterDefinitions": output_definitions(self.header),
            "mlserve": {key: self.header.get(key) for key in keys}
            | {"modelName": self.header["model"], "model": {"size": len(self.container)}}
            | words,
        }


def publish_model(session: Session, options: argparse.Namespace) -> Service | Card:
    """Publish a fitted model; a dry run returns its card, a publish the new service."""
    started = time.perf_counter()
    name = check_name(options.name)
    version = None if options.version is None else check_version(options.version)
    if options.update and version is None:
        raise UsageError("--update needs to know which version: add --version V.")
    if options.alias is not None:
        check_alias(options.alias)
    if options.response is not None:
        check_column(options.response, "--response")
    progress = Progress(session.shell)
    if options.dry_run:
        live = None
        with suppress(MLServeError):  # a dry run needs no server; it only says less without one
            live = _live(session, name, version) if options.update else None
        compiled = _compile(session, options, progress, live)
        progress.finish()
        return cards.realtime_dry_run_card(name, version, options.description, compiled, live)
    with refusals_reported(name, version):
        _ = session.client  # a server that is not there is told before the work is done
        live = _live(session, name, version) if options.update else None
        compiled = _compile(session, options, progress, live)
    return _send(session, name, version, options, compiled, progress, started, live)


def _live(session: Session, name: str, version: str | None) -> Mapping[str, Any] | None:
    """The definition of the version that an update replaces, if it is there."""
    try:
        return session.client.get_service(name, version).definition
    except (ServiceNotFound, VersionDeleted):
        return None


def _response(
    model: Any, sample: Sample, named: str | None, live: Mapping[str, Any] | None
) -> tuple[str | None, str]:
    """The response to compile with, and who named it ("line", "live" or "").

    An update that names none keeps the name of the live version, if the sample carries that
    column or no column that could be one: callers know the output by it.
    """
    kept = (((live or {}).get("mlserve") or {}).get("response") or {}).get("name")
    if named is not None or not kept:
        return named, "line" if named else ""
    trained = trained_columns(model)
    names = [str(name) for name in getattr(sample.frame, "columns", ())]
    if trained is None:
        return (kept, "live") if kept not in names else (None, "")
    spare = [name for name in names if name not in trained]
    return (kept, "live") if kept not in trained and (kept in spare or not spare) else (None, "")


def _compile(
    session: Session,
    options: argparse.Namespace,
    progress: Progress,
    live: Mapping[str, Any] | None,
) -> Compiled:
    model = evaluate(session, options.model, "MODEL")
    from .compile.supported import check_fitted, unsupported

    what = unsupported(model)
    if what is not None:
        raise UsageError(f"{options.model}: {what}")
    check_fitted(model)
    if options.sample is None:
        variables = session.own_variables()
        sample = find_sample(model, variables, options.response, options.model)
    else:
        frame = evaluate(session, options.sample, "--sample")
        if not hasattr(frame, "__len__") or isinstance(frame, str | bytes | Mapping):
            raise UsageError(
                f"--sample {options.sample} is a {_kind(frame)}, and must be a DataFrame of rows"
                " that the model was trained on."
            )
        sample = Sample(options.sample, frame)
    response, by = _response(model, sample, options.response, live)
    stage = Compiling(options.name, sample)
    started = time.perf_counter()
    # In this thread, because the settings of scikit-learn and numpy belong to a thread, and so
    # that Ctrl-C ends it.
    with told(progress, stage):
        from ..contract.realtime import unpack
        from .compile import serialize_model

        try:
            container = serialize_model(model, sample.frame, response, progress=stage.tell)
        except InvalidDefinition as error:
            extra = error.details.get("extra")
            if not extra:
                raise
            kept = response if response in [str(one) for one in sample.frame.columns] else None
            said = extra_text(model, extra, kept, sample.name, options.model)
            raise UsageError(f"The sample {sample.name} cannot be used: {said}") from None
    header = unpack(container).header
    return Compiled(container, header, sample, time.perf_counter() - started, by)


def evaluate(session: Session, text: str, what: str) -> Any:
    """An expression of the line, as a cell would see it. Its failures are one line."""
    variables = session.shell.user_ns
    try:
        code = compile(text.strip(), f"<{what}>", "eval")
    except (SyntaxError, ValueError):
        raise UsageError(
            f"{what}: {text!r} is neither a variable of the notebook nor an expression."
        ) from None
    try:
        return eval(code, session.shell.user_global_ns, variables)
    except NameError as error:
        missing = str(getattr(error, "name", None) or text)
        names = [name for name in variables if not name.startswith("_")]
        near = did_you_mean(missing, names)
        raise UsageError(f"{what}: {missing} is no variable of this notebook.{near}") from None
    except Exception as error:
        raise UsageError(f"{what}: {text} fails: {type(error).__name__}: {error}") from None


class Compiling:
    """What the compiler is doing, told by it and read by the line of progress."""

    def __init__(self, name: str, sample: Sample) -> None:
        self._said = f"Publishing {name}"
        self._sample = sample
        self._now = ("compile", 0, 0)
        self._ways = 0  # candidates that were begun

    def tell(self, what: str, done: int, total: int) -> None:
        self._ways += what == "compile"
        self._now = (what, done, total)

    def text(self) -> tuple[str, float | None]:
        what, done, total = self._now
        again = " in another way" if self._ways > 1 else ""
        if what == "prove" and total:
            # The first rows are most of them: a bar at 0 would look as if nothing went on.
            return f"{self._said}: proving it{again} on {total:,} rows", done / total or None
        return f"{self._said}: compiling the model{again}", None


@contextmanager
def told(progress: Progress, stage: Compiling) -> Iterator[None]:
    """Show the stage while the body runs in this thread, once it has taken a while."""
    started, over = time.monotonic(), threading.Event()

    def show() -> None:
        wait = PATIENCE
        while not over.wait(wait):
            words, fraction = stage.text()
            progress.show(f"{words} ({elapsed_text(time.monotonic() - started)})", fraction)
            wait = 0.2

    thread = threading.Thread(target=show, name="jupyter_mlserve progress", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        over.set()
        thread.join()
        progress.finish(f"Failed after {seconds_text(time.monotonic() - started)}.")
        raise
    over.set()
    thread.join()


def _send(
    session: Session,
    name: str,
    version: str | None,
    options: argparse.Namespace,
    compiled: Compiled,
    progress: Progress,
    started: float,
    live: Mapping[str, Any] | None,
) -> Service:
    from ..client.realtime import publish_realtime
    from ..client.service import service_object

    client = session.client
    said = f"Publishing {name}{f' {version}' if version else ''}"
    now: list[Any] = ["upload", 0, len(compiled.container)]

    def tell(what: str, done: int, total: int) -> None:
        now[:] = [what, done, total]

    def text() -> tuple[str, float | None]:
        what, done, total = now
        if what == "upload" and total:
            return f"{said}: {size_text(done)} of {size_text(total)} sent", done / total
        return f"{said}: the server tries it in a process of its own", None

    published = with_progress(
        progress,
        lambda: publish_realtime(
            client.connection,
            name,
            version,
            compiled.container,
            description=options.description,
            alias=options.alias,
            update=options.update,
            progress=tell,
        ),
        text,
        f"Whether {name} was published is not known: %list_services {name} tells.",
    )
    session.changed()
    seconds = time.perf_counter() - started
    card = cards.published_card(
        published, None, compiled=compiled, guid=version is None, seconds=seconds, before=live
    )
    return shown_as(service_object(client.connection, published.service), card)


def _kind(thing: Any) -> str:
    return type(thing).__name__
