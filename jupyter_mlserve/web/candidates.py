"""What may become a state of a version, and why it may not."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..contract.definition import Definition
from ..contract.errors import BlobMissing, BundleCorrupt, MLServeError, VersionExists
from .runtime import is_realtime, runtime_key

if TYPE_CHECKING:
    from ..store.models import State

Json = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """What may become a state: its id then, and what is derived from its definition."""

    id: str
    definition: Definition
    body: Json
    content_hash: str
    key: str


def candidate(definition: Definition, interpreter: Json) -> Candidate:
    """Of a definition; ``interpreter`` is recorded if it names none.

    Definitions can be large: call it in a thread.
    """
    body = definition.to_json()
    if definition.interpreter is None and not is_realtime(body):
        body["mlserve"]["interpreter"] = interpreter
        definition = Definition.from_json(body)
    return Candidate(
        uuid.uuid4().hex, definition, body, definition.content_hash(), runtime_key(body)
    )


def version_exists(new: Candidate, state: State, identical: bool) -> VersionExists:
    """The error when the version is there; ``identical``: with the content of the new one."""
    magic = "%publish_realtime" if is_realtime(new.body) else "%%publish_service"
    content = "this very" if identical else "another"
    return VersionExists(
        f"Service {state.name!r} has a version {state.version!r} already, with {content} content. "
        f"Either update it ({magic} --update, redeploy(), PATCH), or publish under another "
        "version.",
        identical=identical,
        state=state.id,
    )


def not_uploaded(definition: Definition, missing: list[str]) -> MLServeError:
    """The error when some of its blobs are not in the store."""
    if definition.realtime is not None:
        return BundleCorrupt(
            f"The model of {definition.name!r} version {definition.version!r} is gone "
            "from the store. Publish it again.",
            sha256=missing,
        )
    names = [
        item["name"]
        for item in (*definition.objects, *definition.files)
        if item["sha256"] in missing
    ]
    return BlobMissing(
        f"The content of {', '.join(map(repr, names))} was not uploaded. Send it with "
        "PUT blobs/SHA256 first, then repeat.",
        sha256=missing,
    )
