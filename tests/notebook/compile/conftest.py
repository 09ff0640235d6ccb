"""Data sets that the compilation tests share: small, and with what goes wrong silently."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    """400 rows of mixed types; the first 200 to fit and prove on, the rest to check."""
    rng = np.random.default_rng(7)
    rows = 400
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "income": np.round(rng.lognormal(10, 1, rows), 2),
            "ratio": rng.normal(size=rows).round(1),
            "city": rng.choice(["Oslo", "São Paulo", "東京", "New York"], rows),
            "grade": rng.choice(["a", "b", "c"], rows),
            "member": rng.random(rows) > 0.5,
        }
    )


@pytest.fixture(scope="session")
def holes(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with missing numbers and texts."""
    made = table.copy()
    made.loc[::7, "income"] = np.nan
    made.loc[::9, "city"] = None
    return made


@pytest.fixture(scope="session")
def label(table: pd.DataFrame) -> pd.Series:
    score = table.age / 40 + table.ratio + (table.city == "Oslo")
    return (score > 2).map({True: "yes", False: "no"})


@pytest.fixture(scope="session")
def numbers() -> np.ndarray:
    """400 rows of four numbers with one decimal: most are no exact float32."""
    return np.random.default_rng(3).normal(size=(400, 4)).round(1)


@pytest.fixture(scope="session")
def three(numbers: np.ndarray) -> np.ndarray:
    return np.digitize(numbers[:, 0] + numbers[:, 1], [-0.5, 0.5])


@pytest.fixture(scope="session")
def two(numbers: np.ndarray) -> np.ndarray:
    return (numbers[:, 0] + numbers[:, 1] * 0.5 > 0.3).astype(int)


@pytest.fixture(scope="session")
def value(numbers: np.ndarray) -> np.ndarray:
    return numbers[:, 0] ** 2 + numbers[:, 1]
