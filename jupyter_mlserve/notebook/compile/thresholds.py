"""Rows at the thresholds of trees, plus and minus one unit in the last place.

Where float32 stands for double, or the other way, a tree takes the wrong branch exactly there and
nowhere a sample would show. Thresholds of trees on the frame's own columns are put into rows;
thresholds behind other steps are searched for by bisection between rows of the sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .compiler import Compiler, quietly
from .graph import ML
from .image_probes import MAX_THRESHOLDS
from .probes import Probes
from .running import dense

_MAX_THRESHOLDS = 150
_BISECTIONS = 70


def splits_of(compiler: Compiler) -> dict[str, list[tuple[int, float]]]:
    """(feature, threshold) of the compiled trees, by the tensor they read."""
    from .libraries import load

    helper = load("onnx").numpy_helper
    sources = {node.output[0]: node.input[0] for node in compiler.graph.nodes if _is_cast(node)}
    found: dict[str, list[tuple[int, float]]] = {}
    for node in compiler.graph.nodes:
        if node.domain != ML or not node.op_type.startswith("TreeEnsemble"):
            continue
        held = {attribute.name: attribute for attribute in node.attribute}
        features = list(held["nodes_featureids"].ints)
        if "nodes_splits" in held:
            values = helper.to_array(held["nodes_splits"].t).tolist()
            modes = helper.to_array(held["nodes_modes"].t).tolist()
            wanted = [i for i, mode in enumerate(modes) if mode < 2]
        else:
            values = list(held["nodes_values"].floats)
            names = [mode.decode() for mode in held["nodes_modes"].strings]
            wanted = [i for i, mode in enumerate(names) if mode != "LEAF"]
        source = node.input[0]
        while source in sources:
            source = sources[source]
        pairs = found.setdefault(source, [])
        pairs.extend((features[i], values[i]) for i in wanted if np.isfinite(values[i]))
    return found


def _is_cast(node: Any) -> bool:
    return bool(node.op_type in ("Cast", "Identity"))


def add_thresholds(probes: Probes, compiler: Compiler) -> None:
    """Add the rows for the trees that ``compiler`` wrote."""
    for source, pairs in splits_of(compiler).items():
        distinct = sorted(set(pairs))
        most = MAX_THRESHOLDS if probes.frame.images else _MAX_THRESHOLDS
        step = max(1, len(distinct) // most)
        chosen = distinct[::step][: 2 * most]
        places = _frame_columns(compiler, source, probes)
        direct = [(places[f], v) for f, v in chosen if f in places]
        if direct:
            rows = _direct_rows(probes, direct)
            probes.add("threshold", rows)
        behind = [(f, v) for f, v in chosen if f not in places]
        if behind and not probes.frame.images:
            _add_behind(probes, compiler, source, behind)


def _frame_columns(compiler: Compiler, source: str, probes: Probes) -> dict[int, int]:
    """Feature of the tree -> column of the frame, for those that are the same number."""
    numbers = [i for i, kind in enumerate(probes.frame.types) if kind != "character"]
    makers = {output: node for node in compiler.graph.nodes for output in node.output}

    def trace(name: str) -> list[int | None] | None:
        if name == "numbers":
            return list(numbers)
        node = makers.get(name)
        if node is None:
            return None
        if _is_cast(node):
            return trace(node.input[0])
        if node.op_type == "Gather" and name in compiler.graph.views:
            base, places = compiler.graph.views[name]
            inner = trace(base.name)
            return None if inner is None else [inner[place] for place in places]
        if node.op_type == "Concat":
            joined: list[int | None] = []
            widths = compiler.graph.widths
            for part in node.input:
                inner = trace(part)
                if inner is None and part not in widths:
                    return None
                joined += [None] * widths[part] if inner is None else inner
            return joined
        return None

    found = trace(source) or []
    return {feature: column for feature, column in enumerate(found) if column is not None}


def _direct_rows(probes: Probes, pairs: list[tuple[int, float]]) -> Any:
    frame = probes.frame
    rows = frame.rows(frame.data.iloc[: min(len(frame.data), 500)])
    made = []
    for position, (column, value) in enumerate(pairs):
        for near in neighbours(value):
            row = list(rows[position % len(rows)])
            if frame.types[column] == "numeric":
                row[column] = near
            elif frame.types[column] == "integer":
                row[column] = int(np.floor(near))
            else:
                row[column] = bool(near > 0.5)
            made.append(row)
    kept = [row for row in made if _allowed(probes, row)]
    return frame.make(kept)


def _allowed(probes: Probes, row: list[Any]) -> bool:
    """Whether the service would take the row."""
    for column, values in probes.known.items():
        if row[column] is not None and row[column] not in values:
            return False
    for column, (low, high) in probes.ranges.items():
        if row[column] is not None and not low <= row[column] <= high:
            return False
    return True


def neighbours(value: float) -> list[float]:
    """``value``, and one unit in the last place around it in double and in float32."""
    with np.errstate(over="ignore"):  # doubles that float32 cannot hold are infinite there
        single = np.float32(value)
        near = [value, np.nextafter(value, -np.inf), np.nextafter(value, np.inf)]
        near += [
            single,
            np.nextafter(single, np.float32(-np.inf)),
            np.nextafter(single, np.float32(np.inf)),
        ]
    # The double midway between float32 neighbours: how it is rounded decides the branch.
    below, above = float(near[4]), float(near[5])
    near += [(float(single) + below) / 2, (float(single) + above) / 2]
    return [float(number) for number in near if np.isfinite(number)]


def _add_behind(
    probes: Probes, compiler: Compiler, source: str, pairs: list[tuple[int, float]]
) -> None:
    """Rows where the model's own earlier steps land next to a threshold of a later tree."""
    before = _steps_before(compiler, source)
    if before is None:
        return
    frame = probes.frame
    numeric = [i for i, kind in enumerate(frame.types) if kind == "numeric"]
    data = frame.data.dropna(subset=[frame.data.columns[i] for i in numeric])
    if len(data) < 2 or not numeric:
        return
    try:
        table = dense(quietly(before.transform, frame.model_input(data))).astype(np.float64)
    except (ValueError, TypeError):
        return
    low_rows, high_rows, wanted = _ends(table, pairs)
    if not len(wanted):
        return
    low = data.iloc[low_rows].reset_index(drop=True)
    high = data.iloc[high_rows].reset_index(drop=True)
    names = [frame.data.columns[i] for i in numeric]
    a, b = low[names].to_numpy(np.float64), high[names].to_numpy(np.float64)
    rows = _bisect(frame, before, low, names, a, b, wanted)
    if rows is not None:
        probes.add("boundary", rows)


