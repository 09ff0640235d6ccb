"""The libraries that compiling needs, imported when it begins and not before."""

from __future__ import annotations

import importlib
import importlib.metadata
from types import ModuleType

from ...contract.errors import MLServeError

_PACKAGES = {
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "skl2onnx": "skl2onnx",
    "sklearn": "scikit-learn",
    "PIL": "pillow",
}
_ALWAYS = ("sklearn", "onnx", "onnxruntime", "skl2onnx")


def load(name: str) -> ModuleType:
    """The module ``name``; an error of one line that says what to install when it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        package = _PACKAGES.get(name.split(".")[0], name)
        raise MLServeError(
            f"Compiling a model needs {package}, which this kernel's environment does not have "
            f"({exc}). Install it: pip install {package}",
            field=package,
        ) from None


def require() -> None:
    """Raise at once if any library is missing, before work is spent."""
    for name in _ALWAYS:
        load(name)


def versions(extra: tuple[str, ...] = ()) -> dict[str, str]:
    """Versions of the libraries that took part, by the name they are installed by."""
    found = {}
    for name in (*_ALWAYS, *extra):
        package = _PACKAGES.get(name, name)
        version = getattr(load(name), "__version__", None)
        found[package] = str(version or importlib.metadata.version(package))
    return found
