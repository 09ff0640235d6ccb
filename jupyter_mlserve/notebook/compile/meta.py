"""Models that ask other models: votes, stacks, chains, calibration, thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import Columns, Compiler, Prediction, predictor, transformer
from .graph import INT64, Value
from .linear import normalized
from .small import isotonic


def _of(c: Compiler, value: Value | None, what: str) -> Value:
    if value is None:
        raise c.refuse(f"a model inside it gives no {what} in compiled form")
    return value


def _average(c: Compiler, values: list[Value], weights: Any) -> Value:
    """The (weighted) mean of values of one shape."""
    shares = [1.0] * len(values) if weights is None else [float(share) for share in weights]
    total: Value | None = None
    for value, share in zip(values, shares, strict=True):
        part = value if share == 1.0 else c.graph.arithmetic("Mul", value, share)
        total = part if total is None else c.graph.apply("Add", total, part)
    assert total is not None
    return c.graph.arithmetic("Div", total, sum(shares))


@predictor("sklearn", "VotingRegressor")
def voting_regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    values = [
        _of(c, c.predict(inner, columns, data, name).value, "value")
        for name, inner in _named(model)
    ]
    return Prediction(value=_average(c, values, model._weights_not_none))


def _named(model: Any) -> list[tuple[str, Any]]:
    return list(model.named_estimators_.items())


@predictor("sklearn", "VotingClassifier")
def voting_classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    inner = [c.predict(part, columns, data, name) for name, part in _named(model)]
    inner = [answer for answer in inner if answer is not None]
    weights = model._weights_not_none
    if model.voting == "soft":
        shares = _average(
            c, [_of(c, answer.probabilities, "probabilities") for answer in inner], weights
        )
        return Prediction(label=c.argmax(shares), probabilities=shares)
    ballots: Value | None = None
    slots = c.graph.constant([list(range(len(model.classes_)))])
    for position, answer in enumerate(inner):
        label = _of(c, answer.label, "label")
        vote = c.graph.cast(c.graph.apply("Equal", label, slots, width=len(model.classes_)), 11)
        if weights is not None:
            vote = c.graph.arithmetic("Mul", vote, float(weights[position]))
        ballots = vote if ballots is None else c.graph.apply("Add", ballots, vote)
    assert ballots is not None
    return Prediction(label=c.argmax(ballots))


def _stack(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    made: list[Value] = []
    classes = getattr(model, "classes_", [])
    for position, (inner, method) in enumerate(
        zip(model.estimators_, model.stack_method_, strict=True)
    ):
        answer = c.predict(inner, columns, data, f"estimator {position}")
        if method == "predict_proba":
            shares = _of(c, answer.probabilities, "probabilities")
            made.append(c.graph.columns(shares, [1]) if len(classes) == 2 else shares)
        elif method == "decision_function":
            made.append(_of(c, answer.scores, "scores"))
        elif answer.value is not None:
            made.append(answer.value)
        else:
            made.append(c.graph.as_double(_of(c, answer.label, "label")))
    if model.passthrough:
        made.append(c.matrix(columns))
    return tuple(made)


@predictor("sklearn", "StackingClassifier", "StackingRegressor")
def stacking(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    stacked = _stack(c, model, columns, data)
    reached = None if data is None else model.transform(data)
    return c.predict(model.final_estimator_, stacked, reached, "final_estimator")


@transformer("sklearn", "StackingClassifier", "StackingRegressor")
def stacked(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    return _stack(c, model, columns, data)


@predictor("sklearn", "TransformedTargetRegressor")
def transformed_target(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    from .encoders import apply_function
    from .scalers import inverse_scaled

    value = _of(c, c.predict(model.regressor_, columns, data, "regressor").value, "value")
    inner = model.transformer_
    if type(inner).__name__ == "FunctionTransformer":
        if inner.inverse_func is None:
            return Prediction(value=value)
        return Prediction(value=apply_function(c, inner.inverse_func, value))
    return Prediction(value=inverse_scaled(c, inner, value))


@predictor("sklearn", "FixedThresholdClassifier", "TunedThresholdClassifierCV")
def thresholded(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    inner = getattr(model, "estimator_", model.estimator)
    answer = c.predict(inner, columns, data, "estimator")
    classes = list(model.classes_)
    wanted = model._get_response_method()
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    method = next(name for name in wanted if hasattr(inner, name))
    named = getattr(model, "_curve_scorer", None)
    label = model.pos_label if hasattr(model, "pos_label") else None
    if named is not None:
        label = named._get_pos_label()
    positive = 1 if label is None else classes.index(label)
    if method == "predict_proba":
        score = c.graph.columns(_of(c, answer.probabilities, "probabilities"), [positive])
        limit = 0.5
    else:
        score = _of(c, answer.scores, "scores")
        score = c.graph.apply("Neg", score) if positive == 0 else score
        limit = 0.0
    if hasattr(model, "best_threshold_"):
        limit = float(model.best_threshold_)
    elif model.threshold != "auto":
        limit = float(model.threshold)
    above = c.graph.apply("GreaterOrEqual", score, c.graph.constant([[limit]]))
    yes, no = c.graph.constant([[positive]]), c.graph.constant([[1 - positive]])
    place = Value(c.graph.node("Where", [above.name, yes, no])[0], INT64, 1)
    return Prediction(label=place, probabilities=answer.probabilities, scores=answer.scores)


@predictor("sklearn", "CalibratedClassifierCV")
def calibrated(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    shares = []
    classes = len(model.classes_)
    for number, part in enumerate(model.calibrated_classifiers_):
        if list(part.estimator.classes_) != list(model.classes_):
            raise c.refuse("a fold did not see every class")
        answer = c.predict(part.estimator, columns, data, f"fold {number}")
        scores = answer.scores
        if scores is None or not hasattr(part.estimator, "decision_function"):
            scores = _of(c, answer.probabilities, "probabilities")
            scores = c.graph.columns(scores, [1]) if classes == 2 else scores
        if part.method not in ("sigmoid", "isotonic"):
            raise c.refuse(f"method={part.method!r} has no compiled form")
        columns_made = []
        for position, calibrator in enumerate(part.calibrators):
            score = c.graph.columns(scores, [position])
            if part.method == "isotonic":
                columns_made.append(isotonic(c, calibrator, score))
            else:
                line = c.graph.arithmetic("Mul", score, float(calibrator.a_))
                line = c.graph.arithmetic("Add", line, float(calibrator.b_))
                columns_made.append(c.graph.apply("Sigmoid", c.graph.apply("Neg", line)))
        if classes == 2:
            shares.append(c.both(columns_made[0]))
        else:
            shares.append(normalized(c, c.graph.concat(columns_made)))
    mean = _average(c, shares, None)
    return Prediction(label=c.argmax(mean), probabilities=mean)


@predictor("sklearn", "MultiOutputRegressor")
def several_regressors(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    values = [
        _of(c, c.predict(inner, columns, data, f"output {i}").value, "value")
        for i, inner in enumerate(model.estimators_)
    ]
    return Prediction(value=c.graph.concat(values))


@predictor("sklearn", "MultiOutputClassifier")
def several_classifiers(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    labels = [
        _of(c, c.predict(inner, columns, data, f"output {i}").label, "label")
        for i, inner in enumerate(model.estimators_)
    ]
    return Prediction(label=c.graph.concat(labels))


@predictor("sklearn", "RegressorChain", "ClassifierChain")
def chain(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    regression = type(model).__name__ == "RegressorChain"
    method = getattr(model, "chain_method_", "predict")
    before: list[Value] = []
    outputs: list[Value] = []
    for number, inner in enumerate(model.estimators_):
        answer = c.predict(inner, (*columns, *before), None, f"link {number}")
        if regression:
            value = _of(c, answer.value, "value")
            before.append(value)
            outputs.append(value)
            continue
        if list(inner.classes_) != [0, 1]:
            raise c.refuse("only outputs of 0 and 1 have a compiled form")
        label = _of(c, answer.label, "label")
        outputs.append(label)
        if method == "predict":
            before.append(c.graph.as_double(label))
        elif method == "predict_proba":
            before.append(c.graph.columns(_of(c, answer.probabilities, "probabilities"), [1]))
        else:
            before.append(_of(c, answer.scores, "scores"))
    placed = [outputs[list(model.order_).index(i)] for i in range(len(outputs))]
    joined = c.graph.concat(placed)
    return Prediction(value=joined) if regression else Prediction(label=joined)


def _binary_score(c: Compiler, inner: Any, columns: Columns, data: Any, label: str) -> Value:
    """What one-against-the-rest compares: the decision function, else the probability."""
    answer = c.predict(inner, columns, data, label)
    if hasattr(inner, "decision_function"):
        return _of(c, answer.scores, "scores")
    if hasattr(inner, "predict_proba"):
        return c.graph.columns(_of(c, answer.probabilities, "probabilities"), [1])
    return _of(c, answer.value, "value")


@predictor("sklearn", "_ConstantPredictor")
def constant(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    """A class that was always, or never, there at fit."""
    score = c.graph.arithmetic("Add", c.zeros(columns, 1), float(np.ravel(model.y_)[0]))
    label = c.graph.cast(score, INT64)
    return Prediction(label=label, probabilities=c.both(score), scores=score)


@predictor("sklearn", "OneVsRestClassifier")
def one_against_rest(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    if model.multilabel_ or len(model.estimators_) == 1:
        labels = [
            _of(c, c.predict(inner, columns, data, f"class {i}").label, "label")
            for i, inner in enumerate(model.estimators_)
        ]
        shares = None
        if not model.multilabel_ and hasattr(model, "predict_proba"):
            answer = c.predict(model.estimators_[0], columns, data, "class 1")
            shares = answer.probabilities
        scores = None
        if not model.multilabel_ and hasattr(model.estimators_[0], "decision_function"):
            scores = c.predict(model.estimators_[0], columns, data, "class 1").scores
        return Prediction(label=c.graph.concat(labels), probabilities=shares, scores=scores)
    raw = [
        _binary_score(c, inner, columns, data, f"class {i}")
        for i, inner in enumerate(model.estimators_)
    ]
    scores = c.graph.concat(raw)
    shares = None
    if hasattr(model, "predict_proba"):
        seconds = [
            c.graph.columns(
                _of(c, c.predict(inner, columns, data, f"class {i}").probabilities, "p"), [1]
            )
            for i, inner in enumerate(model.estimators_)
        ]
        shares = normalized_or_zero(c, c.graph.concat(seconds))
    return Prediction(label=c.argmax(scores), probabilities=shares, scores=scores)


def normalized_or_zero(c: Compiler, shares: Value) -> Value:
    """Rows divided by their sum; a row of zeros stays."""
    total = c.row_sum(shares)
    empty = c.graph.apply("Equal", total, c.graph.constant([[0.0]]))
    divisor = c.graph.apply("Where", empty, c.graph.constant([[1.0]]), total, width=1)
    return c.graph.apply("Div", shares, divisor, width=shares.width)


@predictor("sklearn", "OutputCodeClassifier")
def output_code(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    from .kernels import squared_distances

    raw = [
        _binary_score(c, inner, columns, data, f"bit {i}")
        for i, inner in enumerate(model.estimators_)
    ]
    near = squared_distances(c, c.graph.concat(raw), np.asarray(model.code_book_, np.float64))
    return Prediction(label=c.argmax(c.graph.apply("Neg", near)))


@predictor("sklearn", "BaggingRegressor")
def bagging_regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    values = [
        _of(c, c.predict(inner, c.take(columns, list(places)), None, f"bag {i}").value, "value")
        for i, (inner, places) in enumerate(
            zip(model.estimators_, model.estimators_features_, strict=True)
        )
    ]
    return Prediction(value=_average(c, values, None))


@predictor("sklearn", "BaggingClassifier")
def bagging_classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    count = len(model.classes_)
    shares = []
    for i, (inner, places) in enumerate(
        zip(model.estimators_, model.estimators_features_, strict=True)
    ):
        answer = c.predict(inner, c.take(columns, list(places)), None, f"bag {i}")
        seen = [int(label) for label in inner.classes_]
        if hasattr(inner, "predict_proba"):
            share = _of(c, answer.probabilities, "probabilities")
            if len(seen) != count:
                table = np.zeros((len(seen), count))
                table[np.arange(len(seen)), seen] = 1.0
                share = c.graph.matmul(share, table)
        else:
            slots = c.graph.constant([[seen.index(k) if k in seen else -1 for k in range(count)]])
            hit = c.graph.apply("Equal", _of(c, answer.label, "label"), slots, width=count)
            share = c.graph.cast(hit, 11)
        shares.append(share)
    mean = _average(c, shares, None)
    return Prediction(label=c.argmax(mean), probabilities=mean)


@predictor("sklearn", "AdaBoostClassifier")
def adaboost_classifier(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    count = len(model.classes_)
    total: Value | None = None
    for i, (inner, weight) in enumerate(
        zip(model.estimators_, model.estimator_weights_, strict=False)
    ):
        label = _of(c, c.predict(inner, columns, data, f"round {i}").label, "label")
        places = [list(model.classes_).index(k) for k in inner.classes_]
        slots = c.graph.constant([[places.index(k) if k in places else -1 for k in range(count)]])
        hit = c.graph.apply("Equal", label, slots, width=count)
        good = c.graph.constant([[float(weight)]])
        bad = c.graph.constant([[-1.0 / (count - 1) * float(weight)]])
        vote = Value(c.graph.node("Where", [hit.name, good, bad])[0], 11, count)
        total = vote if total is None else c.graph.apply("Add", total, vote)
    assert total is not None
    scores = c.graph.arithmetic("Div", total, float(model.estimator_weights_.sum()))
    if count == 2:
        scores = c.row_sum(c.graph.arithmetic("Mul", scores, [[-1.0, 1.0]]))
        pair = c.graph.concat([c.graph.apply("Neg", scores), scores])
        shares = c.graph.apply("Softmax", c.graph.arithmetic("Div", pair, 2.0), axis=1)
        return Prediction(label=c.positive(scores), probabilities=shares, scores=scores)
    shares = c.graph.apply("Softmax", c.graph.arithmetic("Div", scores, float(count - 1)), axis=1)
    return Prediction(label=c.argmax(scores), probabilities=shares, scores=scores)


@predictor("sklearn", "AdaBoostRegressor")
def adaboost_regressor(c: Compiler, model: Any, columns: Columns, data: Any) -> Prediction:
    """The weighted median of the rounds."""
    graph, rounds = c.graph, len(model.estimators_)
    values = [
        _of(c, c.predict(inner, columns, data, f"round {i}").value, "value")
        for i, inner in enumerate(model.estimators_)
    ]
    joined = graph.concat(values)
    weights = np.asarray(model.estimator_weights_[:rounds], np.float64)
    order, places = graph.node(
        "TopK", [joined.name, graph.constant([rounds])], outputs=2, axis=1, largest=0, sorted=1
    )
    heavy = Value(graph.node("Gather", [graph.constant(weights), places])[0], 11, rounds)
    # A cumulative sum, by a triangle of ones.
    so_far = graph.matmul(heavy, np.triu(np.ones((rounds, rounds))))
    whole = graph.columns(so_far, [rounds - 1])
    half = graph.arithmetic("Mul", whole, 0.5)
    reached = graph.apply("GreaterOrEqual", so_far, half, width=rounds)
    first = c.argmax(graph.cast(reached, 11))
    name = graph.node("GatherElements", [order, first.name], axis=1)[0]
    return Prediction(value=Value(name, 11, 1))
