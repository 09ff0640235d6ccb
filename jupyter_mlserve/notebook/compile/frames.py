"""The sample: what it says about the columns, and frames made like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...contract.errors import InvalidDefinition
from ...contract.learn import columns_of
from ...contract.names import check_column
from .image_probes import MAX_ROWS as IMAGE_ROWS
from .image_probes import image_columns
from .response import is_predicted, listed, too_many, trained_on

MAX_ROWS = 5000  # of a sample; more rows prove nothing more


@dataclass
class Frame:
    """The predictors of a sample, column by column, as the model was trained on them."""

    data: Any  # pandas.DataFrame of the predictors
    types: list[str]
    as_array: bool  # the model was fitted on an array, and is asked with arrays
    as_text: bool  # the model takes one column of texts, not a table
    response: dict[str, Any] | None
    names: list[str] = field(default_factory=list)
    images: list[int] = field(default_factory=list)  # columns that hold base64 texts of images

    def model_input(self, rows: Any) -> Any:
        """``rows`` (a frame like ``data``) in the form the model was fitted on."""
        if self.as_text:
            return rows.iloc[:, 0]
        if self.as_array:
            return rows.to_numpy()
        return rows

    def make(self, rows: Sequence[Sequence[Any]]) -> Any:
        """A frame of ``rows`` (lists of values, None for null) with the sample's types."""
        import pandas as pd

        made, dtypes = {}, list(self.data.dtypes)
        for position, name in enumerate(self.data.columns):
            values = [row[position] for row in rows]
            made[name] = self._series(values, position, dtypes[position])
        return pd.DataFrame(made, columns=self.data.columns)

    def _series(self, values: list[Any], column: int, dtype: Any) -> Any:
        import pandas as pd

        kind = getattr(dtype, "kind", "O")
        if kind in "iub" and isinstance(dtype, np.dtype) and any(v is None for v in values):
            # A plain integer column cannot hold a null: pandas makes floats of it, and so
            # does every frame with a null that reaches a model.
            return pd.Series([np.nan if v is None else float(v) for v in values], dtype=np.float64)
        if str(dtype) == "category":
            known = set(dtype.categories)
            if any(v is not None and v not in known for v in values):
                raise ValueError("not among the categories of the sample")
        elif kind == "O" and any(v is None for v in values):
            missing = self._missing_object(column)
            values = [missing if v is None else v for v in values]
        return pd.Series(values, dtype=dtype)

    def _missing_object(self, column: int) -> Any:
        """The missing value that a column of objects uses: None, unless the sample has NaN."""
        for value in self.data.iloc[:, column]:
            if isinstance(value, float) and value != value:
                return value
        return None

    def rows(self, rows: Any) -> list[list[Any]]:
        """A frame as lists of plain values, None for null."""
        from .encoders import is_null

        columns = [rows.iloc[:, i].tolist() for i in range(len(rows.columns))]
        return [
            [None if is_null(cell) else cell for cell in row] for row in zip(*columns, strict=True)
        ]


def read_sample(model: Any, sample: Any, response: str | None) -> Frame:
    """The predictors in ``sample``, with their types, and the response if it is among them.

    ``sample`` is a pandas DataFrame with the training columns, in the training order and types; a
    Series or list of texts for a model that takes texts; or a 2-d array for a model that was
    fitted on arrays. Raises InvalidDefinition saying what is missing.
    """
    import pandas as pd

    trained = _trained_names(model)
    data = sample
    if isinstance(data, pd.Series):
        data = data.to_frame(str(data.name) if data.name is not None else "text")
    elif isinstance(data, list | tuple) and data and isinstance(data[0], str):
        data = pd.DataFrame({"text": list(data)})
    elif not isinstance(data, pd.DataFrame):
        array = np.asarray(data.toarray() if hasattr(data, "toarray") else data)
        if array.ndim != 2:
            _fail(f"expected a frame, got {type(sample).__name__}; give a few training rows")
        names = trained or [f"x{i}" for i in range(array.shape[1])]
        if len(names) != array.shape[1]:
            _fail(f"the model was fitted on {len(names)} columns, it has {array.shape[1]}")
        data = pd.DataFrame(array, columns=names).infer_objects()
    if not len(data):
        _fail("it has no rows; a few training rows are needed to prove the compiled model")
    data = thinned(model, data).reset_index(drop=True)
    as_text = _takes_text(model)
    data, found = _split_response(model, data, trained, _width(model, as_text), response)
    kinds = columns_of(data)
    for column in kinds:
        if column["type"] == "datetime":
            _fail(
                f"column {column['name']!r} holds dates, and a compiled model knows only numbers "
                "and text. Make a number of it before fit, for example seconds since 1970",
                column["name"],
            )
    return Frame(
        data=data,
        types=[column["type"] for column in kinds],
        as_array=trained is None and not as_text,
        as_text=as_text,
        response=found,
        names=[column["name"] for column in kinds],
        images=image_columns(model, data),
    )


