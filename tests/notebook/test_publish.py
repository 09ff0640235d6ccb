"""``%%publish_service`` in a real shell against a real server."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from support.notebook import Notebook
from support.running_server import RunningServer

from jupyter_mlserve import DeployClient
from jupyter_mlserve.client.service import Service
from jupyter_mlserve.contract.errors import MLServeError


@pytest.fixture
def name() -> str:
    """A service name that no other test uses."""
    return "S" + uuid.uuid4().hex[:8]


@pytest.fixture
def client(server: RunningServer) -> Any:
    with DeployClient(server.url, auth=server.token) as made:
        yield made


def one_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    return lines[0]


def test_a_script_cell_is_published_and_not_run_in_the_notebook(
    connected: Notebook, name: str, server: RunningServer
) -> None:
    connected("factor = 3")
    ran = connected.run(
        f'%%publish_service {name} -v 1.0 -i "x: float" -o "y: float" --sample "x=2"\n'
        "y = factor * x\nprint('seen', x)\n"
    )
    service = ran.result
    assert isinstance(service, Service)
    assert (service.name, service.version) == (name, "1.0")
    assert service.consume(x=5).output("y") == 15.0
    assert "y" not in connected.names
    shown = connected.shell.display_formatter.format(service)[0]
    for text in shown.values():
        assert f"{server.prefix}api/{name}/1.0" in text
        assert "factor" in text or "captured" in text
        assert "6.0" in text  # the sample's answer
        assert server.token not in text


def test_a_function_cell_is_run_in_the_notebook_and_its_last_function_published(
    connected: Notebook, name: str
) -> None:
    service = connected(
        f"%%publish_service {name} -v 1.0\n"
        "def helper(x):\n    return x + 1\n\n"
        "def total(a: int, b: float = 0.5) -> float:\n    return helper(a) + b\n"
    )
    assert connected("total(1)") == 2.5
    assert service.total(1).output(service.outputs[0]["name"]) == 2.5
    assert [(p["name"], p["type"]) for p in service.inputs] == [("a", "integer"), ("b", "numeric")]
    assert service.inputs[1]["default"] == 0.5


def test_a_cell_that_fails_in_the_notebook_is_not_published(
    connected: Notebook, name: str, client: DeployClient
) -> None:
    start = f"%%publish_service {name} -v 1.0\n"
    seen = connected.fails(start + "def f(x: nothing_like_it):\n  return x")
    assert "NameError" in seen
    assert "nothing_like_it" in seen
    assert f"{name} was not published, because its cell failed in the notebook" in seen
    seen = connected.fails(start + "def f(x:\n  return x\n")
    assert "SyntaxError" in seen or "never closed" in seen
    assert client.list_services(name) == []


def test_a_failed_trial_shows_the_authors_own_traceback_and_publishes_nothing(
    connected: Notebook, name: str, client: DeployClient
) -> None:
    seen = connected.fails(
        f'%%publish_service {name} -v 1.0 -i "x: float" -o "y: float" --sample "x=0"\n'
        "print('so far so good')\ny = 1 / x  # the author's line\n"
    )
    assert "ZeroDivisionError" in seen
    assert "the author's line" in seen
    assert "so far so good" in seen
    assert "Your code failed" in seen
    assert "jupyter_mlserve/" not in seen
    assert seen.splitlines()[-1].startswith("TrialFailed: ")
    assert client.list_services(name) == []


def test_a_version_that_is_there_is_replaced_only_on_request(
    connected: Notebook, name: str
) -> None:
    cell = f'%%publish_service {name} -v 1.0 -i "x: float" -o "y: float"'
    connected(f'{cell} -d "first"\ny = x\n')
    seen = one_line(connected.fails(f"{cell}\ny = 2 * x\n"))
    assert "--update" in seen
    assert "another version" in seen

    updated = connected.run(f"{cell} --update\ny = 2 * x\n").result
    assert updated.consume(x=1).output("y") == 2.0
    assert updated.definition["description"] == "first"
    assert "updated in" in connected.shell.display_formatter.format(updated)[0]["text/plain"]

    again = connected(f"{cell} --update\ny = 2 * x\n")
    assert "unchanged" in connected.shell.display_formatter.format(again)[0]["text/plain"]


def test_without_a_version_the_server_names_one_and_the_card_says_so(
    connected: Notebook, name: str
) -> None:
    service = connected(f'%%publish_service {name} -i "x: float" -o "y: float"\ny = x\n')
    assert uuid.UUID(service.version)
    text = connected.shell.display_formatter.format(service)[0]["text/plain"]
    assert "No version was named" in text


def test_a_dry_run_needs_no_server_and_sends_nothing(notebook: Notebook, name: str) -> None:
    """There is no server to be found here: a request would fail with ServerNotFound."""
    notebook("import json\nmodel = {'a': 1}\nAPI_TOKEN = 'secret'")
    shown = repr(
        notebook(
            f'%%publish_service {name} --dry-run -i "x: float" -o "y: str"\n'
            "y = json.dumps([model, x])\n"
        )
    )
    assert "nothing was sent" in shown
    assert re.search(r"model +object .*captured", shown)
    assert re.search(r"json +import +captured", shown)
    refused = repr(
        notebook(f'%%publish_service {name} -n -i "x: float" -o "y: str"\ny = API_TOKEN\n')
    )
    assert re.search(r"API_TOKEN .*refused", refused)
    assert "--object API_TOKEN" in refused, "what to do is cut off"
    assert "secret'" not in refused
    assert "ServerNotFound" in notebook.fails("%list_services")


def test_a_dry_run_of_functions_defines_them_and_leaves_the_server_alone(
    connected: Notebook, name: str, client: DeployClient
) -> None:
    connected(f"%%publish_service {name} --dry-run -v 1.0\ndef f(x: int) -> int:\n    return x\n")
    assert connected("f(3)") == 3
    assert client.list_services(name) == []


def test_what_cannot_travel_is_named_and_nothing_is_published(
    connected: Notebook, name: str, client: DeployClient
) -> None:
    connected("import threading\nguard = threading.Lock()")
    ran = connected.run(
        f'%%publish_service {name} -v 1.0 -i "x: float" -o "y: float"\nwith guard:\n    y = x\n'
    )
    assert ran.error is not None
    assert "guard" in ran.complained + ran.printed
    (shown,) = ran.displayed
    assert re.search(r"guard .*refused", repr(shown.data["text/plain"]))
    assert client.list_services(name) == []


def test_every_option_reaches_the_definition(
    connected: Notebook, name: str, tmp_path: Path
) -> None:
    (tmp_path / "table.txt").write_text("7")
    connected("ready = []\nbase = 1\nextra_TOKEN = 'x'\n")
    connected("def prepare():\n    ready.append(1)\n")
    service = connected(
        f"%%publish_service {name} --version 1.0 --alias compute \\\n"
        f'  -i "x: float" -o "y: float, n: int" --artifact out.txt --file {tmp_path}/table.txt \\\n'
        "  --object extra_TOKEN --init prepare --pool-initial 1 --pool-max 2 \\\n"
        '  -d "in {braces} and $HOME: \\"as is\\"" --sample "x=-1"\n'
        "y = x + base + int(open('table.txt').read())\n"
        "n = len(ready)\n"
        "open('out.txt', 'w').write(extra_TOKEN)\n"
    )
    found = service.definition
    assert found["operationId"] == "compute"
    assert found["description"] == 'in {braces} and $HOME: "as is"'
    assert found["outputFileNames"] == ["out.txt"]
    assert found["mlserve"]["sample"] == {"x": -1}
    assert found["mlserve"]["pool"] == {"initial": 1, "max": 2}
    assert [file["name"] for file in found["mlserve"]["files"]] == ["table.txt"]
    reply = service.compute(x=2)
    assert reply.outputs == {"y": 10.0, "n": 1}
    assert reply.artifact("out.txt") == b"x"


def test_a_name_can_be_left_behind(connected: Notebook, name: str) -> None:
    connected("left = 1")
    shown = repr(
        connected(
            f'%%publish_service {name} -n --exclude left -i "x: float" -o "y: float"\n'
            "y = x if x else left\n"
        )
    )
    assert not re.search(r"left +object .*captured", shown)


def test_a_cell_of_functions_can_be_taken_as_a_script(connected: Notebook, name: str) -> None:
    service = connected(
        f'%%publish_service {name} -v 1.0 --script -i "x: float" -o "y: float"\n'
        "def twice(v):\n    return 2 * v\ny = twice(x)\n"
    )
    assert "twice" not in connected.names
    assert service.consume(x=2).output("y") == 4.0
    chosen = connected(
        f"%%publish_service {name} -v 2.0 --function first\n"
        "def first(x: float) -> float:\n    return x\n"
        "def second(x: float) -> float:\n    return -x\n"
    )
    assert chosen.first(3).output(chosen.outputs[0]["name"]) == 3.0


def test_where_a_version_comes_from_is_recorded(
    connected: Notebook, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = str(tmp_path / "work.ipynb")
    monkeypatch.setenv("JPY_SESSION_NAME", path)
    cell = f"%%publish_service {name} -v 1.0\ndef f(x: int) -> int:\n    return x  # note\n"
    ours = connected(cell, cell_id="cell-7").definition["mlserve"]
    assert ours["notebook"] == path
    assert ours["cellId"] == "cell-7"
    assert ours["source"] == cell.partition("\n")[2]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "the following arguments are required: NAME"),
        ("a/b", "not a valid service name"),
        ("A --version 1/0", "not a valid version"),
        ("A --vresion 1.0", "no option --vresion. Did you mean --version?"),
        ("A B", "does not know what to do with 'B'"),
        ("A --update", "--update needs to know which version"),
        ("A --script --function f", "exclude one another"),
        ("A --pool-max two", "invalid int value: 'two'"),
        ('A -i "x: flaot"', "flaot"),
        ('A -o "y float"', "y float"),
        ("A --artifact ../x", "not a valid file name"),
        ('A -i "x: float" --sample "x=nothing"', "nothing is no variable of this notebook"),
        ("A --init base", "--init takes the name of a function"),
        ("A --alias 1a", "not a valid alias"),
        ("A -d 'open", "opened and not closed"),
        ("A --version", "expected one argument"),
    ],
)
def test_mistakes_in_the_line_are_one_line(notebook: Notebook, line: str, complaint: str) -> None:
    notebook("base = 1\nx = 1")
    assert complaint in one_line(notebook.fails(f"%%publish_service {line}\ny = 1\n"))


def test_an_empty_cell_is_one_line(notebook: Notebook) -> None:
    assert "empty" in one_line(notebook.fails("%%publish_service A\n\n"))


def test_a_slow_publish_shows_its_progress_in_a_notebook(
    server: RunningServer, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a real kernel: one output that changes in place, and none for a quick publish."""
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", server.url)
    monkeypatch.setenv("JUPYTER_MLSERVE_TOKEN", server.token)
    cells = [
        "%load_ext jupyter_mlserve",
        f'%%publish_service {name} -v 1 -i "x: float" -o "y: float"\ny = x\n',
        f'%%publish_service {name} -v 2 -i "x: float" -o "y: float" --sample "x=1"\n'
        "import time\ntime.sleep(1.5)\ny = x\n",
    ]
    written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    shown: list[list[str]] = [[] for _ in cells]

    class Recording(NotebookClient):  # type: ignore[misc]
        """Keeps every text of an output that changes, which the notebook itself forgets."""

        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] in ("display_data", "update_display_data"):
                assert "text/html" in msg["content"]["data"]
                shown[cell_index].append(msg["content"]["data"]["text/plain"])
            return super().process_message(msg, cell, cell_index)

    resources = {"metadata": {"path": str(tmp_path)}}
    ran = Recording(written, timeout=60, resources=resources).execute()
    slow = shown[2]
    assert slow[-1] == ""  # nothing of it stays
    assert len(slow) == len(set(slow)) >= 2  # once a second, and nothing twice
    assert all(f"Publishing {name} 2: the server tries it" in text for text in slow[:-1])
    outputs = [output.output_type for output in ran.cells[2].outputs]
    assert outputs == ["display_data", "execute_result"]
    assert server.token not in json.dumps(ran)


def test_an_interrupt_says_what_is_not_known(
    connected: Notebook, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real SIGINT while the server tries the cell."""
    import os
    import signal
    import threading

    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    seen = connected.fails(
        f'%%publish_service {name} -v 1.0 -i "x: float" -o "y: float" --sample "x=1"\n'
        "import time\ntime.sleep(1.5)\ny = x\n"
    )
    timer.join()
    assert f"Interrupted: Whether {name} was published is not known" in one_line(seen)


def test_a_server_that_is_gone_is_one_line(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_MLSERVE_URL", "http://127.0.0.1:9/")
    seen = notebook.fails('%%publish_service A -v 1 -i "x: float" -o "y: float"\ny = x\n')
    assert "Traceback" not in seen
    assert "127.0.0.1:9" in seen
    assert issubclass(type(notebook.run("%list_services").error), MLServeError)
