"""The rules of a header's ``inputs``: which columns become which tensor, by which steps."""

from __future__ import annotations

from collections import Counter

from .header_checks import (
    MAX_TEXT,
    Json,
    array,
    distinct,
    fail,
    integer,
    keys,
    number,
    one_of,
    places,
    tensor_name,
    text,
)
from .image_steps import CHANNELS, HOW, LAYOUTS, MAX_WIDTH
from .limits import MAX_COLUMNS
from .text_steps import GRAMS, MAX_DROP, MAX_GRAM, MAX_LEAST, STEPS

MAX_SIDE = 4096  # pixels, of an image as a model takes it
# A text read by many inputs costs their number in time and memory, so that is bounded.
MAX_READERS = 16  # inputs with steps that read one column
MAX_IMAGES = 16  # image inputs in all

INPUT_TYPES = ("double", "string", "float")
_IMAGE = ("load_image", "resize_image", "extract_pixels")


def inputs(value: object, columns: list[Json]) -> list[Json]:
    """The inputs normalised, or InvalidDefinition. ``columns`` are the (checked) columns."""
    found: list[Json] = array(value, "inputs", 1, MAX_COLUMNS + 2, _input)
    readers: Counter[int] = Counter()
    for position, item in enumerate(found):
        _check_columns(item, columns, f"inputs[{position}]")
        if "steps" in item:
            readers.update(item["columns"])
    if readers and max(readers.values()) > MAX_READERS:
        fail("inputs", f"more than {MAX_READERS} of them have steps for one column")
    if sum(1 for item in found if item["type"] == "float") > MAX_IMAGES:
        fail("inputs", f"more than {MAX_IMAGES} of them are images")
    return found


def image_columns(found: list[Json]) -> set[int]:
    """The columns that hold images."""
    return {index for item in found if item["type"] == "float" for index in item["columns"]}


def _input(item: object, where: str) -> Json:
    raw = keys(item, where, ("name", "type", "columns"), ("steps", "width"))
    kind = one_of(raw["type"], INPUT_TYPES, f"{where}.type")
    made: Json = {
        "name": tensor_name(raw["name"], where),
        "type": kind,
        "columns": places(raw["columns"], f"{where}.columns", MAX_COLUMNS),
    }
    if kind == "float":
        keys(item, where, ("name", "type", "columns", "steps", "width"))
        made["width"] = integer(raw["width"], f"{where}.width", 1, MAX_WIDTH)
        made["steps"] = _image(raw["steps"], f"{where}.steps")
        _, size, pixels = made["steps"]
        values = size["width"] * size["height"] * len(pixels["channels"])
        if made["width"] != values:
            fail(f"{where}.width", f"its steps make {values} values")
    elif "width" in raw:
        fail(where, "'width' is not known")
    elif "steps" in raw and kind == "double":
        made["steps"] = array(raw["steps"], f"{where}.steps", 1, 1, _sentiment)
    elif "steps" in raw:
        made["steps"] = array(raw["steps"], f"{where}.steps", 1, 4, _text_step)
    return made


def _check_columns(item: Json, columns: list[Json], where: str) -> None:
    where = f"{where}.columns"
    distinct(item["columns"], where)
    # A double input reads numbers, unless a step makes numbers of texts.
    reads_text = item["type"] != "double" or "steps" in item
    for index in item["columns"]:
        if index >= len(columns):
            fail(where, f"there is no column {index}")
        if (columns[index]["type"] == "character") != reads_text:
            fail(where, f"column {index} is not of the input's type")
        if item["type"] == "float" and columns[index]["nullable"]:
            fail(where, f"column {index} holds images and may be null")
    if "steps" in item and item["type"] != "string" and len(item["columns"]) != 1:
        fail(where, "such an input reads exactly one column")


def _text_step(item: object, where: str) -> Json:
    raw = keys(item, where, ("step",), ("least", "most", "of", "drop"))
    step = one_of(raw["step"], STEPS, f"{where}.step")
    if step == "grams":
        raw = keys(item, where, ("step", "of", "least", "most"))
        least = integer(raw["least"], f"{where}.least", 1, MAX_GRAM)
        most = integer(raw["most"], f"{where}.most", least, MAX_GRAM)
        of = one_of(raw["of"], GRAMS, f"{where}.of")
        return {"step": step, "of": of, "least": least, "most": most}
    if step not in ("words", "tokens"):
        keys(item, where, ("step",))
        return {"step": step}
    wanted = ("step", "least", "drop") if step == "words" else ("step", "drop")
    raw = keys(item, where, wanted)
    made: Json = {"step": step}
    if step == "words":
        made["least"] = integer(raw["least"], where, 1, MAX_LEAST)
    made["drop"] = array(
        raw["drop"], f"{where}.drop", 0, MAX_DROP, lambda x, w: text(x, w, MAX_TEXT)
    )
    return made


def _sentiment(item: object, where: str) -> Json:
    raw = keys(item, where, ("step",))
    return {"step": one_of(raw["step"], ("sentiment",), f"{where}.step")}


def _image(value: object, where: str) -> list[Json]:
    """Exactly three steps in their order, or the width would not be known."""
    load, size, pixels = array(value, where, 3, 3, lambda item, _: item)
    _named(load, f"{where}[0]", _IMAGE[0])
    size = _named(size, f"{where}[1]", _IMAGE[1], "width", "height", "how")
    pixels = _named(pixels, f"{where}[2]", _IMAGE[2], "channels", "layout", "offset", "scale")
    return [
        {"step": _IMAGE[0]},
        {
            "step": _IMAGE[1],
            "width": integer(size["width"], f"{where}[1].width", 1, MAX_SIDE),
            "height": integer(size["height"], f"{where}[1].height", 1, MAX_SIDE),
            "how": one_of(size["how"], HOW, f"{where}[1].how"),
        },
        {
            "step": _IMAGE[2],
            "channels": one_of(pixels["channels"], CHANNELS, f"{where}[2].channels"),
            "layout": one_of(pixels["layout"], LAYOUTS, f"{where}[2].layout"),
            "offset": number(pixels["offset"], f"{where}[2].offset"),
            "scale": number(pixels["scale"], f"{where}[2].scale"),
        },
    ]


def _named(value: object, where: str, step: str, *parts: str) -> Json:
    raw = keys(value, where, ("step", *parts))
    one_of(raw["step"], (step,), f"{where}.step")
    return raw
