"""Categories, missing values: encoders and imputers, exact for text, numbers and nulls.

A null is NaN in a number column and ``NULL_TEXT`` in a text column. skl2onnx writes a missing
category as the text "nan", which then means the text "nan" as well.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contract.realtime import NULL_TEXT
from .compiler import Columns, Compiler, transformer
from .graph import BOOL, DOUBLE, ML, STRING, Value
from .libraries import load

NO_CODE = -1


def is_null(value: object) -> bool:
    """None, NaN, NaT or pandas.NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def category_codes(
    c: Compiler,
    value: Value,
    categories: Sequence[Any],
    codes: npt.NDArray[Any],
    default: float,
) -> Value:
    """``codes[i]`` where ``value`` [rows, 1] is ``categories[i]``, else ``default``; double."""
    graph = c.graph
    if value.type == STRING:
        keys = [NULL_TEXT if is_null(item) else _text(c, item) for item in categories]
        if len(set(keys)) != len(keys):
            raise c.refuse("it knows two kinds of missing value, None and NaN; use one")
        helper = load("onnx").numpy_helper
        made = graph.node(
            "LabelEncoder",
            [value.name],
            domain=ML,
            keys_tensor=helper.from_array(np.array(keys, object)),
            values_tensor=helper.from_array(np.asarray(codes, np.float64)),
            default_tensor=helper.from_array(np.array([default], np.float64)),
        )[0]
        return Value(made, DOUBLE, 1)
    # Numbers: compared in double, one column of the comparison for each category.
    x = graph.as_double(value)
    numbers = [float("nan") if is_null(item) else _number(c, item) for item in categories]
    hit = graph.apply("Equal", x, graph.constant([numbers]), width=len(numbers))
    if any(np.isnan(numbers)):
        at = graph.constant([[bool(np.isnan(number)) for number in numbers]], BOOL)
        missing = graph.apply("And", graph.apply("IsNaN", x), at, width=len(numbers))
        hit = graph.apply("Or", hit, missing)
    weights = np.asarray(codes, np.float64)
    if np.isnan(weights).any():
        raise c.refuse("a known category encoded as NaN has no compiled form")
    ones = graph.cast(hit, DOUBLE)
    total = graph.matmul(ones, weights.reshape(-1, 1))
    found = graph.apply("Greater", c.row_sum(ones), graph.constant([[0.0]]))
    return graph.apply("Where", found, total, graph.constant([[default]]), width=1)


def _text(c: Compiler, item: object) -> str:
    if not isinstance(item, str):
        raise c.refuse(f"a text column has the category {item!r}, which is no text")
    return str(item)


def _number(c: Compiler, item: object) -> float:
    if isinstance(item, str) or not isinstance(item, int | float | np.number | np.bool_):
        raise c.refuse(f"a number column has the category {item!r}, which is no number")
    return float(item)


def _single_columns(c: Compiler, columns: Columns) -> list[Value]:
    width = sum(piece.width for piece in columns)
    return [c.take(columns, [position])[0] for position in range(width)]


