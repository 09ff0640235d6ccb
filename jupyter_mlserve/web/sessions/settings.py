"""Limits of sessions and snapshots, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

GiB = 1024**3


@dataclass(frozen=True)
class SessionSettings:
    """Sizes in bytes, times in seconds. Each field is the trait of the same name.

    session_limit, session_user_limit: sessions there may be, in all and of one user; how many of
    them have an interpreter is limited elsewhere (ComputeConfig.max_sessions).
    session_quota: objects that are staged in one session and files in its directory.
    session_idle_timeout: after so long without a request a session ends.
    snapshot_max, snapshot_user_quota: that are kept for one user; 0: no limit.
    """

    session_limit: int = 200
    session_user_limit: int = 20
    session_quota: int = 16 * GiB
    session_idle_timeout: float = 3600.0
    snapshot_max: int = 100
    snapshot_user_quota: int = 32 * GiB
