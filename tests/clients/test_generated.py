"""Clients that are generated from our own swagger.json, and curl by hand, as any consumer.

Each logs in with a name and a password, consumes a standard service and runs a batch of it, on a
real server below a prefix. Nothing generated is in the repository.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.accounts import PASSWORD, add_accounts
from support.running_server import RunningServer, start_server

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
TYPESCRIPT = Path(__file__).parent / "typescript"
LOGIN = {"USERNAME": "consumer", "PASSWORD": PASSWORD}
# am_Pred of mtcars, by am ~ hp + wt, for hp 120 and wt 2.8, and for hp 110 and wt 2.62.
ANSWERS = [
    pytest.approx(0.5332668559970368, abs=1e-12),
    pytest.approx(0.5922041177822379, abs=1e-12),
]
CODE = """
import pandas as pd

answer = pd.DataFrame({"am_Pred": [weights[0] + weights[1] * hp + weights[2] * wt]})
answer.to_csv("answer.csv", index=False)
missing = float("nan")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("clients"), base_url="/user/x/")
    try:
        add_accounts(running, LOGIN["USERNAME"])
        publish(running)
        yield running
    finally:
        running.stop()


def publish(server: RunningServer) -> None:
    """A linear model of mtcars as the numbers it consists of: its workers start fast."""
    import numpy as np

    from jupyter_mlserve import DeployClient

    with (ROOT / "notebooks" / "mtcars.csv").open() as stream:
        cars = list(csv.DictReader(stream))
    known = np.array([[1.0, float(car["hp"]), float(car["wt"])] for car in cars])
    weights, *_ = np.linalg.lstsq(known, [float(car["am"]) for car in cars], rcond=None)
    DeployClient(server.url, auth=server.token).deploy_service(
        "TxService",
        version="1.0",
        alias="manualTransmission",
        code_str=CODE,
        models={"weights": weights.tolist()},
        inputs="hp: float, wt: float",
        outputs="answer: DataFrame, missing: float",
        artifacts=["answer.csv", "never.csv"],
    )


def address(server: RunningServer) -> str:
    return server.prefix.rstrip("/")


@pytest.fixture
def folder(server: RunningServer, tmp_path: Path) -> Path:
    """With ``service.json`` and ``core.json``, the documents of the service and of the server."""
    for name, path in (("service", "api/TxService/1.0/"), ("core", "")):
        url = f"{server.prefix}{path}swagger.json"
        assert httpx.get(url).status_code == 401
        text = httpx.get(url, headers=server.headers).raise_for_status().text
        (tmp_path / f"{name}.json").write_text(text, "utf-8")
    return tmp_path


def check(found: Json) -> None:
    """What both programs print."""
    assert found.pop("called") == {"am_Pred": [ANSWERS[0]]}
    assert [answer["am_Pred"][0] for answer in found.pop("batch")] == ANSWERS
    written = found.pop("written")
    assert written.keys() == {"answer.csv", "never.csv"}
    assert written["never.csv"] is None
    assert found == {
        "refused": 401,
        "missingNumber": None,
        "state": "Complete",
        "files": ["answer.csv"],
        "deleted": True,
        "listed": [
            {"name": "TxService", "version": "1.0", "operationId": "manualTransmission"},
        ],
        "missing": [404, "ServiceNotFound"],
        "status": "pass",
    }


def test_python(server: RunningServer, folder: Path) -> None:
    """In a process of its own: bravado follows references of every schema that is known to
    jsonschema, and other tests make the one of OpenAPI 3.1 known."""
    program = TYPESCRIPT.parent / "python" / "consume.py"
    check(json.loads(run(folder, sys.executable, str(program), address(server), **LOGIN)))


# -- TypeScript: openapi-ts ----------------------------------------------------------------------


def test_the_lock_file_names_no_registry() -> None:
    """Anybody's registry serves it; ``npm install --omit-lockfile-registry-resolved`` wrote it.

    Addresses of sponsors, which npm writes as well, are taken out."""
    lock = json.loads((TYPESCRIPT / "package-lock.json").read_text("utf-8"))
    assert "://" not in json.dumps(lock)
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


def without_node() -> str:
    """Why there is nothing to run the generator with; empty if there is."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node or npm is not installed: the TypeScript client is generated and run with them"
    found = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60)
    version = [int(part) for part in found.stdout.strip().lstrip("v").split(".")[:2]]
    if version < [20, 19]:
        return f"node is {found.stdout.strip()}: the generator of the TypeScript client needs 20.19"
    return ""


@pytest.mark.skipif(bool(why := without_node()), reason=why)
def test_typescript(server: RunningServer, folder: Path) -> None:
    """openapi-ts makes the client, tsc checks it and the program, node runs them."""
    for source in TYPESCRIPT.iterdir():
        if source.is_file():
            shutil.copy(source, folder)
    run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
    run(folder, "node_modules/.bin/openapi-ts")
    run(folder, "node_modules/.bin/tsc")
    check(json.loads(run(folder, "node", "built/consume.js", address(server), **LOGIN)))


def run(folder: Path, *command: str, **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


# -- By hand: curl -------------------------------------------------------------------------------

CURL = r"""
set -eu
login() { printf '{"username": "%s", "password": "%s"}' "$USERNAME" "$PASSWORD"; }
field() { sed -E 's/.*"'"$1"'":"([^"]*)".*/\1/'; }

TOKEN=$(login | curl -sS --fail-with-body "$URL/login" -d @- | field access_token)
AUTH="Authorization: Bearer $TOKEN"
SERVICE=$URL/api/TxService/1.0
curl -sS --fail-with-body -X POST "$SERVICE" -H "$AUTH" -d '{"hp": 120, "wt": 2.8}'
echo
ID=$(printf 'hp,wt\n120,2.8\n110,2.62\n' | curl -sS --fail-with-body \
  -X POST "$SERVICE/batch?parallelCount=2" -H "$AUTH" -H "Content-Type: text/csv" \
  --data-binary @- | field batchExecutionId)
curl -sS --fail-with-body -N "$SERVICE/batch/$ID/events" -H "$AUTH" >/dev/null
curl -sS --fail-with-body "$SERVICE/batch/$ID?results=false" -H "$AUTH"
echo
curl -sS --fail-with-body "$SERVICE/batch/$ID/results?format=csv" -H "$AUTH"
"""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(server: RunningServer, tmp_path: Path) -> None:
    env = {"URL": address(server), **LOGIN}
    called, status, *table = run(tmp_path, "bash", "-c", CURL, **env).splitlines()
    assert json.loads(called)["outputParameters"]["answer"] == {"am_Pred": [ANSWERS[0]]}
    assert json.loads(status)["state"] == "Complete"
    rows = list(csv.DictReader(table))
    assert [float(row["answer.am_Pred"]) for row in rows] == ANSWERS
