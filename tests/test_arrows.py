"""The rooms of the package and what each may import: the arrows of the design point one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_mlserve

PACKAGE = Path(jupyter_mlserve.__file__).parent

# Room -> the rooms it may import, besides itself. A dotted entry allows that module only.
ARROWS: dict[str, set[str]] = {
    "contract": set(),
    "worker": set(),
    "store": {"contract"},
    "access": {"contract"},
    "compute": {"contract", "worker.frames", "worker.limits"},
    "web": {"contract", "store", "access", "compute"},
    "client": {"contract", "worker.values", "worker.frames"},
    "notebook": {"contract", "client", "worker.values", "worker.frames"},
    "cli": {"contract", "client", "notebook", "web", "store", "access", "compute", "worker"},
}
# Packaging a function is the kernel's job; the client asks for it only when a function is given.
EXCEPTIONS = {("client", "notebook.capture")}


def imports_of(path: Path) -> Iterator[str]:
    """Full dotted names of everything ``path`` imports, relative imports resolved."""
    package = ["jupyter_mlserve", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def allowed(room: str, target: str) -> bool:
    parts = target.split(".")
    if parts[0] == room or parts[0].startswith("_version"):
        return True
    wanted = ARROWS[room] | {name for owner, name in EXCEPTIONS if owner == room}
    return any(target == name or target.startswith(f"{name}.") for name in wanted)


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_rooms_import_only_what_the_design_allows(room: str) -> None:
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in files
        for name in imports_of(path)
        if name.startswith("jupyter_mlserve.")
        and not allowed(room, name.removeprefix("jupyter_mlserve."))
    ]
    assert wrong == []


def test_every_folder_of_code_is_a_room() -> None:
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/*.py")}
    assert folders == set(ARROWS)


def test_importing_the_package_imports_none_of_its_rooms() -> None:
    code = (
        "import sys, jupyter_mlserve;"
        "print([m for m in sys.modules if m.startswith('jupyter_mlserve.')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['jupyter_mlserve._version']"


def test_the_worker_imports_only_itself_the_standard_library_and_dill() -> None:
    optional = {"dill", "numpy", "pandas", "pyarrow"}  # the author's, where they are installed
    outside = set()
    for path in sorted((PACKAGE / "worker").rglob("*.py")):
        for name in imports_of(path):
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top not in optional:
                outside.add(name)
    own = {path.stem for path in (PACKAGE / "worker").glob("*.py")}
    assert {
        name
        for name in outside
        if not name.startswith("jupyter_mlserve.worker.") and name.split(".")[0] not in own
    } == set()
