"""The extension of Jupyter Server: its traits, its handlers, its start and its end."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.transutils import _i18n
from traitlets import Bool, Float, Int, TraitError, Unicode, default, validate

from .._version import __version__
from ..compute.config import ComputeConfig
from ..compute.realtime.config import RealtimeConfig
from .addresses import rules
from .base import SETTING
from .batch.traits import BatchTraits
from .connection import ConnectionFile, node_address
from .node import Settings, WebNode
from .sessions.traits import SessionTraits

_compute = ComputeConfig()
_realtime = RealtimeConfig()
# Limits that both processes of the compute node have, but each its own.
OWN_TRAITS = {
    name: f"realtime_{name}"
    for name in ("call_timeout", "load_timeout", "stuck_grace", "threads", "trials")
}


class MLServeApp(BatchTraits, SessionTraits, ExtensionApp):
    """Publish functions and models as web services of this Jupyter server."""

    name = "jupyter_mlserve"
    description = __doc__ or ""
    version = __version__
    extension_url = "/"
    load_other_extensions = True

    # Where things are stored

    data_dir = Unicode(
        config=True,
        help=_i18n(
            """Folder of the catalog, the published objects and batches; its owner's only. Default:
            mlserve in Jupyter's data folder."""
        ),
    )
    db_url = Unicode(
        "",
        config=True,
        help=_i18n(
            """Database of the catalog: an SQLAlchemy URL, such as
            postgresql+psycopg://user:password@host/name, or the path of an SQLite file.
            Default: catalog.sqlite3 in data_dir."""
        ),
    )
    blob_url = Unicode(
        "",
        config=True,
        help=_i18n(
            """Where published objects and files are stored: a folder, or any URL that fsspec
            knows, such as s3://bucket/folder (then they are cached in data_dir).
            Default: blobs in data_dir."""
        ),
    )
    token_key_file = Unicode(
        "",
        config=True,
        help=_i18n(
            """File with the key that signs the access tokens of local accounts: a line of 64 or
            more hexadecimal digits, readable by its owner only. It is made if it is not there.
            Servers that share a db_url must share this file too. Default: token.key in
            data_dir."""
        ),
    )
    storage_quota = Int(
        0,
        min=0,
        config=True,
        help=_i18n("Most bytes of all published objects and files together; 0: no limit (507)."),
    )
    blob_grace = Float(
        86_400.0,
        min=0.0,
        config=True,
        help=_i18n(
            """Seconds for which an object that no service needs any more is kept: uploads whose
            publishing has not come yet, and versions deleted a moment ago."""
        ),
    )

    # Limits of requests

    max_body_size = Int(
        64 * 1024**2,
        min=1,
        config=True,
        help=_i18n("Most bytes in the body of one call of a service (413)."),
    )
    max_upload_size = Int(
        4 * 1024**3,
        min=1,
        config=True,
        help=_i18n("Most bytes in one published object or file (413)."),
    )
    max_definition_size = Int(
        16 * 1024**2,
        min=1024,
        config=True,
        help=_i18n("Most bytes in any other request, such as the code of a service (413)."),
    )

    # The compute node

    call_timeout = Float(
        _compute.call_timeout,
        config=True,
        help=_i18n("Seconds a call may take before its worker is killed and replaced (504)."),
    )
    load_timeout = Float(
        _compute.load_timeout,
        config=True,
        help=_i18n("""Seconds a version may take to load: imports, objects, init code."""),
    )
    pool_initial = Int(
        _compute.pool_initial,
        min=0,
        config=True,
        help=_i18n("Workers started when a version is called for the first time."),
    )
    pool_max = Int(
        _compute.pool_max,
        min=0,
        config=True,
        help=_i18n("Most workers of one version; 0: one per core, and at least 2."),
    )
    idle_timeout = Float(
        _compute.idle_timeout,
        config=True,
        help=_i18n("Seconds after which a worker that nobody calls is stopped."),
    )
    max_workers = Int(
        _compute.max_workers,
        min=1,
        config=True,
        help=_i18n(
            """Most workers of all versions together. The idle one that was used longest ago makes
            room for another version; if none is idle, calls wait and then get a 503."""
        ),
    )
    max_dedicated_workers = Int(
        _compute.max_dedicated_workers,
        min=0,
        config=True,
        help=_i18n(
            """Most workers that all services with a dedicated pool may have together, beside
            max_workers; a pool that does not fit is refused. While an update replaces the workers
            of a pool, there may be more. 0: four per core, and at least 16."""
        ),
    )
    max_queue = Int(
        _compute.max_queue,
        min=0,
        config=True,
        help=_i18n("Most calls of one version that wait for a worker (429)."),
    )
    max_pending = Int(
        _compute.max_pending,
        min=1,
        config=True,
        help=_i18n("Most bytes of request bodies that wait at a time, over all versions (429)."),
    )
    worker_memory = Int(
        _compute.worker_memory,
        min=0,
        config=True,
        help=_i18n("Most bytes of private memory of one worker; 0: no limit."),
    )
    worker_max_calls = Int(
        _compute.worker_max_calls,
        min=0,
        config=True,
        help=_i18n("Calls after which a worker is replaced by a fresh one; 0: never."),
    )
    console_limit = Int(
        _compute.console_limit,
        min=0,
        config=True,
        help=_i18n("Most bytes of console output in the reply to a call; the rest is dropped."),
    )
    file_limit = Int(
        _compute.file_limit,
        min=1,
        config=True,
        help=_i18n("Most bytes of one file that a call writes, and of all that it returns."),
    )
    result_limit = Int(
        _compute.result_limit,
        min=1,
        config=True,
        help=_i18n("Most bytes in the reply to a call."),
    )
    fork_server = Bool(
        _compute.fork_server,
        config=True,
        help=_i18n(
            """Start further workers of a version from a process that has its libraries imported,
            where the platform allows it; much faster than starting interpreters."""
        ),
    )
    max_sessions = Int(
        _compute.max_sessions,
        min=0,
        config=True,
        help=_i18n("Most sessions that have an interpreter at a time (429); 0: none may."),
    )
    session_timeout = Float(
        _compute.session_timeout,
        config=True,
        help=_i18n("Seconds code may run in a session before it is interrupted (504)."),
    )
    session_grace = Float(
        _compute.session_grace,
        config=True,
        help=_i18n(
            """Seconds an interrupted session has to stop what it does, before its interpreter is
            killed (410)."""
        ),
    )
    session_queue = Int(
        _compute.session_queue,
        min=0,
        config=True,
        help=_i18n("Most requests that wait for the interpreter of one session (429)."),
    )
    work_dir = Unicode(
        _compute.work_dir,
        config=True,
        help=_i18n("Where calls have their directories. Default: the system's temporary folder."),
    )

    # Realtime services, which a process of their own runs

    max_model_size = Int(
        _realtime.max_model_size,
        min=1,
        config=True,
        help=_i18n("Most bytes of a compiled model that may be published (413)."),
    )
    model_memory = Int(
        _realtime.model_memory,
        min=1,
        config=True,
        help=_i18n(
            """Most bytes that loaded models of realtime services take together. The one that was
            used longest ago makes room, and is loaded again when it is called."""
        ),
    )
    runtime_memory = Int(
        _realtime.runtime_memory,
        min=0,
        config=True,
        help=_i18n(
            """Most bytes of private memory of the process that runs realtime services, models
            included; 0: no limit. It must leave some room beside model_memory."""
        ),
    )
    max_rows = Int(
        _realtime.max_rows,
        min=1,
        config=True,
        help=_i18n("Most rows in one call of a realtime service."),
    )
    realtime_call_timeout = Float(
        _realtime.call_timeout,
        config=True,
        help=_i18n("""Seconds a call of a realtime service may take, waiting included (504)."""),
    )
    realtime_load_timeout = Float(
        _realtime.load_timeout,
        config=True,
        help=_i18n("""Seconds the model of a realtime service may take to load."""),
    )
    realtime_stuck_grace = Float(
        _realtime.stuck_grace,
        config=True,
        help=_i18n(
            """Seconds after which a call or load of a realtime service that should have ended but
            cannot be stopped has the process replaced; other calls then answer 503."""
        ),
    )
    realtime_threads = Int(
        _realtime.threads,
        min=0,
        config=True,
        help=_i18n(
            """Large or slow calls of realtime services that run at a time; 0: one per core, and
            at least 2. Small calls need no thread."""
        ),
    )
    realtime_trials = Int(
        _realtime.trials,
        min=1,
        config=True,
        help=_i18n("Compiled models that are tried at a time before publishing; others wait."),
    )
    trial_timeout = Float(
        _realtime.trial_timeout,
        config=True,
        help=_i18n("Seconds a compiled model may take in the trial before it is published."),
    )
    trial_memory = Int(
        _realtime.trial_memory,
        min=1,
        config=True,
        help=_i18n("Most bytes of private memory of the process that tries a compiled model."),
    )

    # Jupyter

    identity_cache_seconds = Float(
        30.0,
        min=0.0,
        config=True,
        help=_i18n(
            """Seconds for which the outcome of Jupyter's check of a token is believed for calls
            of services. A token that was revoked works so much longer. 0: check every call."""
        ),
    )
    scoring_counts_as_activity = Bool(
        True,
        config=True,
        help=_i18n(
            """Whether calls of services keep the server from being shut down as idle (by
            ServerApp.shutdown_no_activity_timeout or JupyterHub's idle culler)."""
        ),
    )
    announce_to_kernels = Bool(
        True,
        config=True,
        help=_i18n(
            """Whether kernels learn, by a file that only its owner can read, how to publish to
            this server. If not, notebooks must give the address and a token themselves."""
        ),
    )

    @default("data_dir")
    def _default_data_dir(self) -> str:
        return str(Path(jupyter_data_dir()) / "mlserve")

    @validate("data_dir")
    def _absolute_data_dir(self, proposal: Any) -> str:
        return str(Path(proposal["value"]).expanduser().absolute())

    @validate("token_key_file")
    def _absolute_token_key_file(self, proposal: Any) -> str:
        given = proposal["value"]
        return str(Path(given).expanduser().absolute()) if given else ""

    @validate(
        "call_timeout",
        "load_timeout",
        "idle_timeout",
        "realtime_call_timeout",
        "realtime_load_timeout",
        "realtime_stuck_grace",
        "trial_timeout",
    )
    def _more_than_nothing(self, proposal: Any) -> float:
        if not proposal["value"] > 0:
            raise TraitError(f"MLServeApp.{proposal['trait'].name} must be more than 0 seconds.")
        return float(proposal["value"])

    def _config_file_name_default(self) -> str:
        return "jupyter_mlserve_config"

    # -- life ---------------------------------------------------------------------------------

    def node_settings(self) -> Settings:
        """The traits as plain values."""
        limits = {field.name: getattr(self, field.name) for field in fields(ComputeConfig)}
        models = {
            field.name: getattr(self, OWN_TRAITS.get(field.name, field.name))
            for field in fields(RealtimeConfig)
        }
        names = {field.name for field in fields(Settings)} - {
            *("compute", "realtime", "batch", "session", "data_dir")
        }
        try:
            realtime = RealtimeConfig(**models)
        except ValueError as exc:  # limits that do not fit each other
            raise TraitError(f"MLServeApp: {exc}.") from None
        return Settings(
            data_dir=Path(self.data_dir),
            compute=ComputeConfig(**limits),
            realtime=realtime,
            batch=self.batch_settings(),
            session=self.session_settings(),
            **{name: getattr(self, name) for name in names},
        )

    def initialize_settings(self) -> None:
        assert self.serverapp is not None
        web_settings = self.serverapp.web_app.settings
        self.node = WebNode(self.node_settings(), web_settings, self.log)
        self.node.in_loop = self.serverapp.io_loop.add_callback
        self.node.find_address = partial(node_address, self.serverapp)
        self.node.http_metrics = getattr(self.serverapp, "record_http_request_metrics", True)
        self.settings[SETTING] = self.node
        self.connection_file = ConnectionFile(self.serverapp, self.node.kernel_token.value)
        if self.announce_to_kernels:
            self.connection_file.announce()
            # The port is certain only when the event loop runs.
            self.serverapp.io_loop.add_callback(self.write_connection_file)

    def initialize_handlers(self) -> None:
        assert self.serverapp is not None
        application = self.serverapp.web_app
        application.add_handlers(".*$", rules(self.node, application, self.serverapp.base_url))

    def write_connection_file(self) -> None:
        if self.node.stopped:
            return
        try:
            self.connection_file.write()
        except OSError as exc:
            self.log.warning(
                "cannot write %s (%s); kernels must be told the address",
                self.connection_file.path,
                exc,
            )

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """After the server has started: what the first request would otherwise wait for."""
        if self.announce_to_kernels:
            self.write_connection_file()
        try:
            await asyncio.to_thread(self.node.open)
        except Exception as exc:
            self.log.error("cannot open its stores: %s", exc)

    async def stop_extension(self) -> None:
        self.connection_file.remove()
        await self.node.stop()

    def current_activity(self) -> dict[str, int] | None:
        """Calls and batches in progress; while there are any, the server is not idle."""
        running = self.node.running + self.node.batches_running
        return {"running": running} if running and self.scoring_counts_as_activity else None
