"""What the fitted model itself answers: the truth a compiled model is held to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...contract.errors import InvalidDefinition
from .compiler import quietly
from .compose import unwrap
from .frames import Frame
from .libraries import load
from .running import dense
from .supported import LIBRARIES, STANDARD, check_fitted, unsupported

Answers = dict[str, npt.NDArray[Any]]


class Reference:
    """The model as a function from rows to named arrays [rows, width].

    ``kind`` is one of the contract's; ``classes`` the class labels of each output (classifiers).
    Names: ``label`` (positions in the classes; the label itself for outlier detectors and
    clusterers), ``probabilities``, ``scores``, ``value``, ``features``.
    """

    def __init__(self, model: Any, frame: Frame) -> None:
        self.model = model
        self.frame = frame
        self.kind = kind_of(model)
        self.classes: list[list[Any]] = []
        if self.kind == "classification":
            self.classes = _classes(model, frame)

    def __call__(self, rows: Any) -> Answers:
        """The answers for ``rows`` (a frame like the sample); raises what the model raises."""
        data = _for_booster(self.model, self.frame.model_input(rows))
        ask = {name: getattr(self.model, name, None) for name in _METHODS}
        if self.kind == "transform":
            features = dense(quietly(self.model.transform, data))
            # Some (SparsePCA) forget one dimension when they get one row.
            return {"features": features.reshape(len(rows), -1)}
        predicted = dense(quietly(self.model.predict, data))
        if self.kind == "regression":
            return {"value": predicted.astype(np.float64)}
        if self.kind == "clustering":
            return {"label": predicted.astype(np.int64)}
        if self.kind == "outlier":
            found: Answers = {"label": predicted.astype(np.int64)}
            if ask["decision_function"]:
                found["scores"] = dense(quietly(ask["decision_function"], data))
            return found
        return self._classified(predicted, ask, data)

    def _classified(self, predicted: npt.NDArray[Any], ask: Any, data: Any) -> Answers:
        found = {"label": self._positions(predicted)}
        if len(self.classes) > 1:
            return found
        count = len(self.classes[0])
        if ask["predict_proba"]:
            probabilities = dense(quietly(ask["predict_proba"], data))
            if probabilities.shape[1] == count:
                found["probabilities"] = probabilities
        elif ask["decision_function"]:
            scores = dense(quietly(ask["decision_function"], data))
            if scores.shape[1] == (1 if count == 2 else count):
                found["scores"] = scores
        return found

    def _positions(self, predicted: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        columns = []
        for output, classes in enumerate(self.classes):
            places = {label: position for position, label in enumerate(classes)}
            labels = predicted[:, output].tolist()
            columns.append([places[label] for label in labels])
        made: npt.NDArray[np.int64] = np.array(columns, np.int64).T
        return made.reshape(len(predicted), len(self.classes))


def _for_booster(model: Any, data: Any) -> Any:
    """XGBoost's own booster takes a matrix of its own."""
    if type(model).__name__ != "Booster" or not type(model).__module__.startswith("xgboost."):
        return data
    return load("xgboost").DMatrix(data, enable_categorical=True)


_METHODS = ("predict_proba", "decision_function")


def kind_of(model: Any) -> str:
    """Which of the contract's kinds ``model`` is. Raises InvalidDefinition for none."""
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor

    why = unsupported(model)
    if why is not None:
        raise InvalidDefinition(why, field="model")
    check_fitted(model)
    inner = unwrap(model)
    package = type(inner).__module__.partition(".")[0]
    if package in ("lightgbm", "xgboost") and type(inner).__name__ in ("Booster", "LGBMRanker"):
        return "regression"
    if not hasattr(model, "predict"):
        return "transform"
    for kind, is_it in (
        ("classification", is_classifier),
        ("regression", is_regressor),
        ("outlier", is_outlier_detector),
        ("clustering", is_clusterer),
    ):
        try:
            if is_it(model):
                return kind
        except (AttributeError, TypeError):  # it has get_params, and is no estimator all the same
            why = f"{type(model).__name__} is no estimator of {LIBRARIES}. {STANDARD}"
            raise InvalidDefinition(why, field="model") from None
    if hasattr(inner, "means_") and hasattr(inner, "covariances_"):  # mixtures
        return "clustering"
    # PLS and the like: both predict and transform, and no word for what they are.
    return "regression"


def _classes(model: Any, frame: Frame) -> list[list[Any]]:
    found = getattr(model, "classes_", None)
    if found is None:
        found = unwrap(model).classes_
    predicted = dense(quietly(model.predict, frame.model_input(frame.data.iloc[:1])))
    if isinstance(found, list):
        return [_plain(classes) for classes in found]
    if predicted.shape[1] > 1:  # several labels a row, each 0 or 1
        return [[0, 1]] * predicted.shape[1]
    return [_plain(found)]


def _plain(classes: Any) -> list[Any]:
    labels: list[Any] = np.asarray(classes).tolist()
    kinds = {type(label) for label in labels}
    if not (kinds <= {str} or kinds <= {bool} or kinds <= {int} or kinds <= {float}):
        raise InvalidDefinition(
            "The class labels are not all text, all numbers or all booleans, so they have no one "
            "type in the answer. Train with labels of one of these types.",
            field="model",
        )
    return labels
