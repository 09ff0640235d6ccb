from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.worker_process import RunningWorker, load_spec

StartWorker = Callable[..., RunningWorker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartWorker]:
    """``start(code, inputs, outputs, function, **spec keys and limits)`` gives a loaded worker."""
    running: list[RunningWorker] = []

    def make(code: str = "def f(x):\n    return x + 1\n", *args: Any, **more: Any) -> RunningWorker:
        own = {
            key: more.pop(key)
            for key in ("interpreter", "env", "console", "memory", "file", "result")
            if key in more
        }
        ok = more.pop("ok", True)
        folder = tmp_path / f"w{len(running)}"
        folder.mkdir()
        worker = RunningWorker(load_spec(code, *args, **more), folder, **own)
        running.append(worker)
        if ok:
            assert worker.loaded["status"] == 200, worker.loaded
        return worker

    yield make
    for worker in running:
        worker.close()
