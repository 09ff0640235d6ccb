"""``jupyter mlserve publish NOTEBOOK.ipynb``: run a notebook, publish what it publishes."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..client.address import ServerAddress
from ..client.discovery import find_server
from .notebook_run import CellFailed, Progress, colours, load, run_cells

Line = dict[str, Any]


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
            count = run(nb, path.resolve(), address, report, kernel, timeout, output)
            print(f"{count} cells ran in {time.monotonic() - started:.1f} s", file=sys.stderr)
        except CellFailed as error:
            failure = error
        lines = read_report(report)
    if failure is not None:
        print(f"\n{colours(failure.traceback)}", file=sys.stderr)
    if lines:
        print(table(lines))
    if failure is not None:
        print(f"Cell {failure.number} of {path} failed: {failure.error}", file=sys.stderr)
        if failure.number < len(nb.cells):
            print("The cells after it did not run.", file=sys.stderr)
        return 1
    if not lines:
        print(f"{path} ran, but published nothing.", file=sys.stderr)
        return 1
    return 1 if any(line["action"] == "failed" for line in latest(lines)) else 0


def run(
    nb: Any,
    path: Path,
    address: ServerAddress,
    report: Path,
    kernel: str | None,
    timeout: int | None,
    output: Path | None,
) -> int:
    import nbformat
    from nbclient import NotebookClient

    name = kernel_name(nb, kernel)
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(nb, timeout=timeout, kernel_name=name, resources=resources)
    env = kernel_environment(address, report, path)

    def save() -> None:
        if output is not None:
            nbformat.write(nb, output)

    with client.setup_kernel(env=env):
        return run_cells(nb, client, Progress(sys.stderr), save)


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
