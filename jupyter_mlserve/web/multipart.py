"""Bodies of ``multipart/form-data``: a few named parts, taken apart byte for byte.

The parser is tornado's. What it takes for granted, or leaves to its caller, is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from email.message import Message
from typing import NoReturn

from tornado.httputil import (
    HTTPFile,
    HTTPInputError,
    ParseMultipartConfig,
    parse_multipart_form_data,
)

from ..contract.errors import InvalidInput

MEDIA_TYPE = "multipart/form-data"
_LIMITS = ParseMultipartConfig(max_parts=16, max_part_header_size=8 * 1024)
# RFC 2046, section 5.1.1.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]\Z")


def boundary_of(content_type: str, what: str = "model", part: str = "model") -> bytes:
    """The boundary that a Content-Type header announces. Raises InvalidInput if there is none.

    ``what`` should have come as ``part``; for the message.
    """
    header = Message()
    header["Content-Type"] = content_type.replace("\r", " ").replace("\n", " ")
    if header.get_content_type() != MEDIA_TYPE:
        given = repr(content_type[:80]) if content_type else "no Content-Type"
        raise InvalidInput(
            f"Send the {what} as the part {part!r} of a {MEDIA_TYPE} body; this one has {given}.",
            expected=MEDIA_TYPE,
            got=given,
        )
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not _BOUNDARY.match(boundary):
        _malformed("the Content-Type header names no valid boundary")
    return boundary.encode("ascii")


def parts_of(body: bytes, boundary: bytes, known: Collection[str]) -> dict[str, bytes]:
    """The content of each part by its name; file names and types of parts do not matter.

    Raises InvalidInput when the body is malformed or cut off, or has a part that is not ``known``,
    or one twice. Takes about three times the memory of the body while it runs.
    """
    delimiter = b"--" + boundary
    if not body.startswith(delimiter):
        # RFC 2046 has readers ignore what comes before the first one.
        start = body.find(b"\r\n" + delimiter)
        body = body[start + 2 :] if start >= 0 else body
    fields: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_multipart_form_data(boundary, body, fields, files, config=_LIMITS)
    except HTTPInputError as exc:
        _malformed(_reason(exc))
    except Exception as exc:
        # Header values pass through a good deal of the standard library's mail package.
        _malformed(f"the header of a part cannot be read: {type(exc).__name__}")
    parts: dict[str, bytes] = {}
    found = [(name, content) for name, contents in fields.items() for content in contents]
    found += [(name, file.body) for name, contents in files.items() for file in contents]
    for name, content in found:
        if name not in known:
            raise InvalidInput(
                f"The body has a part named {name[:80]!r}; known are {', '.join(sorted(known))}.",
                field=name[:80],
            )
        if name in parts:
            raise InvalidInput(f"The body has two parts named {name!r}.", field=name)
        parts[name] = content
    return parts


def text_of(parts: dict[str, bytes], name: str) -> str | None:
    """A part that is text; None when it is absent. Raises InvalidInput if it is not UTF-8."""
    content = parts.get(name)
    try:
        return None if content is None else content.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(field=name, expected="text in UTF-8", got="other bytes") from None


def _reason(exc: HTTPInputError) -> str:
    text = str(exc)
    if "no final boundary" in text:
        return "its final boundary is missing, so it was cut off or has another boundary"
    return text.removeprefix("Invalid multipart/form-data: ").removeprefix("multipart/form-data ")


def _malformed(why: str) -> NoReturn:
    raise InvalidInput(f"The body is no valid {MEDIA_TYPE}: {why}.")
