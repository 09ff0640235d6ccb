"""What a realtime call costs inside the compute node, beside ONNX Runtime itself.

    python tests/benchmarks/realtime_scoring.py [ROWS]

One row, JSON bytes to JSON bytes, beside ``session.run`` plus parsing and writing the same JSON
with orjson; then ROWS (100,000) rows as Arrow and as JSON, beside ``session.run`` of all of them.
Exits with 1 if one row costs more than twice, or Arrow more than 1.5 times as much. Last, the ways
to decode one row that were compared: the fastest that keeps every rule was taken.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

import lightgbm
import msgspec
import numpy as np
import orjson
import pyarrow as pa
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from jupyter_mlserve.compute.protocol import keep_large_buffers
from jupyter_mlserve.compute.realtime.scoring import Scorer
from jupyter_mlserve.compute.realtime.sessions import open_session
from jupyter_mlserve.contract.realtime import unpack
from jupyter_mlserve.notebook.compile import serialize_model

ONE_ROW, ARROW = 2.0, 1.5  # times
MODELS = {
    "logistic regression": LogisticRegression(max_iter=500),
    "forest of 100 trees": RandomForestClassifier(100, random_state=0),
    "LightGBM": lightgbm.LGBMClassifier(verbose=-1),
}


def interleaved(functions: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Seconds of one call of each: the least of rounds in which all take turns.

    Whatever else the machine does only adds to the others.
    """
    loops = {
        name: max(1, int(seconds / max(timeit.timeit(f, number=3) / 3, 1e-7)))
        for name, f in functions.items()
    }
    rounds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(9):
        for name, f in functions.items():
            rounds[name].append(timeit.timeit(f, number=loops[name]) / loops[name])
    return {name: min(found) for name, found in rounds.items()}


def one_row(scorer: Scorer, session: Any, names: list[str]) -> float:
    body = orjson.dumps({"inputData": {name: [5.1] for name in names}})
    result = orjson.loads(scorer.score(body))
    feeds = {"numbers": np.full((1, len(names)), 5.1)}
    tensors = scorer.schema.tensors
    found = interleaved(
        {
            "run": lambda: session.run(tensors, feeds),
            "parse": lambda: orjson.loads(body),
            "write": lambda: orjson.dumps(result),
            "score": lambda: scorer.score(body),
        },
        0.03,
    )
    floor = found["run"] + found["parse"] + found["write"]
    print(
        f"  one row: session.run {found['run'] * 1e6:.1f} us, orjson parse and write "
        f"{(found['parse'] + found['write']) * 1e6:.1f}, scored in {found['score'] * 1e6:.1f}: "
        f"{found['score'] / floor:.2f} times"
    )
    return found["score"] / floor


def many_rows(scorer: Scorer, session: Any, names: list[str], rows: int) -> float:
    made = np.random.default_rng(0)
    data = {name: made.normal(3, 2, rows) for name in names}
    table, sink = pa.table(data), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream = sink.getvalue().to_pybytes()
    lists = {name: values.tolist() for name, values in data.items()}
    columns = orjson.dumps({"inputData": lists})
    records = orjson.dumps(
        {
            "inputData": [
                dict(zip(names, row, strict=True)) for row in zip(*lists.values(), strict=True)
            ]
        }
    )
    del lists
    feeds = {"numbers": np.column_stack(list(data.values()))}
    found = interleaved(
        {
            "session.run": lambda: session.run(scorer.schema.tensors, feeds),
            "Arrow": lambda: scorer.score(stream, "aa"),
            "Arrow to JSON": lambda: scorer.score(stream, "aj"),
            "JSON columns": lambda: scorer.score(columns),
            "JSON records": lambda: scorer.score(records),
        },
        0.05,
    )
    run = found["session.run"]
    shown = ", ".join(
        f"{name} {seconds * 1e3:.1f} ms ({seconds / run:.2f})" for name, seconds in found.items()
    )
    print(f"  {rows:,} rows: {shown}")
    return found["Arrow"] / run


def decoders(names: list[str]) -> None:
    """Ways from the bytes of one row to its numbers, all strict about types and order but one."""
    body = orjson.dumps({"inputData": {name: [5.1] for name in names}})
    numbers, lists = frozenset([float, int]), frozenset([list])

    def with_orjson() -> Any:
        data = orjson.loads(body)
        table = data["inputData"]
        if (
            len(data) != 1
            or list(table) != names
            or not lists.issuperset(map(type, table.values()))
        ):
            raise ValueError
        ((*row,),) = zip(*table.values(), strict=True)
        if not numbers.issuperset(map(type, row)):
            raise ValueError
        return row

    class Dicts(msgspec.Struct, forbid_unknown_fields=True):
        inputData: dict[str, tuple[float]]

    dicts = msgspec.json.Decoder(Dicts)

    def with_dicts() -> Any:
        table = dicts.decode(body).inputData
        if list(table) != names:
            raise ValueError
        return [cells[0] for cells in table.values()]

    fields = [(f"f{i}", tuple[float], msgspec.field(name=name)) for i, name in enumerate(names)]
    struct: Any = msgspec.defstruct("Columns", fields, forbid_unknown_fields=True, gc=False)
    structs = msgspec.json.Decoder(
        msgspec.defstruct("Body", [("inputData", struct)], forbid_unknown_fields=True)
    )

    def with_structs() -> Any:
        return [cells[0] for cells in msgspec.structs.astuple(structs.decode(body).inputData)]

    found = interleaved(
        {
            "orjson, then names and types": with_orjson,
            "msgspec dicts, then names (taken)": with_dicts,
            "msgspec structs (any order)": with_structs,
        },
        0.02,
    )
    print("decoding one row of four numbers:")
    for name, seconds in found.items():
        print(f"  {name:34} {seconds * 1e6:.2f} us")


def main() -> int:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    iris = load_iris(as_frame=True)
    names = list(iris.data)
    failed = False
    keep_large_buffers()  # as the realtime process does
    for name, model in MODELS.items():
        model.fit(iris.data, iris.target_names[iris.target])
        container = unpack(serialize_model(model, iris.data.iloc[::5]))
        session = open_session(container.model)
        scorer = Scorer(container.header, session)
        print(name)
        failed |= one_row(scorer, session, names) > ONE_ROW
        failed |= many_rows(scorer, session, names, rows) > ARROW
    decoders(names)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
