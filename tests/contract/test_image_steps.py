"""Base64 to pixels: every kind of image the same picture, every attack refused."""

from __future__ import annotations

import base64
import io
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jupyter_mlserve.contract import image_steps
from jupyter_mlserve.contract.image_steps import (
    MAX_ENCODED,
    MAX_PIXELS,
    decode_image,
    extract_pixels,
    image_function,
    image_width,
    load_image,
    resize_image,
)
from jupyter_mlserve.contract.realtime_steps import StepFailed


def text(image: Image.Image, kind: str = "PNG", **options: Any) -> str:
    held = io.BytesIO()
    image.save(held, kind, **options)
    return base64.b64encode(held.getvalue()).decode()


def ramp(wide: int = 40, high: int = 30) -> np.ndarray:
    """A smooth RGB picture that no two places of look alike."""
    y, x = np.mgrid[:high, :wide]
    return np.stack([x * 255 // wide, y * 255 // high, (x + y) * 255 // (wide + high)], 2).astype(
        np.uint8
    )


def steps(**options: Any) -> list[dict[str, Any]]:
    given = {"width": 8, "height": 6, "how": "aniso", "channels": "RGB", "layout": "planar"}
    given |= {"offset": 0.0, "scale": 1.0, **options}
    return [
        {"step": "load_image"},
        {"step": "resize_image", **{name: given[name] for name in ("width", "height", "how")}},
        {
            "step": "extract_pixels",
            **{name: given[name] for name in ("channels", "layout", "offset", "scale")},
        },
    ]


@pytest.mark.parametrize(
    ("kind", "options", "off"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "tiff_adobe_deflate"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 12),
        ("JPEG", {"quality": 98}, 10),
        ("JPEG", {"quality": 98, "progressive": True}, 10),
        ("GIF", {}, 40),
    ],
)
def test_every_format_gives_the_picture(kind: str, options: dict[str, Any], off: int) -> None:
    pixels = ramp()
    found = load_image(text(Image.fromarray(pixels), kind, **options))
    assert found.mode == "RGB"
    assert np.abs(np.asarray(found).astype(int) - pixels).max() <= off


def test_kinds_of_pixels() -> None:
    grey = ramp()[:, :, 0]
    plain = Image.fromarray(grey)

    def loaded(image: Image.Image, kind: str = "PNG") -> np.ndarray:
        return np.asarray(load_image(text(image, kind)))

    assert (loaded(plain) == grey).all()
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 77)
    assert (loaded(deep) == grey).all()
    assert (loaded(deep, "TIFF") == grey).all()
    assert set(np.unique(loaded(plain.convert("1")))) <= {0, 255}
    clear = np.dstack([ramp(), np.full(grey.shape, 255, np.uint8)])
    clear[:10, :, 3] = 0
    clear[10:20, :, 3] = 128
    on_white = loaded(Image.fromarray(clear)).astype(int)
    assert (on_white[:10] == 255).all()
    assert (on_white[20:] == ramp()[20:]).all()
    half = (ramp()[10:20].astype(int) + 255) / 2
    assert np.abs(on_white[10:20] - half).max() <= 2
    grey_clear = Image.merge("LA", [plain, Image.new("L", plain.size, 0)])
    assert (loaded(grey_clear) == 255).all()
    ink = loaded(Image.fromarray(ramp()).convert("CMYK"), "JPEG").astype(int)
    assert np.abs(ink - ramp()).max() < 30
    palette = Image.fromarray(ramp()).convert("P")
    assert (loaded(palette) == np.asarray(palette.convert("RGB"))).all()
    palette.info["transparency"] = int(np.asarray(palette)[0, 0])
    held = io.BytesIO()
    palette.save(held, "PNG", transparency=palette.info["transparency"])
    found = np.asarray(decode_image(held.getvalue()))
    assert (found[0, 0] == 255).all()


def test_floats_and_more_than_16_bits_are_refused() -> None:
    for image in (
        Image.fromarray(ramp()[:, :, 0].astype(np.float32)),
        Image.fromarray(ramp()[:, :, 0].astype(np.int32) * 1_000_000),
    ):
        with pytest.raises(StepFailed):
            load_image(text(image, "TIFF"))


def test_the_orientation_of_the_camera_is_applied() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = 255  # a mark in the upper left corner as stored
    image = Image.fromarray(pixels)
    corners = {
        1: (0, 0),
        2: (0, 5),
        3: (3, 5),
        4: (3, 0),
        5: (0, 0),
        6: (0, 3),
        7: (5, 3),
        8: (5, 0),
    }
    for orientation, corner in corners.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        found = np.asarray(load_image(text(image, "PNG", exif=exif)))
        assert found[corner].min() == 255, orientation
        assert found.astype(int).sum() == 3 * 255
    exif[0x0112] = 77
    assert load_image(text(image, "PNG", exif=exif)).size == (6, 4)


