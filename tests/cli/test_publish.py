"""``jupyter mlserve publish NOTEBOOK``: as continuous integration runs it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from support.running_server import RunningServer

from jupyter_mlserve import DeployClient
from jupyter_mlserve.cli.main import main

from .conftest import Run

MakeNotebook = Callable[..., Path]

LOAD = "%load_ext jupyter_mlserve"
ADD = '%%publish_service {name} --version {version} {more} -i "x: int" -o "y: int"\ny = x + {by}'


def add(name: str, version: str = "1.0", by: int = 1, more: str = "") -> str:
    return ADD.format(name=name, version=version, by=by, more=more)


def test_a_notebook_is_run_in_its_folder_and_what_it_publishes_is_told(
    server: RunningServer, run: Run, notebook: MakeNotebook, tmp_path: Path
) -> None:
    (tmp_path / "by.txt").write_text("5")
    path = notebook(
        [
            LOAD,
            "by = int(open('by.txt').read())\nimport os; open('pid', 'w').write(str(os.getpid()))",
            '%%publish_service CliAdd --version 1.0 -i "x: int" -o "y: int"\ny = x + by',
            add("CliOther", "2.0", 2),
        ]
    )
    output = tmp_path / "executed.ipynb"
    where = ["--server", server.url, "--token", server.token]
    done = run("publish", str(path), *where, "--output", str(output))
    assert done.returncode == 0, done.stderr
    head, first, second = done.stdout.splitlines()
    assert head.split() == ["service", "version", "result", "seconds", "url"]
    assert first.split()[:3] == ["CliAdd", "1.0", "published"]
    assert first.split()[4] == f"{server.prefix}api/CliAdd/1.0"
    assert second.split()[:3] == ["CliOther", "2.0", "published"]
    assert "[3/4] %%publish_service CliAdd" in done.stderr
    client = DeployClient(server.url, auth=server.token)
    assert client.get_service("CliAdd").consume(1).output("y") == 6
    assert client.get_service("CliAdd").definition["mlserve"]["notebook"] == str(path)
    assert not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text()}"), "a kernel is left"
    assert nbformat.read(output, as_version=4).cells[2].outputs
    assert not nbformat.read(path, as_version=4).cells[2].outputs

    again = run(
        "publish", str(path), JUPYTER_MLSERVE_URL=server.url, JUPYTER_MLSERVE_TOKEN=server.token
    )
    assert again.returncode == 0, again.stderr
    assert [line.split()[2] for line in again.stdout.splitlines()[1:]] == ["unchanged"] * 2


TRAIN = """
import pandas as pd
from sklearn.linear_model import LinearRegression
data = pd.DataFrame({"y": [1.0, 2.0, 4.0, 8.0], "x": [0.0, 1.0, 2.0, 3.0]})
model = LinearRegression().fit(data[["x"]], data["y"])
""".strip()


def test_realtime_services_count_and_their_refusals_too(
    server: RunningServer,
    run: Run,
    notebook: MakeNotebook,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = ["--server", server.url, "--token", server.token]
    line = "%publish_realtime CliRealtime model --version 1.0 --sample data --response y"
    unfit = "%publish_realtime CliUnfit LinearRegression() --version 1.0 --sample data"
    done = run("publish", str(notebook([LOAD, TRAIN, line, unfit])), *where)
    assert done.returncode == 1
    assert "Cell 4 of" in done.stderr
    assert [row.split()[:3] for row in done.stdout.splitlines()[1:]] == [
        ["CliRealtime", "1.0", "published"],
        ["CliUnfit", "1.0", "failed"],
    ]
    with DeployClient(server.url, auth=server.token) as client:
        reply = client.get_service("CliRealtime").consume({"x": [1.0]})
    assert reply.output("outputData")["y_Pred"].tolist() == pytest.approx([2.6])
    assert main(["list", "CliRealtime", *where]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[1].split()[:3] == ["CliRealtime", "1.0", "realtime"]
    assert "inputData: DataFrame[x: float]" in listed[1]
    assert "outputData: DataFrame[y_Pred: float]" in listed[1]


def test_a_failing_cell_shows_its_traceback_and_number(
    server: RunningServer, run: Run, notebook: MakeNotebook
) -> None:
    path = notebook([LOAD, add("CliBefore"), "ratio = 1 / 0", add("CliAfter")])
    done = run("publish", str(path), "--server", server.url, "--token", server.token)
    assert done.returncode == 1
    assert "CliBefore" in done.stdout
    assert "CliAfter" not in done.stdout
    assert "----> 1 ratio = 1 / 0" in done.stderr
    assert "Cell 3 of" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "nbclient" not in done.stderr
    assert "\x1b" not in done.stderr


def test_a_refused_publish_is_a_failure_with_its_reason(
    server: RunningServer, run: Run, notebook: MakeNotebook
) -> None:
    path = notebook([LOAD, add("CliTwice", by=1), add("CliTwice", by=2)])
    done = run("publish", str(path), "--server", server.url, "--token", server.token)
    assert done.returncode == 1
    assert [line.split()[2] for line in done.stdout.splitlines()[1:]] == ["published", "failed"]
    assert "VersionExists" in done.stdout
    assert "Cell 3 of" in done.stderr
    assert "--update" in done.stderr


def test_what_cannot_travel_is_shown_with_what_to_do(
    server: RunningServer, run: Run, notebook: MakeNotebook
) -> None:
    cell = '%%publish_service CliFile -i "x: int" -o "y: int"\ny = x + len(handle.read())'
    path = notebook([LOAD, "handle = open('data.txt', 'w+')", cell])
    done = run("publish", str(path), "--server", server.url, "--token", server.token)
    assert done.returncode == 1
    assert "handle" in done.stderr
    assert "--file" in done.stderr
    assert "after it did not run" not in done.stderr


def test_a_mistake_in_a_magic_is_told_without_a_traceback(
    server: RunningServer, run: Run, notebook: MakeNotebook
) -> None:
    path = notebook([LOAD, add("CliOption", more="--verson 2")])
    done = run("publish", str(path), "--server", server.url, "--token", server.token)
    assert done.returncode == 1
    assert "Did you mean --version?" in done.stderr
    assert "Traceback" not in done.stderr


def test_expected_failures_and_deleted_services_are_told(
    server: RunningServer, run: Run, notebook: MakeNotebook
) -> None:
    path = notebook(
        [LOAD, add("CliKept"), add("CliKept", by=2), add("CliGone"), "%delete_service CliGone "]
    )
    nb = nbformat.read(path, as_version=4)
    nb.cells[2].metadata["tags"] = ["raises-exception"]
    nb.cells[4].source += "--version 1.0"
    nbformat.write(nb, path)
    done = run("publish", str(path), "--server", server.url, "--token", server.token)
    assert done.returncode == 0, done.stderr
    _, kept, again, gone = done.stdout.splitlines()
    assert "published  " in kept
    assert "failed, as expected" in again
    assert "published, then deleted" in gone
    assert "5 cells ran" in done.stderr
    assert "encryption" not in done.stderr


def test_a_failure_is_told_once(server: RunningServer, run: Run, notebook: MakeNotebook) -> None:
    where = ["--server", server.url, "--token", server.token]
    unfit = "%publish_realtime CliWrong 5 --version 1.0"
    done = run("publish", str(notebook([LOAD, unfit])), *where)
    assert done.returncode == 1
    assert "UsageError('" not in done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("5: ") == 1, done.stdout + done.stderr
    assert "failed (UsageError)." in done.stderr
    unloaded = run("publish", str(notebook([add("CliUnloaded")])), *where)
    assert "Add a cell before it: %load_ext jupyter_mlserve" in unloaded.stderr


def test_a_notebook_that_publishes_nothing_is_a_failure(
    server: RunningServer, run: Run, notebook: MakeNotebook
) -> None:
    path = notebook(["1 + 1"])
    done = run("publish", str(path), "--server", server.url, "--token", server.token)
    assert done.returncode == 1
    assert "published nothing" in done.stderr
    assert "1 cell ran" in done.stderr
    assert done.stdout == ""


def test_what_is_wrong_before_anything_runs(
    run: Run, notebook: MakeNotebook, tmp_path: Path
) -> None:
    missing = run("publish", str(tmp_path / "nobody.ipynb"))
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "There is no notebook" in missing.stderr
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{")
    assert "not a notebook that can be read" in run("publish", str(broken)).stderr
    nowhere = run("publish", str(notebook(["1"])))
    assert nowhere.returncode == 1
    assert "No Jupyter server with jupyter_mlserve was found" in nowhere.stderr


def test_the_running_server_is_found_and_the_kernel_that_is_there(
    server: RunningServer, run: Run, notebook: MakeNotebook
) -> None:
    path = notebook([LOAD, add("CliFound")], kernel="of-another-machine")
    runtime = {"JUPYTER_RUNTIME_DIR": server.env["JUPYTER_RUNTIME_DIR"]}
    done = run("publish", str(path), **runtime)
    assert done.returncode == 0, done.stderr
    assert f"Server: {server.url} (running server, mlserve-{server.pid}.json)" in done.stderr
    assert "'of-another-machine' is not installed; python3 is used" in done.stderr
    done = run("publish", str(path), "--kernel", "nonsense", **runtime)
    assert done.returncode == 1
    assert "jupyter mlserve: there is no kernel 'nonsense' here" in done.stderr


def test_a_cell_that_takes_too_long(
    server: RunningServer, run: Run, notebook: MakeNotebook
) -> None:
    path = notebook(["import time; time.sleep(30)"])
    where = ["--server", server.url, "--token", server.token]
    done = run("publish", str(path), *where, "--timeout", "1")
    assert done.returncode == 1
    assert "Cell 1 of" in done.stderr
    assert "CellTimeoutError" in done.stderr
