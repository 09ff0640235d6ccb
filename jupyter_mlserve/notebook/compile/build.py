"""One attempt: the model compiled, and how to feed and read it (a part of the schema)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...contract.errors import InvalidDefinition
from ...contract.realtime import MAX_COLUMNS
from . import converters  # noqa: F401  (registers them)
from .compiler import CannotCompile, Columns, Compiler, Prediction, Step
from .frames import Frame
from .graph import DOUBLE, FLOAT, IMAGE, INT64, STRING, Value
from .reference import Answers, Reference

_WORD = {DOUBLE: "double", INT64: "int64", STRING: "string"}
_FED = {DOUBLE: "double", STRING: "string", FLOAT: "float"}


@dataclass(frozen=True)
class Built:
    """A compiled model and how to use it; ``inputs``, ``tensors``, ``outputs`` as in the header."""

    model: bytes
    inputs: list[dict[str, Any]]
    tensors: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    steps: list[Step]
    compiler: Compiler


def build(model: Any, frame: Frame, reference: Reference, compiler: Compiler) -> Built:
    """Compile ``model``. Raises CannotCompile naming the step that has no compiled form."""
    columns = _enter(compiler, frame)
    data = frame.model_input(frame.data)
    first = reference(frame.data.iloc[:1])
    if reference.kind == "transform":
        values = list(compiler.transform(model, columns, data))
        found = {f"features{position}": value for position, value in enumerate(values)}
        outputs = _feature_outputs(model, values)
        width = sum(value.width for value in values)
        if width != first["features"].shape[1]:
            wanted = first["features"].shape[1]
            raise CannotCompile(type(model).__name__, f"{width} columns came out, not {wanted}")
    else:
        prediction = compiler.predict(model, columns, data)
        found = _wanted(prediction, first, type(model).__name__)
        outputs = _outputs(reference, found, frame.response)
    if len(outputs) > MAX_COLUMNS:
        raise InvalidDefinition(
            f"The model gives {len(outputs)} columns; a realtime service gives at most "
            f"{MAX_COLUMNS}. Publish the whole pipeline, not only its first steps.",
            field="model",
        )
    graph = compiler.graph
    if any(value.type == IMAGE for value in found.values()):
        raise CannotCompile(
            type(model).__name__, "it gives images; ExtractPixels or FeaturizeImage ends it"
        )
    found = {
        name: graph.as_double(value) if value.type not in _WORD else value
        for name, value in found.items()
    }
    made = graph.model(list(found.items()))
    used = {item.name for item in made.graph.input}
    return Built(
        model=made.SerializeToString(),
        inputs=[item for item in _inputs(compiler, frame) if item["name"] in used],
        tensors=[
            {"name": name, "type": _WORD[value.type], "width": value.width}
            for name, value in found.items()
        ],
        outputs=outputs,
        steps=compiler.steps,
        compiler=compiler,
    )


def _enter(c: Compiler, frame: Frame) -> Columns:
    """The columns of the frame as graph inputs: one matrix of numbers, one of texts."""
    texts = [
        i for i, kind in enumerate(frame.types) if kind == "character" and i not in frame.images
    ]
    numbers = [i for i, kind in enumerate(frame.types) if kind != "character"]
    source: dict[int, tuple[Value, int]] = {}
    if numbers:
        plain = c.graph.input("numbers", DOUBLE, len(numbers))
        rounded = c.graph.cast(plain, FLOAT)  # left out of the model when nothing needs it
        for place, column in enumerate(numbers):
            narrow = frame.data.dtypes.iloc[column] == np.float32
            source[column] = (rounded if narrow else plain, place)
    if texts:
        c.texts = c.graph.input("texts", STRING, len(texts))
        c.text_columns = texts
        source.update({column: (c.texts, place) for place, column in enumerate(texts)})
    for column in frame.images:
        # An input of its own, which is left out when only the pixels are used.
        value = c.graph.input(f"encoded{column}", STRING, 1)
        c.encoded[value.name] = column
        source[column] = (value, 0)
    pieces: list[Value] = []
    run: tuple[Value, list[int]] | None = None
    for column in range(len(frame.types)):
        value, place = source[column]
        if run is not None and run[0] == value:
            run[1].append(place)
            continue
        if run is not None:
            pieces.append(c.graph.columns(*run))
        run = (value, [place])
    if run is not None:
        pieces.append(c.graph.columns(*run))
    return tuple(pieces)


def _inputs(c: Compiler, frame: Frame) -> list[dict[str, Any]]:
    numbers = [i for i, kind in enumerate(frame.types) if kind != "character"]
    found: list[dict[str, Any]] = []
    if numbers:
        found.append({"name": "numbers", "type": "double", "columns": numbers})
    if c.text_columns:
        found.append({"name": "texts", "type": "string", "columns": c.text_columns})
    for name, column in c.encoded.items():
        found.append({"name": name, "type": "string", "columns": [column]})
    for value, column, steps in c.text_inputs.values():
        item: dict[str, Any] = {"name": value.name, "type": _FED[value.type], "columns": [column]}
        if value.type == FLOAT:
            item["width"] = value.width
        found.append({**item, "steps": steps} if steps else item)
    return found


def _wanted(prediction: Prediction, first: Answers, model: str) -> dict[str, Value]:
    """The tensors that the model's own answers have, in the order of the answers."""
    found = {}
    for name, answer in first.items():
        value: Value | None = getattr(prediction, name)
        if value is None:
            raise CannotCompile(model, f"its compiled form gives no {name}")
        if value.width != answer.shape[1]:
            raise CannotCompile(model, f"{name}: {value.width} columns, not {answer.shape[1]}")
        found[name] = value
    return found