def test_of_an_animation_the_first_frame() -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "lime")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        found = load_image(text(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert found.getpixel((2, 2))[0] > 200, kind


def test_resizing() -> None:
    wide = Image.new("L", (40, 10), 200)
    crop = resize_image(wide, 8, 8, "iso_crop")
    assert (crop.size, set(np.unique(np.asarray(crop)))) == ((8, 8), {200})
    pad = np.asarray(resize_image(wide, 8, 8, "iso_pad"))
    assert (pad[3:5] == 200).all()
    assert not pad[:3].any()
    assert not pad[5:].any()
    stretched = resize_image(Image.fromarray(ramp()), 8, 6, "aniso")
    plain = Image.fromarray(ramp()).resize((8, 6), Image.Resampling.BILINEAR)
    assert (np.asarray(stretched) == np.asarray(plain)).all()
    middle = np.zeros((10, 30), np.uint8)
    middle[:, 10:20] = 255
    assert np.asarray(resize_image(Image.fromarray(middle), 10, 10, "iso_crop")).min() == 255
    with pytest.raises(ValueError, match="how"):
        resize_image(wide, 8, 8, "other")


@pytest.mark.parametrize("size", [(32_000, 1), (1, 32_000), (1, 1), (3, 20_000)])
@pytest.mark.parametrize("how", image_steps.HOW)
def test_long_and_tiny_images_cost_nothing(size: tuple[int, int], how: str) -> None:
    started = time.perf_counter()
    assert resize_image(Image.new("RGB", size, "red"), 224, 224, how).size == (224, 224)
    assert time.perf_counter() - started < 2


def test_pixels_as_numbers() -> None:
    image = Image.fromarray(ramp(3, 2))
    planar = extract_pixels(image)
    assert (planar == ramp(3, 2).transpose(2, 0, 1).ravel()).all()
    assert planar.dtype == np.float32
    assert (extract_pixels(image, layout="interleaved") == ramp(3, 2).ravel()).all()
    grey = extract_pixels(image, "L", offset=127.5, scale=1 / 128)
    expected = (np.asarray(image.convert("L")).ravel().astype(np.float32) - 127.5) / 128
    np.testing.assert_allclose(grey, expected, rtol=1e-6)
    colours = extract_pixels(Image.new("L", (2, 1), 9))
    assert (colours == 9).all()
    assert colours.shape == (6,)


def test_the_function_of_the_steps() -> None:
    change = image_function(steps(how="iso_crop", channels="L", scale=0.5))
    found = change(text(Image.fromarray(ramp())))
    assert (found.shape, found.dtype) == ((48,), np.float32)
    assert image_width(steps()) == 144
    with pytest.raises(ValueError, match="expected the steps"):
        image_function(steps()[:2])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "empty"),
        ("hello", "not base64"),
        ("/home/me/cat.png", "not base64"),
        ("data:image/png;base64,iVBORw0KGgo=", "not base64"),
        ("aGVs\nbG8gd29ybGQ=", "not base64"),
        ("ünïcode", "not base64"),
        (base64.b64encode(b"hello world, no image").decode(), "no image"),
        (base64.b64encode(b"abc").decode(), "no image"),
        (base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode(), "no image"),
        (base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9").decode(), "no image"),
        (base64.b64encode(b"P6\n2 2\n255\n" + bytes(12)).decode(), "no image"),
    ],
)
def test_what_is_no_image(given: str, why: str) -> None:
    with pytest.raises(StepFailed, match=why):
        load_image(given)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_cut_off_image_is_refused_wherever_it_ends(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    data = base64.b64decode(text(Image.fromarray(noise), kind))
    for share in (0.02, 0.1, 0.3, 0.6):
        with pytest.raises(StepFailed):
            decode_image(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_mutated_image_is_refused_or_decoded(kind: str) -> None:
    """Nothing else ever escapes: no error of Pillow's, no warning, no picture of another kind."""
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 255, (12, 12, 3)).astype(np.uint8)
    data = base64.b64decode(text(Image.fromarray(noise), kind))
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, min(len(data), 200), rng.integers(1, 5)):
            broken[place] = rng.integers(256)
        try:
            found = decode_image(bytes(broken))
        except StepFailed:
            continue
        assert found.mode in ("L", "RGB")
        assert found.size[0] * found.size[1] <= MAX_PIXELS


def png_of(wide: int, high: int) -> bytes:
    """A PNG that states a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ((20_000, 20_000), "pixels"),
        ((2**31 - 1, 2**31 - 1), "pixels"),
        ((10_000, 2_000), "20,000,000 pixels, more than 16,777,216"),
        ((40_000, 10), "on a side"),
        ((0, 5), "broken|no pixels|no image"),
    ],
)
def test_bombs_are_refused_before_they_are_decoded(size: tuple[int, int], why: str) -> None:
    started = time.perf_counter()
    with pytest.raises(StepFailed, match=why):
        decode_image(png_of(*size))
    assert time.perf_counter() - started < 1


def test_a_webp_of_a_huge_canvas_is_refused_before_it_is_opened() -> None:
    body = b"\x10\x00\x00\x00" + (16_382).to_bytes(3, "little") * 2
    data = b"WEBPVP8X" + struct.pack("<I", len(body)) + body
    with pytest.raises(StepFailed, match="268,402,689 pixels"):
        decode_image(b"RIFF" + struct.pack("<I", len(data)) + data)
    with pytest.raises(StepFailed):
        decode_image(b"RIFF\x04\x00\x00\x00WEBP")


def test_a_jpeg_of_many_scans_is_refused() -> None:
    data = base64.b64decode(text(Image.fromarray(ramp()), "JPEG", progressive=True))
    assert decode_image(data).size == (40, 30)
    at = data.index(b"\xff\xda")
    scan = data[at : data.index(b"\xff\xda", at + 2)]
    with pytest.raises(StepFailed, match="more than 100 times"):
        decode_image(data[:at] + scan * 200 + data[at:])


def test_too_many_bytes_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(StepFailed, match="16,777,216 bytes"):
        load_image("A" * (MAX_ENCODED // 3 * 4 + 8))
    with pytest.raises(StepFailed, match="16,777,216"):
        decode_image(b"\x89PNG" + bytes(MAX_ENCODED))


def test_a_jpeg_inside_a_tiff_is_refused() -> None:
    with pytest.raises(StepFailed, match="save it as PNG"):
        load_image(text(Image.fromarray(ramp()), "TIFF", compression="jpeg"))