@transformer("sklearn", "OneHotEncoder")
def one_hot(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    made: list[Value] = []
    for position, value in enumerate(_single_columns(c, columns)):
        categories = list(model.categories_[position])
        # Where each category lands: infrequent ones share the last place, a dropped one has none.
        places = np.arange(len(categories))
        infrequent = model._infrequent_indices[position] if model._infrequent_enabled else None
        if infrequent is not None and len(infrequent):
            mapping = np.asarray(model._default_to_infrequent_mappings[position])
            places = mapping[places]
        width = int(places.max()) + 1
        rest = float(NO_CODE)
        if model.handle_unknown in ("infrequent_if_exist", "warn") and infrequent is not None:
            rest = float(width - 1)
        code = category_codes(c, value, categories, places.astype(np.float64), rest)
        kept = [place for place in range(width) if place != _dropped(model, position)]
        if not kept:
            continue
        slots = c.graph.constant([[float(place) for place in kept]])
        hit = c.graph.apply("Equal", code, slots, width=len(kept))
        made.append(c.graph.cast(hit, DOUBLE))
    return tuple(made)


def _dropped(model: Any, position: int) -> int | None:
    dropped = None if model.drop_idx_ is None else model.drop_idx_[position]
    if dropped is None:
        return None
    if model._infrequent_enabled:
        mapping = model._default_to_infrequent_mappings[position]
        if mapping is not None:
            return int(mapping[int(dropped)])
    return int(dropped)


@transformer("sklearn", "OrdinalEncoder")
def ordinal(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    made: list[Value] = []
    for position, value in enumerate(_single_columns(c, columns)):
        categories = list(model.categories_[position])
        places = np.arange(len(categories), dtype=np.float64)
        infrequent = model._infrequent_indices[position] if model._infrequent_enabled else None
        if infrequent is not None and len(infrequent):
            mapping = np.asarray(model._default_to_infrequent_mappings[position])
            places = mapping.astype(np.float64)
        unknown = float("nan")
        if model.handle_unknown == "use_encoded_value":
            unknown = float(model.unknown_value)
        lost = [i for i, item in enumerate(categories) if is_null(item)]
        encoded = float(model.encoded_missing_value)
        if not lost and value.type != STRING and np.isnan(unknown):
            encoded = unknown
        if lost:
            # A null is encoded as the encoder says (NaN unless asked otherwise), by a branch of
            # its own: no matrix product can give NaN for one category only.
            keep = [i for i in range(len(categories)) if i not in lost]
            code = category_codes(c, value, [categories[i] for i in keep], places[keep], unknown)
            code = c.graph.apply(
                "Where", null_mask(c, value), c.graph.constant([[encoded]]), code, width=1
            )
        else:
            code = category_codes(c, value, categories, places, unknown)
        made.append(code)
    return tuple(made)


@transformer("sklearn", "TargetEncoder")
def target(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    made: list[Value] = []
    classes = len(model.classes_) if model.target_type_ == "multiclass" else 1
    means = np.atleast_1d(np.asarray(model.target_mean_, np.float64))
    for position, value in enumerate(_single_columns(c, columns)):
        categories = list(model.categories_[position])
        for k in range(classes):
            codes = np.asarray(model.encodings_[position * classes + k], np.float64)
            made.append(category_codes(c, value, categories, codes, float(means[k])))
    return (c.graph.concat(made),)


def null_mask(c: Compiler, value: Value) -> Value:
    """True where ``value`` is null, as its type says it."""
    if value.type == STRING:
        return c.graph.apply("Equal", value, c.graph.constant([[NULL_TEXT]]))
    return c.graph.apply("IsNaN", c.graph.as_double(value))


def _missing_mask(c: Compiler, value: Value, missing: object) -> Value:
    if is_null(missing):
        return null_mask(c, value)
    if value.type == STRING:
        return c.graph.apply("Equal", value, c.graph.constant([[_text(c, missing)]]))
    number = c.graph.constant([[_number(c, missing)]])
    return c.graph.apply("Equal", c.graph.as_double(value), number)


@transformer("sklearn", "SimpleImputer")
def simple_imputer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    made: list[Value] = []
    for value, fill in zip(_single_columns(c, columns), model.statistics_, strict=True):
        if is_null(fill):
            if not model.keep_empty_features:
                continue  # a column that was empty at fit is left out
            raise c.refuse("a column was empty at fit")
        mask = _missing_mask(c, value, model.missing_values)
        if value.type == STRING:
            filled = c.graph.apply("Where", mask, c.graph.constant([[_text(c, fill)]]), value)
        else:
            x = c.graph.as_double(value)
            filled = c.graph.apply("Where", mask, c.graph.constant([[_number(c, fill)]]), x)
        made.append(filled)
    # Neighbours of one type go on as one piece.
    pieces = _joined(c, made)
    if model.add_indicator and model.indicator_ is not None:
        flags = missing_indicator(c, model.indicator_, columns, data)
        pieces = (*pieces, *flags)
    return pieces


@transformer("sklearn", "KNNImputer")
def neighbour_imputer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    raise c.refuse(
        "which of equally near rows it takes depends on rounding; use a SimpleImputer, or fill "
        "missing values before"
    )


@transformer("sklearn", "IterativeImputer")
def iterative_imputer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    raise c.refuse(
        "what it makes of an empty row depends on the other rows of the call; use a "
        "SimpleImputer, or fill missing values before"
    )


def _joined(c: Compiler, values: Sequence[Value]) -> Columns:
    if values and len({value.type for value in values}) == 1:
        return (c.graph.concat(values),)
    return tuple(values)


@transformer("sklearn", "MissingIndicator")
def missing_indicator(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    singles = _single_columns(c, columns)
    masks = [_missing_mask(c, singles[int(i)], model.missing_values) for i in model.features_]
    return tuple(c.graph.cast(mask, DOUBLE) for mask in masks)


@transformer("sklearn", "FunctionTransformer")
def function_transformer(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    function = model.func
    if isinstance(function, functools.partial):
        name = getattr(function.func, "__name__", "")
        if name == "check_array":
            return columns
    if function is None:
        return columns
    if model.kw_args:
        raise c.refuse("a FunctionTransformer with kw_args has no compiled form")
    return (apply_function(c, function, c.matrix(columns)),)


def apply_function(c: Compiler, function: Any, x: Value) -> Value:
    """A numpy function of one argument at ``x``, if it has a compiled form."""
    operator = _FUNCTIONS.get(function) if isinstance(function, np.ufunc) else None
    if operator is None:
        name = getattr(function, "__name__", repr(function))
        raise c.refuse(
            f"the function {name} is Python code, which a realtime service does not run. Make "
            "the column before fit, or use one of numpy's "
            + ", ".join(sorted(f.__name__ for f in _FUNCTIONS))
        )
    if operator == "Log1p":
        return c.graph.apply("Log", c.graph.arithmetic("Add", x, 1.0))
    if operator == "Expm1":
        return c.graph.arithmetic("Sub", c.graph.apply("Exp", x), 1.0)
    if operator == "Square":
        return c.graph.apply("Mul", x, x)
    return c.graph.apply(operator, x)


_FUNCTIONS: dict[Any, str] = {
    np.log: "Log",
    np.log1p: "Log1p",
    np.exp: "Exp",
    np.expm1: "Expm1",
    np.sqrt: "Sqrt",
    np.square: "Square",
    np.abs: "Abs",
    np.sin: "Sin",
    np.cos: "Cos",
    np.tanh: "Tanh",
    np.sign: "Sign",
    np.negative: "Neg",
    np.floor: "Floor",
    np.ceil: "Ceil",
}
