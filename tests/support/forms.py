"""Forms as clients send them: ``multipart/form-data`` bodies, written by httpx."""

from __future__ import annotations

import httpx


def multipart(**parts: str | bytes | None) -> tuple[bytes, dict[str, str]]:
    """The body of the parts that are not None, and its Content-Type header. "model" is a file."""
    fields = {
        name: ("model" if name == "model" else None, content)
        for name, content in parts.items()
        if content is not None
    }
    request = httpx.Request("POST", "http://x", files=fields)
    return request.read(), {"Content-Type": request.headers["Content-Type"]}
