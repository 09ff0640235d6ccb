"""What the threads of the realtime process do; the results go back to the event loop."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..block import ARROW, Block
from . import cache, sessions
from .cache import Scoring, Version
from .threads import Slot

if TYPE_CHECKING:
    from .lines import Lines
    from .node import Node
    from .queues import Call


class Run:
    """Score one call."""

    def __init__(self, node: Node, call: Call, scorer: Scoring) -> None:
        self.node, self.call, self.scorer = node, call, scorer

    def __call__(self, slot: Slot) -> None:
        call = self.call
        options = sessions.run_options()

        def cancel() -> None:
            options.terminate = True

        call.slot = slot
        slot.begin(call.version.record, call.deadline, cancel, call)
        start = time.thread_time()
        result: bytes | BaseException
        try:
            result = self.scorer.score(call.body, call.media, options)
        except BaseException as exc:
            result = exc.with_traceback(None)
        spent = time.thread_time() - start
        overdue = slot.end()
        report(self.node, self.node.ran, call, result, overdue, spent)


class RunBlock:
    """Score a block of records."""

    def __init__(self, node: Node, call: Call, scorer: Scoring, block: Block) -> None:
        self.node, self.call, self.scorer, self.block = node, call, scorer, block

    def __call__(self, slot: Slot) -> None:
        call, block, node = self.call, self.block, self.node
        from .lines import Terms

        options = sessions.run_options()

        def cancel() -> None:
            options.terminate = True

        call.slot = slot
        slot.begin(call.version.block_record, call.deadline, cancel, call)
        start = time.thread_time()
        result: Lines | bytes | BaseException
        try:
            if call.media == ARROW:
                result = self.scorer.score(call.body, ARROW, options, by_row=True)
            else:
                terms = Terms(block.budget, call.version.label, block.owner)
                if not call.due:
                    terms = replace(terms, hurry=node.turns.waiting)
                result = self.scorer.score_lines(call.body, options, terms)
        except BaseException as exc:
            result = exc.with_traceback(None)
        spent = time.thread_time() - start
        overdue = slot.end()
        report(node, node.ran_block, call, result, overdue, spent)


class Load:
    """Load a version's model, after dropping what had to make room for it."""

    def __init__(self, node: Node, version: Version, dropped: list[Any], alone: bool) -> None:
        self.node, self.version, self.dropped, self.alone = node, version, dropped, alone

    def __call__(self, slot: Slot) -> None:
        version, config = self.version, self.node.config
        drop(self.dropped)
        options = sessions.session_options()

        def cancel() -> None:
            options.set_load_cancellation_flag(True)

        slot.begin(version.record, time.monotonic() + config.load_timeout, cancel, version)
        found: Any
        size = 0
        try:
            found, size = cache.load(version.spec, config, options, self.alone)
        except BaseException as exc:
            found = exc.with_traceback(None)
        overdue = slot.end()
        if size > 16 * 1024 * 1024:
            # Parsing the model has taken about as much again.
            sessions.give_back()
        report(self.node, self.node.loaded, version, found, size, overdue)


class Drop:
    """Free unloaded models."""

    def __init__(self, dropped: list[Any]) -> None:
        self.dropped = dropped

    def __call__(self, slot: Slot) -> None:
        drop(self.dropped)


class Sweep:
    """Give back what large calls have taken for their intermediate results."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __call__(self, slot: Slot) -> None:
        with contextlib.suppress(Exception):
            sessions.sweep()
        sessions.give_back()
        report(self.node, self.node.swept)


def drop(dropped: list[Any]) -> None:
    if dropped:
        dropped.clear()
        sessions.give_back()


def report(node: Node, function: Any, *args: Any) -> None:
    # The loop is closed only when the process ends.
    with contextlib.suppress(RuntimeError):
        node.loop.call_soon_threadsafe(function, *args)
