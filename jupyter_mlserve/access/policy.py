"""The one place that decides who may do what. Nothing else in the project compares users.

The rules are those of two of Machine Learning Server's roles. Contributor, which everybody who is
known has: they may list and consume all services and publish under new names; who published may
change. A name belongs to the first to publish it. Owner, which an administrator has: they may
change all services, and what belongs to the server. A batch execution, a session and a snapshot
belong to who made them, and to nobody else: what is in them is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..contract.errors import NotAllowed, NotAuthenticated
from .principal import Principal

Action = Literal[
    "list",
    "consume",
    "publish",
    "update",
    "delete",
    "see_code",
    "batch",
    "session",
    "snapshot",
    "administer",
]
ACTIONS: tuple[Action, ...] = get_args(Action)

_TO_ALL = frozenset({"list", "consume"})
_DOING = {
    "publish": "publish under this name",
    "update": "change it",
    "delete": "delete it",
    "see_code": "see its code",
    "batch": "see or delete it",
    "session": "use it",
    "snapshot": "use it",
    "administer": "do this",
}
# What belongs to one user alone, administrators or not.
_PERSONAL = frozenset({"batch", "session", "snapshot"})


@dataclass(frozen=True)
class Decision:
    """Whether something is allowed, and why, in a sentence for the one who asked."""

    allowed: bool
    why: str


class Policy:
    """Answers :meth:`may`. The other roles, and what a token is limited to, will be known here."""

    def may(
        self,
        principal: Principal | None,
        action: Action,
        owner: str | None = None,
        name_owner: str | None = None,
    ) -> Decision:
        """Whether ``principal`` (None: nobody known) may do ``action``.

        ``owner``: for ``publish``, the user who owns the name (None: the name is free); for
        ``update``, ``delete`` and ``see_code``, the author of the version; for ``batch``,
        ``session`` and ``snapshot``, who made the one that is to be used. ``name_owner``: for
        ``update``, ``delete`` and ``see_code``, the owner of the name, who may do what the author
        may. ``administer`` is about the server itself, such as its compute nodes.
        """
        if action not in ACTIONS:
            raise ValueError(f"Unknown action {action!r}; known are {', '.join(ACTIONS)}.")
        if principal is None:
            return Decision(False, "Nobody is signed in: send a token, or log in to Jupyter.")
        if action in _TO_ALL:
            return Decision(True, f"Everybody who is signed in may {action} services.")
        if action == "publish" and owner is None:
            return Decision(True, "Everybody who is signed in may publish under a new name.")
        if principal.administrator and action not in _PERSONAL:
            return Decision(True, f"{principal.username} is an administrator.")
        if action == "administer":
            return Decision(
                False, f"Only an administrator may do this, which {principal.username} is not."
            )
        owners = (owner,) if action in _PERSONAL else (owner, name_owner)
        if owner is not None and principal.username in owners:
            return Decision(True, f"It belongs to {principal.username}.")
        whom = owner or "somebody else"
        return Decision(
            False,
            f"It belongs to {whom}, so {principal.username} may not {_DOING[action]}.",
        )

    def require(
        self,
        principal: Principal | None,
        action: Action,
        owner: str | None = None,
        name_owner: str | None = None,
        about: str = "",
    ) -> Principal:
        """As :meth:`may`; returns the principal, or raises NotAuthenticated or NotAllowed.

        ``about`` names what belongs to the owner, for the error: "Service 'Tx' version '1.0'".
        """
        decision = self.may(principal, action, owner, name_owner)
        if principal is None:
            raise NotAuthenticated(decision.why)
        if not decision.allowed:
            why = _refusal(action, about, owner, name_owner) if about else decision.why
            raise NotAllowed(why, action=action, owner=owner)
        return principal


def _refusal(action: Action, about: str, owner: str | None, name_owner: str | None) -> str:
    """The error that says whose ``about`` is, and who else could do it or what else could be."""
    owner = owner or "somebody else"
    also = "" if name_owner in (None, owner) else f", {name_owner} (who owns the name)"
    doing = "publish under it. Choose another name" if action == "publish" else _DOING[action]
    return f"{about} belongs to {owner}; only {owner}{also} or an administrator may {doing}."
