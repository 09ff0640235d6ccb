"""Every reply that schemathesis can provoke is one that our documents name, and none is a 5xx.

The core API, and the calls and batches of a service, on a server that may be broken. Valid
requests and invalid ones, with made-up names and with those of what is there.
"""

from __future__ import annotations

import copy
import io
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from support.bodies import definition
from support.running_server import RunningServer, start_server

Json = dict[str, Any]
# Each example costs some 20 ms, most of it for making it up.
EXAMPLES = 8
NAME, VERSION = "Fuzzed", "1.0"
# A password is hashed on purpose so that it takes long.
FEW = {"login": 3}
CONFORM = ["not_a_server_error", "status_code_conformance", "response_schema_conformance"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("documented"), base_url="/user/x/")
    yield running
    running.stop()


@pytest.fixture
def known(server: RunningServer) -> dict[str, list[str]]:
    """Parameters that lead to something. What they name may be gone after a while."""
    with httpx.Client(base_url=server.prefix, headers=server.headers, timeout=60) as http:
        body = definition("y = x + 1", outputFileNames=["y.txt"])
        assert http.post(f"services/{NAME}/{VERSION}", json=body).status_code in (201, 409)
        session = http.post("sessions", json={"runtimeType": "Python"}).json()["sessionId"]
        http.post(f"sessions/{session}/workspace/thing", content=b"not a pickle")
        http.post(f"sessions/{session}/files", files={"file": ("a.txt", io.BytesIO(b"a"))})
        snapshot = http.post(f"sessions/{session}/snapshot", json={}).json()["snapshotId"]
        batch = http.post(f"api/{NAME}/{VERSION}/batch", json=[{"x": 1}, {"x": None}]).json()
    return {
        "name": [NAME],
        "version": [VERSION],
        "id": [session, snapshot],
        "snapshotId": [snapshot],
        "objectName": ["thing"],
        "fileName": ["a.txt", "y.txt"],
        "executionId": [batch["batchExecutionId"]],
        "index": [0, 1],  # type: ignore[list-item]
        "sha256": ["0" * 64],
    }


def strict(document: Json) -> Json:
    """Without the answer that would allow every status."""
    found = copy.deepcopy(document)
    for verbs in found["paths"].values():
        for operation in verbs.values():
            operation["responses"].pop("default", None)
    return found


def requests_for(operation: Any, known: dict[str, list[str]]) -> st.SearchStrategy[Any]:
    """Cases; in most of them, those parts of the path that we know lead somewhere."""

    @st.composite
    def cases(draw: Any) -> Any:
        mode = draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
        if not (operation.path_parameters or operation.query or operation.body):
            mode = GenerationMode.POSITIVE
        case = draw(operation.as_strategy(generation_mode=mode))
        for name in case.path_parameters or ():
            if draw(st.integers(0, 3)):
                case.path_parameters[name] = draw(st.sampled_from(known[name]))
        return case

    return cases()


def send(case: Any, server: RunningServer, session: requests.Session) -> int:
    """The status of the reply, which is one of the document."""
    reply = case.call(base_url=server.prefix.rstrip("/"), session=session, timeout=60)
    case.validate_response(reply, checks=CHECKS.get_by_names(CONFORM))
    return int(reply.status_code)


def drive(
    operation: Any,
    known: dict[str, list[str]],
    ask: Callable[[Any], int],
    statuses: set[int],
) -> None:
    name = operation.definition.raw["operationId"]

    @seed(zlib.crc32(name.encode()))
    @settings(
        max_examples=FEW.get(name, EXAMPLES),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=requests_for(operation, known))
    def examples(case: Any) -> None:
        statuses.add(ask(case))

    examples()


@pytest.mark.parametrize("path", [f"api/{NAME}/openapi.json", "openapi.json"])
def test_every_reply_is_documented(
    server: RunningServer, known: dict[str, list[str]], path: str
) -> None:
    document = httpx.get(f"{server.prefix}{path}", headers=server.headers).json()
    schema = schemathesis.openapi.from_dict(strict(document))
    operations = [found.ok() for found in schema.get_all_operations()]
    # What deletes comes last.
    operations.sort(key=lambda one: one.method.upper() == "DELETE")
    seen: dict[str, set[int]] = {}
    with requests.Session() as session:
        session.headers.update(server.headers)
        for operation in operations:
            name = operation.definition.raw["operationId"]
            statuses = seen.setdefault(name, set())
            drive(operation, known, lambda case: send(case, server, session), statuses)
    assert all(seen.values())
    succeeded = {name for name, codes in seen.items() if min(codes) < 300}
    assert len(succeeded) > len(seen) / 2


def test_the_server_is_well_after_all_that(server: RunningServer) -> None:
    with httpx.Client(base_url=server.prefix, headers=server.headers, timeout=60) as http:
        assert http.get("status").json()["statusCode"] == "pass"
        http.post("services/After/1.0", json=definition()).raise_for_status()
        assert http.post("api/After/1.0", json={"x": 1}).json()["outputParameters"] == {"y": 2}
