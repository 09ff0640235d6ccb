"""Mutated models through the steps of the trial, many in one process: FOLDER SEED SECONDS.

A worker makes and tries one after the other and says what it is about to do; when it dies or
hangs, the model at fault is in FOLDER, and another worker goes on behind it.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_HANG = 20.0  # seconds for one model


def bases() -> list[bytes]:
    """Containers of real models: linear, trees, text, mixed columns."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    from jupyter_mlserve.notebook.compile import serialize_model

    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = (x[:, 0] > 0).astype(int)
    frame = pd.DataFrame(
        {"a": x[:, 0], "c": rng.choice(["u", "v"], 60), "t": rng.choice(["red fox", "a dog"], 60)}
    )
    steps = [
        ("s", StandardScaler(), ["a"]),
        ("o", OneHotEncoder(handle_unknown="ignore"), ["c"]),
        ("t", TfidfVectorizer(), "t"),
    ]
    mixed = make_pipeline(ColumnTransformer(steps), LogisticRegression()).fit(frame, y)
    return [
        serialize_model(mixed, frame),
        serialize_model(RandomForestRegressor(3, random_state=0).fit(x, x[:, 0]), x),
        serialize_model(GradientBoostingClassifier(n_estimators=3).fit(x, y), x),
        serialize_model(make_pipeline(StandardScaler(), SVC()).fit(x, y), x),
    ]


def mutate(draw: random.Random, header: dict[str, Any], model: bytes) -> bytes:
    """The container of a changed model: its bytes, or its meaning."""
    import onnx

    from jupyter_mlserve.contract.realtime import pack

    kind = draw.randrange(8)
    if kind == 0:
        data = bytearray(model)
        for _ in range(draw.choice((1, 1, 2, 8))):
            place = draw.randrange(len(data))
            data[place] = draw.choice((0, 1, 255, data[place] ^ (1 << draw.randrange(8))))
        return pack(header, bytes(data))
    if kind == 1:
        start, end = sorted(draw.randrange(len(model)) for _ in range(2))
        return pack(header, model[:start] + model[min(end, start + 40) :])
    made = onnx.load_from_string(model)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        _change(draw, made.graph)
    return pack(header, made.SerializeToString())


def _change(draw: random.Random, graph: Any) -> None:
    from jupyter_mlserve.contract.realtime_operators import OPERATORS

    node = draw.choice(list(graph.node))
    names = [name for item in graph.node for name in (*item.input, *item.output)]
    numbers = (-1, 0, 1, 2, 7, 2**31, 2**62, -(2**63))
    kind = draw.randrange(9)
    if kind == 0:
        graph.node.remove(node)
    elif kind == 1 and node.input:
        node.input[draw.randrange(len(node.input))] = draw.choice(["", *names])
    elif kind == 2:
        node.domain = draw.choice(list(OPERATORS))
        node.op_type = draw.choice(list(OPERATORS[node.domain]))
    elif kind == 3 and node.attribute:
        attribute = draw.choice(list(node.attribute))
        if attribute.ints:
            for _ in range(draw.choice((1, 1, 3))):
                attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(numbers)
        elif attribute.floats:
            attribute.floats[0] = draw.choice((0.0, -1.0, 1e38, float("inf"), float("nan")))
        elif attribute.strings:
            attribute.strings[0] = draw.choice((b"", b"\xff", b"x" * 10_000))
        else:
            attribute.i = draw.choice(numbers)
    elif kind == 4 and node.attribute:
        node.attribute.remove(draw.choice(list(node.attribute)))
    elif kind == 5 and graph.initializer:
        tensor = draw.choice(list(graph.initializer))
        tensor.dims[:] = [draw.choice((0, 1, 2, 3, 2**31)) for _ in range(draw.randrange(4))]
    elif kind == 6 and graph.initializer:
        tensor = draw.choice(list(graph.initializer))
        size = len(tensor.raw_data)
        if size:
            tensor.raw_data = bytes(draw.choice((0, 255, 127, 128)) for _ in range(size))
    elif kind == 7:
        node.input.append(draw.choice(names))
    elif kind == 8 and len(graph.node) > 1:
        other = draw.choice(list(graph.node))
        node.input[:], other.input[:] = list(other.input), list(node.input)


def work(folder: Path, seed: int, first: int) -> None:
    """Try models from number ``first`` on, until killed."""
    from jupyter_mlserve.compute.realtime.config import RealtimeConfig
    from jupyter_mlserve.compute.realtime.scoring import Scorer
    from jupyter_mlserve.compute.realtime.sessions import limit_memory, open_session
    from jupyter_mlserve.compute.realtime.trial import confine, example_body
    from jupyter_mlserve.compute.realtime.validate import validate_upload
    from jupyter_mlserve.contract.errors import MLServeError
    from jupyter_mlserve.contract.realtime import unpack

    originals = [unpack((folder / f"base{n}").read_bytes()) for n in range(4)]
    confine(RealtimeConfig(trial_timeout=100_000))
    limit_memory(512 * 1024 * 1024)
    number = first
    while True:
        draw = random.Random(f"{seed}-{number}")
        base = draw.choice(originals)
        data = mutate(draw, {k: v for k, v in base.header.items() if k != "sha256"}, base.model)
        (folder / "current").write_bytes(data)
        print(json.dumps({"number": number, "doing": "check"}), flush=True)
        outcome = "worked"
        try:
            found = validate_upload(data)
            print(json.dumps({"number": number, "doing": "run"}), flush=True)
            scorer = Scorer(found.header, open_session(found.model))
            for rows in (1, 100):
                scorer.score(example_body(found.header, rows))
        except MLServeError as exc:
            outcome = "refused" if exc.field else "failed"
        except Exception:
            outcome = "failed"
        print(json.dumps({"number": number, "outcome": outcome}), flush=True)
        number += 1


def main() -> None:
    folder, seed, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for number, data in enumerate(bases()):
        (folder / f"base{number}").write_bytes(data)
    counts = dict.fromkeys(("refused", "failed", "worked", "crashed", "hung"), 0)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        command = [sys.executable, __file__, str(folder), str(seed), "0", str(number)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE)
        last: dict[str, Any] = {}
        hung = over = False
        rest = b""
        with worker, selectors.DefaultSelector() as selector:
            assert worker.stdout is not None
            selector.register(worker.stdout, selectors.EVENT_READ)
            while not (hung or over):
                hung = not selector.select(_HANG)
                part = b"" if hung else os.read(worker.stdout.fileno(), 65536)
                if not part:
                    break
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    last = json.loads(line)
                    if "outcome" in last:
                        counts[last["outcome"]] += 1
                over = time.monotonic() >= end
            worker.kill()
        number = last.get("number", number) + 1
        if not over:
            counts["hung" if hung else "crashed"] += 1
            (folder / "current").rename(folder / f"fault{number - 1}")
            print(f"number {number - 1} {'hung' if hung else 'crashed'} in {last.get('doing')}")
    for key, value in counts.items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    if len(sys.argv) > 4:
        work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[4]))
    else:
        main()
