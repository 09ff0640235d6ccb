"""Walking a fitted model and writing its graph: the dispatch, and what converters share.

A converter is a function registered for the exact class of an estimator. It gets the compiler,
the estimator, the columns that reach it and the sample as it reaches it, and returns columns
(transformers) or a :class:`Prediction`. Classes without one go to skl2onnx (``fallback``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .graph import DOUBLE, IMAGE, INT64, STRING, Graph, Value

Columns = tuple[Value, ...]  # the pieces of a frame, side by side


class CannotCompile(Exception):
    """A step has no compiled form. ``step`` names it, the message says why."""

    def __init__(self, step: str, why: str) -> None:
        self.step, self.why = step, why
        super().__init__(f"{step}: {why}")


@dataclass(frozen=True)
class Prediction:
    """What a predictor gives. Classifiers: ``label`` is the position in ``classes_``.

    ``value`` [rows, targets]; ``label`` [rows, outputs] int64 (for outlier detectors and
    clusterers the label itself); ``probabilities`` [rows, classes]; ``scores`` the decision
    function, [rows, 1] for two classes.
    """

    value: Value | None = None
    label: Value | None = None
    probabilities: Value | None = None
    scores: Value | None = None


@dataclass(frozen=True)
class Step:
    """A step that was compiled: for finding the one at fault, and for the proof."""

    label: str
    route: str
    estimator: Any
    data: Any
    result: Columns | Prediction


TransformConverter = Callable[["Compiler", Any, Columns, Any], Columns]
PredictConverter = Callable[["Compiler", Any, Columns, Any], Prediction]
_TRANSFORMERS: dict[tuple[str, str], TransformConverter] = {}
_PREDICTORS: dict[tuple[str, str], PredictConverter] = {}


def transformer(package: str, *names: str) -> Callable[[TransformConverter], TransformConverter]:
    """Register a converter for the classes ``names`` of ``package``."""

    def register(function: TransformConverter) -> TransformConverter:
        _TRANSFORMERS.update({(package, name): function for name in names})
        return function

    return register


def predictor(package: str, *names: str) -> Callable[[PredictConverter], PredictConverter]:
    """Register a converter for the classes ``names`` of ``package``."""

    def register(function: PredictConverter) -> PredictConverter:
        _PREDICTORS.update({(package, name): function for name in names})
        return function

    return register


def key_of(estimator: object) -> tuple[str, str]:
    """Package and class. A subclass is another class: it may predict differently."""
    cls = type(estimator)
    return cls.__module__.partition(".")[0], cls.__name__


def name_of(estimator: object) -> str:
    return type(estimator).__name__


class Compiler:
    """One attempt to compile one model."""

    def __init__(self, own: bool = True, double: bool = True) -> None:
        self.graph = Graph()
        self.own = own  # use converters of ours; else skl2onnx wherever it has one
        self.double = double  # skl2onnx steps in double if they can, else in float32
        self.steps: list[Step] = []
        self.text_inputs: dict[str, tuple[Value, int, list[Any]]] = {}
        self.texts: Value | None = None  # the graph input that holds the frame's text columns
        self.text_columns: list[int] = []  # which columns of the frame those are
        self.encoded: dict[str, int] = {}  # graph inputs that hold one column of images as texts
        # Values of type IMAGE: the column of texts they come from, and the steps so far.
        self.images: dict[str, tuple[Value, list[dict[str, Any]]]] = {}
        self._path: list[str] = []

    def transform(self, estimator: Any, columns: Columns, data: Any, label: str = "") -> Columns:
        """The columns that ``estimator.transform`` makes of ``columns``."""
        from . import fallback

        if estimator == "passthrough" or estimator is None:
            return columns
        known = _TRANSFORMERS.get(key_of(estimator))
        convert: TransformConverter = known or fallback.transform
        if known and not self.own and _is_leaf(estimator):
            convert = fallback.transform
        made = self._run(convert, estimator, columns, data, label)
        assert isinstance(made, tuple)
        return made

    def predict(self, estimator: Any, columns: Columns, data: Any, label: str = "") -> Prediction:
        """What ``estimator`` predicts for ``columns``."""
        from . import fallback

        known = _PREDICTORS.get(key_of(estimator))
        convert: PredictConverter = known or fallback.predict
        if known and not self.own and _is_leaf(estimator):
            convert = fallback.predict
        made = self._run(convert, estimator, columns, data, label)
        assert isinstance(made, Prediction)
        return made

    def _run(
        self, convert: Any, estimator: Any, columns: Columns, data: Any, label: str
    ) -> Columns | Prediction:
        own_name = name_of(estimator)
        self._path.append(f"{label} ({own_name})" if label else own_name)
        try:
            made: Columns | Prediction = convert(self, estimator, columns, data)
        except CannotCompile:
            raise
        except (KeyboardInterrupt, MemoryError):
            raise
        except Exception as exc:
            # A converter may meet a version of its library it does not know: that refuses the
            # model, it must not end the author's cell with a traceback of ours.
            why = " ".join(f"{type(exc).__name__}: {exc}".split())[:400]
            raise CannotCompile(self.path, why) from exc
        finally:
            path = self.path
            self._path.pop()
        route = "own"
        if convert.__module__.endswith(".fallback"):
            route = "skl2onnx"
        self.steps.append(Step(path, route, estimator, data, made))
        return made

    @property
    def path(self) -> str:
        """The step being compiled, from the outermost."""
        return " > ".join(self._path)

    def refuse(self, why: str) -> CannotCompile:
        """The error of the step being compiled."""
        return CannotCompile(self.path, why)

    def matrix(self, columns: Columns) -> Value:
        """All columns as one double matrix."""
        if not columns:
            raise self.refuse("no column reaches it")
        if any(value.type == STRING for value in columns):
            raise self.refuse("text columns reach it; encode them first (OneHotEncoder, ...)")
        if any(value.type == IMAGE for value in columns):
            raise self.refuse("images reach it; make numbers of them first (ExtractPixels, ...)")
        return self.graph.concat([self.graph.as_double(value) for value in columns])

    def take(self, columns: Columns, positions: Sequence[int]) -> Columns:
        """The columns at ``positions``; neighbours of one piece stay together."""
        places = [(piece, offset) for piece in columns for offset in range(piece.width)]
        taken: list[tuple[Value, list[int]]] = []
        for position in positions:
            piece, offset = places[position]
            if taken and taken[-1][0] is piece:
                taken[-1][1].append(offset)
            else:
                taken.append((piece, [offset]))
        return tuple(self.graph.columns(piece, offsets) for piece, offsets in taken)

    def prepared(
        self,
        value: Value,
        steps: list[Any],
        stem: str = "text",
        kind: int = STRING,
        width: int = 1,
    ) -> Value | None:
        """The column of texts ``value`` after ``steps``, which the runtime does before the graph.

        An input of its own, [rows, width] of type ``kind``, named ``stem`` and a number. None when
        ``value`` is not a column of the frame as it came.
        """
        source, places = self.graph.views.get(value.name, (value, (0,)))
        if value.width != 1:
            return None
        if source.name in self.encoded:
            column = self.encoded[source.name]
        elif source == self.texts:
            column = self.text_columns[places[0]]
        else:
            return None
        key = repr((column, steps))
        if key not in self.text_inputs:
            count = sum(held.name.startswith(stem) for held, _, _ in self.text_inputs.values())
            made = self.graph.input(f"{stem}{count}", kind, width)
            self.text_inputs[key] = made, column, steps
        return self.text_inputs[key][0]

    def argmax(self, value: Value) -> Value:
        """Position of the largest in each row, the first of equals: [rows, 1] int64."""
        return self.graph.apply("ArgMax", value, axis=1, keepdims=1, width=1)

    def positive(self, scores: Value) -> Value:
        """1 where ``scores`` [rows, 1] is above 0, else 0 (int64)."""
        above = self.graph.apply("Greater", scores, self.graph.constant([[0.0]]))
        return self.graph.cast(above, INT64)

    def both(self, second: Value) -> Value:
        """[1 - p, p] of the probability of the second class [rows, 1]."""
        first = self.graph.apply("Sub", self.graph.constant([[1.0]]), second)
        return self.graph.concat([first, second])

    def row_sum(self, value: Value) -> Value:
        axes = self.graph.constant([1])
        return self.graph.apply("ReduceSum", value, axes, keepdims=1, width=1)

    def zeros(self, columns: Columns, width: int) -> Value:
        """A double matrix [rows, width] of zeros, as many rows as ``columns``."""
        # 0 * x would be NaN for NaN, so the rows are counted by a comparison.
        first = self.graph.columns(columns[0], [0])
        if first.type == STRING:
            same = self.graph.apply("Equal", first, self.graph.constant([[""]]))
        else:
            same = self.graph.apply("IsNaN", self.graph.as_double(first))
        zero = self.graph.arithmetic("Mul", self.graph.cast(same, DOUBLE), 0.0)
        if width == 1:
            return zero
        return self.graph.apply("Add", zero, self.graph.constant([[0.0] * width]), width=width)


def _is_leaf(estimator: object) -> bool:
    from .compose import COMPOSITE

    # Transformers of ours have no other converter than ours.
    return key_of(estimator) not in COMPOSITE and key_of(estimator)[0] != "jupyter_mlserve"


def quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)`` without warnings: the author saw them when fitting."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)
