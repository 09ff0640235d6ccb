"""The TreeEnsemble writer against a plain reading of the same trees."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_mlserve.notebook.compile.ensemble import LESS, LESS_OR_EQUAL, MEMBER, Ensemble
from jupyter_mlserve.notebook.compile.graph import DOUBLE, Graph
from jupyter_mlserve.notebook.compile.running import run
from jupyter_mlserve.notebook.compile.thresholds import neighbours

SPLITS = st.sampled_from([0.1, -0.1, 1.6e9 + 0.5, 1 / 3, 0.0, 1e-300, -7.0])


def branch(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    number = st.tuples(
        st.just(0),
        SPLITS,
        st.sampled_from([LESS, LESS_OR_EQUAL]),
        st.booleans(),
        children,
        children,
    )
    members = st.tuples(
        st.just(1),
        st.lists(st.integers(0, 70), min_size=1, max_size=5, unique=True).map(sorted),
        st.just(MEMBER),
        st.just(False),
        children,
        children,
    )
    return number | members


TREES = st.recursive(st.floats(-5, 5), branch, max_leaves=12)


def read(node: Any) -> Any:
    return (node, None) if isinstance(node, float) else (None, node)


def plain(node: Any, row: np.ndarray) -> float:
    while not isinstance(node, float):
        feature, split, mode, missing, true, false = node
        x = row[feature]
        if math.isnan(x):
            goes = missing
        elif mode == MEMBER:
            goes = x in split
        else:
            goes = x <= split if mode == LESS_OR_EQUAL else x < split
        node = true if goes else false
    return node


def compiled(trees: list[tuple[int, Any]], targets: int, rows: np.ndarray) -> np.ndarray:
    graph, ensemble = Graph(), Ensemble()
    x = graph.input("numbers", DOUBLE, rows.shape[1])
    for target, tree in trees:
        ensemble.add(target, tree, read)
    model = graph.model([("out", ensemble.write(graph, x, targets))])
    return np.asarray(run(model, {"numbers": rows})[0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), TREES), min_size=1, max_size=4))
def test_trees_answer_as_they_read(trees: list[tuple[int, Any]]) -> None:
    values = [0.0, math.nan, 1.0, 2.0, -1.0, 5e9]
    # Of codes only whole numbers: the runtime cuts fractions off for some sets and not for others.
    codes = [0.0, math.nan, 1.0, 31.0, 32.0, 64.0, 69.0, 70.0, -1.0, 1e9]
    for split in (0.1, 1.6e9 + 0.5, 1 / 3, -7.0):
        values += neighbours(split)
    rows = np.array([[a, b] for a in values for b in codes])
    expected = np.zeros((len(rows), 3))
    for target, tree in trees:
        expected[:, target] += [plain(tree, row) for row in rows]
    np.testing.assert_allclose(compiled(trees, 3, rows), expected, rtol=1e-12, atol=1e-12)


def test_a_tree_deeper_than_the_stack_of_python() -> None:
    tree: Any = 0.0
    for depth in range(3000):
        tree = (0, float(depth), LESS_OR_EQUAL, True, float(depth), tree)
    rows = np.array([[0.0], [2999.0], [3000.0], [1500.0]])
    expected = [[2999.0], [2999.0], [0.0], [2999.0]]
    np.testing.assert_array_equal(compiled([(0, tree)], 1, rows), expected)


def test_subtrees_of_one_value_become_one_leaf() -> None:
    ensemble = Ensemble()
    ensemble.add(0, (0, 1.0, LESS, True, 5.0, (1, 2.0, LESS, False, 5.0, 5.0)), read)
    assert ensemble.weights == [5.0]
    assert len(ensemble.features) == 1
