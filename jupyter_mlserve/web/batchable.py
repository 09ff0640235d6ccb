"""The proof that a service is batchable: each row has the answer it has without the others.

Batches hand the rows of many records to such a service in one call, and cut its answer into rows
again. A function that ranks, scales or counts its rows would give every record a wrong answer
without any error; so before a version is visible its sample is called whole and in parts.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..contract.errors import CallTimeout, ServiceFailed, TrialFailed, WorkerLost

if TYPE_CHECKING:
    from ..compute.client import ComputeNode, Reply
    from ..contract.definition import Definition
    from .trials import Trial

Json = dict[str, Any]
Table = dict[str, list[Any]]

# How far the number of a row may be from what it is without the others: models add in another
# order when there are other rows. Numbers of 32 bits have seven digits, not sixteen.
RELATIVE, ABSOLUTE = 1e-9, 1e-12
RELATIVE_32, ABSOLUTE_32 = 1e-5, 1e-7
_SHOWN = 80  # characters of a value in a sentence
WAY_OUT = (
    "Publish it without batchable (--no-batchable, batchable=False): batches then call it once "
    "for every record."
)


class Different(Exception):
    """Two answers are not the same; the message is a sentence about where."""

    def __init__(self, sentence: str, **details: Any) -> None:
        super().__init__(sentence)
        self.details = details


def unproven(definition: Definition) -> str:
    """Why the sample cannot prove it; "" when it can."""
    if definition.sample is None:
        return "there is no sample"
    rows = _count(definition)
    if rows < 2:
        return f"the sample has {rows or 'no'} row{'' if rows == 1 else 's'}, and two are needed"
    return ""


async def proven(
    node: ComputeNode,
    key: str,
    spec: Json,
    definition: Definition,
    trial: Trial,
    failed: Callable[[Reply], Exception],
) -> Trial:
    """The trial with what was proven: ``{"proven": bool, "rows": int, "why": str}``.

    The worker of the trial is called with the halves of the sample, and with its last row.
    Without two rows nothing can be proven, and the trial says so: each worker looks itself, at the
    first record that a batch gives it together with others. ``failed`` makes the error of a call
    that had no chance. Raises TrialFailed naming the first difference.
    """
    why = unproven(definition)
    if why:
        return replace(trial, batchable={"proven": False, "rows": 0, "why": why})
    count = _count(definition)
    half = (count + 1) // 2
    parts = [(0, half), (half, count)] + ([(count - 1, count)] if count - half > 1 else [])

    async def call(start: int, stop: int) -> Table:
        body = json.dumps({definition.inputs[0]["name"]: _cut(definition, start, stop)}).encode()
        reply = await node.call(key, body, lambda: spec)
        if reply.status != 200:
            raise _failure(reply, _called(start, stop, count), failed)
        return _table(definition, json.loads(reply.body), start, stop, count)

    try:
        whole = _table(definition, trial.result, 0, count, count)
        for start, stop in parts:
            part = await call(start, stop)
            try:
                compare(whole, part, start, stop, count)
            except Different as found:
                raise await _why(found, whole, lambda: call(0, count), count) from None
    except Different as found:
        raise TrialFailed(f"{found} {WAY_OUT}", stage="batchable", **found.details) from None
    return replace(trial, batchable={"proven": True, "rows": count, "why": ""})


async def _why(found: Different, whole: Table, again: Callable[[], Any], count: int) -> Different:
    """What the difference comes from: the other rows, or that no two answers are the same."""
    try:
        compare(whole, await again(), 0, count, count)
    except Different as other:
        return Different(f"It does not answer the same twice: {other}", **other.details)
    return Different(f"Its answer for a row depends on the other rows: {found}", **found.details)


def compare(whole: Table, part: Table, start: int, stop: int, count: int) -> None:
    """Raise Different unless rows ``start`` to ``stop`` of ``whole`` are those of ``part``."""
    called, together = _called(start, stop, count), _called(0, count, count)
    for name in whole:
        if name not in part:
            raise Different(
                f"{name} is in the answer when {together}, and not when {called}.",
                column=name,
            )
    for name, values in part.items():
        if name not in whole:
            raise Different(
                f"{name} is in the answer when {called}, and not when {together}.",
                column=name,
            )
        single = _is_single(whole[name]) and _is_single(values)
        for row, (one, other) in enumerate(zip(whole[name][start:stop], values, strict=True)):
            if not _same(one, other, single):
                second = "again" if (start, stop) == (0, count) else f"when {called}"
                raise Different(
                    f"row {start + row + 1} of {name} is {_shown(one)} when "
                    f"{together}, and {_shown(other)} {second}.",
                    row=start + row,
                    column=name,
                    together=one,
                    alone=other,
                )


def _same(one: Any, other: Any, single: bool) -> bool:
    numbers = [type(value) in (int, float) for value in (one, other)]
    if all(numbers) and not (type(one) is type(other) is int):
        relative, absolute = (RELATIVE_32, ABSOLUTE_32) if single else (RELATIVE, ABSOLUTE)
        return math.isclose(one, other, rel_tol=relative, abs_tol=absolute)
    return type(one) is type(other) and bool(one == other)


def _is_single(values: Sequence[Any]) -> bool:
    """Whether the numbers are those of 32 bits: all of them are such, and not all are whole."""
    found = [value for value in values if type(value) is float]
    return any(not value.is_integer() for value in found) and all(map(_fits_single, found))


def _fits_single(value: float) -> bool:
    try:
        return bool(struct.unpack("f", struct.pack("f", value))[0] == value)
    except OverflowError:
        return False


def _table(definition: Definition, result: Json | None, start: int, stop: int, count: int) -> Table:
    """The one output as columns (a vector is one). Raises Different unless it has the rows."""
    name = definition.outputs[0]["name"]
    value = (result or {})["outputParameters"][name]
    rows: Table = {}
    if isinstance(value, Mapping):
        rows = {f"{name}.{column}": list(values) for column, values in value.items()}
    elif isinstance(value, list):
        rows = {name: value}
    lengths = [len(values) for values in rows.values()] or [0]
    got = next((length for length in lengths if length != stop - start), None)
    if got is not None:
        called = _called(start, stop, count)
        raise Different(
            f"It must answer a row for each row that it is called with, and {name} has "
            f"{got} row{'' if got == 1 else 's'} when {called}.",
            rows=stop - start,
            got=got,
        )
    return rows


def _failure(reply: Reply, called: str, failed: Callable[[Reply], Exception]) -> Exception:
    error = json.loads(reply.body)
    if error.get("exceptionType") not in [
        cls.__name__ for cls in (ServiceFailed, WorkerLost, CallTimeout)
    ]:
        return failed(reply)
    details: Json = {"stage": "batchable"}
    if reply.header.get("traceback"):
        details["traceback"] = reply.header["traceback"]
    return TrialFailed(
        f"It answers its whole sample, and fails when {called}: {error['message']} {WAY_OUT}",
        **details,
    )


def _frame(definition: Definition) -> Any:
    """The sample's frame, in the form it has: columns, a list of records, or null."""
    return (definition.sample or {}).get(definition.inputs[0]["name"])


def _count(definition: Definition) -> int:
    frame = _frame(definition)
    if isinstance(frame, Mapping):
        return max(map(len, frame.values()), default=0)
    return len(frame or ())


def _cut(definition: Definition, start: int, stop: int) -> Any:
    frame = _frame(definition)
    if isinstance(frame, list):
        return frame[start:stop]
    return {name: values[start:stop] for name, values in frame.items()}


def _called(start: int, stop: int, count: int) -> str:
    """What is called, as the end of a sentence that says when."""
    if (start, stop) == (0, count):
        return f"all {count} rows of the sample are called at once"
    if stop - start == 1:
        return f"row {stop} is called alone"
    return f"rows {start + 1} to {stop} are called"


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
