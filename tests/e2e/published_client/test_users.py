"""Users of the published client who sign in with a name and a password, as its programs do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from support import published_client
from support.running_server import RunningServer

from jupyter_mlserve import serialize_model

from .test_calling import ANSWER, error_of

TESTS = Path(__file__).parents[2]
PROGRAM = TESTS / "e2e" / "programs" / "published_client.py"
# The first account is the administrator.
PASSWORDS = {"bea": "the first of the accounts", "cyd": "an author as any other"}


@pytest.fixture(scope="module")
def accounts(server: RunningServer) -> None:
    for name, password in PASSWORDS.items():
        subprocess.run(
            [
                sys.executable,
                "-m",
                "jupyter_mlserve.cli.main",
                "user",
                "add",
                name,
                "--password-stdin",
            ],
            input=password.encode(),
            env=server.env,
            check=True,
        )


def signed_in(server: RunningServer, name: str, password: str | None = None) -> Any:
    deploy_client, ml_server = published_client.load()
    auth = (name, password or PASSWORDS[name])
    return deploy_client(server.prefix, use=ml_server, auth=auth)


@pytest.mark.usefixtures("accounts")
def test_a_wrong_password_is_refused(server: RunningServer) -> None:
    refused = error_of(lambda: signed_in(server, "bea", "a guess at it"))
    assert refused.status == 401
    assert json.loads(refused.body)["message"]


@pytest.mark.usefixtures("accounts")
def test_two_programs_of_two_users_at_once(
    server: RunningServer, tmp_path: Path, cars: pd.DataFrame, cars_model: LinearRegression
) -> None:
    model = tmp_path / "model"
    model.write_bytes(serialize_model(cars_model, cars[["hp", "wt", "am"]], "am"))
    running = {}
    for name in ("bea", "cyd"):
        running[name] = subprocess.Popen(
            [sys.executable, str(PROGRAM), server.prefix, f"Of{name}", str(model)],
            env={
                **os.environ,
                "PYTHONPATH": str(TESTS),
                "USERNAME": name,
                "PASSWORD": PASSWORDS[name],
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    for name, process in running.items():
        try:
            printed, complained = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == 0, complained
        seen = json.loads(printed)
        for answer in (seen["first"], seen["second"]):
            assert answer["am_Pred"] == pytest.approx([ANSWER], abs=1e-12)
            assert answer["answer.csv"].startswith("am_Pred\n0.53326685599703")
            assert (answer["never.png"], answer["console"], answer["error"]) == (None, "", "")
        assert seen["description"] == "second"
        assert seen["permissions"] == ["read/write"]
        assert seen["batch"]["state"] == "Complete"
        assert seen["batch"]["values"] == pytest.approx([0.5922041177822379, ANSWER], abs=1e-12)
        assert seen["batch"]["files"] == ["answer.csv"]
        assert seen["realtime"] == pytest.approx([ANSWER], abs=1e-12)
        assert seen[f"deleted Of{name}"] is seen[f"deleted Of{name}RT"] is True


@pytest.mark.usefixtures("accounts")
def test_what_belongs_to_another_is_called_but_neither_read_nor_changed(
    server: RunningServer,
) -> None:
    bea, cyd = (signed_in(server, name) for name in ("bea", "cyd"))
    bea.deploy_service(
        "Beas", version="1", code_str="y = x + 1", inputs={"x": int}, outputs={"y": int}
    )
    (item,) = cyd.list_services("Beas")
    assert item["versionPublishedBy"] == "bea"
    assert item["myPermissionOnService"] == "read only"
    assert (item["code"], item["initCode"]) == (None, None)
    service = cyd.get_service("Beas")
    assert service.consume(41).output("y") == 42
    batch = service.batch({"x": [1]}).start()
    assert bea.get_service("Beas").list_batch_executions() == []  # each has their own
    batch.cancel()
    for refused in (
        error_of(lambda: cyd.delete_service("Beas", version="1")),
        error_of(lambda: cyd.service("Beas").version("1").description("mine").redeploy()),
        error_of(lambda: cyd.service("Beas").version("2").code_str("y = 1").deploy()),
    ):
        assert refused.status == 403
        assert "bea" in json.loads(refused.body)["message"]
    cyd.deploy_service("Cyds", version="1", code_str="y = 1", outputs={"y": int})
    (item,) = bea.list_services("Cyds")
    assert item["myPermissionOnService"] == "read/write"  # an administrator, beside the author
    assert item["code"] == "y = 1"
    assert bea.delete_service("Cyds", version="1") is True
