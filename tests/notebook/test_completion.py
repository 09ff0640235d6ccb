"""Completion of options, names, versions and inputs, through IPython's own completer."""

from __future__ import annotations

import socket
import time
import uuid

import pytest
from IPython.core.completer import CompletionContext, provisionalcompleter
from support.notebook import Notebook
from support.running_server import RunningServer

from jupyter_mlserve import DeployClient


@pytest.fixture(scope="module")
def name(server: RunningServer) -> str:
    made = "Completed" + uuid.uuid4().hex[:6]
    with DeployClient(server.url, auth=server.token) as client:
        for version in ("1.0", "1.1", "2.0"):
            client.deploy_service(
                made, version=version, code_str="z = x + why", inputs="x: int, why: int",
                outputs="z: int",
            )  # fmt: skip
    return made


def complete(notebook: Notebook, text: str) -> list[str]:
    """What the front end would offer at the end of the text, with the word it replaces."""
    with provisionalcompleter():
        found = list(notebook.shell.Completer.completions(text, len(text)))
    return [text[: one.start] + one.text for one in found]


def test_options_complete_and_are_offered_once(notebook: Notebook) -> None:
    assert complete(notebook, "%%publish_service A --dry") == ["%%publish_service A --dry-run"]
    assert complete(notebook, "%update_service A --pool-m") == ["%update_service A --pool-max"]
    assert complete(notebook, "svc = %show_service A --h") == ["svc = %show_service A --history"]
    offered = complete(notebook, "%%publish_service A --version 1 --file x --")
    assert not [line for line in offered if line.endswith(" --version")]
    assert [line for line in offered if line.endswith(" --file")]


def test_names_versions_and_inputs_complete(connected: Notebook, name: str) -> None:
    start = name[:-2]
    assert complete(connected, f"%show_service {start}") == [f"%show_service {name}"]
    assert f"%%publish_service {name}" in complete(connected, f"%%publish_service {start}")
    line = f"%consume_service {name} --version "
    assert complete(connected, line) == [line + version for version in ("2.0", "1.1", "1.0")]
    assert complete(connected, f"{line}1.") == [line + version for version in ("1.1", "1.0")]
    assert complete(connected, f"%consume_service {name} ") == [
        f"%consume_service {name} x=",
        f"%consume_service {name} why=",
    ]
    assert complete(connected, f"%consume_service {name} x=1 ") == [
        f"%consume_service {name} x=1 why="
    ]


def test_a_new_version_is_offered_at_once(connected: Notebook, name: str) -> None:
    line = f"%delete_service {name} --version 3"
    assert complete(connected, line) == []
    connected(f'%%publish_service {name} -v 3.0 -i "x: int" -o "z: int"\nz = x\n')
    assert complete(connected, line) == [line + ".0"]


def test_variables_and_functions_of_the_notebook_complete(notebook: Notebook) -> None:
    notebook("my_model = 1\ndef my_function():\n    pass\n_hidden = 2\nimport sys as my_module")
    offered = complete(notebook, "%%publish_service A --object my_")
    assert offered == [
        f"%%publish_service A --object {name}" for name in ("my_function", "my_model", "my_module")
    ]
    assert complete(notebook, "%%publish_service A --function my_") == [
        "%%publish_service A --function my_function"
    ]
    assert complete(notebook, "%consume_service A --input _hid") != [
        "%consume_service A --input _hidden"
    ]


def test_models_frames_and_columns_complete(notebook: Notebook) -> None:
    """A model where a model belongs, a frame where a sample does, its columns as the response."""
    notebook(
        "import pandas as pd\nfrom sklearn.linear_model import Ridge\n"
        "my_frame = pd.DataFrame({'my_y': [1.0], 'my x': [2.0]})\n"
        "my_other = pd.DataFrame({'my_z': [1.0]})\nmy_model = Ridge()\nmy_class = Ridge\nmy_n = 1"
    )
    line = "svc = %publish_realtime A my_"
    assert complete(notebook, line) == [f"{line}model"]
    line = "%publish_realtime A my_model --sample my_"
    assert complete(notebook, line) == [f"{line}frame", f"{line}other"]
    line = "%publish_realtime A my_model -s my_frame --response my"
    assert complete(notebook, line) == [f"{line}_y"]
    line = "%publish_realtime A my_model --response my"
    assert complete(notebook, line) == [f"{line}_y", f"{line}_z"]
    line = "%publish_realtime A my_model --up"
    assert complete(notebook, line) == [f"{line}date"]


def test_the_actions_of_mlserve_complete(notebook: Notebook) -> None:
    assert complete(notebook, "%mlserve ") == [
        f"%mlserve {action}" for action in ("connect", "status", "disconnect")
    ]
    assert complete(notebook, "%mlserve connect --t") == ["%mlserve connect --token"]


def test_the_body_of_a_cell_and_other_magics_are_left_alone(notebook: Notebook) -> None:
    ours = notebook.shell._jupyter_mlserve[2]
    for text in ("%timeit --", "x = 1 --", "%%publish_service", "%%time --", "%list_servicesx -"):
        assert ours.complete(text) == ("", [])
    notebook("variable_of_mine = 1")
    cell = "%%publish_service A -v 1\nvariable_of_m"
    assert complete(notebook, cell) == [cell.replace("variable_of_m", "variable_of_mine")]


@pytest.mark.parametrize("text", ['%%publish_service A -d "open', "%consume_service A x=[1,", "%"])
def test_half_a_line_offers_nothing_and_raises_nothing(
    notebook: Notebook, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(notebook, text)
    context = CompletionContext(
        token="", full_text=text, cursor_position=len(text), cursor_line=0, limit=10
    )
    assert notebook.shell._jupyter_mlserve[2].match(context)["completions"] == []
    assert capsys.readouterr().err == ""


def test_no_server_costs_no_time_and_no_error(
    notebook: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    for _ in range(5):
        complete(notebook, "%show_service ")
    assert time.monotonic() - started < 1.0
    assert capsys.readouterr().err == ""


def test_a_server_that_hangs_does_not_hold_the_kernel(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("JUPYTER_MLSERVE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        started = time.monotonic()
        assert "%show_service x" not in complete(notebook, "%show_service ")
        assert time.monotonic() - started < 1.0
