"""What a reply offers."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jupyter_mlserve.client import response
from jupyter_mlserve.client.response import ServiceResponse

CSV = b"am_Pred\n0.5332668559970368\n"
PARAMS = [
    {"name": "answer", "type": "data.frame"},
    {"name": "v", "type": "vector"},
    {"name": "m", "type": "matrix"},
    {"name": "n", "type": "integer"},
    {"name": "none", "type": "numeric"},
    {"name": "raw", "type": "bytes"},
]
BODY: dict[str, Any] = {
    "success": True,
    "errorMessage": "",
    "consoleOutput": "one row\n",
    "changedFiles": ["answer.csv", "other.txt"],
    "outputFiles": {"answer.csv": base64.b64encode(CSV).decode(), "never.png": None},
    "outputParameters": {
        "answer": {"am_Pred": [0.5332668559970368, None]},
        "v": [1.0, 2.0],
        "m": [[1, 2], [3, 4]],
        "n": 3,
        "none": None,
        "raw": "aGVsbG8=",
    },
}


@pytest.fixture
def reply() -> ServiceResponse:
    return ServiceResponse("/api/N/1", BODY, PARAMS)


def test_outputs_are_python_values(reply: ServiceResponse) -> None:
    frame = reply.output("answer")
    assert isinstance(frame, pd.DataFrame)
    assert frame["am_Pred"].iloc[0] == 0.5332668559970368
    assert np.isnan(frame["am_Pred"].iloc[1])
    assert isinstance(reply.outputs["v"], np.ndarray)
    assert reply.output("m").tolist() == [[1, 2], [3, 4]]
    assert (reply.output("n"), reply.output("none"), reply.output("raw")) == (3, None, b"hello")
    assert reply.raw_outputs == BODY["outputParameters"]
    assert list(reply.outputs) == ["answer", "v", "m", "n", "none", "raw"]
    assert reply.output("answer") is frame


def test_the_rest(reply: ServiceResponse) -> None:
    assert reply.api == "/api/N/1"
    assert reply.error == ""
    assert reply.console_output == "one row\n"
    assert reply.changed_files == ["answer.csv", "other.txt"]


def test_artifacts(reply: ServiceResponse, tmp_path: Path) -> None:
    assert reply.artifact("answer.csv") == CSV
    assert reply.artifact("answer.csv", encoding="utf-8") == CSV.decode()
    assert reply.artifact("answer.csv", decode=False) == BODY["outputFiles"]["answer.csv"]
    assert reply.artifact("never.png") is None
    assert reply.save("answer.csv", tmp_path / "other.csv").read_bytes() == CSV
    assert reply.save("answer.csv", tmp_path) == tmp_path / "answer.csv"
    with pytest.raises(FileNotFoundError, match=r"wrote no file 'never\.png'"):
        reply.save("never.png", tmp_path)


def test_what_is_not_there_is_named_beside_what_is(reply: ServiceResponse) -> None:
    with pytest.raises(KeyError, match=r"^The reply has no output 'anser'; it has: answer, v, m"):
        reply.output("anser")
    with pytest.raises(KeyError, match=r"no artifact 'x'; it has: answer\.csv, never\.png"):
        reply.artifact("x")


def test_without_pandas_the_json_is_given(
    reply: ServiceResponse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "find_spec", lambda name: None)
    assert reply.output("answer") == BODY["outputParameters"]["answer"]
    assert reply.output("v") == [1.0, 2.0]
    assert reply.output("raw") == b"hello"


def test_how_it_looks(reply: ServiceResponse) -> None:
    text = repr(reply)
    assert text.startswith("<ServiceResponse of /api/N/1>\n  answer:\n")
    assert "answer.csv: 27 bytes" in text
    assert "never.png: not written by this call" in text
    assert "console:\n    one row" in text
    html = ServiceResponse("/api/N/1", {"consoleOutput": "<script>"})._repr_html_()
    assert "&lt;script&gt;" in html
    assert "am_Pred" in reply._repr_html_()
