"""Batch executions: what the database says of them, and their files.

>>> from jupyter_mlserve.store.batches import BatchFiles, Chunk, Execution, Executions, Quota

Importing this imports nothing else of the store, and no library: what splits uploads and renders
results runs in child processes, which must start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .files import BatchFiles
    from .holders import new_holder
    from .index import IndexWriter
    from .models import Chunk, DamagedUnit, Execution, Quota, Summary, new_id
    from .records import Executions
    from .upload import Upload

__all__ = [
    "BatchFiles",
    "Chunk",
    "DamagedUnit",
    "Execution",
    "Executions",
    "IndexWriter",
    "Quota",
    "Summary",
    "Upload",
    "new_holder",
    "new_id",
]

_PLACES = {
    "BatchFiles": "files",
    "Chunk": "models",
    "DamagedUnit": "models",
    "Execution": "models",
    "Executions": "records",
    "IndexWriter": "index",
    "Quota": "models",
    "Summary": "models",
    "Upload": "upload",
    "new_holder": "holders",
    "new_id": "models",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
