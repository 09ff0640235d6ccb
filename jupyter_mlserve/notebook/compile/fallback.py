"""Steps without a converter of ours: skl2onnx, in double where it is right, else in float32."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from .compiler import Columns, Compiler, Prediction, quietly
from .graph import BOOL, DOUBLE, FLOAT, INT64, MICROSOFT, ML, OPSET, STRING, Value
from .hashing import check_width
from .libraries import load
from .retype import retype
from .running import dense, run
from .supported import foreign

_TOLERANCE = 1e-6  # of a step alone; the whole model is held to the gate's
_ROWS = 200
_PATCHING = threading.RLock()
_SUBGRAPHS = frozenset({"Loop", "If", "Scan", "SequenceMap"})


def transform(c: Compiler, estimator: Any, columns: Columns, data: Any) -> Columns:
    """The columns of a transformer that skl2onnx knows."""
    check_width(c, estimator)
    rows = _sample(data)
    expected = None
    if rows is not None:
        expected = {"transform": dense(quietly(estimator.transform, rows))}
    values = _convert(c, estimator, columns, rows, expected)
    found = values[-1]
    if found.type not in (DOUBLE, FLOAT, INT64, BOOL, STRING):
        raise c.refuse("its compiled form gives no plain table")
    return (found if found.type == STRING else c.graph.as_double(found),)


def predict(c: Compiler, estimator: Any, columns: Columns, data: Any) -> Prediction:
    """The prediction of a model that skl2onnx knows."""
    from sklearn.base import is_classifier, is_outlier_detector, is_regressor

    rows = _sample(data)
    expected: dict[str, Any] | None = None
    if rows is not None:
        names = ("predict", "predict_proba", "decision_function")
        expected = {}
        for name in names:
            if hasattr(estimator, name):
                answer = quietly(getattr(estimator, name), rows)
                if not isinstance(answer, list):
                    expected[name] = dense(answer)
    values = _convert(c, estimator, columns, rows, expected)
    if is_regressor(estimator):
        return Prediction(value=c.graph.as_double(values[0]))
    label = values[0]
    others = [c.graph.as_double(v) for v in values[1:2] if v.type in (DOUBLE, FLOAT)]
    if is_classifier(estimator):
        label = _positions(c, estimator, label)
        second = others[0] if others else None
        if hasattr(estimator, "predict_proba"):
            return Prediction(label=label, probabilities=second)
        return Prediction(label=label, scores=_two_class_scores(c, estimator, second))
    label = c.graph.cast(label, INT64)
    if is_outlier_detector(estimator):
        return Prediction(label=label, scores=others[0] if others else None)
    return Prediction(label=label)


def _sample(data: Any) -> Any:
    if data is None:
        return None
    rows = data.iloc[:_ROWS] if hasattr(data, "iloc") else data[:_ROWS]
    return rows.toarray() if hasattr(rows, "toarray") else rows


def _positions(c: Compiler, estimator: Any, label: Value) -> Value:
    """Class labels as positions in ``classes_``."""
    classes = estimator.classes_
    if isinstance(classes, list) or label.width > 1:
        flat = [list(k) for k in classes] if isinstance(classes, list) else [[0, 1]] * label.width
        if all(list(map(int, k)) == list(range(len(k))) for k in flat if _whole(k)):
            if not all(_whole(k) for k in flat):
                raise c.refuse("several outputs with text labels have no compiled form")
            return c.graph.cast(label, INT64)
        raise c.refuse("several outputs whose labels are not 0, 1, ... have no compiled form")
    from .encoders import category_codes

    if label.type != STRING and _whole(classes) and list(classes) == list(range(len(classes))):
        return c.graph.cast(label, INT64)
    codes = np.arange(len(classes), dtype=np.float64)
    return c.graph.cast(category_codes(c, label, list(classes), codes, -1.0), INT64)


def _whole(values: Any) -> bool:
    return np.asarray(values).dtype.kind in "iub"


def _two_class_scores(c: Compiler, estimator: Any, scores: Value | None) -> Value | None:
    if scores is None or not hasattr(estimator, "decision_function"):
        return None
    if scores.width == 2 and len(estimator.classes_) == 2:
        return c.graph.columns(scores, [1])
    return scores


def _convert(
    c: Compiler, estimator: Any, columns: Columns, rows: Any, expected: dict[str, Any] | None
) -> list[Value]:
    """The outputs of the first conversion that gives on ``rows`` what the estimator gives."""
    kinds = [DOUBLE, FLOAT] if c.double else [FLOAT]
    if any(piece.type == STRING for piece in columns):
        if not all(piece.type == STRING for piece in columns):
            together = "text and number columns reach it together, which has no compiled form"
            raise c.refuse(foreign(estimator) or together)
        kinds = [STRING]
    joined = c.graph.concat(list(columns)) if kinds == [STRING] else c.matrix(columns)
    why, fits = "", None
    for kind in kinds:
        for target in ({"": OPSET, "ai.onnx.ml": 3}, OPSET):
            try:
                model = _to_onnx(estimator, joined.width, kind, target)
            except Exception as exc:  # whatever a converter raises means: not this way
                why = why or " ".join(f"{type(exc).__name__}: {exc}".split())[:300]
                continue
            if rows is None or expected is None:
                return _inline(c, model, joined, kind, {})
            try:
                difference, widths = _difference(model, rows, kind, expected)
            except Exception as exc:
                why = " ".join(f"{type(exc).__name__}: {exc}".split())[:300]
                continue
            if difference <= _TOLERANCE:
                return _inline(c, model, joined, kind, widths)
            # Wrong on the sample: kept as a last resort, for the gate to judge and name.
            if fits is None or difference < fits[0]:
                fits = (difference, model, kind, widths)
            break
    if fits is None:
        raise c.refuse(_reason(estimator, why))
    return _inline(c, fits[1], joined, *fits[2:])


def _reason(estimator: Any, why: str) -> str:
    if "Unable to find a shape calculator" in why or "MissingShapeCalculator" in why:
        return foreign(estimator) or "it has no compiled form"
    return f"it could not be converted ({why})"


def _to_onnx(estimator: Any, width: int, kind: int, target: Any) -> Any:
    types = load("skl2onnx.common.data_types")
    made = {
        DOUBLE: types.DoubleTensorType,
        FLOAT: types.FloatTensorType,
        STRING: types.StringTensorType,
    }[kind]([None, width])
    convert = load("skl2onnx").convert_sklearn
    error: Exception | None = None
    for options in _options(estimator):
        try:
            with warnings.catch_warnings(), _whole_numbers():
                warnings.simplefilter("ignore")
                model = convert(
                    estimator, initial_types=[("X", made)], target_opset=target, options=options
                )
            break
        except NameError as exc:  # "Option 'zipmap' not in [..]"
            error = exc
    else:
        assert error is not None
        raise error
    if model.functions:
        model = load("onnx.inliner").inline_local_functions(model)
    if kind == DOUBLE:
        model = retype(model)
    if any(node.domain not in ("", ML, MICROSOFT) for node in model.graph.node):
        raise ValueError("its compiled form needs functions, which a realtime service refuses")
    if any(node.op_type in _SUBGRAPHS for node in model.graph.node):
        raise ValueError("its compiled form needs a loop, which a realtime service does not run")
    return model


@contextmanager
def _whole_numbers() -> Iterator[None]:
    """Let skl2onnx write nodes under protobuf 7 too.

    It gives booleans for attributes that are integers, which protobuf took for 0 and 1 before
    version 7 and refuses since. Undone at the end: what the author's own code does with skl2onnx
    is not ours to change.
    """
    container: Any = load("skl2onnx.common._container")
    with _PATCHING:
        plain = container.make_node

        def make_node(*arguments: Any, **attributes: Any) -> Any:
            made = {name: _without_booleans(value) for name, value in attributes.items()}
            return plain(*arguments, **made)

        container.make_node = make_node
        try:
            yield
        finally:
            container.make_node = plain


def _without_booleans(value: Any) -> Any:
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, np.ndarray) and value.dtype == np.bool_:
        return value.astype(np.int64)
    if isinstance(value, list | tuple):
        return [_without_booleans(item) for item in value]
    return value


def _options(estimator: Any) -> Iterator[dict[int, Any] | None]:
    """Options from the most to the least wanted; an estimator refuses those it does not know."""
    key = id(estimator)
    yield {key: {"zipmap": False, "optim": "cdist"}}
    yield {key: {"optim": "cdist"}}
    yield {key: {"zipmap": False}}
    yield None


def _difference(
    model: Any, rows: Any, kind: int, expected: dict[str, Any]
) -> tuple[float, dict[str, int]]:
    """Largest scaled difference on ``rows``, and how wide each output is."""
    dtype: Any = {DOUBLE: np.float64, FLOAT: np.float32, STRING: object}[kind]
    found = run(model, {"X": dense(rows).astype(dtype)})
    widths = {
        # 0: a plain vector, or one lying on its side
        item.name: value.shape[1] if value.ndim > 1 and len(value) == len(rows) else 0
        for item, value in zip(model.graph.output, found, strict=True)
        if not isinstance(value, list)
    }
    worst = 0.0
    if "transform" in expected:
        return scaled_difference(found[-1], expected["transform"]), widths
    if "predict" in expected:
        worst = scaled_difference(found[0], expected["predict"])
    second = expected.get("predict_proba", expected.get("decision_function"))
    if len(found) > 1 and second is not None and not isinstance(found[1], list):
        values = dense(found[1])
        if second.shape[1] == 1 and values.shape[1] == 2:
            values = values[:, 1:]
        worst = max(worst, scaled_difference(values, second))
    return worst, widths


def scaled_difference(found: Any, expected: npt.NDArray[Any]) -> float:
    """Largest difference in units of the column's usual size; infinite for unequal text."""
    a, b = dense(found), dense(expected)
    if a.size == b.size:
        a = a.reshape(b.shape)
    if a.shape != b.shape:
        return float("inf")
    if b.dtype.kind not in "fiub" or a.dtype.kind not in "fiub":
        return 0.0 if a.astype(str).tolist() == b.astype(str).tolist() else float("inf")
    x, y = a.astype(np.float64), b.astype(np.float64)
    if not y.size:
        return 0.0
    if not np.array_equal(np.isnan(x), np.isnan(y)):
        return float("inf")
    with np.errstate(invalid="ignore"):
        usual = np.nanmean(np.abs(y), axis=0, keepdims=True) if np.isfinite(y).any() else 1.0
        scale = np.maximum(np.abs(y), np.maximum(usual, 1e-12))
        off = np.where(x == y, 0.0, np.abs(x - y) / scale)
    off = off[~np.isnan(off)]
    return float(off.max()) if off.size else 0.0


