"""The extras that texts and messages tell people to install are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NAMED = re.compile(r"jupyter_mlserve\[([a-z, ]+)\]")
_DECLARED = re.compile(r"^(\w+) = \[", re.MULTILINE)


def test_every_extra_that_is_named_exists() -> None:
    texts = [*ROOT.glob("*.md"), *ROOT.glob("notebooks/*.md"), *ROOT.glob("notebooks/*.ipynb")]
    texts += ROOT.glob("jupyter_mlserve/**/*.py")
    named = {
        extra.strip()
        for text in texts
        for found in _NAMED.findall(text.read_text("utf-8"))
        for extra in found.split(",")
    }
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    section = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert {"arrow", "images", "sentiment"} <= named <= set(_DECLARED.findall(section))
