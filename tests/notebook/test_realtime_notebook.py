"""The notebook on realtime services, as a newcomer runs it: on a real server, and once more."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from support.running_server import RunningServer, start_server

from jupyter_mlserve import DeployClient

from .test_quickstart import NOTEBOOKS, output_of, post

FLAT = {"area": 54.5, "rooms": 2, "year": 1962.0, "district": "Hill", "advert": "top floor"}


def run(folder: Path) -> Any:
    notebook = nbformat.read(folder / "realtime.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=120, resources=resources).execute()


def error_of(notebook: Any, cell_id: str) -> str:
    (cell,) = (cell for cell in notebook.cells if cell.id == cell_id)
    (error,) = (output for output in cell.outputs if output.output_type == "error")
    return "\n".join(error.traceback)


@pytest.mark.timeout(170)
def test_the_notebook_does_what_it_says_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(tmp_path / "server_files")
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", server.url)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", server.token)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(NOTEBOOKS / "realtime.ipynb", folder)
    try:
        first, second = run(folder), run(folder)
        for notebook in (first, second):
            check(notebook, server)
        assert "answer to the example" in output_of(first, "publish")
        assert "unchanged" in output_of(second, "publish")
        check_the_end(server)
    finally:
        server.stop()


def check(notebook: Any, server: RunningServer) -> None:
    assert server.token not in json.dumps(notebook)
    dry = output_of(notebook, "dry-run")
    assert "nothing was sent" in dry
    assert re.search(r"sample +flats  600 rows, found in the notebook", dry)
    published = output_of(notebook, "publish")
    assert server.prefix + "api/Rent/1.0" in published
    for text in (dry, published, output_of(notebook, "show")):
        assert "Proven on 1," in text
        assert re.search(r"advert +str +refused", text)
    assert "rent_Pred" in output_of(notebook, "consume")
    rows = [line.split() for line in output_of(notebook, "object").splitlines()[1:]]
    assert len(rows) == 2
    assert all(compiled == own for _, compiled, own in rows)
    if shutil.which("curl"):
        assert '"rent_Pred":[' in output_of(notebook, "curl").replace(" ", "")
    wrong = output_of(notebook, "wrong").splitlines()
    faults = ("inputData.year", "inputData.area[0]", "inputData.advert[0]")
    assert len(wrong) == len(faults)
    for line, field in zip(wrong, faults, strict=True):
        assert f"{field}: " in line
    difference = re.search(r"20,000 rows .* difference (\S+)", output_of(notebook, "bulk"))
    assert difference is not None
    assert float(difference[1]) < 1e-6
    assert output_of(notebook, "speed").count(" ms ") == 3
    assert "Ridge" in output_of(notebook, "update")
    assert "rolled back to state" in output_of(notebook, "rollback")
    refused = error_of(notebook, "refused")
    assert refused.startswith("NotCompilable: ")
    assert "FunctionTransformer" in refused
    assert "%%publish_service" in refused
    assert len(refused.splitlines()) == 1
    assert "rent = " in output_of(notebook, "standard")
    kinds = {
        line.split()[0]: line.split()[2] for line in output_of(notebook, "list").splitlines()[2:]
    }
    assert kinds == {"Rent": "realtime", "RoughRent": "standard"}
    assert "410" in output_of(notebook, "delete")


def check_the_end(server: RunningServer) -> None:
    """After the last run: the forest is live again, and the standard service gone."""
    status, reply = post(server, "api/Rent/1.0", {"inputData": [FLAT]})
    assert status == 200
    assert 400 < reply["outputParameters"]["outputData"]["rent_Pred"][0] < 800
    assert post(server, "api/RoughRent/1.0", {"area": 1.0, "rooms": 1})[0] == 410
    with DeployClient(server.url, auth=server.token) as client:
        service = client.get_service("Rent", "1.0")
        assert "RandomForestRegressor" in service.definition["mlserve"]["modelName"]
        actions = [event["action"] for event in client.history("Rent", "1.0")]
        assert actions.count("rollback") == 2
