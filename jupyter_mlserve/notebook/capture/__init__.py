"""Capture: from the code in a notebook cell to everything a fresh process needs to run it.

:func:`capture_cell` takes the text of a cell, :func:`capture_function` a function object. Both
give a :class:`Capture`: the body of a publish request, its blobs, and a report.

How it works: ``reading`` finds the names that a text uses and does not define, by the compiler's
symbol tables (``scopes``) and the order of its statements (``flow``). ``collect`` looks at what
each name is and follows it: modules become imports (``modules``), functions and classes of the
notebook travel as source where a text truly defines them (``definitions``, ``sources``,
``classes``, ``texts``), all else is pickled (``pickling``, ``spool``), unless it cannot travel
(``refusal``) or looks secret (``credentials``). ``order`` puts what was found in the order in
which a worker can make it. ``parameters`` and ``script`` find inputs and outputs, ``packing`` puts
all together. Nothing here runs the author's code, except what pickling runs (``__reduce__`` and
its kin, once per object).
"""

from __future__ import annotations

from .build import capture_cell, capture_function
from .result import Capture, CaptureOptions, Item, human_size

__all__ = ["Capture", "CaptureOptions", "Item", "capture_cell", "capture_function", "human_size"]
