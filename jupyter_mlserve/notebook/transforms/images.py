"""Images in scikit-learn pipelines: base64 text to pixels, and pixels to features of a network.

The transformers take the place of microsoftml's ``load_image``, ``resize_image``,
``extract_pixels`` and ``featurize_image``::

    make_pipeline(LoadImage(), ResizeImage(224, 224), FeaturizeImage(), LogisticRegression())

A realtime service does the same: it decodes and resizes with the same functions
(:mod:`...contract.image_steps`), and runs the network as a part of the compiled model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from ...contract import image_steps
from .images_memory import recall
from .images_network import FeaturizeImage

__all__ = ["ExtractPixels", "FeaturizeImage", "LoadImage", "ResizeImage"]

_LARGEST = 1e30  # an offset or scale; pixels times it are still finite in float32
_HINT = (
    "An image travels as base64 text: base64.b64encode(open(path, 'rb').read()).decode() makes "
    "it of a file, base64.b64encode(data).decode() of bytes"
)


class EncodedImage:
    """An image as it came, not yet decoded: a frame of them is smaller than one of pixels."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class _Column(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of one column that learns nothing but the column's name."""

    def fit(self, X: Any, y: Any = None) -> Any:
        self.transform(X[:1] if not hasattr(X, "iloc") else X.iloc[:1])
        self.n_features_in_ = 1
        names = getattr(X, "columns", None)
        if names is not None and all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.asarray(names, object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        return np.asarray([self._name(input_features)], object)

    def _name(self, input_features: Any) -> str:
        found = getattr(self, "feature_names_in_", None) if input_features is None else None
        names = input_features if found is None else found
        return str(names[0]) if names is not None and len(names) == 1 else "image"

    def _each(
        self, X: Any, function: Callable[[Any], Any]
    ) -> tuple[list[Any], npt.NDArray[np.object_]]:
        """``function`` of every cell of the one column; errors say which row."""
        cells, name = cells_of(X, type(self).__name__)
        made = []
        for row, cell in enumerate(cells):
            try:
                made.append(function(cell))
            except ValueError as exc:
                where = f"row {row}" + (f" of column {name!r}" if name else "")
                raise ValueError(f"{type(self).__name__}: {where}: {exc}.") from None
        column = np.empty((len(made), 1), object)
        for row, item in enumerate(made):
            column[row, 0] = item
        return made, column


class LoadImage(_Column):
    """Base64 texts of images (PNG, JPEG, GIF, BMP, WebP, TIFF) as images; one column.

    Put :class:`ResizeImage` behind it. Raises ValueError naming the row for a cell that is no
    base64 text: bytes, a path, a missing value.
    """

    def transform(self, X: Any) -> npt.NDArray[np.object_]:
        return self._each(X, _encoded)[1]


class ResizeImage(_Column):
    """Images of ``width`` x ``height`` pixels, bilinear.

    ``how``: ``iso_crop`` keeps the proportions and crops, ``iso_pad`` keeps them and pads with
    black, ``aniso`` stretches.
    """

    def __init__(self, width: int = 224, height: int = 224, how: str = "iso_crop") -> None:
        self.width = width
        self.height = height
        self.how = how

    def step(self) -> dict[str, Any]:
        """The step of a realtime service. Raises ValueError for parameters that are not valid."""
        for name in ("width", "height"):
            side = getattr(self, name)
            if isinstance(side, bool) or not isinstance(side, int | np.integer) or side < 1:
                raise ValueError(f"ResizeImage: {name}: expected a positive integer, got {side!r}")
        if self.width * self.height > image_steps.MAX_WIDTH:
            raise ValueError(
                f"ResizeImage: {self.width} x {self.height} are more than the "
                f"{image_steps.MAX_WIDTH:,} pixels that an image may have here"
            )
        if self.how not in image_steps.HOW:
            raise ValueError(
                f"ResizeImage: how: expected {', '.join(image_steps.HOW)}, got {self.how!r}"
            )
        return {
            "step": "resize_image",
            "width": int(self.width),
            "height": int(self.height),
            "how": self.how,
        }

    def transform(self, X: Any) -> npt.NDArray[np.object_]:
        step = self.step()
        width, height, how = step["width"], step["height"], step["how"]

        def resized(image: Any) -> Any:
            if isinstance(image, EncodedImage):
                key = ("resize", image.data, width, height, how)
                return recall(
                    key,
                    lambda: image_steps.resize_image(
                        image_steps.decode_image(image.data), width, height, how
                    ),
                )
            if not hasattr(image, "getbands"):
                raise ValueError("it is no image; put LoadImage before ResizeImage")
            return image_steps.resize_image(image, width, height, how)

        return self._each(X, resized)[1]


class ExtractPixels(_Column):
    """The pixels of resized images as numbers: (value - ``offset``) * ``scale``, value 0 to 255.

    ``channels``: ``RGB``, or ``L`` for shades of grey. ``layout``: ``planar`` (all of the first
    channel, row by row, then all of the next) or ``interleaved`` (pixel by pixel).
    """

    def __init__(
        self,
        channels: str = "RGB",
        layout: str = "planar",
        offset: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        self.channels = channels
        self.layout = layout
        self.offset = offset
        self.scale = scale

    def step(self) -> dict[str, Any]:
        """The step of a realtime service. Raises ValueError for parameters that are not valid."""
        for name, allowed in (("channels", image_steps.CHANNELS), ("layout", image_steps.LAYOUTS)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"ExtractPixels: {name}: expected {', '.join(allowed)}, "
                    f"got {getattr(self, name)!r}"
                )
        for name in ("offset", "scale"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int | float | np.number):
                raise ValueError(f"ExtractPixels: {name}: expected a number, got {number!r}")
            if not abs(number) <= _LARGEST:
                raise ValueError(f"ExtractPixels: {name}: {number!r} is too large")
        return {
            "step": "extract_pixels",
            "channels": self.channels,
            "layout": self.layout,
            "offset": float(self.offset),
            "scale": float(self.scale),
        }

    def fit(self, X: Any, y: Any = None) -> Any:
        super().fit(X, y)
        self.n_pixels_ = int(self.transform(X[:1] if not hasattr(X, "iloc") else X.iloc[:1]).size)
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float64]:
        """[rows, pixels x channels]. Double, holding what float32 can hold.

        So the steps behind it compute in double, as their compiled form does.
        """
        step = self.step()
        made, _ = self._each(
            X,
            lambda image: image_steps.extract_pixels(
                resized_image(image, "ExtractPixels"),
                step["channels"],
                step["layout"],
                step["offset"],
                step["scale"],
            ),
        )
        if len({len(pixels) for pixels in made}) > 1:
            raise ValueError(
                "ExtractPixels: the images are of different sizes; put ResizeImage before"
            )
        return np.stack(made).astype(np.float64) if made else np.empty((0, self.n_pixels_))

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        name = self._name(input_features)
        return np.asarray([f"{name}_pixel{i}" for i in range(self.n_pixels_)], object)


def cells_of(X: Any, who: str) -> tuple[list[Any], str]:
    """The cells of the one column that ``X`` is, and its name ("" without)."""
    if hasattr(X, "iloc"):
        if getattr(X, "ndim", 1) == 2:
            if X.shape[1] != 1:
                raise ValueError(f"{who} takes one column, got {X.shape[1]}.")
            X = X.iloc[:, 0]
        return list(X.tolist()), str(X.name) if X.name is not None else ""
    if isinstance(X, str | bytes):
        raise ValueError(f"{who} takes a column of images, got one {type(X).__name__}.")
    if isinstance(X, np.ndarray):
        if X.ndim == 2 and X.shape[1] != 1:
            raise ValueError(f"{who} takes one column, got {X.shape[1]}.")
        return list(X.ravel().tolist()), ""
    return [
        cell[0] if isinstance(cell, list | tuple) and len(cell) == 1 else cell for cell in X
    ], ""


def resized_image(image: Any, who: str) -> Any:
    if isinstance(image, EncodedImage):
        raise ValueError(f"put ResizeImage between LoadImage and {who}")
    if not hasattr(image, "getbands"):
        raise ValueError("it is no image; put LoadImage and ResizeImage before it")
    return image


def _encoded(cell: Any) -> EncodedImage:
    if not isinstance(cell, str):
        what = "no image" if _missing(cell) else type(cell).__name__
        raise ValueError(f"expected base64 text of an image, got {what}. {_HINT}")
    try:
        return EncodedImage(image_steps.encoded_image(cell))
    except ValueError as exc:
        raise ValueError(f"{exc}. {_HINT}") from None


def _missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell) or str(cell) == "<NA>"
