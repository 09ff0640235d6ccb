"""A thousand fuzzed bodies per service: no 5xx, no dead worker, and the right replies go on."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS
from support.running_server import RunningServer, start_server

from jupyter_mlserve import DeployClient

SERVICES: dict[str, dict[str, Any]] = {
    "Scalars": {
        "inputs": "f: float, i: int, b: bool, s: str, o: float = 2.5",
        "outputs": "y: float, t: str",
        "code": "y = f * i + o if b else float(i)\nt = s.upper()\n",
        "good": {"f": 1.5, "i": 2, "b": True, "s": "é"},
    },
    "Frames": {
        "inputs": "df: DataFrame[hp: float, n: int, name: str, when: datetime?], free: DataFrame",
        "outputs": "out: DataFrame",
        "code": "out = df.assign(rows=len(free))\n",
        "good": {
            "df": {"hp": [1.0], "n": [2], "name": ["a"], "when": [None]},
            "free": [{"a": 1}, {"a": None}],
        },
    },
    "Arrays": {
        "inputs": "v: vector, m: matrix, when: datetime, raw: bytes, items: list, more: dict",
        "outputs": "v: vector, m: matrix, when: datetime, raw: bytes, items: list, more: dict",
        "code": "pass\n",
        "good": {
            "v": [1, 2.5],
            "m": [[1, 2], [3, 4]],
            "when": "2026-01-31T12:00:00",
            "raw": base64.b64encode(b"x").decode(),
            "items": [1, "a", None],
            "more": {"a": [1]},
        },
    },
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text()
    | st.sampled_from(["2026-01-01", "9999-99-99", "AAAA", "=", "NaN", "\ud800", "\x00", "1e5"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("hostile"))
    client = DeployClient(running.url, auth=running.token)
    for name, service in SERVICES.items():
        client.deploy_service(
            name,
            version="1.0",
            code_str=service["code"],
            inputs=service["inputs"],
            outputs=service["outputs"],
            sample=service["good"],
        )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"token {server.token}", "Content-Type": "application/json"}
    base = f"{server.url.rstrip('/')}/mlserve/"
    with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
        yield client


def worker_pids(http: httpx.Client, name: str) -> set[int]:
    pools = http.get("status").json()["components"]["compute"]["pools"]
    return {pid for pool in pools if pool["name"] == name for pid in pool["pids"]}


def mutated(good: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Bodies near the right one (a value replaced, left out, added), or any JSON or bytes."""
    replaced = st.fixed_dictionaries(
        {}, optional={key: st.just(value) | json_values for key, value in good.items()}
    )
    extra = st.dictionaries(st.text(max_size=5), json_values, max_size=1)
    near = st.builds(lambda a, b: {**a, **b}, replaced, extra)
    as_bytes = (near | json_values).map(lambda value: json.dumps(value).encode("utf-8"))
    cut = st.builds(lambda text, end: text[:end], as_bytes, st.integers(0, 60))
    return as_bytes | as_bytes | cut | st.binary(max_size=64)


def has_nan(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(has_nan(item) for item in value.values())
    return isinstance(value, list) and any(has_nan(item) for item in value)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_thousand_fuzzed_bodies_give_400_or_200_and_harm_nobody(
    http: httpx.Client, name: str
) -> None:
    good = SERVICES[name]["good"]
    assert http.post(f"api/{name}/1.0", json=good).status_code == 200
    workers = worker_pids(http, name)
    assert workers

    @settings(
        max_examples=1000,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(body=mutated(good))
    def post(body: bytes) -> None:
        reply = http.post(f"api/{name}/1.0", content=body)
        assert reply.status_code in (200, 400), (body, reply.status_code, reply.text)
        result = json.loads(reply.content, parse_constant=lambda text: pytest.fail(text))
        assert result["success"] is (reply.status_code == 200)
        if reply.status_code == 400:
            assert result["exceptionType"] in ("InvalidInput", "ServiceFailed"), result
            assert result["message"]

    post()
    assert worker_pids(http, name) == workers, "a worker died and was replaced"
    assert http.post(f"api/{name}/1.0", json=good).status_code == 200


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_our_own_openapi_document_drives_the_service(
    http: httpx.Client, server: RunningServer, name: str
) -> None:
    """Every reply schemathesis can provoke is described in openapi.json, and none is a 5xx."""
    document = http.get(f"api/{name}/1.0/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    operations = [result.ok() for result in schema.get_all_operations()]
    scoring = [op for op in operations if op.method.upper() == "POST" and "batch" not in op.path]
    assert len(scoring) == 1
    checks = CHECKS.get_by_names(
        ["not_a_server_error", "status_code_conformance", "response_schema_conformance"]
    )
    seen: set[int] = set()

    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=scoring[0].as_strategy())
    def drive(case: schemathesis.Case) -> None:
        root = httpx.URL(server.url)
        reply = case.call(
            base_url=f"{root.scheme}://{root.host}:{root.port}{document_base(document)}",
            headers={"Authorization": f"token {server.token}"},
        )
        case.validate_response(reply, checks=checks)
        seen.add(reply.status_code)

    drive()
    assert 200 in seen


def document_base(document: dict[str, Any]) -> str:
    path = httpx.URL(document["servers"][0]["url"]).path
    return path.rstrip("/")
