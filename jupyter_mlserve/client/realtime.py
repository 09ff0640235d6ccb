"""Publishing a realtime service: the compiled model and its labels in one multipart request.

Used alike by the magics, :class:`DeployClient` and the command line. The server reads the schema
from the container, so that there is nothing to declare.
"""

from __future__ import annotations

import io
import time
from typing import Any

from ..contract.errors import Gone, InvalidDefinition, NotFound, VersionExists
from .http import Connection, Multipart, path_of
from .misuse import WrongCall
from .publishing import (
    PUBLISH_SECONDS,
    REPRESENTATION,
    Progress,
    Published,
    check_update,
    published_from,
    reported,
)

# Bytes of serialize_model begin so; the published client demands it of its own, too.
MAGIC = b"blob"


def publish_realtime(
    connection: Connection,
    name: str,
    version: str | None,
    container: bytes | None,
    *,
    description: str | None = None,
    alias: str | None = None,
    update: bool = False,
    progress: Progress | None = None,
    must_exist: bool = False,
) -> Published:
    """Publish the bytes of ``serialize_model`` as a version of the realtime service ``name``.

    ``version=None`` lets the server name it by a GUID. ``update=True`` replaces the version if
    it is there and publishes it if not; with ``must_exist`` a version that is not there is an
    error, and ``container`` may be None: the model then stays and only what is given of
    ``description`` and ``alias`` is replaced. Without ``update``, a version that is there raises
    ``VersionExists``, unless its content is the same: then nothing is changed.

    ``progress`` is told "upload" with the bytes of the model, then "publish" while the server
    tries it. Raises ``WrongCall`` (a ValueError) for bytes that are no container,
    ``InvalidDefinition`` or ``TrialFailed`` when the server refuses the model: nothing is
    published then.
    """
    check_update(update, version)
    if container is not None:
        check_container(container)
    elif not (update and must_exist):
        raise InvalidDefinition("There is no model: give the bytes of serialize_model.")
    fields = {"description": description, "operationId": alias}
    upload = Upload(container or b"", progress)

    def ask(method: str) -> dict[str, Any]:
        parts: Multipart = [
            *((key, (None, text.encode())) for key, text in fields.items() if text is not None),
            *([("model", ("model", upload))] if container is not None else []),
        ]
        names = [name] if version is None else [name, version]
        answer = connection.request(
            method,
            path_of("realtime-services", *names),
            multipart=parts,
            headers=REPRESENTATION,
            timeout=PUBLISH_SECONDS,
        )
        assert isinstance(answer, dict)
        return answer

    def work() -> Published:
        started = time.monotonic()
        # Asked first, so that a large model does not travel twice.
        there = must_exist or (update and _exists(connection, name, str(version)))
        if there:
            action, answer = "updated", ask("PATCH")
        else:
            try:
                action, answer = "published", ask("POST")
            except VersionExists:
                if not update:
                    raise
                # Somebody published it between our two requests.
                action, answer = "updated", ask("PATCH")
        finished = time.monotonic()
        sent = max(started, upload.finished)
        timings = {"upload": sent - started, "publish": finished - sent}
        timings["total"] = finished - started
        return published_from(connection, action, answer, timings, sent=len(container or b""))

    if container is None and description is None and alias is None:
        raise InvalidDefinition(
            "Nothing to update was given: name at least one of serialized_model, description and "
            "alias."
        )
    return reported(name, version, work)


def check_container(container: Any) -> None:
    """Raises WrongCall unless these may be bytes of ``serialize_model``."""
    how = "make them with jupyter_mlserve.serialize_model(model, sample)"
    if not isinstance(container, bytes | bytearray | memoryview):
        raise WrongCall(
            f"serialized_model takes the bytes of a compiled model, not a "
            f"{type(container).__name__}: {how}."
        )
    if bytes(container[: len(MAGIC)]) != MAGIC:
        raise WrongCall(f"These bytes are no compiled model (they do not begin with blob): {how}.")


def _exists(connection: Connection, name: str, version: str) -> bool:
    try:
        return bool(connection.request("GET", path_of("services", name, version)))
    except (NotFound, Gone):
        return False


class Upload(io.BytesIO):
    """Bytes that tell how many of them were read. ``finished`` is when the last ones were."""

    def __init__(self, data: bytes, progress: Progress | None) -> None:
        super().__init__(data)
        self.size = len(data)
        self.progress = progress
        self.finished = 0.0

    def read(self, size: int | None = -1, /) -> bytes:
        before = self.tell()
        data = super().read(size)
        if data and self.progress is not None:
            self.progress("upload", self.tell(), self.size)
        if before < self.size <= self.tell():
            self.finished = time.monotonic()
            if self.progress is not None:
                self.progress("publish", 0, 0)
        return data
