"""Other Python interpreters of this machine, and virtual environments made from them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def other_interpreter() -> str | None:
    """A Python of another minor version (3.10 or newer), or None when the machine has none."""
    own = sys.version_info[:2]
    folders = [Path(root) for root in os.environ.get("PATH", "").split(os.pathsep) if root]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders += sorted(pyenv.glob("*/bin")) + sorted(
        Path("/opt/hostedtoolcache/Python").glob("*/*/bin")
    )
    for minor in (12, 13, 11, 10, 14):
        if (3, minor) == own:
            continue
        for folder in folders:
            candidate = shutil.which(f"python3.{minor}", path=str(folder))
            if candidate and runs(candidate, minor):
                return candidate
    return None


def runs(interpreter: str, minor: int) -> bool:
    """A pyenv shim can be on PATH and still refuse to run."""
    code = "import sys, venv; print(sys.version_info[1])"
    result = subprocess.run([interpreter, "-c", code], capture_output=True, text=True)
    return result.returncode == 0 and result.stdout.strip() == str(minor)


def make_environment(folder: Path, interpreter: str, *packages: str) -> str:
    """A virtual environment with ``packages``; returns its interpreter."""
    subprocess.run([interpreter, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--prefer-binary", *packages], check=True)
    return python
