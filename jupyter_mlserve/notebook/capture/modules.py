"""What a module is to a fresh interpreter: installed, part of Python, or only here.

A module counts as installed if an interpreter started elsewhere would find it: it lies in the
standard library, in a site folder, in a folder that a ``.pth`` file names, or an editable install's
own finder knows it. A file in the notebook's folder, or on a path that was added to ``sys.path``,
is only here.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

Where = Literal["python", "installed", "local", "missing", "made"]

# Distributions whose name is not that of their package; any other is looked up, which is slow.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "mpl_toolkits": "matplotlib",
    "pkg_resources": "setuptools",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}


class Place(NamedTuple):
    """Where a top-level module lives. ``path``: its file, or the folder of a package."""

    where: Where
    path: Path | None = None

    @property
    def travels(self) -> bool:
        return self.where in ("python", "installed")


class Places:
    """Looks up modules for one capture; what is installed may change between captures."""

    def __init__(self) -> None:
        self.installed = _site_folders()
        self.known: dict[str, Place] = {}

    def of(self, module: str) -> Place:
        """The place of the top-level package of ``module``, without importing anything."""
        top = module.partition(".")[0]
        if top not in self.known:
            self.known[top] = self._find(top)
        return self.known[top]

    def _find(self, top: str) -> Place:
        if top in sys.builtin_module_names:
            return Place("python")
        paths = _paths_of(top)
        if paths is None:
            return Place("missing")
        if not paths:
            # No file: frozen into the interpreter, or made while the notebook ran.
            return Place("python" if top in sys.stdlib_module_names else "made")
        path = paths[0]
        if any(_inside(path, folder) for folder in self.installed):
            return Place("python" if top in sys.stdlib_module_names else "installed", path)
        return Place("installed" if _editable(top) else "local", path)


def _paths_of(top: str) -> list[Path] | None:
    """File of a module, folders of a package, [] when it has neither, None when it is not found."""
    module = sys.modules.get(top)
    if module is not None:
        found = getattr(module, "__file__", None)
        folders = list(getattr(module, "__path__", None) or ())
    else:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError, AttributeError):
            spec = None
        if spec is None:
            return None
        found = spec.origin if spec.has_location else None
        folders = list(spec.submodule_search_locations or ())
    if folders:
        return [Path(os.path.realpath(folder)) for folder in folders]
    return [Path(os.path.realpath(found))] if found else []


def _site_folders() -> list[str]:
    """Folders on the path of every interpreter of this environment: sites, what .pth files add,
    and PYTHONPATH."""
    known = sysconfig.get_paths()
    sites = {known["purelib"], known["platlib"], *site.getsitepackages()}
    if site.ENABLE_USER_SITE:
        sites.add(site.getusersitepackages())
    # A virtual environment has its own site folder and its base's standard library.
    library = os.path.dirname(os.__file__)
    folders = {*sites, known["stdlib"], known["platstdlib"], library}
    for folder in sites:
        for entry in _pth_files(folder):
            with suppress(OSError, UnicodeDecodeError):
                for line in entry.read_text(encoding="utf-8-sig").splitlines():
                    line = line.strip()
                    if line and not line.startswith(("#", "import ", "import\t")):
                        folders.add(os.path.join(folder, line))
    # A path that every process of this environment is told; what lies in the notebook's folder is
    # found here only because Python also looks there.
    here = os.path.realpath(os.curdir)
    told = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders |= {folder for folder in told if folder and os.path.realpath(folder) != here}
    return [os.path.realpath(folder) for folder in folders]


def _pth_files(folder: str) -> list[Path]:
    try:
        return [Path(e.path) for e in os.scandir(folder) if e.name.endswith(".pth")]
    except OSError:
        return []


def _inside(path: Path, folder: str) -> bool:
    return path.is_relative_to(folder)


def _editable(top: str) -> bool:
    """Whether an editable install's import hook finds the module (it needs no path)."""
    for finder in sys.meta_path:
        owner = f"{getattr(finder, '__module__', '')}.{type(finder).__module__}".lower()
        if "editable" in owner:
            with suppress(Exception):
                if finder.find_spec(top, None) is not None:
                    return True
    return False


def import_statement(name: str, module: ModuleType, chains: Iterable[str]) -> str | None:
    """Statements that bind ``name`` to ``module`` and load the submodules that ``chains`` use.

    ``chains`` are dotted attributes of ``name`` in the code: ``sklearn.linear_model`` needs
    ``import sklearn.linear_model``, because ``import sklearn`` may not load it. None when the
    module cannot be imported by its name.
    """
    full = module.__name__
    if sys.modules.get(full) is not module:
        return None
    if not all(part.isidentifier() for part in full.split(".")):
        return None
    lines = [f"import {full}" if name == full else f"import {full} as {name}"]
    for chain in chains:
        steps = chain.split(".")[1:]
        at: object = module
        for count, step in enumerate(steps, 1):
            at = getattr(at, step, None)
            dotted = ".".join([full, *steps[:count]])
            if not isinstance(at, ModuleType) or sys.modules.get(dotted) is not at:
                break
            # __import__ binds nothing: with an alias the plain statement would bind a new name.
            line = f"import {dotted}" if name == full else f'__import__("{dotted}")'
            if line not in lines:
                lines.append(line)
    return "\n".join(lines) + "\n"


def home_of(value: object) -> tuple[str, str] | None:
    """``(module, name)`` from which ``value`` (function, class, ufunc ...) can be imported.

    The shortest public module is taken: ``sklearn.linear_model``, not
    ``sklearn.linear_model._base``. None when no loaded module has exactly this object.
    """
    try:
        module, name = value.__module__, value.__qualname__  # type: ignore[attr-defined]
    except Exception:
        if type(value).__name__ != "ufunc":
            return None
        module, name = type(value).__module__, getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not name.isidentifier():
        return None
    found: tuple[str, str] | None = None
    parts = module.split(".")
    while parts:
        at = sys.modules.get(".".join(parts))
        if at is not None and getattr(at, "__dict__", {}).get(name) is value:
            found = (".".join(parts), name)
            if not parts[-1].startswith("_"):
                return found
        elif found is not None and not parts[-1].startswith("_"):
            return found
        parts.pop()
    return found


def imports_of_file(path: Path) -> list[str]:
    """Modules that a Python file imports, by its text; [] when it cannot be read."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
    return list(dict.fromkeys(found))


def package_versions(modules: Iterable[str], places: Places) -> dict[str, str]:
    """Distribution name to version, for the installed ones among ``modules``."""
    versions: dict[str, str] = {}
    for top in sorted({module.partition(".")[0] for module in modules}):
        if places.of(top).where != "installed":
            continue
        for name in _distributions_of(top):
            with suppress(importlib.metadata.PackageNotFoundError):
                versions[name] = importlib.metadata.version(name)
    return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


@functools.lru_cache(maxsize=512)
def _distributions_of(top: str) -> tuple[str, ...]:
    for name in (_DISTRIBUTIONS.get(top), top):
        if name is None:
            continue
        with suppress(importlib.metadata.PackageNotFoundError):
            return (str(importlib.metadata.distribution(name).metadata["Name"]),)
    return tuple(dict.fromkeys(_all_distributions().get(top, ())))


@functools.lru_cache(maxsize=1)
def _all_distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())
