"""What the server keeps: the catalog of services, the blobs they need, and batch executions.

>>> from jupyter_mlserve.store import Blobs, Catalog, State, Event, blobs_of

Both are safe to use from several threads and several processes at once. Their methods block:
reads of the catalog take microseconds on SQLite and may run on an event loop; what writes, and
everything of Blobs, belongs in a thread. Batch executions have a room of their own, ``batches``.
Importing this package loads no library: the child processes of batches must start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .blobs import Blobs, Collected
    from .catalog import Catalog
    from .models import Event, State, blobs_of
    from .writer import BlobWriter

__all__ = ["BlobWriter", "Blobs", "Catalog", "Collected", "Event", "State", "blobs_of"]

_PLACES = {
    "BlobWriter": "writer",
    "Blobs": "blobs",
    "Catalog": "catalog",
    "Collected": "blobs",
    "Event": "models",
    "State": "models",
    "blobs_of": "models",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
