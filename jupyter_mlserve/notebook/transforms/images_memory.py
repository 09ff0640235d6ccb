"""Results that the same images gave, kept while a model is proven.

The proof asks a model hundreds of times with few images and ever other numbers beside them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any

_MOST = 1000
_memory: dict[Hashable, Any] | None = None


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """Within this, :func:`recall` computes each thing once."""
    global _memory
    before, _memory = _memory, {}
    try:
        yield
    finally:
        _memory = before


def active() -> bool:
    return _memory is not None


def recall(key: Hashable, compute: Callable[[], Any]) -> Any:
    """``compute()``, or what it gave for the same key."""
    if _memory is None:
        return compute()
    if key not in _memory:
        made = compute()
        if len(_memory) >= _MOST:
            return made
        _memory[key] = made
    return _memory[key]
