"""The notebook on batches, as a newcomer runs it: on a real server."""

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

from .test_quickstart import NOTEBOOKS, output_of
from .test_realtime_notebook import error_of


def run(folder: Path) -> Any:
    notebook = nbformat.read(folder / "batch.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=120, resources=resources).execute()


@pytest.mark.timeout(170)
def test_the_notebook_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start_server(tmp_path / "server_files")
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", server.url)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", server.token)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("batch.ipynb", "mtcars.csv"):
        shutil.copy(NOTEBOOKS / name, folder)
    try:
        check(run(folder), server)
        with DeployClient(server.url, auth=server.token) as client:
            for name in ("TxService", "SlowService", "FastTx", "FrameTx"):
                assert client.get_service(name).list_batch_executions() == []
    finally:
        server.stop()


def check(notebook: Any, server: RunningServer) -> None:
    text = json.dumps(notebook)
    assert server.token not in text
    # No widget is left behind: its place would be empty when the notebook is opened.
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not any("widget-view" in key for one in outputs for key in one.get("data", {}))
    assert 'Give cars[["hp", "wt"]].' in error_of(notebook, "columns")
    card = output_of(notebook, "run")
    assert "32 records" in card
    assert re.search(r"Mazda RX4 +0\.592204", card)
    (difference,) = re.findall(r"largest difference (\S+)", output_of(notebook, "compare"))
    assert float(difference) < 1e-12
    assert "Complete: 32 of 32 records" in output_of(notebook, "python")
    results = output_of(notebook, "results")
    assert "Complete 32 of 32" in results
    assert "0.592204" in results
    assert "am_Pred\n0.46991738" in results
    assert "0.512737" in output_of(notebook, "download")
    failures = output_of(notebook, "failures")
    assert "2 of 32 records failed" in failures
    assert re.search(r"1 +Fiat 128 +wt: expected a number", failures)
    assert len(output_of(notebook, "errors").splitlines()) == 4
    seconds, doubled = output_of(notebook, "parallel").split(" s\n")
    assert float(seconds) < 3.5  # and not 4, one after the other
    assert "14.0]" in doubled
    assert "of 1,000" in output_of(notebook, "list")
    assert "of 1,000 records" in output_of(notebook, "back")
    assert "list_batch_executions()" in output_of(notebook, "cancel")
    for cell in ("many", "many-frame"):
        assert "100,000 records" in output_of(notebook, cell)
    assert "(batchable)" in output_of(notebook, "batchable")
    differences = re.findall(r": +(\S+)$", output_of(notebook, "many-compare"), re.MULTILINE)
    assert len(differences) == 2
    assert all(float(one) < 1e-6 for one in differences)
    if shutil.which("curl"):
        ids = re.findall(r'"batchExecutionId":"([^"]+)"', output_of(notebook, "curl"))
        assert len(ids) == 2
        assert len(set(ids)) == 1
        fetched = output_of(notebook, "curl-results")
        assert '"state":"Complete"' in fetched
        assert re.search(r"^0,0\.59220411\d+,\s*$", fetched, re.MULTILINE)
    assert "none" in output_of(notebook, "tidy")
