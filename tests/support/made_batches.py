"""Batch executions put into the stores of a server as an upload would have done it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from jupyter_mlserve.contract.definition import Definition
from jupyter_mlserve.store.batches import Execution, IndexWriter, new_id
from jupyter_mlserve.store.batches.plan import plan_of
from jupyter_mlserve.store.batches.split import split

OWNER = "somebody"


def make_batch(
    core: Any,
    service: str,
    records: Sequence[Any],
    parallel: int = 2,
    owner: str = OWNER,
    submit: bool = True,
) -> Execution:
    """An execution of these records (JSON values, or lines as bytes) for the service as it is."""
    upload = core.batches.upload(new_id())
    upload.finish()
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in records]
    with open(upload.folder / "input", "wb") as file, IndexWriter(upload.folder) as index:
        for line in lines:
            file.write(line + b"\n")
            index.add(line + b"\n")
    return _admit(core, service, upload, parallel, owner, submit, total=len(lines))


def make_rows(
    core: Any,
    service: str,
    stream: bytes,
    parallel: int = 2,
    owner: str = OWNER,
    submit: bool = True,
) -> Execution:
    """An execution of an uploaded Arrow stream."""
    name, version = service.split("/")
    definition = Definition.from_json(core.catalog.get(name, version).definition)
    upload = core.batches.upload(new_id())
    upload.write(stream)
    upload.finish()
    found = split(upload.path, "arrow", upload.folder, plan_of(definition))
    about = {"total": found.total, "units": found.units, "piece": found.piece}
    return _admit(core, service, upload, parallel, owner, submit, format=found.format, **about)


def _admit(
    core: Any,
    service: str,
    upload: Any,
    parallel: int,
    owner: str,
    submit: bool,
    *,
    total: int,
    **about: Any,
) -> Execution:
    name, version = service.split("/")
    size = upload.seal()
    execution: Execution = core.executions.admit(
        upload,
        Execution(
            id=upload.id,
            name=name,
            version=version,
            state_id=core.catalog.get(name, version).id,
            owner=owner,
            created_at=datetime.now(timezone.utc),
            total=total,
            parallel=parallel,
            units=about.pop("units", total),
            input_bytes=size,
            **about,
        ),
    )
    if submit:
        core.runner.submit(execution.id)
    return execution


async def ended(core: Any, id: str, seconds: float = 20.0) -> Execution:
    """The execution when it is complete or has failed."""
    deadline = time.monotonic() + seconds
    while True:
        found: Execution = core.executions.get(id)
        if found.final:
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)


def results(core: Any, id: str) -> list[Any]:
    """What every record was answered, in order; each exactly once."""
    found: list[Any] = []
    for chunk in core.executions.chunks(id):
        assert chunk.first == len(found), "answered twice, or not at all"
        lines = core.batches.read_result(id, chunk).splitlines()
        assert len(lines) == chunk.count
        found += map(json.loads, lines)
        assert sum(not each["success"] for each in found[chunk.first :]) == chunk.failed
    return found


def outputs(core: Any, id: str, name: str = "y") -> list[Any]:
    return [each["outputParameters"].get(name) for each in results(core, id)]
