"""What a request about batches asks for: its query and headers, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...contract.batch import DEFAULT_PARALLEL, FORMATS, MEDIA
from ...contract.errors import InvalidInput, NotFound, UnsupportedMedia

Query = Mapping[str, Sequence[bytes]]

# Results on one JSON page: unless said otherwise, and at most.
PAGE, MAX_PAGE = 1_000, 10_000
# No position, count or limit is larger; so none needs more than these digits.
MOST = 10**18

# Media types by which clients send JSON without meaning to say so. `curl -d` calls all a form.
UNSAID = frozenset({"", "application/x-www-form-urlencoded", "text/json"})
UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})
TEXTS = frozenset({"json", "lines", "csv"})
READ = (
    "Batches are read as a JSON array (application/json), as JSON lines (application/x-ndjson), "
    "as CSV (text/csv), Arrow stream (application/vnd.apache.arrow.stream) or Parquet "
    "(application/vnd.apache.parquet), uncompressed; texts in UTF-8."
)
YES, NO = frozenset({"true", "1"}), frozenset({"false", "0"})
_WHOLE = re.compile(r"0|[1-9][0-9]*")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Page:
    """Which results are meant: ``limit`` None means all from ``offset`` on."""

    offset: int
    limit: int | None


def one(query: Query, name: str) -> str | None:
    """The value of a parameter of the query; None if it is not there."""
    values = query.get(name)
    if not values:
        return None
    if len(values) > 1:
        raise InvalidInput(field=name, expected="one value", got=f"{len(values)} of them")
    return values[0].decode("utf-8", "replace")


def whole(query: Query, name: str, least: int, default: int | None) -> int | None:
    """A whole number in plain decimal digits; huge ones count as ``MOST``."""
    text = one(query, name)
    if text is None:
        return default
    if not _WHOLE.fullmatch(text) or (least and text == "0"):
        raise InvalidInput(
            field=name,
            expected=f"a whole number from {least} on",
            got=repr(text[:40]),
        )
    return MOST if len(text) > 18 else int(text)


def flag(query: Query, *names: str) -> bool | None:
    """Whether one of these parameters, which mean the same, says true; None if none is there."""
    found = None
    for name in names:
        text = one(query, name)
        if text is None:
            continue
        if text.lower() not in YES | NO:
            raise InvalidInput(field=name, expected="true or false", got=repr(text[:40]))
        found = bool(found) or text.lower() in YES
    return found


def partial(query: Query) -> bool:
    """Whether results are wanted before the end. Both spellings of the published contract."""
    return bool(flag(query, "showPartialResults", "showPartialResult"))


def parallel_count(query: Query, most: int) -> int:
    """How many records may be worked on at a time: what is asked for, lowered to the limit."""
    count = whole(query, "parallelCount", 1, DEFAULT_PARALLEL)
    assert count is not None
    return min(count, most)


def page(query: Query, format: str) -> Page:
    """Which results. JSON comes in pages, the other formats whole unless a limit is named."""
    offset = whole(query, "offset", 0, 0)
    limit = whole(query, "limit", 1, PAGE if format == "json" else None)
    assert offset is not None
    if format == "json" and limit is not None:
        limit = min(limit, MAX_PAGE)
    return Page(offset, limit)


def record_index(text: str, total: int) -> int:
    """A position in the path. Raises NotFound for all that is not the position of a record."""
    index = int(text) if _WHOLE.fullmatch(text) and len(text) <= 18 else -1
    if not 0 <= index < total:
        raise NotFound(
            f"There is no record {text[:40]!r} in this batch execution: its records are counted "
            f"from 0 to {total - 1}."
        )
    return index


def idempotency_key(headers: Any) -> str | None:
    """The caller's own name for this upload, by which a repetition of it is known."""
    keys = headers.get_list("Idempotency-Key")
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise InvalidInput(
            field="Idempotency-Key",
            expected="one header with 1 to 255 visible ASCII characters",
            got=f"{len(keys)} headers" if len(keys) > 1 else repr(keys[0][:40]),
        )
    return str(keys[0])


def upload_format(headers: Any) -> str:
    """Format of an upload, by its Content-Type: a key of ``contract.batch.MEDIA``."""
    given = headers.get("Content-Type", "")
    kind, *parameters = (part.strip() for part in given.lower().split(";"))
    charsets = [part[8:].strip('"') for part in parameters if part.startswith("charset=")]
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    format = FORMATS.get(kind)
    if format is None and (kind in UNSAID or kind.endswith("+json")):
        format = "json"
    if format is None:
        problem = f"The body is announced as {kind[:80]!r}."
    elif format in TEXTS and not UTF8.issuperset(charsets):
        problem = f"The body is announced as text in {charsets[0][:80]!r}."
    elif encoding not in ("", "identity"):
        problem = f"The body is announced as compressed ({encoding[:80]!r})."
    else:
        return format
    raise UnsupportedMedia(f"{problem} {READ}")


def download_format(query: Query, accept: str) -> str:
    """Format of a download: ``?format=``, or what Accept prefers among those that it names.

    JSON when neither names one of ours: most clients send ``*/*`` and want that.
    """
    text = one(query, "format")
    if text is not None:
        if text not in MEDIA:
            raise InvalidInput(
                field="format", expected=f"one of {', '.join(MEDIA)}", got=repr(text[:40])
            )
        return text
    best, quality = "json", 0.0
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        format = FORMATS.get(kind)
        if format is not None and (asked := _quality(parameters)) > quality:
            best, quality = format, asked
    return best


def _quality(parameters: list[str]) -> float:
    """The ``q`` of a part of an Accept header; what is not readable counts as 1 (RFC 9110)."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 1.0
            return quality if 0.0 <= quality <= 1.0 else 1.0
    return 1.0
