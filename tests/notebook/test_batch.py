"""``%batch_service``: what a person at a notebook or a terminal sees, on a real server."""

from __future__ import annotations

import re
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.kernels import jupyter_api, server_kernel
from support.notebook import Notebook
from support.running_server import RunningServer

from jupyter_mlserve.client.batch import Batch
from jupyter_mlserve.client.events import Progress
from jupyter_mlserve.notebook.batch_view import bar_html
from jupyter_mlserve.notebook.completion import Completion

WIDGET = "application/vnd.jupyter.widget-view+json"
PUBLISH = """\
%%publish_service {name} --version 1.0 --update -i "hp: float, wt: float" -o "kw: float"
import time
time.sleep({seconds})
if wt > 5: raise ValueError("too heavy")
kw = hp * 0.7457
"""
CARS = pd.DataFrame(
    {"hp": [110.0, 93.0, 215.0], "wt": [2.62, 2.32, 5.25]}, index=["Mazda", "Datsun", "Cadillac"]
)


@pytest.fixture
def cars(connected: Notebook) -> Notebook:
    connected(PUBLISH.format(name="Kw", seconds=0))
    connected.names["cars"] = CARS
    return connected


def shown(notebook: Notebook, line: str) -> str:
    ran = notebook.run(line)
    assert ran.error is None, ran.text
    return "\n".join([*(one.data["text/plain"] for one in ran.displayed), repr(ran.result)])


