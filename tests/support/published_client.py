"""Microsoft's own client of the published contract, from PyPI and unmodified.

It was made for Python up to 3.7. Two things in it do not work on a newer one, neither of which any
server can help, so :func:`load` puts them right from outside; nothing else is touched. Under 3.7
itself nothing is. This module must run there, too: ``tests/e2e/programs/published_client.py``.
"""

from __future__ import annotations

import inspect
import sys
import types
from typing import Any


def load() -> tuple[Any, Any]:
    """Its ``DeployClient`` and ``MLServer``, made to run on this Python."""
    if sys.version_info >= (3, 12):
        # Imported by it for DeployClient(use="MLServer"), which never worked; gone since 3.12.
        sys.modules["imp"] = types.ModuleType("imp")
    from azureml.common import utils
    from azureml.deploy import DeployClient
    from azureml.deploy.server import MLServer, service

    if sys.version_info >= (3, 12):
        del sys.modules["imp"]  # nobody else shall find it
    if sys.version_info >= (3, 8):  # noqa: UP036
        utils.function_beget = service.function_beget = function_beget
    return DeployClient, MLServer


def function_beget(fn: Any, fn_name: str, fn_args: list[str], doc: str = "") -> Any:
    """The method of a service object by which it is called; ``fn_args`` begins with ``self``.

    The original builds a code object with the arguments of Python 3.7, which newer ones refuse.
    """
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in fn_args])

    def call(*args: Any, **kwargs: Any) -> Any:
        given = dict(signature.bind(*args, **kwargs).arguments)
        return given.pop("self")._consume(given)

    call.__name__ = fn_name
    call.__doc__ = doc
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call
