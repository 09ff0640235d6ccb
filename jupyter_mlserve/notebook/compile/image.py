"""Image transformers: decoding and resizing are steps of the runtime, the network joins the graph.

Between LoadImage and ExtractPixels there is no tensor: what stands there in a graph under
construction is a value of the type IMAGE, for which the compiler keeps the steps so far.
"""

from __future__ import annotations

from typing import Any

from .compiler import Columns, Compiler, transformer
from .graph import FLOAT, IMAGE, STRING, Value
from .libraries import load

OURS = "jupyter_mlserve"


@transformer(OURS, "LoadImage")
def load_image(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    if len(columns) != 1 or columns[0].type != STRING or columns[0].width != 1:
        raise c.refuse("it takes one column of base64 texts")
    return (_image(c, columns[0], [{"step": "load_image"}]),)


@transformer(OURS, "ResizeImage")
def resize_image(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    source, steps = _steps(c, columns)
    if len(steps) != 1:
        raise c.refuse("the images are resized twice, which has no compiled form")
    return (_image(c, source, [*steps, model.step()]),)


@transformer(OURS, "ExtractPixels")
def extract_pixels(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    return (_pixels(c, columns, model.step()),)


@transformer(OURS, "FeaturizeImage")
def featurize_image(c: Compiler, model: Any, columns: Columns, data: Any) -> Columns:
    network = model.network_
    if len(columns) == 1 and columns[0].type == IMAGE:
        pixels = _pixels(c, columns, model.step())
    elif len(columns) == 1:
        pixels = c.graph.cast(columns[0], FLOAT)
    else:
        pixels = c.graph.cast(c.matrix(columns), FLOAT)
    width = network.channels * network.height * network.width
    if pixels.width != width:
        raise c.refuse(f"{pixels.width} pixels reach it, not {width}")
    return (join(c, network.model, pixels, network.features),)


def join(c: Compiler, network: bytes, pixels: Value, features: int) -> Value:
    """The nodes of a prepared network behind ``pixels``; its features, float32."""
    onnx = load("onnx")
    graph = onnx.load_from_string(network).graph
    names = {graph.input[0].name: pixels.name}
    for tensor in graph.initializer:
        names[tensor.name] = tensor.name = c.graph.fresh("weight")
        c.graph.initializers.append(tensor)
    for node in graph.node:
        node.input[:] = [names[name] for name in node.input]
        for position, name in enumerate(node.output):
            names[name] = node.output[position] = c.graph.fresh(node.op_type)
        c.graph.nodes.append(node)
    return Value(names[graph.output[0].name], FLOAT, features)


def _image(c: Compiler, source: Value, steps: list[dict[str, Any]]) -> Value:
    value = Value(c.graph.fresh("image"), IMAGE, 1)
    c.images[value.name] = source, steps
    return value


def _steps(c: Compiler, columns: Columns) -> tuple[Value, list[dict[str, Any]]]:
    if len(columns) != 1 or columns[0].type != IMAGE:
        raise c.refuse("no image reaches it; put LoadImage before it")
    return c.images[columns[0].name]


def _pixels(c: Compiler, columns: Columns, step: dict[str, Any]) -> Value:
    """The graph input that holds the pixels of the images, [rows, pixels] float32."""
    source, steps = _steps(c, columns)
    if len(steps) != 2:
        raise c.refuse(
            "the images must all be of one size; put ResizeImage behind LoadImage, also where "
            "they are of that size already"
        )
    width = steps[1]["width"] * steps[1]["height"] * len(step["channels"])
    value = c.prepared(source, [*steps, step], "image", FLOAT, width)
    if value is None:
        raise c.refuse("the images are changed before they reach it, which has no compiled form")
    return value