def thinned(model: Any, data: Any) -> Any:
    """At most as many rows of a frame as are used of a sample, from all over it."""
    most = IMAGE_ROWS if image_columns(model, data.iloc[:MAX_ROWS]) else MAX_ROWS
    if len(data) <= most:
        return data
    return data.iloc[np.linspace(0, len(data) - 1, most).astype(int)]


def package_of(model: Any) -> str:
    """The package of the model inside its wrappers: ``sklearn``, ``lightgbm``, ``xgboost``."""
    from .compose import unwrap

    return type(unwrap(model)).__module__.partition(".")[0]


def _split_response(
    model: Any, data: Any, trained: list[str] | None, width: int | None, response: str | None
) -> tuple[Any, dict[str, Any] | None]:
    names = [str(name) for name in data.columns]
    if trained is not None and package_of(model) == "lightgbm":
        # LightGBM writes "_" for blanks in names, and does not compare names when it predicts.
        blanks = {name.replace(" ", "_"): name for name in names}
        trained = [blanks.get(name, name) for name in trained]
    if trained is not None:
        response = _response_among(model, data, names, trained, response)
    if trained is None and response is None and width is not None and len(names) == width + 1:
        _fail(
            f"it has {len(names)} columns and the model takes {width}; if one is the response, "
            "name it: response="
        )
    found: dict[str, Any] | None = None
    if response is not None:
        check_column(response, "response")
        position = names.index(response) if response in names else None
        kind = None
        if position is not None:
            kind = columns_of(data.iloc[:, [position]])[0]["type"]
            kind = None if kind == "datetime" else kind
            data = data.drop(columns=[data.columns[position]])
        found = {"name": response, "type": kind, "position": position}
    names = [str(name) for name in data.columns]
    if trained is not None and names != trained:
        _fail(f"its columns are in another order than at fit ({', '.join(trained[:6])}, ...)")
    if width is not None and len(names) != width:
        _fail(f"the model was fitted on {width} columns, it has {len(names)}")
    return data, found


def _response_among(
    model: Any, data: Any, names: list[str], trained: list[str], response: str | None
) -> str | None:
    """The response, named or found; raises for columns that are missing or too many."""
    if response in trained and response in names:
        _fail(f"the response {response!r} is a column the model was fitted on")
    lost = [name for name in trained if name not in names]
    if lost:
        _fail(
            f"{'column' if len(lost) == 1 else 'columns'} {listed(map(repr, lost))} "
            f"{'is' if len(lost) == 1 else 'are'} missing"
        )
    extra = [name for name in names if name not in trained and name != response]
    if not extra:
        return response
    if response is None and len(extra) == 1:
        predictors = data.iloc[:, [names.index(name) for name in trained]]
        if is_predicted(model, predictors, data.iloc[:, names.index(extra[0])]):
            return extra[0]
    kept = response if response in names else None
    option = f"response={extra[0]!r}" if len(extra) == 1 else "response="
    # A caller with other words for the same (a magic) makes its own sentence of ``extra``.
    raise InvalidDefinition(
        f"The sample cannot be used: {too_many(extra, kept, 'sample', trained_on(model), option)}.",
        field="sample",
        extra=extra,
    )


def _trained_names(model: Any) -> list[str] | None:
    if package_of(model) == "lightgbm" and type(model).__name__ == "Booster":
        found = [str(name) for name in model.feature_name()]
        return None if found == [f"Column_{i}" for i in range(len(found))] else found
    if package_of(model) == "xgboost" and type(model).__name__ == "Booster":
        return None if model.feature_names is None else [str(n) for n in model.feature_names]
    try:
        names = model.feature_names_in_
    except AttributeError:
        return None
    return None if names is None else [str(name) for name in names]


def _width(model: Any, as_text: bool) -> int | None:
    if as_text:
        return 1
    try:
        return int(model.n_features_in_)
    except (AttributeError, TypeError):
        pass
    for name in ("num_feature", "num_features"):  # the boosters of LightGBM and XGBoost
        if hasattr(model, name):
            return int(getattr(model, name)())
    return None


def _takes_text(model: Any) -> bool:
    """Whether the first thing the model does is to read texts (not a table)."""
    from .compose import unwrap

    model = unwrap(model)
    while type(model).__name__ in ("Pipeline", "FeatureUnion"):
        steps: Sequence[tuple[str, Any]] = getattr(model, "steps", None) or model.transformer_list
        steps = [step for step in steps if step[1] is not None and not isinstance(step[1], str)]
        if not steps:
            return False
        model = unwrap(steps[0][1])
    if type(model).__name__ == "Sentiment":
        return not hasattr(model, "n_features_in_")  # it takes tables, too
    return type(model).__name__ in ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")


def _fail(what: str, field_name: str = "sample") -> None:
    raise InvalidDefinition(f"The sample cannot be used: {what}.", field=field_name)
