"""The traits about sessions and snapshots, mixed into the extension's application."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from jupyter_server.transutils import _i18n
from traitlets import Float, HasTraits, Int, TraitError, validate

from .settings import SessionSettings

_session = SessionSettings()


class SessionTraits(HasTraits):
    """Each field of SessionSettings."""

    session_limit = Int(
        _session.session_limit,
        min=1,
        config=True,
        help=_i18n(
            """Most sessions of all users together, with or without an interpreter (429); they
            have none before the first code runs."""
        ),
    )
    session_user_limit = Int(
        _session.session_user_limit,
        min=1,
        config=True,
        help=_i18n("Most sessions of one user (429)."),
    )
    session_quota = Int(
        _session.session_quota,
        min=1,
        config=True,
        help=_i18n(
            """Most bytes of the objects that wait in one session, and of the files in its working
            directory (507). One object or file can have max_upload_size."""
        ),
    )
    session_idle_timeout = Float(
        _session.session_idle_timeout,
        config=True,
        help=_i18n(
            """Seconds after which a session that nobody uses ends; its objects and files are then
            gone (410)."""
        ),
    )
    snapshot_max = Int(
        _session.snapshot_max,
        min=0,
        config=True,
        help=_i18n("Most snapshots that are kept for one user; 0: no limit (429)."),
    )
    snapshot_user_quota = Int(
        _session.snapshot_user_quota,
        min=0,
        config=True,
        help=_i18n("Most bytes in the snapshots of one user; 0: no limit (507)."),
    )

    @validate("session_idle_timeout")
    def _some_seconds(self, proposal: Any) -> float:
        if not 0 < proposal["value"] < float("inf"):
            raise TraitError(f"MLServeApp.{proposal['trait'].name} must be more than 0 seconds.")
        return float(proposal["value"])

    def session_settings(self) -> SessionSettings:
        """The traits as plain values."""
        return SessionSettings(
            **{field.name: getattr(self, field.name) for field in fields(SessionSettings)}
        )
