"""Batches of a million rows: rows a second beside the model itself, memory, and fairness.

    python tests/benchmarks/batch.py [ROWS]

Rows a second of a batch: on the server (from its first chunk to its last), to its end (with the
upload) and with the results in hand, each beside the same work done directly in one process of
this machine, at its best: from frame to frame with a session of ONNX Runtime, ``session.run`` alone
(with all cores, and with one thread), or the published function called with the whole frame. Then
the most memory that each kind of process had, for a quarter of the rows and for all. Last, what
single calls take while a batch runs, and when none does.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

import httpx
import numpy as np
import pandas as pd
from support.batch_http import ARROW, Batches, arrow
from support.running_server import RunningServer, start_server

MIB = 1024 * 1024
ROLES = {  # in the command line of a process
    "compute.realtime": "realtime",
    "jupyter_mlserve.compute": "compute",
    "worker": "worker",
    "store.batches": "child",
    "jupyter_server": "web",
}


# -- what is measured ----------------------------------------------------------------------------


class Memory:
    """The most memory (RSS) of each kind of process below ``pid``, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.most: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            for role, rss in processes(self.pid):
                self.most[role] = max(self.most.get(role, 0), rss)

    def __str__(self) -> str:
        return ", ".join(f"{role} {rss / MIB:.0f}" for role, rss in sorted(self.most.items()))


def processes(root: int) -> Iterator[tuple[str, int]]:
    """Kind and memory (bytes) of the process ``root`` and all below it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(stat[1])
    below = {root}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    for pid in below:
        with contextlib.suppress(OSError, IndexError, ValueError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            rss = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
            role = next((name for part, name in ROLES.items() if part in command), "other")
            yield role, rss


def best(work: Callable[[], Any], times: int = 3) -> float:
    """Seconds: the least of some runs. Whatever else the machine does only adds."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def run(batches: Batches, body: bytes, rows: int) -> dict[str, float]:
    """Seconds of one batch: on the server, to its end, with the results downloaded."""
    began = time.perf_counter()
    id = batches.start(body, ARROW)
    uploaded = time.perf_counter() - began
    status = batches.wait(id, 600)
    ended = time.perf_counter() - began
    assert (status["state"], status["failedItemCount"]) == ("Complete", 0), status
    with httpx.stream(
        "GET",
        f"{batches.url}/{id}/results",
        params={"format": "arrow"},
        headers=batches.server.headers,
        timeout=600,
    ) as reply:
        size = sum(len(piece) for piece in reply.iter_raw())
    downloaded = time.perf_counter() - began
    assert size > rows
    first, last = (datetime.fromisoformat(status[key][:-1]) for key in ("startedAt", "finishedAt"))
    batches.ask("DELETE", f"/{id}").raise_for_status()
    return {
        "upload": uploaded,
        "on the server": (last - first).total_seconds(),
        "to its end": ended,
        "with results": downloaded,
    }


