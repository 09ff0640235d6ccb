"""The quickstart notebook, as a newcomer runs it: on a real server, and then once more."""

from __future__ import annotations

import base64
import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from support.running_server import RunningServer, start_server

from jupyter_mlserve import DeployClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
ANSWER = 0.5332668559970368


def run(folder: Path) -> Any:
    notebook = nbformat.read(folder / "quickstart.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=120, resources=resources).execute()


def output_of(notebook: Any, cell_id: str) -> str:
    """The text of a cell's outputs, as a terminal would show them."""
    (cell,) = (cell for cell in notebook.cells if cell.id == cell_id)
    texts = []
    for output in cell.outputs:
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        texts.append(text)
    return "\n".join(texts)


def post(server: RunningServer, path: str, inputs: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        server.prefix + path,
        data=json.dumps(inputs).encode(),
        headers={**server.headers, "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_mtcars_is_the_data_set_of_r() -> None:
    """Counts and means as R prints them: ``colMeans(mtcars)`` (R's datasets package)."""
    cars = pd.read_csv(NOTEBOOKS / "mtcars.csv")
    assert cars.shape == (32, 12)
    means = {"mpg": 20.090625, "cyl": 6.1875, "disp": 230.721875, "hp": 146.6875}
    means |= {"drat": 3.5965625, "wt": 3.21725, "qsec": 17.84875, "vs": 0.4375}
    means |= {"am": 0.40625, "gear": 3.6875, "carb": 2.8125}
    assert cars.mean(numeric_only=True).to_dict() == pytest.approx(means, abs=1e-12)


# One needs a client that few people have installed, so it shows what it gives: its own test.
BARE = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb") if path.name != "migrate.ipynb")


@pytest.mark.parametrize("name", BARE)
def test_notebooks_are_stored_without_outputs(name: str) -> None:
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    nbformat.validate(notebook)
    assert all(not c.outputs for c in notebook.cells if c.cell_type == "code")
    assert all(c.execution_count is None for c in notebook.cells if c.cell_type == "code")


@pytest.mark.timeout(170)
def test_the_quickstart_does_what_it_says_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(tmp_path / "server_files")
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", server.url)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", server.token)
    folder = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, folder)
    try:
        first, second = run(folder), run(folder)
        for notebook in (first, second):
            check(notebook, server)
        assert "am_Pred" in output_of(first, "publish")  # the sample's answer
        assert "unchanged" in output_of(second, "publish")
        check_the_end(server)
    finally:
        server.stop()


def check(notebook: Any, server: RunningServer) -> None:
    assert server.token not in json.dumps(notebook)
    assert "nothing was sent" in output_of(notebook, "dry-run")
    published = output_of(notebook, "publish")
    assert server.prefix + "api/TxService/1.0" in published
    for cell in ("consume", "object", "http", "function-call"):
        assert "0.53326685599703" in output_of(notebook, cell), cell
    assert "hp" in output_of(notebook, "wrong")
    assert "TxService" in output_of(notebook, "list")
    assert "power and weight" in output_of(notebook, "update")
    assert "rollback" in output_of(notebook, "rollback")
    assert "410" in output_of(notebook, "delete")
    assert "delete" in output_of(notebook, "show")
    assert "TxService 1.0" in output_of(notebook, "swagger")

    for version in ("1.0", "2.0"):
        status, reply = post(server, f"api/TxService/{version}", {"hp": 120, "wt": 2.8})
        assert status == 200
        assert reply["success"] is True
        assert reply["outputParameters"]["answer"]["am_Pred"] == pytest.approx([ANSWER], abs=1e-12)
        if version == "1.0":
            assert list(reply["outputParameters"]) == ["answer"]
            lines = base64.b64decode(reply["outputFiles"]["answer.csv"]).decode().splitlines()
            assert lines[0] == "am_Pred"
            assert float(lines[1]) == pytest.approx(ANSWER, abs=1e-12)
        else:
            assert reply["outputParameters"]["manual"] is True
    status, _ = post(server, "api/TxService/3.0-scratch", {"hp": 1})
    assert status == 410


def check_the_end(server: RunningServer) -> None:
    """After the last run: the description that was rolled back, and 2.0 without 1.0."""
    with DeployClient(server.url, auth=server.token) as client:
        versions = [one["version"] for one in client.list_services("TxService")]
        assert versions == ["1.0", "2.0"]
        service = client.get_service("TxService", "1.0")
        assert service.definition["description"].startswith("Estimates whether")
        actions = [(e["action"], e["version"]) for e in client.history("TxService")]
        assert actions.count(("delete", "3.0-scratch")) == 2
        assert ("update", "1.0") in actions
        assert ("rollback", "1.0") in actions
        client.delete_service("TxService", version="1.0")
    assert post(server, "api/TxService/1.0", {"hp": 120, "wt": 2.8})[0] == 410
    status, reply = post(server, "api/TxService", {"hp": 120, "wt": 2.8})
    assert status == 200
    assert reply["outputParameters"]["answer"]["am_Pred"] == pytest.approx([ANSWER], abs=1e-12)
