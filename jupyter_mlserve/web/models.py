"""Uploaded models: read as far as the web node may look, and kept among the blobs."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..contract.errors import BlobMissing, BundleCorrupt
from ..contract.realtime import unpack
from ..store.blobs import Blobs

Json = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """What a publisher of a realtime version gave; None where nothing, "" to have none."""

    container: bytes | None = None
    description: str | None = None
    operation_id: str | None = None


@dataclass(frozen=True)
class Model:
    """An uploaded container, what its header says, and by what it is known to the stores."""

    container: bytes
    header: Json
    sha256: str

    @property
    def blob(self) -> Json:
        return {"sha256": self.sha256, "size": len(self.container)}


def read_model(container: bytes, max_model: int) -> Model:
    """Check the container and its header, not the compiled model inside (at most ``max_model``
    bytes). Raises InvalidDefinition, TooLarge."""
    header = unpack(container, max_model).header
    return Model(container, header, hashlib.sha256(container).hexdigest())


def store_model(blobs: Blobs, model: Model) -> bool:
    """Have the container among the blobs, durably. False when it was there, undamaged."""
    with suppress(BlobMissing, BundleCorrupt):
        if blobs.has(model.sha256):
            blobs.path(model.sha256, verify=True)
            return False
    with blobs.writer(model.sha256, expected_size=len(model.container)) as writer:
        writer.write(model.container)
    return True
