"""Publishing a captured service: send the blobs that the server lacks, then one request.

Used alike by the magics, :class:`DeployClient` and the command line.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..contract.errors import BlobMissing, Gone, MLServeError, NotFound, VersionExists
from .http import Connection, path_of

# The server loads the service and calls it once before it answers; its own limits end that wait.
PUBLISH_SECONDS = 600.0
CHUNK = 1024 * 1024
# The contract's answer to a publish is a bare string; this asks for all of it.
REPRESENTATION = {"Prefer": "return=representation"}

# Called with what is going on ("upload", "publish"), and bytes done and in total.
Progress = Callable[[str, int, int], None]
Blob = bytes | Path


class Publishable(Protocol):
    """What ``notebook.capture`` makes: a publish body, and the blobs it names by sha256."""

    @property
    def body(self) -> Mapping[str, Any]: ...

    @property
    def blobs(self) -> Mapping[str, Blob]: ...


@dataclass(frozen=True)
class Package:
    """A body and its blobs, made without a capture (plain code, parts of an update)."""

    body: Mapping[str, Any]
    blobs: Mapping[str, Blob] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """What a publish or an update came to.

    ``action`` is "published", "updated" or "unchanged". ``service`` is the WebService object of
    the contract, ``urls`` its addresses, ``trial`` what the trial load and call gave (None when
    there was none). ``timings`` are seconds by stage ("upload", "publish", "total");
    ``sent_bytes`` is what went over the wire as blobs, ``known_bytes`` what the server had.
    """

    action: str
    service: dict[str, Any]
    urls: dict[str, str]
    trial: dict[str, Any] | None
    timings: dict[str, float]
    sent_bytes: int = 0
    known_bytes: int = 0

    @property
    def name(self) -> str:
        return str(self.service["name"])

    @property
    def version(self) -> str:
        return str(self.service["version"])

    @property
    def unchanged(self) -> bool:
        return self.action == "unchanged"

    @property
    def url(self) -> str:
        """Where the service is consumed."""
        return self.urls.get("api", "")


def publish(
    connection: Connection,
    name: str,
    version: str | None,
    capture: Publishable,
    update: bool = False,
    progress: Progress | None = None,
    *,
    must_exist: bool = False,
) -> Published:
    """Publish ``capture`` as a version of the service ``name``.

    ``version=None`` lets the server name it by a GUID. ``update=True`` replaces the version if
    it is there and publishes it if not (so that a cell can be run again and again); with
    ``must_exist`` a version that is not there is an error. Without ``update``, a version that is
    there raises ``VersionExists``, unless its content is the same: then nothing is changed.

    Raises ``TrialFailed`` with the author's traceback when the code does not load or its sample
    call fails; nothing is published then.
    """
    return reported(
        name,
        version,
        lambda: _publish(connection, name, version, capture, update, progress, must_exist),
    )


def _publish(
    connection: Connection,
    name: str,
    version: str | None,
    capture: Publishable,
    update: bool,
    progress: Progress | None,
    must_exist: bool,
) -> Published:
    check_update(update, version)
    started = time.monotonic()
    sent = send_blobs(connection, capture.blobs, progress)
    uploaded = time.monotonic()
    if progress is not None:
        progress("publish", 0, 0)
    for attempt in (1, 2):
        try:
            action, answer = _send(connection, name, version, capture.body, update, must_exist)
            break
        except BlobMissing:
            # Between our question and this request the server tidied up what nobody used yet.
            if attempt == 2:
                raise
            sent += send_blobs(connection, capture.blobs, progress)
    finished = time.monotonic()
    return published_from(
        connection,
        action,
        answer,
        {
            "upload": uploaded - started,
            "publish": finished - uploaded,
            "total": finished - started,
        },
        sent=sent,
        known=sum(size_of(blob) for blob in capture.blobs.values()) - sent,
    )


def check_update(update: bool, version: str | None) -> None:
    if update and version is None:
        raise VersionExists("An update needs the version that is to be updated.", field="version")


def published_from(
    connection: Connection,
    action: str,
    answer: Mapping[str, Any],
    timings: dict[str, float],
    *,
    sent: int,
    known: int = 0,
) -> Published:
    """From the server's answer to a publish ("published") or an update ("updated")."""
    urls = {key: connection.address.absolute(url) for key, url in answer.get("urls", {}).items()}
    return Published(
        action="unchanged" if answer.get("unchanged") else action,
        service=answer["service"],
        urls=urls,
        trial=answer.get("trial"),
        timings=timings,
        sent_bytes=sent,
        known_bytes=known,
    )


