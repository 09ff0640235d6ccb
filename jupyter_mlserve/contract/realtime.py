"""The container of a realtime service: a compiled model, its schema and the proof that it is right.

Layout (integers big-endian)::

    4 bytes  b"blob"     the published Python client demands that a serialized model begins so
    4 bytes  b"MLS1"     format and its version
    4 bytes  length of the header
    8 bytes  length of the model
    header   JSON, UTF-8
    model    ONNX bytes

Nothing follows. The header (all keys always there)::

    {"kind": "regression",              # classification, outlier, clustering, transform
     "model": "Pipeline(StandardScaler, Ridge)",
     "response": {"name": "rating", "type": "numeric"|null, "position": 0|null} | null,
     "columns": [{"name": "hp", "type": "numeric", "nullable": false,
                  "known": ["a", "b"],   # only these values; the model refuses all others
                  "range": [0, 10]}],    # only these; both keys may be absent
     "example": {"hp": 3.5},             # one typical row: a value for each of the columns
     "largest": 3.4e38 | null,           # larger numbers are refused (float32 models)
     "inputs":  [{"name": "numbers", "type": "double", "columns": [0, 2]},
                 {"name": "texts", "type": "string", "columns": [1]},
                 {"name": "text0", "type": "string", "columns": [3],
                  "steps": [{"step": "lower"}, {"step": "words", "least": 2, "drop": []}]},
                 {"name": "sentiment0", "type": "double", "columns": [3],
                  "steps": [{"step": "sentiment"}]},
                 {"name": "image0", "type": "float", "columns": [4], "width": 150528,
                  "steps": [{"step": "load_image"},
                            {"step": "resize_image", "width": 224, "height": 224,
                             "how": "iso_pad"},            # iso_crop, aniso
                            {"step": "extract_pixels",
                             "channels": "RGB",            # L
                             "layout": "interleaved",      # planar
                             "offset": 0.0, "scale": 1.0}]}],
     "tensors": [{"name": "label", "type": "int64", "width": 1}],
     "outputs": [{"name": "PredictedLabel", "type": "character", "tensor": "label", "index": 0,
                  "labels": ["setosa", "versicolor"]}],
     "proof": {"rows": 412, "largest_difference": 2.2e-16, "ties": 0, "candidate": "double",
               "probes": {"sample": 150, "null": 4}, "libraries": {"scikit-learn": "1.9.1"}},
     "sha256": "..."}                    # of the model bytes

How a frame becomes tensors: input ``numbers`` is the matrix [rows, k] of its columns as doubles
(false is 0.0, true 1.0, null NaN); ``texts`` is the matrix of its columns as strings, null as
:data:`NULL_TEXT`. With ``steps``, each text that is not null goes through :func:`value_function`
first: it gives a text (``string``, of one or more columns), a number (``double``, of exactly one
character column) or ``width`` float32 numbers (``float``, of exactly one character column, which
holds images as base64 text and is never nullable). Null is NULL_TEXT or NaN whatever the steps.

How tensors become a frame: an output column is column ``index`` of its tensor [rows, width]; with
``labels`` the value is a position in that list, without it is the value itself, NaN and infinite
meaning null.

``example`` is accepted by the service itself. It is made of the typical value of each column, so
it is nobody's record and may be shown to every consumer.

``response`` is the predicted variable; if ``position`` is set the training frame carried it there
and a frame that carries it again is accepted, the column ignored.

Pure Python, no I/O: the web node reads headers with this, and must not load numpy or a model.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from .errors import TooLarge
from .realtime_header import (
    EXACT_INTEGER,
    KINDS,
    MAX_COLUMNS,
    NULL_TEXT,
    Json,
    check_header,
    fail,
)
from .realtime_steps import StepFailed, value_function
from .text_steps import WORD_BOUND, text_function

__all__ = [
    "EXACT_INTEGER",
    "FORMAT",
    "KINDS",
    "MAGIC",
    "MAX_COLUMNS",
    "MAX_HEADER",
    "MAX_MODEL",
    "NULL_TEXT",
    "PREFIX",
    "WORD_BOUND",
    "Container",
    "StepFailed",
    "check_header",
    "input_definitions",
    "output_definitions",
    "pack",
    "text_function",
    "unpack",
    "value_function",
]

MAGIC = b"blob"
FORMAT = b"MLS1"
_LENGTHS = struct.Struct("!IQ")
PREFIX = len(MAGIC) + len(FORMAT) + _LENGTHS.size

MAX_HEADER = 8 * 1024 * 1024
MAX_MODEL = 256 * 1024 * 1024


@dataclass(frozen=True)
class Container:
    """A container taken apart: the checked header, and the ONNX bytes nobody has looked into."""

    header: Json
    model: bytes


def pack(header: Mapping[str, Any], model: bytes) -> bytes:
    """The container of ``header`` (without ``sha256``) and ``model``.

    Raises InvalidDefinition for a header that :func:`unpack` would refuse.
    """
    whole = {**header, "sha256": hashlib.sha256(model).hexdigest()}
    checked = check_header(whole)
    text = json.dumps(checked, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = text.encode("utf-8")
    _within(len(data), MAX_HEADER, "header")
    _within(len(model), MAX_MODEL, "compiled model")
    return b"".join([MAGIC, FORMAT, _LENGTHS.pack(len(data), len(model)), data, model])


def unpack(data: bytes | bytearray | memoryview, max_model: int = MAX_MODEL) -> Container:
    """Take a container apart, believing nothing it says.

    ``max_model`` is in bytes. Raises InvalidDefinition (``field`` names the part at fault) or
    TooLarge. The ONNX bytes are compared with their digest and not looked into.
    """
    view = memoryview(data)
    head = bytes(view[:PREFIX])
    if not head.startswith(MAGIC):
        fail("model", "it does not begin with 'blob'; make it with serialize_model(model, sample)")
    if head[4:8] != FORMAT:
        fail(
            "model",
            "it is not in the format this server reads (MLS1); serialize it again with a "
            "jupyter_mlserve that fits the server",
        )
    if len(head) < PREFIX:
        fail("model", "it ends within its own prefix, so it was cut off; send it again")
    header_length, model_length = _LENGTHS.unpack(head[8:])
    _within(header_length, MAX_HEADER, "header")
    _within(model_length, min(max_model, MAX_MODEL), "compiled model")
    if len(view) != PREFIX + header_length + model_length:
        fail("model", "its length is not the one it states, so it was cut off; send it again")
    header = check_header(_parse(bytes(view[PREFIX : PREFIX + header_length])))
    model = bytes(view[PREFIX + header_length :])
    if hashlib.sha256(model).hexdigest() != header["sha256"]:
        fail("sha256", "the compiled model is not the one the header was made for")
    return Container(header, model)


def input_definitions(header: Mapping[str, Any]) -> list[Json]:
    """The declared inputs of the service: ``inputData``, a frame with the real columns.

    Every column says whether it may be null: only what the model was proven with is accepted.
    """
    columns = [
        {"name": column["name"], "type": column["type"], "nullable": column["nullable"]}
        for column in header["columns"]
    ]
    return [{"name": "inputData", "type": "data.frame", "columns": columns}]


def output_definitions(header: Mapping[str, Any]) -> list[Json]:
    """The declared outputs of the service: ``outputData``, a frame with the real columns."""
    columns = [{"name": item["name"], "type": item["type"]} for item in header["outputs"]]
    return [{"name": "outputData", "type": "data.frame", "columns": columns}]


def _parse(data: bytes) -> object:
    try:
        return json.loads(
            data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_twins
        )
    except (ValueError, RecursionError) as exc:
        why = "nested too deeply" if isinstance(exc, RecursionError) else str(exc)[:200]
        fail("header", f"it is not JSON ({why})")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _within(size: int, limit: int, what: str) -> None:
    if size > limit:
        raise TooLarge(
            f"The {what} has {size:,} bytes, more than the {limit:,} a realtime service may have. "
            "Use a smaller model, or publish it as a standard service (%%publish_service).",
            limit=limit,
            field="model",
        )
