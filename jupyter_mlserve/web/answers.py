"""What the compute node replied, for a web node that needs to know more than to pass it on."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..contract.errors import MLServeError, from_body

if TYPE_CHECKING:
    from ..compute.client import Reply


def error_of(reply: Reply) -> MLServeError:
    """A reply that is not 200, as the error it stands for."""
    body: Any = None
    with suppress(ValueError):
        body = json.loads(reply.body)
    exc = from_body(reply.status, body)
    for detail in ("retry_after", "traceback"):
        if reply.header.get(detail):
            exc.details.setdefault(detail, reply.header[detail])
    return exc
