"""Columns of images in a sample, and the images that a compiled model is tried on."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...contract.image_steps import decode_image, encoded_image
from .encoders import is_null

if TYPE_CHECKING:
    from .frames import Frame
    from .probes import Probes
    from .reference import Reference

MAX_ROWS = 64  # of a sample with images: a network takes milliseconds for each, many times
MAX_THRESHOLDS = 8  # of trees beside images
_LOOKED_AT = 5
_VARIED = 2


def image_columns(model: Any, data: Any) -> list[int]:
    """The positions of the columns of ``data`` that hold images, if ``model`` loads any."""
    from .probes import parts

    if not any(type(part).__name__ == "LoadImage" for part in parts(model)):
        return []
    return [i for i in range(len(data.columns)) if _holds_images(data.iloc[:, i])]


def _holds_images(column: Any) -> bool:
    cells = [cell for cell in column.iloc[:200].tolist() if not is_null(cell)][:_LOOKED_AT]
    return bool(cells) and all(isinstance(cell, str) and _is_image(cell) for cell in cells)


def _is_image(cell: str) -> bool:
    try:
        decode_image(encoded_image(cell))
    except ValueError:
        return False
    return True


def try_images(found: Probes, reference: Reference, base: list[list[Any]], column: int) -> None:
    """Add rows with variations of images of the sample, as clients may send them."""
    from .probes import answers

    rows = []
    for row in base[:_VARIED]:
        for text in variations(row[column]):
            rows.append([*row[:column], text, *row[column + 1 :]])
    frame: Frame = found.frame
    made = frame.make(rows)
    if answers(reference, made) is not None:
        found.add("image", made, column)


def variations(text: str) -> Iterator[str]:
    """Other files, kinds of pixels and sizes of the same image, and images of one colour."""
    from PIL import Image

    image = decode_image(encoded_image(text)).convert("RGB")
    wide, high = image.size
    yield _text(image, "PNG")
    yield _text(image, "JPEG", quality=80)
    yield _text(image.convert("L"), "PNG")
    yield _text(image.convert("P"), "GIF")
    clear = image.convert("RGBA")
    clear.putalpha(image.convert("L"))
    yield _text(clear, "PNG")
    yield _text(image.convert("CMYK"), "JPEG")
    yield _text(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "BMP")
    yield _text(image.resize((max(1, wide // 2), high + 3)), "PNG")
    for shade in ("black", "white"):
        yield _text(Image.new("RGB", (5, 3), shade), "PNG")


def _text(image: Any, kind: str, **options: Any) -> str:
    held = io.BytesIO()
    image.save(held, kind, **options)
    return base64.b64encode(held.getvalue()).decode()
