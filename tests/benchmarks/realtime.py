"""Calls per second of realtime services over HTTP, beside constant replies of the same server;
and 100,000 rows in one Arrow request, beside the session alone."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import httpx
import numpy as np
import pandas as pd
from load import load, need_wrk
from support.running_server import RunningServer, start_server

ROUNDS = 3
ARROW = "application/vnd.apache.arrow.stream"


def models() -> dict[str, tuple[Any, pd.DataFrame]]:
    """Fitted models and frames to prove them on."""
    from lightgbm import LGBMClassifier
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    iris = load_iris(as_frame=True)
    X, y = iris.data, iris.target
    return {
        "iris logistic": (
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, y),
            X,
        ),
        "100 trees": (RandomForestClassifier(100, random_state=0).fit(X, y), X),
        "LightGBM": (LGBMClassifier(n_estimators=100, verbose=-1).fit(X, y), X),
    }


def rates(server: RunningServer, bodies: dict[str, str], folder: Path) -> None:
    targets = {
        "constant APIHandler": (f"{server.url}constant", "{}"),
        "constant lean": (f"{server.url}lean", "{}"),
    }
    for name, body in bodies.items():
        targets[name] = (f"{server.prefix}api/{name.replace(' ', '_')}/1.0", body)
    for url, body in targets.values():
        load(url, server.token, body, 4, folder, seconds=2)
    print(
        f"{'':22}{'connections':>12}{'calls/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'of lean':>9}", end=""
    )
    print(f"{'of APIHandler':>15}")
    for connections in (1, 32):
        runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in targets}
        for _ in range(ROUNDS):
            for name, (url, body) in targets.items():
                runs[name].append(load(url, server.token, body, connections, folder))
        medians = {
            name: [statistics.median(column) for column in zip(*found, strict=True)]
            for name, found in runs.items()
        }
        lean, plain = medians["constant lean"][0], medians["constant APIHandler"][0]
        for name, (rate, p50, p99) in medians.items():
            print(
                f"{name:22}{connections:>12}{rate:>10.0f}{p50:>9.2f}{p99:>9.2f}"
                f"{rate / lean:>9.2f}{rate / plain:>15.2f}"
            )


def seconds(work: Callable[[], Any], times: int = 5) -> float:
    work()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def bulk(server: RunningServer, name: str, container: bytes, frame: pd.DataFrame) -> None:
    import onnxruntime
    import pyarrow as pa

    from jupyter_mlserve.contract.realtime import unpack

    rows = frame.sample(100_000, replace=True, random_state=0).reset_index(drop=True)
    rows += np.random.default_rng(0).normal(0, 0.01, rows.shape)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(unpack(container).model, options)
    (first,) = session.get_inputs()
    matrix = np.ascontiguousarray(rows.to_numpy(np.float64))
    alone = seconds(lambda: session.run(None, {first.name: matrix}))
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pandas(rows, preserve_index=False)
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    body = sink.getvalue().to_pybytes()
    headers = {**server.headers, "Content-Type": ARROW, "Accept": ARROW}
    url = f"{server.prefix}api/{name.replace(' ', '_')}/1.0"
    with httpx.Client(headers=headers, timeout=120) as client:

        def call() -> None:
            client.post(url, content=body).raise_for_status()

        whole = seconds(call)
    print(
        f"{name:22}100,000 rows: session.run {alone * 1e3:.0f} ms, Arrow over HTTP "
        f"{whole * 1e3:.0f} ms, ratio {whole / alone:.2f}"
    )


def main() -> None:
    need_wrk()
    from jupyter_mlserve import DeployClient, serialize_model

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PYTHONPATH"] = str(HERE)
        server = start_server(
            folder, extra=["--ServerApp.jpserver_extensions={'constant_reply': True}"]
        )
        try:
            client = DeployClient(server.url, auth=server.token)
            bodies, containers = {}, {}
            found = models()
            for label, (model, frame) in found.items():
                containers[label] = serialize_model(model, frame)
                client.deploy_realtime(
                    label.replace(" ", "_"), version="1.0", serialized_model=containers[label]
                )
                bodies[label] = json.dumps({"inputData": frame.iloc[:1].to_dict("list")})
            rates(server, bodies, folder)
            for label, (_, frame) in found.items():
                bulk(server, label, containers[label], frame)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
