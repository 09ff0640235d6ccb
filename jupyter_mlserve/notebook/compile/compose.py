"""Models made of models: pipelines, column transformers, unions, searches."""

from __future__ import annotations

from typing import Any

from .compiler import Columns, Compiler, Prediction, predictor, quietly, transformer

COMPOSITE = {
    ("sklearn", name)
    for name in (
        "Pipeline",
        "ColumnTransformer",
        "FeatureUnion",
        "GridSearchCV",
        "RandomizedSearchCV",
        "HalvingGridSearchCV",
        "HalvingRandomSearchCV",
        "FrozenEstimator",
        "SelfTrainingClassifier",
        "VotingClassifier",
        "VotingRegressor",
        "StackingClassifier",
        "StackingRegressor",
        "TransformedTargetRegressor",
        "FixedThresholdClassifier",
        "TunedThresholdClassifierCV",
        "CalibratedClassifierCV",
        "MultiOutputRegressor",
        "MultiOutputClassifier",
        "RegressorChain",
        "ClassifierChain",
        "OneVsRestClassifier",
        "OutputCodeClassifier",
        "BaggingClassifier",
        "BaggingRegressor",
        "AdaBoostClassifier",
        "AdaBoostRegressor",
        "RANSACRegressor",
        "RFE",
        "RFECV",
    )
}
# Wrappers that only hand on to a fitted model inside, by the attribute that holds it.
WRAPPERS = {
    "GridSearchCV": "best_estimator_",
    "RandomizedSearchCV": "best_estimator_",
    "HalvingGridSearchCV": "best_estimator_",
    "HalvingRandomSearchCV": "best_estimator_",
    "FrozenEstimator": "estimator",
    "SelfTrainingClassifier": "estimator_",
}


def unwrap(estimator: Any) -> Any:
    """The model inside wrappers that add nothing to a prediction."""
    while type(estimator).__module__.startswith("sklearn."):
        inner = getattr(estimator, WRAPPERS.get(type(estimator).__name__, ""), None)
        if inner is None:
            return estimator
        estimator = inner
    return estimator


@predictor("sklearn", *WRAPPERS)
def wrapped_predictor(c: Compiler, estimator: Any, columns: Columns, data: Any) -> Prediction:
    return c.predict(unwrap(estimator), columns, data)


@transformer("sklearn", *WRAPPERS)
def wrapped_transformer(c: Compiler, estimator: Any, columns: Columns, data: Any) -> Columns:
    return c.transform(unwrap(estimator), columns, data)


def _through(
    c: Compiler, steps: list[tuple[str, Any]], columns: Columns, data: Any
) -> tuple[Columns, Any]:
    for name, step in steps:
        if step is None or step == "passthrough":
            continue
        columns = c.transform(step, columns, data, name)
        data = None if data is None else quietly(step.transform, data)
    return columns, data


@predictor("sklearn", "Pipeline")
def pipeline_predictor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    columns, data = _through(c, model.steps[:-1], columns, data)
    name, last = model.steps[-1]
    return c.predict(last, columns, data, name)


@transformer("sklearn", "Pipeline")
def pipeline_transformer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    return _through(c, model.steps, columns, data)[0]


@transformer("sklearn", "ColumnTransformer")
def column_transformer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    places = model._transformer_to_input_indices
    made: list[Any] = []
    for name, step, wanted in model.transformers_:
        positions = list(places.get(name, []))
        if (isinstance(step, str) and step == "drop") or not positions:
            continue
        part = None if data is None else _part(data, wanted)
        made.extend(c.transform(step, c.take(columns, positions), part, name))
    return tuple(made)


def _part(data: Any, wanted: Any) -> Any:
    from sklearn.utils import _safe_indexing

    return quietly(lambda: _safe_indexing(data, wanted, axis=1))


@transformer("sklearn", "FeatureUnion")
def feature_union(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    weights = model.transformer_weights or {}
    made: list[Any] = []
    for name, step in model.transformer_list:
        if isinstance(step, str) and step == "drop":
            continue
        part = c.transform(step, columns, data, name)
        if weights.get(name) is not None:
            part = (c.graph.arithmetic("Mul", c.matrix(part), float(weights[name])),)
        made.extend(part)
    return tuple(made)
