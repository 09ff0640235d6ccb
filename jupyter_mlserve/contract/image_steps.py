"""Images as a built-in step of the runtime: base64 text to pixels, by Pillow.

The kernel that proves a model and the runtime that serves it use these same functions, so that
both see the same pixels. The images come from strangers: only the formats in :data:`FORMATS` are
opened, none is decoded before its size is known and within the limits, and whatever is wrong with
one is a :class:`~.realtime.StepFailed`.

Grey images stay grey until their channels are taken, all others become RGB: palettes are looked
up, what is transparent is laid on white, 16 bits become 8 (the higher ones), CMYK is converted
without a colour profile. The orientation that a camera noted is applied. Of an animation the
first frame is taken.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
MAX_ENCODED = 16 * 1024 * 1024  # bytes of an encoded image
MAX_PIXELS = 16_777_216  # of a decoded one: 4096 x 4096
MAX_SIDE = 32_768
MAX_SCANS = 100  # of a progressive JPEG: each goes over all pixels, cameras write about ten
MAX_WIDTH = 1_000_000  # numbers that one image gives
HOW = ("iso_crop", "iso_pad", "aniso")
CHANNELS = ("RGB", "L")
LAYOUTS = ("planar", "interleaved")

_STEPS = ["load_image", "resize_image", "extract_pixels"]
# Ways to compress a TIFF that are not other image formats in disguise.
_TIFF = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "group3", "group4")


def image_function(steps: Sequence[Mapping[str, Any]]) -> Callable[[str], npt.NDArray[np.float32]]:
    """The function that ``steps`` (load_image, resize_image, extract_pixels) mean.

    It maps base64 text to a float32 array of :func:`image_width` numbers, and raises StepFailed.
    """
    if [step.get("step") for step in steps] != _STEPS:
        raise ValueError(f"expected the steps {', '.join(_STEPS)}")
    _, resizing, pixels = steps
    width, height, how = resizing["width"], resizing["height"], resizing["how"]
    channels, layout = pixels["channels"], pixels["layout"]
    offset, scale = pixels["offset"], pixels["scale"]

    def chain(text: str) -> npt.NDArray[np.float32]:
        image = resize_image(load_image(text), width, height, how)
        return extract_pixels(image, channels, layout, offset, scale)

    return chain


def image_width(steps: Sequence[Mapping[str, Any]]) -> int:
    """How many numbers ``steps`` give for an image."""
    return int(steps[1]["width"] * steps[1]["height"] * len(steps[2]["channels"]))


def load_image(text: str) -> Image:
    """The image that ``text`` (base64, without line breaks or ``data:``) holds, as L or RGB."""
    return decode_image(encoded_image(text))


def encoded_image(text: str) -> bytes:
    """The bytes of the image in ``text``. Raises StepFailed unless it is base64 of one."""
    if len(text) > MAX_ENCODED // 3 * 4 + 4:
        _fail(f"the image has more than {MAX_ENCODED:,} bytes")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        _fail("it is not base64 text of an image")
    if len(data) < 8:
        _fail("it is no image" if data else "the text is empty, there is no image in it")
    return data


def decode_image(data: bytes) -> Image:
    """The image in the encoded ``data``, as L or RGB, upright. Raises StepFailed."""
    from PIL import Image, UnidentifiedImageError

    _before_opening(data)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _before_decoding(image)
            image.load()
            _within(*image.size)
            return _upright(_plain(image), _orientation(image))
    except MemoryError:
        raise
    except Exception as exc:  # every decoder of Pillow fails in its own way
        from .realtime import StepFailed

        if isinstance(exc, StepFailed):
            raise
        if isinstance(exc, Image.DecompressionBombError | Image.DecompressionBombWarning):
            _fail(f"the image has more than {MAX_PIXELS:,} pixels")
        if isinstance(exc, UnidentifiedImageError):
            _fail(f"it is no image of the formats {', '.join(FORMATS)}, or a broken one")
        _fail("the image is cut off or broken")


def resize_image(image: Image, width: int, height: int, how: str) -> Image:
    """``image`` as ``width`` x ``height`` pixels, bilinear.

    ``iso_crop`` keeps the proportions and cuts off what is too much, in the middle; ``iso_pad``
    keeps them and fills up with black around; ``aniso`` stretches.
    """
    from PIL import Image as module

    bilinear = module.Resampling.BILINEAR
    wide, high = image.size
    if how == "aniso":
        return image.resize((width, height), bilinear)
    if how == "iso_crop":
        # The part that is kept, before anything is enlarged: the rest may be very long.
        kept_wide, kept_high = min(wide, high * width / height), min(high, wide * height / width)
        left, top = (wide - kept_wide) / 2, (high - kept_high) / 2
        box = (left, top, left + kept_wide, top + kept_high)
        return image.resize((width, height), bilinear, box=box)
    if how != "iso_pad":
        raise ValueError(f"how: expected {', '.join(HOW)}, got {how!r}")
    factor = min(width / wide, height / high)
    inner = (
        min(width, max(1, round(wide * factor))),
        min(height, max(1, round(high * factor))),
    )
    made = module.new(image.mode, (width, height))
    made.paste(image.resize(inner, bilinear), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return made


def extract_pixels(
    image: Image, channels: str = "RGB", layout: str = "planar", offset: float = 0, scale: float = 1
) -> npt.NDArray[np.float32]:
    """The pixels of ``image`` as (value - offset) * scale, value 0 to 255, row by row.

    ``planar``: all of the first channel, then all of the next; ``interleaved``: pixel by pixel.
    """
    import numpy as np

    if image.mode != channels:
        image = image.convert(channels)
    pixels = np.asarray(image)
    if layout == "planar" and pixels.ndim == 3:
        pixels = pixels.transpose(2, 0, 1)
    made = pixels.astype(np.float32).ravel()
    if offset:
        made -= np.float32(offset)
    if scale != 1:
        made *= np.float32(scale)
    return made


def _before_opening(data: bytes) -> None:
    """What must be known before Pillow makes memory for it."""
    if len(data) > MAX_ENCODED:
        _fail(f"the image has {len(data):,} bytes, more than {MAX_ENCODED:,}")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        _within(*_webp_size(data))
    elif data[:2] == b"\xff\xd8" and data.count(b"\xff\xda") > MAX_SCANS:
        _fail(f"the image goes over its pixels more than {MAX_SCANS} times")


def _webp_size(data: bytes) -> tuple[int, int]:
    """The canvas that a WebP states; its decoder makes it as soon as the file is opened."""
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        wide, high = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
        return wide & 0x3FFF, high & 0x3FFF
    _fail("the image is cut off or broken")


def _before_decoding(image: Image) -> None:
    _within(*image.size)
    if image.format == "TIFF" and image.info.get("compression") not in _TIFF:
        _fail("it is a TIFF that is compressed in a way that is not read; save it as PNG")


def _within(wide: int, high: int) -> None:
    if wide < 1 or high < 1:
        _fail("the image has no pixels")
    if wide * high > MAX_PIXELS:
        _fail(f"the image has {wide * high:,} pixels, more than {MAX_PIXELS:,}")
    if max(wide, high) > MAX_SIDE:
        _fail(f"the image has {wide} x {high} pixels, more than {MAX_SIDE:,} on a side")


def _plain(image: Image) -> Image:
    """``image`` as L or RGB, 8 bits."""
    from PIL import Image as module

    mode = image.mode
    if mode in ("L", "RGB"):
        # A colour that stands for transparent is laid on white like any other way to say so.
        if "transparency" not in image.info:
            return image.copy()
        return _on_white(image.convert("RGBA"))
    if mode == "P":
        if "transparency" in image.info:
            return _on_white(image.convert("RGBA"))
        return image.convert("RGB")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return _on_white(image.convert("RGBA"))
    if mode == "1":
        return image.convert("L")
    if mode == "I" or mode.startswith("I;16"):
        import numpy as np

        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            _fail("the image has more than 16 bits a pixel")
        return module.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
    if mode in ("CMYK", "YCbCr", "RGBX"):
        return image.convert("RGB")
    _fail(f"the image's pixels are of a kind that is not read ({mode}); save it as RGB")


def _on_white(image: Image) -> Image:
    from PIL import Image as module

    white = module.new("RGBA", image.size, (255, 255, 255, 255))
    return module.alpha_composite(white, image).convert("RGB")


def _orientation(image: Image) -> int:
    """How the camera was held, 1 to 8; 1 (upright) where that is not noted, or badly."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken note beside good pixels
        return 1


def _upright(image: Image, orientation: int) -> Image:
    from PIL import Image as module

    turn = module.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _fail(problem: str) -> NoReturn:
    from .realtime import StepFailed

    raise StepFailed(problem)
