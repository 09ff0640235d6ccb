"""Which libraries a version is sure to import, and which of them may be imported before a fork."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# Libraries that were tried: imported before a fork, they work in the child (their threads, if they
# have any, start with the first use). Anything else is imported by the worker itself.
FORK_SAFE = frozenset(
    {
        "dill",
        "cloudpickle",
        "joblib",
        "lightgbm",
        "numpy",
        "pandas",
        "patsy",
        "pyarrow",
        "scipy",
        "sklearn",
        "statsmodels",
        "threadpoolctl",
        "xgboost",
    }
)
# Packages whose module has another name than the package.
# Code that says one of these may mean to change what an import does; it must come first then.
_BEFORE_IMPORT = ("environ", "putenv", "sys.path", "sys.modules", "meta_path")
_MODULE_OF = {"scikit-learn": "sklearn"}
_NEEDED_BY_TYPE = {"data.frame": "pandas", "vector": "numpy", "matrix": "numpy"}


def safe_imports(spec: Mapping[str, Any]) -> list[str]:
    """Modules to import before a fork for this load spec; [] when a fork would gain nothing.

    They are read from the sources, the declared types, and ``spec["imports"]`` (names of modules
    or packages, as the web node knows them).
    """
    found = dict.fromkeys(_named(spec))
    if any(word in source for source in _sources(spec) for word in _BEFORE_IMPORT):
        return []
    # A file of the version comes before an installed module of its name.
    files = {str(item["name"]).partition(".")[0] for item in spec.get("files") or ()}
    safe = [name for name in found if top_of(name) in FORK_SAFE and top_of(name) not in files]
    # dill alone is not worth a process.
    return safe if any(top_of(name) != "dill" for name in safe) else []


def top_of(name: str) -> str:
    return name.partition(".")[0]


def _named(spec: Mapping[str, Any]) -> Iterator[str]:
    for name in spec.get("imports") or ():
        yield _MODULE_OF.get(str(name).lower(), str(name))
    for param in [*(spec.get("inputs") or ()), *(spec.get("outputs") or ())]:
        needed = _NEEDED_BY_TYPE.get(param.get("type"))
        if needed:
            yield needed
    if spec.get("objects"):
        yield "dill"
    for source in _sources(spec):
        if "import" in source:
            yield from imported_by(source)


def _sources(spec: Mapping[str, Any]) -> list[str]:
    sources = [item.get("source") for item in spec.get("prelude") or ()]
    return [source for source in [*sources, spec.get("initCode"), spec.get("code")] if source]


def imported_by(source: str) -> Iterable[str]:
    """Modules that the source imports at its top level or in a function; [] for no valid source."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
            # It may be a submodule; if it is none, importing it fails and nothing is lost.
            found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name != "*"]
    return found
