"""LightGBM: trees in double from the model's own dump, and the link of its objective."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import Columns, Compiler, Prediction, predictor
from .encoders import category_codes
from .ensemble import LESS, LESS_OR_EQUAL, MEMBER, Ensemble
from .graph import BOOL, Value

# LightGBM takes numbers this close to zero for zero (kZeroThreshold, a float32).
_ZERO = float(np.float32(1e-35))


def _reader(zeros: set[int], members: set[int]) -> Any:
    def read(node: Any) -> Any:
        if node.get("leaf_coeff"):
            raise ValueError("linear_tree=True has no compiled form; train without it")
        if "split_feature" not in node:
            return float(node["leaf_value"]), None
        feature, kind = int(node["split_feature"]), node["missing_type"]
        left, right = node["left_child"], node["right_child"]
        if node["decision_type"] == "==":
            codes = sorted(int(code) for code in str(node["threshold"]).split("||") if code)
            members.add(feature)
            if not codes:
                return None, (feature, float("-inf"), LESS, False, left, right)
            return None, (feature, codes, MEMBER, False, left, right)
        if node["decision_type"] != "<=":
            raise ValueError(f"the decision {node['decision_type']!r} is not known")
        threshold = float(node["threshold"])
        if abs(threshold) <= _ZERO:
            # Numbers around zero became 0 before they are compared: all of them go together.
            threshold = _ZERO if threshold >= 0.0 else float(np.nextafter(-_ZERO, -np.inf))
        if kind == "None":
            missing = threshold >= 0.0  # NaN counts as 0
        elif kind in ("NaN", "Zero"):
            missing = bool(node["default_left"])
            if kind == "Zero":
                zeros.add(feature)
        else:
            raise ValueError(f"the missing type {kind!r} is not known")
        return None, (feature, threshold, LESS_OR_EQUAL, missing, left, right)

    return read


def _raw(c: Compiler, booster: Any, columns: Columns, data: Any) -> tuple[Value, dict[str, str]]:
    dump = booster.dump_model()
    width = int(dump["num_tree_per_iteration"])
    trees = dump["tree_info"]
    zeros: set[int] = set()
    members: set[int] = set()
    ensemble = Ensemble()
    for position, tree in enumerate(trees):
        ensemble.add(position % width, tree["tree_structure"], _reader(zeros, members))
    x = c.matrix(_coded(c, booster, columns, data))
    if members and not booster.pandas_categorical:
        x = _whole_codes(c, x, members)
    if zeros:
        x = _zeros_are_missing(c, x, zeros)
    total = ensemble.write(c.graph, x, width)
    if dump.get("average_output"):
        total = c.graph.arithmetic("Div", total, max(1, len(trees) // width))
    name, *settings = str(dump.get("objective") or "custom").split()
    pairs = dict(item.partition(":")[::2] for item in settings)
    return total, {"name": name, **pairs}


def _coded(c: Compiler, booster: Any, columns: Columns, data: Any) -> Columns:
    """Columns with pandas categories as the codes LightGBM trained with; unknown is NaN."""
    categories = booster.pandas_categorical
    if not categories:
        return columns
    if data is None or not hasattr(data, "dtypes"):
        raise c.refuse("it was trained on pandas categories, which do not reach it")
    places = [i for i, dtype in enumerate(data.dtypes) if str(dtype) == "category"]
    if len(places) != len(categories):
        raise c.refuse("the sample has other category columns than the training frame")
    known = dict(zip(places, categories, strict=True))
    made: list[Value] = []
    for position in range(len(data.columns)):
        piece = c.take(columns, [position])
        if position in known:
            codes = np.arange(len(known[position]), dtype=np.float64)
            piece = (category_codes(c, piece[0], known[position], codes, float("nan")),)
        made.extend(piece)
    return tuple(made)


def _whole_codes(c: Compiler, x: Value, features: set[int]) -> Value:
    """Codes without their fraction, as LightGBM takes them; ONNX Runtime does so only at times."""
    graph = c.graph
    size = graph.apply("Floor", graph.apply("Abs", x))
    whole = graph.apply("Mul", graph.apply("Sign", x), size)
    here = graph.constant([[position in features for position in range(x.width)]], BOOL)
    return Value(graph.node("Where", [here, whole.name, x.name])[0], x.type, x.width)


def _zeros_are_missing(c: Compiler, x: Value, features: set[int]) -> Value:
    graph = c.graph
    near = graph.apply("LessOrEqual", graph.apply("Abs", x), graph.constant([[_ZERO]]))
    here = graph.constant([[position in features for position in range(x.width)]], BOOL)
    missing = graph.apply("And", near, here)
    return graph.apply("Where", missing, graph.constant([[np.nan]]), x)


@predictor("lightgbm", "LGBMRegressor", "LGBMRanker")
def regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    return Prediction(value=_regression(c, model.booster_, columns, data))


def _regression(c: Compiler, booster: Any, columns: Columns, data: Any) -> Value:
    raw, objective = _raw(c, booster, columns, data)
    if objective["name"] in ("poisson", "gamma", "tweedie"):
        return c.graph.apply("Exp", raw)
    if objective["name"] in ("cross_entropy", "binary"):
        scale = float(objective.get("sigmoid", 1.0))
        return c.graph.apply("Sigmoid", c.graph.arithmetic("Mul", raw, scale))
    if objective["name"] == "cross_entropy_lambda":
        return c.graph.apply("Log", c.graph.arithmetic("Add", c.graph.apply("Exp", raw), 1.0))
    if "sqrt" in objective:
        squared = c.graph.apply("Mul", raw, raw)
        return c.graph.apply("Mul", c.graph.apply("Sign", raw), squared)
    return raw


@predictor("lightgbm", "LGBMClassifier")
def classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    raw, objective = _raw(c, model.booster_, columns, data)
    scale = float(objective.get("sigmoid", 1.0))
    if objective["name"] == "binary":
        probabilities = c.both(c.graph.apply("Sigmoid", c.graph.arithmetic("Mul", raw, scale)))
    elif objective["name"] == "multiclass":
        probabilities = c.graph.apply("Softmax", raw, axis=1)
    elif objective["name"] == "multiclassova":
        probabilities = c.graph.apply("Sigmoid", c.graph.arithmetic("Mul", raw, scale))
    else:
        raise c.refuse(f"the objective {objective['name']!r} gives no probabilities")
    return Prediction(label=c.argmax(probabilities), probabilities=probabilities)


@predictor("lightgbm", "Booster")
def booster(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    raw_name = str(model.dump_model(num_iteration=1).get("objective") or "").split(" ")[0]
    if raw_name in ("multiclass", "multiclassova"):
        raw, objective = _raw(c, model, columns, data)
        if raw_name == "multiclass":
            return Prediction(value=c.graph.apply("Softmax", raw, axis=1))
        scale = float(objective.get("sigmoid", 1.0))
        return Prediction(value=c.graph.apply("Sigmoid", c.graph.arithmetic("Mul", raw, scale)))
    return Prediction(value=_regression(c, model, columns, data))
