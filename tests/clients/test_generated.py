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
import time
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
USERNAME = "consumer"
# am_Pred of mtcars, by am ~ hp + wt, for the two records below.
RECORDS = [{"hp": 120, "wt": 2.8}, {"hp": 110, "wt": 2.62}]
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

# What bravado uses of jsonschema is not new.
pytestmark = [
    pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Accessing .*resolver:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("clients"), base_url="/user/x/")
    try:
        add_accounts(running, USERNAME)
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
    weights, *_ = np.linalg.lstsq(known, np.array([float(car["am"]) for car in cars]))
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


def document(server: RunningServer, path: str) -> Json:
    """As the author or administrator hands it to who writes a client."""
    reply = httpx.get(f"{server.prefix}{path}/swagger.json".replace("//s", "/s"))
    assert reply.status_code == 401
    reply = httpx.get(reply.url, headers=server.headers)
    found: Json = reply.raise_for_status().json()
    return found


# -- Python: bravado -----------------------------------------------------------------------------


def test_python(server: RunningServer) -> None:
    """bravado makes the client when it reads the document, and validates both directions."""
    from bravado.client import SwaggerClient
    from bravado.exception import HTTPNotFound, HTTPUnauthorized
    from bravado.requests_client import RequestsClient

    http = RequestsClient()

    def client(spec: Json) -> Any:
        return SwaggerClient.from_spec(spec, server.url, http, {"also_return_response": False})

    service = client(document(server, "api/TxService/1.0"))
    core = client(document(server, ""))
    login = {"username": USERNAME, "password": PASSWORD}
    with pytest.raises(HTTPUnauthorized):
        service.User.login(loginRequest={**login, "password": "wrong"}).result()
    with pytest.raises(HTTPUnauthorized):
        core.Services_Management_APIs.getAllWebServices().result()
    tokens = service.User.login(loginRequest=login).result()
    http.set_api_key(
        httpx.URL(server.url).netloc.decode(),
        f"Bearer {tokens.access_token}",
        "Authorization",
        "header",
    )

    result = service.TxService.manualTransmission(WebServiceParameters=RECORDS[0]).result()
    assert result.success is True
    assert result.outputParameters.answer["am_Pred"] == [ANSWERS[0]]
    assert result.outputParameters.missing is None
    assert set(result.outputFiles) == {"answer.csv", "never.csv"}
    assert result.outputFiles["never.csv"] is None

    started = service.TxService.StartBatchExecution(
        BatchWebServiceParameters=RECORDS, parallelCount=2
    ).result()
    key = started.batchExecutionId
    done = eventually(
        lambda: service.TxService.GetBatchExecutionStatus(executionId=key).result(),
        lambda status: status.state == "Complete",
    )
    found = [one.outputParameters.answer["am_Pred"][0] for one in done.batchExecutionResults]
    assert found == ANSWERS
    names = service.TxService.GetBatchExecutionFiles(executionId=key, index=1).result()
    assert names == ["answer.csv"]
    content = service.TxService.GetBatchExecutionFile(
        executionId=key, index=1, fileName="answer.csv"
    ).result()
    assert content.startswith(b"am_Pred")
    assert service.TxService.CancelAndDeleteBatchExecution(executionId=key).result() == [key]

    versions = core.Services_Management_APIs.getAllWebServiceVersionsByName(name="TxService")
    assert [(one.name, one.version) for one in versions.result()] == [("TxService", "1.0")]
    with pytest.raises(HTTPNotFound) as missing:
        core.Services_Management_APIs.getWebServiceVersion(name="None", version="1").result()
    assert missing.value.swagger_result.exceptionType == "ServiceNotFound"
    assert core.Status_APIs.status().result().statusCode == "pass"


def eventually(ask: Any, holds: Any, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not holds(found := ask()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


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
def test_typescript(server: RunningServer, tmp_path: Path) -> None:
    folder = tmp_path / "typescript"
    folder.mkdir()
    for source in TYPESCRIPT.iterdir():
        if source.is_file():
            shutil.copy(source, folder)
    for name, path in (("service", "api/TxService/1.0"), ("core", "")):
        (folder / f"{name}.json").write_text(json.dumps(document(server, path)), "utf-8")
    quiet = ["--no-audit", "--no-fund", "--no-update-notifier"]
    run(folder, "npm", "ci", "--ignore-scripts", *quiet)
    run(folder, "node_modules/.bin/openapi-ts")
    run(folder, "node_modules/.bin/tsc")
    credentials = {"USERNAME": USERNAME, "PASSWORD": PASSWORD}
    found = json.loads(
        run(folder, "node", "built/consume.js", server.prefix.rstrip("/"), **credentials)
    )
    assert found.pop("called") == {"am_Pred": [ANSWERS[0]]}
    assert [answer["am_Pred"][0] for answer in found.pop("batch")] == ANSWERS
    assert found.pop("written").keys() == {"answer.csv", "never.csv"}
    assert found == {
        "refused": 401,
        "state": "Complete",
        "files": ["answer.csv"],
        "deleted": True,
        "listed": [
            {"name": "TxService", "version": "1.0", "operationId": "manualTransmission"},
        ],
        "missing": [404, "ServiceNotFound"],
        "status": "pass",
    }


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
    env = {"URL": server.prefix.rstrip("/"), "USERNAME": USERNAME, "PASSWORD": PASSWORD}
    called, status, *table = run(tmp_path, "bash", "-c", CURL, **env).splitlines()
    assert json.loads(called)["outputParameters"]["answer"] == {"am_Pred": [ANSWERS[0]]}
    assert json.loads(status)["state"] == "Complete"
    rows = list(csv.DictReader(table))
    assert [float(row["answer.am_Pred"]) for row in rows] == ANSWERS
