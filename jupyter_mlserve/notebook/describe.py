"""Small texts that cards are made of: sizes, times, types, values, signatures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from ..contract.types import params_to_text


def size_text(size: int | None) -> str:
    """Bytes as people read them, the number and its unit on one line.

    >>> size_text(532), size_text(12_345), size_text(None)
    ('532\\xa0B', '12.3\\xa0kB', '')
    """
    if size is None:
        return ""
    if size < 1000:
        return f"{size}\N{NO-BREAK SPACE}B"
    amount, units = size / 1000, ["kB", "MB", "GB"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.3g}\N{NO-BREAK SPACE}{units[0]}"


def seconds_text(seconds: float | None) -> str:
    """A duration as people read it.

    >>> seconds_text(0.0031), seconds_text(0.42), seconds_text(75.4)
    ('3.1 ms', '0.42 s', '75 s')
    """
    if seconds is None:
        return ""
    if seconds < 0.0995:
        return f"{seconds * 1000:.2g} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.0f} s"


def elapsed_text(seconds: float) -> str:
    """How long something has taken so far: whole seconds, as it is still going on.

    >>> elapsed_text(1.4), elapsed_text(75.4)
    ('1 s', '1 min 15 s')
    """
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def moment_text(stamp: str | None, *, seconds: bool = True) -> str:
    """A time stamp of the server (UTC, ISO 8601) as local time with its zone; odd ones as is.

    Local is where the kernel runs, which need not be where the reader is: so the zone is said.
    """
    if not stamp:
        return ""
    text = stamp.replace("Z", "+00:00")
    head, dot, fraction = text.partition(".")
    if dot:  # the contract's stamps have seven digits and no zone
        digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
        text = f"{head}.{digits[:6].ljust(6, '0')}{fraction[len(digits) :]}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return stamp
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    local = moment.astimezone()
    offset = local.strftime("%z")  # "+0530"; the zone's name is not the same on all systems
    zone = "UTC" if not local.utcoffset() else f"{offset[:3]}:{offset[3:5]}"
    return f"{local:%Y-%m-%d %H:%M:%S} {zone}" if seconds else f"{local:%Y-%m-%d %H:%M} {zone}"


def params_text(params: Iterable[Mapping[str, Any]], limit: int = 0) -> str:
    """``hp: float, wt: float = 2.8``, as ``-i`` takes it; "none" when there are none.

    ``limit``: cut at so many characters.
    """
    text = params_to_text(list(params)) or "none"
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


def json_text(value: Any, limit: int = 200) -> str:
    """A JSON value on one line, cut at ``limit`` characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def inputs_text(inputs: Mapping[str, Any], limit: int = 120) -> str:
    """``hp=120, wt=2.8``, cut at ``limit`` characters."""
    text = ", ".join(f"{name}={json_text(value, limit)}" for name, value in inputs.items())
    return (text if len(text) <= limit else text[: limit - 1] + "…") or "no inputs"


def count_text(number: int, one: str, many: str = "") -> str:
    """``1 state``, ``3,000 states``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
