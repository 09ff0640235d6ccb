"""DeployClient on a real server: the published client's forms, and what ours does beyond them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from support.running_server import RunningServer

from jupyter_mlserve import DeployClient
from jupyter_mlserve.client.deploy import MLServer
from jupyter_mlserve.contract.errors import (
    InvalidDefinition,
    InvalidInput,
    NotAuthenticated,
    ServiceFailed,
    ServiceNotFound,
    VersionDeleted,
    VersionExists,
)

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "notebooks" / "mtcars.csv"


@pytest.fixture(scope="module")
def author(server: RunningServer) -> Any:
    """What the script of an author, run as a script, got from the server."""
    program = HERE / "programs" / "author.py"
    command = [sys.executable, str(program), server.url, server.token, str(DATA)]
    done = subprocess.run(command, capture_output=True, text=True, env=server.env, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_published_programs_fluent_form(author: Any) -> None:
    fluent = author["fluent"]
    assert fluent["answer"] == pytest.approx([0.5332668559970368], abs=1e-12)
    assert fluent["csv"].startswith("am_Pred\n0.533266855997")
    assert fluent["console"] == "scoring\n"
    assert fluent["capabilities"]["operation_id"] == "manualTransmission"
    assert fluent["capabilities"]["inputs_encoded"] == [
        {"name": "hp", "type": "float"},
        {"name": "wt", "type": "float"},
    ]
    assert fluent["swagger"] == "TxFluent"
    assert fluent["openapi"].startswith("3.1")
    assert author["redeployed"] == {
        "description": "updated",
        "answer": fluent["answer"],
        "artifacts": ["answer.csv"],
    }
    assert author["versions"] == [["TxFluent", "1.0"]]
    assert author["deleted"] is True


def test_what_a_function_uses_travels_with_it(author: Any) -> None:
    """Helpers, constants, a class of its own; types come from annotations; a GUID for a version."""
    assert author["helpers"] == [36, [{"name": "x", "type": "numeric"}], [42.0]]
    assert author["new value"] == [84.0]
    assert author["own class"] == 21
    assert author["new code"] == 22, "code alone keeps the objects and the classes they need"


def test_init_runs_once_per_worker(author: Any) -> None:
    """Each of several workers counts for itself; none starts again at every call."""
    first, second = author["init"]
    assert first == 1
    assert second in (1, 2)


def test_the_published_programs_dict_form(client: DeployClient) -> None:
    cars = pd.read_csv(DATA)
    service: Any = client.deploy_service(
        "TxDict",
        version="2.0",
        code_str="answer = model.predict([[hp, wt]])[0] + offset",
        init_str="offset = 100",
        inputs={"hp": "float", "wt": "float"},
        outputs={"answer": float},
        models={"model": LinearRegression().fit(cars[["hp", "wt"]].to_numpy(), cars["am"])},
        alias="predict",
        description="by text",
    )
    assert service.predict(120, 2.8).output("answer") == pytest.approx(100.5332668559970368)
    assert service.definition["code"] == "answer = model.predict([[hp, wt]])[0] + offset"
    assert service.definition["initCode"] == "offset = 100"


def test_a_program_for_the_published_client_needs_another_import_only(
    server: RunningServer,
) -> None:
    client = DeployClient(server.prefix.rstrip("/"), use=MLServer, auth=server.token)
    assert isinstance(client.list_services(), list)
    assert DeployClient(server.url, use="MLServer", auth=server.token).address == client.address
    with pytest.raises(ValueError, match="MLServer only"):
        DeployClient(server.url, use="AzureML", auth=server.token)
    with pytest.raises(ValueError, match="must be a token"):
        DeployClient(server.url, auth=["admin", "password"])  # type: ignore[arg-type]
    with pytest.raises(NotAuthenticated, match="the token is refused"):
        DeployClient(server.url, auth="wrong")


def test_files_that_the_code_reads(client: DeployClient, tmp_path: Path) -> None:
    (tmp_path / "lookup.csv").write_text("a,b\n1,one\n2,two\n")
    service: Any = client.deploy_service(
        "Lookup",
        version="1",
        code_str="import csv\nfound = {r['a']: r['b'] for r in csv.DictReader(open('lookup.csv'))}"
        "\nword = found[key]",
        inputs={"key": str},
        outputs={"word": str},
        files=[tmp_path / "lookup.csv"],
    )
    assert service.consume("2").output("word") == "two"
    (tmp_path / "lookup.csv").write_text("a,b\n2,zwei\n")
    service = client.service("Lookup").files([tmp_path / "lookup.csv"]).redeploy()
    assert service.consume("2").output("word") == "zwei"


def test_workers_of_a_version(client: DeployClient) -> None:
    service: Any = (
        client.service("Pooled")
        .version("1")
        .code_str("open('out.txt', 'w').write(str(x)); y = x", "z = 1")
        .inputs(x=int)
        .outputs(y=int)
        .artifact("out.txt")
        .pool(initial=1, max=3)
        .sample(x=1)
        .deploy()
    )
    assert service.definition["mlserve"]["pool"] == {"initial": 1, "max": 3}
    assert service.consume(5).artifact("out.txt") == b"5"
    service = client.redeploy_service("Pooled", pool={"max": 4}, init_str="z = 2")
    assert service.definition["mlserve"]["pool"]["max"] == 4
    assert service.definition["initCode"] == "z = 2"


def test_all_kinds_of_inputs_there_and_back(client: DeployClient) -> None:
    service: Any = client.deploy_service(
        "Kinds",
        version="1",
        code_str="f2 = f * 2\nv2 = v * 2\nm2 = m * 2\nd2 = d\nb2 = b + b'!'\nl2 = l\nt2 = t",
        inputs="f: DataFrame[a: float, s: str], v: numpy.array, m: numpy.matrix, d: dict, "
        "b: bytes, l: list = [1], t: str = 'x'",
        outputs="f2: DataFrame, v2: numpy.array, m2: numpy.matrix, d2: dict, b2: bytes, "
        "l2: list, t2: str",
    )
    frame = pd.DataFrame({"a": [1.0, float("nan")], "s": ["u", None]})
    reply = service.consume(frame, np.array([1.5, 2.5]), np.eye(2), {"k": [1]}, b"hi")
    assert reply.output("f2")["a"].tolist()[0] == 2.0
    assert reply.output("v2").tolist() == [3.0, 5.0]
    assert reply.output("m2").tolist() == [[2.0, 0.0], [0.0, 2.0]]
    assert (reply.output("d2"), reply.output("b2")) == ({"k": [1]}, b"hi!")
    assert (reply.output("l2"), reply.output("t2")) == ([1], "x")
    with pytest.raises(InvalidInput) as caught:
        service.consume(frame[["s", "a"]], np.array([1.0]), np.eye(2), {}, b"")
    assert caught.value.field.startswith("f")


def test_redeploy_without_a_version_takes_the_newest(client: DeployClient) -> None:
    for version in ("1", "2"):
        client.deploy_service("Newest", version, code_str="y = 1", inputs={}, outputs={"y": int})
    assert client.service("Newest").description("new").redeploy().version == "2"
    assert client.get_service("Newest").version == "2"
    assert client.get_service("Newest", "1").definition["description"] is None


def test_redeploy_of_code_uses_the_inputs_and_objects_there_are(client: DeployClient) -> None:
    client.deploy_service(
        "KeepsObjects",
        version="1",
        code_str="y = x + table['a']",
        objects={"table": {"a": 1}},
        inputs={"x": int},
        outputs={"y": int},
    )
    service: Any = client.redeploy_service("KeepsObjects", code_str="y = x - table['a']")
    assert service.consume(10).output("y") == 9
    service = client.redeploy_service("KeepsObjects", objects={"table": {"a": 5}})
    assert service.consume(10).output("y") == 5
    service = client.redeploy_service("KeepsObjects", inputs={"x": float}, outputs={"y": float})
    assert service.consume(0.5).output("y") == -4.5
    service = client.redeploy_service(
        "KeepsObjects", code_str="y = x + table['a'] + more[0]", objects={"more": [100]}
    )
    assert service.consume(0.5).output("y") == 105.5


def test_rollback_and_history(client: DeployClient) -> None:
    for amount in (1, 2, 3):
        client.deploy_service(
            "Rolls",
            "1",
            code_str=f"y = x + {amount}",
            inputs={"x": int},
            outputs={"y": int},
            update=True,
        )
    service: Any = client.rollback("Rolls", "1")
    assert service.consume(0).output("y") == 2
    service = client.rollback("Rolls", "1", state=1)
    assert service.consume(0).output("y") == 1
    assert [event["action"] for event in client.history("Rolls", "1")] == [
        "publish",
        "update",
        "update",
        "rollback",
        "rollback",
    ]


def test_list_get_delete(client: DeployClient) -> None:
    for version in ("1.0", "2.0"):
        client.deploy_service("Listed", version, code_str="y=1", inputs={}, outputs={"y": int})
    assert [found["version"] for found in client.list_services("Listed")] == ["1.0", "2.0"]
    assert ("Listed", "2.0") in {(s["name"], s["version"]) for s in client.list_services()}
    old: Any = client.get_service("Listed", version="1.0")
    assert client.delete_service("Listed", version="1.0") is True
    with pytest.raises(VersionDeleted):
        old.consume()
    with pytest.raises(VersionDeleted):
        client.delete_service("Listed", version="1.0")
    assert [found["version"] for found in client.list_services("Listed")] == ["2.0"]
    with pytest.raises(ServiceNotFound, match="There is no service 'Nobody'"):
        client.get_service("Nobody")
    with pytest.raises(ServiceNotFound):
        client.get_service("Listed", version="9")


def test_failing_code_gives_its_message_and_the_owner_the_traceback(client: DeployClient) -> None:
    service: Any = client.deploy_service(
        "Fails",
        version="1",
        code_str="print('so far')\ny = x.undefined",
        inputs={"x": int},
        outputs={"y": int},
    )
    with pytest.raises(ServiceFailed) as caught:
        service.consume(1)
    assert caught.value.message.startswith("Fails 1: AttributeError: ")
    assert "y = x.undefined" in caught.value.traceback
    assert "jupyter_mlserve" not in caught.value.traceback
    assert caught.value.details["console"] == "so far\n"


def test_deploying_twice_is_a_conflict_unless_it_is_an_update(client: DeployClient) -> None:
    parts: dict[str, Any] = {"inputs": {"x": int}, "outputs": {"y": int}}
    client.deploy_service("Twice", "1", code_str="y = x", **parts)
    client.deploy_service("Twice", "1", code_str="y = x", **parts)
    with pytest.raises(VersionExists):
        client.deploy_service("Twice", "1", code_str="y = -x", **parts)
    service: Any = client.deploy_service("Twice", "1", code_str="y = -x", update=True, **parts)
    assert service.consume(3).output("y") == -3


def test_mistakes_are_named(client: DeployClient) -> None:
    with pytest.raises(TypeError, match=r"no part 'input'\. Did you mean inputs\?"):
        client.deploy_service("Wrong", code_str="y=1", input={})
    with pytest.raises(InvalidDefinition, match="There is no code"):
        client.deploy_service("Wrong", inputs={})
    with pytest.raises(InvalidDefinition, match="not both"):
        client.deploy_service("Wrong", code_str="y=1", code_fn=len)
    client.deploy_service("Right", "1", code_str="y = 1", inputs={}, outputs={"y": int})
    with pytest.raises(InvalidDefinition, match="Nothing to update"):
        client.redeploy_service("Right")
    with pytest.raises(InvalidDefinition, match="list of file names"):
        client.deploy_service("Wrong", code_str="y=1", artifacts="a.csv")
    handle = open(__file__)  # noqa: SIM115
    with handle, pytest.raises(InvalidDefinition, match="handle"):
        client.deploy_service(
            "Wrong", code_str="y = handle", objects={"handle": handle}, outputs={"y": str}
        )


def test_inside_a_running_event_loop(client: DeployClient) -> None:
    async def work() -> int:
        service: Any = client.deploy_service(
            "InLoop", "1", code_str="y = x", inputs={"x": int}, outputs={"y": int}, update=True
        )
        return int(service.consume(5).output("y"))

    assert asyncio.run(work()) == 5
