"""What one operation of the core API is, and the words that many of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import errors

Json = dict[str, Any]
Failures = tuple[type[errors.MLServeError], ...]

LOGIN = "Authentication APIs"
SERVICES = "Services Management APIs"
CONSUME = "Service Consumption APIs"
SESSIONS = "Session APIs"
SNAPSHOTS = "Snapshot APIs"
STATUS = "Status APIs"
NODES = "Centralized Configuration APIs"
TAGS = {
    LOGIN: "Tokens for accounts of this server. Jupyter's own tokens need none of it.",
    SERVICES: "Publish, read, update, roll back and delete services, and keep workers warm for"
    " them.",
    CONSUME: "Call a service, and read the documents that describe it. Batch executions are in"
    " the document of each service.",
    SESSIONS: "A Python interpreter of one's own on the compute node, and the workspace in which"
    " the published contract's clients stage what they publish.",
    SNAPSHOTS: "Workspaces that were kept: to load again, or to publish from.",
    STATUS: "How the server and its parts are.",
    NODES: "Where services run.",
}

BYTES = "application/octet-stream"
ZIP = "application/zip"
FILE: Json = {"type": "string", "format": "binary"}
TEXT: Json = {"type": "string"}
NAMES: Json = {"type": "array", "items": TEXT}

# The parameters in paths, wherever they stand.
IN_PATHS = {
    "name": "Name of the service.",
    "version": "Version of the service.",
    "objectName": "Name of the object.",
    "fileName": "Name of the file.",
    "snapshotId": "Id of the snapshot.",
    "sha256": "SHA-256 of the content, as 64 hexadecimal digits.",
    "id": "Id of the session or snapshot.",
}


@dataclass(frozen=True)
class Body:
    """What a request carries: ``schema`` as ``media``. A form has the parts of its schema."""

    name: str
    schema: Json
    media: str = "application/json"
    required: bool = True


@dataclass(frozen=True)
class Operation:
    """One verb at one path. ``schema`` None: the answer has no body."""

    verb: str
    path: str
    operation_id: str
    tag: str
    summary: str
    schema: Json | None = None
    status: int = 200
    description: str = "Done."
    body: Body | None = None
    query: tuple[tuple[str, str], ...] = ()  # names and descriptions, all required
    media: str = "application/json"  # of the answer
    fails: Failures = ()
    also: int | None = None  # another status of success, with the same body
    open: bool = False  # needs no token


def ref(name: str) -> Json:
    return {"$ref": f"#/{name}"}


def many(schema: Json) -> Json:
    return {"type": "array", "items": schema}


def json_body(name: str, schema: str) -> Body:
    return Body(name, ref(schema))


# Kinds of failure that belong together.
GONE = (errors.NotFound, errors.Gone)
CHANGE = (errors.BadRequest, *GONE)
