"""XGBoost: trees from the model's own JSON. It compares and sums float32."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np

from .compiler import Columns, Compiler, Prediction, predictor
from .encoders import category_codes
from .ensemble import LESS, MEMBER, Ensemble
from .graph import BOOL, DOUBLE, Value

_LOG_LINK = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")
_LOGISTIC = ("binary:logistic", "reg:logistic")
_MISSING = 2.0**24  # the first number that is no code of a category


def _raw(c: Compiler, booster: Any, columns: Columns, data: Any) -> tuple[Value, str]:
    """The margins [rows, groups] and the objective's name."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    parameters, objective = learner["learner_model_param"], str(learner["objective"]["name"])
    groups = max(1, int(parameters["num_class"]), int(parameters.get("num_target", 1)))
    start = np.atleast_1d(np.array(json.loads(str(parameters["base_score"])), np.float64))
    start = np.broadcast_to(np.asarray(start, np.float32).astype(np.float64), (groups,))
    if objective in _LOGISTIC:
        start = np.log(start / (1.0 - start))
    elif objective in _LOG_LINK:
        start = np.log(start)
    held = learner["gradient_booster"]
    coded = _coded(c, held, learner.get("feature_types") or [], columns, data)
    x = c.graph.through_float32(c.matrix(coded))
    if held["name"] == "gblinear":
        weights = np.array(held["model"]["weights"], np.float64).reshape(-1, groups)
        margin = c.graph.matmul(x, weights[:-1])
        return c.graph.arithmetic("Add", margin, (weights[-1] + start).reshape(1, -1)), objective
    drops = held.get("weight_drop")
    model = held.get("gbtree", held)["model"]
    categorical = {
        int(feature)
        for tree in model["trees"]
        for feature, kind in zip(tree["split_indices"], tree["split_type"], strict=True)
        if kind
    }
    if categorical:
        x = _codes(c, x, categorical)
    ensemble = Ensemble()
    for position, (tree, group) in enumerate(zip(model["trees"], model["tree_info"], strict=True)):
        scale = 1.0 if drops is None else float(np.float32(drops[position]))
        ensemble.add(int(group), 0, _reader(tree, scale))
    margin = ensemble.write(c.graph, x, groups)
    return c.graph.arithmetic("Add", margin, start.reshape(1, -1)), objective


def _reader(tree: Any, scale: float) -> Any:
    if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
        raise ValueError("multi_strategy='multi_output_tree' has no compiled form")
    left, right = tree["left_children"], tree["right_children"]
    # The JSON holds the shortest text of a float32.
    split = np.array(tree["split_conditions"], np.float32).astype(np.float64).tolist()
    chosen = {
        int(node): [float(code) for code in tree["categories"][start : start + size]]
        for node, start, size in zip(
            tree.get("categories_nodes", ()),
            tree.get("categories_segments", ()),
            tree.get("categories_sizes", ()),
            strict=True,
        )
    }

    def read(node: int) -> Any:
        if left[node] < 0:
            return split[node] * scale, None
        feature, missing = int(tree["split_indices"][node]), bool(tree["default_left"][node])
        if node in chosen:
            # Categories of the set go to the right, all others to the left.
            members = chosen[node] if missing else [*chosen[node], _MISSING]
            return None, (feature, members, MEMBER, False, right[node], left[node])
        return None, (feature, split[node], LESS, missing, left[node], right[node])

    return read


def _coded(c: Compiler, held: Any, kinds: Any, columns: Columns, data: Any) -> Columns:
    """Columns with pandas categories as the codes that XGBoost trained with."""
    dtypes = list(getattr(data, "dtypes", ()))
    places = [place for place, dtype in enumerate(dtypes) if str(dtype) == "category"]
    if not places:
        return columns
    stored = _stored_categories(held.get("gbtree", held)["model"].get("cats") or {})
    made: list[Value] = []
    for position in range(len(dtypes)):
        piece = c.take(columns, [position])
        if position in places:
            if position >= len(kinds) or kinds[position] != "c":
                raise c.refuse("the sample has other category columns than the training frame")
            # Before version 3.1 it knew no categories, only codes: those of every frame.
            known = stored[position] if stored else list(dtypes[position].categories)
            codes = np.arange(len(known), dtype=np.float64)
            piece = (category_codes(c, piece[0], known, codes, float("nan")),)
        made.extend(piece)
    return tuple(made)


def _stored_categories(cats: Any) -> list[list[Any]]:
    """The categories of each column, in the order of their codes; empty for number columns."""
    found: list[list[Any]] = []
    for item in cats.get("enc") or []:
        values = item["values"]
        if "offsets" not in item:
            found.append(list(values))
            continue
        if any(value < 0 for value in values):
            return []  # XGBoost cuts texts that are not ASCII: then the sample's order is known
        found.append([bytes(values[a:b]).decode("ascii") for a, b in pairwise(item["offsets"])])
    return found


def _codes(c: Compiler, x: Value, features: set[int]) -> Value:
    """Codes without their fraction; what is no code is in no set, and missing is a code, too."""
    graph = c.graph
    here = graph.constant([[position in features for position in range(x.width)]], BOOL)
    inside = graph.apply("Less", x, graph.constant([[_MISSING]]))
    whole = graph.apply("Where", inside, graph.apply("Floor", x), graph.constant([[-1.0]]))
    code = graph.apply(
        "Where",
        graph.apply("IsNaN", x),
        graph.constant([[_MISSING]]),
        Value(whole.name, DOUBLE, x.width),
    )
    return Value(graph.node("Where", [here, code.name, x.name])[0], DOUBLE, x.width)


def _linked(c: Compiler, margin: Value, objective: str) -> Value:
    if objective in _LOG_LINK:
        return c.graph.apply("Exp", margin)
    if objective in _LOGISTIC:
        return c.graph.apply("Sigmoid", margin)
    if objective == "multi:softprob":
        return c.graph.apply("Softmax", margin, axis=1)
    plain = ("reg:", "rank:", "binary:logitraw")
    if not objective.startswith(plain):
        raise c.refuse(f"the objective {objective!r} has no compiled form")
    return margin


def _best(model: Any) -> Any:
    """The booster of a scikit-learn wrapper, cut where early stopping found it best."""
    booster = model.get_booster()
    best = getattr(model, "early_stopping_rounds", None) and model.best_iteration
    # A slice keeps only whole rounds, as predict does; gblinear cannot be cut, nor stops early.
    return booster[: best + 1] if best else booster


@predictor("xgboost", "XGBRegressor", "XGBRFRegressor", "XGBRanker")
def regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    margin, objective = _raw(c, _best(model), columns, data)
    return Prediction(value=_linked(c, margin, objective))


@predictor("xgboost", "Booster")
def booster(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    margin, objective = _raw(c, model, columns, data)
    return Prediction(value=_linked(c, margin, objective))


@predictor("xgboost", "XGBClassifier", "XGBRFClassifier")
def classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    margin, objective = _raw(c, _best(model), columns, data)
    if objective == "binary:logistic" and margin.width > 1:  # several labels a row
        above = c.graph.apply(
            "Greater", c.graph.apply("Sigmoid", margin), c.graph.constant([[0.5]])
        )
        return Prediction(label=c.graph.cast(above, 7))
    if objective == "binary:logistic":
        probabilities = c.both(_linked(c, margin, objective))
    elif objective == "multi:softprob":
        probabilities = _linked(c, margin, objective)
    else:
        raise c.refuse(f"the objective {objective!r} has no compiled form in a classifier")
    return Prediction(label=c.argmax(probabilities), probabilities=probabilities)
