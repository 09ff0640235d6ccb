"""How many threads the libraries of the author's code take while a block of records is worked on.

Those of linear algebra and OpenMP take one a core each. With a worker on every core they stand in
each other's way: measured, a scikit-learn pipeline took twice as long. A single call keeps them
all. They are told by threadpoolctl, which scikit-learn loads; where it is not loaded nothing is
limited.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator


class Threads:
    """Knows the libraries that are loaded."""

    def __init__(self) -> None:
        self._found: Any = None
        self._modules = 0

    @contextmanager
    def at_most(self, count: int) -> Iterator[None]:
        """Meanwhile no library takes more than ``count``, nor more than it did; 0: no limit."""
        found = self._libraries() if count else None
        limits: Dict[str, int] = {}
        for library in found.info() if found is not None else ():
            prefix, threads = library["prefix"], library["num_threads"]
            limits[prefix] = min(threads, count, limits.get(prefix, count))
        if limits and found is not None:
            with found.limit(limits=limits):
                yield
        else:
            yield

    def _libraries(self) -> Any:
        # To look for them takes milliseconds; others come only with modules.
        if self._modules != len(sys.modules):
            try:
                self._found = sys.modules["threadpoolctl"].ThreadpoolController()
            except Exception:  # none, an old one, or one that does not know this system
                self._found = None
            self._modules = len(sys.modules)
        return self._found
