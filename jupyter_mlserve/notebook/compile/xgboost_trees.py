"""XGBoost: trees from the model's own JSON. It compares and sums float32."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .compiler import Columns, Compiler, Prediction, predictor
from .ensemble import LESS, Ensemble
from .graph import Value

_LOG_LINK = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")
_LOGISTIC = ("binary:logistic", "reg:logistic")


def _raw(c: Compiler, booster: Any, columns: Columns) -> tuple[Value, str]:
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
    x = c.graph.through_float32(c.matrix(columns))
    if held["name"] == "gblinear":
        weights = np.array(held["model"]["weights"], np.float64).reshape(-1, groups)
        margin = c.graph.matmul(x, weights[:-1])
        return c.graph.arithmetic("Add", margin, (weights[-1] + start).reshape(1, -1)), objective
    drops = held.get("weight_drop")
    model = held.get("gbtree", held)["model"]
    ensemble = Ensemble()
    for position, (tree, group) in enumerate(zip(model["trees"], model["tree_info"], strict=True)):
        scale = 1.0 if drops is None else float(np.float32(drops[position]))
        ensemble.add(int(group), 0, _reader(tree, scale))
    margin = ensemble.write(c.graph, x, groups)
    return c.graph.arithmetic("Add", margin, start.reshape(1, -1)), objective


def _reader(tree: Any, scale: float) -> Any:
    if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
        raise ValueError("multi_strategy='multi_output_tree' has no compiled form")
    if any(tree["split_type"]):
        raise ValueError(
            "enable_categorical=True has no compiled form; encode the categories in a pipeline"
        )
    left, right = tree["left_children"], tree["right_children"]
    # The JSON holds the shortest text of a float32.
    split = np.array(tree["split_conditions"], np.float32).astype(np.float64).tolist()

    def read(node: int) -> Any:
        if left[node] < 0:
            return split[node] * scale, None
        feature, missing = int(tree["split_indices"][node]), bool(tree["default_left"][node])
        return None, (feature, split[node], LESS, missing, left[node], right[node])

    return read


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
    margin, objective = _raw(c, _best(model), columns)
    return Prediction(value=_linked(c, margin, objective))


@predictor("xgboost", "XGBClassifier", "XGBRFClassifier")
def classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    margin, objective = _raw(c, _best(model), columns)
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
