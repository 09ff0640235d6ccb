"""The core API: what the server answers beside the services themselves.

A table of operations, and its documents. Paths, operations, parameters and tags of the published
contract have its names, which are those of generated clients; ours stand beside them. The
sentences are ours.
"""

from .documents import OPERATIONS, openapi, swagger

__all__ = ["OPERATIONS", "openapi", "swagger"]
