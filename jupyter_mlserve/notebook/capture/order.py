"""The steps of a prelude, and the order in which a worker takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Literal

from .spool import Pickled


@dataclass
class Node:
    """One step of the prelude: the import, source or object that makes ``name``.

    first: names that must be there before it runs (bases of a class, default arguments, the class
    of a pickled object). later: names that are read when it is called, so they only have to be
    there in the end, and may go in a circle. An import's source is made at the end, from all uses.
    """

    name: str
    kind: Literal["import", "source", "object"]
    source: str = ""
    module: ModuleType | None = None
    pickled: Pickled | None = None
    type: str = ""
    reason: str = ""
    first: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)


def ordered(nodes: Mapping[str, Node]) -> list[Node]:
    """All nodes, imports first, each after what must be there before it runs.

    Nodes that need one another only when they are called may come in any order, so recursion is no
    obstacle. Ties keep the order in which the names were found.
    """
    done: dict[str, Node] = {name: node for name, node in nodes.items() if node.kind == "import"}
    active: set[str] = set()

    def place(name: str) -> None:
        node = nodes[name]
        if name in done or name in active:
            return
        active.add(name)
        for other in node.first:
            place_whole(other, set())
        active.discard(name)
        done[name] = node

    def place_whole(name: str, seen: set[str]) -> None:
        """``name`` may be called before the node that needs it is there: so all it reads must be
        there too."""
        if name in seen or name not in nodes:
            return
        seen.add(name)
        place(name)
        for other in (*nodes[name].later, *nodes[name].first):
            place_whole(other, seen)

    for name in nodes:
        place(name)
    return list(done.values())
