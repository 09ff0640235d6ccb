"""Decision trees as one node: ai.onnx.ml 5 TreeEnsemble, all in double.

skl2onnx writes the older operators, whose thresholds and sums are float32. LightGBM and
HistGradientBoosting compare doubles: with a feature such as seconds since 1970 the float32 route
takes the wrong branch on more than 1% of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .graph import DOUBLE, ML, Graph, Value
from .libraries import load

# nodes_modes of the operator.
LESS_OR_EQUAL, LESS, MEMBER = 0, 1, 6
_SUM, _NO_TRANSFORM = 1, 0


class Ensemble:
    """Trees that are summed per target. ``add`` them one by one, then ``write`` the node."""

    def __init__(self) -> None:
        self.features: list[int] = []
        self.splits: list[float] = []
        self.modes: list[int] = []
        self.missing_true: list[int] = []
        self.true_ids: list[int] = []
        self.false_ids: list[int] = []
        self.true_leafs: list[int] = []
        self.false_leafs: list[int] = []
        self.members: list[tuple[int, Sequence[float]]] = []
        self.targets: list[int] = []
        self.weights: list[float] = []
        self.roots: list[int] = []

    def leaf(self, target: int, weight: float) -> tuple[bool, int]:
        self.targets.append(target)
        self.weights.append(float(weight))
        return True, len(self.weights) - 1

    def branch(self, feature: int, split: float, mode: int, missing_true: bool) -> int:
        """A node whose branches are set by :meth:`connect`. NaN goes to the true branch or not."""
        self.features.append(int(feature))
        self.splits.append(float(split))
        self.modes.append(mode)
        self.missing_true.append(int(missing_true))
        for ids in (self.true_ids, self.false_ids, self.true_leafs, self.false_leafs):
            ids.append(0)
        return len(self.features) - 1

    def connect(self, node: int, true: tuple[bool, int], false: tuple[bool, int]) -> None:
        self.true_leafs[node], self.true_ids[node] = int(true[0]), true[1]
        self.false_leafs[node], self.false_ids[node] = int(false[0]), false[1]

    def root(self, top: tuple[bool, int]) -> None:
        """End a tree. A tree of a single leaf needs a node, whose branches are that leaf."""
        is_leaf, position = top
        if is_leaf:
            node = self.branch(0, 0.0, LESS_OR_EQUAL, True)
            self.connect(node, top, top)
            position = node
        self.roots.append(position)

    def add(
        self,
        target: int,
        top: Any,
        read: Callable[[Any], tuple[float, None] | tuple[None, Any]],
    ) -> None:
        """Add a tree given by ``read(node)``: ``(value, None)`` or ``(None, branch)``.

        ``branch`` is (feature, split or set of values, mode, missing_true, true child, false
        child). Subtrees that give one value everywhere become one leaf, which keeps the trees of
        single classes small. Iterative, because trees may be deeper than Python's stack.
        """
        done: dict[int, tuple[bool, int] | float] = {}
        stack: list[tuple[Any, int, bool]] = [(top, 0, False)]
        branches: dict[int, tuple[Any, int, int]] = {}
        count = 1
        while stack:
            node, key, ready = stack.pop()
            value, branch = (None, None) if ready else read(node)
            if ready:
                (feature, split, mode, missing, _, _), true_key, false_key = branches.pop(key)
                true, false = done.pop(true_key), done.pop(false_key)
                if isinstance(true, float) and isinstance(false, float) and true == false:
                    done[key] = true
                    continue
                ends = tuple(
                    self.leaf(target, end) if isinstance(end, float) else end
                    for end in (true, false)
                )
                at = self.branch(feature, 0.0 if mode == MEMBER else split, mode, missing)
                if mode == MEMBER:
                    self.members.append((at, split))
                self.connect(at, *ends)
                done[key] = (False, at)
            elif branch is None:
                done[key] = float(value)  # type: ignore[arg-type]
            else:
                branches[key] = (branch, count, count + 1)
                stack.append((node, key, True))
                stack.append((branch[4], count, False))
                stack.append((branch[5], count + 1, False))
                count += 2
        last = done[0]
        self.root(self.leaf(target, last) if isinstance(last, float) else last)

    def write(self, graph: Graph, value: Value, targets: int) -> Value:
        """The sums [rows, targets] for the double matrix ``value``."""
        helper = load("onnx").numpy_helper
        attributes: dict[str, Any] = {
            "aggregate_function": _SUM,
            "post_transform": _NO_TRANSFORM,
            "n_targets": targets,
            "nodes_featureids": self.features,
            "nodes_modes": helper.from_array(np.array(self.modes, np.uint8)),
            "nodes_splits": helper.from_array(np.array(self.splits, np.float64)),
            "nodes_truenodeids": self.true_ids,
            "nodes_falsenodeids": self.false_ids,
            "nodes_trueleafs": self.true_leafs,
            "nodes_falseleafs": self.false_leafs,
            "nodes_missing_value_tracks_true": self.missing_true,
            "leaf_targetids": self.targets,
            "leaf_weights": helper.from_array(np.array(self.weights, np.float64)),
            "tree_roots": self.roots,
        }
        if self.members:
            # One list for all: the sets in the order of their nodes, each ended by NaN.
            flat: list[float] = []
            for _, members in sorted(self.members, key=lambda item: item[0]):
                flat.extend(float(member) for member in members)
                flat.append(float("nan"))
            attributes["membership_values"] = helper.from_array(np.array(flat, np.float64))
        name = graph.node("TreeEnsemble", [value.name], domain=ML, **attributes)[0]
        return Value(name, DOUBLE, targets)
