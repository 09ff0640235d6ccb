"""The notebook for programs of Machine Learning Server, run with the client of that time."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from sklearn.linear_model import LinearRegression
from support import attitude
from support.running_server import start_server

from jupyter_mlserve import DeployClient

from .test_quickstart import NOTEBOOKS, output_of

ANSWER = "0.53326685599703"  # the digits that all linear algebra libraries agree on


def run(folder: Path) -> Any:
    notebook = nbformat.read(folder / "migrate.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=120, resources=resources).execute()


def test_its_data_are_those_of_the_tests() -> None:
    assert pd.read_csv(NOTEBOOKS / "attitude.csv").astype(float).equals(attitude.attitude())


def test_it_is_stored_as_it_ran_and_tells_nothing_of_where() -> None:
    stored = nbformat.read(NOTEBOOKS / "migrate.ipynb", as_version=4)
    check(stored)
    text = (NOTEBOOKS / "migrate.ipynb").read_text("utf-8")
    assert set(re.findall(r"https?://[\w.]+(?::\d+)?", text)) <= {"http://127.0.0.1:8888"}
    assert not re.search(r"/(home|root|tmp|work|usr)/", text)
    assert not re.search(r"token[=: ]+\w{16}", text)


@pytest.mark.timeout(170)
def test_the_notebook_does_what_it_says_after_a_run_that_was_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(tmp_path / "server_files")
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", server.url)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", server.token)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("migrate.ipynb", "mtcars.csv", "attitude.csv"):
        shutil.copy(NOTEBOOKS / name, folder)
    try:
        with DeployClient(server.url, auth=server.token) as client:
            # As an earlier run leaves it that was broken off.
            client.deploy_service(
                "TransmissionService", version="1.0", code_str="y = 1", outputs={"y": int}
            )
            notebook = run(folder)
            assert client.list_services() == []
        check(notebook)
        assert server.token not in json.dumps(notebook)
    finally:
        server.stop()


def check(notebook: Any) -> None:
    for cell in ("consume", "redeploy", "own", "magic-consume"):
        assert ANSWER in output_of(notebook, cell), cell
    assert "From power and weight" in output_of(notebook, "redeploy")
    listed = output_of(notebook, "list").split()
    assert listed == ["TransmissionService", "1.0", "Python", "read/write"]
    assert ":param float hp:" in output_of(notebook, "help")
    told = output_of(notebook, "capabilities")
    assert "api: /api/TransmissionService/1.0" in told
    assert "called by: manualTransmission" in told
    response = output_of(notebook, "response")
    assert "Rows read: 1" in response
    assert f"am_Pred\n{ANSWER}" in response
    assert "/api/TransmissionService/1.0 post" in output_of(notebook, "swagger")
    assert output_of(notebook, "batch").strip() == "Complete 32 of 32"
    values = [float(value) for value in output_of(notebook, "batch-values").split()]
    assert values == pytest.approx(expected_values(), abs=6e-7)
    assert [values[i] for i in (0, 1, 31)] == [0.592204, 0.469917, 0.512737]
    files = output_of(notebook, "batch-files").splitlines()
    assert files[:2] == ["True", "['answer.csv']"]
    assert files[-1] == "False"
    rating = output_of(notebook, "realtime-consume").splitlines()
    assert float(rating[0]) == pytest.approx(51.110295255533131, rel=1e-12)
    assert "61.352766" in rating[3]
    assert "[0.592204, 0.469917]" in output_of(notebook, "own-batch")
    assert "51.110295" in output_of(notebook, "own-batch")


def expected_values() -> list[float]:
    cars = pd.read_csv(NOTEBOOKS / "mtcars.csv")
    predictors = cars[["hp", "wt"]]
    return list(LinearRegression().fit(predictors, cars["am"]).predict(predictors))
