"""ISO 8601 text to and from ``datetime``, the same under every Python version."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


def match(text: str) -> Optional[Any]:
    """The match of an ISO 8601 date or date and time; group 8 is the zone."""
    return _ISO.fullmatch(text)


def parse(text: str) -> Optional[datetime]:
    """``text`` as a datetime (aware when it has a zone; digits below microseconds are cut).

    None when it is no ISO 8601 date, or no day of the calendar.
    """
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        return datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int((fraction or "0")[:6].ljust(6, "0")),
            _zone(zone),
        )
    except ValueError:
        return None


def _zone(text: Optional[str]) -> Optional[timezone]:
    if not text:
        return None
    if text == "Z":
        return timezone.utc
    hours, minutes = int(text[1:3]), int(text[-2:])
    if minutes > 59:
        raise ValueError(text)
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