def _ends(
    table: npt.NDArray[np.float64], pairs: list[tuple[int, float]]
) -> tuple[list[int], list[int], list[tuple[int, float]]]:
    """For each threshold a row of the sample below it and one above."""
    low, high, wanted = [], [], []
    for position, (feature, value) in enumerate(pairs):
        if feature >= table.shape[1]:
            continue
        under = np.flatnonzero(table[:, feature] <= value)
        over = np.flatnonzero(table[:, feature] > value)
        if len(under) and len(over):
            low.append(int(under[position % len(under)]))
            high.append(int(over[position % len(over)]))
            wanted.append((feature, value))
    return low, high, wanted


def _bisect(
    frame: Any,
    before: Any,
    low: Any,
    names: list[Any],
    a: npt.NDArray[np.float64],
    b: npt.NDArray[np.float64],
    wanted: list[tuple[int, float]],
) -> Any:
    import pandas as pd

    features = np.array([feature for feature, _ in wanted])
    values = np.array([value for _, value in wanted])
    at = np.arange(len(wanted))
    # Text and integer columns stay those of the lower row: then that row may lie above too, and
    # the search ends anywhere, which costs a row and proves nothing.
    left, right = np.zeros(len(wanted)), np.ones(len(wanted))

    def rows(share: npt.NDArray[np.float64]) -> Any:
        made = low.copy()
        made[names] = a + (b - a) * share[:, None]
        return made.astype(dict(zip(frame.data.columns, frame.data.dtypes, strict=True)))

    for _ in range(_BISECTIONS):
        middle = (left + right) / 2
        table = dense(quietly(before.transform, frame.model_input(rows(middle)))).astype(np.float64)
        under = table[at, features] <= values
        left, right = np.where(under, middle, left), np.where(under, right, middle)
    return pd.concat([rows(left), rows(right)], ignore_index=True)


def _steps_before(compiler: Compiler, source: str) -> Any:
    """What the model does to a row before the trees that read ``source``, as a transformer.

    Known for a pipeline whose last step reads exactly what the steps before it give.
    """
    from .compose import unwrap

    model = unwrap(compiler.steps[-1].estimator)
    if type(model).__name__ != "Pipeline" or len(model.steps) < 2:
        return None
    return model[:-1]