def _send(
    connection: Connection,
    name: str,
    version: str | None,
    body: Mapping[str, Any],
    update: bool,
    must_exist: bool,
) -> tuple[str, dict[str, Any]]:
    def ask(method: str) -> dict[str, Any]:
        answer = connection.request(
            method,
            path_of("services", name) if version is None else path_of("services", name, version),
            json=body,
            headers=REPRESENTATION,
            timeout=PUBLISH_SECONDS,
        )
        assert isinstance(answer, dict)
        return answer

    if not update:
        return "published", ask("POST")
    try:
        return "updated", ask("PATCH")
    except BlobMissing:
        raise
    except (NotFound, Gone):
        if must_exist:
            raise
    try:
        return "published", ask("POST")
    except VersionExists:
        # Somebody published it between our two requests.
        return "updated", ask("PATCH")


def send_blobs(
    connection: Connection, blobs: Mapping[str, Blob], progress: Progress | None = None
) -> int:
    """Send what the server does not have yet; files are streamed from disk. Bytes sent."""
    if not blobs:
        return 0
    answer = connection.request("POST", "blobs/missing", json={"sha256": list(blobs)})
    missing = [sha for sha in answer["missing"] if sha in blobs]
    total, done = sum(size_of(blobs[sha]) for sha in missing), 0
    for sha in missing:
        blob = blobs[sha]
        before = done

        def chunks(blob: Blob = blob, before: int = before) -> Iterator[bytes]:
            sent = before
            for chunk in read_chunks(blob):
                yield chunk
                sent += len(chunk)
                if progress is not None:
                    progress("upload", sent, total)

        connection.request(
            "PUT",
            f"blobs/{sha}",
            content=chunks,
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(size_of(blob)),
            },
            timeout=PUBLISH_SECONDS,
        )
        done += size_of(blob)
    return done


def size_of(blob: Blob) -> int:
    """Bytes."""
    return blob.stat().st_size if isinstance(blob, Path) else len(blob)


def read_chunks(blob: Blob) -> Iterator[bytes]:
    if isinstance(blob, Path):
        with blob.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    else:
        view = memoryview(blob)
        for start in range(0, len(view), CHUNK):
            yield bytes(view[start : start + CHUNK])


def reported(name: str, version: str | None, work: Callable[[], Published]) -> Published:
    """Do the work of a publish, and report how it went."""
    report = Report(name, version)
    started = time.monotonic()
    try:
        published = work()
    except BaseException as error:
        report.failed(error, time.monotonic() - started)
        raise
    report.done(published)
    return published


class Report:
    """One line of JSON per publish in the file that ``JUPYTER_MLSERVE_REPORT`` names.

    `jupyter mlserve publish NOTEBOOK` runs the notebook in a kernel and reads here what the
    notebook published. Keys: service, version, action, url, seconds, error. A version that is
    deleted later has a line of the action "deleted".
    """

    def __init__(self, name: str, version: str | None) -> None:
        self.path = os.environ.get("JUPYTER_MLSERVE_REPORT")
        self.name, self.version = name, version

    def done(self, published: Published) -> None:
        self._write(
            service=published.name,
            version=published.version,
            action=published.action,
            url=published.url,
            seconds=published.timings["total"],
        )

    def failed(self, error: BaseException, seconds: float) -> None:
        text = error.message if isinstance(error, MLServeError) else str(error)
        self._write(
            service=self.name,
            version=self.version,
            action="failed",
            url="",
            seconds=seconds,
            error=f"{type(error).__name__}: {text}" if text else type(error).__name__,
        )

    def deleted(self) -> None:
        self._write(service=self.name, version=self.version, action="deleted", url="", seconds=0.0)

    def _write(self, **line: Any) -> None:
        if not self.path:
            return
        line["seconds"] = round(line["seconds"], 3)
        # Whoever wanted the report may be gone; that is no reason to fail a publish.
        with suppress(OSError), open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
