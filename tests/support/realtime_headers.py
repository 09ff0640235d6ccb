"""Headers of realtime containers for tests: one that uses every form, and a strategy of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# One of every form of input: numbers, texts, a prepared text, a sentiment, an image.
HEADER: dict[str, Any] = {
    "kind": "classification",
    "model": "Pipeline(StandardScaler, LogisticRegression)",
    "response": {"name": "species", "type": "character", "position": 2},
    "columns": [
        {"name": "hp", "type": "numeric", "nullable": False, "range": [0, 10.5]},
        {"name": "n", "type": "integer", "nullable": True},
        {"name": "città", "type": "character", "nullable": True, "known": ["a", "東京"]},
        {"name": "photo", "type": "character", "nullable": False},
    ],
    "example": {"hp": 3.5, "n": None, "città": "東京", "photo": "iVBORw0KGgo="},
    "largest": 3.4e38,
    "inputs": [
        {"name": "numbers", "type": "double", "columns": [0, 1]},
        {"name": "texts", "type": "string", "columns": [2]},
        {
            "name": "text0",
            "type": "string",
            "columns": [2],
            "steps": [{"step": "lower"}, {"step": "words", "least": 2, "drop": ["the"]}],
        },
        {
            "name": "sentiment0",
            "type": "double",
            "columns": [2],
            "steps": [{"step": "sentiment"}],
        },
        {
            "name": "image0",
            "type": "float",
            "columns": [3],
            "width": 24,
            "steps": [
                {"step": "load_image"},
                {"step": "resize_image", "width": 4, "height": 2, "how": "iso_pad"},
                {
                    "step": "extract_pixels",
                    "channels": "RGB",
                    "layout": "interleaved",
                    "offset": 0.0,
                    "scale": 1.0,
                },
            ],
        },
    ],
    "tensors": [
        {"name": "label", "type": "int64", "width": 1},
        {"name": "probabilities", "type": "double", "width": 2},
    ],
    "outputs": [
        {
            "name": "PredictedLabel",
            "type": "character",
            "tensor": "label",
            "index": 0,
            "labels": ["no", "yes"],
        },
        {"name": "Probability", "type": "numeric", "tensor": "probabilities", "index": 1},
    ],
    "proof": {
        "rows": 12,
        "largest_difference": 1e-16,
        "ties": 0,
        "candidate": "double",
        "probes": {"sample": 10, "null": 2},
        "libraries": {"scikit-learn": "1.9.1"},
    },
}
# The attitude survey: what a regression of rating on the six others is.
ATTITUDE: dict[str, Any] = {
    "kind": "regression",
    "model": "LinearRegression",
    "response": {"name": "rating", "type": "numeric", "position": 0},
    "columns": [
        {"name": name, "type": "numeric", "nullable": False}
        for name in ("complaints", "privileges", "learning", "raises", "critical", "advance")
    ],
    "example": {
        "complaints": 65.0,
        "privileges": 51.0,
        "learning": 56.0,
        "raises": 63.0,
        "critical": 77.0,
        "advance": 41.0,
    },
    "largest": None,
    "inputs": [{"name": "numbers", "type": "double", "columns": [0, 1, 2, 3, 4, 5]}],
    "tensors": [{"name": "value", "type": "double", "width": 1}],
    "outputs": [{"name": "rating_Pred", "type": "numeric", "tensor": "value", "index": 0}],
    "proof": {
        "rows": 120,
        "largest_difference": 2.2e-16,
        "ties": 0,
        "candidate": "double",
        "probes": {"sample": 30, "number": 90},
        "libraries": {"scikit-learn": "1.9.1"},
    },
}

_texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Co"]), max_size=8)
_names = _texts.filter(lambda text: bool(text) and text.isprintable())
_whole = st.integers(-(2**53), 2**53)
_numbers = st.floats(-1e9, 1e9) | st.integers(-1000, 1000)
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "logical": st.booleans(),
    "integer": _whole,
    "numeric": _numbers,
    "character": _texts,
}


@st.composite
def _columns(draw: st.DrawFn) -> list[dict[str, Any]]:
    made = []
    for name in draw(st.lists(_names, min_size=1, max_size=5, unique=True)):
        kind = draw(st.sampled_from(sorted(CELLS)))
        column: dict[str, Any] = {"name": name, "type": kind, "nullable": draw(st.booleans())}
        rule = draw(st.sampled_from(["none", "known", "range"]))
        if rule == "known":
            column["known"] = draw(st.lists(CELLS[kind], min_size=1, max_size=4))
        elif rule == "range" and kind in ("integer", "numeric"):
            column["range"] = sorted(draw(st.lists(_numbers, min_size=2, max_size=2)))
        made.append(column)
    return made


@st.composite
def cell(draw: st.DrawFn, column: dict[str, Any]) -> Any:
    """A value that a service with this column takes."""
    if column["nullable"] and draw(st.booleans()):
        return None
    if "known" in column:
        return draw(st.sampled_from(column["known"]))
    if "range" not in column:
        return draw(CELLS[column["type"]])
    low, high = column["range"]
    if column["type"] == "numeric":
        return draw(st.sampled_from([low, high]))
    whole = [value for value in (round(low), round(high)) if low <= value <= high]
    return draw(st.sampled_from(whole)) if whole else None


@st.composite
def headers(draw: st.DrawFn) -> dict[str, Any]:
    """Headers (without ``sha256``) that keep every rule."""
    columns = draw(_columns())
    example = {column["name"]: draw(cell(column)) for column in columns}
    for column in columns:  # a range without a whole number in it leaves an integer only null
        column["nullable"] = column["nullable"] or example[column["name"]] is None
    numbers = [i for i, column in enumerate(columns) if column["type"] != "character"]
    texts = [i for i, column in enumerate(columns) if column["type"] == "character"]
    inputs: list[dict[str, Any]] = []
    if numbers:
        inputs.append({"name": "numbers", "type": "double", "columns": numbers})
    if texts:
        inputs.append({"name": "texts", "type": "string", "columns": texts})
        inputs.append({**HEADER["inputs"][3], "columns": texts[:1]})
    classes = draw(st.lists(_names, min_size=2, max_size=3, unique=True))
    tensors = [
        {"name": "label", "type": "int64", "width": 1},
        {"name": "probabilities", "type": "double", "width": len(classes)},
    ]
    outputs: list[dict[str, Any]] = [
        {
            "name": "PredictedLabel",
            "type": "character",
            "tensor": "label",
            "index": 0,
            "labels": classes,
        }
    ]
    outputs += [
        {"name": f"Score.{label}", "type": "numeric", "tensor": "probabilities", "index": index}
        for index, label in enumerate(classes)
    ]
    response = None
    name = draw(st.none() | _names)
    if name is not None:
        position = draw(st.none() | st.integers(0, len(columns)))
        if name in example:
            position = None
        kind = draw(st.none() | st.sampled_from(sorted(CELLS)))
        response = {"name": name, "type": kind, "position": position}
    return {
        **HEADER,
        "response": response,
        "columns": columns,
        "example": example,
        "largest": draw(st.none() | st.just(3.4e38)),
        "inputs": inputs,
        "tensors": tensors,
        "outputs": outputs,
    }
