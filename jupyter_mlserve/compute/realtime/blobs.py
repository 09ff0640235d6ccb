"""Reading a stored container, and believing it only by its digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ...contract.errors import BundleCorrupt

_WHAT_NOW = "Publish the version again, or restore the server's files."


def read_blob(spec: dict[str, Any]) -> bytes:
    """The container of a load spec. Raises BundleCorrupt when it is gone or not what it was."""
    label = f"{spec['name']} {spec['version']}"
    try:
        data = Path(spec["model"]["path"]).read_bytes()
    except OSError as exc:
        raise BundleCorrupt(
            f"{label}: the stored model cannot be read ({exc.strerror}). {_WHAT_NOW}"
        ) from None
    if hashlib.sha256(data).hexdigest() != spec["model"]["sha256"]:
        raise BundleCorrupt(f"{label}: the stored model is not what was published. {_WHAT_NOW}")
    return data