def _inline(
    c: Compiler, model: Any, value: Value, kind: int, widths: dict[str, int]
) -> list[Value]:
    """Put the nodes of ``model`` into the graph; its outputs, as values."""
    onnx, graph = load("onnx"), c.graph
    names = {model.graph.input[0].name: graph.cast(value, kind).name, "": ""}
    for item in model.graph.initializer:
        names[item.name] = graph.fresh("weights")
        copy = onnx.TensorProto()
        copy.CopyFrom(item)
        copy.name = names[item.name]
        graph.initializers.append(copy)
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = ""
        copy.input[:] = [names[name] for name in node.input]
        for name in node.output:
            names[name] = graph.fresh(node.op_type) if name else ""
        copy.output[:] = [names[name] for name in node.output]
        graph.nodes.append(copy)
    found = []
    for item in model.graph.output:
        if not item.type.HasField("tensor_type"):
            continue
        dims = item.type.tensor_type.shape.dim
        width = widths.get(item.name, dims[1].dim_value if len(dims) > 1 else 0)
        made = Value(names[item.name], item.type.tensor_type.elem_type, max(1, width))
        found.append(_as_matrix(c, made, width == 0))
    if not found:
        raise c.refuse("its compiled form gives no table")
    return found


def _as_matrix(c: Compiler, value: Value, flat: bool) -> Value:
    """A vector [rows] as a matrix [rows, 1]."""
    if not flat:
        return value
    shape = c.graph.constant([-1, 1])
    return Value(c.graph.node("Reshape", [value.name, shape])[0], value.type, 1)
