"""Which handler answers at which address, below ``mlserve/``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tornado.routing import PathMatches, Rule
from tornado.web import Application

from .api import DocumentHandler, ScoringCall
from .base import MLServeHandler
from .batch.events import EventsHandler
from .batch.files_handlers import RecordFileHandler, RecordFilesHandler
from .batch.handlers import ExecutionHandler
from .batch.results import ResultsHandler
from .batch.uploads import BatchUpload
from .blobs import BlobUpload, MissingBlobsHandler
from .computenodes import ComputeNodesHandler
from .documents import CoreDocumentHandler
from .login import BODY_LIMIT, LoginHandler, RefreshTokenHandler
from .pool_handlers import PoolHandler
from .prepare import PrepareHandler
from .realtime import ModelUpload, VersionUpload
from .services import (
    AllServicesHandler,
    HistoryHandler,
    NamedServiceHandler,
    RollbackHandler,
    StatesHandler,
    VersionHandler,
)
from .sessions.execute import CancelHandler, ConsoleHandler, Execution
from .sessions.execute import HistoryHandler as SessionHistoryHandler
from .sessions.files import FileHandler, FileUpload
from .sessions.handlers import (
    ForceHandler,
    LoadHandler,
    SessionHandler,
    SessionsHandler,
    SnapshotOfHandler,
)
from .sessions.snapshots import SnapshotHandler, SnapshotsHandler
from .sessions.workspace import ObjectUpload, WorkspaceHandler
from .status import StatusHandler, UnknownHandler
from .targets import ExchangeTarget, Target

if TYPE_CHECKING:
    from .node import WebNode

PART = r"([^/]+)"
SERVICE = rf"services/{PART}"
VERSION = rf"{SERVICE}/{PART}"
BATCH = rf"api/{PART}/{PART}/batch"
EXECUTION = rf"{BATCH}/{PART}"
SESSION = rf"sessions/{PART}"

# In this order. A trailing slash is tolerated everywhere.
HANDLERS: tuple[tuple[str, type[MLServeHandler]], ...] = (
    (r"status", StatusHandler),
    (r"computenodes", ComputeNodesHandler),
    (r"(swagger|openapi)\.json", CoreDocumentHandler),
    (r"prepare", PrepareHandler),
    (r"services", AllServicesHandler),
    (rf"{SERVICE}/history", HistoryHandler),
    (SERVICE, NamedServiceHandler),
    (VERSION, VersionHandler),
    (rf"{VERSION}/history", HistoryHandler),
    (rf"{VERSION}/states", StatesHandler),
    (rf"{VERSION}/rollback", RollbackHandler),
    (rf"{VERSION}/pool", PoolHandler),
    (r"blobs/missing", MissingBlobsHandler),
    (EXECUTION, ExecutionHandler),
    (rf"{EXECUTION}/results", ResultsHandler),
    (rf"{EXECUTION}/events", EventsHandler),
    (rf"{EXECUTION}/{PART}/files", RecordFilesHandler),
    (rf"{EXECUTION}/{PART}/files/{PART}", RecordFileHandler),
    (r"sessions", SessionsHandler),
    (SESSION, SessionHandler),
    (rf"{SESSION}/force", ForceHandler),
    (rf"{SESSION}/history", SessionHistoryHandler),
    (rf"{SESSION}/console-output", ConsoleHandler),
    (rf"{SESSION}/cancel", CancelHandler),
    (rf"{SESSION}/workspace", WorkspaceHandler),
    (rf"{SESSION}/files/(.+?)", FileHandler),
    (rf"{SESSION}/snapshot", SnapshotOfHandler),
    (rf"{SESSION}/loadsnapshot/{PART}", LoadHandler),
    (r"snapshots", SnapshotsHandler),
    (rf"snapshots/{PART}", SnapshotHandler),
)

# Open to everybody: who asks here has no token yet.
OPEN: tuple[tuple[str, type[MLServeHandler]], ...] = (
    (r"login", LoginHandler),
    (r"login/refreshToken", RefreshTokenHandler),
)


def rules(node: WebNode, application: Application, base_url: str) -> list[Rule]:
    """For Jupyter's router; the last one answers what is at none of our addresses."""
    prefix = re.escape(base_url.rstrip("/")) + "/mlserve"

    def rule(pattern: str, target: Target) -> Rule:
        return Rule(PathMatches(f"{prefix}/{pattern}/?$"), target)

    scoring = ExchangeTarget(node, application, ScoringCall, "POST")
    upload = ExchangeTarget(node, application, BlobUpload, "PUT")
    model = ExchangeTarget(node, application, ModelUpload, "POST")
    version = ExchangeTarget(node, application, VersionUpload, "POST", "PATCH")
    batch = ExchangeTarget(node, application, BatchUpload, "POST")
    staged = ExchangeTarget(node, application, ObjectUpload, "POST")
    file = ExchangeTarget(node, application, FileUpload, "POST")
    execution = ExchangeTarget(node, application, Execution, "POST")
    document = Target(node, application, DocumentHandler)
    unknown = Target(node, application, UnknownHandler)
    return [
        rule(rf"api/{PART}(?:/{PART})?/(swagger|openapi)\.json", document),
        rule(rf"api/{PART}(?:/{PART})?", scoring),
        *(rule(pattern, Target(node, application, cls)) for pattern, cls in HANDLERS),
        *(rule(pattern, Target(node, application, cls, BODY_LIMIT)) for pattern, cls in OPEN),
        rule(rf"blobs/{PART}", upload),
        rule(BATCH, batch),
        rule(rf"{SESSION}/workspace/{PART}", staged),
        rule(rf"{SESSION}/files", file),
        rule(rf"{SESSION}/execute", execution),
        rule(rf"realtime-{SERVICE}", model),
        rule(rf"realtime-{VERSION}", version),
        Rule(PathMatches(rf"{prefix}(?:/.*)?$"), unknown),
    ]