def _outputs(
    reference: Reference, found: dict[str, Value], response: dict[str, Any] | None
) -> list[dict[str, Any]]:
    if reference.kind == "regression":
        name = f"{response['name']}_Pred" if response else "Pred"
        width = found["value"].width
        names = [name] if width == 1 else [f"{name}.{i}" for i in range(width)]
        return [_column(n, "numeric", "value", i) for i, n in enumerate(names)]
    if reference.kind != "classification":
        made = [_column("PredictedLabel", "integer", "label", 0)]
        if "scores" in found:
            made.append(_column("Score", "numeric", "scores", 0))
        return made
    made = []
    several = len(reference.classes) > 1
    for i, classes in enumerate(reference.classes):
        name = f"PredictedLabel.{i}" if several else "PredictedLabel"
        made.append({**_column(name, _label_type(classes), "label", i), "labels": classes})
    classes = reference.classes[0]
    if "probabilities" in found and len(classes) == 2:
        made.append(_column("Probability", "numeric", "probabilities", 1))
    elif "scores" in found and len(classes) == 2:
        made.append(_column("Score", "numeric", "scores", 0))
    else:
        for tensor in ("probabilities", "scores"):
            if tensor in found:
                made += [
                    _column(f"Score.{label}", "numeric", tensor, i)
                    for i, label in enumerate(classes)
                ]
    return made


def _column(name: str, kind: str, tensor: str, index: int) -> dict[str, Any]:
    return {"name": name, "type": kind, "tensor": tensor, "index": index}


def _label_type(classes: list[Any]) -> str:
    return {str: "character", bool: "logical", int: "integer", float: "numeric"}[type(classes[0])]


def _feature_outputs(model: Any, values: list[Value]) -> list[dict[str, Any]]:
    width = sum(value.width for value in values)
    try:
        names = [str(name) for name in model.get_feature_names_out()]
    except Exception:  # many transformers have no names; any reason will do
        names = []
    usable = all(name and name.isprintable() and len(name) <= 256 for name in names)
    if len(names) != width or len(set(names)) != width or not usable:
        names = [f"Feature.{i}" for i in range(width)]
    made, at = [], 0
    for position, value in enumerate(values):
        kind = "character" if value.type == STRING else "numeric"
        for index in range(value.width):
            made.append(_column(names[at], kind, f"features{position}", index))
            at += 1
    return made
