"""A small stand-in for a kernel, and the fresh process in which a capture must work."""

from __future__ import annotations

import json
import linecache
import shutil
import subprocess
import types
from pathlib import Path
from typing import Any

import jupyter_mlserve.worker
from jupyter_mlserve.contract.definition import Definition
from jupyter_mlserve.notebook.capture import (
    Capture,
    CaptureOptions,
    Item,
    capture_cell,
    capture_function,
)

RUNNER = Path(__file__).with_name("fresh_process.py")
WORKER = Path(jupyter_mlserve.worker.__file__).parent


class Kernel:
    """Runs cells as IPython does: in ``__main__``, with every cell's text in linecache."""

    def __init__(self, folder: Path) -> None:
        self.main = types.ModuleType("__main__")
        self.names = self.main.__dict__
        self.folder = folder
        self.cells: list[str] = []

    def __call__(self, cell: str) -> dict[str, Any]:
        """Run a cell; the notebook's variables."""
        name = f"/tmp/ipykernel_1/{len(self.cells)}.py"
        linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)
        self.cells.append(name)
        exec(compile(cell, name, "exec", dont_inherit=True), self.names)
        return self.names

    def capture(self, cell: str, run: bool = False, **options: Any) -> Capture:
        if run:
            self(cell)
        options.setdefault("folder", self.folder)
        return checked(capture_cell(cell, self.names, CaptureOptions(**options)))

    def capture_function(self, f: Any, **options: Any) -> Capture:
        options.setdefault("folder", self.folder)
        return checked(capture_function(f, options=CaptureOptions(**options)))

    def call(self, capture: Capture, *calls: dict[str, Any]) -> list[Any]:
        """What a fresh process answers. AssertionError when the service does not load."""
        answer = self.load(capture, *calls)
        assert isinstance(answer, list), answer["error"]
        return answer

    def load(self, capture: Capture, *calls: dict[str, Any]) -> Any:
        capture.require()
        folder = self.folder / "fresh"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "blobs").mkdir(parents=True)
        (folder / "work").mkdir()
        for digest, blob in capture.blobs.items():
            data = blob.read_bytes() if isinstance(blob, Path) else blob
            (folder / "blobs" / digest).write_bytes(data)
        own = capture.body["mlserve"]
        for file in own["files"]:
            shutil.copy(folder / "blobs" / file["sha256"], folder / "work" / file["name"])
        spec = {
            "name": "service",
            "version": "1",
            "code": capture.body["code"],
            "initCode": capture.body["initCode"],
            "function": own["function"],
            "prelude": own["prelude"],
            "inputs": capture.body["inputParameterDefinitions"],
            "outputs": capture.body["outputParameterDefinitions"],
            "objects": [
                {**item, "path": str(folder / "blobs" / item["sha256"])} for item in own["objects"]
            ],
        }
        done = subprocess.run(
            [own["interpreter"]["executable"], str(RUNNER)],
            input=json.dumps({"worker": str(WORKER), "spec": spec, "calls": calls}),
            cwd=folder / "work",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def checked(capture: Capture) -> Capture:
    """Every capture is JSON, is a valid definition once nothing is refused, and names its blobs."""
    assert json.loads(json.dumps(capture.body)) == capture.body
    if not capture.refused:
        definition = Definition.from_publish("service", "1", capture.body)
        assert set(definition.blobs) == set(capture.blobs)
    return capture


def item(capture: Capture, name: str) -> Item:
    (found,) = [each for each in capture.report if each.name == name]
    return found


def status(capture: Capture) -> dict[str, str]:
    return {each.name: each.status for each in capture.report}


def prelude(capture: Capture) -> list[str]:
    """The steps: object names as they are, sources as text."""
    steps = capture.body["mlserve"]["prelude"]
    return [step.get("object") or step["source"].strip() for step in steps]
