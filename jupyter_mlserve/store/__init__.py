"""What the server keeps: the catalog of services and the blobs they need.

>>> from jupyter_mlserve.store import Blobs, Catalog, State, Event, blobs_of

Both are safe to use from several threads and several processes at once. Their methods block:
reads of the catalog take microseconds on SQLite and may run on an event loop; what writes, and
everything of Blobs, belongs in a thread.
"""

from __future__ import annotations

from .blobs import Blobs, Collected
from .catalog import Catalog
from .models import Event, State, blobs_of
from .writer import BlobWriter

__all__ = ["BlobWriter", "Blobs", "Catalog", "Collected", "Event", "State", "blobs_of"]
