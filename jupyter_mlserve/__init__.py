"""Publish functions and models from a notebook as web services of the running Jupyter server.

Importing this package imports none of its rooms: the Jupyter server loads it to find the
extension and must never load pickles, pandas or author code (DESIGN, promise 1), and a kernel
that only wants the client must not need the server's libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .client.batch import Batch
    from .client.batch_response import BatchResponse
    from .client.deploy import DeployClient, MLServer
    from .client.response import ServiceResponse
    from .client.service import Service
    from .contract.errors import MLServeError
    from .notebook.compile import serialize_model
    from .notebook.transforms.images import ExtractPixels, FeaturizeImage, LoadImage, ResizeImage
    from .notebook.transforms.text import Sentiment

__all__ = [
    "Batch",
    "BatchResponse",
    "DeployClient",
    "ExtractPixels",
    "FeaturizeImage",
    "LoadImage",
    "MLServeError",
    "MLServer",
    "ResizeImage",
    "Sentiment",
    "Service",
    "ServiceResponse",
    "__version__",
    "serialize_model",
]

_LAZY = {
    "Batch": ".client.batch",
    "BatchResponse": ".client.batch_response",
    "DeployClient": ".client.deploy",
    "ExtractPixels": ".notebook.transforms.images",
    "FeaturizeImage": ".notebook.transforms.images",
    "LoadImage": ".notebook.transforms.images",
    "MLServeError": ".contract.errors",
    "MLServer": ".client.deploy",
    "ResizeImage": ".notebook.transforms.images",
    "Sentiment": ".notebook.transforms.text",
    "Service": ".client.service",
    "ServiceResponse": ".client.response",
    "serialize_model": ".notebook.compile",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .web.app import MLServeApp

    return [{"module": "jupyter_mlserve", "app": MLServeApp}]


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext jupyter_mlserve``: register the magics in this IPython."""
    from .notebook.extension import load_ipython_extension as load

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """``%unload_ext jupyter_mlserve``: remove the magics again."""
    from .notebook.extension import unload_ipython_extension as unload

    unload(ipython)
