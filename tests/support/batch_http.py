"""Batch executions of a running server over plain HTTP, as a client of another language has it."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpx

from support.running_server import RunningServer

Json = dict[str, Any]
LINES, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
FINAL = ("Complete", "Failed")


class Batches:
    """Of one version: ``Batches(server, "Name/1.0")``. ``server`` may be set anew after a start."""

    def __init__(self, server: RunningServer, service: str) -> None:
        self.server = server
        self.service = service

    @property
    def url(self) -> str:
        return f"{self.server.prefix}api/{self.service}/batch"

    def ask(self, method: str, path: str = "", **options: Any) -> httpx.Response:
        headers = {**self.server.headers, **options.pop("headers", {})}
        options.setdefault("timeout", 60)
        return _client().request(method, f"{self.url}{path}", headers=headers, **options)

    def post(
        self, records: Any, media: str = "", parallel: int | None = None, **headers: str
    ) -> httpx.Response:
        """Upload a list of records as JSON, or bytes of the media type."""
        content = records if isinstance(records, bytes) else json.dumps(records).encode()
        sent = {"Content-Type": media or "application/json"}
        sent.update({key.replace("_", "-"): value for key, value in headers.items()})
        query = {} if parallel is None else {"parallelCount": str(parallel)}
        return self.ask("POST", content=content, headers=sent, params=query)

    def start(self, records: Any, media: str = "", parallel: int | None = None) -> str:
        reply = self.post(records, media, parallel)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["batchExecutionId"])

    def status(self, id: str) -> Json:
        reply = self.ask("GET", f"/{id}", params={"results": "false"})
        assert reply.status_code == 200, reply.text
        found: Json = reply.json()
        return found

    def wait(
        self, id: str, seconds: float = 60.0, until: Callable[[Json], bool] | None = None
    ) -> Json:
        """The status when the execution has ended, or when ``until`` says so.

        A server that does not answer is asked again: somebody may be starting it.
        """
        deadline = time.monotonic() + seconds
        status: Json = {}
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                status = self.status(id)
                if status["state"] in FINAL or (until is not None and until(status)):
                    return status
            time.sleep(0.05)
        raise AssertionError(f"after {seconds} s: {status}\n{self.server.read_log()[-5000:]}")

    def results(self, id: str) -> list[Json]:
        """All that there are, in order, read as JSON lines."""
        reply = self.ask("GET", f"/{id}/results", params={"format": "lines"})
        assert reply.status_code == 200, reply.text
        return [json.loads(line) for line in reply.text.splitlines()]


@functools.cache
def _client() -> httpx.Client:
    """Kept: to make one takes longer than a request."""
    return httpx.Client()


def lines(records: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def arrow(frame: Any) -> bytes:
    """A pandas frame as an Arrow IPC stream."""
    import pyarrow as pa

    table, sink = pa.Table.from_pandas(frame, preserve_index=False), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def components(server: RunningServer) -> Json:
    reply = _client().get(f"{server.prefix}status", headers=server.headers, timeout=30)
    found: Json = reply.json()["components"]
    return found


def worker_pids(server: RunningServer) -> list[int]:
    compute = components(server)["compute"]
    return [pid for pool in compute.get("pools", ()) for pid in pool["pids"]]
