"""``jupyter mlserve publish NOTEBOOK.ipynb``: run a notebook, publish what it publishes."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..client.address import ServerAddress
from ..client.discovery import find_server
from .notebook_run import CellFailed, Progress, colours, load, run_cells

Line = dict[str, Any]

# The tag of a cell that shows a mistake: nbclient and others go on after it.
EXPECTED = "raises-exception"
_NO_MAGIC = re.compile(r"magic.* `%%?(\w+_services?|publish_realtime|mlserve)` not found")


def publish(
    path: Path,
    *,
    server: str | None = None,
    token: str | None = None,
    verify_tls: bool | str = True,
    kernel: str | None = None,
    timeout: int | None = None,
    output: Path | None = None,
) -> int:
    """Exit status: 0 if every cell ran and everything the notebook published is published."""
    if not path.is_file():
        print(f"There is no notebook {path}.", file=sys.stderr)
        return 1
    try:
        nb = load(path)
    except Exception as error:
        print(f"{path} is not a notebook that can be read: {error}", file=sys.stderr)
        return 1
    address = find_server(server, token, verify_tls=verify_tls)
    print(f"Server: {address} ({address.how})", file=sys.stderr)
    failure: CellFailed | None = None
    with tempfile.TemporaryDirectory(prefix="mlserve-publish-") as folder:
        report = Path(folder) / "report.jsonl"
        started = time.monotonic()
        try:
            watched = Watched(sys.stderr, report=report)
            count = run(nb, path.resolve(), address, watched, kernel, timeout, output)
            ran = f"{count} cell{'' if count == 1 else 's'} ran"
            print(f"{ran} in {time.monotonic() - started:.1f} s", file=sys.stderr)
        except CellFailed as error:
            failure = error
        lines = told(read_report(report), watched.expected)
    if failure is not None:
        print(f"\n{colours(failure.traceback)}", file=sys.stderr)
        if lines and lines[-1]["action"] == "failed":
            kind = lines[-1]["error"].partition(":")[0]
            lines[-1]["error"] = f"{kind}, see above" if failure.traceback else kind
    if lines:
        print(table(lines))
    if failure is not None:
        print(f"Cell {failure.number} of {path} failed{why(failure)}", file=sys.stderr)
        if failure.number < len(nb.cells):
            print("The cells after it did not run.", file=sys.stderr)
        return 1
    if not any(line["url"] for line in lines):
        print(f"{path} ran, but published nothing.", file=sys.stderr)
        return 1
    return 1 if any(line["action"] == "failed" for line in latest(lines)) else 0


def why(failure: CellFailed) -> str:
    """The end of the sentence; what stands above it already is not said again."""
    if _NO_MAGIC.search(failure.error + failure.traceback):
        return ": the extension is not loaded. Add a cell before it: %load_ext jupyter_mlserve"
    shown = failure.error.partition(": ")[0]
    return f" ({shown})." if failure.traceback else f": {failure.error}"


@dataclass
class Watched(Progress):
    """Also notes which lines of the report are failures in cells that are expected to fail."""

    report: Path = Path()
    seen: int = 0
    expected: set[int] = field(default_factory=set)

    def cell(self, number: int, total: int, cell: Any, seconds: float) -> None:
        lines = len(read_report(self.report))
        if EXPECTED in cell.metadata.get("tags", ()):
            self.expected.update(range(self.seen, lines))
        self.seen = lines
        super().cell(number, total, cell, seconds)


def told(lines: list[Line], expected: set[int]) -> list[Line]:
    """The lines of what was published, each saying if it was to fail, or was deleted later."""
    made: list[Line] = []
    for number, line in enumerate(lines):
        if line["action"] == "deleted":
            for earlier in made:
                same = (earlier["service"], earlier["version"]) == (
                    line["service"],
                    line["version"],
                )
                if same and earlier["url"] and not earlier["action"].endswith("deleted"):
                    earlier["action"] += ", then deleted"
        elif line["action"] == "failed" and number in expected:
            made.append({**line, "action": "failed, as expected"})
        else:
            made.append(line)
    return made


def run(
    nb: Any,
    path: Path,
    address: ServerAddress,
    watched: Watched,
    kernel: str | None,
    timeout: int | None,
    output: Path | None,
) -> int:
    import nbformat
    import zmq
    from nbclient import NotebookClient

    name = kernel_name(nb, kernel)
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(nb, timeout=timeout, kernel_name=name, resources=resources)
    manager: Any = client.create_kernel_manager()
    # Where Jupyter knows how to encrypt what kernels say, else the kernel warns that it does not.
    if manager.has_trait("transport_encryption") and zmq.has("curve"):
        manager.transport_encryption = "auto"
    env = kernel_environment(address, watched.report, path)

    def save() -> None:
        if output is not None:
            nbformat.write(nb, output)

    with client.setup_kernel(env=env):
        return run_cells(nb, client, watched, save)


def kernel_environment(address: ServerAddress, report: Path, notebook: Path) -> dict[str, str]:
    """What the kernel needs to find the server, to report, and to know its notebook."""
    env = dict(os.environ)
    env["JUPYTER_MLSERVE_URL"] = address.link
    env["JUPYTER_MLSERVE_TOKEN"] = address.token
    if address.verify_tls is not True:
        env["JUPYTER_MLSERVE_VERIFY_TLS"] = str(address.verify_tls or "0")
    env["JUPYTER_MLSERVE_REPORT"] = str(report)
    env["JPY_SESSION_NAME"] = str(notebook)
    return env


def kernel_name(nb: Any, wanted: str | None) -> str:
    """The kernel asked for, else the notebook's own if it is installed, else this environment's."""
    from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager

    if wanted:
        return wanted
    own = nb.metadata.get("kernelspec", {}).get("name")
    if own and own in KernelSpecManager().find_kernel_specs():
        return str(own)
    if own and own != NATIVE_KERNEL_NAME:
        print(
            f"The notebook's kernel {own!r} is not installed; {NATIVE_KERNEL_NAME} is used.",
            file=sys.stderr,
        )
    return str(NATIVE_KERNEL_NAME)


def read_report(path: Path) -> list[Line]:
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except FileNotFoundError:
        return []


def latest(lines: list[Line]) -> list[Line]:
    """The last line of each version: a failure that was made good later is none."""
    return list({(line["service"], line["version"]): line for line in lines}.values())


def table(lines: list[Line]) -> str:
    from ..notebook.text import align, plain

    rows = [["service", "version", "result", "seconds", "url"]]
    for line in lines:
        said = line["url"] or line.get("error", "").splitlines()[0]
        rows.append(
            [
                line["service"],
                line["version"] or "(new)",
                line["action"],
                f"{line['seconds']:.1f}",
                plain(said),
            ]
        )
    return "\n".join(align(rows, "", right=[3]))
