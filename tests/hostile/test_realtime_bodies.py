"""Fuzzed bodies for realtime services, JSON and Arrow: 200 or 4xx, and the same process goes on."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from support.running_server import RunningServer, start_server

from jupyter_mlserve import DeployClient, serialize_model

ARROW = "application/vnd.apache.arrow.stream"
BODIES = settings(
    max_examples=1000,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def mixed() -> tuple[Any, pd.DataFrame]:
    """A classifier on numbers, an integer, a flag and two texts, one of them with gaps."""
    made = np.random.default_rng(5)
    n = 120
    frame = pd.DataFrame(
        {
            "age": made.normal(40, 10, n),
            "visits": made.integers(0, 30, n),
            "member": made.random(n) < 0.5,
            "city": made.choice(["Zürich", "Basel", "Bern"], n),
            "plan": made.choice(["a", "b"], n),
        }
    )
    target = np.where(frame["age"] + 10 * frame["member"] > 45, "yes", "no")
    model = make_pipeline(
        make_column_transformer(
            (StandardScaler(), ["age", "visits", "member"]),
            (OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
        ),
        LogisticRegression(max_iter=1000),
    )
    return model.fit(frame, target), frame


def numbers() -> tuple[Any, pd.DataFrame]:
    made = np.random.default_rng(6)
    frame = pd.DataFrame(made.normal(size=(60, 2)), columns=["hp", "wt"])
    return LinearRegression().fit(frame, frame["hp"] * 2 - frame["wt"]), frame


MODELS = {"Mixed": mixed, "Numbers": numbers}
GOOD: dict[str, dict[str, list[Any]]] = {
    "Mixed": {
        "age": [31.5, 60.0],
        "visits": [3, 4],
        "member": [True, False],
        "city": ["Bern", "somewhere"],
        "plan": ["a", "b"],
    },
    "Numbers": {"hp": [1.5], "wt": [-2.0]},
}

cells = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=6)
    | st.sampled_from(["\ue000null", "\ud800", "\x00", "NaN", "1e5", "Bern"])
    | st.sampled_from([2**53, 2**53 + 1, 3.5e38, -1e308, 5e-324, -0.0])
)
values = st.recursive(
    cells,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("hostile"))
    client = DeployClient(running.url, auth=running.token)
    for name, make in MODELS.items():
        model, frame = make()
        client.deploy_realtime(
            name, version="1.0", serialized_model=serialize_model(model, frame, "y")
        )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    headers = {**server.headers, "Content-Type": "application/json"}
    with httpx.Client(base_url=server.prefix, headers=headers, timeout=60) as client:
        yield client


def realtime_pid(http: httpx.Client) -> int:
    pid = http.get("status").json()["components"]["realtime"]["pid"]
    assert isinstance(pid, int)
    return pid


def bodies(good: dict[str, list[Any]]) -> st.SearchStrategy[bytes]:
    """Frames near the right one, as columns or records; or any JSON; or bytes."""
    names = list(good)
    rows = len(next(iter(good.values())))
    column = {
        name: st.just(cells_) | st.lists(cells, min_size=rows, max_size=rows) | values
        for name, cells_ in good.items()
    }
    columns = st.fixed_dictionaries(column) | st.fixed_dictionaries({}, optional=column)
    records = st.lists(
        st.fixed_dictionaries({name: st.just(good[name][0]) | cells for name in names}), max_size=3
    )
    shuffled = st.permutations(names).map(lambda order: {name: good[name] for name in order})
    frame = columns | records | shuffled | values
    whole = st.builds(lambda data: {"inputData": data}, frame) | st.dictionaries(
        st.text(max_size=5) | st.just("inputData"), frame, max_size=2
    )
    as_bytes = whole.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    cut = st.builds(lambda text, end: text[:end], as_bytes, st.integers(0, 60))
    return as_bytes | as_bytes | as_bytes | cut | st.binary(max_size=64)


def check(reply: httpx.Response, sent: bytes) -> None:
    # 413: a stream that claims a billion rows.
    assert reply.status_code in (200, 400, 413), (sent, reply.status_code, reply.text)
    result = json.loads(reply.content, parse_constant=lambda text: pytest.fail(text))
    assert result["success"] is (reply.status_code == 200)
    if reply.status_code != 200:
        assert result["exceptionType"] in ("InvalidInput", "TooLarge"), result
        assert result["message"]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_thousand_fuzzed_json_bodies_give_400_or_200_and_harm_nobody(
    http: httpx.Client, name: str
) -> None:
    good = {"inputData": GOOD[name]}
    assert http.post(f"api/{name}/1.0", json=good).status_code == 200
    pid = realtime_pid(http)

    @BODIES
    @given(body=bodies(GOOD[name]))
    def post(body: bytes) -> None:
        check(http.post(f"api/{name}/1.0", content=body), body)

    post()
    assert realtime_pid(http) == pid, "the realtime process died"
    assert http.post(f"api/{name}/1.0", json=good).status_code == 200


@pytest.mark.parametrize("name", sorted(MODELS))
def test_mutated_arrow_streams_give_400_or_200_and_harm_nobody(
    http: httpx.Client, name: str
) -> None:
    pa = pytest.importorskip("pyarrow")
    made = random.Random(7)
    table = pa.table(GOOD[name])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    good = sink.getvalue()
    headers = {"Content-Type": ARROW}
    assert http.post(f"api/{name}/1.0", content=good, headers=headers).status_code == 200
    pid = realtime_pid(http)
    for _ in range(1000):
        body = bytearray(good)
        for _ in range(made.choice((1, 1, 2, 8))):
            body[made.randrange(len(body))] = made.choice(
                (0, 1, 127, 128, 255, made.randrange(256))
            )
        if made.random() < 0.2:
            del body[made.randrange(len(body)) :]
        sent = bytes(body)
        check(http.post(f"api/{name}/1.0", content=sent, headers=headers), sent)
    assert realtime_pid(http) == pid, "the realtime process died"
    assert http.post(f"api/{name}/1.0", content=good, headers=headers).status_code == 200


@pytest.mark.parametrize("name", sorted(MODELS))
def test_our_own_openapi_document_drives_the_service(
    http: httpx.Client, server: RunningServer, name: str
) -> None:
    """Every JSON reply schemathesis can provoke is described in openapi.json, and none is a 5xx."""
    document = http.get(f"api/{name}/1.0/openapi.json").json()
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and "requestBody" in operation:
                operation["requestBody"]["content"].pop(ARROW)
    schema = schemathesis.openapi.from_dict(document)
    operations = [result.ok() for result in schema.get_all_operations()]
    posts = [operation for operation in operations if operation.method.upper() == "POST"]
    (scoring,) = [operation for operation in posts if "batch" not in operation.path]
    checks = CHECKS.get_by_names(
        ["not_a_server_error", "status_code_conformance", "response_schema_conformance"]
    )
    seen: set[int] = set()

    @settings(BODIES, max_examples=150)
    @given(case=scoring.as_strategy())
    def drive(case: schemathesis.Case) -> None:
        root = httpx.URL(server.url)
        base = httpx.URL(document["servers"][0]["url"]).path.rstrip("/")
        reply = case.call(
            base_url=f"{root.scheme}://{root.host}:{root.port}{base}", headers=server.headers
        )
        case.validate_response(reply, checks=checks)
        seen.add(reply.status_code)

    drive()
    assert 200 in seen
