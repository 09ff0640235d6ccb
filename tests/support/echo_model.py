"""Models that answer with what reached them: decoding and encoding can be seen as they are."""

from __future__ import annotations

import json
from typing import Any

from onnx import TensorProto, helper

from jupyter_mlserve.compute.realtime.scoring import Scorer
from jupyter_mlserve.contract.realtime import pack, unpack
from jupyter_mlserve.notebook.compile.running import session

from .realtime_models import header_of

Json = dict[str, Any]
_ONNX = {
    "double": TensorProto.DOUBLE,
    "float": TensorProto.FLOAT,
    "string": TensorProto.STRING,
    "int64": TensorProto.INT64,
}
_EXAMPLES = {"numeric": 1.0, "integer": 1, "logical": True, "character": "a"}


def column(name: str, kind: str = "numeric", nullable: bool = False, **rules: Any) -> Json:
    return {"name": name, "type": kind, "nullable": nullable, **rules}


def echo(
    *columns: Json,
    response: Json | None = None,
    largest: float | None = None,
    inputs: list[Json] | None = None,
    **limits: int,
) -> Scorer:
    """A scorer whose output columns are its input columns: numbers (as numeric), then texts.

    With ``inputs`` (as in a header) each element of each input is a column of the answer.
    """
    numbers = [i for i, item in enumerate(columns) if item["type"] != "character"]
    texts = [i for i, item in enumerate(columns) if item["type"] == "character"]
    if inputs is None:
        inputs = []
        if numbers:
            inputs.append({"name": "numbers", "type": "double", "columns": numbers})
        if texts:
            inputs.append({"name": "texts", "type": "string", "columns": texts})
    plain = all("steps" not in item for item in inputs)
    tensors, outputs, nodes = [], [], []
    for item in inputs:
        name, width = f"{item['name']}_out", item.get("width", len(item["columns"]))
        kind = "double" if item["type"] == "float" else item["type"]
        tensors.append({"name": name, "type": kind, "width": width})
        nodes.append(
            helper.make_node("Cast", [item["name"]], [name], to=_ONNX[kind])
            if item["type"] == "float"
            else helper.make_node("Identity", [item["name"]], [name])
        )
        for index in range(width):
            outputs.append(
                {
                    "name": columns[item["columns"][index]]["name"] if plain else f"{name}.{index}",
                    "type": "character" if kind == "string" else "numeric",
                    "tensor": name,
                    "index": index,
                }
            )
    examples = {item["name"]: _example(item, i, inputs) for i, item in enumerate(columns)}
    return scorer_of(
        inputs,
        tensors,
        nodes,
        limits,
        response=response,
        columns=list(columns),
        example=examples,
        largest=largest,
        outputs=outputs,
    )


def scorer_of(
    inputs: list[Json], tensors: list[Json], nodes: list[Any], limits: Json, **header: Any
) -> Scorer:
    """A scorer of the model that ``nodes`` make, through the container as an upload would come."""
    constants = header.pop("constants", [])
    graph = helper.make_graph(
        nodes,
        "g",
        [_value(item, item.get("width", len(item["columns"]))) for item in inputs],
        [_value(item, item["width"]) for item in tensors],
        initializer=constants,
    )
    opsets = [helper.make_opsetid("", 22), helper.make_opsetid("ai.onnx.ml", 5)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    made = header_of(kind="transform", inputs=inputs, tensors=tensors, **header)
    container = unpack(pack(made, model.SerializeToString()))
    return Scorer(container.header, session(container.model), **limits)


def body_of(data: Any) -> bytes:
    """A frame as the body of a call."""
    return json.dumps({"inputData": data}, ensure_ascii=False).encode()


def answer(reply: bytes) -> Json:
    """The columns in a reply, which must be a whole result."""
    result = json.loads(reply)
    assert result.pop("outputParameters").keys() == {"outputData"}
    assert result == {
        "success": True,
        "errorMessage": "",
        "consoleOutput": "",
        "changedFiles": [],
        "outputFiles": {},
    }
    found: Json = json.loads(reply)["outputParameters"]["outputData"]
    return found


def _value(item: Json, width: int) -> Any:
    return helper.make_tensor_value_info(item["name"], _ONNX[item["type"]], [None, width])


def _example(item: Json, place: int, inputs: list[Json]) -> Any:
    if any(i["type"] == "float" and place in i["columns"] for i in inputs):
        return "aGVsbG8="
    if "known" in item:
        return item["known"][0]
    if "range" in item:
        return item["range"][0]
    return _EXAMPLES[item["type"]]
