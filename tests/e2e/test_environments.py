"""A service published from another environment runs in that environment."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pandas
import pytest
from support.interpreters import make_environment, other_interpreter
from support.running_server import RunningServer, start_server

import jupyter_mlserve
from jupyter_mlserve import DeployClient

PUBLISH = """
import sys, json
import pandas as pd
from jupyter_mlserve import DeployClient

frame = pd.DataFrame({"a": [1.5, 2.5]}, index=["x", "y"])

def where(key):
    return pd.DataFrame({
        "python": [sys.version.split()[0]], "pandas": [pd.__version__], "a": [frame["a"][key]],
    })

client = DeployClient(sys.argv[1], auth=sys.argv[2])
service = client.deploy_service(
    "Where", version="1.0", code_fn=where, inputs={"key": str}, outputs={"answer": "DataFrame"},
    sample={"key": "x"},
)
print(json.dumps(service.where("y").output("answer").to_dict("list")))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = start_server(tmp_path)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    interpreter = other_interpreter()
    if interpreter is None:
        pytest.skip("no other Python on this machine")
    folder = tmp_path_factory.mktemp("other") / "venv"
    # An older pandas than ours; only what the client itself needs beside it.
    return make_environment(folder, interpreter, "pandas<3,>=2.2", "dill", "httpx")


def test_a_service_of_another_python_and_pandas_runs_there(
    server: RunningServer, other_python: str, tmp_path: Path
) -> None:
    ours_only = tmp_path / "path"
    ours_only.mkdir()
    (ours_only / "jupyter_mlserve").symlink_to(Path(jupyter_mlserve.__file__).parent)
    script = tmp_path / "publish.py"
    script.write_text(PUBLISH)
    environment = {**os.environ, "PYTHONPATH": str(ours_only)}
    command = [other_python, str(script), server.url, server.token]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    expected = subprocess.run(
        [
            other_python,
            "-c",
            "import sys, pandas; print(sys.version.split()[0], pandas.__version__)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert answer == {"python": [expected[0]], "pandas": [expected[1]], "a": [2.5]}
    assert expected[1] != pandas.__version__

    client = DeployClient(server.url, auth=server.token)
    service = client.get_service("Where", version="1.0")
    reply = service.consume(key="x").output("answer")
    assert reply["pandas"][0] == expected[1]
    recorded = client.list_services("Where", version="1.0")[0]["mlserve"]
    assert recorded["interpreter"]["executable"] == other_python
    assert recorded["packages"]["pandas"] == expected[1]


def test_an_environment_that_is_gone_is_named(server: RunningServer) -> None:
    body = {
        "code": "y = 1",
        "outputParameterDefinitions": [{"name": "y", "type": "integer"}],
        "mlserve": {
            "form": "script",
            "interpreter": {"executable": "/no/such/python", "version": "3.11.0"},
        },
    }
    url = f"{server.prefix}services/Gone/1.0"
    reply = httpx.post(url, json=body, headers=server.headers, timeout=60)
    assert reply.status_code == 400
    assert "/no/such/python" in reply.json()["message"]
    assert httpx.get(url, headers=server.headers).status_code == 404
