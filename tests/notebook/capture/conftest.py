"""A notebook whose cells can be captured."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capturing import Kernel


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kernel]:
    made = Kernel(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", made.main)
    yield made
    for name in made.cells:
        linecache.cache.pop(name, None)
