"""The trial before a change becomes visible: what it showed, or why there is no change."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..contract.errors import BadRequest, MLServeError, TooLarge, TrialFailed, from_body
from .batchable import proven

if TYPE_CHECKING:
    from ..compute.client import ComputeNode, Reply
    from ..contract.definition import Definition

Json = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """What the trial showed: seconds, console output, and the reply to the sample, if any.

    ``batchable``: of a batchable version, what was proven (see :mod:`.batchable`).
    """

    load_seconds: float | None
    call_seconds: float | None
    console: str
    result: Json | None
    batchable: Json | None = None

    def to_json(self) -> Json:
        shown: Json = {
            "load_seconds": self.load_seconds,
            "call_seconds": self.call_seconds,
            "console": self.console,
            "result": self.result,
        }
        return shown if self.batchable is None else {**shown, "batchable": self.batchable}


async def tried(
    node: ComputeNode, key: str, spec: Json, definition: Definition, current: bool
) -> Trial:
    """Load it in a fresh worker and call it with its sample; the worker stays under ``key``.

    A model is tried with the example of its header, in a process that ends with the trial.
    ``current``: there is a state already, which stays if this one fails.
    """

    def failed(reply: Reply) -> MLServeError:
        return trial_error(definition, reply, current)

    sample = definition.sample
    encoded = None if sample is None else json.dumps(sample).encode()
    reply = await node.trial(key, spec, encoded)
    if reply.status != 200:
        raise failed(reply)
    trial = read_trial(reply, called=encoded is not None or definition.realtime is not None)
    if not definition.batchable:
        return trial
    try:
        return await proven(node, key, spec, definition, trial, failed)
    except BaseException as exc:
        await node.retire(key)
        if isinstance(exc, TrialFailed) and exc.details.get("stage") == "batchable":
            raise _not_batchable(definition, current, exc) from None
        raise


def _names(definition: Definition, current: bool) -> tuple[str, str]:
    changed = "The change of service" if current else "Service"
    stays = "it stays as it was" if current else "nothing was published"
    return f"{changed} {definition.name!r} version {definition.version!r}", stays


def _not_batchable(definition: Definition, current: bool, exc: TrialFailed) -> TrialFailed:
    label, stays = _names(definition, current)
    return TrialFailed(f"{label} is not batchable, so {stays}. {exc.message}", **exc.details)


def trial_error(definition: Definition, reply: Reply, current: bool) -> MLServeError:
    """The failed trial as an error for the publisher, who may see all of it."""
    body: Any = None
    with suppress(ValueError):
        body = json.loads(reply.body)
    exc = from_body(reply.status, body)
    if "retry_after" in reply.header:
        exc.details.setdefault("retry_after", reply.header["retry_after"])
    label, stays = _names(definition, current)
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
