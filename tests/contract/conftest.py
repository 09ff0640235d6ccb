"""Hypothesis strategies for publish bodies of every kind, shared as one session fixture."""

from __future__ import annotations

import base64
import datetime as dt
import keyword
from typing import Any

import pytest
from hypothesis import strategies as st

from jupyter_mlserve.contract.names import RESERVED_ALIASES

SCALARS = ("logical", "integer", "numeric", "character", "datetime")
WIRE_TYPES = (*SCALARS, "bytes", "vector", "matrix", "list", "dict", "data.frame")

RESERVED = {*keyword.kwlist, *RESERVED_ALIASES}
identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True).filter(
    lambda name: name not in RESERVED and not (name.startswith("__") and name.endswith("__"))
)
plain_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
column_names = plain_text.filter(lambda text: bool(text) and text.isprintable())
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
years = {"min_value": dt.datetime(1700, 1, 1), "max_value": dt.datetime(2200, 1, 1)}
naive = st.datetimes(**years).map(lambda moment: moment.isoformat()) | st.dates(
    years["min_value"].date(), years["max_value"].date()
).map(str)
zoned = st.builds(
    lambda moment, separator: moment.isoformat(separator) + "+02:00",
    st.datetimes(**years),
    st.sampled_from("T "),
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | plain_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_text, inner, max_size=3),
    max_leaves=8,
)
SCALAR_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "logical": st.booleans(),
    "integer": st.integers(-(2**63), 2**63 - 1) | st.integers(-1000, 1000).map(float),
    "numeric": numbers,
    "character": plain_text,
    "datetime": naive | zoned,
}


@st.composite
def cells(draw: st.DrawFn, column: dict[str, Any], rows: int) -> list[Any]:
    values = SCALAR_VALUES[column["type"]]
    if column["type"] == "datetime":  # one column has zones or has none
        values = draw(st.sampled_from([naive, zoned]))
    strict = column["type"] in ("integer", "logical") and not column.get("nullable")
    cell = values if strict else values | st.none()
    return draw(st.lists(cell, min_size=rows, max_size=rows))


@st.composite
def values(draw: st.DrawFn, param: dict[str, Any]) -> Any:
    """A JSON value that fits ``param``."""
    kind = param["type"]
    if draw(st.integers(0, 9)) == 0:
        return None
    if kind in SCALAR_VALUES:
        return draw(SCALAR_VALUES[kind])
    if kind == "bytes":
        return base64.b64encode(draw(st.binary(max_size=9))).decode()
    if kind == "vector":
        of = draw(st.sampled_from([numbers, plain_text, st.booleans()]))
        return draw(st.lists(of, max_size=4))
    if kind == "matrix":
        width = draw(st.integers(1, 3))
        return draw(st.lists(st.lists(numbers, min_size=width, max_size=width), max_size=3))
    if kind == "list":
        return draw(st.lists(json_values, max_size=3))
    if kind == "dict":
        return draw(st.dictionaries(plain_text, json_values, max_size=3))
    columns = param.get("columns") or [
        {"name": name, "type": draw(st.sampled_from(SCALARS))}
        for name in draw(st.lists(column_names, max_size=3, unique=True))
    ]
    rows = draw(st.integers(0, 3))
    table = {column["name"]: draw(cells(column, rows)) for column in columns}
    if draw(st.booleans()):
        return table
    return [{name: table[name][row] for name in table} for row in range(rows)]


@st.composite
def params(draw: st.DrawFn, *, output: bool = False) -> list[dict[str, Any]]:
    """Inputs or outputs as they travel, of every type."""
    found = []
    for name in draw(st.lists(identifiers, max_size=4, unique=True)):
        param: dict[str, Any] = {"name": name, "type": draw(st.sampled_from(WIRE_TYPES))}
        if param["type"] == "data.frame" and draw(st.booleans()):
            names = draw(st.lists(column_names, min_size=1, max_size=3, unique=True))
            param["columns"] = [
                {"name": column, "type": draw(st.sampled_from(SCALARS))} for column in names
            ]
            for column in param["columns"]:
                if column["type"] in ("integer", "logical") and draw(st.booleans()):
                    column["nullable"] = True
        if not output and draw(st.booleans()):
            param["optional"] = True
            param["default"] = draw(values(param))
        found.append(param)
    return found


@st.composite
def publish_bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Bodies of a publish that are valid in every part."""
    inputs = draw(params())
    own: dict[str, Any] = {}
    if draw(st.booleans()):
        own["function"] = draw(identifiers)
    if draw(st.booleans()):
        own["sample"] = {
            param["name"]: draw(values(param))
            for param in inputs
            if not param.get("optional") or draw(st.booleans())
        }
    names = draw(st.lists(identifiers, max_size=2, unique=True))
    own["objects"] = [
        {"name": name, "sha256": f"{number:064x}", "size": number, "type": "Model"}
        for number, name in enumerate(names)
    ]
    own["prelude"] = [{"object": name} for name in names]
    return {
        "code": draw(st.sampled_from(["answer = 1", "def f():\n    return 'ü'\n"])),
        "description": draw(st.none() | plain_text),
        "operationId": draw(st.none() | identifiers),
        "inputParameterDefinitions": inputs,
        "outputParameterDefinitions": draw(params(output=True)),
        "outputFileNames": draw(
            st.lists(st.sampled_from(["a.csv", "plot 1.png", "x"]), unique=True)
        ),
        "mlserve": own,
    }


class Strategies:
    """What the tests of this room draw from."""

    params = staticmethod(params)
    values = staticmethod(values)
    publish_bodies = staticmethod(publish_bodies)
    json_values = json_values


@pytest.fixture(scope="session")
def draw_from() -> type[Strategies]:
    return Strategies


@pytest.fixture
def tx_body() -> dict[str, Any]:
    """The service of the quickstart, as it is published."""
    return {
        "code": "def manualTransmission(hp, wt):\n    return score(hp, wt)\n",
        "description": "First model",
        "operationId": "manualTransmission",
        "inputParameterDefinitions": [
            {"name": "hp", "type": "numeric"},
            {"name": "wt", "type": "numeric"},
        ],
        "outputParameterDefinitions": [{"name": "answer", "type": "data.frame"}],
        "runtimeType": "Python",
        "initCode": "import pandas",
        "outputFileNames": ["answer.csv"],
        "mlserve": {
            "form": "function",
            "function": "manualTransmission",
            "prelude": [
                {"source": "import numpy as np\n", "names": ["np"]},
                {"object": "cars_model"},
                {"source": "def score(hp, wt): ...\n", "names": ["score"]},
            ],
            "objects": [
                {"name": "cars_model", "sha256": "a" * 64, "size": 512, "type": "LinearRegression"}
            ],
            "files": [{"name": "lookup.csv", "sha256": "b" * 64, "size": 10}],
            "sample": {"hp": 120, "wt": 2.8},
            "interpreter": {
                "executable": "/opt/env/bin/python",
                "version": "3.11.7",
                "implementation": "CPython",
                "dill": "0.4.1",
            },
            "packages": {"scikit-learn": "1.5.0", "numpy": "2.0.0"},
            "source": "%%publish_service TxService\n...",
            "notebook": "/home/me/cars.ipynb",
            "cellId": "c1",
            "pool": {"initial": 1, "max": 4},
        },
    }