def measure(
    name: str, batches: Batches, frame: pd.DataFrame, direct: Callable[[], dict[str, float]]
) -> bytes:
    """Print rows a second and memory of a batch of the frame; its bytes as Arrow."""
    rows, body = len(frame), arrow(frame)
    run(batches, arrow(frame.iloc[:1000]), 1000)  # workers and sessions are there
    most = []
    for part, some in ((arrow(frame.iloc[: rows // 4]), rows // 4), (body, rows)):
        with Memory(batches.server.pid) as memory:
            found = run(batches, part, some)
        most.append(f"  most MiB of each process, {some:,} rows: {memory}")
    print(f"\n{name}, {rows:,} rows (upload and split {found.pop('upload'):.1f} s)")
    alone = direct()
    for what, seconds in alone.items():
        print(f"  {what:34}{rows / seconds:>12,.0f} rows/s")
    for what, seconds in found.items():
        ratios = ", ".join(f"{spent / seconds:.2f} of {key}" for key, spent in alone.items())
        print(f"  batch, {what:27}{rows / seconds:>12,.0f} rows/s   {ratios}")
    print("\n".join(most), flush=True)
    return body


# -- realtime ------------------------------------------------------------------------------------


def realtime_models() -> dict[str, tuple[Any, pd.DataFrame]]:
    from lightgbm import LGBMClassifier
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = load_iris(return_X_y=True, as_frame=True)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return {
        "iris logistic": (logistic.fit(X, y), X),
        "forest": (RandomForestClassifier(100, random_state=0).fit(X, y), X),
        "LightGBM": (LGBMClassifier(n_estimators=100, verbose=-1).fit(X, y), X),
    }


def many(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    made = frame.sample(rows, replace=True, random_state=0).reset_index(drop=True)
    noise = np.random.default_rng(0).normal(0, 0.01, made.shape)
    return made + noise


def direct_onnx(container: bytes, frame: pd.DataFrame) -> dict[str, float]:
    """Seconds for the frame in one process: from frame to frame, and of ``session.run`` alone."""
    import onnxruntime

    from jupyter_mlserve.contract.realtime import unpack

    def scorer(threads: int) -> Callable[[Any], list[Any]]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(unpack(container).model, options)
        (first,) = session.get_inputs()
        return lambda matrix: list(session.run(None, {first.name: matrix}))

    matrix = np.ascontiguousarray(frame.to_numpy(np.float64))
    all_cores, one_core = scorer(0), scorer(1)

    def frame_to_frame() -> Any:
        found = all_cores(np.ascontiguousarray(frame.to_numpy(np.float64)))
        return pd.concat([pd.DataFrame(tensor) for tensor in found], axis=1)

    return {
        "frame to frame": best(frame_to_frame),
        "session.run": best(lambda: all_cores(matrix)),
        "one thread": best(lambda: one_core(matrix)),
    }


# -- standard ------------------------------------------------------------------------------------


def pipeline() -> tuple[Any, pd.DataFrame]:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = ["a", "b", "c", "d"]
    steps = (StandardScaler(), PolynomialFeatures(3), LogisticRegression(max_iter=5000))
    return make_pipeline(*steps).fit(X, y), X


PREDICT = """
import pandas as pd
y = pd.DataFrame(model.predict_proba(df), columns=["p0", "p1", "p2"])
"""


def predict(model: Any, df: Any) -> Any:
    return pd.DataFrame(model.predict_proba(df), columns=["p0", "p1", "p2"])


# -- fairness ------------------------------------------------------------------------------------


def latencies(url: str, server: RunningServer, body: Any, until: Callable[[], bool]) -> list[float]:
    """Seconds of calls, one after the other, until told."""
    found = []
    with httpx.Client(headers=server.headers, timeout=60) as client:
        while not until():
            began = time.perf_counter()
            client.post(url, json=body).raise_for_status()
            found.append(time.perf_counter() - began)
            time.sleep(0.01)
    return found


def fairness(name: str, batches: Batches, body: bytes, call: Any) -> None:
    url = batches.url.removesuffix("/batch")
    deadline = time.monotonic() + 3
    idle = latencies(url, batches.server, call, lambda: time.monotonic() > deadline)
    id = batches.start(body, ARROW)
    ended = threading.Event()

    def wait() -> None:
        batches.wait(id, 600)
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    busy = latencies(url, batches.server, call, ended.is_set)
    batches.ask("DELETE", f"/{id}").raise_for_status()
    print(f"\n{name}: single calls, milliseconds")
    for what, found in (("no batch", idle), ("during one", busy)):
        ordered = sorted(found)
        p99 = ordered[int(len(ordered) * 0.99)]
        print(
            f"  {what:12} p50 {statistics.median(found) * 1e3:>8.1f}  p99 {p99 * 1e3:>8.1f}  "
            f"max {ordered[-1] * 1e3:>8.1f}  ({len(found)} calls)"
        )


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    from jupyter_mlserve import DeployClient, serialize_model

    with tempfile.TemporaryDirectory() as folder:
        server = start_server(Path(folder))
        try:
            client = DeployClient(server.url, auth=server.token)
            calls: list[tuple[str, Batches, bytes, Any]] = []
            for name, (model, sample) in realtime_models().items():
                container = serialize_model(model, sample)
                service = name.replace(" ", "_")
                client.deploy_realtime(service, version="1.0", serialized_model=container)
                batches, frame = Batches(server, f"{service}/1.0"), many(sample, rows)
                body = measure(name, batches, frame, lambda c=container, f=frame: direct_onnx(c, f))
                call = {"inputData": sample.iloc[:1].to_dict("list")}
                calls.append((name, batches, body, call))

            model, sample = pipeline()

            client.deploy_service(
                "pipeline",
                version="1.0",
                code_str=PREDICT,
                models={"model": model},
                inputs={"df": "DataFrame[a: float, b: float, c: float, d: float]"},
                outputs={"y": "DataFrame"},
                sample={"df": sample.iloc[::30]},
                batchable=True,
            )
            batches, frame = Batches(server, "pipeline/1.0"), many(sample, rows)
            body = measure(
                "batchable pipeline",
                batches,
                frame,
                lambda: {"the function": best(lambda: predict(model, frame))},
            )
            calls.append(("pipeline", batches, body, {"df": sample.iloc[:1].to_dict("list")}))
            for name, batches, body, call in calls:
                fairness(name, batches, body, call)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