def test_a_frame_goes_in_and_a_frame_comes_out(cars: Notebook) -> None:
    card = shown(cars, "%batch_service Kw cars --into out")
    out = cars.names["out"]
    assert list(out.columns) == ["kw", "error"]
    assert list(out.index) == ["Mazda", "Datsun", "Cadillac"]
    assert out["kw"].iloc[0] == pytest.approx(110 * 0.7457)
    assert out["error"].iloc[2] == "ValueError: too heavy"
    assert "1 of 3 records failed. See out[out.error.notna()]." in card
    assert re.search(r"1 +Cadillac +ValueError: too heavy", card)
    assert re.search(r"Mazda +82.027", card)
    result = cars('%batch_service Kw cars[["wt", "hp"]].head(2) --parallel 2 --quiet')
    assert list(result["kw"]) == list(out["kw"][:2])
    quiet = cars.run("%batch_service Kw cars --quiet --into out")
    assert quiet.text.strip() == ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%batch_service Kw cars.assign(mpg=1)", 'Give cars.assign(mpg=1)[["hp", "wt"]].'),
        ("%batch_service Kw", "There are no records: %batch_service Kw RECORDS"),
        ("%batch_service Kw car", "Did you mean cars?"),
        ("%batch_service Kw 'missing.csv'", "There is no file 'missing.csv'"),
        ("%batch_service Kww cars", "Did you mean Kw?"),
        ("%batch_service Kw cars --parallel 0", "from 1 on"),
        ("%batch_service Kw cars --into 1x", "--into takes the name of a variable"),
        ("%batch_service Kw --cancel", "--list shows them"),
        ("%batch_service Kw --list --id 1", "give one of both"),
        ("%batch_service Kw --id 1 --parallel 2", "--parallel is for a batch that is started"),
        ("%batch_service Kw --id zzz", "begins with 'zzz'"),
        ("%batch_service Kw 7", "expected a DataFrame, a dict of columns or a list of records"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(cars: Notebook, line: str, says: str) -> None:
    text = cars.fails(line)
    assert says in text
    assert "Traceback" not in text


def test_a_batch_is_left_and_found_again(cars: Notebook) -> None:
    batch = cars("%batch_service Kw cars --detach")
    assert isinstance(batch, Batch)
    identity = str(batch.execution_id)
    batch.wait()
    listed = cars("%batch_service Kw --list")
    assert listed[-1]["batchExecutionId"] == identity
    text = repr(listed.card)
    assert f"--id {identity} --into out" in text
    assert re.search(rf"{identity} +Complete +3 of 3 +1 ", text)
    frame = cars(f"%batch_service Kw --id {identity[:13]}")
    assert list(frame.index) == [0, 1, 2]
    shown(cars, f"%batch_service Kw cars --id {identity} --into out")
    assert list(cars.names["out"].index) == list(CARS.index)
    assert "cancelled" in shown(cars, f"%batch_service Kw --id {identity} --cancel")
    assert identity not in [one["batchExecutionId"] for one in cars("%batch_service Kw --list")]
    assert "not there" in repr_of(cars, batch)


def repr_of(notebook: Notebook, thing: Any) -> str:
    found, _ = notebook.shell.display_formatter.format(thing)
    assert found["text/html"].count("<section") == 1
    return str(found["text/plain"])


def test_a_batch_is_shown_as_a_card(cars: Notebook) -> None:
    cars("from jupyter_mlserve import DeployClient; svc = DeployClient().get_service('Kw')")
    assert "not started" in repr_of(cars, cars("svc.batch(cars)"))
    batch = cars("svc.batch(cars).start().wait()")
    card = repr_of(cars, batch)
    assert "1 of 3 records failed" in card
    assert f"%batch_service Kw --version 1.0 --id {batch.execution_id} --into out" in card


def test_batches_of_a_deleted_version_can_be_fetched(connected: Notebook) -> None:
    connected(PUBLISH.format(name="Gone", seconds=0))
    connected.names["cars"] = CARS
    batch = connected("%batch_service Gone cars --detach")
    batch.wait()
    connected("%delete_service Gone --version 1.0")
    frame = connected(f"%batch_service Gone --version 1.0 --id {batch.execution_id}")
    assert frame["kw"].iloc[1] == pytest.approx(93 * 0.7457)
    assert connected("%batch_service Gone --version 1.0 --list")


def test_a_file_is_a_batch(cars: Notebook, tmp_path: Path) -> None:
    path = tmp_path / "some cars.csv"
    CARS.to_csv(path, index=False)
    assert len(cars(f"%batch_service Kw '{path}'")) == 3


def test_a_terminal_has_a_line(cars: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    cars(PUBLISH.format(name="Kw02", seconds=0.2))
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    cars.shell.run_cell("%batch_service Kw02 cars --parallel 2 --into out").raise_error()
    lines = terminal.getvalue().split("\r")
    assert lines[-1].strip().endswith("Complete: 3 of 3 records, 1 failed")
    assert "100%" in lines[-1]
    assert terminal.getvalue().count("\n") == 1


def test_completion_knows_frames_and_batches(cars: Notebook) -> None:
    batch = cars("%batch_service Kw cars --detach")
    _, session, _ = cars.shell._jupyter_mlserve
    complete = Completion(cars.shell, session).complete
    assert ("cars", "instance") in complete("%batch_service Kw ca")[1]
    assert ("--detach", "magic option") in complete("%batch_service Kw cars --d")[1]
    assert complete("%batch_service Kw --id ")[1][0] == (batch.execution_id, "batch")


def test_the_bar_can_be_heard_and_shows_failures() -> None:
    html = bar_html(Progress("id", "InProgress", 1_000_000, 2_000, 1, 100.0, 9980.0))
    assert 'role="progressbar"' in html
    assert 'aria-valuetext="InProgress: 2,000 of 1,000,000 records, 1 failed, 100' in html
    assert "<b>0.2%</b>" in html
    assert "1 failed" in html
    assert "2 h 46 min left" in html
    assert re.search(r'mls-bad" style="width:0.70%', html)
    waiting = bar_html(Progress("id", "Ready", 5, 0, message="<b>"))
    assert "waiting for its turn" in waiting
    assert "&lt;b&gt;" in waiting


# In a kernel -------------------------------------------------------------------------------------


class Watched:
    """Runs cells in a kernel and keeps what its front end is told."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.outputs: dict[str, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.errors: list[str] = []

    def run(self, code: str, seconds: float = 60) -> dict[str, Any]:
        reply = self.client.execute_interactive(
            code, output_hook=self.hook, timeout=seconds, allow_stdin=False
        )
        found: dict[str, Any] = reply["content"]
        return found

    def hook(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind in ("display_data", "update_display_data"):
            self.history.append(content["data"])
            self.outputs[content["transient"].get("display_id")] = content["data"]
        elif kind == "error":
            self.errors += content["traceback"]

    @property
    def text(self) -> str:
        return "\n".join(data["text/plain"] for data in self.outputs.values())


def test_a_notebook_has_a_bar_that_leaves_a_card_behind(server: RunningServer) -> None:
    with server_kernel(server) as client:
        front = Watched(client)
        setup = "%load_ext jupyter_mlserve\nimport pandas as pd\n"
        setup += f"cars = pd.DataFrame({CARS.to_dict('list')!r})"
        assert front.run(setup)["status"] == "ok"
        assert front.run(PUBLISH.format(name="Slow", seconds=1.2))["status"] == "ok"
        front.outputs.clear()

        # To the end: a widget while it runs, and none in what is saved.
        assert front.run("%batch_service Slow cars --parallel 3 --into out")["status"] == "ok"
        assert any(WIDGET in data for data in front.history)
        assert not any(WIDGET in data for data in front.outputs.values())
        assert "1 of 3 records failed" in front.text
        assert "<section" in "".join(data["text/html"] for data in front.outputs.values())

        # Interrupted: it is left, and said how to come back.
        front.outputs.clear()
        stop = threading.Timer(1.0, interrupt, (server,))
        stop.start()
        assert front.run("%batch_service Slow cars --parallel 1 --into out")["status"] == "error"
        (error,) = front.errors
        line = re.search(r"%batch_service Slow --version 1.0 --id \S+ --into out", error)
        assert line is not None
        assert "goes on, on the server" in error
        assert line[0] in front.text
        assert not any(WIDGET in data for data in front.outputs.values())

        # A new kernel finds it again.
        restart(server)
        client.wait_for_ready(timeout=60)
        front = Watched(client)
        assert front.run("%load_ext jupyter_mlserve")["status"] == "ok"
        assert front.run(line[0])["status"] == "ok"
        assert "of 32" not in front.text
        assert "1 of 3 records failed" in front.text
        assert front.run("assert len(out) == 3")["status"] == "ok"

        # As the value of a cell it goes on by itself.
        front.outputs.clear()
        made = "from jupyter_mlserve import DeployClient\nsvc = DeployClient().get_service('Slow')"
        code = made + "\nbatch = svc.batch([{'hp': 1.0, 'wt': 1.0}]).start()\nbatch"
        assert front.run(code)["status"] == "ok"
        assert any(WIDGET in data for data in front.outputs.values())
        deadline = time.monotonic() + 20
        while any(WIDGET in data for data in front.outputs.values()):
            assert time.monotonic() < deadline
            front.hook(client.get_iopub_msg(timeout=20))
        while "1 record in" not in front.text:
            front.hook(client.get_iopub_msg(timeout=20))


def interrupt(server: RunningServer) -> None:
    with jupyter_api(server) as api:
        (kernel,) = api.get("api/kernels").json()
        api.post(f"api/kernels/{kernel['id']}/interrupt").raise_for_status()


def restart(server: RunningServer) -> None:
    with jupyter_api(server) as api:
        (kernel,) = api.get("api/kernels").json()
        api.post(f"api/kernels/{kernel['id']}/restart").raise_for_status()
