"""Fitted models, frames and arrays: they arrive as they were, and packing them is quick."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from support.capturing import Kernel, item, status

from jupyter_mlserve.notebook.capture import CaptureOptions, capture_cell

CARS = (
    "import numpy as np\nimport pandas as pd\n"
    "from sklearn.linear_model import LinearRegression\n"
    "cars = pd.DataFrame({'hp': np.arange(500.0), 'wt': np.arange(500.0) % 7})\n"
    "cars['am'] = cars.hp * 0.01 - cars.wt\n"
)


def test_a_pipeline_of_notebook_functions_and_classes(kernel: Kernel) -> None:
    kernel(CARS)
    kernel(
        "from sklearn.base import BaseEstimator, TransformerMixin\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import FunctionTransformer, StandardScaler\n"
        "OFFSET = 1.0\n"
        "def logarithm(v):\n    return np.log(v + OFFSET)\n"
        "def helper(v, low):\n    return np.clip(v, low, None)\n"
        "class Clip(BaseEstimator, TransformerMixin):\n"
        "    def __init__(self, low=0.0):\n        self.low = low\n"
        "    def fit(self, X, y=None):\n        return self\n"
        "    def transform(self, X):\n        return helper(X, self.low)\n"
        "model = make_pipeline(\n"
        "    Clip(1.0), FunctionTransformer(logarithm), FunctionTransformer(lambda v: v * 2),\n"
        "    StandardScaler(), LinearRegression(),\n"
        ").fit(cars[['hp', 'wt']], cars['am'])\n"
        "median = cars.median()\n"
    )
    capture = kernel.capture(
        "def predict(hp: float, wt: float) -> pd.DataFrame:\n"
        "    frame = pd.DataFrame({'hp': [hp], 'wt': [wt]}) + 0 * median[['hp', 'wt']]\n"
        "    return pd.DataFrame({'am_Pred': model.predict(frame)})\n",
        run=True,
    )
    expected = kernel.names["predict"](120.0, 2.8)["am_Pred"].tolist()
    (answer,) = kernel.call(capture, {"hp": 120, "wt": 2.8})
    assert answer["answer"]["am_Pred"] == pytest.approx(expected, abs=1e-12)
    assert status(capture) == dict.fromkeys(
        [
            *("pd", "np", "model", "median", "Clip", "helper", "logarithm", "OFFSET"),
            *("BaseEstimator", "TransformerMixin"),
        ],
        "captured",
    )
    assert item(capture, "model").type == "Pipeline"
    # pyarrow holds the labels of the series in newer versions of pandas.
    packages = set(capture.body["mlserve"]["packages"]) - {"pyarrow"}
    assert packages == {"numpy", "pandas", "scikit-learn"}


def test_frames_and_arrays_of_all_kinds(kernel: Kernel) -> None:
    kernel(
        "import numpy as np\nimport pandas as pd\n"
        "from numpy import sqrt, pi, newaxis, float64, linalg\nfrom numpy.random import rand\n"
        "frame = pd.DataFrame({'n': [1, 2.5], 's': ['x', None], 'c': pd.Categorical(['u', 'v']),\n"
        "    't': pd.to_datetime(['2020-01-01', '2021-01-01'])}, index=['i', 'j'])\n"
        "index = pd.MultiIndex.from_product([[1], [2]])\n"
        "arrays = [np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(12)[::2],\n"
        "    np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1), np.array([1, 'a', None], object)]\n"
        "def digest():\n"
        "    text = frame.to_json(date_format='iso') + str(frame.dtypes.tolist()) + repr(index)\n"
        "    f_order = arrays[0].flags.f_contiguous\n"
        "    text += repr([(a.tolist(), a.dtype) for a in arrays]) + repr(f_order)\n"
        "    text += str(sqrt(4) + linalg.norm([3, float64(pi)]))\n"
        "    return text + str(rand(2)[newaxis].shape)\n"
    )
    capture = kernel.capture("y = digest()\n", inputs=[], outputs="y: str")
    assert kernel.call(capture, {}) == [{"y": kernel.names["digest"]()}]


@pytest.mark.parametrize("code", ["LinearRegression()", "RandomForestRegressor(100)"])
def test_packing_a_model_takes_well_under_a_tenth_of_a_second(kernel: Kernel, code: str) -> None:
    kernel(CARS + "from sklearn.ensemble import RandomForestRegressor\n")
    kernel(f"model = {code}.fit(cars[['hp', 'wt']], cars['am'])\n")
    cell = "answer = pd.DataFrame({'p': model.predict(pd.DataFrame({'hp': [hp], 'wt': [wt]}))})\n"
    options = CaptureOptions(inputs="hp: float, wt: float", outputs="answer: DataFrame")

    def seconds() -> float:
        started, before = time.perf_counter(), time.process_time()
        capture = capture_cell(cell, kernel.names, options)
        assert 0 < capture.seconds <= time.perf_counter() - started
        return time.process_time() - before

    # Of the processor: others may be using it. A quiet machine takes some hundredths.
    assert min(seconds() for _ in range(5)) < 0.1


def test_large_plain_data_is_packed_by_the_fast_pickler(kernel: Kernel) -> None:
    """dill's own pickler takes a second and more for a million numbers."""
    import pickle

    kernel("numbers = {'all': list(range(500_000))}\n")
    started = time.perf_counter()
    pickle.dumps(kernel.names["numbers"], 5)
    plain = time.perf_counter() - started
    capture = kernel.capture("y = len(numbers['all'])\n", inputs=[], outputs="y: float")
    assert capture.seconds < 20 * plain + 0.2
    assert item(capture, "numbers").size > 1_000_000


def test_capture_imports_none_of_the_big_libraries() -> None:
    code = (
        "import sys, json\nimport jupyter_mlserve.notebook.capture as c\n"
        "c.capture_cell('y = x', {}, c.CaptureOptions(inputs='x: float', outputs='y: float'))\n"
        "big = ['numpy', 'pandas', 'sklearn', 'IPython', 'httpx', 'tornado', 'sqlalchemy']\n"
        "print(json.dumps([name for name in big if name in sys.modules]))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []
