"""The trial before a change becomes visible: what it showed, or why there is no change."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..contract.errors import BadRequest, MLServeError, TooLarge, TrialFailed, from_body

if TYPE_CHECKING:
    from ..compute.client import Reply
    from ..contract.definition import Definition

Json = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """What the trial showed: seconds, console output, and the reply to the sample, if any."""

    load_seconds: float | None
    call_seconds: float | None
    console: str
    result: Json | None

    def to_json(self) -> Json:
        return {
            "load_seconds": self.load_seconds,
            "call_seconds": self.call_seconds,
            "console": self.console,
            "result": self.result,
        }


def trial_error(definition: Definition, reply: Reply, current: bool) -> MLServeError:
    """The failed trial as an error for the publisher, who may see all of it."""
    stays = "it stays as it was" if current else "nothing was published"
    body: Any = None
    with suppress(ValueError):
        body = json.loads(reply.body)
    exc = from_body(reply.status, body)
    if "retry_after" in reply.header:
        exc.details.setdefault("retry_after", reply.header["retry_after"])
    changed = "The change of service" if current else "Service"
    label = f"{changed} {definition.name!r} version {definition.version!r}"
    if not isinstance(exc, TrialFailed):
        # A model that is not acceptable; or the compute node had no room, or was lost.
        refused = isinstance(exc, BadRequest | TooLarge)
        exc.message = (
            f"{label} was {'refused' if refused else 'not tried'}, so {stays}. {exc.message}"
        )
        return exc
    failed = "failed in its trial call" if exc.details.get("stage") == "call" else "does not load"
    return TrialFailed(f"{label} {failed}, so {stays}. {exc.message}", **exc.details)


def read_trial(reply: Reply, called: bool) -> Trial:
    """A trial that went well; ``called``: with a sample."""
    header, result = reply.header, json.loads(reply.body)
    console = str(header.get("console") or "") + (result["consoleOutput"] if called else "")
    return Trial(
        header.get("load_seconds"),
        header.get("call_seconds"),
        console,
        result if called else None,
    )
